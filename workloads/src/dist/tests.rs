//! The distributions against their definitions and against the shares known from the literature.

use super::*;
use proptest::prelude::*;

const N: u64 = 1_000_000;
const DRAWS: u64 = 400_000;

/// How often each of `n` records is drawn.
fn histogram(dist: Dist, n: u64, draws: u64) -> Vec<u32> {
    let stream = Stream::new(42, 9);
    let mut sampler = Sampler::new(dist, 7, 0, 1, n);
    let mut counts = vec![0u32; n as usize];
    for index in 0..draws {
        counts[sampler.draw(&mut stream.draws(index), n) as usize] += 1;
    }
    counts
}

/// The share of all requests that the `top` share of the records gets.
fn top_share(mut counts: Vec<u32>, top: f64) -> f64 {
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let hot = (counts.len() as f64 * top) as usize;
    let sum = |counts: &[u32]| counts.iter().map(|&count| f64::from(count)).sum::<f64>();
    sum(&counts[..hot]) / sum(&counts)
}

/// Chi-square of drawn ranks against (r + offset)^-theta, divided by its degrees of freedom: near 1 when right.
fn zipf_misfit(n: u64, theta: f64, offset: f64) -> f64 {
    let (zipf, stream) = (Zipf::new(n, theta, offset), Stream::new(1, 2));
    let mut counts = vec![0f64; n as usize];
    for index in 0..DRAWS {
        counts[zipf.rank(&mut stream.draws(index)) as usize] += 1.0;
    }
    let weights: Vec<f64> = (0..n).map(|r| (r as f64 + offset).powf(-theta)).collect();
    let total: f64 = weights.iter().sum();
    let chi: f64 = weights
        .iter()
        .zip(&counts)
        .map(|(weight, count)| {
            let expected = DRAWS as f64 * weight / total;
            (count - expected).powi(2) / expected
        })
        .sum();
    chi / (n - 1) as f64
}

#[test]
fn zipf_ranks_fit_the_definition_for_every_theta_and_offset() {
    for theta in [0.2, 0.5, 0.89, 0.99, 1.0, 1.01, 1.5] {
        for offset in [1.0, 0.5, 0.125] {
            let misfit = zipf_misfit(100, theta, offset);
            // 99 degrees of freedom: the standard deviation of the quotient is 0.142; six of them.
            assert!(misfit < 1.85, "theta {theta} offset {offset}: chi-square per degree is {misfit}");
        }
    }
}

#[test]
fn zipf_gives_the_known_shares_at_a_million_records() {
    let counts = histogram(Dist::Zipf { theta: 0.99 }, N, 4 * DRAWS);
    let hottest = f64::from(*counts.iter().max().unwrap()) / (4 * DRAWS) as f64;
    assert!((hottest - 0.0650).abs() < 0.002, "hottest record {hottest}");
    let share = top_share(counts, 0.01);
    assert!((share - 0.66).abs() < 0.015, "top 1 % get {share}");
}

#[test]
fn ycsb_zipf_gives_the_known_shares_at_a_million_records() {
    let share = top_share(histogram(Dist::YcsbZipf, N, 4 * DRAWS), 0.01);
    assert!((share - 0.39).abs() < 0.02, "top 1 % get {share}");
    let (zipf, stream) = (YcsbZipf::new(), Stream::new(3, 3));
    let beyond = (0..DRAWS).filter(|&i| zipf.rank(&mut stream.draws(i)) >= N).count();
    let beyond = beyond as f64 / DRAWS as f64;
    assert!((beyond - 0.42).abs() < 0.01, "ranks beyond the records are {beyond} of all");
}

#[test]
fn threads_together_have_the_shape_of_one_zipf() {
    let n = 100_000u64;
    let mut counts = vec![0u32; n as usize];
    for thread in 0..4u32 {
        let stream = Stream::new(5, u64::from(thread));
        let mut sampler = Sampler::new(Dist::Zipf { theta: 0.99 }, 7, thread, 4, n / 4);
        for index in 0..DRAWS {
            let local = sampler.draw(&mut stream.draws(index), n / 4);
            counts[(local * 4 + u64::from(thread)) as usize] += 1;
        }
    }
    let (together, alone) =
        (top_share(counts, 0.01), top_share(histogram(Dist::Zipf { theta: 0.99 }, n, 4 * DRAWS), 0.01));
    assert!((together - alone).abs() < 0.01, "four threads {together}, one thread {alone}");
}

#[test]
fn uniform_and_hotspot_hit_their_shares() {
    let counts = histogram(Dist::Uniform, 100, DRAWS);
    assert!(counts.iter().all(|&count| count.abs_diff(4_000) < 380), "{counts:?}");
    let counts = histogram(Dist::Hotspot { data: 0.2, ops: 0.8 }, 1_000, DRAWS);
    let hot: u32 = counts[..200].iter().sum();
    assert!((f64::from(hot) / DRAWS as f64 - 0.8).abs() < 0.005);
}

#[test]
fn latest_prefers_the_newest_and_follows_growth() {
    let counts = histogram(Dist::Latest, 1_000, DRAWS);
    assert!(counts[999] > counts[998] && counts[998] > counts[990] && counts[990] > counts[500]);
    let stream = Stream::new(1, 1);
    let mut sampler = Sampler::new(Dist::Latest, 7, 0, 1, 10);
    let newest = (0..1_000).filter(|&i| sampler.draw(&mut stream.draws(i), 500) == 499).count();
    assert!(newest > 100, "the record inserted last is hot, drawn {newest} times of 1000");
}

#[test]
fn sequential_counts_and_permutation_visits_each_once() {
    let mut sampler = Sampler::new(Dist::Sequential, 7, 0, 1, 3);
    let mut draws = Stream::new(0, 0).draws(0);
    let order: Vec<u64> = (0..7).map(|_| sampler.draw(&mut draws, 3)).collect();
    assert_eq!(order, [0, 1, 2, 0, 1, 2, 0]);
    assert!(histogram(Dist::Permutation, 1_000, 2_000).iter().all(|&count| count == 2));
}

#[test]
fn fnv_matches_a_second_implementation() {
    // FNV-1a of eight zero bytes, computed by a second implementation.
    assert_eq!(fnv1a_64(0), 0xA8C7_F832_281A_39C5);
}

proptest! {
    #[test]
    fn permutation_is_a_bijection(n in 1u64..3_000, seed: u64) {
        let order = Permutation::new(n, seed);
        let mut seen = vec![false; n as usize];
        for i in 0..n {
            let to = order.apply(i) as usize;
            prop_assert!(!seen[to], "{} is hit twice", to);
            seen[to] = true;
        }
    }

    #[test]
    fn permutation_of_a_large_domain_stays_inside(n in 1u64..=1 << 62, seed: u64, i: u64) {
        prop_assert!(Permutation::new(n, seed).apply(i) < n);
    }

    #[test]
    fn zipf_stays_inside_for_any_shape(n in 1u64..1 << 40, theta in 0.01f64..4.0, offset in 0.01f64..2.0, index: u64) {
        prop_assert!(Zipf::new(n, theta, offset).rank(&mut Stream::new(1, 1).draws(index)) < n);
    }

    #[test]
    fn every_draw_is_inside_the_population(population in 1u64..500, threads in 1u32..6, index: u64) {
        for dist in Dist::DEFAULTS {
            let mut sampler = Sampler::new(dist, 3, threads - 1, threads, population);
            let mut draws = Stream::new(1, 1).draws(index);
            sampler.begin(index % (1 << 40));
            for _ in 0..3 {
                prop_assert!(sampler.draw(&mut draws, population) < population);
            }
        }
    }
}
