//! Was a run steady? The rule: over the last five windows a series may vary by 20 % of its mean, its fitted line may
//! climb or fall by 10 % (as in the SNIA performance test specification), and a two-sided cumulative sum control
//! chart (Page, "Continuous inspection schemes", 1954) must stay silent.

use super::ratio::{deviation, mean};

/// Windows that are looked at: the last ones.
pub const WINDOWS: usize = 5;
/// Largest distance between two windows, as a share of their mean.
const SPREAD_MAX: f64 = 0.20;
/// Largest climb or fall of the fitted line over the windows, as a share of their mean.
const TREND_MAX: f64 = 0.10;
/// What the chart lets pass at every step, and where it raises alarm, in standard deviations.
const CUSUM_SLACK: f64 = 0.5;
const CUSUM_ALARM: f64 = 5.0;

/// What the rule says of a series.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Steady {
    /// True if all three conditions hold.
    pub ok: bool,
    /// (max - min) / mean of the windows.
    pub spread: f64,
    /// (end - begin) / mean of the fitted line: above 0 it climbs.
    pub trend: f64,
    /// The chart's largest excursion, in standard deviations.
    pub cusum: f64,
}

impl Steady {
    /// What does not hold, in words; `None` if all does.
    pub fn complaint(&self) -> Option<String> {
        let percent = |share: f64| format!("{:.0} %", share.abs() * 100.0);
        if self.ok {
            None
        } else if self.trend.abs() > TREND_MAX {
            let way = if self.trend > 0.0 { "climbs" } else { "falls" };
            Some(format!("{way} by {} over {WINDOWS} windows", percent(self.trend)))
        } else if self.spread > SPREAD_MAX {
            Some(format!("varies by {} between windows", percent(self.spread)))
        } else {
            Some(format!("shifts by {:.1} standard deviations (cumulative sum)", self.cusum))
        }
    }
}

/// Judges `series`, equally spaced in time, by its last [`WINDOWS`] windows of `per_window` numbers each. `None` if it
/// is too short for that: then nothing can be said, which is not "steady".
pub fn judge(series: &[f64], per_window: usize) -> Option<Steady> {
    let wanted = per_window.checked_mul(WINDOWS).filter(|wanted| *wanted > 0)?;
    let last = series.get(series.len().checked_sub(wanted)?..)?;
    let windows: Vec<f64> = last.chunks_exact(per_window).map(mean).collect();
    verdict(&windows, cusum(last))
}

/// Judges the last [`WINDOWS`] of `windows` by spread and trend alone: for numbers that exist once a window, such as a
/// quantile. `None` if there are too few of them.
pub fn judge_windows(windows: &[f64]) -> Option<Steady> {
    verdict(windows.get(windows.len().checked_sub(WINDOWS)?..)?, 0.0)
}

fn verdict(windows: &[f64], cusum: f64) -> Option<Steady> {
    let mean = mean(windows);
    if !mean.is_finite() || mean <= 0.0 {
        return None;
    }
    let (low, high) = windows
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), at| (low.min(*at), high.max(*at)));
    let spread = (high - low) / mean;
    let trend = slope(windows) * (WINDOWS - 1) as f64 / mean;
    let ok = spread <= SPREAD_MAX && trend.abs() <= TREND_MAX && cusum <= CUSUM_ALARM;
    Some(Steady { ok, spread, trend, cusum })
}

/// Slope of the line of least squares through (0, y0), (1, y1), ...
pub fn slope(values: &[f64]) -> f64 {
    let middle = (values.len() as f64 - 1.0) / 2.0;
    let centre = mean(values);
    let places = values.iter().enumerate().map(|(place, value)| (place as f64 - middle, value - centre));
    let (above, below) = places.fold((0.0, 0.0), |(above, below), (x, y)| (above + x * y, below + x * x));
    if below > 0.0 { above / below } else { 0.0 }
}

/// The largest of both sums, in standard deviations of the step from one number to the next: those of the numbers
/// themselves would grow with the very shift that the chart is to find.
fn cusum(values: &[f64]) -> f64 {
    let steps: Vec<f64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let sigma = deviation(&steps) / std::f64::consts::SQRT_2;
    if sigma <= 0.0 {
        return 0.0;
    }
    let centre = mean(values);
    let (mut up, mut down, mut most) = (0.0_f64, 0.0_f64, 0.0_f64);
    for value in values {
        let away = (value - centre) / sigma;
        up = (up + away - CUSUM_SLACK).max(0.0);
        down = (down - away - CUSUM_SLACK).max(0.0);
        most = most.max(up).max(down);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::super::rng;
    use super::*;

    fn noisy(len: u64, at: impl Fn(f64) -> f64) -> Vec<f64> {
        let noise = |index| rng::word(3, index) as f64 / u64::MAX as f64 - 0.5;
        (0..len).map(|index| at(index as f64) * (1.0 + 0.04 * noise(index))).collect()
    }

    #[test]
    fn a_level_series_is_steady() {
        let steady = judge(&noisy(60, |_| 1000.0), 10).unwrap();
        assert!(steady.ok, "{steady:?}");
    }

    #[test]
    fn a_trend_a_spread_and_a_late_shift_are_not() {
        let trend = judge(&noisy(50, |at| 1000.0 + 4.0 * at), 10).unwrap();
        assert!(!trend.ok && (trend.trend - 0.145).abs() < 0.02, "{trend:?}");
        let wave =
            judge(&noisy(50, |at| if (at as u32 / 10).is_multiple_of(2) { 1000.0 } else { 1300.0 }), 10);
        assert!(wave.is_some_and(|wave| !wave.ok && wave.spread > 0.2));
        let shift = judge(&noisy(50, |at| if at < 35.0 { 1000.0 } else { 920.0 }), 10).unwrap();
        assert!(!shift.ok && shift.cusum > CUSUM_ALARM && shift.spread < SPREAD_MAX, "{shift:?}");
    }

    #[test]
    fn what_came_before_the_last_windows_does_not_count() {
        let series = noisy(100, |at| if at < 50.0 { 300.0 } else { 1000.0 });
        assert!(judge(&series, 10).unwrap().ok);
    }

    #[test]
    fn too_short_a_series_or_one_of_nothing_says_nothing() {
        assert_eq!(judge(&[1.0; 49], 10), None);
        assert_eq!(judge(&[0.0; 50], 10), None);
        assert_eq!(judge(&[1.0; 50], 0), None);
        assert!(judge(&[1.0; 50], 10).is_some_and(|steady| steady.ok));
        assert_eq!(judge_windows(&[1.0; 4]), None);
        assert_eq!(
            judge_windows(&[9.0, 1.0, 1.0, 1.0, 1.0, 1.0]).and_then(|steady| steady.complaint()),
            None
        );
        let falling = judge_windows(&[5.0, 4.5, 4.0, 3.5, 3.0]).and_then(|steady| steady.complaint());
        assert_eq!(falling.as_deref(), Some("falls by 50 % over 5 windows"));
    }
}
