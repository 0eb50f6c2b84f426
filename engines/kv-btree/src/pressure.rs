//! Pressure: when a checkpoint is due, and when writers are held back or must wait. Pure; `core.rs` and `apply.rs` act.

/// Why a writer waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Too many pages are dirty.
    DirtyLimit,
    /// The log is too long.
    LogLimit,
    /// Too many replaced pages wait for the next checkpoint, and the file would grow by as many.
    DeadLimit,
    /// The log outgrows the checkpoint that runs.
    WriteDelay,
}

impl Wait {
    /// All of them.
    pub const ALL: [Wait; 4] = [Wait::DirtyLimit, Wait::LogLimit, Wait::DeadLimit, Wait::WriteDelay];

    /// Its name in the statistics.
    pub fn name(self) -> &'static str {
        match self {
            Wait::DirtyLimit => "dirty limit",
            Wait::LogLimit => "log limit",
            Wait::DeadLimit => "dead limit",
            Wait::WriteDelay => "write delay",
        }
    }
}

/// One dead page to this many of the tree is what writers may leave behind while a checkpoint runs.
const DEAD_SHARE: u64 = 3;
/// Longest time that a commit is held back, in nanoseconds.
const DELAY_NS_MAX: u64 = 1_000_000;

/// Dead pages at which writers wait, for a tree of `live` pages: a share of them, but at least as many as may be
/// dirty, or a small tree would wait at every sync. No more than twice as many wait at any time, those of the last
/// checkpoint and those of the one that runs; without a limit a single slow sync left the file half empty.
pub fn dead_max(live: u64, pool_pages_max: usize) -> usize {
    usize::try_from(live / DEAD_SHARE).unwrap_or(usize::MAX).max(pool_pages_max / 2)
}

/// What presses for a checkpoint.
#[derive(Debug, Clone, Copy)]
pub struct Pressure {
    /// Dirty pages.
    pub dirty: usize,
    /// Dirty pages at which a checkpoint begins.
    pub dirty_start: usize,
    /// Dirty pages at which writers wait.
    pub dirty_max: usize,
    /// Bytes of log since the last checkpoint.
    pub log_bytes: u64,
    /// Bytes of log at which a checkpoint begins.
    pub log_bytes_max: u64,
    /// Pages replaced since the newest checkpoint began: their numbers come back with the one after it.
    pub dead: usize,
    /// Such pages at which a checkpoint begins, and writers wait while one runs.
    pub dead_max: usize,
}

impl Pressure {
    /// True if a checkpoint is due.
    pub fn wants_checkpoint(&self) -> bool {
        self.dirty >= self.dirty_start || self.log_bytes > self.log_bytes_max || self.dead >= self.dead_max
    }

    /// How long a commit is held back while a checkpoint runs and the log grows past its limit: nothing at the
    /// limit, a millisecond where writers would have to wait, so that they do not run into a wall.
    pub fn delay_ns(&self) -> u64 {
        let over = self.log_bytes.saturating_sub(self.log_bytes_max);
        let share = u128::from(over.min(self.log_bytes_max)) * u128::from(DELAY_NS_MAX);
        u64::try_from(share / u128::from(self.log_bytes_max.max(1))).unwrap_or(DELAY_NS_MAX)
    }

    /// Why a writer must wait while a checkpoint runs. Without one, a commit makes its own room; so it does while
    /// the checkpoint syncs what it wrote, unless `is_writing`.
    pub fn stalls(&self, is_writing: bool) -> Option<Wait> {
        if self.dirty >= self.dirty_max && is_writing {
            Some(Wait::DirtyLimit)
        } else if self.log_bytes / 2 > self.log_bytes_max {
            Some(Wait::LogLimit)
        } else if self.dead >= self.dead_max {
            Some(Wait::DeadLimit)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_rises_from_a_checkpoint_over_a_delay_to_a_wait() {
        let at = |dirty, log_bytes| Pressure {
            dirty,
            dirty_start: 40,
            dirty_max: 50,
            log_bytes,
            log_bytes_max: 1000,
            dead: 0,
            dead_max: 100,
        };
        let dead = |dead| Pressure { dead, ..at(0, 0) };
        assert!(!at(39, 1000).wants_checkpoint() && at(39, 1000).delay_ns() == 0);
        assert!(at(40, 0).wants_checkpoint() && at(0, 1001).wants_checkpoint());
        assert_eq!(at(0, 1500).delay_ns(), DELAY_NS_MAX / 2);
        assert_eq!(at(0, 9000).delay_ns(), DELAY_NS_MAX);
        assert_eq!(at(49, 1999).stalls(true), None);
        assert_eq!(at(50, 0).stalls(true), Some(Wait::DirtyLimit));
        assert_eq!(at(50, 0).stalls(false), None);
        assert_eq!(at(50, 2002).stalls(false), Some(Wait::LogLimit));
        assert_eq!(at(0, 2002).stalls(true), Some(Wait::LogLimit));
        assert!(!dead(99).wants_checkpoint() && dead(99).stalls(true).is_none());
        assert!(dead(100).wants_checkpoint());
        assert_eq!(dead(100).stalls(false), Some(Wait::DeadLimit));
    }
}
