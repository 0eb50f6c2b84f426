//! Ratios between engines that ran side by side, with intervals.
//!
//! Runs of one block share what the machine was doing at the time, so the ratio within a block cancels it. The
//! statistic is the mean of the logarithms of those ratios: it treats "twice" and "half" alike, and the ratio of
//! A to B is one over that of B to A. Only such effect sizes with intervals answer "how much faster?" (Kalibera and
//! Jones, "Rigorous benchmarking in reasonable time", 2013).

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::rng;

/// Share of intervals that hold the true ratio, if blocks are alike.
const CONFIDENCE: f64 = 0.95;
/// Resamples of the bootstrap.
const RESAMPLES: usize = 10_000;
/// The bootstrap's stream of chance: fixed, so that the same runs always give the same interval.
const BOOTSTRAP_SEED: u64 = 0x6b76_6c61_6200_0001;
/// An interval within these bounds counts as "the same".
const SAME: (f64, f64) = (0.95, 1.05);

/// A ratio and where it lies with 95 % confidence.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Interval {
    /// The geometric mean of the ratios of all blocks.
    pub estimate: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// Blocks it rests on.
    pub blocks: usize,
}

/// What an interval says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All of it above 1, and not all within 0.95 to 1.05.
    Above,
    /// All of it below 1, and not all within 0.95 to 1.05.
    Below,
    /// All of it within 0.95 to 1.05.
    Same,
    /// It holds 1 and is wider than that: the runs do not tell.
    Unclear,
}

impl Interval {
    /// What it says.
    pub fn verdict(&self) -> Verdict {
        if self.low >= SAME.0 && self.high <= SAME.1 {
            Verdict::Same
        } else if self.low > 1.0 {
            Verdict::Above
        } else if self.high < 1.0 {
            Verdict::Below
        } else {
            Verdict::Unclear
        }
    }
}

/// The ratio of each pair's first to its second number, one pair a block. Of the interval by Student's t on the
/// logarithms and that of the bootstrap (Efron, 1979; percentiles of 10,000 resamples) the wider is given. `None` with
/// fewer than two blocks, or if a number is not positive and finite: then there is no error bar to give.
///
/// O(resamples x blocks), about 1 ms for ten blocks.
pub fn log_ratio(pairs: &[(f64, f64)]) -> Option<Interval> {
    let usable = |value: f64| value.is_finite() && value > 0.0;
    if pairs.len() < 2 || !pairs.iter().all(|(a, b)| usable(*a) && usable(*b)) {
        return None;
    }
    let logs: Vec<f64> = pairs.iter().map(|(a, b)| (a / b).ln()).collect();
    let mean = mean(&logs);
    let (t, bootstrap) = (t_interval(&logs, mean), bootstrap_interval(&logs));
    let (low, high) = if t.1 - t.0 >= bootstrap.1 - bootstrap.0 { t } else { bootstrap };
    Some(Interval { estimate: mean.exp(), low: low.exp(), high: high.exp(), blocks: logs.len() })
}

/// Where the mean of repeated numbers lies, by Student's t: for shares and counts, which may be 0 and are no ratios.
/// `None` with fewer than two, or if one is not finite.
pub fn mean_interval(values: &[f64]) -> Option<Interval> {
    if values.len() < 2 || !values.iter().all(|value| value.is_finite()) {
        return None;
    }
    let estimate = mean(values);
    let (low, high) = t_interval(values, estimate);
    Some(Interval { estimate, low, high, blocks: values.len() })
}

/// The ratio of two sets of runs that did not share blocks, `a` over `b`, by Welch's t on the logarithms: wider than
/// [`log_ratio`], since nothing of the noise cancels. `None` with fewer than two runs on a side, or numbers that are not
/// positive and finite. (Welch, "The generalization of Student's problem", 1947.)
pub fn unpaired_ratio(a: &[f64], b: &[f64]) -> Option<Interval> {
    let usable = |value: &f64| value.is_finite() && *value > 0.0;
    if a.len() < 2 || b.len() < 2 || !a.iter().chain(b).all(usable) {
        return None;
    }
    let logs = |values: &[f64]| values.iter().map(|value| value.ln()).collect::<Vec<f64>>();
    let (a, b) = (logs(a), logs(b));
    // Squared standard error of each mean, and its share of the degrees of freedom.
    let error = |logs: &[f64]| deviation(logs).powi(2) / logs.len() as f64;
    let (mine, theirs) = (error(&a), error(&b));
    let middle = mean(&a) - mean(&b);
    let below = mine.powi(2) / (a.len() - 1) as f64 + theirs.powi(2) / (b.len() - 1) as f64;
    let half =
        if below > 0.0 { quantile((mine + theirs).powi(2) / below) * (mine + theirs).sqrt() } else { 0.0 };
    let blocks = a.len().min(b.len());
    Some(Interval { estimate: middle.exp(), low: (middle - half).exp(), high: (middle + half).exp(), blocks })
}

/// mean(x) = sum(x) / n.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The least and the greatest; `None` without a number.
pub fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |known: Option<(f64, f64)>, value| {
        Some(known.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
    })
}

/// The standard deviation of a sample: the root of sum((x - mean)^2) / (n - 1); 0 for fewer than two numbers.
pub fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

/// The middle of the sorted numbers, or the mean of the two in the middle.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len().is_multiple_of(2) {
        Some(f64::midpoint(*sorted.get(middle - 1)?, upper))
    } else {
        Some(upper)
    }
}

/// mean +- t(0.975, n - 1) s / sqrt(n).
fn t_interval(values: &[f64], mean: f64) -> (f64, f64) {
    let half = quantile((values.len() - 1) as f64) * deviation(values) / (values.len() as f64).sqrt();
    (mean - half, mean + half)
}

/// How many standard errors wide half of an interval is, by Student's t.
fn quantile(freedom: f64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::INFINITY, |t| t.inverse_cdf(0.5 + CONFIDENCE / 2.0))
}

fn bootstrap_interval(logs: &[f64]) -> (f64, f64) {
    let mut index = 0;
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn = (0..logs.len()).map(|_| {
                index += 1;
                logs[rng::below(BOOTSTRAP_SEED, index, logs.len())]
            });
            drawn.sum::<f64>() / logs.len() as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[((RESAMPLES - 1) as f64 * share).round() as usize];
    (at(0.5 - CONFIDENCE / 2.0), at(0.5 + CONFIDENCE / 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_by_t_has_the_figures_of_the_textbook() {
        // Logs 0.1, 0.2, 0.3: mean 0.2, s = 0.1, t(0.975, 2) = 4.3027, half = 0.24842.
        let pairs = [0.1_f64, 0.2, 0.3].map(|log| (log.exp(), 1.0));
        let interval = log_ratio(&pairs).unwrap();
        assert!((interval.estimate.ln() - 0.2).abs() < 1e-12);
        assert!((interval.low.ln() - (0.2 - 0.248_416)).abs() < 1e-4, "{interval:?}");
        assert!((interval.high.ln() - (0.2 + 0.248_416)).abs() < 1e-4);
        assert_eq!((interval.blocks, interval.verdict()), (3, Verdict::Unclear));
    }

    #[test]
    fn turning_a_ratio_round_turns_its_interval_round() {
        let pairs = [(3.0, 2.0), (3.3, 2.1), (2.9, 2.2), (3.1, 1.9), (3.0, 2.0)];
        let turned = pairs.map(|(a, b)| (b, a));
        let (there, back) = (log_ratio(&pairs).unwrap(), log_ratio(&turned).unwrap());
        assert!((there.estimate * back.estimate - 1.0).abs() < 1e-12);
        assert!((there.low * back.high - 1.0).abs() < 1e-3);
        assert_eq!((there.verdict(), back.verdict()), (Verdict::Above, Verdict::Below));
    }

    #[test]
    fn nineteen_of_twenty_intervals_hold_the_truth() {
        // 400 experiments of six blocks whose ratio is 1.3 with noise that is the sum of four uniform numbers.
        let noise = |experiment: u64, block: u64| {
            let drawn =
                (0..4).map(|part| rng::word(experiment, block * 4 + part) as f64 / u64::MAX as f64 - 0.5);
            drawn.sum::<f64>() * 0.1
        };
        let held = (0..400_u64).filter(|experiment| {
            let pairs: Vec<_> = (0..6).map(|block| (1.3 * noise(*experiment, block).exp(), 1.0)).collect();
            log_ratio(&pairs).is_some_and(|interval| interval.low <= 1.3 && 1.3 <= interval.high)
        });
        // 380 expected, five standard deviations are 22; the wider of two intervals errs on the safe side.
        assert!(held.count() >= 358);
    }

    #[test]
    fn sets_without_blocks_have_wider_intervals_and_the_textbook_degrees_of_freedom() {
        // Logs 1, 2, 3 and 0, 2, 4: errors 1/3 and 4/3, freedom (5/3)^2 / ((1/9 + 16/9) / 2) = 2.941, t = 3.2165.
        let exp = |logs: [f64; 3]| logs.map(f64::exp);
        let interval = unpaired_ratio(&exp([1.0, 2.0, 3.0]), &exp([0.0, 2.0, 4.0])).unwrap();
        assert!(interval.estimate.ln().abs() < 1e-12);
        let half = 3.2165 * (5.0_f64 / 3.0).sqrt();
        assert!((interval.high.ln() - half).abs() < 0.01, "{} and {half}", interval.high.ln());
        let pairs = [(2.0, 1.0), (4.0, 2.0), (8.0, 4.0)];
        let (paired, unpaired) = (
            log_ratio(&pairs).unwrap(),
            unpaired_ratio(&pairs.map(|pair| pair.0), &pairs.map(|pair| pair.1)).unwrap(),
        );
        assert!(unpaired.high - unpaired.low > paired.high - paired.low);
        assert_eq!(unpaired_ratio(&[1.0], &[1.0, 2.0]), None);
        assert!(unpaired_ratio(&[2.0; 3], &[1.0; 3]).is_some_and(|same| same.low == same.high));
    }

    #[test]
    fn without_blocks_or_with_numbers_that_are_none_there_is_no_interval() {
        assert_eq!(log_ratio(&[(1.0, 1.0)]), None);
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(log_ratio(&[(1.0, 1.0), (bad, 1.0)]), None);
            assert_eq!(log_ratio(&[(1.0, 1.0), (1.0, bad)]), None);
        }
    }

    #[test]
    fn equal_runs_are_the_same_and_medians_are_medians() {
        let interval = log_ratio(&[(2.0, 2.0); 5]).unwrap();
        assert_eq!((interval.low, interval.high, interval.verdict()), (1.0, 1.0, Verdict::Same));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!((extent([2.0, 1.0, 3.0].into_iter()), extent([].into_iter())), (Some((1.0, 3.0)), None));
    }
}
