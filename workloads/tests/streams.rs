//! Operation streams: the same from the same seed, apart between threads, and true to the model.

use std::collections::{BTreeMap, BTreeSet};

use workloads::{Mismatch, Op, OpKind, OpStream, Oracle, Scale, Spec, ready, toml_file};

fn spec(records: u64, seed: u64, measure: &str) -> Spec {
    let text = format!(
        "schema = 1
        name = \"test\"
        data = {{ records = {records}, value = {{ size = 40 }} }}
        run = {{ seed = {seed} }}
        phase = [
            {{ kind = \"load\" }},
            {{ kind = \"age\", ops = {{ update = 1.0 }}, dist = {{ kind = \"permutation\" }}, until = {{ ops = \"1x_records\" }} }},
            {{ kind = \"measure\", {measure} }},
        ]"
    );
    toml_file::parse("test.toml", &text).expect("the test's own file is right")
}

const MIXED: &str = "ops = { get = 0.2, get_absent = 0.1, put = 0.1, update = 0.2, insert = 0.1, delete = 0.15, \
    scan = 0.05, rmw = 0.1 }, scan = { dist = \"uniform\", limit = 10 }";

fn mixed(records: u64, seed: u64, dist: &str, ops: u64) -> Spec {
    let measure = format!("{MIXED}, dist = {{ kind = \"{dist}\" }}, until = {{ ops = {ops} }}");
    spec(records, seed, &measure)
}

/// All operations of one phase, acknowledged one by one.
fn run(spec: &Spec, phase: usize, oracle: &mut Oracle) -> Vec<Op> {
    let mut stream = OpStream::new(spec, phase, oracle);
    let mut ops = Vec::new();
    while let Some(op) = stream.next(oracle) {
        oracle.acknowledge(op);
        ops.push(op);
    }
    ops
}

fn run_all(spec: &Spec, thread: u32, threads: u32) -> (Vec<Op>, Oracle) {
    let mut oracle = Oracle::new(&spec.data, thread, threads);
    let ops = (0..spec.phases.len()).flat_map(|phase| run(spec, phase, &mut oracle)).collect();
    (ops, oracle)
}

fn show(op: Op) -> String {
    let argument = match op {
        Op::Scan { limit, .. } => format!(" limit {limit}"),
        Op::Delete { version, .. } => format!(" v{version}"),
        Op::DeleteRange { count, .. } => format!(" count {count}"),
        _ => op.version_written().map_or(String::new(), |version| format!(" v{version}")),
    };
    format!("{} {}{argument}", op.kind().name(), op.record())
}

/// A change here means that results of older builds can no longer be compared: give the format a new schema.
#[test]
fn the_first_twenty_operations_of_a_seed_never_change() {
    let spec = mixed(100, 42, "zipf", 20);
    let mut oracle = Oracle::new(&spec.data, 0, 1);
    let load = run(&spec, 0, &mut oracle);
    let records: Vec<u64> = load.iter().take(5).map(|op| op.record()).collect();
    assert_eq!(records, GOLDEN_LOAD);
    run(&spec, 1, &mut oracle);
    let ops: Vec<String> = run(&spec, 2, &mut oracle).into_iter().map(show).collect();
    assert_eq!(ops, GOLDEN_OPS);
}

const GOLDEN_LOAD: [u64; 5] = [55, 56, 66, 5, 33];
const GOLDEN_OPS: [&str; 20] = [
    "delete 11 v2",
    "put 49 v3",
    "rmw 17 v3",
    "scan 98 limit 3",
    "delete 59 v2",
    "get 51",
    "scan 98 limit 9",
    "insert 100 v1",
    "get_absent 21",
    "insert 101 v1",
    "update 21 v3",
    "update 31 v3",
    "insert 102 v1",
    "insert 103 v1",
    "get 3",
    "update 16 v3",
    "update 50 v3",
    "scan 63 limit 10",
    "get 98",
    "get 20",
];

#[test]
fn one_seed_is_one_stream_and_another_seed_another() {
    for dist in ["uniform", "zipf", "ycsb-zipf", "latest", "hotspot", "sequential", "permutation"] {
        let spec = mixed(500, 1, dist, 3_000);
        let (ops, oracle) = run_all(&spec, 1, 2);
        let (again, oracle_again) = run_all(&spec, 1, 2);
        assert_eq!(ops, again);
        assert_eq!(oracle.content(), oracle_again.content());
        assert_ne!(ops, run_all(&mixed(500, 2, dist, 3_000), 1, 2).0);
    }
}

#[test]
fn the_digest_tells_streams_apart_and_ends_at_a_million() {
    let digest = |spec: &Spec| {
        let mut oracle = Oracle::new(&spec.data, 0, 1);
        run(spec, 0, &mut oracle);
        let mut stream = OpStream::new(spec, 2, &oracle);
        while let Some(op) = stream.next(&oracle) {
            oracle.acknowledge(op);
        }
        (stream.digest(), stream.drawn())
    };
    let (first, drawn) = digest(&mixed(100, 1, "uniform", 1_000_500));
    assert_eq!((first.ops, drawn), (1_000_000, 1_000_500));
    assert_eq!(first, digest(&mixed(100, 1, "uniform", 1_000_700)).0);
    assert_ne!(first.hash, digest(&mixed(100, 2, "uniform", 1_000_500)).0.hash);
}

#[test]
fn threads_share_the_records_without_overlap() {
    let spec = mixed(1_001, 5, "zipf", 4_000);
    let mut seen = BTreeMap::new();
    let mut loaded = BTreeSet::new();
    for thread in 0..3 {
        let mut oracle = Oracle::new(&spec.data, thread, 3);
        for op in run(&spec, 0, &mut oracle) {
            assert!(loaded.insert(op.record()), "record {} is loaded once", op.record());
        }
        for phase in 1..3 {
            for op in run(&spec, phase, &mut oracle) {
                assert_eq!(*seen.entry(op.record()).or_insert(thread), thread, "{op:?}");
            }
        }
    }
    assert_eq!(loaded, (0..1_001).collect());
}

#[test]
fn aging_by_permutation_updates_each_record_once() {
    let spec = mixed(300, 5, "zipf", 1);
    let mut oracle = Oracle::new(&spec.data, 0, 1);
    run(&spec, 0, &mut oracle);
    let aged = run(&spec, 1, &mut oracle);
    assert!(aged.iter().all(|op| op.kind() == OpKind::Update && op.version_written() == Some(2)));
    assert_eq!(aged.iter().map(|op| op.record()).collect::<BTreeSet<u64>>().len(), 300);
}

#[test]
fn replay_stands_where_an_interrupted_run_stood() {
    let spec = mixed(200, 3, "zipf", 2_000);
    let mut oracle = Oracle::new(&spec.data, 1, 2);
    let mut replayed = oracle.clone();
    run(&spec, 0, &mut oracle);
    let mut stream = OpStream::new(&spec, 2, &oracle);
    for _ in 0..700 {
        let op = stream.next(&oracle).expect("the thread has a thousand operations");
        oracle.acknowledge(op);
    }
    assert_eq!(OpStream::new(&spec, 0, &replayed).replay(&mut replayed, u64::MAX), 100);
    let mut again = OpStream::new(&spec, 2, &replayed);
    assert_eq!(again.replay(&mut replayed, 700), 700);
    assert_eq!(replayed.content(), oracle.content());
    assert_eq!(again.next(&replayed), stream.next(&oracle));
}

#[test]
fn a_sample_has_its_share_and_holds_deleted_records() {
    let spec = mixed(20_000, 3, "uniform", 20_000);
    let (_, oracle) = run_all(&spec, 0, 1);
    let sample: Vec<u64> = oracle.sample(0.1, 7).collect();
    assert!(sample.len().abs_diff(2_200) < 270, "{} of about 22,000", sample.len());
    assert!(sample.iter().any(|record| oracle.version(*record).is_none()));
    assert_eq!(sample, oracle.sample(0.1, 7).collect::<Vec<u64>>());
    assert_eq!(
        (oracle.sample(0.0, 7).count(), oracle.sample(1.0, 7).count() as u64),
        (0, oracle.population())
    );
}

#[test]
fn shares_of_a_mix_are_kept() {
    for name in ["read-heavy", "write-heavy", "scan-heavy"] {
        let spec = ready::find(name).expect("a ready workload").scaled(Scale::Smoke);
        let mut oracle = Oracle::new(&spec.data, 0, 1);
        let measure = spec.phases.iter().position(|phase| phase.name == "measure").expect("a measured phase");
        run(&spec, 0, &mut oracle);
        let ops = run(&spec, measure, &mut oracle);
        for (kind, share) in spec.phases[measure].ops.iter() {
            let found = ops.iter().filter(|op| op.kind() == kind).count() as f64 / ops.len() as f64;
            let slack = 6.0 * (share * (1.0 - share) / ops.len() as f64).sqrt();
            assert!((found - share).abs() < slack, "{name}: {} is {found} of all", kind.name());
        }
    }
}

#[test]
fn a_phase_ends_at_the_first_of_its_counts() {
    let ops = |until: &str| {
        let measure = format!("ops = {{ update = 1.0 }}, until = {{ {until} }}");
        let spec = spec(100, 1, &measure);
        let mut oracle = Oracle::new(&spec.data, 0, 1);
        run(&spec, 0, &mut oracle);
        run(&spec, 2, &mut oracle).len()
    };
    assert_eq!(ops("ops = 70"), 70);
    assert_eq!(ops("ops = \"0.5x_records\""), 50);
    // A record is 16 + 40 bytes.
    assert_eq!(ops("user_bytes = 560"), 10);
    assert_eq!(ops("user_bytes = \"2x_data\", ops = 1000"), 200);
    assert_eq!(ops("ops = 150, user_bytes = \"2x_data\""), 150);
}

#[test]
fn without_records_reads_miss_and_writes_insert() {
    for (op, first) in
        [("get", "get_absent 0"), ("delete", "insert 0 v1"), ("rmw", "insert 0 v1"), ("scan", "get_absent 0")]
    {
        let spec = spec(10, 1, &format!("ops = {{ {op} = 1.0 }}, until = {{ ops = 1 }}"));
        let mut oracle = Oracle::new(&spec.data, 0, 1);
        assert_eq!(show(run(&spec, 2, &mut oracle)[0]), first);
    }
}

#[test]
fn an_oracle_refuses_what_must_not_be_found() {
    let spec = spec(10, 1, "ops = { get = 1.0 }, until = { ops = 1 }");
    let mut oracle = Oracle::new(&spec.data, 0, 2);
    let (key, mut value) = (oracle.key_kind().encode(4), Vec::new());
    oracle.values().fill(&key, 1, &mut value);
    assert_eq!(oracle.check_get(4, None), Ok(()));
    assert_eq!(oracle.check_entry(&key, &value), Err(Mismatch::Unexpected));
    oracle.acknowledge(Op::Put { record: 4, version: 1 });
    assert_eq!(oracle.check_get(4, Some(&value)), Ok(()));
    assert_eq!(oracle.check_get(4, None), Err(Mismatch::Missing { expected: 1 }));
    assert_eq!(oracle.check_entry(&oracle.key_kind().absent(4), &value), Err(Mismatch::Unexpected));
    oracle.acknowledge(Op::Update { record: 4, version: 2 });
    assert_eq!(oracle.check_entry(&key, &value), Err(Mismatch::Version { found: 1, expected: 2 }));
    oracle.acknowledge(Op::Delete { record: 4, version: 2 });
    assert_eq!(oracle.check_get(4, Some(&value)), Err(Mismatch::Unexpected));
    assert_eq!((oracle.live_count(), oracle.next_version(4)), (0, 3));
}
