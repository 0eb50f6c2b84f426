//! What the larger operations say when they are done.

use std::path::PathBuf;

use crate::SeqNo;
use crate::options::Durability;

/// What a commit got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitInfo {
    /// Number of the batch's last operation.
    pub seq: SeqNo,
    /// The level it was acknowledged at: the one asked for, or the next higher one that the engine has.
    pub durability: Durability,
}

/// What an ingest wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IngestReport {
    /// Entries taken.
    pub entries: u64,
    /// Key and value bytes taken.
    pub user_bytes: u64,
}

/// What is left after settling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SettleReport {
    /// Bytes of upkeep still owed; 0 if all was done in time.
    pub debt_bytes: u64,
}

/// What a manual compaction moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompactReport {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
}

/// What a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BackupReport {
    /// Entries copied.
    pub entries: u64,
    /// Key and value bytes copied.
    pub user_bytes: u64,
    /// The newest operation in the copy.
    pub seq: SeqNo,
}

/// One thing that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// Byte offset of the damaged structure in it.
    pub offset: u64,
    /// What does not hold.
    pub what: String,
}

/// What a verify looked at and found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct VerifyReport {
    /// Live entries counted.
    pub entries: u64,
    /// Pages or blocks whose checksum was computed.
    pub blocks: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Everything that does not hold; empty means sound.
    pub problems: Vec<Problem>,
}

impl VerifyReport {
    /// True if nothing was found.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    /// Adds a problem.
    pub fn add(&mut self, path: impl Into<PathBuf>, offset: u64, what: impl Into<String>) {
        self.problems.push(Problem { path: path.into(), offset, what: what.into() });
    }
}

/// What opening a directory found and repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RecoveryReport {
    /// True if the last handle closed the log properly.
    pub clean: bool,
    /// Batches taken from the log.
    pub batches_replayed: u64,
    /// Operations taken from the log.
    pub ops_replayed: u64,
    /// Bytes of unfinished frames cut off the end of the log.
    pub tail_bytes_dropped: u64,
    /// Files deleted because nothing names them.
    pub orphans_removed: u64,
}
