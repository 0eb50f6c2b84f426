//! Distributions of place: which part of the records is hot, whatever their age.
//!
//! | name | definition | source |
//! |---|---|---|
//! | exp-range(x) | record (floor(n e^(-x u)) * 1540483477) mod n | RocksDB, `db_bench --read_random_exp_range` |
//! | spatial | region by zipf over `regions`, then floor(centre + sigma w Z) mod n | hot ranges of a map |
//!
//! u is uniform in [0, 1), Z is normal, w = n / regions is the width of a region and its centre the middle. The
//! hot ranges of spatial are ranges of record numbers, so they are ranges of keys where keys are ordered.

use super::{Permutation, Zipf};
use crate::rng::Draws;

/// The prime of db_bench, 0x5bd1e995. A bijection modulo any n that it does not divide.
const BIG_PRIME: u128 = 1_540_483_477;

/// A record below `n`: of the shares e^(-x) to 1 of all ranks, each factor e gets 1 / x of the requests.
#[inline]
pub(super) fn exp_range(draws: &mut Draws, x: f64, n: u64) -> u64 {
    let rank = exp_range_rank(draws, x, n);
    // In 128 bits, where db_bench's product overflows beyond 2^33 records.
    (u128::from(rank) * BIG_PRIME % u128::from(n)) as u64
}

/// The rank before it is scattered. Low ranks are hot.
#[inline]
pub(super) fn exp_range_rank(draws: &mut Draws, x: f64, n: u64) -> u64 {
    ((n as f64 * (-x * draws.unit()).exp()) as u64).min(n - 1)
}

/// Contiguous hot ranges.
#[derive(Clone, Debug)]
pub(super) struct Spatial {
    regions: Zipf,
    scatter: Permutation,
    width: f64,
    sigma: f64,
    n: u64,
}

impl Spatial {
    /// Over `n` records; `sigma` is a standard deviation in widths of a region. More regions than records count as
    /// one per record.
    pub(super) fn new(n: u64, regions: u64, theta: f64, sigma: f64, seed: u64) -> Spatial {
        let count = regions.clamp(1, n);
        let width = n as f64 / count as f64;
        let scatter = Permutation::new(count, seed);
        Spatial { regions: Zipf::new(count, theta, 1.0), scatter, width, sigma: sigma * width, n }
    }

    /// The middle of the region with this rank, as a record number with a fraction.
    pub(super) fn centre(&self, rank: u64) -> f64 {
        (self.scatter.apply(rank) as f64 + 0.5) * self.width
    }

    /// A record below n. Beyond either end it goes around.
    #[inline]
    pub(super) fn record(&self, draws: &mut Draws) -> u64 {
        let centre = self.centre(self.regions.rank(draws));
        let place = (centre + self.sigma * normal(draws)).rem_euclid(self.n as f64);
        (place as u64).min(self.n - 1)
    }
}

/// A normal number (Box and Muller, "A Note on the Generation of Random Normal Deviates", 1958).
#[inline]
fn normal(draws: &mut Draws) -> f64 {
    let radius = (-2.0 * (-draws.unit()).ln_1p()).sqrt();
    radius * (std::f64::consts::TAU * draws.unit()).cos()
}
