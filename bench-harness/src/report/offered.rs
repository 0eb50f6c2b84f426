//! What latency costs as load grows: the response times of the open loops of a workload over the load that was offered.
//! Where an engine reaches its capacity, its line turns upwards.

use super::charts::{colour, figure, thousands, time_axis};
use super::html::repetitions;
use super::svg::{Axis, Backdrop, Series, legend, lines};
use crate::compare::{Group, Repetition};
use crate::metrics::{LatencySummary, PhaseRecord};
use crate::run::CellRecord;
use crate::run::cell::Measure;
use crate::stats::ratio::median;

/// Fewer loads do not make a line.
const LOADS_MIN: usize = 3;

/// Where the response times of reads, or of writes, are.
type Responses = fn(&PhaseRecord) -> &Option<LatencySummary>;

/// (requests offered a second, base-ten logarithm of the 99th percentile in nanoseconds), by load, each the median of the
/// repetitions. Left out: phases that had too few requests to tell, and those whose requests were not all answered, which
/// would look better than they were felt.
fn points(groups: &[Group<'_>], cell: &CellRecord, responses: Responses) -> Vec<(f64, f64)> {
    let of_run = |run: &Repetition<'_>| {
        let open = run.phase.open.as_ref().filter(|open| open.served == open.scheduled)?;
        Some((open.offered_per_second, responses(run.phase).as_ref()?.p99_ns?))
    };
    let point = |measure: &Measure| {
        let runs: Vec<_> = repetitions(groups, cell, &measure.name).iter().filter_map(of_run).collect();
        let offered = median(&runs.iter().map(|run| run.0).collect::<Vec<_>>())?;
        let p99_ns = median(&runs.iter().map(|run| run.1 as f64).collect::<Vec<_>>())?;
        Some((offered, p99_ns.max(1.0).log10()))
    };
    let mut points: Vec<_> = cell.measures.iter().filter_map(point).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// The figure of a workload; empty if it has fewer than three open loops.
pub fn figure_of(groups: &[Group<'_>], cells: &[&CellRecord]) -> String {
    let kinds: [(&str, bool, Responses); 2] =
        [("reads", false, |phase| &phase.read_responses), ("writes", true, |phase| &phase.write_responses)];
    let mut series = Vec::new();
    for (index, cell) in cells.iter().enumerate() {
        for (kind, dashed, responses) in kinds {
            let name = format!("{} {kind}", cell.engine.label);
            series.push(Series {
                name,
                colour: colour(index),
                dashed,
                points: points(groups, cell, responses),
            });
        }
    }
    series.retain(|line| line.points.len() >= LOADS_MIN);
    let Some(y) = time_axis("p99 of response", &series) else { return String::new() };
    let all = || series.iter().flat_map(|line| &line.points);
    let x = Axis::linear("requests offered / s", all().map(|point| point.0).fold(0.0, f64::max), thousands);
    let body =
        lines("response time over offered load", &x, &y, &series, &Backdrop::default()) + &legend(&series);
    figure(
        "Latency over offered load",
        &body,
        "Response times of the open loops, from arrival to answer; the median of the repetitions. Loads of which not every \
         request was answered are left out.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::group::tests::cell;
    use crate::compare::groups;
    use crate::metrics::{Latencies, OpenRecord};
    use workloads::OpKind;

    fn with_loads(loads: &[f64]) -> CellRecord {
        let mut cell = cell("a", 0, 100.0);
        let shape = cell.phases[0].clone();
        let named = |(phase, load): (usize, &f64)| Measure {
            name: format!("at {load}"),
            phase,
            ..cell.measures[0].clone()
        };
        cell.measures = loads.iter().enumerate().map(named).collect();
        cell.phases = loads
            .iter()
            .map(|load| {
                let mut latencies = Latencies::default();
                (0..10_000).for_each(|_| latencies.record(OpKind::Get, (load * 10.0) as u64));
                PhaseRecord {
                    open: Some(OpenRecord { offered_per_second: *load, ..OpenRecord::default() }),
                    read_responses: latencies.summary(OpKind::Get),
                    ..shape.clone()
                }
            })
            .collect();
        cell
    }

    #[test]
    fn three_loads_make_a_line_in_their_order_and_two_do_not() {
        let cells = [with_loads(&[4_000.0, 1_000.0, 2_000.0])];
        let found = points(&groups(&cells), &cells[0], |phase| &phase.read_responses);
        assert_eq!(found.iter().map(|point| point.0).collect::<Vec<_>>(), [1_000.0, 2_000.0, 4_000.0]);
        assert!((found[0].1 - 4.0).abs() < 0.01, "10 us is 10,000 ns: {found:?}");
        let page = figure_of(&groups(&cells), &[&cells[0]]);
        assert!(page.contains("a reads") && !page.contains("a writes"), "{page}");
        let two = [with_loads(&[1_000.0, 2_000.0])];
        assert_eq!(figure_of(&groups(&two), &[&two[0]]), "");
        let mut lost = cells;
        lost[0].phases[1].open.as_mut().unwrap().scheduled = 1;
        assert_eq!(figure_of(&groups(&lost), &[&lost[0]]), "", "what was never answered is no point");
    }
}
