//! A database whose files were damaged: it gives the right answer or a typed error, never a wrong value, a lost one,
//! or a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use kv_api::{Cause, Durability, Error, ErrorKind, KeyRange, Result};
use kv_io::sim::{CrashPolicy, SimVfs};
use kv_io::vfs::OpenOptions;
use kv_io::{Env, Vfs};

use crate::check;
use crate::knobs::Knobs;
use crate::lab::{Engine, Lab};
use crate::map::Map;

/// What damaged databases did.
#[derive(Debug, Default)]
pub struct Tally {
    /// Gave all the right answers.
    pub right: u64,
    /// Refused at least one with a typed error.
    pub refused: u64,
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
    /// What happened to the copies so far.
    pub tally: Tally,
}

/// How a database is left before it is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Closed, everything in data files.
    Flushed,
    /// Closed, everything in the log.
    Logged,
    /// The process died: some in data files, the newest in the log.
    Killed,
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
        if left == Left::Killed {
            // Enough for the log to go on in further segments.
            for n in 0..40_u8 {
                db.put(&[b'l', n], &[n; 2000], Durability::Disk)?;
            }
        }
        let map = check::contents(&*db)?;
        if left != Left::Killed {
            db.verify_now();
            db.close()?;
        }
        drop(db);
        Ok(Patient { engine, disk, map, tally: Tally::default() })
    }

    /// Damages a copy of the disk and reads everything from it.
    ///
    /// # Panics
    /// If an answer is wrong, an error is of the wrong kind, or the engine panics.
    pub fn damaged(&mut self, context: &str, damage: impl FnOnce(&SimVfs, &Path)) {
        let copy = self.disk.crash(CrashPolicy::KeepAll);
        let lab = lab_over(self.engine, &copy);
        damage(&copy, lab.dir());
        let read = catch_unwind(AssertUnwindSafe(|| read_all(&lab, &self.map, context)));
        match read.unwrap_or_else(|_| panic!("{context}: panicked")) {
            true => self.tally.right += 1,
            false => self.tally.refused += 1,
        }
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

/// Reads everything there is; true if every answer is right, false if one is a typed error. If all is right, what
/// is written now is still there after another opening.
fn read_all(lab: &Lab, expected: &Map, context: &str) -> bool {
    let kv = match lab.engine.open(&lab.env, lab.dir(), &lab.knobs) {
        Ok(kv) => kv,
        Err(error) => {
            check_typed(&error, context);
            return false;
        }
    };
    let mut all = true;
    match check::contents(&*kv) {
        Ok(found) => assert!(
            found == *expected,
            "{context}: a scan gives wrong contents without an error: {} entries, expected {}",
            found.len(),
            expected.len()
        ),
        Err(error) => {
            check_typed(&error, context);
            all = false;
        }
    }
    for (key, value) in expected {
        match kv.get(key) {
            Ok(found) => {
                let same = found.as_deref() == Some(value.as_slice());
                assert!(same, "{context}: get {} gives a wrong value without an error", key.escape_ascii());
            }
            Err(error) => {
                check_typed(&error, context);
                all = false;
            }
        }
    }
    match kv.verify() {
        Ok(report) => {
            assert!(all || !report.is_sound(), "{context}: reads failed, and yet verify found nothing")
        }
        Err(error) => check_typed(&error, context),
    }
    all
}
