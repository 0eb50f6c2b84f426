//! Two sets of results against each other: the same workload and engine, before and after a change, or on two machines.

use super::equal::{Number, broken_by_phases, broken_rule};
use super::group::{Group, groups};
use super::ratio::{METRICS, Metric};
use crate::run::CellRecord;
use crate::stats::{Interval, unpaired_ratio};

/// One number of one engine under one workload, in both sets.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Row {
    /// The workload.
    pub workload: String,
    /// The measured phase.
    pub measure: String,
    /// The engine.
    pub engine: String,
    /// The number.
    pub metric: &'static str,
    /// Its unit, empty for a pure number.
    pub unit: &'static str,
    /// Whether more is better.
    pub more_is_better: bool,
    /// The median of the first set.
    pub before: Option<f64>,
    /// The median of the second set.
    pub after: Option<f64>,
    /// Second over first; `None` without two runs on each side, or if the runs were not equal.
    pub ratio: Option<Interval>,
    /// The rule of equality that was broken, if one was.
    pub broken_rule: Option<String>,
}

/// Every number that both sets have. Their runs were not side by side, so the noise of the machine does not cancel.
pub fn rows(before: &[CellRecord], after: &[CellRecord]) -> Vec<Row> {
    let (before, after) = (groups(before), groups(after));
    let twins = after.iter().filter_map(|group| {
        let is_twin = |other: &&Group<'_>| {
            (other.workload, other.measure, other.engine) == (group.workload, group.measure, group.engine)
        };
        Some((before.iter().find(is_twin)?, group))
    });
    twins.flat_map(|(old, new)| METRICS.iter().filter_map(move |metric| row(old, new, metric))).collect()
}

fn row(old: &Group<'_>, new: &Group<'_>, metric: &Metric) -> Option<Row> {
    let values = |group: &Group<'_>| -> Vec<f64> {
        group.runs.iter().filter_map(|run| (metric.of)(&run.measure.derived)).collect()
    };
    let (before, after) = (old.median(metric.of), new.median(metric.of));
    before.or(after)?;
    let pairs = old.runs.iter().flat_map(|a| new.runs.iter().map(move |b| (a, b)));
    let broken = pairs
        .into_iter()
        .find_map(|(a, b)| broken_rule(a.cell, b.cell, Number::Time).or_else(|| broken_by_phases(a, b)));
    let ratio = if broken.is_none() { unpaired_ratio(&values(new), &values(old)) } else { None };
    Some(Row {
        workload: new.workload.to_owned(),
        measure: new.measure.to_owned(),
        engine: new.engine.to_owned(),
        metric: metric.name,
        unit: metric.unit,
        more_is_better: metric.more_is_better,
        before,
        after,
        ratio,
        broken_rule: broken,
    })
}

#[cfg(test)]
mod tests {
    use super::super::group::tests::cell;
    use super::*;

    #[test]
    fn a_change_for_the_better_shows_and_an_unequal_one_is_named() {
        let before: Vec<_> =
            [100.0, 101.0, 99.0].into_iter().zip(0..).map(|(r, b)| cell("a", b, r)).collect();
        let mut after: Vec<_> =
            [150.0, 151.0, 149.0].into_iter().zip(0..).map(|(r, b)| cell("a", b, r)).collect();
        after.push(cell("only-after", 0, 7.0));
        let found = rows(&before, &after);
        assert_eq!(found.len(), 1, "what one side lacks has no row: {found:?}");
        assert_eq!((found[0].before, found[0].after), (Some(100.0), Some(150.0)));
        assert!(found[0].ratio.is_some_and(|ratio| ratio.low > 1.4 && ratio.high < 1.6));
        after[0].spec["run"]["seed"] = 9.into();
        let found = rows(&before, &after);
        assert!(found[0].ratio.is_none() && found[0].broken_rule.as_ref().unwrap().contains("same seed"));
    }
}
