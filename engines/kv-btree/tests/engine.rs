//! The engine on real files: random operations against a map with hostile settings, reopening, snapshots that
//! outlive many checkpoints, large values, ingest and backup. The larger suites are in package `tests`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kv_api::{
    Background, Batch, CommonOptions, Durability, EntryRef, ErrorKind, IoMode, KeyRange, Kv, KvExt, KvRead,
    Result, Shape, Snapshot, SortedSource,
};
use kv_btree::{BTreeEngine, BTreeOptions};
use kv_io::sim::{Effect, FaultOp, Repeat};
use kv_io::{Env, SimVfs};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn options(budget: u64, page_size: usize, background: Background) -> BTreeOptions {
    let common =
        CommonOptions { memory_budget: budget, background, io: IoMode::Buffered, ..CommonOptions::default() };
    BTreeOptions { common, page_size, ..BTreeOptions::default() }
}

struct Rng(u64);

impl Rng {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

fn contents(db: &impl KvRead) -> Model {
    let mut scan = db.scan(KeyRange::ALL, kv_api::ScanOptions::FORWARD).unwrap();
    let mut out = Model::new();
    while let Some(entry) = scan.next().unwrap() {
        out.insert(entry.key.to_vec(), entry.value.to_vec());
    }
    out
}

fn contents_of(snapshot: &dyn Snapshot) -> Model {
    let mut scan = snapshot.scan(KeyRange::ALL, kv_api::ScanOptions::REVERSE).unwrap();
    let mut out = Model::new();
    while let Some(entry) = scan.next().unwrap() {
        out.insert(entry.key.to_vec(), entry.value.to_vec());
    }
    out
}

fn assert_sound(db: &BTreeEngine) {
    let report = db.verify().unwrap();
    assert!(report.is_sound(), "{:#?}", report.problems);
}

fn random_batch(rng: &mut Rng, model: &mut Model) -> Batch {
    let mut batch = Batch::new();
    for _ in 0..1 + rng.next(12) {
        let key = format!("key{:05}", rng.next(3000)).into_bytes();
        match rng.next(20) {
            0 => {
                let end = format!("key{:05}", rng.next(3000)).into_bytes();
                batch.delete_range(KeyRange::from(key.as_slice()..end.as_slice()));
                model.retain(|known, _| *known < key || *known >= end);
            }
            1..=4 => {
                batch.delete(&key);
                model.remove(&key);
            }
            kind => {
                let len = if kind == 5 { rng.next(6000) } else { rng.next(120) };
                let value = vec![rng.next(256) as u8; len as usize];
                batch.put(&key, &value);
                model.insert(key, value);
            }
        }
    }
    batch
}

fn churn(dir: &Path, page_size: usize, background: Background, seed: u64) {
    let mut rng = Rng(seed);
    let mut model = Model::new();
    for _ in 0..5 {
        let db = BTreeEngine::open(dir, options(64 << 10, page_size, background)).unwrap();
        assert_eq!(contents(&db), model);
        let mut held: Vec<(Arc<dyn Snapshot>, Model)> = Vec::new();
        for step in 0..400 {
            let batch = random_batch(&mut rng, &mut model);
            let level = [Durability::Memory, Durability::Os, Durability::Disk][rng.next(3) as usize];
            db.write(&batch, level).unwrap();
            if step % 50 == 10 {
                held.push((db.snapshot().unwrap(), model.clone()));
            }
            if held.len() > 4 {
                let (snapshot, old) = held.remove(rng.next(4) as usize);
                assert_eq!(contents_of(&*snapshot), old);
            }
            if step % 100 == 99 {
                db.flush().unwrap();
                assert_sound(&db);
            }
        }
        for (snapshot, old) in &held {
            assert_eq!(&contents_of(&**snapshot), old);
        }
        assert_eq!(contents(&db), model);
        drop(held);
        assert_sound(&db);
        match rng.next(2) {
            0 => db.close().unwrap(),
            _ => db.sync().unwrap(),
        }
    }
}

#[test]
fn random_operations_leave_what_a_map_holds_inline() {
    for (seed, page_size) in [(1, 512), (2, 1024), (3, 4096)] {
        let dir = tempfile::tempdir().unwrap();
        churn(dir.path(), page_size, Background::Inline, seed);
    }
}

#[test]
fn direct_io_moves_whole_blocks_at_every_page_size() {
    for page_size in [4096, 16_384, 65_536] {
        for simulated in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let mut options = options(2 << 20, page_size, Background::Inline);
            options.common.io = IoMode::Direct;
            // The simulated disk refuses direct I/O that is not aligned; a real one may fall back to buffered.
            let env = if simulated { Env::simulated(SimVfs::new(7), 7) } else { Env::os() };
            let mut rng = Rng(page_size as u64);
            let mut model = Model::new();
            for _ in 0..2 {
                let db =
                    BTreeEngine::open_with(env.clone(), &dir.path().join("db"), options.clone()).unwrap();
                assert_eq!(contents(&db), model);
                for _ in 0..150 {
                    let batch = random_batch(&mut rng, &mut model);
                    db.write(&batch, Durability::Os).unwrap();
                }
                let large = vec![9; 200_001];
                db.put(b"large", &large, Durability::Os).unwrap();
                model.insert(b"large".to_vec(), large);
                assert!(!simulated || db.info().io == Some(IoMode::Direct));
                db.flush().unwrap();
                assert_sound(&db);
                assert_eq!(contents(&db), model);
            }
        }
    }
}

#[test]
fn random_operations_leave_what_a_map_holds_with_threads() {
    for (seed, page_size) in [(4, 512), (5, 4096)] {
        let dir = tempfile::tempdir().unwrap();
        churn(dir.path(), page_size, Background::Threads(2), seed);
    }
}

#[test]
fn readers_see_whole_commits_while_a_writer_churns() {
    let dir = tempfile::tempdir().unwrap();
    let db = BTreeEngine::open(dir.path(), options(256 << 10, 512, Background::Threads(1))).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut rng = Rng(9);
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let snapshot = db.snapshot().unwrap();
                    let key = rng.next(500).to_be_bytes();
                    // Both halves of a pair are written by one batch.
                    let mirror = [key.as_slice(), b"m"].concat();
                    assert_eq!(snapshot.get(&key).unwrap(), snapshot.get(&mirror).unwrap());
                    db.get(&key).unwrap();
                }
            });
        }
        let mut rng = Rng(7);
        for round in 0..20_000_u64 {
            let key = rng.next(500).to_be_bytes();
            let mut batch = Batch::new();
            let value = vec![round as u8; rng.next(200) as usize];
            batch.put(&key, &value).put(&[key.as_slice(), b"m"].concat(), &value);
            db.write(&batch, Durability::Memory).unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_sound(&db);
    db.settle(Duration::from_secs(10)).unwrap();
    assert_eq!(db.stats().debt_bytes, 0);
}

struct Sorted<I: Iterator<Item = (Vec<u8>, Vec<u8>)>> {
    entries: I,
    current: (Vec<u8>, Vec<u8>),
}

impl<I: Iterator<Item = (Vec<u8>, Vec<u8>)>> SortedSource for Sorted<I> {
    fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
        let Some(entry) = self.entries.next() else { return Ok(None) };
        self.current = entry;
        Ok(Some(EntryRef { key: &self.current.0, value: &self.current.1 }))
    }
}

fn sorted(count: u64, step: u64) -> Sorted<impl Iterator<Item = (Vec<u8>, Vec<u8>)>> {
    let entries = (0..count).map(move |n| ((n * step).to_be_bytes().to_vec(), vec![n as u8; 100]));
    Sorted { entries, current: Default::default() }
}

#[test]
fn ingest_is_durable_at_return_and_leaves_nothing_when_refused() {
    let dir = tempfile::tempdir().unwrap();
    let db = BTreeEngine::open(dir.path(), options(1 << 20, 4096, Background::Inline)).unwrap();
    assert_eq!(db.ingest(&mut sorted(20_000, 2)).unwrap().entries, 20_000);
    assert_eq!(db.ingest(&mut sorted(1000, 3)).unwrap().entries, 1000);
    let unsorted = vec![(b"b".to_vec(), vec![]), (b"a".to_vec(), vec![])];
    let mut source = Sorted { entries: unsorted.into_iter(), current: Default::default() };
    assert!(db.ingest(&mut source).is_err());
    assert_eq!(db.get(b"b").unwrap(), None);
    assert_sound(&db);
    drop(db);
    let db = BTreeEngine::open(dir.path(), options(1 << 20, 4096, Background::Inline)).unwrap();
    assert_eq!(db.range::<&[u8]>(..).unwrap().count(), 20_000 + 500);
    let Shape::Tree(shape) = db.shape().unwrap() else { panic!("a tree has the shape of one") };
    assert_eq!((shape.entries, shape.dirty_pages), (20_500, 0));
    assert!(shape.leaf_pages < 20_500 / 30, "{shape:?}");
}

/// Entries of an ingest are in no log: a handle that lost the meta which names them must not open without them.
#[test]
#[expect(clippy::disallowed_methods, reason = "the damage is done behind the engine's back")]
fn a_meta_damaged_after_an_ingest_is_damage_and_not_the_state_before_it() {
    let hostile = || options(64 << 10, 512, Background::Inline);
    for before in [0_u8, 7] {
        let dir = tempfile::tempdir().unwrap();
        let db = BTreeEngine::open(dir.path(), hostile()).unwrap();
        for n in 0..before {
            db.put(&[n], b"before", Durability::Disk).unwrap();
        }
        db.flush().unwrap();
        db.ingest(&mut sorted(50, 2)).unwrap();
        let (seq, all) = (db.snapshot().unwrap().seq(), contents(&db));
        drop(db);
        let path = dir.path().join("000001.pages");
        let good = std::fs::read(&path).unwrap();
        let opened = [0, 4096].map(|meta| {
            let mut bad = good.clone();
            bad[meta + 20] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            let mut read_only = hostile();
            (read_only.common.read_only, read_only.common.create) = (true, false);
            BTreeEngine::open(dir.path(), read_only).map(|db| contents(&db)).map_err(|error| error.kind())
        });
        assert!(opened.contains(&Err(ErrorKind::Corruption)), "{opened:?}");
        assert!(opened.iter().flatten().all(|found| *found == all), "{opened:?}");
        std::fs::write(&path, &good).unwrap();
        let db = BTreeEngine::open(dir.path(), hostile()).unwrap();
        assert_eq!((db.snapshot().unwrap().seq(), contents(&db)), (seq, all));
    }
}

#[test]
fn a_backup_opens_by_itself_and_holds_the_moment() {
    let dir = tempfile::tempdir().unwrap();
    let db =
        BTreeEngine::open(&dir.path().join("a"), options(1 << 20, 4096, Background::Threads(1))).unwrap();
    for n in 0..3000_u32 {
        db.put(&n.to_be_bytes(), &[3; 200], Durability::Memory).unwrap();
    }
    db.put(b"large", &vec![5; 100_000], Durability::Memory).unwrap();
    let report = db.backup(&dir.path().join("b")).unwrap();
    assert_eq!((report.entries, report.seq), (3001, 3001));
    let copy = BTreeEngine::open(&dir.path().join("b"), options(1 << 20, 4096, Background::Inline)).unwrap();
    assert_eq!(contents(&copy), contents(&db));
    assert_sound(&copy);
    assert!(db.backup(&dir.path().join("b")).is_err_and(|error| error.kind() == ErrorKind::InvalidOptions));
}

#[test]
fn a_read_only_handle_sees_the_log_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let db = BTreeEngine::open(dir.path(), options(1 << 20, 4096, Background::Inline)).unwrap();
    db.put(b"small", b"1", Durability::Os).unwrap();
    db.put(b"large", &vec![7; 50_000], Durability::Os).unwrap();
    drop(db);
    let mut read_only = options(1 << 20, 4096, Background::Inline);
    (read_only.common.read_only, read_only.common.create) = (true, false);
    for _ in 0..2 {
        let db = BTreeEngine::open(dir.path(), read_only.clone()).unwrap();
        assert_eq!(db.get(b"large").unwrap().as_deref(), Some(&[7; 50_000][..]));
        assert_eq!(db.recovery().ops_replayed, 2);
        assert!(db.put(b"k", b"v", Durability::Os).is_err_and(|error| error.kind() == ErrorKind::ReadOnly));
        assert!(db.flush().is_err_and(|error| error.kind() == ErrorKind::ReadOnly));
        assert_sound(&db);
    }
}

#[test]
fn the_page_size_is_that_of_the_creation_and_a_closed_handle_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let db = BTreeEngine::open(dir.path(), options(1 << 20, 8192, Background::Inline)).unwrap();
    db.put(b"k", b"v", Durability::Disk).unwrap();
    let snapshot = db.snapshot().unwrap();
    let mut scan = db.scan(KeyRange::ALL, kv_api::ScanOptions::FORWARD).unwrap();
    db.close().unwrap();
    db.close().unwrap();
    for error in [
        db.get(b"k").err(),
        db.put(b"k", b"v", Durability::Disk).err(),
        snapshot.get(b"k").err(),
        scan.next().err(),
        db.flush().err(),
    ] {
        assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Closed));
    }
    let db = BTreeEngine::open(dir.path(), options(1 << 20, 4096, Background::Inline)).unwrap();
    assert!(db.recovery().clean && db.recovery().ops_replayed == 0, "{:?}", db.recovery());
    assert_eq!(db.limits().key_bytes_max, 8192 / 4 - 64);
    assert_eq!(db.get(b"k").unwrap().as_deref(), Some(&b"v"[..]));
    assert_sound(&db);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the damage is done behind the engine's back")]
fn a_flipped_byte_in_any_page_is_damage_and_never_a_wrong_answer() {
    let dir = tempfile::tempdir().unwrap();
    let db = BTreeEngine::open(dir.path(), options(64 << 10, 512, Background::Inline)).unwrap();
    for n in 0..2000_u32 {
        db.put(&n.to_be_bytes(), &n.to_le_bytes(), Durability::Memory).unwrap();
    }
    db.close().unwrap();
    let path = dir.path().join("000001.pages");
    let good = std::fs::read(&path).unwrap();
    let mut rng = Rng(3);
    for _ in 0..200 {
        let mut bad = good.clone();
        let at = 8192 + rng.next(good.len() as u64 - 8192) as usize;
        bad[at] ^= 1 << rng.next(8);
        std::fs::write(&path, &bad).unwrap();
        let mut read_only = options(64 << 10, 512, Background::Inline);
        (read_only.common.read_only, read_only.common.create) = (true, false);
        let Ok(db) = BTreeEngine::open(dir.path(), read_only) else { continue };
        for n in 0..2000_u32 {
            match db.get(&n.to_be_bytes()) {
                Ok(value) => assert_eq!(value.as_deref(), Some(&n.to_le_bytes()[..])),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corruption),
            }
        }
    }
    std::fs::write(&path, &good).unwrap();
    assert_sound(&BTreeEngine::open(dir.path(), options(64 << 10, 512, Background::Inline)).unwrap());
}

#[test]
fn checks_walk_a_state_while_writers_and_checkpoints_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let db = BTreeEngine::open(dir.path(), options(256 << 10, 512, Background::Threads(1))).unwrap();
    let (mut rng, mut model) = (Rng(7), Model::new());
    for _ in 0..200 {
        db.write(&random_batch(&mut rng, &mut model), Durability::Memory).unwrap();
    }
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut batches = 0;
            while !is_done.load(std::sync::atomic::Ordering::Relaxed) || batches < 200 {
                db.write(&random_batch(&mut rng, &mut model), Durability::Memory).unwrap();
                batches += 1;
            }
        });
        for _ in 0..12 {
            assert_sound(&db);
            let Shape::Tree(shape) = db.shape().unwrap() else { panic!("a tree has the shape of one") };
            assert!(shape.leaf_pages > 1 && shape.entries > 0, "{shape:?}");
        }
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().unwrap();
    });
    assert_eq!(contents(&db), model);
    assert_eq!(db.stats().snapshots_open, 0);
    assert_sound(&db);
}

#[test]
fn every_piece_of_a_large_value_counts_as_a_block_read() {
    let dir = tempfile::tempdir().unwrap();
    let db = BTreeEngine::open(dir.path(), options(16 << 20, 4096, Background::Inline)).unwrap();
    // Pieces have at most 256 pages: one and a half make two.
    db.put(b"large", &vec![5; 384 * 4096], Durability::Memory).unwrap();
    let value_reads = || db.stats().blocks.into_iter().find(|kind| kind.kind == "value").unwrap();
    let before = value_reads();
    assert_eq!(db.get(b"large").unwrap().map(|value| value.len()), Some(384 * 4096));
    let after = value_reads();
    // The index is in memory still, the pieces never are.
    assert_eq!(after.point_requests - before.point_requests, 3);
    assert_eq!(after.point_misses - before.point_misses, 2);
}

#[test]
fn the_file_is_cut_when_its_contents_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = || -> u64 {
        let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap());
        files
            .filter(|entry| entry.file_name().to_string_lossy().ends_with(".pages"))
            .map(|entry| entry.metadata().unwrap().len())
            .sum()
    };
    let db = BTreeEngine::open(dir.path(), options(1 << 20, 4096, Background::Inline)).unwrap();
    for n in 0..20_000_u32 {
        db.put(&n.to_be_bytes(), &[3; 200], Durability::Memory).unwrap();
    }
    db.flush().unwrap();
    let full = bytes();
    assert!(full > 20_000 * 200, "{full} bytes");
    db.delete_range(KeyRange::ALL, Durability::Memory).unwrap();
    db.put(b"left", b"over", Durability::Memory).unwrap();
    // The first checkpoint frees the pages, the second moves what lay behind them, the third is sure of it.
    for n in 0..4_u8 {
        db.put(b"left", &[n], Durability::Memory).unwrap();
        db.flush().unwrap();
        assert_sound(&db);
    }
    assert!(bytes() < full / 8, "{} of {full} bytes", bytes());
    drop(db);
    let db = BTreeEngine::open(dir.path(), options(1 << 20, 4096, Background::Inline)).unwrap();
    assert_eq!(db.get(b"left").unwrap().as_deref(), Some(&[3][..]));
    assert_sound(&db);
}

/// A read that a slow disk answers only after the handle was closed, and another one wrote where it reads.
#[test]
fn a_read_that_outlives_its_handle_gives_no_page_of_the_next_one() {
    let sim = SimVfs::new(1);
    let env = Env::simulated(Arc::clone(&sim) as _, 1);
    let open = || {
        BTreeEngine::open_with(env.clone(), Path::new("db"), options(64 << 10, 512, Background::Inline))
            .unwrap()
    };
    let fill = |db: &BTreeEngine, round: u8| {
        for n in 0..400_u32 {
            db.put(format!("key{n:04}").as_bytes(), &[round; 60], Durability::Memory).unwrap();
        }
        db.flush().unwrap();
    };
    let first = open();
    fill(&first, 1);
    std::thread::scope(|scope| {
        sim.faults().inject(FaultOp::Read, 0, Repeat::Once, Effect::Slow(Duration::from_millis(400)));
        let late = scope.spawn(|| first.get(b"key0001"));
        std::thread::park_timeout(Duration::from_millis(50));
        sim.faults().heal();
        first.close().unwrap();
        let second = open();
        (2..6).for_each(|round| fill(&second, round));
        match late.join().unwrap() {
            Ok(value) => assert_eq!(value.as_deref(), Some(&[1; 60][..])),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
        }
        assert_sound(&second);
    });
}
