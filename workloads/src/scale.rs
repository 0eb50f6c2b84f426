//! One workload in three more sizes: smoke for a test, lab for a coffee, full for a night.

use crate::spec::{Amount, Base, PhaseKind, PhaseSpec, Spec};

const MIB: u64 = 1 << 20;
const SMOKE_DIVISOR: f64 = 50.0;
const SMOKE_SECONDS_FACTOR: f64 = 1.0 / 25.0;
/// Ends the wait for an engine that never settles; one that works is done in well under a second.
const SMOKE_WAIT_SECONDS: f64 = 600.0;
/// What one batch may be of the memory budget.
const BATCH_SHARE_MAX: f64 = 0.125;
/// Data that is a multiple of the memory is beyond it with this one too, and a sweep of twenty cells takes seconds.
const SMOKE_MEMORY_FACTOR_MAX: f64 = 4.0;
const SMOKE_BUDGET_MIN: u64 = MIB;
const LAB: Size = Size { memory_budget: 32 * MIB, data_bytes: 320 * MIB, seconds_factor: 6.0 };
const FULL: Size = Size { memory_budget: 256 * MIB, data_bytes: 2_560 * MIB, seconds_factor: 60.0 };

struct Size {
    memory_budget: u64,
    data_bytes: u64,
    seconds_factor: f64,
}

/// How large to run a workload; none means as the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Scale {
    /// A fiftieth of records, operations and memory (1 MiB at least); data of many times the memory is four times it. Counts end its phases, never a clock, so that
    /// a busy machine does the same work as an idle one; a phase that is to end when steady ends after as many
    /// operations as there are records, too soon to be judged; a phase that has only a time takes a 25th of it.
    Smoke,
    /// 320 MiB of data under a 32 MiB budget, time caps of 10 minutes in all.
    Lab,
    /// 2560 MiB of data under a 256 MiB budget, time caps of 4 hours in all.
    Full,
}

impl Scale {
    /// The most that the time caps of a cell may come to, in seconds: where they are more, each is shortened by the
    /// same factor. At smoke size these are the caps of phases that nothing but a clock ends.
    pub const fn seconds_max(self) -> Option<f64> {
        match self {
            Scale::Smoke => Some(19.0),
            Scale::Lab => Some(600.0),
            Scale::Full => Some(4.0 * 3_600.0),
        }
    }
}

impl std::str::FromStr for Scale {
    type Err = String;

    /// Reads `smoke`, `lab` or `full`.
    fn from_str(word: &str) -> Result<Scale, String> {
        match word {
            "smoke" => Ok(Scale::Smoke),
            "lab" => Ok(Scale::Lab),
            "full" => Ok(Scale::Full),
            _ => Err(format!("unknown scale \"{word}\"; known: smoke, lab, full")),
        }
    }
}

impl Spec {
    /// The workload at another size. Operations and bytes grow as the records do; relative amounts follow by
    /// themselves.
    ///
    /// ```
    /// use workloads::{Scale, ready};
    /// let spec = ready::find("read-heavy").unwrap();
    /// assert_eq!(spec.records(), 1_000_000);
    /// assert_eq!(spec.scaled(Scale::Smoke).records(), 20_000);
    /// ```
    pub fn scaled(&self, scale: Scale) -> Spec {
        let mut spec = self.clone();
        let (factor, seconds_factor) = match scale {
            Scale::Smoke => {
                if let Amount::Count(given) = self.run.memory_budget {
                    let budget = (given as f64 / SMOKE_DIVISOR) as u64;
                    spec.run.memory_budget = Amount::Count(budget.max(SMOKE_BUDGET_MIN).min(given));
                }
                spec.data.records = match times(self.data.records, 1.0 / SMOKE_DIVISOR) {
                    Amount::Times { factor, of } => {
                        Amount::Times { factor: factor.min(SMOKE_MEMORY_FACTOR_MAX), of }
                    }
                    count => count,
                };
                (1.0 / SMOKE_DIVISOR, SMOKE_SECONDS_FACTOR)
            }
            Scale::Lab => spec.resize(self, &LAB),
            Scale::Full => spec.resize(self, &FULL),
        };
        // Engines take batches of a quarter of their memory at most.
        let batch_max =
            (spec.memory_budget() as f64 * BATCH_SHARE_MAX / spec.data.entry_bytes() as f64) as u32;
        for phase in &mut spec.phases {
            phase.batch = phase.batch.min(batch_max.max(1));
            phase.until.records = phase.until.records.map(|amount| times(amount, factor));
            phase.until.ops = phase.until.ops.map(|amount| times(amount, factor));
            phase.until.user_bytes = phase.until.user_bytes.map(|amount| times(amount, factor));
            phase.until.debt_below = phase.until.debt_below.map(|amount| times(amount, factor));
            phase.retain = times(phase.retain, factor);
            if scale == Scale::Smoke && phase.until.steady && !phase.ends_by_itself() {
                phase.until.ops = Some(Amount::Times { factor: 1.0, of: Base::Records });
            }
            if scale == Scale::Smoke && phase.ends_by_itself() {
                phase.until.s = None;
            }
        }
        if scale == Scale::Smoke {
            // A tide that takes longer than the phase would be none.
            let timed = spec.phases.iter_mut().filter(|phase| !phase.ends_by_itself());
            timed.for_each(|phase| phase.arrival.stretch(SMOKE_SECONDS_FACTOR));
        }
        spec.stretch(seconds_factor);
        if let Some(most) = scale.seconds_max() {
            let caps: f64 = spec.phases.iter().filter_map(PhaseSpec::cap_s).sum();
            spec.stretch((most / caps).min(1.0));
        }
        let is_wait = |phase: &&mut PhaseSpec| matches!(phase.kind, PhaseKind::Settle | PhaseKind::Drain);
        for wait in spec.phases.iter_mut().filter(is_wait).filter(|_| scale == Scale::Smoke) {
            wait.until.s = Some(SMOKE_WAIT_SECONDS);
        }
        for phase in spec.phases.iter_mut().filter(|phase| scale == Scale::Smoke && phase.until.steady) {
            phase.until.max_s = Some(SMOKE_WAIT_SECONDS);
        }
        spec
    }

    /// Multiplies every time of every phase.
    fn stretch(&mut self, factor: f64) {
        for until in self.phases.iter_mut().map(|phase| &mut phase.until) {
            for seconds in [&mut until.s, &mut until.min_s, &mut until.max_s] {
                *seconds = seconds.map(|s| s * factor);
            }
        }
    }

    fn resize(&mut self, from: &Spec, size: &Size) -> (f64, f64) {
        // A share of the data stays a share: it is what the workload is about.
        if let Amount::Count(_) = self.run.memory_budget {
            self.run.memory_budget = Amount::Count(size.memory_budget);
        }
        let records = (size.data_bytes / self.data.entry_bytes()).max(1);
        self.data.records = Amount::Count(records);
        (records as f64 / from.records() as f64, size.seconds_factor)
    }
}

fn times(amount: Amount, factor: f64) -> Amount {
    match amount {
        Amount::Count(count) => Amount::Count(((count as f64 * factor).round() as u64).max(1)),
        relative @ Amount::Times { .. } => relative,
    }
}
