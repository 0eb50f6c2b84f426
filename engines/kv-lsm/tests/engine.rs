//! The engine against a `BTreeMap`, with settings so small that everything happens all the time: flushes,
//! merges, reopening, snapshots held across all of it, on simulated and real files.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kv_api::{
    Background, Batch, Direction, Durability, EntryRef, IoMode, KeyRange, Kv, KvRead, Result, ScanOptions,
    Shape, Snapshot, SortedSource,
};
use kv_io::Env;
use kv_io::sim::{CrashPolicy, SimVfs};
use kv_lsm::{FilterKind, LsmEngine, LsmOptions, ReadMode};

mod setup;

use setup::hostile;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// SplitMix64: one seed, one run.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn key(&mut self) -> Vec<u8> {
        match self.below(20) {
            0 => Vec::new(),
            1 => vec![0xff; 1 + self.below(3) as usize],
            _ => format!("key{:03}", self.below(200)).into_bytes(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let len = match self.below(30) {
            0 => 3000,
            1 => 0,
            _ => self.below(60) as usize,
        };
        let byte = self.below(256) as u8;
        vec![byte; len]
    }

    fn bound(&mut self) -> Bound<Vec<u8>> {
        match self.below(5) {
            0 => Bound::Unbounded,
            1 | 2 => Bound::Included(self.key()),
            _ => Bound::Excluded(self.key()),
        }
    }
}

fn borrow(range: &(Bound<Vec<u8>>, Bound<Vec<u8>>)) -> KeyRange<'_> {
    KeyRange { start: range.0.as_ref().map(Vec::as_slice), end: range.1.as_ref().map(Vec::as_slice) }
}

/// An engine, the map it must agree with, and snapshots with the maps of their time.
struct Mirror {
    env: Env,
    dir: PathBuf,
    options: LsmOptions,
    db: Option<LsmEngine>,
    map: Map,
    snapshots: Vec<(Arc<dyn Snapshot>, Map)>,
}

impl Mirror {
    fn open(env: Env, dir: &Path, options: LsmOptions) -> Result<Mirror> {
        let db = LsmEngine::open_with(env.clone(), dir, options.clone())?;
        let dir = dir.to_path_buf();
        Ok(Mirror { env, dir, options, db: Some(db), map: Map::new(), snapshots: Vec::new() })
    }

    fn db(&self) -> &LsmEngine {
        self.db.as_ref().unwrap()
    }

    fn write(&mut self, rng: &mut Rng) -> Result<()> {
        let mut batch = Batch::new();
        for _ in 0..1 + rng.below(4) {
            match rng.below(24) {
                0 => {
                    let range = (rng.bound(), rng.bound());
                    let range = if rng.below(4) == 0 {
                        range
                    } else {
                        let key = rng.key();
                        (Bound::Included(key.clone()), Bound::Excluded([key, vec![b'5']].concat()))
                    };
                    batch.delete_range(borrow(&range));
                    self.map.retain(|key, _| !borrow(&range).contains(key));
                }
                1..=5 => {
                    let key = rng.key();
                    batch.delete(&key);
                    self.map.remove(&key);
                }
                _ => {
                    let (key, value) = (rng.key(), rng.value());
                    batch.put(&key, &value);
                    self.map.insert(key, value);
                }
            }
        }
        let level = [Durability::Memory, Durability::Os, Durability::Disk][rng.below(3) as usize];
        self.db().write(&batch, level)?;
        Ok(())
    }

    fn reopen(&mut self, close: bool) -> Result<()> {
        self.snapshots.clear();
        let db = self.db.take().unwrap();
        if close {
            db.close()?;
        } else {
            // What only the process knew may go; this test keeps it, so that the map stays true.
            db.sync()?;
        }
        drop(db);
        self.db = Some(LsmEngine::open_with(self.env.clone(), &self.dir, self.options.clone())?);
        Ok(())
    }

    fn check_all(&self, rng: &mut Rng) -> Result<()> {
        check(self.db(), &self.map, rng)?;
        for (snapshot, map) in &self.snapshots {
            check(&**snapshot, map, rng)?;
        }
        let report = self.db().verify()?;
        assert!(report.is_sound(), "{:?}", report.problems);
        assert_eq!(report.entries, self.map.len() as u64);
        Ok(())
    }
}

/// Every entry both ways, a seek, a part of the range, and gets.
fn check(reader: &(impl KvRead + ?Sized), map: &Map, rng: &mut Rng) -> Result<()> {
    for direction in [Direction::Forward, Direction::Reverse] {
        let range =
            if rng.below(2) == 0 { (Bound::Unbounded, Bound::Unbounded) } else { (rng.bound(), rng.bound()) };
        let key_range = borrow(&range);
        let mut want: Vec<(&[u8], &[u8])> = map
            .iter()
            .filter(|(key, _)| !key_range.is_empty() && key_range.contains(key))
            .map(|(key, value)| (key.as_slice(), value.as_slice()))
            .collect();
        if direction == Direction::Reverse {
            want.reverse();
        }
        let mut scan = reader.scan(key_range, ScanOptions { direction })?;
        for entry in &want {
            let found = scan.next()?.map(|e| (e.key.to_vec(), e.value.to_vec()));
            assert_eq!(
                found.as_ref().map(|(k, v)| (&k[..], &v[..])),
                Some(*entry),
                "{direction:?} {range:?}"
            );
        }
        assert!(scan.next()?.is_none());
        assert!(scan.next()?.is_none());
        for _ in 0..3 {
            let probe = rng.key();
            scan.seek(&probe)?;
            let is_there = |(key, _): &&(&[u8], &[u8])| match direction {
                Direction::Forward => *key >= probe.as_slice(),
                Direction::Reverse => *key <= probe.as_slice(),
            };
            let mut rest = want.iter().filter(is_there);
            for _ in 0..3 {
                let found = scan.next()?.map(|e| (e.key.to_vec(), e.value.to_vec()));
                let wanted = rest.next().map(|(key, value)| (key.to_vec(), value.to_vec()));
                assert_eq!(found, wanted, "seek {probe:?} {direction:?} {range:?}");
            }
        }
    }
    for _ in 0..20 {
        let key = rng.key();
        assert_eq!(reader.get(&key)?.as_deref(), map.get(&key).map(Vec::as_slice), "{key:?}");
    }
    Ok(())
}

fn run(env: Env, dir: &Path, options: LsmOptions, seed: u64, steps: u64) -> Result<()> {
    let mut rng = Rng(seed);
    let mut mirror = Mirror::open(env, dir, options)?;
    for step in 0..steps {
        match rng.below(200) {
            0 => mirror.db().flush()?,
            1 => {
                let report = mirror.db().settle(Duration::from_secs(60))?;
                assert_eq!(report.debt_bytes, 0);
            }
            2 => {
                let range = (rng.bound(), rng.bound());
                mirror.db().compact(borrow(&range))?;
            }
            3 | 4 => {
                let close = rng.below(2) == 0;
                mirror.reopen(close)?;
            }
            5..=8 if mirror.snapshots.len() < 8 => {
                let snapshot = mirror.db().snapshot()?;
                mirror.snapshots.push((snapshot, mirror.map.clone()));
            }
            9 | 10 if !mirror.snapshots.is_empty() => {
                let at = rng.below(mirror.snapshots.len() as u64) as usize;
                mirror.snapshots.swap_remove(at);
            }
            11 => {
                let mut list: Map = Map::new();
                for _ in 0..rng.below(60) {
                    list.insert(rng.key(), rng.value());
                }
                mirror.db().ingest(&mut List::new(&list))?;
                mirror.map.extend(list);
            }
            _ => mirror.write(&mut rng)?,
        }
        if step % 100 == 99 {
            mirror.check_all(&mut rng)?;
        }
    }
    mirror.check_all(&mut rng)
}

struct List {
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    at: usize,
}

impl List {
    fn new(map: &Map) -> List {
        List { entries: map.iter().map(|(k, v)| (k.clone(), v.clone())).collect(), at: 0 }
    }
}

impl SortedSource for List {
    fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
        self.at += 1;
        Ok(self.entries.get(self.at - 1).map(|(key, value)| EntryRef { key, value }))
    }
}

#[test]
fn hostile_settings_on_a_simulated_disk() -> Result<()> {
    for seed in 0..6 {
        run(Env::simulated(SimVfs::new(seed), seed), Path::new("/db"), hostile(), seed, 3000)?;
    }
    Ok(())
}

#[test]
fn without_filters_and_with_larger_blocks() -> Result<()> {
    let options = LsmOptions { filter: FilterKind::None, block_size: 4096, l0_trigger: 4, ..hostile() };
    run(Env::simulated(SimVfs::new(77), 77), Path::new("/db"), options, 77, 3000)
}

#[test]
fn threads_and_direct_io_on_real_files() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let mut options = hostile();
    options.common.background = Background::Threads(2);
    options.common.io = IoMode::Direct;
    run(Env::os(), &dir.path().join("db"), options, 5, 2500)
}

#[test]
fn mapped_reads_on_real_files() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let mut options = LsmOptions { read_mode: ReadMode::Mmap, ..hostile() };
    options.common.background = Background::Threads(1);
    run(Env::os(), &dir.path().join("db"), options, 6, 1500)
}

/// All contents, by a scan.
fn contents(db: &LsmEngine) -> Result<Map> {
    let mut map = Map::new();
    let mut scan = db.scan(KeyRange::ALL, ScanOptions::FORWARD)?;
    while let Some(entry) = scan.next()? {
        map.insert(entry.key.to_vec(), entry.value.to_vec());
    }
    Ok(map)
}

#[test]
fn a_power_cut_at_any_step_leaves_a_prefix_with_every_acknowledged_write() -> Result<()> {
    let writes = 60_u64;
    let work = |db: &LsmEngine, acked: &mut u64| -> Result<()> {
        for n in 0..writes {
            let mut batch = Batch::new();
            batch.put(&n.to_be_bytes(), &[n as u8; 50]).put(b"last", &n.to_be_bytes());
            if n % 7 == 6 {
                batch.delete_range(KeyRange::from(&(n - 3).to_be_bytes()[..]..&(n - 1).to_be_bytes()[..]));
            }
            db.write(&batch, Durability::Disk)?;
            *acked = n + 1;
        }
        db.close()
    };
    let expected = |count: u64| {
        let mut map = Map::new();
        for n in 0..count {
            map.insert(n.to_be_bytes().to_vec(), vec![n as u8; 50]);
            map.insert(b"last".to_vec(), n.to_be_bytes().to_vec());
            if n % 7 == 6 {
                map.remove(&(n - 3).to_be_bytes()[..]);
                map.remove(&(n - 2).to_be_bytes()[..]);
            }
        }
        map
    };
    let dir = Path::new("/db");
    let whole = SimVfs::new(1);
    work(&LsmEngine::open_with(Env::simulated(whole.clone(), 1), dir, hostile())?, &mut 0)?;
    for step in (0..whole.steps()).step_by(3) {
        let disk = SimVfs::new(1);
        disk.crash_at(step);
        let mut acked = 0;
        if let Ok(db) = LsmEngine::open_with(Env::simulated(disk.clone(), 1), dir, hostile()) {
            let _ = work(&db, &mut acked);
        }
        for policy in [CrashPolicy::DropUnsynced, CrashPolicy::KeepAll, CrashPolicy::Tear { seed: step }] {
            let image = disk.crash(policy);
            let db = LsmEngine::open_with(Env::simulated(image, 2), dir, hostile())
                .unwrap_or_else(|error| panic!("step {step} {policy:?}: {error}"));
            let found = contents(&db)?;
            let fits = (acked..=acked + 1).any(|count| found == expected(count));
            assert!(fits, "step {step} {policy:?}: {acked} acknowledged, {} entries found", found.len());
            assert!(db.verify()?.is_sound());
            db.close()?;
        }
    }
    Ok(())
}

#[test]
fn a_backup_opens_by_itself_and_holds_that_moment() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let db = LsmEngine::open(&dir.path().join("db"), hostile())?;
    for n in 0..500_u32 {
        db.put(&n.to_be_bytes(), &[1; 40], Durability::Os)?;
    }
    db.delete_range(KeyRange::from(&10_u32.to_be_bytes()[..]..&20_u32.to_be_bytes()[..]), Durability::Os)?;
    let report = db.backup(&dir.path().join("copy"))?;
    db.put(b"later", b"", Durability::Os)?;
    assert_eq!(report.entries, 490);
    let copy = LsmEngine::open(&dir.path().join("copy"), hostile())?;
    assert_eq!(copy.verify()?.entries, 490);
    assert!(copy.get(b"later")?.is_none());
    assert!(db.backup(&dir.path().join("copy")).is_err());
    assert!(copy.verify()?.is_sound() && db.verify()?.is_sound());
    Ok(())
}

#[test]
fn the_shape_is_that_of_levels_and_a_full_compaction_leaves_one() -> Result<()> {
    let db = LsmEngine::open_with(Env::simulated(SimVfs::new(3), 3), Path::new("/db"), hostile())?;
    let mut rng = Rng(3);
    for _ in 0..2000 {
        db.put(&rng.key(), &rng.value(), Durability::Memory)?;
    }
    let files = |db: &LsmEngine| -> Result<Vec<usize>> {
        let Shape::Levels(shape) = db.shape()? else { panic!("not levels") };
        Ok(shape.levels.iter().map(|level| level.tables.len()).collect())
    };
    assert!(files(&db)?.iter().filter(|count| **count > 0).count() > 1, "{:?}", files(&db)?);
    db.delete_range(KeyRange::from(&b"key1"[..]..), Durability::Disk)?;
    let report = db.compact(KeyRange::ALL)?;
    assert!(report.read_bytes > report.written_bytes);
    let after = files(&db)?;
    assert_eq!(after.iter().sum::<usize>(), after[6], "{after:?}");
    let Shape::Levels(shape) = db.shape()? else { panic!("not levels") };
    assert!(shape.levels[6].tables.iter().all(|table| table.tombstones + table.range_tombstones == 0));
    assert!(db.stats().counter("tombstones_dropped") > 0);
    assert!(db.verify()?.is_sound());
    Ok(())
}

#[test]
fn deletes_kept_for_a_snapshot_go_with_it_and_nothing_between_them_is_lost() -> Result<()> {
    let db = LsmEngine::open_with(Env::simulated(SimVfs::new(4), 4), Path::new("/db"), hostile())?;
    for n in 0..600_u32 {
        db.put(&n.to_be_bytes(), &[7; 50], Durability::Memory)?;
    }
    db.compact(KeyRange::ALL)?;
    let snapshot = db.snapshot()?;
    // Deletes at both ends: their tables lie around others that hold none.
    for n in [0_u32, 1, 2, 597, 598, 599] {
        db.delete(&n.to_be_bytes(), Durability::Memory)?;
    }
    db.compact(KeyRange::ALL)?;
    assert_eq!((contents(&db)?.len(), db.verify()?.entries), (594, 594));
    assert!(snapshot.get(&0_u32.to_be_bytes())?.is_some());
    drop(snapshot);
    db.compact(KeyRange::ALL)?;
    assert_eq!(contents(&db)?.len(), 594);
    assert!(db.verify()?.is_sound());
    let Shape::Levels(shape) = db.shape()? else { panic!("not levels") };
    let deletes =
        shape.levels.iter().flat_map(|level| &level.tables).map(|table| table.tombstones).sum::<u64>();
    assert_eq!(deletes, 0);
    Ok(())
}
