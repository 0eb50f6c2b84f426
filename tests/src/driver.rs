//! Drives an engine and a map through the same steps and stops at the first difference.

use std::sync::Arc;
use std::time::Duration;

use kv_api::{Batch, Direction, Error, ErrorKind, KeyRange, OwnedRange, Result, Scan, ScanOptions, Snapshot};

use crate::check;
use crate::checked::Checked;
use crate::lab::Lab;
use crate::map::{self, Map, Walk};
use crate::steps::{Entries, Step};

/// A snapshot and what it must hold.
type HeldSnapshot = (Arc<dyn Snapshot>, Arc<Map>);
/// A scan and the walk it must make.
type HeldScan = (Box<dyn Scan>, Walk);

/// An engine, what it must hold, and what is held open on it.
pub struct Driver<'l> {
    lab: &'l Lab,
    db: Option<Checked>,
    map: Arc<Map>,
    seq: u64,
    snapshots: Vec<Option<HeldSnapshot>>,
    scans: Vec<Option<HeldScan>>,
    /// Operations so far, see [`Driver::ops`].
    ops: u64,
    /// What was held open at each flush, settle and compaction: snapshots and scans.
    held: Vec<(usize, usize)>,
}

impl<'l> Driver<'l> {
    /// Opens the lab's database, which must be empty.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn open(lab: &'l Lab) -> Result<Driver<'l>> {
        let db = lab.open()?;
        let seq = db.stats().seq;
        Ok(Driver {
            lab,
            db: Some(db),
            map: Arc::default(),
            seq,
            snapshots: Vec::new(),
            scans: Vec::new(),
            ops: 0,
            held: Vec::new(),
        })
    }

    /// The engine.
    pub fn db(&self) -> &Checked {
        self.db.as_ref().expect("open between steps")
    }

    /// What it must hold.
    pub fn map(&self) -> &Arc<Map> {
        &self.map
    }

    /// Does one step on both sides.
    ///
    /// # Errors
    /// Those of the engine.
    ///
    /// # Panics
    /// If the engine gives anything but what the map gives.
    pub fn step(&mut self, step: &Step) -> Result<()> {
        self.ops += step.ops();
        match step {
            Step::Write(batch, durability) => {
                let info = self.db().write(batch, *durability)?;
                map::apply(Arc::make_mut(&mut self.map), batch);
                self.seq += batch.len() as u64;
                assert_eq!(info.seq, self.seq, "a commit of {} operations got the wrong number", batch.len());
                assert!(info.durability >= *durability, "asked for {durability}, got {}", info.durability);
                Ok(())
            }
            Step::Ingest(entries) => self.ingest(entries),
            Step::Sync => self.db().sync(),
            Step::Flush => {
                self.note_held();
                self.db().flush()
            }
            Step::Settle => {
                self.note_held();
                let report = self.db().settle(Duration::from_secs(60))?;
                assert_eq!(report.debt_bytes, 0, "settled, and yet owes something");
                Ok(())
            }
            Step::Compact(range) => {
                self.note_held();
                unless_unsupported(self.db().compact(range.as_range()).map(|_| ()))
            }
            Step::Reopen { close } => self.reopen(*close),
            Step::Get(keys) => self.get(keys),
            Step::Scan { range, direction, seeks } => self.scan(range, *direction, seeks),
            Step::Snapshot(slot) => self.snapshot(*slot),
            Step::LiveScan { slot, range, direction, seek } => {
                self.live_scan(*slot, range, *direction, seek.as_deref())
            }
        }
    }

    /// Operations that both sides did in the steps so far: see [`Step::ops`]. What the checks of whole databases and
    /// snapshots read is not among them.
    pub fn ops(&self) -> u64 {
        self.ops
    }

    fn note_held(&mut self) {
        self.held.push((self.snapshots.iter().flatten().count(), self.scans.iter().flatten().count()));
    }

    /// How many flushes, settles and compactions came while so many snapshots and scans were open.
    pub fn upkept_under(&self, snapshots: usize, scans: usize) -> usize {
        self.held.iter().filter(|held| held.0 >= snapshots && held.1 >= scans).count()
    }

    /// Compares everything that can be read, held snapshots included.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn check_all(&self, context: &str) -> Result<()> {
        check::holds(&**self.db(), &self.map, context)?;
        for (snapshot, expected) in self.snapshots.iter().flatten() {
            check::holds(&**snapshot, expected, &format!("{context}, in a snapshot at {}", snapshot.seq()))?;
        }
        Ok(())
    }

    /// Checks all, lets go of everything, verifies, opens once more and checks again.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn finish(mut self, context: &str) -> Result<()> {
        self.check_all(context)?;
        self.db().verify_now();
        self.reopen(true)?;
        self.check_all(&format!("{context}, after the last opening"))
    }

    fn ingest(&mut self, entries: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        let report = self.db().ingest(&mut Entries::new(entries))?;
        assert_eq!(report.entries, entries.len() as u64, "ingest counts its entries");
        Arc::make_mut(&mut self.map).extend(entries.iter().cloned());
        // An engine may give an ingest one number or one per entry.
        self.seq = self.db().stats().seq;
        Ok(())
    }

    fn reopen(&mut self, close: bool) -> Result<()> {
        if !self.lab.engine.is_stored() {
            return Ok(());
        }
        if close {
            self.db().verify_now();
            self.db().close()?;
            for (snapshot, _) in self.snapshots.drain(..).flatten() {
                assert_eq!(
                    kind_of(snapshot.get(b"k")),
                    Some(ErrorKind::Closed),
                    "a snapshot after the close"
                );
            }
            for (mut scan, _) in self.scans.drain(..).flatten() {
                assert_eq!(
                    scan.next().err().map(|e| e.kind()),
                    Some(ErrorKind::Closed),
                    "a scan after the close"
                );
            }
        } else {
            self.db().sync()?;
            self.snapshots.clear();
            self.scans.clear();
        }
        self.db = None;
        self.db = Some(self.lab.open()?);
        let recovery = self.db().recovery();
        assert_eq!(recovery.clean, close, "the log says how the last handle ended: {recovery:?}");
        assert!(self.db().stats().seq >= self.seq, "numbers of operations never go back");
        self.seq = self.db().stats().seq;
        Ok(())
    }

    fn get(&self, keys: &[Vec<u8>]) -> Result<()> {
        let keys: Vec<_> = keys.iter().map(Vec::as_slice).collect();
        let mut found = Vec::new();
        self.db().multi_get(&keys, &mut found)?;
        assert_eq!(found.len(), keys.len());
        for (key, value) in keys.iter().zip(&found) {
            let single = self.db().get(key)?;
            assert_eq!(value, &single, "multi_get and get differ at {}", key.escape_ascii());
            let expected = self.map.get(*key).map(Vec::as_slice);
            assert_eq!(value.as_deref(), expected, "get {}", key.escape_ascii());
        }
        Ok(())
    }

    fn scan(&self, range: &OwnedRange, direction: Direction, seeks: &[Vec<u8>]) -> Result<()> {
        let mut scan = self.db().scan(range.as_range(), ScanOptions { direction })?;
        let mut walk = Walk::new(&self.map, range.as_range(), direction);
        for (index, key) in seeks.iter().enumerate() {
            // The first seek comes before any entry was taken.
            compare(&mut *scan, &mut walk, index * 2)?;
            scan.seek(key)?;
            walk.seek(key);
        }
        compare(&mut *scan, &mut walk, usize::MAX)
    }

    fn snapshot(&mut self, slot: usize) -> Result<()> {
        self.snapshots.resize_with(self.snapshots.len().max(slot + 1), || None);
        if let Some((snapshot, expected)) = self.snapshots[slot].take() {
            check::holds(&*snapshot, &expected, &format!("in a snapshot at {}", snapshot.seq()))?;
        }
        let snapshot = self.db().snapshot()?;
        assert_eq!(snapshot.seq(), self.seq, "a snapshot sees the newest operation");
        self.snapshots[slot] = Some((snapshot, Arc::clone(&self.map)));
        Ok(())
    }

    fn live_scan(
        &mut self,
        slot: usize,
        range: &OwnedRange,
        direction: Direction,
        seek: Option<&[u8]>,
    ) -> Result<()> {
        self.scans.resize_with(self.scans.len().max(slot + 1), || None);
        let Some((mut scan, mut walk)) = self.scans[slot].take() else {
            let scan = self.db().scan(range.as_range(), ScanOptions { direction })?;
            self.scans[slot] = Some((scan, Walk::new(&self.map, range.as_range(), direction)));
            return Ok(());
        };
        if let Some(key) = seek {
            scan.seek(key)?;
            walk.seek(key);
        }
        compare(&mut *scan, &mut walk, 3)?;
        if !walk.is_done() {
            self.scans[slot] = Some((scan, walk));
        }
        Ok(())
    }
}

/// Takes up to `count` entries from both sides, and at the end once more: it must stay the end.
fn compare(scan: &mut dyn Scan, walk: &mut Walk, count: usize) -> Result<()> {
    let mut taken = 0;
    while taken < count {
        let found = scan.next()?;
        let expected = walk.next_entry();
        assert_eq!(found.map(|entry| (entry.key, entry.value)), expected, "entry {taken} of a scan");
        if expected.is_none() {
            assert!(scan.next()?.is_none(), "a scan went on after its end");
            break;
        }
        taken += 1;
    }
    Ok(())
}

/// The kind of an error, if it is one.
pub fn kind_of<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error: Error| error.kind())
}

/// Takes "this engine does not do that" for an answer.
///
/// # Errors
/// Any other.
pub fn unless_unsupported(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(()),
        other => other,
    }
}

/// One put, as a batch.
pub fn put(key: &[u8], value: &[u8]) -> Batch {
    let mut batch = Batch::new();
    batch.put(key, value);
    batch
}

/// The entries of a range, in order.
///
/// # Errors
/// Those of the reader.
pub fn keys_of(db: &Checked, range: KeyRange<'_>, direction: Direction) -> Result<Vec<Vec<u8>>> {
    check::keys(&mut *db.scan(range, ScanOptions { direction })?)
}
