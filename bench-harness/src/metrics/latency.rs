//! Latency: HDR histograms of service time (call to return) in nanoseconds, one per kind of operation, with three
//! significant digits.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
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

    /// Every count of `kind`, for results that are computed later; see [`encode`].
    pub fn encoded(&self, kind: OpKind) -> Option<String> {
        self.by_kind[kind as usize].as_ref().and_then(encode)
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

/// No times yet, up to an hour and with three digits.
pub fn empty() -> Histogram<u64> {
    // The bounds are constants that the constructor takes: a test makes one.
    Histogram::new_with_bounds(1, NS_MAX, 3).unwrap_or_else(|_| unreachable!("constant bounds are legal"))
}

/// A histogram as the tools of HdrHistogram exchange it: format V2, deflated, in base64. Nanoseconds.
pub fn encode(histogram: &Histogram<u64>) -> Option<String> {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).ok()?;
    Some(STANDARD.encode(bytes))
}

/// What [`encode`] made of a histogram, made a histogram again. Histograms of one kind of operation from several runs
/// may be added; `None` if `text` is none.
pub fn decode(text: &str) -> Option<Histogram<u64>> {
    let bytes = STANDARD.decode(text).ok()?;
    Deserializer::new().deserialize(&mut bytes.as_slice()).ok()
}

/// Several of [`encode`]'s histograms in one; `None` if one of them is missing, or there is none.
pub fn merged<'a>(histograms: impl Iterator<Item = Option<&'a str>>) -> Option<Histogram<u64>> {
    let mut all: Option<Histogram<u64>> = None;
    for text in histograms {
        let one = decode(text?)?;
        match &mut all {
            None => all = Some(one),
            Some(all) => all.add(&one).ok()?,
        }
    }
    all
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
    /// The summary of `histogram`, whose values are nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> LatencySummary {
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
pub fn is_told(count: u64, q: f64) -> bool {
    count as f64 * (1.0 - q) >= 100.0 - 1e-6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_can_be_summed_up_again_and_merged_with_another() {
        let mut latencies = Latencies::default();
        (1..=50_000).for_each(|ns| latencies.record(OpKind::Get, ns * 7));
        let text = latencies.encoded(OpKind::Get).unwrap();
        let mut again = decode(&text).unwrap();
        assert_eq!(LatencySummary::of(&again), latencies.summary(OpKind::Get).unwrap());
        again.add(decode(&text).unwrap()).unwrap();
        let merged = LatencySummary::of(&again);
        assert_eq!((merged.count, merged.p50_ns), (100_000, latencies.summary(OpKind::Get).unwrap().p50_ns));
        assert_eq!(latencies.encoded(OpKind::Scan), None);
        assert!(decode("").is_none() && decode("AAAA").is_none() && decode("no base64").is_none());
    }

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
