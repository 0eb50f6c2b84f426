//! Pressure: when a checkpoint is due, and when writers are held back or must wait. Pure; `core.rs` and `apply.rs` act.

/// Why a writer waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Too many pages are dirty.
    DirtyLimit,
    /// The log is too long.
    LogLimit,
    /// The log outgrows the checkpoint that runs.
    WriteDelay,
}

impl Wait {
    /// All of them.
    pub const ALL: [Wait; 3] = [Wait::DirtyLimit, Wait::LogLimit, Wait::WriteDelay];

    /// Its name in the statistics.
    pub fn name(self) -> &'static str {
        match self {
            Wait::DirtyLimit => "dirty limit",
            Wait::LogLimit => "log limit",
            Wait::WriteDelay => "write delay",
        }
    }
}

/// Longest time that a commit is held back, in nanoseconds.
const DELAY_NS_MAX: u64 = 1_000_000;

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
}

impl Pressure {
    /// True if a checkpoint is due.
    pub fn wants_checkpoint(&self) -> bool {
        self.dirty >= self.dirty_start || self.log_bytes > self.log_bytes_max
    }

    /// How long a commit is held back while a checkpoint runs and the log grows past its limit: nothing at the
    /// limit, a millisecond where writers would have to wait, so that they do not run into a wall.
    pub fn delay_ns(&self) -> u64 {
        let over = self.log_bytes.saturating_sub(self.log_bytes_max);
        let share = u128::from(over.min(self.log_bytes_max)) * u128::from(DELAY_NS_MAX);
        u64::try_from(share / u128::from(self.log_bytes_max.max(1))).unwrap_or(DELAY_NS_MAX)
    }

    /// Why a writer must wait while a checkpoint runs. Without one, a commit makes its own room.
    pub fn stalls(&self) -> Option<Wait> {
        if self.dirty >= self.dirty_max {
            Some(Wait::DirtyLimit)
        } else if self.log_bytes / 2 > self.log_bytes_max {
            Some(Wait::LogLimit)
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
        };
        assert!(!at(39, 1000).wants_checkpoint() && at(39, 1000).delay_ns() == 0);
        assert!(at(40, 0).wants_checkpoint() && at(0, 1001).wants_checkpoint());
        assert_eq!(at(0, 1500).delay_ns(), DELAY_NS_MAX / 2);
        assert_eq!(at(0, 9000).delay_ns(), DELAY_NS_MAX);
        assert_eq!(at(49, 1999).stalls(), None);
        assert_eq!(at(50, 0).stalls(), Some(Wait::DirtyLimit));
        assert_eq!(at(0, 2002).stalls(), Some(Wait::LogLimit));
    }
}
