//! Distributions of age: how far below the newest record a request falls. Rank 0 is the newest record, rank
//! n - 1 the oldest.
//!
//! | name | P(rank < r) over n records | source |
//! |---|---|---|
//! | exponential(p, f) | (1 - e^(-g r)) / (1 - e^(-g n)), g = -ln(1 - p) / (f n) | YCSB, `ExponentialGenerator` |
//! | temporal, buckets | 0.80 to 7 days, 0.95 to 90 days, 1 to the span; linear between | a common tiering rule |
//! | temporal, weibull | W(r span / n) / W(span), W(d) = 1 - e^(-(d / 0.99)^0.243) | fitted to the same three shares |
//!
//! A single exponential cannot have the shares of temporal: 80 % within 7 days would leave 20 % for the next 83
//! days and nothing beyond.

use crate::rng::Draws;

/// The share of requests up to an age in days, besides the last: everything up to the span.
const BUCKETS: [(f64, f64); 2] = [(7.0, 0.80), (90.0, 0.95)];
const WEIBULL_SHAPE: f64 = 0.243;
const WEIBULL_SCALE_DAYS: f64 = 0.99;

/// How requests spread over the ages of a [`crate::dist::Dist::Temporal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum AgeShape {
    /// 80 % to the last 7 days, 15 % to the 83 days before, 5 % to the rest; even within each.
    Buckets,
    /// A Weibull law with about the same shares and no steps, cut off at the span.
    Weibull,
}

/// A rank below `n` of the truncated exponential whose share `p` falls into the first `f n` ranks when not cut
/// off. YCSB draws again beyond n; the inverse of the truncated law does the same in one draw.
#[inline]
pub(super) fn exponential(draws: &mut Draws, p: f64, f: f64, n: u64) -> u64 {
    let rate = -(-p).ln_1p() / (f * n as f64);
    // 1 - e^(-rate n), the share that is not cut off.
    let kept = -(-rate * n as f64).exp_m1();
    let rank = -(-draws.unit() * kept).ln_1p() / rate;
    (rank as u64).min(n - 1)
}

/// A rank below `n`, where the oldest record is `span_days` old and ages are even over the records.
#[inline]
pub(super) fn temporal(draws: &mut Draws, shape: AgeShape, span_days: f64, n: u64) -> u64 {
    let days = match shape {
        AgeShape::Buckets => buckets(draws, span_days),
        AgeShape::Weibull => weibull(draws, span_days),
    };
    ((days / span_days * n as f64) as u64).min(n - 1)
}

fn buckets(draws: &mut Draws, span_days: f64) -> f64 {
    let (u, within) = (draws.unit(), draws.unit());
    let mut from = 0.0;
    for (to, share) in BUCKETS {
        if u < share {
            return from + within * (to - from);
        }
        from = to;
    }
    from + within * (span_days - from)
}

fn weibull(draws: &mut Draws, span_days: f64) -> f64 {
    let kept = -(-(span_days / WEIBULL_SCALE_DAYS).powf(WEIBULL_SHAPE)).exp_m1();
    WEIBULL_SCALE_DAYS * (-(-draws.unit() * kept).ln_1p()).powf(1.0 / WEIBULL_SHAPE)
}
