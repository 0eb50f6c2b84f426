//! Back-pressure: what a writer waits for before its batch is logged, and how long it waited.
//!
//! Two kinds of waiting. The hard one is for room: a slot for a sealed memtable, or a log that its flush lets go
//! of. The soft one, the write delay, keeps the hard one rare: as upkeep falls behind, each batch pays a growing
//! share of the time that upkeep needs to digest as many bytes.
//!
//! ```text
//! delay = bytes / digestion * pressure        digestion = bytes flushed / time spent on flushes and merges
//! pressure = 0 up to the soft limit of debt, 1 at the hard limit, where writers are as slow as upkeep; linear
//! ```
//!
//! No threshold steps: the delay begins at nothing. It is owed in total and paid in pauses long enough for a timer.

use kv_api::stats::Stall;
use kv_io::counters::StallCounter;
use kv_io::sync::atomic::{AtomicU64, Ordering};

/// Shorter pauses are saved up: a timer is not that exact.
const PAUSE_MIN_NS: u64 = 100_000;
/// Longest single pause.
const PAUSE_MAX_NS: u64 = 20_000_000;
/// What the soft limit of debt is: this many times the base level, and a quarter of the tree.
const SOFT_BASES: u64 = 8;
/// Measurements older than this many nanoseconds of upkeep count half.
const MEMORY_NS: u64 = 2_000_000_000;

/// Why a writer waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Upkeep is behind.
    WriteDelay,
    /// Too many sealed memtables wait for their flush.
    MemtableSlot,
    /// The log is too long.
    LogLimit,
}

impl Wait {
    /// All of them.
    pub const ALL: [Wait; 3] = [Wait::WriteDelay, Wait::MemtableSlot, Wait::LogLimit];

    /// Its name in the statistics.
    pub fn name(self) -> &'static str {
        match self {
            Wait::WriteDelay => "write delay",
            Wait::MemtableSlot => "memtable slot",
            Wait::LogLimit => "log limit",
        }
    }
}

/// How far upkeep is behind, how fast it digests, and how often and long writers waited, by reason.
#[derive(Debug, Default)]
pub struct Pressure {
    /// Thousandths: 0 for none, 1000 for "as slow as upkeep", at most 4000.
    level: AtomicU64,
    digested_bytes: AtomicU64,
    busy_ns: AtomicU64,
    owed_ns: AtomicU64,
    /// In the order of [`Wait::ALL`].
    stalls: [StallCounter; 3],
}

/// How full the tree is, as far as writers need to know.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Bytes that upkeep must rewrite.
    pub debt: u64,
    /// Bytes of all tables.
    pub total: u64,
    /// Bytes that the base level may hold.
    pub base: u64,
    /// Tables in level 0.
    pub l0_tables: u64,
    /// Tables in level 0 that start a merge.
    pub l0_trigger: u64,
}

/// The pressure of `load` in thousandths: by debt between the soft limit and its double, and by level 0 between
/// three and nine times its trigger, whichever is larger.
pub fn level_of(load: Load) -> u64 {
    let between = |value: u64, low: u64, high: u64| {
        value.saturating_sub(low).saturating_mul(1000) / high.saturating_sub(low).max(1)
    };
    let soft = load.base.saturating_mul(SOFT_BASES).saturating_add(load.total / 4);
    let by_debt = between(load.debt, soft, soft.saturating_mul(2));
    let by_tables = between(load.l0_tables, 3 * load.l0_trigger, 9 * load.l0_trigger);
    by_debt.max(by_tables).min(4000)
}

impl Pressure {
    /// All reasons, also those that nobody waited for.
    pub fn stalls(&self) -> Vec<Stall> {
        Wait::ALL.iter().zip(&self.stalls).map(|(wait, stall)| stall.get(wait.name())).collect()
    }

    /// Takes note of a wait.
    pub fn waited(&self, wait: Wait, wall_ns: u64) {
        let stalls = Wait::ALL.iter().zip(&self.stalls);
        stalls.filter(|(own, _)| **own == wait).for_each(|(_, stall)| stall.add(wall_ns));
    }

    /// Takes note of how full the tree is now.
    pub fn set_load(&self, load: Load) {
        self.level.store(level_of(load), Ordering::Relaxed);
    }

    /// Takes note of a finished job: `flushed_bytes` of users' data went to level 0; a merge digests none, its
    /// time is part of the price.
    pub fn worked(&self, flushed_bytes: u64, wall_ns: u64) {
        let busy = self.busy_ns.fetch_add(wall_ns, Ordering::Relaxed) + wall_ns;
        self.digested_bytes.fetch_add(flushed_bytes, Ordering::Relaxed);
        if busy > 2 * MEMORY_NS {
            let halve =
                |counter: &AtomicU64| counter.store(counter.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
            halve(&self.busy_ns);
            halve(&self.digested_bytes);
        }
    }

    /// Nanoseconds that a batch of `bytes` owes.
    fn price_ns(&self, bytes: u64) -> u64 {
        let level = self.level.load(Ordering::Relaxed);
        if level == 0 {
            return 0;
        }
        let digested = self.digested_bytes.load(Ordering::Relaxed).max(1);
        let busy = self.busy_ns.load(Ordering::Relaxed);
        let ns = u128::from(bytes) * u128::from(busy) * u128::from(level) / u128::from(digested) / 1000;
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    /// What is to be paid now of what is owed with this batch; the rest stays owed.
    pub fn due_ns(&self, bytes: u64) -> u64 {
        let price = self.price_ns(bytes);
        if price == 0 {
            return 0;
        }
        let owed = self.owed_ns.fetch_add(price, Ordering::Relaxed).saturating_add(price);
        if owed < PAUSE_MIN_NS {
            return 0;
        }
        let pause = owed.min(PAUSE_MAX_NS);
        // Writers that come together each pay their part; none pays what another one has paid.
        self.owed_ns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |owed| Some(owed.saturating_sub(pause)))
            .map_or(0, |owed| owed.min(pause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Load = Load { debt: 0, total: 400, base: 100, l0_tables: 0, l0_trigger: 4 };

    #[test]
    fn pressure_begins_at_nothing_and_grows_without_a_step() {
        // The soft limit is 8 * 100 + 400 / 4 = 900.
        let at = |debt| level_of(Load { debt, ..LOAD });
        assert_eq!((at(0), at(900), at(909), at(1350), at(1800), at(90_000)), (0, 0, 10, 500, 1000, 4000));
        let with = |l0_tables| level_of(Load { l0_tables, ..LOAD });
        assert_eq!((with(12), with(24), with(36)), (0, 500, 1000));
    }

    #[test]
    fn at_full_pressure_writers_are_as_slow_as_upkeep() {
        let pressure = Pressure::default();
        assert_eq!(pressure.due_ns(1 << 20), 0);
        // A megabyte per millisecond.
        pressure.worked(1_000_000, 400_000);
        pressure.worked(0, 600_000);
        pressure.set_load(Load { debt: 1800, ..LOAD });
        assert_eq!(pressure.price_ns(1_000_000), 1_000_000);
        pressure.set_load(Load { debt: 1350, ..LOAD });
        assert_eq!(pressure.price_ns(1_000_000), 500_000);
    }

    #[test]
    fn small_debts_are_saved_up_and_paid_once() {
        let pressure = Pressure::default();
        pressure.worked(1_000_000, 1_000_000);
        pressure.set_load(Load { debt: 1800, ..LOAD });
        let paid: Vec<u64> = (0..4).map(|_| pressure.due_ns(40_000)).collect();
        assert_eq!(paid, [0, 0, 120_000, 0]);
        assert_eq!(pressure.due_ns(1 << 40), PAUSE_MAX_NS);
    }
}
