//! True zipf over exactly n ranks in O(1) time and memory: rejection-inversion (Hormann and Derflinger,
//! "Rejection-inversion to generate variates from monotone discrete distributions", ACM TOMACS 6(3), 1996),
//! with the helper functions of Apache Commons RNG that stay exact near theta = 1.

use crate::rng::Draws;

/// Draws rank r in 0..n with probability proportional to (r + offset)^-theta.
#[derive(Clone, Debug)]
pub struct Zipf {
    theta: f64,
    offset: f64,
    n: u64,
    /// The integral up to the first rank, to the last, and the width of the sure acceptance.
    h_first: f64,
    h_last: f64,
    sure: f64,
}

impl Zipf {
    /// A zipf of `n` ranks (0 counts as 1), `theta` over 0, `offset` over 0: 1.0 is the textbook's.
    pub fn new(n: u64, theta: f64, offset: f64) -> Zipf {
        let mut zipf = Zipf { theta, offset, n: 0, h_first: 0.0, h_last: 0.0, sure: 0.0 };
        zipf.h_first = zipf.integral(0.5) - zipf.weight(0.0);
        zipf.sure = 1.0 - zipf.integral_inverse(zipf.integral(1.5) - zipf.weight(1.0));
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
            if k - x <= self.sure || u >= self.integral(k + 0.5) - self.weight(k) {
                return k as u64;
            }
        }
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

/// ln(1 + x) / x, and its limit near 0.
#[inline]
fn ln_1p_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x * (0.5 - x * (1.0 / 3.0 - 0.25 * x)) }
}

/// (e^x - 1) / x, and its limit near 0.
#[inline]
fn expm1_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x * 0.5 * (1.0 + x * (1.0 / 3.0) * (1.0 + 0.25 * x)) }
}
