//! Why a byte moved. Every call to the file layer carries one of these; the meter counts by it.

use std::fmt;

/// Deepest level an LSM tree may have, counted from 0.
pub const LEVEL_MAX: u8 = 7;

/// Why bytes were read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The identity and lock files of a directory.
    Identity,
    /// Frames and headers of the write-ahead log.
    Wal,
    /// Zero-filling a log segment ahead of its use: outside write amplification, inside the checks.
    Prepare,
    /// A memtable becoming a level-0 table.
    Flush,
    /// Tables merged into level `to`; reads of the inputs count here too.
    Compaction {
        /// The level the output goes to.
        to: u8,
    },
    /// The log of which tables are live.
    Manifest,
    /// A page written before its checkpoint, to make room.
    Page,
    /// Pages written by a checkpoint, and its meta page.
    Checkpoint,
    /// The map of free pages.
    FreeMap,
    /// Sorted entries written without the log.
    Ingest,
    /// A leaf, data block or large value read for a get.
    PointRead,
    /// A leaf, data block or large value read for a scan.
    ScanRead,
    /// An inner page, fence index or footer.
    IndexRead,
    /// A filter.
    FilterRead,
    /// A page read because a write will change it.
    UpdateRead,
    /// Whatever opening a directory reads and writes.
    Recovery,
    /// What an online copy reads; what it writes is metered by the copy.
    Backup,
    /// A check of everything.
    Verify,
}

impl Cause {
    /// How many causes there are, levels counted apart.
    pub const COUNT: usize = 17 + LEVEL_MAX as usize + 1;

    /// Every cause, in the order of [`Cause::index`].
    pub fn all() -> impl Iterator<Item = Cause> {
        use Cause::{
            Backup, Checkpoint, FilterRead, Flush, FreeMap, Identity, IndexRead, Ingest, Manifest, Page,
            PointRead, Prepare, Recovery, ScanRead, UpdateRead, Verify, Wal,
        };
        let fixed = [
            Identity, Wal, Prepare, Flush, Manifest, Page, Checkpoint, FreeMap, Ingest, PointRead, ScanRead,
            IndexRead, FilterRead, UpdateRead, Recovery, Backup, Verify,
        ];
        fixed.into_iter().chain((0..=LEVEL_MAX).map(|to| Cause::Compaction { to }))
    }

    /// A dense number below [`Cause::COUNT`]: the row of this cause in a table of counters.
    pub const fn index(self) -> usize {
        match self {
            Cause::Identity => 0,
            Cause::Wal => 1,
            Cause::Prepare => 2,
            Cause::Flush => 3,
            Cause::Manifest => 4,
            Cause::Page => 5,
            Cause::Checkpoint => 6,
            Cause::FreeMap => 7,
            Cause::Ingest => 8,
            Cause::PointRead => 9,
            Cause::ScanRead => 10,
            Cause::IndexRead => 11,
            Cause::FilterRead => 12,
            Cause::UpdateRead => 13,
            Cause::Recovery => 14,
            Cause::Backup => 15,
            Cause::Verify => 16,
            Cause::Compaction { to } => 17 + if to > LEVEL_MAX { LEVEL_MAX as usize } else { to as usize },
        }
    }

    /// True if bytes written for this cause answer for user writes. Zero-filling, backups and opening do not.
    pub fn counts_as_write_amplification(self) -> bool {
        !matches!(self, Cause::Prepare | Cause::Backup | Cause::Recovery | Cause::Identity | Cause::Verify)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::Identity => "identity",
            Cause::Wal => "wal",
            Cause::Prepare => "prepare",
            Cause::Flush => "flush",
            Cause::Compaction { to } => return write!(f, "compaction_l{to}"),
            Cause::Manifest => "manifest",
            Cause::Page => "page",
            Cause::Checkpoint => "checkpoint",
            Cause::FreeMap => "free_map",
            Cause::Ingest => "ingest",
            Cause::PointRead => "point_read",
            Cause::ScanRead => "scan_read",
            Cause::IndexRead => "index_read",
            Cause::FilterRead => "filter_read",
            Cause::UpdateRead => "update_read",
            Cause::Recovery => "recovery",
            Cause::Backup => "backup",
            Cause::Verify => "verify",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_own_row_and_name() {
        let all: Vec<_> = Cause::all().collect();
        assert_eq!(all.len(), Cause::COUNT);
        for (row, cause) in all.iter().enumerate() {
            assert_eq!(cause.index(), row);
        }
        let names: std::collections::BTreeSet<_> = all.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), Cause::COUNT);
    }
}
