//! Goodness of fit: each distribution against its definition, written down a second time here. Seeds are fixed, so
//! a test gives the same answer every time; the significance says how rarely a right sampler would fail for a
//! seed that was not chosen. Each test also shows that a neighbouring wrong law is rejected.

use super::place::{Spatial, exp_range_rank};
use super::*;
use crate::sizes::Sizes;

/// The chance that a right sampler is rejected: 0.001, one-sided normal quantile 3.0902.
const QUANTILE: f64 = 3.090_2;
const DRAWS: u64 = 200_000;
/// Bins with fewer expected draws are joined to their neighbours (Cochran's rule).
const EXPECTED_MIN: f64 = 5.0;

/// Pearson's chi-squared over its critical value at 0.001 (Wilson and Hilferty, "The Distribution of Chi-Square",
/// 1931): above 1 the counts do not come from these probabilities.
fn misfit(counts: &[u64], probabilities: &[f64]) -> f64 {
    assert_eq!(counts.len(), probabilities.len());
    let total = counts.iter().sum::<u64>() as f64;
    let sum: f64 = probabilities.iter().sum();
    assert!((sum - 1.0).abs() < 1e-6, "the definition sums to {sum}");
    let (mut chi, mut bins, mut found, mut expected) = (0.0, 0.0, 0.0, 0.0);
    let mut left = total;
    for (count, probability) in counts.iter().zip(probabilities) {
        found += *count as f64;
        expected += probability * total;
        // The last bins stay together when what follows is too little for one.
        if expected >= EXPECTED_MIN && left - expected >= EXPECTED_MIN {
            chi += (found - expected) * (found - expected) / expected;
            left -= expected;
            bins += 1.0;
            (found, expected) = (0.0, 0.0);
        }
    }
    chi += (found - expected) * (found - expected) / expected;
    let degrees: f64 = bins;
    let spread = 2.0 / (9.0 * degrees);
    chi / (degrees * (1.0 - spread + QUANTILE * spread.sqrt()).powi(3))
}

/// Counts `DRAWS` draws of a record or rank below `n`.
fn count(n: u64, mut draw: impl FnMut(u64, &mut Draws) -> u64) -> Vec<u64> {
    let stream = Stream::new(42, 11);
    let mut counts = vec![0; n as usize];
    for index in 0..DRAWS {
        counts[draw(index, &mut stream.draws(index)) as usize] += 1;
    }
    counts
}

fn of(dist: Dist, n: u64) -> Vec<u64> {
    let mut sampler = Sampler::new(dist, 7, 0, 1, n);
    count(n, |index, draws| {
        sampler.begin(index);
        sampler.draw(draws, n)
    })
}

/// The same by age: rank 0 is the newest record.
fn by_age(dist: Dist, n: u64) -> Vec<u64> {
    of(dist, n).into_iter().rev().collect()
}

/// The probability of each rank out of a distribution function of the rank's edge, 0 to n.
fn steps(n: u64, below: impl Fn(f64) -> f64) -> Vec<f64> {
    (0..n).map(|rank| below((rank + 1) as f64) - below(rank as f64)).collect()
}

fn zipf_law(n: u64, theta: f64) -> Vec<f64> {
    let weights: Vec<f64> = (0..n).map(|rank| ((rank + 1) as f64).powf(-theta)).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

#[test]
fn uniform_and_hotspot_fit() {
    let counts = of(Dist::Uniform, 1_000);
    assert!(misfit(&counts, &vec![0.001; 1_000]) < 1.0);
    assert!(misfit(&counts, &zipf_law(1_000, 0.05)) > 1.0, "a skew of 0.05 is seen");
    let law = |ops: f64| (0..500).map(|r| if r < 100 { ops / 100.0 } else { (1.0 - ops) / 400.0 }).collect();
    let (right, wrong): (Vec<f64>, Vec<f64>) = (law(0.8), law(0.79));
    let counts = of(Dist::Hotspot { data: 0.2, ops: 0.8 }, 500);
    assert!(misfit(&counts, &right) < 1.0 && misfit(&counts, &wrong) > 1.0);
}

#[test]
fn zipf_and_latest_fit() {
    let n = 1_000;
    let scatter = match Sampler::new(Dist::Zipf { theta: 0.99 }, 7, 0, 1, n).shape {
        Shape::Zipf { scatter, .. } => scatter,
        _ => unreachable!("a zipf was asked for"),
    };
    let by_record = of(Dist::Zipf { theta: 0.99 }, n);
    let by_rank: Vec<u64> = (0..n).map(|rank| by_record[scatter.apply(rank) as usize]).collect();
    assert!(misfit(&by_rank, &zipf_law(n, 0.99)) < 1.0);
    assert!(misfit(&by_rank, &zipf_law(n, 0.97)) > 1.0, "a theta of 0.97 is told from 0.99");
    let ages = by_age(Dist::Latest, n);
    assert!(misfit(&ages, &zipf_law(n, 0.99)) < 1.0 && misfit(&ages, &zipf_law(n, 1.01)) > 1.0);
}

/// Gray et al. give ranks from 2 on by an inverse that is only near to zipf: the fit is to their own law.
#[test]
fn ycsb_zipf_fits_the_generator_it_is_compatible_with() {
    let (zipf, items, theta) = (YcsbZipf::new(), 1e10f64, 0.99f64);
    let zeta_n = 26.469_028_201_783_02;
    let (first, second) = (1.0 / zeta_n, (1.0 + 0.5f64.powf(theta)) / zeta_n);
    let eta = (1.0 - (2.0 / items).powf(1.0 - theta)) / (1.0 - second);
    let inverse = |rank: f64| ((rank / items).powf(1.0 - theta) - 1.0) / eta + 1.0;
    let below = |edge: f64| if edge < 1.5 { edge * first } else { inverse(edge).max(second) };
    let mut law = steps(100, below);
    law.push(1.0 - below(100.0));
    let counts = count(101, |_, draws| zipf.rank(draws).min(100));
    assert!(misfit(&counts, &law) < 1.0, "{}", misfit(&counts, &law));
    let mut textbook = zipf_law(1_000_000, 0.99);
    let rest: f64 = textbook.drain(100..).sum();
    textbook.push(rest);
    assert!(misfit(&counts, &textbook) > 1.0, "it is not the zipf of a million records");
}

#[test]
fn exponential_fits_with_and_without_its_tail() {
    for (p, f) in [(0.95, 0.857_142_857_1), (0.8, 0.01), (0.95, 0.1)] {
        let law = |p: f64, f: f64| {
            let rate = -(1.0 - p).ln() / (f * 2_000.0);
            let kept = 1.0 - (-rate * 2_000.0).exp();
            steps(2_000, |rank| (1.0 - (-rate * rank).exp()) / kept)
        };
        let counts = by_age(Dist::Exponential { p, f }, 2_000);
        assert!(misfit(&counts, &law(p, f)) < 1.0, "p {p} f {f}: {}", misfit(&counts, &law(p, f)));
        assert!(misfit(&counts, &law(p, 1.15 * f)) > 1.0, "p {p} f {f}: 15 % more are seen");
    }
}

#[test]
fn exp_range_fits_and_is_scattered_by_a_bijection() {
    let (x, n) = (3.0, 1_000u64);
    let law = |x: f64| {
        let reach =
            |edge: f64| if edge <= n as f64 * (-x).exp() { 0.0 } else { 1.0 + (edge / n as f64).ln() / x };
        steps(n, reach)
    };
    let ranks = count(n, |_, draws| exp_range_rank(draws, x, n));
    assert!(misfit(&ranks, &law(x)) < 1.0 && misfit(&ranks, &law(1.01 * x)) > 1.0);
    let records = of(Dist::ExpRange { x }, n);
    for (rank, found) in ranks.iter().enumerate() {
        assert_eq!(records[(rank as u64 * 0x5bd1_e995 % n) as usize], *found, "rank {rank}");
    }
}

#[test]
fn temporal_fits_both_shapes_and_hits_the_three_shares() {
    let (n, span) = (3_650u64, 3_650.0);
    let weibull = |days: f64| 1.0 - (-(days / 0.99).powf(0.243)).exp();
    let by_buckets = |days: f64| match days {
        d if d <= 7.0 => 0.80 * d / 7.0,
        d if d <= 90.0 => 0.80 + 0.15 * (d - 7.0) / 83.0,
        d => 0.95 + 0.05 * (d - 90.0) / (span - 90.0),
    };
    let counts = |shape| by_age(Dist::Temporal { shape, span_days: span }, n);
    let (steep, smooth) = (counts(AgeShape::Buckets), counts(AgeShape::Weibull));
    let (steep_law, smooth_law) = (steps(n, by_buckets), steps(n, |days| weibull(days) / weibull(span)));
    assert!(misfit(&steep, &steep_law) < 1.0 && misfit(&smooth, &smooth_law) < 1.0);
    assert!(misfit(&steep, &smooth_law) > 1.0 && misfit(&smooth, &steep_law) > 1.0);
    for counts in [steep, smooth] {
        let share = |ages: std::ops::Range<usize>| counts[ages].iter().sum::<u64>() as f64 / DRAWS as f64;
        let shares = [share(0..7), share(7..90), share(90..3_650)];
        for (share, wanted) in shares.into_iter().zip([0.80, 0.15, 0.05]) {
            assert!((share - wanted).abs() < 0.005, "{shares:?}");
        }
    }
}

/// The normal distribution function (Abramowitz and Stegun 7.1.26, error under 1e-7).
fn normal_below(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * z.abs() / std::f64::consts::SQRT_2);
    let series = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let tail = series.iter().fold(0.0, |sum, term| (sum + term) * t) * (-z * z / 2.0).exp() / 2.0;
    if z > 0.0 { 1.0 - tail } else { tail }
}

#[test]
fn spatial_fits_its_gaussians_around_the_centres() {
    let (n, regions) = (1_000u64, 10u64);
    let law = |theta: f64, sigma: f64| {
        let spatial = Spatial::new(n, regions, theta, sigma, 5);
        let mut law = vec![0.0; n as usize];
        for (rank, share) in (0..regions).zip(zipf_law(regions, theta)) {
            let (centre, deviation) = (spatial.centre(rank), sigma * 100.0);
            let below = |edge: f64| normal_below((edge - centre) / deviation);
            for (record, probability) in law.iter_mut().enumerate() {
                for lap in [-1000.0, 0.0, 1000.0] {
                    let edge = record as f64 + lap;
                    *probability += share * (below(edge + 1.0) - below(edge));
                }
            }
        }
        law
    };
    let spatial = Spatial::new(n, regions, 0.99, 0.4, 5);
    let counts = count(n, |_, draws| spatial.record(draws));
    assert!(misfit(&counts, &law(0.99, 0.4)) < 1.0, "{}", misfit(&counts, &law(0.99, 0.4)));
    assert!(misfit(&counts, &law(0.99, 0.35)) > 1.0 && misfit(&counts, &law(0.9, 0.4)) > 1.0);
}

#[test]
fn shifting_zipf_is_a_zipf_in_each_epoch_and_moves_between_them() {
    let (n, every) = (200u64, 50_000u64);
    let mut sampler = Sampler::new(Dist::ShiftingZipf { theta: 0.99, every }, 7, 0, 1, n);
    let stream = Stream::new(42, 11);
    let mut hottest = Vec::new();
    for epoch in 0..4 {
        let mut counts = vec![0u64; n as usize];
        for index in epoch * every..(epoch + 1) * every {
            sampler.begin(index);
            counts[sampler.draw(&mut stream.draws(index), n) as usize] += 1;
        }
        let Shape::ShiftingZipf { scatter, .. } = &sampler.shape else { unreachable!("that was asked for") };
        let by_rank: Vec<u64> = (0..n).map(|rank| counts[scatter.apply(rank) as usize]).collect();
        assert!(misfit(&by_rank, &zipf_law(n, 0.99)) < 1.0 && misfit(&by_rank, &zipf_law(n, 0.9)) > 1.0);
        hottest.push(scatter.apply(0));
    }
    let all = of(Dist::ShiftingZipf { theta: 0.99, every }, n);
    assert!(f64::from(u32::try_from(*all.iter().max().unwrap()).unwrap()) < 0.12 * DRAWS as f64);
    hottest.dedup();
    assert!(hottest.len() > 2, "the hottest record moves: {hottest:?}");
}

#[test]
fn sizes_fit() {
    let uniform = Sizes::Uniform { min: 10, max: 59 };
    let counts = count(60, |_, draws| u64::from(uniform.draw(draws)));
    let law =
        |from: u64| (0..60).map(|size| if size < from { 0.0 } else { 1.0 / (60 - from) as f64 }).collect();
    let (right, wrong): (Vec<f64>, Vec<f64>) = (law(10), law(9));
    assert!(misfit(&counts[10..], &right[10..]) < 1.0 && misfit(&counts[9..], &wrong[9..]) > 1.0);
    for (k, sigma) in [(0.2615, 25.45), (2.517, 14.236), (0.0, 30.0)] {
        let law = |k: f64| {
            let tail =
                |x: f64| if k == 0.0 { (-x / sigma).exp() } else { (1.0 + k * x / sigma).powf(-1.0 / k) };
            steps(1_000, |edge| if edge > 999.0 { 1.0 } else { 1.0 - tail(edge) })
        };
        let pareto = Sizes::Pareto { k, sigma, min: 8, max: 1_007 };
        let counts = count(1_000, |_, draws| u64::from(pareto.draw(draws) - 8));
        assert!(misfit(&counts, &law(k)) < 1.0, "k {k}: {}", misfit(&counts, &law(k)));
        assert!(misfit(&counts, &law(1.15 * k + 0.05)) > 1.0, "k {k} is told from 1.15 k + 0.05");
    }
}

#[test]
fn means_of_sizes_are_those_of_the_draws() {
    let stream = Stream::new(3, 3);
    for sizes in [
        Sizes::Fixed { size: 7 },
        Sizes::Uniform { min: 8, max: 100 },
        Sizes::Pareto { k: 0.2615, sigma: 25.45, min: 8, max: 65_536 },
        Sizes::Pareto { k: 1.0, sigma: 10.0, min: 0, max: 5_000 },
        Sizes::Pareto { k: 2.517, sigma: 14.236, min: 1, max: 1_000 },
        Sizes::Pareto { k: 0.0, sigma: 30.0, min: 8, max: 65_536 },
    ] {
        let drawn: Vec<f64> =
            (0..DRAWS).map(|index| f64::from(sizes.draw(&mut stream.draws(index)))).collect();
        let mean = drawn.iter().sum::<f64>() / DRAWS as f64;
        let variance = drawn.iter().map(|size| (size - mean) * (size - mean)).sum::<f64>() / DRAWS as f64;
        // Six standard errors, and the one that rounding down may take.
        let slack = 1.0 + 6.0 * (variance / DRAWS as f64).sqrt();
        let told = sizes.mean();
        assert!((mean - told).abs() < slack, "{sizes:?}: drawn {mean}, told {told}");
        assert!(f64::from(sizes.max()) >= told);
    }
}

/// 0.001 of a chi-squared law of 10 degrees lies beyond 29.588, of 100 degrees beyond 149.449: Wilson and Hilferty
/// are within 1 % and err on the side of fewer rejections.
#[test]
fn the_critical_value_is_that_of_the_tables() {
    for (degrees, table) in [(10.0f64, 29.588), (100.0, 149.449)] {
        let spread = 2.0 / (9.0 * degrees);
        let critical = degrees * (1.0 - spread + QUANTILE * spread.sqrt()).powi(3);
        assert!((1.0..1.01).contains(&(critical / table)), "{critical} for {table}");
    }
}
