//! A workload recorded on one engine and replayed on others, and replays of what must be refused.

use std::sync::Arc;

use kv_api::{Batch, Durability, KeyRange, Kv, KvRead, MemoryEngine, ScanOptions};
use kv_btree::{BTreeEngine, BTreeOptions};
use kv_lsm::{LsmEngine, LsmOptions};
use workloads::trace::{TraceError, TraceReader, TraceWriter, What};
use workloads::{Op, OpStream, Oracle, toml_file};

use super::*;

/// A trace of a mixed workload with range deletes, and how many requests it has.
fn recorded() -> (Vec<u8>, u64) {
    let text = "schema = 1
        name = \"t\"
        data = { records = 500, key = { kind = \"series16\", series = 10 }, value = { dist = \"pareto\" } }
        phase = [
            { kind = \"load\" },
            { kind = \"measure\", until = { ops = 2000 }, scan = { limit = 5 }, ops = { get = 0.3, update = 0.2,
              insert = 0.3, delete = 0.05, scan = 0.1, delete_range = 0.05 } },
        ]";
    let spec = toml_file::parse("t.toml", text).unwrap();
    let engine = RecordingKv::new(Arc::new(MemoryEngine::new()), Vec::new()).unwrap();
    let mut oracle = Oracle::new(&spec.data, 0, 1);
    let mut value = Vec::new();
    for phase in 0..2 {
        let mut stream = OpStream::new(&spec, phase, &oracle);
        while let Some(op) = stream.next(&oracle) {
            let key = oracle.key(op);
            match op {
                Op::Scan { limit, .. } => {
                    let mut scan = engine.scan(KeyRange::from(&*key..), ScanOptions::FORWARD).unwrap();
                    for _ in 0..limit {
                        let _ = scan.next().unwrap();
                    }
                }
                Op::DeleteRange { .. } => {
                    let (from, to) = oracle.range(op);
                    engine.delete_range(KeyRange::from(&*from..&*to), Durability::Os).unwrap();
                }
                Op::Delete { .. } => drop(engine.delete(&key, Durability::Os).unwrap()),
                op => match op.version_written() {
                    Some(version) => {
                        oracle.values().fill(&key, version, &mut value);
                        engine.put(&key, &value, Durability::Os).unwrap();
                    }
                    None => drop(engine.get(&key).unwrap()),
                },
            }
            oracle.acknowledge(op);
        }
    }
    assert!(oracle.live_count() > 100);
    let bytes = engine.finish().unwrap();
    assert!(engine.finish().is_err(), "a trace is finished once");
    (bytes, 2_500)
}

fn trace(bytes: &[u8]) -> TraceReader<&[u8]> {
    TraceReader::new(bytes).unwrap()
}

#[test]
fn a_recorded_workload_is_replayed_alike_on_every_engine() {
    let (bytes, requests) = recorded();
    let dir = tempfile::tempdir().unwrap();
    let engines: [Arc<dyn Kv>; 3] = [
        Arc::new(MemoryEngine::new()),
        Arc::new(BTreeEngine::open(&dir.path().join("b"), BTreeOptions::default()).unwrap()),
        Arc::new(LsmEngine::open(&dir.path().join("l"), LsmOptions::default()).unwrap()),
    ];
    let mut live = Vec::new();
    for engine in engines {
        let done = replay(&*engine, trace(&bytes), Durability::Os).unwrap();
        assert_eq!((done.requests, done.wrong, done.first_wrong), (requests, 0, None));
        live.push(done.live);
        engine.close().unwrap();
    }
    assert!(live[0] > 100 && live.iter().all(|count| *count == live[0]), "{live:?}");
}

#[test]
fn wrong_answers_are_counted() {
    let (bytes, _) = recorded();
    let engine = MemoryEngine::new();
    engine.put(b"a stranger", b"value", Durability::Memory).unwrap();
    let done = replay(&engine, trace(&bytes), Durability::Memory).unwrap();
    assert!(done.wrong > 0 && done.first_wrong.is_some(), "{done:?}");
    let mut writer = TraceWriter::new(Vec::new()).unwrap();
    writer.add(0, b"k", &What::Get).unwrap();
    let bytes = writer.finish().unwrap();
    let done = replay(&MemoryEngine::new(), trace(&bytes), Durability::Memory).unwrap();
    assert_eq!(done, Replayed { requests: 1, ..Replayed::default() });
}

#[test]
fn a_damaged_trace_and_an_impossible_value_end_a_replay() {
    let (bytes, _) = recorded();
    let cut = replay(&MemoryEngine::new(), trace(&bytes[..bytes.len() / 2]), Durability::Os);
    assert!(matches!(cut, Err(ReplayError::Trace(TraceError::Cut { .. }))), "{cut:?}");
    let mut writer = TraceWriter::new(Vec::new()).unwrap();
    writer.add(0, b"k", &What::Put { value_len: u64::MAX }).unwrap();
    let long = writer.finish().unwrap();
    let refused = replay(&MemoryEngine::new(), trace(&long), Durability::Os);
    assert!(matches!(refused, Err(ReplayError::ValueTooLong(u64::MAX))), "{refused:?}");
}

#[test]
fn a_batch_is_recorded_operation_by_operation() {
    let engine = RecordingKv::new(Arc::new(MemoryEngine::new()), Vec::new()).unwrap();
    let mut batch = Batch::new();
    batch.put(b"a", b"12345").delete(b"b").delete_range(KeyRange::from(b"c".as_slice()..));
    engine.write(&batch, Durability::Os).unwrap();
    let bytes = engine.finish().unwrap();
    let whats: Vec<What> = trace(&bytes).map(|request| request.unwrap().what).collect();
    assert_eq!(whats, [What::Put { value_len: 5 }, What::Delete, What::DeleteRange { end: None }]);
}
