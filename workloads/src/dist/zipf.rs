//! True zipf over exactly n ranks in O(1) time and memory: rejection-inversion (Hormann and Derflinger,
//! "Rejection-inversion to generate variates from monotone discrete distributions", ACM TOMACS 6(3), 1996),
//! with the helper functions of Apache Commons RNG that stay exact near theta = 1.

use crate::rng::Draws;

/// From this rank on `sure_far` holds: nearly all the width of a rank, so that the exact test, two logarithms and two
/// exponentials, is left to a draw in a hundred.
const FAR: f64 = 16.0;

/// Draws rank r in 0..n with probability proportional to (r + offset)^-theta.
#[derive(Clone, Debug)]
pub struct Zipf {
    theta: f64,
    offset: f64,
    n: u64,
    /// The integral up to the first rank and to the last.
    h_first: f64,
    h_last: f64,
    /// How far below a rank a draw may lie and be taken without a test: from the second rank on, and from `FAR` on.
    sure: f64,
    sure_far: f64,
}

impl Zipf {
    /// A zipf of `n` ranks (0 counts as 1), `theta` over 0, `offset` over 0: 1.0 is the textbook's.
    pub fn new(n: u64, theta: f64, offset: f64) -> Zipf {
        let mut zipf = Zipf { theta, offset, n: 0, h_first: 0.0, h_last: 0.0, sure: 0.0, sure_far: 0.0 };
        zipf.h_first = zipf.integral(0.5) - zipf.weight(0.0);
        (zipf.sure, zipf.sure_far) = (zipf.sure_at(1.0), zipf.sure_at(FAR));
        zipf.resize(n.max(1));
        zipf
    }

    /// Changes the number of ranks. Costs one logarithm and one exponential when it differs.
    #[inline]
    pub fn resize(&mut self, n: u64) {
        if n != self.n {
            self.n = n;
            self.h_last = self.integral(n as f64 - 0.5);
        }
    }

    /// A rank in 0..n. On average fewer than 1.2 rounds.
    #[inline]
    pub fn rank(&self, draws: &mut Draws) -> u64 {
        loop {
            let u = self.h_last + draws.unit() * (self.h_first - self.h_last);
            let x = self.integral_inverse(u);
            let k = x.round().clamp(0.0, (self.n - 1) as f64);
            let sure = if k < FAR { self.sure } else { self.sure_far };
            if k - x <= sure || u >= self.integral(k + 0.5) - self.weight(k) {
                return k as u64;
            }
        }
    }

    /// How far below rank `k` a draw is still taken: grows with `k`, so what holds for one rank holds for those above.
    fn sure_at(&self, k: f64) -> f64 {
        k - self.integral_inverse(self.integral(k + 0.5) - self.weight(k))
    }

    #[inline]
    fn weight(&self, x: f64) -> f64 {
        (-self.theta * (x + self.offset).ln()).exp()
    }

    /// The integral of the weight, ((x + offset)^(1 - theta) - 1) / (1 - theta); at theta = 1 the logarithm.
    #[inline]
    fn integral(&self, x: f64) -> f64 {
        let log = (x + self.offset).ln();
        expm1_over((1.0 - self.theta) * log) * log
    }

    #[inline]
    fn integral_inverse(&self, y: f64) -> f64 {
        let t = (y * (1.0 - self.theta)).max(-1.0);
        (ln_1p_over(t) * y).exp() - self.offset
    }
}

/// ln(1 + x) / x, and its limit near 0: what rounding took from 1 + x is missing above and below alike (Kahan), which is
/// as exact as `ln_1p` and twice as fast.
#[inline]
fn ln_1p_over(x: f64) -> f64 {
    let sum = 1.0 + x;
    if x.abs() > 1e-8 { sum.ln() / (sum - 1.0) } else { 1.0 - x * (0.5 - x * (1.0 / 3.0 - 0.25 * x)) }
}

/// (e^x - 1) / x, and its limit near 0.
#[inline]
fn expm1_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x * 0.5 * (1.0 + x * (1.0 / 3.0) * (1.0 + 0.25 * x)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sure_at_a_rank_is_sure_above_it() {
        for theta in [0.01, 0.5, 0.99, 1.0, 1.2, 2.5, 3.99] {
            for offset in [0.01, 0.25, 1.0, 2.0] {
                let zipf = Zipf::new(1 << 40, theta, offset);
                // Farther out the difference of two integrals has no digits left.
                let sure: Vec<f64> = (1..200).map(|k| zipf.sure_at(f64::from(k))).collect();
                let grows = sure.windows(2).all(|pair| pair[0] <= pair[1] + 1e-6);
                assert!(grows && sure[0] > 0.0, "theta {theta}, offset {offset}: {sure:?}");
                assert_eq!((zipf.sure, zipf.sure_far), (sure[0], sure[FAR as usize - 1]));
            }
        }
    }

    #[test]
    fn the_fast_logarithm_is_as_exact_as_the_slow_one() {
        for step in -400..2000 {
            let x = f64::from(step) / 401.0;
            if x != 0.0 {
                let (fast, slow) = (ln_1p_over(x), x.ln_1p() / x);
                assert!((fast / slow - 1.0).abs() < 1e-15 * 4.0, "{x}: {fast} and {slow}");
            }
        }
    }
}
