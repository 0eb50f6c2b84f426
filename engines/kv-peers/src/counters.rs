//! What users asked for and got, counted in shards so that threads do not fight over one cache line.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use kv_api::stats::UserStats;

const SHARDS: usize = 16;

/// The counters of some threads, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    gets: AtomicU64,
    hits: AtomicU64,
    scans: AtomicU64,
    scanned_entries: AtomicU64,
    ops_written: AtomicU64,
    written_bytes: AtomicU64,
    commits: AtomicU64,
}

/// Counters of user operations since opening.
#[derive(Debug, Default)]
pub struct Counters([Shard; SHARDS]);

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

impl Counters {
    fn mine(&self) -> &Shard {
        // The number is below `SHARDS` by its making; a thread that is ending counts in the first shard.
        &self.0[MINE.try_with(|mine| *mine).unwrap_or(0)]
    }

    /// Counts a point read; gives `hit` back.
    pub fn count_get(&self, hit: bool) -> bool {
        let shard = self.mine();
        shard.gets.fetch_add(1, Ordering::Relaxed);
        if hit {
            shard.hits.fetch_add(1, Ordering::Relaxed);
        }
        hit
    }

    /// Counts an opened scan.
    pub fn count_scan(&self) {
        self.mine().scans.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts entries that a scan returned.
    pub fn count_scanned(&self, entries: u64) {
        self.mine().scanned_entries.fetch_add(entries, Ordering::Relaxed);
    }

    /// Counts a commit.
    pub fn count_commit(&self, ops: u64, user_bytes: u64) {
        let shard = self.mine();
        shard.ops_written.fetch_add(ops, Ordering::Relaxed);
        shard.written_bytes.fetch_add(user_bytes, Ordering::Relaxed);
        shard.commits.fetch_add(1, Ordering::Relaxed);
    }

    /// The sums.
    pub fn stats(&self) -> UserStats {
        let mut sum = UserStats::default();
        for shard in &self.0 {
            let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            sum.gets += of(&shard.gets);
            sum.hits += of(&shard.hits);
            sum.scans += of(&shard.scans);
            sum.scanned_entries += of(&shard.scanned_entries);
            sum.ops_written += of(&shard.ops_written);
            sum.written_bytes += of(&shard.written_bytes);
            sum.commits += of(&shard.commits);
        }
        sum
    }
}
