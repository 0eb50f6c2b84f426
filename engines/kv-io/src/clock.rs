//! Time, as engines may know it: monotonic, and held still by a simulation.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use crate::sync::atomic::{AtomicU64, Ordering};

/// A monotonic clock. Engines never read wall time.
pub trait Clock: Send + Sync + Debug {
    /// Nanoseconds since some fixed moment.
    fn now_ns(&self) -> u64;

    /// Waits.
    fn sleep(&self, time: Duration);
}

/// The clock of the machine.
#[derive(Debug)]
pub struct RealClock {
    start: Instant,
}

impl Default for RealClock {
    fn default() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place where engines' time comes from")]
        let start = Instant::now();
        RealClock { start }
    }
}

impl Clock for RealClock {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn sleep(&self, time: Duration) {
        #[cfg_attr(
            not(feature = "shuttle"),
            expect(clippy::disallowed_methods, reason = "the one place where engines sleep")
        )]
        crate::sync::thread::sleep(time);
    }
}

/// A clock that moves only when somebody sleeps.
#[derive(Debug, Default)]
pub struct SimClock {
    now_ns: AtomicU64,
}

impl Clock for SimClock {
    fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed)
    }

    fn sleep(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.now_ns.fetch_add(ns, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_clock_moves_by_sleeping_alone() {
        let clock = SimClock::default();
        assert_eq!(clock.now_ns(), clock.now_ns());
        clock.sleep(Duration::from_millis(2));
        assert_eq!(clock.now_ns(), 2_000_000);
    }
}
