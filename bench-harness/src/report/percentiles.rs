//! The curve of latency over percentiles, from the histograms of all repetitions.

use hdrhistogram::Histogram;
use workloads::OpKind;

use super::charts::{colour, figure, time_axis};
use super::html::Row;
use super::svg::{Axis, Backdrop, Series, legend, lines};
use crate::metrics::latency::{is_told, merged};
use crate::metrics::{LatencySummary, OpRecord};

/// The tail is drawn up to this many nines.
const NINES_MAX: f64 = 5.0;
/// Points drawn for each nine.
const POINTS_PER_NINE: u32 = 8;

/// (nines, base-ten logarithm of nanoseconds).
type Curve = Vec<(f64, f64)>;

/// True if operations of this name count among the writes.
fn writes(op: &str) -> bool {
    OpKind::ALL.into_iter().any(|kind| kind.name() == op && kind.writes())
}

/// A point for each eighth of a nine that enough samples lie beyond.
fn curve(histogram: &Histogram<u64>) -> Curve {
    let steps = NINES_MAX as u32 * POINTS_PER_NINE;
    let nines = (0..=steps).map(|step| f64::from(step) / f64::from(POINTS_PER_NINE));
    let known =
        nines.map(|nines| (nines, 1.0 - 10f64.powf(-nines))).filter(|(_, q)| is_told(histogram.len(), *q));
    known.map(|(nines, q)| (nines, (histogram.value_at_quantile(q).max(1) as f64).log10())).collect()
}

/// The same from the quantiles of a result without histograms.
fn rough(summary: &LatencySummary) -> Curve {
    let point = |(q, ns): &(f64, u64)| (-(1.0 - q).log10(), (*ns.max(&1) as f64).log10());
    summary.curve.iter().map(point).collect()
}

/// Where the histogram of an operation is.
type Kept = fn(&OpRecord) -> Option<&str>;

/// The curve of all reads, or all writes, of an engine; from the `summary` if no histograms were kept.
fn of_kind(row: &Row<'_>, wanted: bool, kept: Kept, summary: &Option<LatencySummary>) -> Option<Curve> {
    summary.as_ref()?;
    let ops = row.runs.iter().flat_map(|run| &run.phase.ops);
    let mine = |op: &&OpRecord| op.latency.is_some() && writes(&op.op) == wanted;
    let all = merged(ops.filter(mine).map(kept));
    all.as_ref().map(curve).or_else(|| summary.as_ref().map(rough))
}

/// A kind of time: what it is called, whether it is drawn dashed, and its points. Response stands beside service in an
/// open loop; a closed one has no response.
fn times(row: &Row<'_>) -> Vec<(&'static str, bool, Curve)> {
    let phase = row.phase;
    let service = |wanted, summary| of_kind(row, wanted, |op| op.histogram.as_deref(), summary);
    let response = |wanted, summary| of_kind(row, wanted, |op| op.response_histogram.as_deref(), summary);
    let drawn = if phase.open.is_some() {
        vec![
            ("read responses", false, response(false, &phase.read_responses)),
            ("write responses", false, response(true, &phase.write_responses)),
            ("read service", true, service(false, &phase.reads)),
            ("write service", true, service(true, &phase.writes)),
        ]
    } else {
        vec![("reads", false, service(false, &phase.reads)), ("writes", true, service(true, &phase.writes))]
    };
    drawn.into_iter().filter_map(|(name, dashed, points)| Some((name, dashed, points?))).collect()
}

/// Latency by percentile, reads and writes.
pub fn latency(rows: &[Row<'_>]) -> String {
    let mut series = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        for (kind, dashed, points) in times(row) {
            series.push(Series {
                name: format!("{} {kind}", row.label()),
                colour: colour(index),
                dashed,
                points,
            });
        }
    }
    let Some(y) = time_axis("latency", &series) else { return String::new() };
    let x = Axis {
        title: "percentile".to_owned(),
        min: 0.0,
        max: NINES_MAX,
        ticks: [(0.0, "0 %"), (1.0, "90 %"), (2.0, "99 %"), (3.0, "99.9 %"), (4.0, "99.99 %")]
            .map(|(at, label)| (at, label.to_owned()))
            .into(),
    };
    let body = lines("latency by percentile", &x, &y, &series, &Backdrop::default()) + &legend(&series);
    figure(
        "Latency",
        &body,
        "Service time, and response time in an open loop; all repetitions together, both axes logarithmic; drawn as far as \
         100 samples lie beyond.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::latency::encode;

    #[test]
    fn a_curve_ends_where_samples_do_and_never_falls() {
        let mut histogram = Histogram::new_with_bounds(1, 1_000_000, 3).unwrap();
        (1..=10_000_u64).for_each(|ns| histogram.record(ns).unwrap());
        let points = curve(&histogram);
        let (nines, _) = *points.last().unwrap();
        assert!((nines - 2.0).abs() < 1e-9, "100 of 10,000 lie beyond 99 %: {points:?}");
        assert!(points.windows(2).all(|pair| pair[0].1 <= pair[1].1));
        let text = encode(&histogram).unwrap();
        let two = merged([Some(text.as_str()), Some(text.as_str())].into_iter()).unwrap();
        assert_eq!(two.len(), 20_000);
        assert!(merged([Some(text.as_str()), None].into_iter()).is_none());
        assert!(writes("update") && !writes("scan") && !writes("nonsense"));
    }
}
