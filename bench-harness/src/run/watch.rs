//! The watcher: one thread per phase that samples space, memory and progress, and draws the progress line. It is
//! the only thread of the harness that writes anything while a phase runs, and it tells how much.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kv_api::Kv;

use super::open::Timetable;
use super::progress::{Progress, Times};
use super::steady::{Judge, Look};
use crate::metrics::{Sample, SteadyRecord};
use crate::sys::threads::ThreadTimes;
use crate::sys::{disk, proc};
use crate::units::count;

const TICK: Duration = Duration::from_millis(100);
/// The line appears when a phase has taken this long.
const QUIET: Duration = Duration::from_secs(2);
/// Most samples kept of one phase; beyond it every other one is dropped and the rate halves.
const SAMPLES_MAX: usize = 600;
/// The counters of work that an engine does behind its clients' backs.
const UPKEEP: [&str; 3] = ["flushes", "compactions", "checkpoints"];

/// What the watcher saw.
#[derive(Debug, Default)]
pub struct Watched {
    /// Samples, ten a second at most.
    pub samples: Vec<Sample>,
    /// The most that the directory was seen to occupy.
    pub allocated_peak_bytes: u64,
    /// The largest anonymous memory of the process.
    pub rss_anon_peak_bytes: Option<u64>,
    /// The largest memory that the engine declared.
    pub memory_peak_bytes: u64,
    /// The most requests that were due and not answered, and when, in milliseconds; in an open loop.
    pub backlog_peak: Option<(u64, u64)>,
    /// Whether the phase was steady, if it was to end when it is.
    pub steady: Option<SteadyRecord>,
}

/// The end of a phase at a steady state.
pub struct SteadyEnd<'a> {
    /// The least length of a window.
    pub window: Duration,
    /// The phase does not end before it.
    pub time_min: Duration,
    /// Set when the phase is steady: the clients then stop.
    pub reached: &'a AtomicBool,
}

/// What to watch.
pub struct Watch<'a, E: ?Sized> {
    /// The engine, asked for its debt and memory.
    pub engine: &'a E,
    /// Its directory.
    pub dir: &'a Path,
    /// One counter per client.
    pub progress: &'a [Progress],
    /// How many operations the phase has, if a count ends it.
    pub ops_max: Option<u64>,
    /// What to call the phase.
    pub title: String,
    /// Whether a progress line is wanted.
    pub draw: bool,
    /// When requests are due, in an open loop.
    pub timetable: Option<&'a Timetable>,
    /// How to tell that the phase is steady, if that ends it.
    pub steady: Option<SteadyEnd<'a>>,
    /// Set when the phase is over.
    pub over: &'a AtomicBool,
    /// Told every 200 ms which threads there are.
    pub threads: &'a ThreadTimes,
}

impl<E: Kv + ?Sized> Watch<'_, E> {
    /// Watches until the phase is over. The caller unparks this thread when it is.
    pub fn run(&self) -> Watched {
        let start = Instant::now();
        let mut seen = Watched::default();
        let mut bar = None;
        let (mut judge, mut told) = (None, Times::default());
        let (mut tick, mut every) = (0u64, 1u64);
        loop {
            let over = self.over.load(Ordering::Acquire);
            if over || tick.is_multiple_of(every) {
                let sample = self.sample(start, &mut seen.memory_peak_bytes, &mut told);
                // Samples are thinned out later, the peak is not.
                seen.allocated_peak_bytes = seen.allocated_peak_bytes.max(sample.allocated_bytes);
                let backlog = sample.backlog.map(|backlog| (backlog, sample.ms));
                let larger =
                    |(most, ms): (u64, u64)| backlog.filter(|(now, _)| *now > most).unwrap_or((most, ms));
                seen.backlog_peak = seen.backlog_peak.map(larger).or(backlog);
                seen.samples.push(sample);
            }
            if over || tick.is_multiple_of(2) {
                self.threads.look();
                seen.rss_anon_peak_bytes = seen.rss_anon_peak_bytes.max(proc::rss_anon_bytes());
            }
            if let Some(end) = &self.steady {
                self.judge(end, start, &mut judge);
            }
            if over {
                break;
            }
            if seen.samples.len() >= SAMPLES_MAX {
                let mut index = 0;
                seen.samples.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                every *= 2;
            }
            if self.draw && start.elapsed() >= QUIET {
                self.show(bar.get_or_insert_with(|| self.bar()), start.elapsed());
            }
            tick += 1;
            thread::park_timeout(TICK);
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        proc::note_own_writes_of_this_thread();
        seen.steady = judge.map(|judge| judge.verdict());
        self.threads.note_end();
        seen
    }

    /// Takes a look when a slice of a window is over, and ends the phase when it is steady.
    fn judge(&self, end: &SteadyEnd<'_>, start: Instant, judge: &mut Option<Judge>) {
        let ms = || u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        if judge.as_ref().is_some_and(|judge| !judge.is_due(ms())) {
            return;
        }
        let times = self.times();
        let allocated = disk::size(self.dir).allocated_bytes;
        let look = Look::of(ms(), self.done(), allocated, times, &self.engine.stats());
        match judge {
            None => *judge = Some(Judge::new(end.window, look)),
            Some(judge) => {
                if judge.look(look) && start.elapsed() >= end.time_min {
                    end.reached.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    fn done(&self) -> u64 {
        self.progress.iter().map(Progress::get).sum()
    }

    fn times(&self) -> Times {
        let mut times = Times::default();
        self.progress.iter().for_each(|progress| progress.add_times_to(&mut times));
        times
    }

    /// A look at everything that a sample tells. `told`: the times up to the last sample that told a percentile of them.
    fn sample(&self, start: Instant, memory_peak_bytes: &mut u64, told: &mut Times) -> Sample {
        let stats = self.engine.stats();
        *memory_peak_bytes = (*memory_peak_bytes).max(stats.memory_bytes());
        let size = disk::size(self.dir);
        let times = self.times();
        let p99_ns = times.quantile_since(told, 0.99);
        if p99_ns.is_some() {
            *told = times;
        }
        let upkeep = |name: &&str| stats.counters.iter().find(|(known, _)| known == name);
        // Answers are counted first: what is answered meanwhile makes the backlog look larger, never negative.
        let ops = self.done();
        Sample {
            ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
            ops,
            backlog: self.timetable.map(|timetable| timetable.due().saturating_sub(ops)),
            apparent_bytes: size.apparent_bytes,
            allocated_bytes: size.allocated_bytes,
            debt_bytes: stats.debt_bytes,
            p99_ns,
            upkeep: UPKEEP.iter().filter_map(upkeep).map(|(_, count)| *count).reduce(|a, b| a + b),
            stalled_ns: (!stats.stalls.is_empty())
                .then(|| stats.stalls.iter().map(|stall| stall.wall_ns).sum()),
        }
    }

    fn bar(&self) -> ProgressBar {
        let (bar, template) = match self.ops_max {
            Some(ops) => (ProgressBar::new(ops), "{prefix} [{bar:24}] {msg}"),
            None => (ProgressBar::no_length(), "{prefix} {msg}"),
        };
        // No steady tick: it would draw from a thread whose writes nobody counts.
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(self.title.clone());
        bar
    }

    fn show(&self, bar: &ProgressBar, elapsed: Duration) {
        let (done, seconds) = (self.done(), elapsed.as_secs_f64().max(0.001));
        let rate = done as f64 / seconds;
        let left = self
            .ops_max
            .filter(|_| rate > 0.0)
            .map_or(String::new(), |ops| format!(", {:.0} s left", ops.saturating_sub(done) as f64 / rate));
        let rate = if self.ops_max.is_some() { format!("{}/s, ", count(rate as u64)) } else { String::new() };
        bar.set_message(format!("{rate}{seconds:.0} s{left}"));
        bar.set_position(done);
    }
}
