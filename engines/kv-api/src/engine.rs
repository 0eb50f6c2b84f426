//! The traits: [`KvRead`] (what engines and snapshots share), [`Kv`] (an engine), [`Snapshot`], [`Scan`].

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::SeqNo;
use crate::batch::Batch;
use crate::error::Result;
use crate::event::EventListener;
use crate::limits::Limits;
use crate::options::{Durability, IoMode, Keyspace};
use crate::range::{KeyRange, ScanOptions};
use crate::report::{
    BackupReport, CommitInfo, CompactReport, IngestReport, RecoveryReport, SettleReport, VerifyReport,
};
use crate::shape::Shape;
use crate::stats::Stats;

/// A value that belongs to the caller: a copy, so holding it pins nothing in the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Value(Vec<u8>);

impl Value {
    /// The bytes, without a copy.
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Value(bytes)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Value(bytes.to_vec())
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// One entry under a scan's position; valid until the scan moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

/// Reads of one point in time. A [`Kv`] reads the newest state, a [`Snapshot`] the state it was taken at.
pub trait KvRead: Send + Sync {
    /// Calls `found` with the value of `key` and returns true, or returns false if there is none. Borrows: does
    /// not allocate, except for values stored apart from their key.
    ///
    /// # Errors
    /// `Io`, `Corruption`, `Closed`.
    fn get_with(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool>;

    /// Walks the entries of `range`, in the state of this moment, in the direction that `options` names.
    ///
    /// # Errors
    /// `Io`, `Corruption`, `Closed`.
    fn scan(&self, range: KeyRange<'_>, options: ScanOptions) -> Result<Box<dyn Scan>>;

    /// A copy of the value of `key`.
    ///
    /// # Errors
    /// Those of [`KvRead::get_with`].
    fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        let mut value = None;
        self.get_with(key, &mut |bytes| value = Some(Value::from(bytes)))?;
        Ok(value)
    }

    /// Replaces the contents of `out` by the values of `keys`, in their order. All are read from one state
    /// where the engine can; the default reads them one by one.
    ///
    /// # Errors
    /// Those of [`KvRead::get_with`].
    fn multi_get(&self, keys: &[&[u8]], out: &mut Vec<Option<Value>>) -> Result<()> {
        out.clear();
        out.reserve(keys.len());
        for key in keys {
            out.push(self.get(key)?);
        }
        Ok(())
    }
}

/// A walk over entries in key order. It owns what it needs: it may outlive the call that made it, move to
/// another thread, and keep walking the same state while the engine is written to.
pub trait Scan: Send {
    /// The next entry, or `None` at the end. After an `Err` every later call gives an `Err` too.
    ///
    /// # Errors
    /// `Io`, `Corruption`, `Closed`.
    fn next(&mut self) -> Result<Option<EntryRef<'_>>>;

    /// Moves so that [`Scan::next`] gives the first entry at or after `key` (at or before it in reverse), within
    /// the scan's range.
    ///
    /// # Errors
    /// `Io`, `Corruption`, `Closed`.
    fn seek(&mut self, key: &[u8]) -> Result<()>;
}

/// The state of one moment, held until it is dropped. It costs file space: what it sees is not reclaimed.
pub trait Snapshot: KvRead {
    /// The newest operation it sees.
    fn seq(&self) -> SeqNo;
}

/// What an engine is and how it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct EngineInfo {
    /// Short name, as in `--engine`.
    pub name: String,
    /// Version of the engine.
    pub version: String,
    /// The levels it really has; a commit asked for at another level goes up to the next one it has.
    pub durability: Vec<Durability>,
    /// The I/O mode obtained, or `None` if the engine has no files.
    pub io: Option<IoMode>,
    /// What the keys are.
    pub keyspace: Keyspace,
    /// Every setting in force, by name.
    pub settings: Vec<(String, String)>,
}

/// Entries in strictly ascending key order, for [`Kv::ingest`].
pub trait SortedSource {
    /// The next entry, or `None` at the end.
    ///
    /// # Errors
    /// Whatever the source fails with; the ingest is then abandoned.
    fn next(&mut self) -> Result<Option<EntryRef<'_>>>;
}

/// A storage engine.
pub trait Kv: KvRead {
    /// What this engine is and how it was opened.
    fn info(&self) -> EngineInfo;

    /// The largest key, value and batch it takes.
    fn limits(&self) -> Limits;

    /// Makes `batch` take effect, atomically and in order. An empty batch does nothing.
    ///
    /// # Errors
    /// Over a limit, `ReadOnly`, `Closed`, `Poisoned`, `NoSpace` before the log was touched: nothing happened.
    /// `Io` after it: the handle is poisoned and the outcome known only after reopening.
    fn write(&self, batch: &Batch, durability: Durability) -> Result<CommitInfo>;

    /// The state of this moment, kept readable until dropped.
    ///
    /// # Errors
    /// `Closed`.
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>>;

    /// Sets one key.
    ///
    /// # Errors
    /// Those of [`Kv::write`].
    fn put(&self, key: &[u8], value: &[u8], durability: Durability) -> Result<CommitInfo> {
        let mut batch = Batch::with_capacity(Batch::OP_BYTES_MAX + key.len() + value.len());
        self.write(batch.put(key, value), durability)
    }

    /// Removes one key; it need not exist.
    ///
    /// # Errors
    /// Those of [`Kv::write`].
    fn delete(&self, key: &[u8], durability: Durability) -> Result<CommitInfo> {
        self.write(Batch::new().delete(key), durability)
    }

    /// Removes every key in `range`.
    ///
    /// # Errors
    /// Those of [`Kv::write`].
    fn delete_range(&self, range: KeyRange<'_>, durability: Durability) -> Result<CommitInfo> {
        self.write(Batch::new().delete_range(range), durability)
    }

    /// Adds sorted entries without the log; durable when it returns. They replace older entries of the same
    /// keys. An `Err` leaves the contents of this handle as they were; if it is `Poisoned`, reopening tells whether
    /// all of the entries or none are there.
    ///
    /// # Errors
    /// `InvalidOptions` for keys out of order, a limit, and those of [`Kv::write`].
    fn ingest(&self, sorted: &mut dyn SortedSource) -> Result<IngestReport>;

    /// Makes all earlier commits durable at level `Disk`.
    ///
    /// # Errors
    /// `Io` poisons the handle: a failed sync is never tried again.
    fn sync(&self) -> Result<()>;

    /// Moves what is in memory to data files: an LSM tree writes its memtables, a B+tree checkpoints.
    ///
    /// # Errors
    /// `Io`, `NoSpace`, `Poisoned`, `Closed`, `ReadOnly`.
    fn flush(&self) -> Result<()>;

    /// Flushes, then works until no upkeep is owed or `timeout` has passed; not a full compaction.
    ///
    /// # Errors
    /// Those of [`Kv::flush`].
    fn settle(&self, timeout: Duration) -> Result<SettleReport>;

    /// Rewrites `range` as compactly as the engine can.
    ///
    /// # Errors
    /// `Unsupported`, and those of [`Kv::flush`].
    fn compact(&self, range: KeyRange<'_>) -> Result<CompactReport>;

    /// Writes a copy of this moment's contents into `dir`, which must be absent or empty and opens by itself. A crash
    /// meanwhile leaves the whole copy or no database.
    /// What is read for it counts under [`Cause::Backup`](crate::Cause::Backup) here; what is written counts in the
    /// statistics of the copy, which are gone with the handle that wrote it.
    ///
    /// # Errors
    /// `Io`, `NoSpace`, `InvalidOptions` if the directory holds something.
    fn backup(&self, dir: &Path) -> Result<BackupReport>;

    /// Reads everything and checks every invariant. Damage is in the report, not an `Err`. Writers go on meanwhile;
    /// what is checked is the state of the moment it began, which is held like a snapshot.
    ///
    /// # Errors
    /// `Closed`, or an I/O error that kept it from looking.
    fn verify(&self) -> Result<VerifyReport>;

    /// What opening this directory found and repaired.
    fn recovery(&self) -> RecoveryReport {
        RecoveryReport::default()
    }

    /// Counters since opening, and gauges of this moment. Cheap: no I/O.
    fn stats(&self) -> Stats;

    /// The structure on disk, page kinds or levels, for people and charts. May read all of it; writers go on.
    ///
    /// # Errors
    /// `Closed`, or an I/O error that kept it from looking.
    fn shape(&self) -> Result<Shape>;

    /// Calls `listener` for every later event, outside all locks.
    fn subscribe(&self, listener: Arc<dyn EventListener>);

    /// Makes everything durable, frees the lock; every later call on the handle, its snapshots and scans gives
    /// `Closed`. A second close does nothing. Dropping without closing loses no acknowledged write.
    ///
    /// # Errors
    /// Those of [`Kv::sync`]; the handle is closed all the same.
    fn close(&self) -> Result<()>;
}
