//! Counters that both engines keep: what users asked for, which blocks were read, how long writers waited. On hot
//! paths threads add in different cache lines; readers of the sum pay for it.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam::utils::CachePadded;
use kv_api::Batch;
use kv_api::stats::{BlockReads, Stall, UserStats};

/// Cells per counter. More threads than cells share, which costs time but never a count.
const CELLS: usize = 16;

/// The cell of this thread: threads are numbered as they first count.
fn cell_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<Option<usize>> = const { Cell::new(None) };
    }
    MINE.with(|mine| {
        mine.get().unwrap_or_else(|| {
            let cell = NEXT.fetch_add(1, Ordering::Relaxed) % CELLS;
            mine.set(Some(cell));
            cell
        })
    })
}

/// A counter that many threads add to without sharing a cache line.
#[derive(Debug, Default)]
pub struct ShardedCounter {
    cells: [CachePadded<AtomicU64>; CELLS],
}

impl ShardedCounter {
    /// Adds `count`. About 2 ns while a cell has one thread.
    pub fn add(&self, count: u64) {
        if let Some(cell) = self.cells.get(cell_of_thread()) {
            cell.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// The sum. Adds that run meanwhile may or may not be in it; none is lost or counted twice.
    pub fn get(&self) -> u64 {
        self.cells.iter().fold(0, |sum, cell| sum.wrapping_add(cell.load(Ordering::Relaxed)))
    }
}

/// Who asks for a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A get.
    Point,
    /// A scan.
    Scan,
}

/// Requests for blocks of one kind, and how many were not in memory.
#[derive(Debug, Default)]
pub struct ReadCounters {
    point_requests: ShardedCounter,
    point_misses: ShardedCounter,
    scan_requests: ShardedCounter,
    scan_misses: ShardedCounter,
}

impl ReadCounters {
    /// Counts a request that memory could answer.
    pub fn hit(&self, access: Access) {
        self.add(access, 1, 0);
    }

    /// Counts a request that had to go to the file.
    pub fn miss(&self, access: Access) {
        self.add(access, 1, 1);
    }

    /// Counts `requests` at once, `misses` of which had to go to the file.
    pub fn add(&self, access: Access, requests: u64, misses: u64) {
        let (all, missed) = match access {
            Access::Point => (&self.point_requests, &self.point_misses),
            Access::Scan => (&self.scan_requests, &self.scan_misses),
        };
        all.add(requests);
        if misses > 0 {
            missed.add(misses);
        }
    }

    /// The counts, under the name of the kind of block.
    pub fn get(&self, kind: impl Into<String>) -> BlockReads {
        BlockReads {
            kind: kind.into(),
            point_requests: self.point_requests.get(),
            point_misses: self.point_misses.get(),
            scan_requests: self.scan_requests.get(),
            scan_misses: self.scan_misses.get(),
        }
    }
}

/// What users asked for.
#[derive(Debug, Default)]
pub struct UserCounters {
    gets: ShardedCounter,
    hits: ShardedCounter,
    scans: ShardedCounter,
    scanned_entries: ShardedCounter,
    ops_written: ShardedCounter,
    written_bytes: ShardedCounter,
    commits: ShardedCounter,
}

impl UserCounters {
    /// Counts a get, and whether it found a value; returns that.
    pub fn count_get(&self, found: bool) -> bool {
        self.gets.add(1);
        if found {
            self.hits.add(1);
        }
        found
    }

    /// Counts a scan.
    pub fn count_scan(&self) {
        self.scans.add(1);
    }

    /// Counts entries that scans gave out.
    pub fn count_scanned(&self, entries: u64) {
        self.scanned_entries.add(entries);
    }

    /// Counts a committed batch; an empty one committed nothing.
    pub fn count_commit(&self, batch: &Batch) {
        self.commits.add(u64::from(!batch.is_empty()));
        self.ops_written.add(batch.len() as u64);
        self.written_bytes.add(batch.user_bytes());
    }

    /// The counts.
    pub fn stats(&self) -> UserStats {
        UserStats {
            gets: self.gets.get(),
            hits: self.hits.get(),
            scans: self.scans.get(),
            scanned_entries: self.scanned_entries.get(),
            ops_written: self.ops_written.get(),
            written_bytes: self.written_bytes.get(),
            commits: self.commits.get(),
        }
    }
}

/// Waiting for one reason. Whoever waits has time to share a cache line.
#[derive(Debug, Default)]
pub struct StallCounter {
    count: AtomicU64,
    wall_ns: AtomicU64,
}

impl StallCounter {
    /// Counts a wait of `wall_ns`.
    pub fn add(&self, wall_ns: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.wall_ns.fetch_add(wall_ns, Ordering::Relaxed);
    }

    /// How often and how long, under the name of the reason.
    pub fn get(&self, name: impl Into<String>) -> Stall {
        let (count, wall_ns) = (self.count.load(Ordering::Relaxed), self.wall_ns.load(Ordering::Relaxed));
        Stall { name: name.into(), count, wall_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_count_is_lost_between_threads() {
        let counter = ShardedCounter::default();
        std::thread::scope(|scope| {
            for _ in 0..CELLS + 3 {
                scope.spawn(|| (0..1000).for_each(|_| counter.add(2)));
            }
        });
        assert_eq!(counter.get(), (CELLS as u64 + 3) * 2000);
    }

    #[test]
    fn a_miss_is_a_request_too() {
        let counters = ReadCounters::default();
        counters.hit(Access::Point);
        counters.miss(Access::Point);
        counters.miss(Access::Scan);
        let reads = counters.get("leaf");
        assert_eq!((reads.point_requests, reads.point_misses), (2, 1));
        assert_eq!((reads.scan_requests, reads.scan_misses), (1, 1));
        assert_eq!(reads.kind, "leaf");
    }
}
