//! Numbers drawn for sizes: the bytes of a value, the entries of a scan.

use crate::rng::Draws;

/// How a size is drawn.
///
/// | kind | size | source |
/// |---|---|---|
/// | fixed | `size` | |
/// | uniform | floor(min + u (max - min + 1)) | |
/// | pareto | min(max, min + floor(sigma (u^-k - 1) / k)); k = 0: -sigma ln u | generalised Pareto, as in mixgraph |
///
/// mixgraph ("Characterizing, Modeling, and Benchmarking RocksDB Key-Value Workloads at Facebook", FAST 2020) has
/// k 0.2615 and sigma 25.45 for values, k 2.517 and sigma 14.236 for scans. There `min` is 0 and what exceeds
/// `max` is folded back modulo `max`; here values must be long enough to tell their version, and the tail ends at
/// `max`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(tag = "dist", rename_all = "lowercase"))]
pub enum Sizes {
    /// All alike.
    Fixed {
        /// The size.
        size: u32,
    },
    /// Every size from the least to the greatest alike.
    Uniform {
        /// The least.
        min: u32,
        /// The greatest.
        max: u32,
    },
    /// Many small ones and a long tail.
    Pareto {
        /// The weight of the tail, 0 or more; from 1 on the mean is ruled by `max`.
        k: f64,
        /// The scale, over 0.
        sigma: f64,
        /// The least.
        min: u32,
        /// The greatest.
        max: u32,
    },
}

impl Sizes {
    /// A size out of one draw; none for a fixed size.
    #[inline]
    pub fn draw(&self, draws: &mut Draws) -> u32 {
        match *self {
            Sizes::Fixed { size } => size,
            Sizes::Uniform { min, max } => min + draws.below(u64::from(max.saturating_sub(min)) + 1) as u32,
            Sizes::Pareto { k, sigma, min, max } => {
                // 1 - u lies in (0, 1], so its logarithm is finite.
                let log = (-draws.unit()).ln_1p();
                let above = if k == 0.0 { -sigma * log } else { sigma * (-k * log).exp_m1() / k };
                // A cast of a number too large gives the greatest u32.
                min.saturating_add(above as u32).min(max.max(min))
            }
        }
    }

    /// The mean, for pareto to within one.
    pub fn mean(&self) -> f64 {
        match *self {
            Sizes::Fixed { size } => f64::from(size),
            Sizes::Uniform { min, max } => (f64::from(min) + f64::from(max.max(min))) / 2.0,
            Sizes::Pareto { k, sigma, min, max } => {
                // The integral of the tail (1 + k x / sigma)^(-1/k) up to the cap; rounding down takes a half.
                let cap = f64::from(max.max(min) - min);
                let above = if k == 0.0 {
                    -sigma * (-cap / sigma).exp_m1()
                } else if (k - 1.0).abs() < 1e-9 {
                    sigma * (cap / sigma).ln_1p()
                } else {
                    sigma / (1.0 - k) * (1.0 - (1.0 + k * cap / sigma).powf(1.0 - 1.0 / k))
                };
                f64::from(min) + (above - 0.5).max(0.0)
            }
        }
    }

    /// The greatest size that may be drawn.
    pub fn max(&self) -> u32 {
        match *self {
            Sizes::Fixed { size } => size,
            Sizes::Uniform { min, max } | Sizes::Pareto { min, max, .. } => max.max(min),
        }
    }
}
