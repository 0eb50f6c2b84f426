//! Latency: HDR histograms of service time (call to return) in nanoseconds, one per kind of operation, with three
//! significant digits.

use hdrhistogram::Histogram;
use workloads::OpKind;

/// The longest time told apart from longer ones: one hour.
const NS_MAX: u64 = 3_600_000_000_000;
/// Quantiles of the summary, and of the curve in the report.
const CURVE: [f64; 13] = [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999];

/// One histogram per kind of operation.
#[derive(Debug, Clone)]
pub struct Latencies {
    by_kind: Vec<Option<Histogram<u64>>>,
}

impl Default for Latencies {
    fn default() -> Self {
        Latencies { by_kind: vec![None; OpKind::ALL.len()] }
    }
}

impl Latencies {
    /// Takes note of one operation that took `ns`.
    #[inline]
    pub fn record(&mut self, kind: OpKind, ns: u64) {
        let histogram = self.by_kind[kind as usize].get_or_insert_with(empty);
        histogram.saturating_record(ns.max(1));
    }

    /// Adds what another thread recorded.
    pub fn merge(&mut self, other: &Latencies) {
        for (mine, theirs) in self.by_kind.iter_mut().zip(&other.by_kind) {
            if let Some(theirs) = theirs {
                // Both have the bounds of `empty`, so everything fits.
                let _ = mine.get_or_insert_with(empty).add(theirs);
            }
        }
    }

    /// The summary of `kind`, `None` if nothing of it was recorded.
    pub fn summary(&self, kind: OpKind) -> Option<LatencySummary> {
        self.by_kind[kind as usize].as_ref().map(LatencySummary::of)
    }

    /// The summary of all kinds for which `wanted` holds, together.
    pub fn summary_of(&self, wanted: impl Fn(OpKind) -> bool) -> Option<LatencySummary> {
        let mut all = empty();
        for (kind, histogram) in OpKind::ALL.into_iter().zip(&self.by_kind) {
            if let (true, Some(histogram)) = (wanted(kind), histogram) {
                let _ = all.add(histogram);
            }
        }
        (!all.is_empty()).then(|| LatencySummary::of(&all))
    }
}

fn empty() -> Histogram<u64> {
    // The bounds are constants that the constructor takes: a test makes one.
    Histogram::new_with_bounds(1, NS_MAX, 3).unwrap_or_else(|_| unreachable!("constant bounds are legal"))
}

/// Quantiles of one histogram, in nanoseconds.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LatencySummary {
    /// Operations recorded.
    pub count: u64,
    /// Arithmetic mean.
    pub mean_ns: f64,
    /// Median. Each quantile q is told only when at least 100 / (1 - q) operations were recorded.
    pub p50_ns: Option<u64>,
    /// 90 of 100 took at most this long.
    pub p90_ns: Option<u64>,
    /// 99 of 100.
    pub p99_ns: Option<u64>,
    /// 999 of 1000.
    pub p999_ns: Option<u64>,
    /// 9999 of 10000.
    pub p9999_ns: Option<u64>,
    /// The slowest.
    pub max_ns: u64,
    /// (quantile, nanoseconds) for the curve of the report.
    pub curve: Vec<(f64, u64)>,
}

impl LatencySummary {
    fn of(histogram: &Histogram<u64>) -> LatencySummary {
        let count = histogram.len();
        let told = |q: f64| is_told(count, q).then(|| histogram.value_at_quantile(q));
        let curve = CURVE.into_iter().filter(|q| is_told(count, *q));
        LatencySummary {
            count,
            mean_ns: histogram.mean(),
            p50_ns: told(0.5),
            p90_ns: told(0.9),
            p99_ns: told(0.99),
            p999_ns: told(0.999),
            p9999_ns: told(0.9999),
            max_ns: histogram.max(),
            curve: curve.map(|q| (q, histogram.value_at_quantile(q))).collect(),
        }
    }
}

/// True if `count` samples are enough to tell quantile `q`: at least 100 of them lie beyond it.
fn is_told(count: u64, q: f64) -> bool {
    count as f64 * (1.0 - q) >= 100.0 - 1e-6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_needs_samples_beyond_it() {
        let mut latencies = Latencies::default();
        (1..=10_000).for_each(|ns| latencies.record(OpKind::Get, ns));
        let mut other = Latencies::default();
        other.record(OpKind::Update, 5);
        latencies.merge(&other);
        let gets = latencies.summary(OpKind::Get).unwrap();
        assert_eq!(gets.count, 10_000);
        assert!(gets.p99_ns.is_some_and(|ns| (9_890..=9_910).contains(&ns)), "{gets:?}");
        assert_eq!(gets.p999_ns, None);
        assert!(gets.max_ns >= 10_000);
        assert_eq!(latencies.summary(OpKind::Scan), None);
        assert_eq!(latencies.summary_of(|_| true).unwrap().count, 10_001);
    }
}
