//! The watcher: one thread per phase that samples space, memory and progress, and draws the progress line. It is
//! the only thread of the harness that writes anything while a phase runs, and it tells how much.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kv_api::Kv;

use super::client::Progress;
use crate::metrics::Sample;
use crate::sys::{disk, proc};
use crate::units::count;

const TICK: Duration = Duration::from_millis(100);
/// The line appears when a phase has taken this long.
const QUIET: Duration = Duration::from_secs(2);
/// Most samples kept of one phase; beyond it every other one is dropped and the rate halves.
const SAMPLES_MAX: usize = 600;

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
    /// Set when the phase is over.
    pub over: &'a AtomicBool,
}

impl<E: Kv + ?Sized> Watch<'_, E> {
    /// Watches until the phase is over. The caller unparks this thread when it is.
    pub fn run(&self) -> Watched {
        let start = Instant::now();
        let mut seen = Watched::default();
        let mut bar = None;
        let (mut tick, mut every) = (0u64, 1u64);
        loop {
            let over = self.over.load(Ordering::Acquire);
            if over || tick.is_multiple_of(every) {
                let sample = self.sample(start, &mut seen.memory_peak_bytes);
                // Samples are thinned out later, the peak is not.
                seen.allocated_peak_bytes = seen.allocated_peak_bytes.max(sample.allocated_bytes);
                seen.samples.push(sample);
            }
            if over || tick.is_multiple_of(2) {
                seen.rss_anon_peak_bytes = seen.rss_anon_peak_bytes.max(proc::rss_anon_bytes());
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
        seen
    }

    fn done(&self) -> u64 {
        self.progress.iter().map(Progress::get).sum()
    }

    fn sample(&self, start: Instant, memory_peak_bytes: &mut u64) -> Sample {
        let stats = self.engine.stats();
        *memory_peak_bytes = (*memory_peak_bytes).max(stats.memory_bytes());
        let size = disk::size(self.dir);
        Sample {
            ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
            ops: self.done(),
            apparent_bytes: size.apparent_bytes,
            allocated_bytes: size.allocated_bytes,
            debt_bytes: stats.debt_bytes,
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
