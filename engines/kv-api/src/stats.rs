//! What engines count. Counters only grow, so the cost of a phase is `after.since(&before)`.

use crate::SeqNo;
use crate::cause::Cause;

/// What moved for one cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct IoCounters {
    /// Bytes that read calls returned.
    pub read_bytes: u64,
    /// Read calls.
    pub read_calls: u64,
    /// Bytes passed to write calls.
    pub write_bytes: u64,
    /// Write calls.
    pub write_calls: u64,
    /// Of the bytes written, those of calls that began where the last write to their file had ended.
    #[cfg_attr(feature = "serde", serde(default))]
    pub contiguous_bytes: u64,
    /// Syncs of files and directories.
    pub sync_calls: u64,
}

impl IoCounters {
    fn zip(self, other: IoCounters, f: impl Fn(u64, u64) -> u64) -> IoCounters {
        IoCounters {
            read_bytes: f(self.read_bytes, other.read_bytes),
            read_calls: f(self.read_calls, other.read_calls),
            write_bytes: f(self.write_bytes, other.write_bytes),
            write_calls: f(self.write_calls, other.write_calls),
            contiguous_bytes: f(self.contiguous_bytes, other.contiguous_bytes),
            sync_calls: f(self.sync_calls, other.sync_calls),
        }
    }
}

/// Bytes that moved for all causes together, counted apart from [`IoStats`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct IoTotal {
    /// Bytes that read calls of the system returned.
    pub read_bytes: u64,
    /// Bytes that write calls of the system took.
    pub write_bytes: u64,
    /// The same writes in whole pages of 4 KiB, as they must reach a device: buffered ones that touch pages next to each
    /// other or again before the next sync share them.
    #[cfg_attr(feature = "serde", serde(default))]
    pub write_page_bytes: u64,
}

/// What moved, by cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoStats {
    rows: [IoCounters; Cause::COUNT],
}

impl Default for IoStats {
    fn default() -> Self {
        IoStats { rows: [IoCounters::default(); Cause::COUNT] }
    }
}

impl IoStats {
    /// What moved for `cause`.
    pub fn of(&self, cause: Cause) -> IoCounters {
        self.rows.get(cause.index()).copied().unwrap_or_default()
    }

    /// The counters of `cause`, to add to.
    pub fn of_mut(&mut self, cause: Cause) -> &mut IoCounters {
        // `index` is below `COUNT` for every cause: asserted by the test beside it.
        &mut self.rows[cause.index()]
    }

    /// Causes for which anything moved.
    pub fn nonzero(&self) -> impl Iterator<Item = (Cause, IoCounters)> {
        Cause::all().map(|cause| (cause, self.of(cause))).filter(|(_, row)| *row != IoCounters::default())
    }

    /// The sum over all causes.
    pub fn total(&self) -> IoCounters {
        self.rows.iter().fold(IoCounters::default(), |sum, row| sum.zip(*row, u64::wrapping_add))
    }

    /// Bytes written that answer for user writes: the numerator of write amplification.
    pub fn amplified_write_bytes(&self) -> u64 {
        let counted = Cause::all().filter(|cause| cause.counts_as_write_amplification());
        counted.map(|cause| self.of(cause).write_bytes).sum()
    }

    /// What moved since `earlier`, a reading of the same counters.
    pub fn since(&self, earlier: &IoStats) -> IoStats {
        let mut out = *self;
        for (row, before) in out.rows.iter_mut().zip(&earlier.rows) {
            *row = row.zip(*before, u64::saturating_sub);
        }
        out
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for IoStats {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.nonzero().map(|(cause, row)| (cause.to_string(), row)))
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for IoStats {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let named = std::collections::BTreeMap::<String, IoCounters>::deserialize(deserializer)?;
        let mut stats = IoStats::default();
        for cause in Cause::all() {
            if let Some(row) = named.get(&cause.to_string()) {
                *stats.of_mut(cause) = *row;
            }
        }
        Ok(stats)
    }
}

/// Blocks or pages of one kind that reads asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct BlockReads {
    /// The kind: "leaf", "inner", "value" in a B+tree; "data", "index", "filter" in an LSM tree.
    pub kind: String,
    /// Blocks asked for by gets, cache hits included.
    pub point_requests: u64,
    /// Of those, the ones that were not in memory.
    pub point_misses: u64,
    /// Blocks asked for by scans, cache hits included.
    pub scan_requests: u64,
    /// Of those, the ones that were not in memory.
    pub scan_misses: u64,
}

/// What filters did for gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FilterStats {
    /// Filters asked.
    pub probes: u64,
    /// Answers "surely absent".
    pub negatives: u64,
    /// Answers "maybe" for a table that then did not hold the key.
    pub false_positives: u64,
}

/// What users asked for and got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct UserStats {
    /// Point reads.
    pub gets: u64,
    /// Of those, the ones that found a value.
    pub hits: u64,
    /// Scans opened.
    pub scans: u64,
    /// Entries that scans returned.
    pub scanned_entries: u64,
    /// Operations committed.
    pub ops_written: u64,
    /// Key and value bytes of puts, key bytes of deletes, as committed.
    pub written_bytes: u64,
    /// Batches committed.
    pub commits: u64,
}

/// Memory that one part of an engine holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MemoryUse {
    /// Who holds it: "memtable", "block cache", "filters", "frames".
    pub owner: String,
    /// How much, in bytes.
    pub bytes: u64,
}

/// Time that writers had to wait, by reason.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Stall {
    /// The reason: "write delay", "memtable slot", "dirty limit", "log limit".
    pub name: String,
    /// How often.
    pub count: u64,
    /// How long in all, in nanoseconds.
    pub wall_ns: u64,
}

/// One file of a database directory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FileUse {
    /// Its name in the directory.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// True if it belongs to the write-ahead log.
    pub is_log: bool,
}

/// Counters since opening, and gauges of this moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Stats {
    /// What users asked for and got.
    pub user: UserStats,
    /// What moved between engine and files, by cause. `None` if the engine cannot tell.
    pub io: Option<IoStats>,
    /// The bytes of it once more, counted where the system calls are made, so that the two check each other. `None`
    /// if nobody counts them there.
    pub io_total: Option<IoTotal>,
    /// Blocks or pages that reads asked for, by kind.
    pub blocks: Vec<BlockReads>,
    /// What filters did.
    pub filter: FilterStats,
    /// Memory by owner.
    pub memory: Vec<MemoryUse>,
    /// Waiting by reason.
    pub stalls: Vec<Stall>,
    /// Every file the engine knows it has.
    pub files: Vec<FileUse>,
    /// Bytes in data files that hold nothing a reader could ask for: free pages, dead blocks.
    pub free_bytes: u64,
    /// Bytes of upkeep owed: compaction debt, or dirty pages.
    pub debt_bytes: u64,
    /// Other counters by name: "flushes", "compactions", "checkpoints", "splits".
    pub counters: Vec<(String, u64)>,
    /// Snapshots and scans that are open.
    pub snapshots_open: u64,
    /// Operations committed after the oldest open snapshot.
    pub snapshot_age_ops: u64,
    /// The newest visible operation.
    pub seq: SeqNo,
}

impl Stats {
    /// Bytes of memory over all owners.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.iter().map(|owner| owner.bytes).sum()
    }

    /// Bytes of files, with or without the log.
    pub fn file_bytes(&self, with_log: bool) -> u64 {
        self.files.iter().filter(|file| with_log || !file.is_log).map(|file| file.bytes).sum()
    }

    /// The named counter, 0 if the engine has none of that name.
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.iter().find(|(known, _)| known == name).map_or(0, |(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_the_sum_of_the_causes_and_a_difference_is_per_cause() {
        let mut before = IoStats::default();
        before.of_mut(Cause::Wal).write_bytes = 10;
        let mut after = before;
        after.of_mut(Cause::Wal).write_bytes += 5;
        after.of_mut(Cause::Compaction { to: 3 }).write_bytes += 7;
        after.of_mut(Cause::Prepare).write_bytes += 100;
        assert_eq!(after.total().write_bytes, 122);
        let delta = after.since(&before);
        assert_eq!(delta.of(Cause::Wal).write_bytes, 5);
        assert_eq!(delta.amplified_write_bytes(), 12);
        assert_eq!(delta.nonzero().count(), 3);
    }
}
