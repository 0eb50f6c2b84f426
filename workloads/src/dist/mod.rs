//! Which record an operation touches: the distributions of the workload files, drawn in O(1).
//!
//! A thread owns the records `local * threads + thread` and draws among its own `local` numbers alone, so
//! that its oracle stays exact however many threads run. `zipf` is split so that the threads together have
//! the shape of one zipf over all records: rank `i` of thread `t` is rank `i * threads + t` of the whole.

mod permutation;
mod place;
mod recency;
mod ycsb;
mod zipf;

pub use permutation::Permutation;
pub use recency::AgeShape;
pub use ycsb::{YcsbZipf, fnv1a_64};
pub use zipf::Zipf;

use crate::rng::{Draws, Stream};

/// How records are chosen, as the key `dist` of a phase tells it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(tag = "kind", rename_all = "kebab-case"))]
pub enum Dist {
    /// Every record alike.
    Uniform,
    /// True zipf: the record of rank r (from 0) has weight (r + 1)^-theta over exactly the records there are
    /// when the phase begins; a seeded bijection scatters the ranks over the records.
    Zipf {
        /// The skew, over 0. At 1 million records 0.99 gives the top 1 % of them 66 % of the requests.
        theta: f64,
    },
    /// What YCSB calls zipfian: ranks over 10^10 items hashed into the records, so much flatter than zipf.
    YcsbZipf,
    /// The newest record minus a zipf(0.99) number: new records are hot, and age cools them.
    Latest,
    /// A share `ops` of the requests goes evenly to the first share `data` of the records.
    Hotspot {
        /// The share of the records that is hot, 0 to 1.
        data: f64,
        /// The share of the requests that goes there, 0 to 1.
        ops: f64,
    },
    /// Record 0, 1, 2, and around again.
    Sequential,
    /// Each record once, in a seeded random order, then again in the same order.
    Permutation,
    /// The newest record minus an exponential number (`dist/recency.rs`).
    Exponential {
        /// The share of the requests that falls into the newest share `f`, over 0 and below 1.
        p: f64,
        /// That share of the records, over 0.
        f: f64,
    },
    /// The exponential ranges of db_bench, scattered by a prime (`dist/place.rs`).
    ExpRange {
        /// The length of the exponent, over 0: the hottest rank has e^x times the requests of the coldest.
        x: f64,
    },
    /// The newest record minus an age: 80 % within 7 days, 15 % within 90, 5 % older (`dist/recency.rs`).
    Temporal {
        /// Steps or a smooth law.
        shape: AgeShape,
        /// The age of the oldest record, over 90 days.
        span_days: f64,
    },
    /// Contiguous hot ranges of record numbers (`dist/place.rs`).
    Spatial {
        /// Into how many ranges the records are cut.
        regions: u64,
        /// The skew between the ranges, as in zipf.
        theta: f64,
        /// The standard deviation around the middle of a range, in widths of a range.
        sigma: f64,
    },
    /// True zipf whose hot records change every so many operations, all threads together.
    ShiftingZipf {
        /// The skew, as in zipf.
        theta: f64,
        /// After how many operations the bijection is drawn anew.
        every: u64,
    },
}

impl Dist {
    /// The word of the file format.
    pub fn name(self) -> &'static str {
        match self {
            Dist::Uniform => "uniform",
            Dist::Zipf { .. } => "zipf",
            Dist::YcsbZipf => "ycsb-zipf",
            Dist::Latest => "latest",
            Dist::Hotspot { .. } => "hotspot",
            Dist::Sequential => "sequential",
            Dist::Permutation => "permutation",
            Dist::Exponential { .. } => "exponential",
            Dist::ExpRange { .. } => "exp-range",
            Dist::Temporal { .. } => "temporal",
            Dist::Spatial { .. } => "spatial",
            Dist::ShiftingZipf { .. } => "shifting-zipf",
        }
    }

    /// One of each kind with its default parameters, in the order of the file format.
    pub const DEFAULTS: [Dist; 12] = [
        Dist::Uniform,
        Dist::Zipf { theta: THETA_DEFAULT },
        Dist::YcsbZipf,
        Dist::Latest,
        Dist::Hotspot { data: 0.2, ops: 0.8 },
        Dist::Sequential,
        Dist::Permutation,
        // YCSB's own: its comment says 1/7, its value is 6/7, so there is almost no skew.
        Dist::Exponential { p: 0.95, f: 0.857_142_857_1 },
        Dist::ExpRange { x: 15.0 },
        Dist::Temporal { shape: AgeShape::Buckets, span_days: 365.0 },
        Dist::Spatial { regions: 100, theta: THETA_DEFAULT, sigma: 0.25 },
        Dist::ShiftingZipf { theta: THETA_DEFAULT, every: 100_000 },
    ];
}

/// The theta of YCSB, used where a file gives none.
pub const THETA_DEFAULT: f64 = 0.99;

/// Set in the numbers of the streams that seed bijections; streams of operations leave it clear.
const ORDERS_STREAM: u64 = 1 << 63;
/// Which draws of that stream are for the regions of `spatial`, and from where on for `shifting-zipf`. The first
/// two are for the bijections of every phase.
const REGIONS_INDEX: u64 = 2;
const EPOCHS_INDEX: u64 = 3;

/// Draws local record numbers for one thread of one phase.
#[derive(Clone, Debug)]
pub struct Sampler {
    shape: Shape,
    thread: u64,
    threads: u64,
    // How many draws `sequential` and `permutation` have made.
    position: u64,
    // The bijection of `shifting-zipf` in force.
    epoch: u64,
    orders: Stream,
}

#[derive(Clone, Debug)]
enum Shape {
    Uniform,
    Zipf { zipf: Zipf, scatter: Permutation },
    YcsbZipf { zipf: YcsbZipf, population: u64 },
    Latest { zipf: Zipf },
    Hotspot { data: f64, ops: f64 },
    Sequential,
    Permutation { order: Permutation },
    Exponential { p: f64, f: f64 },
    ExpRange { x: f64, population: u64 },
    Temporal { shape: AgeShape, span_days: f64 },
    Spatial(place::Spatial),
    ShiftingZipf { zipf: Zipf, scatter: Permutation, every: u64 },
}

impl Sampler {
    /// A sampler for thread `thread` of `threads`, over the `population` local records it owns when the phase
    /// begins. The hot records depend on `seed` alone, so they stay the same from phase to phase.
    pub fn new(dist: Dist, seed: u64, thread: u32, threads: u32, population: u64) -> Sampler {
        let (thread, threads) = (u64::from(thread), u64::from(threads.max(1)));
        let population = population.max(1);
        // Two seeds, or the hottest records would be the first that a permutation visits.
        let orders = Stream::new(seed, ORDERS_STREAM | thread);
        let (scatter_seed, visit_seed) = (orders.draws(0).bits(), orders.draws(1).bits());
        let offset = (thread + 1) as f64 / threads as f64;
        let shape = match dist {
            Dist::Uniform => Shape::Uniform,
            Dist::Zipf { theta } => Shape::Zipf {
                zipf: Zipf::new(population, theta, offset),
                scatter: Permutation::new(population, scatter_seed),
            },
            Dist::YcsbZipf => Shape::YcsbZipf { zipf: YcsbZipf::new(), population },
            Dist::Latest => Shape::Latest { zipf: Zipf::new(population, THETA_DEFAULT, offset) },
            Dist::Hotspot { data, ops } => Shape::Hotspot { data, ops },
            Dist::Sequential => Shape::Sequential,
            Dist::Permutation => Shape::Permutation { order: Permutation::new(population, visit_seed) },
            Dist::Exponential { p, f } => Shape::Exponential { p, f },
            Dist::ExpRange { x } => Shape::ExpRange { x, population },
            Dist::Temporal { shape, span_days } => Shape::Temporal { shape, span_days },
            Dist::Spatial { regions, theta, sigma } => {
                // One seed for all threads: their shares of a hot range are one hot range.
                let seed = Stream::new(seed, ORDERS_STREAM).draws(REGIONS_INDEX).bits();
                Shape::Spatial(place::Spatial::new(population, regions, theta, sigma, seed))
            }
            Dist::ShiftingZipf { theta, every } => Shape::ShiftingZipf {
                zipf: Zipf::new(population, theta, offset),
                scatter: Permutation::new(population, scatter_seed),
                every: every.max(1),
            },
        };
        Sampler { shape, thread, threads, position: 0, epoch: 0, orders }
    }

    /// Tells that the draws to come belong to operation `index` of the thread: `shifting-zipf` changes with it.
    #[inline]
    pub fn begin(&mut self, index: u64) {
        if let Shape::ShiftingZipf { scatter, every, .. } = &mut self.shape {
            let epoch = (index * self.threads + self.thread) / *every;
            if epoch != self.epoch {
                self.epoch = epoch;
                *scatter = Permutation::new(scatter.len(), self.orders.draws(EPOCHS_INDEX + epoch).bits());
            }
        }
    }

    /// A local record number below `population`, the number of records the thread owns now (at least 1).
    /// `uniform`, `latest`, `hotspot`, `sequential`, `exponential` and `temporal` follow its growth; the others
    /// stay with the records there were when the phase began, as a new bijection would move every hot record.
    #[inline]
    pub fn draw(&mut self, draws: &mut Draws, population: u64) -> u64 {
        match &mut self.shape {
            Shape::Uniform => draws.below(population),
            Shape::Zipf { zipf, scatter } => scatter.apply(zipf.rank(draws)),
            Shape::YcsbZipf { zipf, population } => zipf.own(draws, *population, self.thread, self.threads),
            Shape::Latest { zipf } => {
                zipf.resize(population);
                population - 1 - zipf.rank(draws)
            }
            Shape::Hotspot { data, ops } => {
                let hot = ((*data * population as f64).ceil() as u64).clamp(1, population);
                if draws.unit() < *ops || hot == population {
                    draws.below(hot)
                } else {
                    hot + draws.below(population - hot)
                }
            }
            Shape::Sequential => {
                self.position += 1;
                (self.position - 1) % population
            }
            Shape::Permutation { order } => {
                self.position += 1;
                order.apply((self.position - 1) % order.len())
            }
            Shape::Exponential { p, f } => population - 1 - recency::exponential(draws, *p, *f, population),
            Shape::ExpRange { x, population } => place::exp_range(draws, *x, *population),
            Shape::Temporal { shape, span_days } => {
                population - 1 - recency::temporal(draws, *shape, *span_days, population)
            }
            Shape::Spatial(spatial) => spatial.record(draws),
            Shape::ShiftingZipf { zipf, scatter, .. } => scatter.apply(zipf.rank(draws)),
        }
    }
}

#[cfg(test)]
mod fit;
#[cfg(test)]
mod tests;
