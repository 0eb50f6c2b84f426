//! `cargo bench --bench engines`: the engines side by side, one plot for each operation.
//!
//! Every group gives each engine the same records (16-byte keys without order, 100-byte values), the same memory
//! budget and the same durability (`os`), in a directory of its own. The data fit the budget and were read once,
//! so these are times in memory; `kvlab` measures what happens beyond it, and accounts for the bytes. Beside the two
//! engines stand the oracle, a sorted map in memory, and an engine that does nothing: the cost of asking.
//!
//! After criterion's groups the same operations are counted (`counted.rs`), and a result file is kept that `kvlab
//! compare` and `kvlab report` read: below the target directory, in `kvlab-bench/NAME`, where NAME is that of
//! `--save-baseline` or `latest`.

mod asked;
mod counted;

use std::cell::LazyCell;
use std::ffi::OsStr;
use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use asked::Asked;
use bench_harness::Registry;
use bench_harness::output::complain;
use bench_harness::run::child;
use bench_harness::run::null::NullEngine;
use counted::{Group, Ran};
use criterion::{BenchmarkId, Criterion, Throughput};
use kv_api::{Batch, CommonOptions, Durability, KeyRange, Kv, KvRead, MemoryEngine, Result, ScanOptions};
use kv_btree::{BTreeEngine, BTreeOptions};
use kv_lsm::{LsmEngine, LsmOptions};
use tempfile::TempDir;
use workloads::keys::{Key, KeyKind};

const RECORDS: u64 = 100_000;
const VALUE_BYTES: usize = 100;
const BATCH_OPS: u64 = 100;
const SCAN_ENTRIES: usize = 100;
/// Large enough to hold the records and what updates add to them.
const MEMORY_BUDGET: u64 = 256 << 20;

type Engine = Arc<dyn Kv>;

fn common() -> CommonOptions {
    CommonOptions { memory_budget: MEMORY_BUDGET, ..CommonOptions::default() }
}

fn btree(dir: &Path) -> Result<Engine> {
    Ok(Arc::new(BTreeEngine::open(dir, BTreeOptions { common: common(), ..BTreeOptions::default() })?))
}

fn lsm(dir: &Path) -> Result<Engine> {
    Ok(Arc::new(LsmEngine::open(dir, LsmOptions { common: common(), ..LsmOptions::default() })?))
}

fn memory(_dir: &Path) -> Result<Engine> {
    Ok(Arc::new(MemoryEngine::new()))
}

fn null(_dir: &Path) -> Result<Engine> {
    Ok(Arc::new(NullEngine))
}

/// An engine to compare: its name and how to open it.
type Contestant = (&'static str, fn(&Path) -> Result<Engine>);

const CONTESTANTS: [Contestant; 4] = [("btree", btree), ("lsm", lsm), ("memory", memory), ("null", null)];

fn key(record: u64) -> Key {
    KeyKind::Hash16.encode(record)
}

/// The value of a record at a version: other bytes for each.
fn value(version: u64) -> [u8; VALUE_BYTES] {
    let mut value = [0; VALUE_BYTES];
    for (index, chunk) in value.chunks_mut(8).enumerate() {
        let word = version.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(index as u64).to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
    value
}

/// A counter that visits the records in an order far from their keys'.
struct Walk(u64);

impl Walk {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0 % RECORDS
    }
}

/// An engine that holds the records, and the directory that goes with it.
struct Loaded {
    engine: Engine,
    _dir: TempDir,
}

impl Loaded {
    fn new(open: fn(&Path) -> Result<Engine>) -> Loaded {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let engine = open(&dir.path().join("db")).expect("the engine opens");
        load(&*engine).expect("the records load");
        Loaded { engine, _dir: dir }
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.engine.close().expect("the engine closes");
    }
}

/// A contestant that is loaded when it is first asked: what a filter leaves out costs nothing.
type Waiting = (&'static str, LazyCell<Loaded, Box<dyn FnOnce() -> Loaded>>);

fn contestants() -> [Waiting; 4] {
    CONTESTANTS.map(|(name, open)| {
        let load: Box<dyn FnOnce() -> Loaded> = Box::new(move || Loaded::new(open));
        (name, LazyCell::new(load))
    })
}

/// Puts every record, waits until no upkeep is owed, and reads every record, so that caches are warm.
fn load(engine: &dyn Kv) -> Result<()> {
    for first in (0..RECORDS).step_by(1000) {
        let mut batch = Batch::new();
        for record in first..first + 1000 {
            batch.put(&key(record), &value(record));
        }
        engine.write(&batch, Durability::Os)?;
    }
    engine.settle(Duration::from_secs(60))?;
    for record in 0..RECORDS {
        assert!(get(engine, &key(record)), "every record is there");
    }
    Ok(())
}

fn get<E: KvRead + ?Sized>(engine: &E, key: &Key) -> bool {
    let found = engine.get_with(key, &mut |value| {
        black_box(value);
    });
    found.expect("the get succeeds")
}

/// Runs `body`, one iteration of `group`, on each of `engines`, and takes note of those that a filter did not leave out.
fn compare(
    c: &mut Criterion,
    ran: &mut Ran,
    group: &'static Group,
    engines: &[Waiting],
    body: impl Fn(&dyn Kv, &mut Walk),
) {
    let mut timed = c.benchmark_group(group.name);
    timed.throughput(Throughput::Elements(group.elements));
    for (name, loaded) in engines {
        let mut walk = Walk(0);
        timed.bench_function(BenchmarkId::from_parameter(name), |b| {
            let engine = &*loaded.engine;
            b.iter(|| body(engine, &mut walk));
            // Criterion may call this more than once, to warm up and to measure.
            if !ran.contains(&(group, *name)) {
                ran.push((group, *name));
            }
        });
    }
    timed.finish();
}

/// Operations that change nothing, on engines loaded once.
fn reads(c: &mut Criterion, ran: &mut Ran) {
    let engines = contestants();
    compare(c, ran, &counted::GET_HIT, &engines, |engine, walk| {
        black_box(get(engine, &key(walk.next())));
    });
    compare(c, ran, &counted::GET_MISS, &engines, |engine, walk| {
        black_box(get(engine, &KeyKind::Hash16.absent(walk.next())));
    });
    compare(c, ran, &counted::SCAN, &engines, |engine, walk| {
        let start = key(walk.next());
        let range = KeyRange::from(&start[..]..);
        let mut scan = engine.scan(range, ScanOptions::FORWARD).expect("the scan opens");
        for _ in 0..SCAN_ENTRIES {
            match scan.next().expect("the scan goes on") {
                Some(entry) => black_box(entry.value.len()),
                None => break,
            };
        }
    });
}

/// Operations that write, each on fresh engines: what one leaves behind must not burden the next.
fn writes(c: &mut Criterion, ran: &mut Ran) {
    let one = |engine: &dyn Kv, walk: &mut Walk| {
        let record = walk.next();
        engine.put(&key(record), &value(walk.0), Durability::Os).expect("the put succeeds");
    };
    compare(c, ran, &counted::PUT, &contestants(), one);
    compare(c, ran, &counted::BATCH, &contestants(), |engine, walk| {
        let mut batch = Batch::new();
        for _ in 0..BATCH_OPS {
            let record = walk.next();
            batch.put(&key(record), &value(walk.0));
        }
        engine.write(&batch, Durability::Os).expect("the batch succeeds");
    });
    compare(c, ran, &counted::MIXED, &contestants(), |engine, walk| {
        black_box(get(engine, &key(walk.next())));
        one(engine, walk);
    });
}

/// What the contract itself costs: engines called by their own type and through `dyn Kv`.
fn trait_tax(c: &mut Criterion) {
    let mut group = c.benchmark_group("trait tax of a get");
    let mut walk = Walk(0);
    let null = black_box(NullEngine);
    group.bench_function("null, own type", |b| b.iter(|| get(&null, &key(walk.next()))));
    let shared: Engine = black_box(Arc::new(NullEngine));
    group.bench_function("null, dyn Kv", |b| b.iter(|| get(&*shared, &key(walk.next()))));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let own = LazyCell::new(|| {
        let options = BTreeOptions { common: common(), ..BTreeOptions::default() };
        let engine = BTreeEngine::open(&dir.path().join("db"), options).expect("the engine opens");
        load(&engine).expect("the records load");
        Arc::new(engine)
    });
    group.bench_function("btree, own type", |b| {
        let engine = &**own;
        b.iter(|| get(engine, &key(walk.next())));
    });
    group.bench_function("btree, dyn Kv", |b| {
        let engine: &dyn Kv = black_box(&**own);
        b.iter(|| get(engine, &key(walk.next())));
    });
    group.finish();
}

fn configured() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

fn main() -> ExitCode {
    // What is counted runs in processes of this same program, so that each finds the machine as the others did.
    if std::env::args_os().skip(1).eq([OsStr::new(child::COMMAND)]) {
        return bench_harness::main_with(Registry::standard());
    }
    let asked = Asked::of_this_process();
    let (mut criterion, mut ran) = (configured().configure_from_args(), Ran::new());
    reads(&mut criterion, &mut ran);
    writes(&mut criterion, &mut ran);
    trait_tax(&mut criterion);
    criterion.final_summary();
    match counted::after(&asked, &ran) {
        Ok(exit) => ExitCode::from(exit.map_or(0, |exit| exit.code())),
        Err(failure) => {
            complain(&failure);
            ExitCode::from(failure.exit.code())
        }
    }
}
