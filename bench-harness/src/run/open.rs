//! An open loop: requests arrive by a timetable that was drawn before the clock started, answered or not. A client that is
//! late never skips one, and a response counts from the moment the request was due, so that a stall is felt by every
//! request that arrived while it lasted (no coordinated omission).

use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use workloads::arrivals::{Arrivals, Rate, Schedule};
use workloads::spec::{Loop, OPEN_DRAIN_SHARE};
use workloads::{OpStream, Spec};

use crate::metrics::{LatencySummary, OpenRecord};
use crate::sys::proc;

/// Arrivals of one phase at most, all clients together: 256 MiB of times.
const ARRIVALS_MAX: usize = 1 << 25;
/// What is left of the backlog may take a share of the phase's time, and this long at least.
const DRAIN_MIN: Duration = Duration::from_secs(10);
/// A client sleeps until so long before an arrival, and looks at the clock from then on.
const WAKE_BEFORE: Duration = Duration::from_micros(200);
/// The longest sleep, so that Ctrl-C is heard.
const SLEEP_MAX: Duration = Duration::from_millis(20);

/// When the requests of a phase are due.
#[derive(Debug)]
pub struct Timetable {
    /// Of each client, in nanoseconds since [`Timetable::start`], ascending.
    times: Vec<Vec<u64>>,
    start: Instant,
    /// For how long requests arrive.
    span: Duration,
    kind: &'static str,
    rate: f64,
    max_per_second: Option<f64>,
    /// True if there would have been more arrivals than fit.
    is_cut: bool,
}

impl Timetable {
    /// The timetable of phase `index`, whose clients draw from `streams`; `max_per_second` is what the last closed loop
    /// reached, `trace_ns` the times of a trace. `None` if the phase is no open loop.
    ///
    /// # Errors
    /// The rate is a share of a capacity that nothing measured.
    pub fn of(
        spec: &Spec,
        index: usize,
        streams: &[OpStream],
        max_per_second: Option<f64>,
        trace_ns: &[u64],
    ) -> Option<Result<Timetable, &'static str>> {
        let phase = spec.phases.get(index)?;
        let Loop::Open(arrivals) = &phase.arrival else { return None };
        let rate = arrivals.rate().map_or(Some(0.0), |rate| rate.per_second(max_per_second));
        let Some(rate) = rate.filter(|rate| rate.is_finite()) else {
            return Some(Err("an open loop at a share of a capacity that no phase before it measured"));
        };
        let is_share = matches!(arrivals.rate(), Some(Rate::TimesMax(_)));
        let span_ns = phase.until.cap_s().map_or(u64::MAX, |s| (s * 1e9) as u64);
        let threads = u32::try_from(streams.len()).unwrap_or(u32::MAX);
        let room = ARRIVALS_MAX / streams.len().max(1);
        let mut is_cut = false;
        let times: Vec<Vec<u64>> = streams
            .iter()
            .zip(0..)
            .map(|(stream, thread)| {
                let part = (thread, threads);
                let due = Schedule::new(arrivals, rate, trace_ns, spec.run.seed, index, part);
                let wanted =
                    stream.ops_max().map_or(usize::MAX, |ops| usize::try_from(ops).unwrap_or(usize::MAX));
                let times: Vec<u64> = due.take_while(|ns| *ns < span_ns).take(wanted.min(room)).collect();
                is_cut |= times.len() == room && wanted > room;
                times
            })
            .collect();
        let last_ns = times.iter().filter_map(|times| times.last()).max().copied().unwrap_or(0);
        // A count may end the arrivals before the time does.
        let by_count =
            streams.iter().zip(&times).all(|(stream, times)| stream.ops_max() == Some(times.len() as u64));
        let span_ns = if span_ns == u64::MAX || by_count || is_cut { last_ns } else { span_ns };
        Some(Ok(Timetable {
            times,
            start: Instant::now(),
            span: Duration::from_nanos(span_ns),
            kind: kind(arrivals),
            rate,
            max_per_second: max_per_second.filter(|_| is_share),
            is_cut,
        }))
    }

    /// The clock starts now.
    pub fn begin(&mut self) {
        self.start = Instant::now();
    }

    /// How long clients may go on: the arrivals, and a time to work off what is left of them.
    pub fn time_max(&self) -> Duration {
        self.span + self.span.mul_f64(OPEN_DRAIN_SHARE).max(DRAIN_MIN)
    }

    /// Requests that are due by now, all clients together.
    pub fn due(&self) -> u64 {
        let now_ns = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.times.iter().map(|times| times.partition_point(|ns| *ns <= now_ns) as u64).sum()
    }

    /// Requests of the whole phase.
    pub fn scheduled(&self) -> u64 {
        self.times.iter().map(|times| times.len() as u64).sum()
    }

    /// True if how many requests there are hangs on the speed of the engine.
    pub fn follows_the_engine(&self) -> bool {
        self.max_per_second.is_some()
    }

    /// What keeps client `thread` to the timetable.
    pub fn pacer(&self, thread: usize) -> Pacer<'_> {
        let times = self.times.get(thread).map_or(&[][..], Vec::as_slice);
        // A yield costs a time slice wherever another thread has work. With a core left over nobody needs one.
        let spins = thread::available_parallelism().is_ok_and(|cores| self.times.len() < cores.get());
        Pacer { spins, ..Pacer::new(times, self.start) }
    }

    /// What is kept of the phase. `kept` is what the clients saw, `backlog_seen` the most that the watcher did, and
    /// when.
    pub fn record(&self, kept: &[Kept], backlog_seen: Option<(u64, u64)>) -> OpenRecord {
        let served: u64 = kept.iter().map(|kept| kept.served).sum();
        let last_ns = kept.iter().map(|kept| kept.last_ns).max().unwrap_or(0);
        let worst =
            kept.iter().max_by_key(|kept| kept.peak.backlog).map(|kept| kept.peak).unwrap_or_default();
        let own = (worst.backlog, worst.at_ns / 1_000_000);
        let (backlog_peak, backlog_peak_ms) = backlog_seen.into_iter().fold(own, Ord::max);
        let mut late = LateTimes::default();
        kept.iter().for_each(|kept| late.add(&kept.late));
        let per_second = |count: u64, ns: f64| if ns > 0.0 { count as f64 * 1e9 / ns } else { 0.0 };
        OpenRecord {
            arrivals: self.kind.to_owned(),
            rate_per_second: self.rate,
            max_per_second: self.max_per_second,
            offered_per_second: per_second(self.scheduled(), self.span.as_nanos() as f64),
            // Arrivals that all were answered in time count over the time in which they arrived.
            achieved_per_second: per_second(served, (last_ns as f64).max(self.span.as_nanos() as f64)),
            scheduled: self.scheduled(),
            served,
            waited: kept.iter().map(|kept| kept.waited).sum(),
            backlog_peak,
            backlog_peak_ms,
            drain_ns: kept.iter().map(|kept| kept.peak.drain_ns).max().unwrap_or(0),
            overrun_ns: last_ns.saturating_sub(u64::try_from(self.span.as_nanos()).unwrap_or(u64::MAX)),
            is_cut: self.is_cut,
            client_late: late.summary(),
        }
    }
}

fn kind(arrivals: &Arrivals) -> &'static str {
    match arrivals {
        Arrivals::Constant { .. } => "constant",
        Arrivals::Poisson { .. } => "poisson",
        Arrivals::OnOff { .. } => "on_off",
        Arrivals::Sine { .. } => "sine",
        Arrivals::Trace { .. } => "trace",
    }
}

/// The largest backlog of a client.
#[derive(Debug, Clone, Copy, Default)]
struct Peak {
    backlog: u64,
    at_ns: u64,
    drain_ns: u64,
}

/// How late the client itself was for requests that it waited for: time in which the system did not run it, and which
/// no engine took.
#[derive(Debug, Clone, Default)]
struct LateTimes {
    ns: Option<Histogram<u64>>,
}

impl LateTimes {
    fn record(&mut self, late: Duration) {
        let ns = self.ns.get_or_insert_with(crate::metrics::latency::empty);
        ns.saturating_record(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX).max(1));
    }

    fn add(&mut self, other: &LateTimes) {
        if let Some(theirs) = &other.ns {
            // Both have the same bounds, so everything fits.
            let _ = self.ns.get_or_insert_with(crate::metrics::latency::empty).add(theirs);
        }
    }

    fn summary(&self) -> Option<LatencySummary> {
        self.ns.as_ref().map(LatencySummary::of)
    }
}

/// What one client saw of the timetable.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    served: u64,
    /// Requests that were due while one before them was being answered.
    waited: u64,
    last_ns: u64,
    peak: Peak,
    late: LateTimes,
    /// CPU time spent looking at the clock.
    pub waiting_cpu_ns: u64,
}

/// The stretch of time, if any, in which the client is behind.
#[derive(Debug, Clone, Copy, Default)]
struct Behind {
    backlog: u64,
    at_ns: u64,
}

/// Keeps one client to its timetable.
#[derive(Debug)]
pub struct Pacer<'a> {
    times: &'a [u64],
    start: Instant,
    /// The next request, and the first one that is not due yet.
    next: usize,
    due: usize,
    behind: Behind,
    kept: Kept,
    /// Whether the last stretch before an arrival is spent at the clock, or yielded to whoever has work.
    spins: bool,
}

impl<'a> Pacer<'a> {
    fn new(times: &'a [u64], start: Instant) -> Pacer<'a> {
        let (behind, kept) = (Behind::default(), Kept::default());
        Pacer { times, start, next: 0, due: 0, behind, kept, spins: true }
    }

    /// Waits until the next request is due and gives that moment; `None` when there is none, or `stop` says so.
    pub fn wait(&mut self, stop: impl Fn() -> bool) -> Option<Instant> {
        let due_ns = *self.times.get(self.next)?;
        let due_at = self.start + Duration::from_nanos(due_ns);
        self.next += 1;
        // It arrived while the one before it was being answered: that is the engine's doing, or the harness's own work.
        self.kept.waited += u64::from(self.kept.last_ns > due_ns);
        if Instant::now() >= due_at {
            return Some(due_at);
        }
        let cpu = proc::thread_cpu_ns();
        loop {
            if stop() {
                return None;
            }
            let left = due_at.saturating_duration_since(Instant::now());
            let Some(sleep) = left.checked_sub(WAKE_BEFORE).filter(|sleep| !sleep.is_zero()) else { break };
            thread::sleep(sleep.min(SLEEP_MAX));
        }
        let mut now_cpu = proc::thread_cpu_ns();
        let mut now = Instant::now();
        while now < due_at {
            if self.spins {
                std::hint::spin_loop();
            } else {
                // Engines have threads of their own, and there is no core to spare.
                thread::yield_now();
            }
            now_cpu = proc::thread_cpu_ns();
            now = Instant::now();
        }
        self.kept.late.record(now - due_at);
        self.kept.waiting_cpu_ns += now_cpu.saturating_sub(cpu);
        Some(due_at)
    }

    /// Takes note that the request was answered at `end`. The backlog is largest just before an answer.
    pub fn answered(&mut self, end: Instant) {
        let now_ns = u64::try_from(end.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX);
        while self.times.get(self.due).is_some_and(|ns| *ns <= now_ns) {
            self.due += 1;
        }
        self.kept.served += 1;
        self.kept.last_ns = now_ns;
        // Those that wait now; the one just answered does not.
        let backlog = self.due.saturating_sub(self.next) as u64;
        if backlog > self.behind.backlog {
            self.behind = Behind { backlog, at_ns: now_ns };
        }
        if backlog == 0 {
            self.caught_up(now_ns);
        }
    }

    fn caught_up(&mut self, now_ns: u64) {
        if self.behind.backlog > self.kept.peak.backlog {
            let Behind { backlog, at_ns } = self.behind;
            self.kept.peak = Peak { backlog, at_ns, drain_ns: now_ns - at_ns };
        }
        self.behind = Behind::default();
    }

    /// True if requests of the timetable were not served.
    pub fn is_behind(&self) -> bool {
        (self.kept.served as usize) < self.times.len()
    }

    /// What was seen, at the end.
    pub fn finish(mut self) -> Kept {
        self.caught_up(self.kept.last_ns);
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pacer(times: &[u64]) -> Pacer<'_> {
        Pacer::new(times, Instant::now())
    }

    #[test]
    fn a_backlog_grows_during_a_stall_and_its_drain_is_timed() {
        let ms = |ms: u64| ms * 1_000_000;
        let times: Vec<u64> = (0..100).map(ms).collect();
        let mut pacer = pacer(&times);
        pacer.start = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        for request in 0..100u64 {
            let due = pacer.wait(|| false).unwrap();
            assert_eq!(due, pacer.start + Duration::from_millis(request), "none is skipped");
            // The 11th takes 50 ms, all others half a millisecond.
            let end_us = if request < 10 { request * 1000 + 500 } else { 60_000 + (request - 10) * 500 };
            pacer.answered(pacer.start + Duration::from_micros(end_us));
        }
        assert!(!pacer.is_behind() && pacer.wait(|| false).is_none());
        let kept = pacer.finish();
        assert_eq!((kept.served, kept.peak.backlog, kept.peak.at_ns), (100, 50, ms(60)));
        assert_eq!(kept.waited, 89, "from the 12th on each was due before the last answer");
        assert_eq!(kept.peak.drain_ns, 44_500_000, "caught up when the last was answered, at 104.5 ms");
    }

    #[test]
    fn a_client_that_is_early_waits_and_hears_a_stop() {
        let times = [2_000_000, 60_000_000_000];
        let mut pacer = pacer(&times);
        let due = pacer.wait(|| false).unwrap();
        assert!(Instant::now() >= due);
        assert!(pacer.wait(|| true).is_none());
        assert!(pacer.is_behind());
        let kept = pacer.finish();
        assert_eq!((kept.waited, kept.late.summary().map(|late| late.count)), (0, Some(1)));
    }
}
