//! The seam: what an adapter implements. Everything that all peers have in common is done above it.
//!
//! Above this seam ([`crate::engine`]) it is made sure that: keys, values and batches are within
//! [`Peer::KEY_BYTES_MIN`] and the limits; ranges are neither empty nor inverted, and their bounds no longer than a
//! key may be; batches have at least one operation; levels are among [`Peer::LEVELS`].

pub mod options;

use std::path::Path;
use std::time::Duration;

use kv_api::stats::MemoryUse;
use kv_api::{
    Batch, Direction, Durability, EntryRef, Error, IoMode, KeyRange, Result, SettleReport, Shape,
    SortedSource, VerifyReport,
};

pub use options::{PeerOptions, Tunable};

/// An engine made by others. Dropping it frees its files, as far as no [`View`] holds them.
pub trait Peer: Send + Sync + Sized + 'static {
    /// One state, kept readable.
    type View: View;

    /// Short name, as in `--engine`, and the name of the folder that holds the engine's files.
    const NAME: &'static str;
    /// One line that says what it is.
    const ABOUT: &'static str;
    /// Version of the engine that is linked.
    const VERSION: &'static str;
    /// The levels it has, ascending.
    const LEVELS: &'static [Durability];
    /// Its options.
    const TUNABLES: &'static [Tunable];
    /// Shortest key in bytes: 1 where the empty key is not legal.
    const KEY_BYTES_MIN: usize = 0;
    /// Longest key in bytes.
    const KEY_BYTES_MAX: usize = kv_api::limits::KEY_BYTES_MAX;

    /// True if [`Peer::compact`] waits until no view is left, so that it is refused while there is one.
    const COMPACT_WAITS_FOR_VIEWS: bool = false;

    /// Opens the files in `dir`, or creates them. The directory exists and is locked.
    ///
    /// # Errors
    /// What the engine says, see [`failed`].
    fn open(dir: &Path, options: &PeerOptions<Self>) -> Result<Self>;

    /// Settings that are not options, for `info`.
    fn fixed_settings(&self, options: &PeerOptions<Self>) -> Vec<(&'static str, String)>;

    /// The I/O mode obtained.
    fn io(&self) -> IoMode {
        IoMode::Buffered
    }

    /// As [`kv_api::KvRead::get_with`], in the newest state.
    ///
    /// # Errors
    /// What the engine says.
    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool>;

    /// The newest state, kept.
    ///
    /// # Errors
    /// What the engine says.
    fn view(&self) -> Result<Self::View>;

    /// Makes `batch` take effect in one transaction and in order.
    ///
    /// # Errors
    /// What the engine says; nothing of the batch is visible then.
    fn write(&self, batch: &Batch, level: Durability) -> Result<()>;

    /// Sets one key. The default makes a batch of it.
    ///
    /// # Errors
    /// Those of [`Peer::write`].
    fn put(&self, key: &[u8], value: &[u8], level: Durability) -> Result<()> {
        let mut batch = Batch::with_capacity(Batch::OP_BYTES_MAX + key.len() + value.len());
        self.write(batch.put(key, value), level)
    }

    /// Adds sorted entries in one transaction or bulk load.
    ///
    /// # Errors
    /// What the engine or the source says; nothing of it is visible then.
    fn ingest(&self, sorted: &mut dyn SortedSource) -> Result<()>;

    /// Makes all earlier commits survive power loss.
    ///
    /// # Errors
    /// What the engine says.
    fn sync(&self) -> Result<()>;

    /// Moves what is in memory or in the log to data files.
    ///
    /// # Errors
    /// What the engine says.
    fn flush(&self) -> Result<()>;

    /// Waits for upkeep that is owed. The default owes none after a flush.
    ///
    /// # Errors
    /// What the engine says.
    fn settle(&self, _timeout: Duration) -> Result<SettleReport> {
        self.flush()?;
        Ok(SettleReport::default())
    }

    /// Rewrites `range` as compactly as the engine can.
    ///
    /// # Errors
    /// `Unsupported`, or what the engine says.
    fn compact(&self, range: KeyRange<'_>) -> Result<()>;

    /// The structure on disk.
    ///
    /// # Errors
    /// `Unsupported`, or what the engine says.
    fn shape(&self) -> Result<Shape>;

    /// Adds to `report` what the engine's own check finds. The default has no such check.
    ///
    /// # Errors
    /// What kept it from looking.
    fn verify(&self, _report: &mut VerifyReport) -> Result<()> {
        Ok(())
    }

    /// Memory by owner, as far as the engine tells.
    fn memory(&self) -> Vec<MemoryUse> {
        Vec::new()
    }

    /// Bytes of upkeep owed, as far as the engine tells.
    fn debt_bytes(&self) -> u64 {
        0
    }

    /// True if this file of the engine's folder belongs to its log.
    fn is_log(name: &str) -> bool;

    /// Makes everything durable and lets go of the files.
    ///
    /// # Errors
    /// Those of [`Peer::sync`].
    fn close(self) -> Result<()>;
}

/// One state of a peer.
pub trait View: Send + Sync + 'static {
    /// A walk over it.
    type Cursor: Cursor;

    /// As [`kv_api::KvRead::get_with`].
    ///
    /// # Errors
    /// What the engine says.
    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool>;

    /// A walk over `range`, which owns what it needs of this state.
    ///
    /// # Errors
    /// What the engine says.
    fn cursor(&self, range: KeyRange<'_>, direction: Direction) -> Result<Self::Cursor>;
}

/// A walk over one state.
pub trait Cursor: Send + 'static {
    /// The next entry, or `None` at the end; it is not called again after the end before a seek.
    ///
    /// # Errors
    /// What the engine says.
    fn next(&mut self) -> Result<Option<EntryRef<'_>>>;

    /// Goes on with the entries of `range`, a part of the walk's own.
    ///
    /// # Errors
    /// What the engine says.
    fn seek(&mut self, range: KeyRange<'_>) -> Result<()>;
}

/// What a peer said, as an error of the contract: `action` is a verb phrase, "commit to".
pub fn failed(action: &'static str, dir: &Path, said: impl std::fmt::Display) -> Error {
    Error::io(action, dir, std::io::Error::other(said.to_string()))
}

/// What the operating system said through a peer.
pub fn failed_io(action: &'static str, dir: &Path, said: std::io::Error) -> Error {
    Error::io(action, dir, said)
}
