//! When the requests of an open loop arrive: a schedule that depends on the seed alone, never on the answers.
//!
//! | kind | arrivals |
//! |---|---|
//! | constant | evenly spaced, `rate` a second |
//! | poisson | independent: gaps of -ln(1 - u) / rate |
//! | on_off | evenly spaced at high x rate for `on_s`, then low x rate for `off_s`, and again |
//! | sine | evenly spaced at rate (1 + amplitude sin(2 pi t / period_s + phase)), as db_bench's sine rate |
//! | trace | the times of a recorded trace |
//!
//! `rate` counts all threads together. Arrival `i` of the evenly spaced kinds is the time at which the integral of
//! the rate reaches `i`; the threads take them in turn, so that together they keep the rate to the operation.
//! Poisson threads have streams of their own, whose sum is Poisson again.

use crate::rng::Stream;

/// Set in the numbers of the streams that draw arrivals; operations and bijections leave it clear.
const ARRIVALS_STREAM: u64 = 1 << 62;
const NS_PER_SECOND: f64 = 1e9;
/// Steps of the bisection that inverts the sine's integral: 2^-60 of a period is below any clock.
const BISECTIONS: u32 = 60;

/// How requests arrive.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(tag = "kind", rename_all = "snake_case"))]
pub enum Arrivals {
    /// Evenly spaced.
    Constant {
        /// Requests a second.
        rate: Rate,
    },
    /// Independent of each other.
    Poisson {
        /// Requests a second on average.
        rate: Rate,
    },
    /// Bursts.
    OnOff {
        /// Requests a second at factor 1.
        rate: Rate,
        /// The factor in a burst.
        high: f64,
        /// The factor between bursts; 0 for silence.
        low: f64,
        /// The length of a burst, in seconds.
        on_s: f64,
        /// The time between bursts, in seconds.
        off_s: f64,
    },
    /// A tide.
    Sine {
        /// Requests a second on average.
        rate: Rate,
        /// How far the rate swings, as a share of it, 0 to 1.
        amplitude: f64,
        /// The time from crest to crest, in seconds.
        period_s: f64,
        /// Where in the tide the phase begins, in radians.
        phase: f64,
    },
    /// The times of a recorded trace.
    Trace {
        /// Its file.
        file: String,
    },
}

/// Requests a second, all threads together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// A number.
    PerSecond(f64),
    /// Written as in "0.8x_max": a multiple of what the closed loop of the measured phase before it reached.
    TimesMax(f64),
}

impl Rate {
    /// The rate, where the closed loop reached `max_per_second`; `None` if that is needed and not known.
    pub fn per_second(self, max_per_second: Option<f64>) -> Option<f64> {
        match self {
            Rate::PerSecond(rate) => Some(rate),
            Rate::TimesMax(factor) => max_per_second.map(|max| factor * max),
        }
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Rate::PerSecond(rate) => write!(f, "{rate}"),
            Rate::TimesMax(factor) => write!(f, "{factor}x_max"),
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Rate {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Rate::PerSecond(rate) => serializer.serialize_f64(*rate),
            Rate::TimesMax(_) => serializer.collect_str(self),
        }
    }
}

impl Arrivals {
    /// The rate that factors refer to; `None` for a trace, which has its own times.
    pub fn rate(&self) -> Option<Rate> {
        match self {
            Arrivals::Constant { rate }
            | Arrivals::Poisson { rate }
            | Arrivals::OnOff { rate, .. }
            | Arrivals::Sine { rate, .. } => Some(*rate),
            Arrivals::Trace { .. } => None,
        }
    }
}

/// The arrivals of one thread in one phase, in nanoseconds since the phase began, never descending. Endless, except
/// for a trace's: a phase ends by its own counts. Collect it before the clock starts and no draw is timed.
#[derive(Clone, Debug)]
pub struct Schedule {
    law: Law,
    thread: u64,
    threads: u64,
    index: u64,
}

#[derive(Clone, Debug)]
enum Law {
    Poisson { stream: Stream, rate: f64, seconds: f64 },
    // The rest are evenly spaced in the integral of their rate.
    Constant { rate: f64 },
    OnOff { high: f64, low: f64, on_s: f64, off_s: f64 },
    Sine { rate: f64, amplitude: f64, period_s: f64, phase: f64 },
    Times(Vec<u64>),
}

impl Schedule {
    /// The schedule of `thread` of `threads` in phase number `phase` at `rate` requests a second, all threads
    /// together. `trace_ns` holds the times of a trace, ascending; other kinds do not look at it. The same
    /// arguments give the same schedule on every machine with IEEE arithmetic and one mathematics library.
    pub fn new(
        arrivals: &Arrivals,
        rate: f64,
        trace_ns: &[u64],
        seed: u64,
        phase: usize,
        (thread, threads): (u32, u32),
    ) -> Schedule {
        let threads = u64::from(threads.max(1));
        let law = match *arrivals {
            Arrivals::Constant { .. } => Law::Constant { rate },
            Arrivals::Poisson { .. } => {
                let stream = Stream::new(seed, ARRIVALS_STREAM | (phase as u64) << 32 | u64::from(thread));
                Law::Poisson { stream, rate: rate / threads as f64, seconds: 0.0 }
            }
            Arrivals::OnOff { high, low, on_s, off_s, .. } => {
                Law::OnOff { high: rate * high, low: rate * low, on_s, off_s }
            }
            Arrivals::Sine { amplitude, period_s, phase, .. } => {
                Law::Sine { rate, amplitude, period_s, phase }
            }
            Arrivals::Trace { .. } => Law::Times(trace_ns.to_vec()),
        };
        Schedule { law, thread: u64::from(thread), threads, index: 0 }
    }
}

impl Iterator for Schedule {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let index = self.index;
        self.index += 1;
        let shared = index * self.threads + self.thread;
        let seconds = match &mut self.law {
            Law::Poisson { stream, rate, seconds } => {
                *seconds += -(-stream.draws(index).unit()).ln_1p() / *rate;
                *seconds
            }
            Law::Constant { rate } => shared as f64 / *rate,
            Law::OnOff { high, low, on_s, off_s } => on_off(shared as f64, *high, *low, *on_s, *off_s),
            Law::Sine { rate, amplitude, period_s, phase } => {
                sine(shared as f64, *rate, *amplitude, *period_s, *phase)
            }
            Law::Times(times) => return times.get(usize::try_from(shared).ok()?).copied(),
        };
        Some((seconds * NS_PER_SECOND) as u64)
    }
}

/// The time at which a rate of `high` for `on_s` and `low` for `off_s`, in turn, has let `count` arrive.
fn on_off(count: f64, high: f64, low: f64, on_s: f64, off_s: f64) -> f64 {
    let (in_burst, between) = (high * on_s, low * off_s);
    let cycles = (count / (in_burst + between)).floor();
    let rest = count - cycles * (in_burst + between);
    let within = if rest < in_burst || low == 0.0 { rest / high } else { on_s + (rest - in_burst) / low };
    cycles * (on_s + off_s) + within
}

/// The time at which the tide has let `count` arrive: whole periods have rate x period each, and within one the
/// integral ascends, so halving finds the time.
fn sine(count: f64, rate: f64, amplitude: f64, period_s: f64, phase: f64) -> f64 {
    let speed = std::f64::consts::TAU / period_s;
    let arrived = |t: f64| rate * (t + amplitude / speed * (phase.cos() - (speed * t + phase).cos()));
    let periods = (count / (rate * period_s)).floor();
    let rest = count - periods * rate * period_s;
    let (mut low, mut high) = (0.0, period_s);
    for _ in 0..BISECTIONS {
        let middle = (low + high) / 2.0;
        if arrived(middle) < rest { low = middle } else { high = middle }
    }
    periods * period_s + high
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::PerSecond(1_000.0);

    fn schedule(arrivals: &Arrivals, part: (u32, u32)) -> Schedule {
        let rate = arrivals.rate().and_then(|rate| rate.per_second(None)).unwrap_or(0.0);
        Schedule::new(arrivals, rate, &[5, 7, 7, 100], 42, 1, part)
    }

    fn all_kinds() -> [Arrivals; 5] {
        [
            Arrivals::Constant { rate: RATE },
            Arrivals::Poisson { rate: RATE },
            Arrivals::OnOff { rate: RATE, high: 10.0, low: 1.0, on_s: 1.0, off_s: 9.0 },
            Arrivals::Sine { rate: RATE, amplitude: 0.9, period_s: 10.0, phase: 1.0 },
            Arrivals::Trace { file: "t".to_string() },
        ]
    }

    #[test]
    fn schedules_ascend_and_are_the_same_every_time() {
        for arrivals in all_kinds() {
            let times: Vec<u64> = schedule(&arrivals, (1, 2)).take(50_000).collect();
            assert!(times.is_sorted(), "{arrivals:?}");
            assert_eq!(times, schedule(&arrivals, (1, 2)).take(50_000).collect::<Vec<u64>>());
        }
        let trace = schedule(&Arrivals::Trace { file: String::new() }, (0, 2)).collect::<Vec<u64>>();
        assert_eq!(trace, [5, 7], "a trace ends, and threads take its requests in turn");
    }

    #[test]
    fn the_first_arrivals_of_a_seed_never_change() {
        let first = |arrivals: &Arrivals| schedule(arrivals, (0, 1)).take(4).collect::<Vec<u64>>();
        assert_eq!(first(&all_kinds()[0]), [0, 1_000_000, 2_000_000, 3_000_000]);
        assert_eq!(first(&all_kinds()[1]), [259_535, 2_551_950, 4_321_357, 5_888_151]);
        assert_eq!(first(&all_kinds()[2]), [0, 100_000, 200_000, 300_000]);
    }

    #[test]
    fn threads_together_keep_the_rate() {
        for arrivals in &all_kinds()[..4] {
            let of_all: f64 = (0..4)
                .map(|thread| {
                    schedule(arrivals, (thread, 4)).take_while(|ns| *ns < 100_000_000_000).count() as f64
                })
                .sum();
            let average = if let Arrivals::OnOff { .. } = arrivals { 1_900.0 } else { 1_000.0 };
            // A Poisson count of 100,000 has a standard deviation of 316: six of them.
            assert!((of_all - 100.0 * average).abs() < 1_900.0, "{arrivals:?}: {of_all} in 100 s");
        }
    }

    #[test]
    fn bursts_and_tides_have_their_shape() {
        let per_second = |arrivals: &Arrivals| {
            let mut counts = [0u32; 20];
            let times = schedule(arrivals, (0, 1)).take_while(|ns| *ns < 20_000_000_000);
            times.for_each(|ns| counts[(ns / 1_000_000_000) as usize] += 1);
            counts
        };
        let bursts = per_second(&all_kinds()[2]);
        for (second, count) in bursts.into_iter().enumerate() {
            let wanted = if second % 10 == 0 { 10_000 } else { 1_000 };
            assert!(u32::abs_diff(count, wanted) <= 2, "second {second}: {count}");
        }
        let tide = Arrivals::Sine { rate: RATE, amplitude: 0.9, period_s: 20.0, phase: 0.0 };
        for (second, count) in per_second(&tide).into_iter().enumerate() {
            let angle = |t: f64| (std::f64::consts::TAU * t / 20.0).cos();
            let (from, to) = (second as f64, second as f64 + 1.0);
            let swing = 0.9 * 20.0 / std::f64::consts::TAU * (angle(from) - angle(to));
            assert!((f64::from(count) - 1_000.0 * (1.0 + swing)).abs() <= 2.0, "second {second}: {count}");
        }
        let silent = Arrivals::OnOff { rate: RATE, high: 1.0, low: 0.0, on_s: 1.0, off_s: 9.0 };
        assert_eq!(
            per_second(&silent).map(|count| count / 990),
            [1, 0, 0, 0, 0, 0, 0, 0, 0, 0].repeat(2)[..]
        );
    }

    /// Kolmogorov and Smirnov's distance of the gaps from the exponential law, against its critical value at 0.001,
    /// sqrt(-ln(0.0005) / 2) / sqrt(n); seed fixed.
    #[test]
    fn poisson_gaps_are_exponential() {
        let times: Vec<u64> = schedule(&all_kinds()[1], (0, 1)).take(50_001).collect();
        let mut gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e9).collect();
        gaps.sort_by(f64::total_cmp);
        let n = gaps.len() as f64;
        let distance = |rate: f64| {
            let at = |(i, gap): (usize, &f64)| {
                let law = 1.0 - (-rate * gap).exp();
                (law - i as f64 / n).abs().max((law - (i + 1) as f64 / n).abs())
            };
            gaps.iter().enumerate().map(at).fold(0.0, f64::max)
        };
        let critical = (-(0.0005f64.ln()) / 2.0).sqrt() / n.sqrt();
        assert!(distance(1_000.0) < critical, "{} of {critical}", distance(1_000.0));
        assert!(distance(1_040.0) > critical, "a rate 4 % higher is rejected");
    }

    #[test]
    fn a_rate_is_written_as_it_is_read() {
        assert_eq!(
            (Rate::PerSecond(1.5).to_string(), Rate::TimesMax(0.8).to_string()),
            ("1.5".into(), "0.8x_max".into())
        );
        assert_eq!(Rate::TimesMax(0.5).per_second(Some(10.0)), Some(5.0));
        assert_eq!(Rate::TimesMax(0.5).per_second(None), None);
    }
}
