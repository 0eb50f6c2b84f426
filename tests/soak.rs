//! Soak: a mixed load on real files for a set time, in cycles that end with a close or a drop. Now and then a call fails or
//! the disk is full, and heals. After each cycle everything is compared and verified, and nothing may have grown that the
//! contents do not explain: memory, open files, files, bytes.
//!
//! It takes 3 seconds; `KVLAB_TESTS=ci` a minute, `long` two and a half hours. Upkeep runs on a thread and cycles are cut
//! by the clock, so a seed repeats the operations and not their moments.

use std::fs;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kv_api::{Batch, Durability, Error, ErrorKind, KeyRange, Kv, Result, ScanOptions, Snapshot};
use kv_io::{Env, RealVfs, Vfs};
use tests::flaky::{FlakyVfs, Fuse, Trouble};
use tests::share::{Repeat, by_share, seeds, tell};
use tests::{Engine, Knobs, Map, Rng, check, each_stored_engine, map};

each_stored_engine!(mixed_load_with_faults_that_heal);

/// Snapshots held at once.
const SNAPSHOTS_MAX: usize = 4;

/// What was done and what it took at most.
#[derive(Debug, Default)]
struct Tally {
    cycles: u64,
    ops: u64,
    faults: u64,
    files_max: u64,
    used_bytes_max: u64,
    rss_bytes_max: u64,
}

/// A database under load, and what it must hold.
struct Soak {
    engine: Engine,
    knobs: Knobs,
    keys: usize,
    env: Env,
    fuse: Arc<Fuse>,
    dir: tempfile::TempDir,
    rng: Rng,
    map: Map,
    /// What it would be with the batch that failed, if that may be there.
    with_failed: Option<Map>,
    snapshots: Vec<(Arc<dyn Snapshot>, Arc<Map>)>,
    live_bytes_max: u64,
    tally: Tally,
}

fn mixed_load_with_faults_that_heal(engine: Engine) -> Result<()> {
    for seed in seeds(1, 1, 1) {
        let _repeat = Repeat::new("soak", "mixed_load", seed);
        let whole = Duration::from_secs(by_share(3, 60, 9_000));
        let cycle = Duration::from_millis(by_share(400, 4_000, 20_000));
        let mut soak = Soak::new(engine, seed);
        let started = Instant::now();
        let mut rss_bytes_first = None;
        while started.elapsed() < whole || soak.tally.cycles < 3 {
            soak.cycle(cycle)?;
            soak.measure();
            let rss_bytes = rss_bytes();
            soak.tally.rss_bytes_max = soak.tally.rss_bytes_max.max(rss_bytes);
            // The first cycles fill what is kept between cycles.
            if soak.tally.cycles == 3 {
                rss_bytes_first = Some(rss_bytes);
            }
            let most = rss_bytes_first.map_or(u64::MAX, |first| 2 * first + (64 << 20));
            assert!(rss_bytes <= most, "{rss_bytes} bytes of memory after {:?}", soak.tally);
        }
        let Tally { cycles, ops, faults, files_max, used_bytes_max, rss_bytes_max } = soak.tally;
        tell(&format!(
            "{}, soak: {cycles} cycles, {ops} operations, {faults} faults; at most {files_max} files of {used_bytes_max} \
             bytes for {} bytes of contents, {rss_bytes_max} bytes of memory with the other engine's",
            engine.name(),
            soak.live_bytes_max
        ));
        assert!(faults > 0, "nothing ever failed");
    }
    Ok(())
}

impl Soak {
    fn new(engine: Engine, seed: u64) -> Soak {
        let fuse = Arc::new(Fuse::default());
        let files: Arc<dyn Vfs> = FlakyVfs::new(RealVfs::new(), Arc::clone(&fuse));
        Soak {
            engine,
            knobs: Knobs::small().with_threads(1),
            keys: by_share(3_000, 20_000, 50_000),
            env: Env::real(files),
            fuse,
            dir: tempfile::tempdir().expect("a temporary directory"),
            rng: Rng::new(seed),
            map: Map::new(),
            with_failed: None,
            snapshots: Vec::new(),
            live_bytes_max: 0,
            tally: Tally::default(),
        }
    }

    fn open(&self) -> Result<Arc<dyn Kv>> {
        self.engine.open(&self.env, &self.dir.path().join("db"), &self.knobs)
    }

    /// Opens, works until `time` is over, through faults if there are any, and lets go of it.
    fn cycle(&mut self, time: Duration) -> Result<()> {
        let started = Instant::now();
        let mut db = self.open()?;
        check::holds(&*db, &self.map, "at the beginning of a cycle")?;
        let met = self.fuse.met();
        // So many operations later something fails, in half of the cycles.
        let mut fault_in = (!self.tally.cycles.is_multiple_of(2)).then(|| self.rng.below(300));
        while started.elapsed() < time {
            fault_in = fault_in.and_then(|left| {
                if left == 0 {
                    self.fuse.arm(*self.rng.pick(&Trouble::ALL), self.rng.below(20) as u64);
                }
                left.checked_sub(1)
            });
            self.tally.ops += 1;
            if let Err(error) = self.step(&*db) {
                db = self.recover(db, &error)?;
            }
        }
        self.fuse.heal();
        self.tally.faults += self.fuse.met() - met;
        // Upkeep may have met the fault where no caller was told yet.
        if let Err(error) = db.settle(Duration::from_secs(60)) {
            db = self.recover(db, &error)?;
            db.settle(Duration::from_secs(60))?;
        }
        self.let_go()?;
        check::holds(&*db, &self.map, "at the end of a cycle")?;
        let report = db.verify()?;
        assert!(report.is_sound(), "{report:?}");
        if self.rng.one_in(2) {
            db.close()?;
        }
        self.tally.cycles += 1;
        Ok(())
    }

    /// One operation of the load.
    fn step(&mut self, db: &dyn Kv) -> Result<()> {
        match self.rng.below(1000) {
            0..480 => self.write(db),
            480..485 => self.delete_range(db),
            485..890 => self.get(db),
            890..990 => self.scan(db),
            990..992 => db.flush(),
            992..994 => db.sync(),
            _ => self.toggle_snapshot(db),
        }
    }

    fn key(&mut self) -> Vec<u8> {
        let n = self.rng.below(self.keys) as u64;
        n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes().to_vec()
    }

    fn commit(&mut self, db: &dyn Kv, batch: &Batch) -> Result<()> {
        let level = if self.rng.one_in(20) { Durability::Disk } else { Durability::Os };
        if let Err(error) = db.write(batch, level) {
            if error.kind() != ErrorKind::NoSpace {
                let mut next = self.map.clone();
                map::apply(&mut next, batch);
                self.with_failed = Some(next);
            }
            return Err(error);
        }
        map::apply(&mut self.map, batch);
        Ok(())
    }

    fn write(&mut self, db: &dyn Kv) -> Result<()> {
        let mut batch = Batch::new();
        for _ in 0..=self.rng.below(6) {
            let key = self.key();
            match self.rng.below(10) {
                0 => batch.delete(&key),
                _ => {
                    let len = self.rng.below(400);
                    batch.put(&key, &self.rng.bytes(len))
                }
            };
        }
        self.commit(db, &batch)
    }

    fn delete_range(&mut self, db: &dyn Kv) -> Result<()> {
        let start = self.key();
        let end = self.map.range(start.clone()..).nth(10).map(|(key, _)| key.clone());
        let mut batch = Batch::new();
        match &end {
            Some(end) => batch.delete_range(KeyRange::from(start.as_slice()..end.as_slice())),
            None => batch.delete(&start),
        };
        self.commit(db, &batch)
    }

    fn get(&mut self, db: &dyn Kv) -> Result<()> {
        let key = self.key();
        let found = db.get(&key)?;
        assert_eq!(found.as_deref(), self.map.get(&key).map(Vec::as_slice), "get {key:x?}");
        Ok(())
    }

    fn scan(&mut self, db: &dyn Kv) -> Result<()> {
        let start = self.key();
        let mut scan = db.scan(KeyRange::from(start.as_slice()..), ScanOptions::FORWARD)?;
        let mut expected = self.map.range::<[u8], _>((Bound::Included(start.as_slice()), Bound::Unbounded));
        for _ in 0..30 {
            let found = scan.next()?.map(|entry| (entry.key.to_vec(), entry.value.to_vec()));
            let wanted = expected.next().map(|(key, value)| (key.clone(), value.clone()));
            assert_eq!(found, wanted, "a scan from {start:x?}");
            if wanted.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Takes a snapshot, or reads one through and lets go of it.
    fn toggle_snapshot(&mut self, db: &dyn Kv) -> Result<()> {
        if self.snapshots.len() < SNAPSHOTS_MAX {
            self.snapshots.push((db.snapshot()?, Arc::new(self.map.clone())));
            return Ok(());
        }
        let at = self.rng.below(self.snapshots.len());
        let (snapshot, expected) = self.snapshots.swap_remove(at);
        assert!(check::contents(&*snapshot)? == *expected, "a snapshot holds other contents");
        Ok(())
    }

    /// Reads all snapshots through and lets go of them.
    fn let_go(&mut self) -> Result<()> {
        for (snapshot, expected) in std::mem::take(&mut self.snapshots) {
            assert!(check::contents(&*snapshot)? == *expected, "a snapshot holds other contents");
        }
        Ok(())
    }

    /// After an error: it is of a kind that a failing disk explains; once that heals, an opening finds all that was
    /// acknowledged.
    fn recover(&mut self, db: Arc<dyn Kv>, error: &Error) -> Result<Arc<dyn Kv>> {
        let kinds = [ErrorKind::Io, ErrorKind::NoSpace, ErrorKind::Poisoned];
        assert!(kinds.contains(&error.kind()), "{:?}: {error}", error.kind());
        self.fuse.heal();
        self.snapshots.clear();
        drop(db);
        let db = self.open()?;
        let found = check::contents(&*db)?;
        if let Some(whole) = self.with_failed.take().filter(|whole| *whole == found) {
            self.map = whole;
        }
        assert!(
            found == self.map,
            "after {error}: {} entries found, {} expected",
            found.len(),
            self.map.len()
        );
        Ok(db)
    }

    /// Nothing may be open any more, and no more on the disk than the contents explain.
    fn measure(&mut self) {
        let dir = self.dir.path().join("db");
        let open = open_files(&dir);
        assert!(open.is_empty(), "left open: {open:?}");
        let (mut files, mut used_bytes) = (0, 0);
        for entry in fs::read_dir(&dir).expect("lists") {
            files += 1;
            used_bytes += entry.and_then(|entry| entry.metadata()).expect("an entry").len();
        }
        let live_bytes: usize = self.map.iter().map(|(key, value)| key.len() + value.len()).sum();
        self.live_bytes_max = self.live_bytes_max.max(live_bytes as u64);
        // Files keep their greatest length for what comes: each snapshot may have held a copy of its own of every page, as
        // do the last checkpoint and the one being written, and pages are half full at worst. The rest goes by the budget.
        let copies = 2 * (SNAPSHOTS_MAX as u64 + 3);
        let most_bytes = copies * self.live_bytes_max + 4 * self.knobs.common.memory_budget;
        assert!(used_bytes <= most_bytes, "{used_bytes} bytes for {} of contents", self.live_bytes_max);
        let most_files = 32 + 6 * self.live_bytes_max / self.knobs.table_bytes;
        assert!(files <= most_files, "{files} files for {} bytes of contents", self.live_bytes_max);
        self.tally.files_max = self.tally.files_max.max(files);
        self.tally.used_bytes_max = self.tally.used_bytes_max.max(used_bytes);
    }
}

/// Files below `dir` that this process has open.
fn open_files(dir: &Path) -> Vec<String> {
    let handles = fs::read_dir("/proc/self/fd").expect("lists");
    let targets = handles.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| target.starts_with(dir)).map(|target| target.display().to_string()).collect()
}

/// Bytes of memory of this process.
fn rss_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/status").expect("reads");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}
