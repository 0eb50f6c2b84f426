//! Counters of what only an LSM tree does; all only grow, but for the scans that are open.

use std::sync::atomic::{AtomicU64, Ordering};

use kv_io::counters::ShardedCounter;

/// What upkeep did, and the scans that are open.
#[derive(Debug, Default)]
pub struct Counters {
    /// Memtables written out.
    pub flushes: ShardedCounter,
    /// Merges.
    pub compactions: ShardedCounter,
    /// Tables listed a level deeper without being rewritten.
    pub trivial_moves: ShardedCounter,
    /// Tables that joined the tree.
    pub tables_created: ShardedCounter,
    /// Table files removed.
    pub tables_removed: ShardedCounter,
    /// Bytes that merges wrote.
    pub merged_bytes: ShardedCounter,
    /// Tombstones that had done their work.
    pub tombstones_dropped: ShardedCounter,
    scans_open: AtomicU64,
}

impl Counters {
    /// A scan began.
    pub fn scan_opened(&self) {
        self.scans_open.fetch_add(1, Ordering::Relaxed);
    }

    /// A scan ended.
    pub fn scan_closed(&self) {
        self.scans_open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Scans that are open.
    pub fn scans_open(&self) -> u64 {
        self.scans_open.load(Ordering::Relaxed)
    }

    /// The counters that have no place of their own in the statistics.
    pub fn named(&self) -> Vec<(String, u64)> {
        let named = [
            ("flushes", &self.flushes),
            ("compactions", &self.compactions),
            ("trivial_moves", &self.trivial_moves),
            ("tables_created", &self.tables_created),
            ("tables_removed", &self.tables_removed),
            ("tombstones_dropped", &self.tombstones_dropped),
        ];
        named.into_iter().map(|(name, counter)| (name.to_owned(), counter.get())).collect()
    }
}
