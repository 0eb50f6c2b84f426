//! Judges a phase while it runs: is it steady? The rule of [`crate::stats::steady`] on throughput, write amplification,
//! space and the 99th percentile, over the last five windows, and what the engine itself must have been through: three
//! checkpoints, or its deepest level rewritten once, with no trend in debt and free space.

use std::time::Duration;

use kv_api::{Cause, IoStats, Stats};

use super::progress::Times;
use crate::metrics::{SteadyRecord, Window};
use crate::stats::steady::{self, Steady, WINDOWS};

/// Windows are this long unless the workload says otherwise: shorter ones see the weather, not the climate.
pub const WINDOW: Duration = Duration::from_secs(10);
/// Slices of a window: the control chart looks at them.
const SLICES: usize = 10;
/// Looks that are kept; beyond it the older half goes.
const LOOKS_MAX: usize = 600;
/// Checkpoints a B+tree must have made.
const CHECKPOINTS_MIN: u64 = 3;
/// The share of its data files that an LSM tree must have written into its deepest level, which holds about nine tenths.
const BOTTOM_SHARE: f64 = 0.9;
/// Largest change of debt and of free space from window to window, as a share of the directory.
const DRIFT_MAX: f64 = 0.01;

/// Every counter at one moment of the phase.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// Milliseconds since the phase began.
    pub ms: u64,
    /// Operations done so far.
    pub ops: u64,
    /// What the directory occupies, in bytes.
    pub allocated_bytes: u64,
    /// Times of the operations so far.
    pub times: Times,
    user_bytes: u64,
    debt_bytes: u64,
    free_bytes: u64,
    data_file_bytes: u64,
    io: Option<IoStats>,
    checkpoints: Option<u64>,
}

impl Look {
    /// A look at an engine that says `stats` of itself.
    pub fn of(ms: u64, ops: u64, allocated_bytes: u64, times: Times, stats: &Stats) -> Look {
        let checkpoints = stats.counters.iter().find(|(name, _)| name == "checkpoints");
        Look {
            ms,
            ops,
            allocated_bytes,
            times,
            user_bytes: stats.user.written_bytes,
            debt_bytes: stats.debt_bytes,
            free_bytes: stats.free_bytes,
            data_file_bytes: stats.file_bytes(false),
            io: stats.io,
            checkpoints: checkpoints.map(|(_, count)| *count),
        }
    }

    /// Bytes written into the deepest level that compactions ever wrote to, and its number.
    fn bottom(&self) -> Option<(u8, u64)> {
        let levels = self.io.iter().flat_map(IoStats::nonzero).filter_map(|(cause, row)| match cause {
            Cause::Compaction { to } => Some((to, row.write_bytes)),
            _ => None,
        });
        levels.filter(|(_, written)| *written > 0).max()
    }
}

/// Looks on, slice by slice.
#[derive(Debug)]
pub struct Judge {
    window: Duration,
    first: Look,
    looks: Vec<Look>,
}

impl Judge {
    /// A judge of a phase that looks like `first` when it begins, with windows of `window` at least.
    pub fn new(window: Duration, first: Look) -> Judge {
        Judge { window, looks: vec![first.clone()], first }
    }

    /// True if a slice is over at `ms`.
    pub fn is_due(&self, ms: u64) -> bool {
        self.looks.last().is_none_or(|last| ms >= last.ms + self.slice_ms())
    }

    fn slice_ms(&self) -> u64 {
        (self.window.as_millis() as u64 / SLICES as u64).max(1)
    }

    /// Takes a look at the end of a slice; true if the phase is steady now.
    pub fn look(&mut self, look: Look) -> bool {
        if self.looks.len() >= LOOKS_MAX {
            self.looks.drain(..LOOKS_MAX / 2);
        }
        self.looks.push(look);
        // Cheap as long as too few windows are full, and once a slice after that.
        self.enough() && self.verdict().ok
    }

    fn enough(&self) -> bool {
        self.looks.len() > WINDOWS * self.per_window()
    }

    /// Slices of one window: a cycle of checkpoints must fit into it, for what comes once a cycle is no trend.
    fn per_window(&self) -> usize {
        let gained = |look: &Look| Some(look.checkpoints? - self.first.checkpoints?);
        let last = self.looks.last().unwrap_or(&self.first);
        let cycle_ms = match gained(last) {
            Some(checkpoints) if checkpoints > 0 => last.ms / checkpoints,
            _ => 0,
        };
        SLICES.max(cycle_ms.div_ceil(self.slice_ms()) as usize)
    }

    /// What is to be said of the phase as it stands.
    pub fn verdict(&self) -> SteadyRecord {
        let per_window = self.per_window();
        let windows = self.windows(per_window);
        let series = self.series(per_window, &windows);
        let window_s = self.window.as_secs_f64() * per_window as f64 / SLICES as f64;
        let mut faults: Vec<String> = Vec::new();
        if self.enough() {
            let told = series.iter().filter_map(|(name, steady)| Some((name, steady.as_ref()?.complaint()?)));
            faults.extend(told.map(|(name, fault)| format!("{name} {fault}")));
            if !series.iter().any(|(name, steady)| name == "throughput" && steady.is_some()) {
                faults.push("no operation was answered".to_owned());
            }
            faults.extend(self.unripe());
            faults.extend(self.drift(&windows));
        } else {
            let full = (self.looks.len() - 1) / per_window;
            let which = if full == 0 { "no full window".to_owned() } else { format!("{full} full") };
            faults.push(format!(
                "too short to judge: {which} of the {WINDOWS} of {window_s:.1} s that the rule looks at"
            ));
        }
        let ok = faults.is_empty();
        let why = if ok { held(&series, window_s, &windows) } else { faults.join("; ") };
        SteadyRecord { ok, why, window_s, series, windows }
    }

    fn series(&self, per_window: usize, windows: &[Window]) -> Vec<(String, Option<Steady>)> {
        let rates: Vec<f64> = self.slices().map(|(a, b)| rate(a, b)).collect();
        let over = |of: &dyn Fn(&Window) -> Option<f64>| {
            let values: Option<Vec<f64>> = judged(windows).iter().map(of).collect();
            values.and_then(|values| steady::judge_windows(&values))
        };
        let named = [
            ("throughput", steady::judge(&rates, per_window)),
            (
                "write amplification",
                self.amplifications(per_window).and_then(|wa| steady::judge(&wa, per_window)),
            ),
            ("space", over(&|window| Some(window.allocated_bytes as f64))),
            ("p99", over(&|window| window.p99_ns.map(|ns| ns as f64))),
        ];
        named.into_iter().map(|(name, steady)| (name.to_owned(), steady)).collect()
    }

    fn slices(&self) -> impl Iterator<Item = (&Look, &Look)> {
        self.looks.iter().zip(self.looks.iter().skip(1))
    }

    /// Bytes written in each slice over the user's bytes of a mean slice: a slice may have no user bytes of its own.
    fn amplifications(&self, per_window: usize) -> Option<Vec<f64>> {
        let judged = per_window * WINDOWS;
        let from = self.looks.get(self.looks.len().checked_sub(judged + 1)?)?;
        let user = self.looks.last()?.user_bytes.saturating_sub(from.user_bytes) as f64 / judged as f64;
        let written = |look: &Look| look.io.map(|io| io.amplified_write_bytes());
        let gained = |(a, b): (&Look, &Look)| Some((written(b)?.saturating_sub(written(a)?)) as f64 / user);
        let all: Option<Vec<f64>> = self.slices().map(gained).collect();
        all.filter(|_| user > 0.0)
    }

    /// Windows counted back from the last look.
    fn windows(&self, per_window: usize) -> Vec<Window> {
        let mut out: Vec<Window> = Vec::new();
        let mut end = self.looks.len() - 1;
        while end >= per_window {
            let (a, b) = (&self.looks[end - per_window], &self.looks[end]);
            let user = b.user_bytes.saturating_sub(a.user_bytes);
            let io = b.io.zip(a.io).map(|(new, old)| new.since(&old));
            out.push(Window {
                from_ms: a.ms,
                to_ms: b.ms,
                ops_per_second: rate(a, b),
                wa: crate::metrics::formulas::write_amplification(io.as_ref(), user),
                allocated_bytes: b.allocated_bytes,
                p99_ns: b.times.quantile_since(&a.times, 0.99),
                debt_bytes: b.debt_bytes,
            });
            end -= per_window;
        }
        out.reverse();
        out
    }

    /// What the engine has not been through yet; nothing for an engine that does not tell.
    fn unripe(&self) -> Option<String> {
        let last = self.looks.last()?;
        if let (Some(now), Some(then)) = (last.checkpoints, self.first.checkpoints) {
            let made = now - then;
            let dirty = last.user_bytes > self.first.user_bytes;
            return (dirty && made < CHECKPOINTS_MIN)
                .then(|| format!("{made} of the {CHECKPOINTS_MIN} checkpoints that the rule wants"));
        }
        let (level, written) = last.bottom()?;
        let before = self.first.bottom().filter(|(same, _)| *same == level).map_or(0, |(_, bytes)| bytes);
        let wanted = (last.data_file_bytes as f64 * BOTTOM_SHARE) as u64;
        let written = written - before;
        (last.user_bytes > self.first.user_bytes && written < wanted).then(|| {
            format!(
                "level {level} was not rewritten once: {} of {}",
                crate::units::bytes(written),
                crate::units::bytes(wanted)
            )
        })
    }

    /// A trend in the debt, or in the space that is free.
    fn drift(&self, windows: &[Window]) -> Option<String> {
        let per_window = self.per_window();
        let judged = self.looks.iter().rev().step_by(per_window).take(WINDOWS + 1).collect::<Vec<_>>();
        let size = windows.last().map(|window| window.allocated_bytes).filter(|size| *size > 0)? as f64;
        let slope = |of: fn(&Look) -> u64| {
            let values: Vec<f64> = judged.iter().rev().map(|look| of(look) as f64).collect();
            steady::slope(&values) / size
        };
        let named = [("debt", slope(|look| look.debt_bytes)), ("free space", slope(|look| look.free_bytes))];
        let (name, drift) = named.into_iter().find(|(_, drift)| drift.abs() > DRIFT_MAX)?;
        let way = if drift > 0.0 { "grows" } else { "shrinks" };
        Some(format!("{name} {way} by {:.1} % of the directory a window", drift.abs() * 100.0))
    }
}

/// The last windows, which the rule looks at.
fn judged(windows: &[Window]) -> &[Window] {
    windows.get(windows.len().saturating_sub(WINDOWS)..).unwrap_or_default()
}

/// What held, at which level, and what could not be judged.
fn held(series: &[(String, Option<Steady>)], window_s: f64, windows: &[Window]) -> String {
    let last = judged(windows);
    let mean = |values: Vec<f64>| crate::stats::ratio::mean(&values);
    let rate = mean(last.iter().map(|window| window.ops_per_second).collect());
    let wa: Option<Vec<f64>> = last.iter().map(|window| window.wa).collect();
    let wa =
        wa.map_or(String::new(), |wa| format!(", {} written per user byte", crate::units::three(mean(wa))));
    let unjudged: Vec<_> =
        series.iter().filter(|(_, steady)| steady.is_none()).map(|(name, _)| name.as_str()).collect();
    let but = if unjudged.is_empty() {
        String::new()
    } else {
        format!("; not judged, for want of numbers: {}", unjudged.join(", "))
    };
    format!(
        "all that was judged held over the last {WINDOWS} windows of {window_s:.1} s, at {}/s{wa}{but}",
        crate::units::count(rate as u64)
    )
}

fn rate(a: &Look, b: &Look) -> f64 {
    (b.ops - a.ops) as f64 * 1e3 / (b.ms - a.ms).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A phase watched for `seconds`, slice by slice: when it was found steady, and the verdict at the end.
    fn watch(seconds: u64, at: impl Fn(u64) -> Look) -> (Option<u64>, SteadyRecord) {
        let mut judge = Judge::new(WINDOW, at(0));
        let mut steady = None;
        for second in 1..=seconds {
            assert!(judge.is_due(second * 1000) && !judge.is_due(second * 1000 - 1));
            if judge.look(at(second)) {
                steady.get_or_insert(second);
            }
        }
        (steady, judge.verdict())
    }

    fn level(second: u64) -> Look {
        let mut io = IoStats::default();
        io.of_mut(Cause::Compaction { to: 3 }).write_bytes = second * 400_000;
        Look {
            ms: second * 1000,
            ops: second * 1000,
            user_bytes: second * 100_000,
            allocated_bytes: 5_000_000,
            data_file_bytes: 4_000_000,
            io: Some(io),
            ..Look::default()
        }
    }

    #[test]
    fn a_level_phase_is_steady_after_five_windows_and_not_before() {
        let (steady, verdict) = watch(60, level);
        assert_eq!(steady, Some(50), "{verdict:?}");
        assert!(verdict.ok && (verdict.window_s, verdict.windows.len()) == (10.0, 6), "{verdict:?}");
        assert_eq!(verdict.windows[0].wa, Some(4.0));
        assert_eq!((verdict.windows[5].from_ms, verdict.windows[5].to_ms), (50_000, 60_000));
        let (_, short) = watch(49, level);
        assert!(!short.ok && short.why.starts_with("too short to judge: 4 full of the 5"), "{}", short.why);
    }

    #[test]
    fn what_moves_is_named() {
        let slower = |s: u64| Look { ops: s * 1000 - s * s * 3, ..level(s) };
        let growing = |s: u64| Look { allocated_bytes: 5_000_000 + s * 50_000, ..level(s) };
        let owing = |s: u64| Look { debt_bytes: s * 20_000, ..level(s) };
        let merging = |s: u64| {
            let mut look = level(s);
            let written = if s < 30 { 400_000 * s } else { 12_000_000 + 900_000 * (s - 30) };
            look.io.get_or_insert_default().of_mut(Cause::Compaction { to: 3 }).write_bytes = written;
            look
        };
        let says = |why: &str, (steady, verdict): (Option<u64>, SteadyRecord)| {
            assert!(steady.is_none() && !verdict.ok && verdict.why.contains(why), "{why}: {}", verdict.why);
        };
        says("throughput falls by", watch(60, slower));
        says("space climbs by", watch(60, growing));
        says("debt grows by 4.0 % of the directory a window", watch(60, owing));
        says("write amplification climbs by", watch(60, merging));
    }

    #[test]
    fn an_engine_that_was_not_through_its_cycle_is_not_steady() {
        let checkpoints = |every: u64| {
            move |s: u64| Look { checkpoints: Some(s / every), io: Some(IoStats::default()), ..level(s) }
        };
        let (steady, verdict) = watch(60, checkpoints(25));
        assert!(steady.is_none() && verdict.why.contains("too short"), "{}", verdict.why);
        let (steady, verdict) = watch(150, checkpoints(25));
        assert!(steady.is_some(), "{}", verdict.why);
        assert!(verdict.window_s >= 25.0, "a window holds a cycle: {}", verdict.window_s);
        let lazy = |s: u64| Look { data_file_bytes: 400_000_000, ..level(s) };
        let (steady, verdict) = watch(60, lazy);
        assert!(
            steady.is_none() && verdict.why.contains("level 3 was not rewritten once"),
            "{}",
            verdict.why
        );
        let still = |s: u64| Look { ops: 0, ..level(s) };
        assert!(watch(60, still).1.why.contains("no operation"));
    }
}
