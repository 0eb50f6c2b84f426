//! The write-ahead log: one for both engines.
//!
//! Every commit is a frame ([`frame`]); frames lie in segment files ([`segment`]) that form a chain by their
//! headers; [`writer`] appends, syncs and rotates; [`reader`] replays the chain and tells a torn tail from damage.
//! Engines use it through [`crate::commit`] alone.
//!
//! Why a log that was cut is a prefix, and why damage does not pass for a cut:
//!
//! * an older segment is synced before the header of the next one is written, so a valid header says that
//!   everything before its first operation once was on disk;
//! * inside a segment each frame says up to where the log was on disk when it was written. Frames after a hole are
//!   normal (the kernel writes pages in any order), unless one of them says that the hole was on disk;
//! * behind the last frames there is none to say so: the segment's [`witness`] does, from its front;
//! * a segment that was cut is never appended to: recovery starts a fresh one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::home::Home;
use crate::layout::wal_name;
use crate::vfs::Vfs;

pub mod frame;
pub mod reader;
pub mod segment;
pub mod witness;
pub mod writer;

#[cfg(test)]
mod tests;

/// Smallest and first size of a segment file, and the least it grows by, in bytes.
pub const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// Largest size of a segment file that holds more than one frame, in bytes.
pub const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// The upper bound of [`WalOptions::buffer_bytes_max`].
pub const BUFFER_BYTES_MAX: usize = 1 << 20;

/// How the log is cut into files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalOptions {
    /// A segment that would grow beyond this many bytes is followed by the next one.
    pub segment_bytes: u64,
}

impl WalOptions {
    /// A quarter of the memory budget, between [`SEGMENT_BYTES_MIN`] and [`SEGMENT_BYTES_MAX`].
    pub fn for_budget(memory_budget: u64) -> WalOptions {
        WalOptions { segment_bytes: (memory_budget / 4).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX) }
    }

    /// Most bytes of frames that wait in memory, or that one sync of a commit group covers: a quarter of a
    /// segment, at most [`BUFFER_BYTES_MAX`]. A larger batch goes alone.
    pub fn buffer_bytes_max(self) -> usize {
        usize::try_from(self.segment_bytes / 4).unwrap_or(usize::MAX).min(BUFFER_BYTES_MAX)
    }
}

/// Where a log lives.
#[derive(Debug, Clone)]
pub struct LogPlace {
    /// The files.
    pub vfs: Arc<dyn Vfs>,
    /// The database directory.
    pub dir: PathBuf,
    /// The database's salt, for checksums.
    pub salt: u64,
}

impl LogPlace {
    /// The log of the database in `home`.
    pub fn of(home: &Home) -> LogPlace {
        LogPlace { vfs: Arc::clone(&home.vfs), dir: home.dir.clone(), salt: home.identity.salt }
    }

    /// The path of segment `id`.
    pub fn path(&self, id: u64) -> PathBuf {
        self.dir.join(wal_name(id))
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}
