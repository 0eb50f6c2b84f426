//! A database whose files were damaged: it gives the right answer or a typed error, never a wrong value, a lost one,
//! or a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use kv_api::{Cause, Durability, Error, ErrorKind, KeyRange, Kv, Result};
use kv_io::sim::{CrashPolicy, SimVfs};
use kv_io::vfs::OpenOptions;
use kv_io::{Env, Vfs};

use crate::bars;
use crate::check;
use crate::knobs::Knobs;
use crate::lab::{Engine, Lab};
use crate::map::Map;
use crate::share::{Repeat, only_case, suite};
use crate::steps::Entries;

/// What damaged databases did.
#[derive(Debug, Default)]
pub struct Tally {
    /// Gave all the right answers.
    pub right: u64,
    /// Came back without the last sync group of a log that nobody closed, and said that they cut a torn tail.
    pub cut: u64,
    /// Refused at least one answer with a typed error.
    pub refused: u64,
    /// The most that one of them used.
    pub most: bars::Used,
    /// Processor time of all.
    pub cpu: std::time::Duration,
}

impl Tally {
    /// Databases damaged.
    pub fn cases(&self) -> u64 {
        self.right + self.cut + self.refused
    }
}

/// What one damaged database did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Right,
    Cut,
    Refused,
}

/// A database on a simulated disk and what it holds, to be damaged copy by copy.
#[derive(Debug)]
pub struct Patient {
    /// Which engine.
    pub engine: Engine,
    /// Its disk; every damage works on a copy.
    pub disk: Arc<SimVfs>,
    /// What it holds.
    pub map: Map,
    /// What it held before each batch of the last sync group, if nobody closed it: damage to the end of such a log cannot
    /// be told from what a crash leaves, so these batches may be cut, if recovery says so.
    pub before_last: Vec<Map>,
    /// What happened to the copies so far.
    pub tally: Tally,
    /// Copies damaged so far: each asks for other keys.
    cases: usize,
}

/// Every how many keys one is asked for by itself; the scan reads all of them.
const GETS_STEP: usize = 7;

/// The levels of a group of batches: the last one syncs them all.
const GROUP: [Durability; 5] =
    [Durability::Memory, Durability::Memory, Durability::Os, Durability::Memory, Durability::Disk];

/// How a database is left before it is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Closed, everything in data files.
    Flushed,
    /// Closed without a flush before: everything is in the log, and of the B+tree in pages too, for its close writes a
    /// checkpoint.
    Logged,
    /// The process died: some in data files, the newest in the log.
    Killed,
    /// The process died; the log holds groups of batches of all levels, synced together.
    Grouped,
    /// The process died right after it had ingested entries, which are in no log.
    Ingested,
}

impl Left {
    /// All of them.
    pub const ALL: [Left; 5] = [Left::Flushed, Left::Logged, Left::Killed, Left::Grouped, Left::Ingested];
}

/// An engine with the smallest settings over `disk`.
pub fn lab_over(engine: Engine, disk: &Arc<SimVfs>) -> Lab {
    Lab::over(engine, Knobs::hostile(), Env::simulated(Arc::clone(disk) as Arc<dyn Vfs>, 1))
}

impl Patient {
    /// A small database with entries of every kind. Another `seed` gives another database with the same files.
    ///
    /// # Errors
    /// Those of the engine: none is expected.
    pub fn new(engine: Engine, left: Left, seed: u64) -> Result<Patient> {
        let disk = SimVfs::new(seed);
        let env = Env::simulated(Arc::clone(&disk) as Arc<dyn Vfs>, seed);
        let lab = Lab::over(engine, Knobs::hostile(), env);
        let db = lab.open()?;
        for n in 0..150_u32 {
            let value = vec![(n as u8).wrapping_add(seed as u8); 60 + n as usize % 7];
            db.put(format!("key{n:04}").as_bytes(), &value, Durability::Os)?;
        }
        db.delete_range(KeyRange::from(b"key0020".as_slice()..b"key0030".as_slice()), Durability::Os)?;
        db.delete(b"key0100", Durability::Os)?;
        db.put(b"large", &[7; 5000], Durability::Os)?;
        if left != Left::Logged {
            db.flush()?;
            db.settle(std::time::Duration::from_secs(60))?;
        }
        let mut before_last = Vec::new();
        match left {
            Left::Flushed | Left::Logged => {}
            // Enough for the log to go on in a further segment.
            Left::Killed => {
                for n in 0..40_u8 {
                    before_last = vec![check::contents(&*db)?];
                    let len = if n % 4 == 3 { 7000 } else { 100 };
                    db.put(&[b'l', n], &vec![n; len], Durability::Disk)?;
                }
            }
            Left::Grouped => {
                for group in 0..10_u8 {
                    before_last.clear();
                    for (n, level) in GROUP.into_iter().enumerate() {
                        before_last.push(check::contents(&*db)?);
                        let value = vec![group; if n == 1 { 3000 } else { 40 + n }];
                        db.put(&[b'n', group, n as u8], &value, level)?;
                    }
                }
            }
            Left::Ingested => {
                let entries: Vec<_> = (0..40_u8).map(|n| (vec![b'm', n], vec![n; 50])).collect();
                db.ingest(&mut Entries::new(&entries))?;
            }
        }
        let map = check::contents(&*db)?;
        if matches!(left, Left::Flushed | Left::Logged) {
            db.verify_now();
            db.close()?;
        }
        drop(db);
        Ok(Patient { engine, disk, map, before_last, tally: Tally::default(), cases: 0 })
    }

    /// Damages a copy of the disk and reads everything from it.
    ///
    /// # Panics
    /// If an answer is wrong, an error is of the wrong kind, or the engine panics.
    pub fn damaged(&mut self, context: &str, damage: impl FnOnce(&SimVfs, &Path)) {
        if only_case().is_some_and(|case| !context.contains(&case)) {
            return;
        }
        let copy = self.disk.crash(CrashPolicy::KeepAll);
        let lab = lab_over(self.engine, &copy);
        damage(&copy, lab.dir());
        self.cases += 1;
        let _repeat = Repeat::new(suite(), format!("{}::", self.engine.name()), 1).with_case(context);
        let file_len = longest_file(&copy, lab.dir());
        let (read, used) = bars::used(|| catch_unwind(AssertUnwindSafe(|| self.read_all(&lab, context))));
        used.check(file_len, context);
        self.tally.most = self.tally.most.max(used);
        self.tally.cpu += used.cpu;
        match read {
            Ok(Answer::Right) => self.tally.right += 1,
            Ok(Answer::Cut) => self.tally.cut += 1,
            Ok(Answer::Refused) => self.tally.refused += 1,
            Err(_) => panic!("{context}: panicked"),
        }
    }

    /// Stops the test unless what happened to the copies is as it must be.
    pub fn expect(&self, holds: impl Fn(&Tally) -> bool, context: &str) {
        assert!(only_case().is_some() || holds(&self.tally), "{context}: {:?}", self.tally);
    }

    /// Every file of the database by name, without the lock file.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn files(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut files = crate::crash::files_of(&*self.disk, lab_over(self.engine, &self.disk).dir())?;
        files.retain(|(name, _)| name != "LOCK");
        Ok(files)
    }

    /// Reads everything there is. If all of it is right, what is written now is still there after another opening.
    fn read_all(&self, lab: &Lab, context: &str) -> Answer {
        let kv = match lab.engine.open(&lab.env, lab.dir(), &lab.knobs) {
            Ok(kv) => kv,
            Err(error) => {
                check_typed(&error, context);
                return Answer::Refused;
            }
        };
        let has_cut = kv.recovery().tail_bytes_dropped > 0;
        let cut = || self.before_last.iter().find(|cut| check::is(&*kv, cut).is_ok_and(|is| is));
        let (expected, mut all) = match check::is(&*kv, &self.map) {
            Ok(true) => (&self.map, true),
            Ok(false) => match cut().filter(|_| has_cut) {
                Some(expected) => (expected, true),
                None => {
                    let found = check::contents(&*kv).map(|found| found.len());
                    panic!(
                        "{context}: a scan gives wrong contents without an error: {found:?} entries, expected {}; tail \
                         cut: {has_cut}",
                        self.map.len()
                    )
                }
            },
            Err(error) => {
                check_typed(&error, context);
                (&self.map, false)
            }
        };
        for key in self.map.keys().skip(self.cases % GETS_STEP).step_by(GETS_STEP) {
            match kv.get(key) {
                Ok(found) => {
                    let right = expected.get(key).map(Vec::as_slice);
                    let mut cuts = self.before_last.iter().filter(|_| has_cut && !all);
                    let is_right = found.as_deref() == right
                        || cuts.any(|cut| cut.get(key).map(Vec::as_slice) == found.as_deref());
                    assert!(is_right, "{context}: get {} gives a wrong value", key.escape_ascii());
                }
                Err(error) => {
                    check_typed(&error, context);
                    all = false;
                }
            }
        }
        match kv.verify() {
            Ok(report) if report.is_sound() => {
                assert!(all, "{context}: reads failed, and yet verify found nothing");
            }
            Ok(_) => all = false,
            Err(error) => {
                check_typed(&error, context);
                all = false;
            }
        }
        if !all {
            return Answer::Refused;
        }
        lives_on(lab, kv, expected, context);
        if std::ptr::eq(expected, &self.map) { Answer::Right } else { Answer::Cut }
    }
}

/// What is written into a database that gave all the right answers is there at the next opening, and nothing went.
fn lives_on(lab: &Lab, kv: Arc<dyn Kv>, expected: &Map, context: &str) {
    let (key, value) = (b"written after the damage", vec![1; 300]);
    let written = kv.put(key, &value, Durability::Disk);
    assert!(written.is_ok(), "{context}: all is readable, and yet a write fails: {written:?}");
    drop(kv);
    let mut expected = expected.clone();
    expected.insert(key.to_vec(), value);
    let found = lab.engine.open(&lab.env, lab.dir(), &lab.knobs).and_then(|kv| check::is(&*kv, &expected));
    match found {
        Ok(is) => assert!(is, "{context}: the second opening has other contents"),
        Err(error) => panic!("{context}: the second opening fails after the first was right: {error}"),
    }
}

/// Bytes of the longest file of a database.
fn longest_file(disk: &SimVfs, dir: &Path) -> u64 {
    let entries = disk.list(dir, Cause::Verify).unwrap_or_default();
    let lens = entries.iter().filter_map(|entry| {
        disk.open(&dir.join(&entry.name), OpenOptions::READ, Cause::Verify).ok()?.len().ok()
    });
    lens.max().unwrap_or(0)
}

/// Overwrites bytes of a file.
pub fn overwrite(disk: &dyn Vfs, path: &Path, at: usize, bytes: &[u8]) {
    let file = disk.open(path, OpenOptions::WRITE, Cause::Verify).expect("opens");
    file.write_at(at as u64, &[std::io::IoSlice::new(bytes)], Cause::Verify).expect("writes");
}

/// Cuts or extends a file.
pub fn resize(disk: &dyn Vfs, path: &Path, len: u64) {
    let file = disk.open(path, OpenOptions::WRITE, Cause::Verify).expect("opens");
    file.set_len(len, Cause::Verify).expect("changes the length");
}

/// Makes a file of these bytes, in place of the one that is there.
pub fn put_file(disk: &dyn Vfs, path: &Path, bytes: &[u8]) {
    // It may not be there.
    let _ = disk.remove(path, Cause::Verify);
    let file = disk.open(path, OpenOptions::NEW, Cause::Verify).expect("creates");
    file.write_at(0, &[std::io::IoSlice::new(bytes)], Cause::Verify).expect("writes");
}

fn check_typed(error: &Error, context: &str) {
    let kinds = [
        ErrorKind::Corruption,
        ErrorKind::Io,
        ErrorKind::FormatVersion,
        ErrorKind::WrongEngine,
        ErrorKind::InvalidOptions,
        ErrorKind::NoDatabase,
    ];
    assert!(kinds.contains(&error.kind()), "{context}: {:?}: {error}", error.kind());
}
