//! The oracle against a sorted map that executes the same operations, for every kind of key, law of sizes,
//! distribution and operation, with several threads on one store.

use std::collections::BTreeMap;

use proptest::prelude::*;
use workloads::{ContentDigest, Op, OpKind, OpStream, Oracle, Spec, dist::Dist, ready, toml_file};

type Store = BTreeMap<Vec<u8>, Vec<u8>>;

const POINTS: &str = "get = 0.2, get_absent = 0.1, put = 0.1, update = 0.2, insert = 0.1, delete = 0.15, scan = 0.05, \
    rmw = 0.1";
const RANGES: &str = "get = 0.2, get_absent = 0.05, put = 0.05, update = 0.1, insert = 0.35, delete = 0.05, \
    scan = 0.05, rmw = 0.05, delete_range = 0.1";

/// A key, the most threads it takes with range deletes (0: none), and whether it is in order.
const KEYS: [(&str, u32); 5] = [
    ("kind = \"hash16\"", 0),
    ("kind = \"text24\"", 0),
    ("kind = \"int8\"", 1),
    ("kind = \"text24\", order = \"ordered\"", 1),
    ("kind = \"series16\", series = 6", 3),
];
const VALUES: [&str; 3] =
    ["size = 40", "dist = \"uniform\", min = 8, max = 200", "dist = \"pareto\", max = 2000"];

fn spec(records: u64, seed: u64, threads: u32, key: (&str, u32), value: &str, dist: &str) -> Spec {
    let ops = if threads <= key.1 { RANGES } else { POINTS };
    let text = format!(
        "schema = 1
        name = \"test\"
        data = {{ records = {records}, key = {{ {} }}, value = {{ {value} }} }}
        run = {{ seed = {seed}, threads = {threads} }}
        phase = [
            {{ kind = \"load\" }},
            {{ kind = \"age\", ops = {{ update = 1.0 }}, dist = {{ kind = \"permutation\" }}, until = {{ ops = \"1x_records\" }} }},
            {{ kind = \"measure\", ops = {{ {ops} }}, scan = {{ dist = \"pareto\", limit = 10 }},
               dist = {{ kind = \"{dist}\" }}, until = {{ ops = 600 }} }},
        ]",
        key.0
    );
    toml_file::parse("test.toml", &text).unwrap_or_else(|error| panic!("{error}"))
}

/// Executes one operation on the map, which must hold before it what the oracle says.
fn execute(op: Op, oracle: &Oracle, store: &mut Store) {
    let key = oracle.key(op);
    let before = store.get(&*key).cloned();
    if op.kind() != OpKind::GetAbsent {
        assert_eq!(oracle.check_get(op.record(), before.as_deref()), Ok(()), "{op:?}");
    }
    match op.kind() {
        OpKind::Get | OpKind::Scan | OpKind::Delete | OpKind::Rmw => assert!(before.is_some(), "{op:?}"),
        OpKind::GetAbsent | OpKind::Insert => assert!(before.is_none(), "{op:?}"),
        OpKind::Put | OpKind::Update | OpKind::DeleteRange => {}
    }
    if let Some(version) = op.version_written() {
        let mut value = Vec::new();
        oracle.values().fill(&key, version, &mut value);
        assert_eq!(value.len(), oracle.value_len(op.record(), version));
        store.insert(key.to_vec(), value);
    } else if op.kind() == OpKind::Delete {
        store.remove(&*key);
    } else if let Op::DeleteRange { count, .. } = op {
        let (from, to) = oracle.range(op);
        assert!(*from < *to && count > 0);
        store.retain(|key, _| !(*from <= key[..] && key[..] < *to));
        // Neighbours in the map are those the oracle counts.
        assert_eq!(oracle.records_of(op).count() as u64, u64::from(count));
    }
}

/// Runs all threads on one store, in turns of a few operations, and compares everything.
fn follow(spec: &Spec, threads: u32) -> [u64; OpKind::ALL.len()] {
    let mut store = Store::new();
    let mut done = [0; OpKind::ALL.len()];
    let mut oracles: Vec<Oracle> =
        (0..threads).map(|thread| Oracle::new(&spec.data, thread, threads)).collect();
    for phase in 0..spec.phases.len() {
        let mut streams: Vec<OpStream> =
            oracles.iter().map(|oracle| OpStream::new(spec, phase, oracle)).collect();
        let mut bytes = vec![0; oracles.len()];
        while !streams.iter().all(OpStream::is_done) {
            for ((oracle, stream), bytes) in oracles.iter_mut().zip(&mut streams).zip(&mut bytes) {
                for _ in 0..7 {
                    let Some(op) = stream.next(oracle) else { break };
                    execute(op, oracle, &mut store);
                    *bytes += match op {
                        Op::Delete { .. } => oracle.key(op).len(),
                        Op::DeleteRange { .. } => 2 * oracle.key(op).len(),
                        _ if op.kind().writes() => oracle.key(op).len() + store[&*oracle.key(op)].len(),
                        _ => 0,
                    } as u64;
                    oracle.acknowledge(op);
                    done[op.kind() as usize] += 1;
                }
                assert_eq!(stream.user_bytes(), *bytes);
            }
            let live: u64 = oracles.iter().map(Oracle::live_count).sum();
            assert_eq!(live, store.len() as u64);
        }
    }
    let bytes: u64 = oracles.iter().map(Oracle::live_bytes).sum();
    assert_eq!(bytes, store.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>());
    let (mut expected, mut found) = (ContentDigest::default(), ContentDigest::default());
    oracles.iter().for_each(|oracle| expected.merge(oracle.content()));
    for (key, value) in &store {
        oracles.iter().for_each(|oracle| assert!(oracle.check_entry(key, value).is_ok()));
        let version = spec.data.values().check(key, value).expect("the map keeps what it was given");
        found.add(key, value.len(), version);
    }
    assert_eq!(found, expected);
    done
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_oracle_follows_a_map(
        seed: u64,
        records in 1u64..200,
        threads in 1u32..4,
        key in prop::sample::select(&KEYS[..]),
        value in prop::sample::select(&VALUES[..]),
        dist in prop::sample::select(&Dist::DEFAULTS[..]),
    ) {
        follow(&spec(records, seed >> 1, threads, key, value, dist.name()), threads);
    }
}

#[test]
fn range_deletes_keep_the_newest_records_of_every_series() {
    let spec = spec(60, 5, 3, KEYS[4], VALUES[1], "latest");
    let done = follow(&spec, 3);
    assert!(done[OpKind::DeleteRange as usize] > 10, "{done:?}");
    let mut oracle = Oracle::new(&spec.data, 1, 3);
    for record in (0..60).filter(|record| record % 3 == 1) {
        oracle.acknowledge(Op::Put { record, version: 1 });
    }
    // Thread 1 owns series 1 and 4, ten points each; four of each are kept.
    let first = oracle.expired(24);
    assert_eq!(first, Some(Op::DeleteRange { record: 1, count: 6 }));
    oracle.acknowledge(first.unwrap());
    assert_eq!((oracle.version(31), oracle.version(37), oracle.base()), (None, Some(1), 0));
    let second = oracle.expired(24);
    assert_eq!(second, Some(Op::DeleteRange { record: 4, count: 6 }));
    oracle.acknowledge(second.unwrap());
    assert_eq!((oracle.live_count(), oracle.base(), oracle.expired(24)), (8, 12, None));
    assert_eq!(oracle.expired(18), Some(Op::DeleteRange { record: 37, count: 1 }), "series 1, time 6");
}

/// What a file promises is what its phases draw: a thousand operations of each phase of each cell, all scales.
#[test]
fn every_cell_of_every_ready_file_draws_its_operations() {
    for ready in ready::all() {
        for spec in ready.cells().iter().map(|cell| cell.scaled(workloads::Scale::Smoke).resolved()) {
            assert_eq!(spec.problem(), None);
            let mut oracle = Oracle::new(&spec.data, 0, spec.run.threads);
            for (index, phase) in spec.phases.iter().enumerate() {
                let mut stream = OpStream::new(&spec, index, &oracle);
                let drawn = stream.replay(&mut oracle, if index == 0 { u64::MAX } else { 1_000 });
                let wanted = stream.ops_max().unwrap_or(1_000).min(1_000);
                assert!(!phase.kind.has_ops() || drawn >= wanted, "{} {}: {drawn}", spec.name, spec.label);
            }
            assert!(oracle.live_count() > 0);
        }
    }
}
