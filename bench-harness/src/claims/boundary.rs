//! Where a claim that depends is true: along a numeric axis the places between which it changes, else the cases by name.

use super::case::Case;
use super::format::Axis;
use super::verdict::{Finding, Judged, Predicate};
use crate::units::three;

/// A case that was judged, at its place on the axis.
struct Point<'a> {
    at: f64,
    value: f64,
    holds: bool,
    group: &'a str,
}

/// Where the cases of one test are true.
pub fn sentence(predicate: Predicate, axis: Option<&Axis>, cases: &[(&Case, &Judged)]) -> String {
    let told = cases.iter().filter(|(_, judged)| matches!(judged.finding, Finding::Holds | Finding::Fails));
    let told: Vec<_> = told.collect();
    if told.is_empty() {
        return "nothing told".to_owned();
    }
    let places: Option<Vec<Point<'_>>> = told
        .iter()
        .map(|(case, judged)| {
            let holds = judged.finding == Finding::Holds;
            Some(Point { at: case.at?, value: judged.estimate?.value, holds, group: &case.group })
        })
        .collect();
    match (axis, places) {
        (Some(axis), Some(points)) => along(predicate, axis, points),
        _ => named(&told),
    }
}

fn named(told: &[&(&Case, &Judged)]) -> String {
    let list = |wanted: Finding| {
        let labels = told.iter().filter(|(_, judged)| judged.finding == wanted);
        labels.map(|(case, _)| case.label.as_str()).collect::<Vec<_>>().join(" and ")
    };
    match (list(Finding::Holds).as_str(), list(Finding::Fails).as_str()) {
        (yes, "") => format!("true in {yes}"),
        ("", no) => format!("not true in {no}"),
        (yes, no) => format!("true in {yes}; not in {no}"),
    }
}

/// The places of each group in order, and where they change.
fn along(predicate: Predicate, axis: &Axis, mut points: Vec<Point<'_>>) -> String {
    points.sort_by(|a, b| a.group.cmp(b.group).then(a.at.total_cmp(&b.at)));
    let groups: Vec<&[Point<'_>]> = points.chunk_by(|a, b| a.group == b.group).collect();
    let told: Vec<String> = groups
        .iter()
        .map(|group| {
            let text = stretches(predicate, axis, group);
            if groups.len() > 1 { format!("{text} ({})", group[0].group) } else { text }
        })
        .collect();
    let mut measured: Vec<f64> = points.iter().map(|point| point.at).collect();
    measured.sort_by(f64::total_cmp);
    measured.dedup();
    let measured: Vec<String> = measured.into_iter().map(rounded).collect();
    format!("{}; measured at {} {}", told.join(", "), measured.join(", "), axis.unit).trim_end().to_owned()
}

/// The stretches of one group in which it is true.
fn stretches(predicate: Predicate, axis: &Axis, points: &[Point<'_>]) -> String {
    let name = &axis.name;
    let shown = |at: f64| format!("{} {}", rounded(at), axis.unit).trim_end().to_owned();
    if points.iter().all(|point| point.holds) {
        return format!("true for all {name} measured");
    }
    let runs: Vec<&[Point<'_>]> = points.chunk_by(|a, b| a.holds == b.holds).collect();
    let mut told = Vec::new();
    for (place, run) in runs.iter().enumerate().filter(|(_, run)| run[0].holds) {
        let from = place.checked_sub(1).and_then(|before| crossing(predicate, runs[before].last()?, &run[0]));
        let to = runs.get(place + 1).and_then(|after| crossing(predicate, run.last()?, &after[0]));
        told.push(match (from, to) {
            (None, Some(to)) => format!("{name} < {}", shown(to)),
            (Some(from), None) => format!("{name} > {}", shown(from)),
            (Some(from), Some(to)) => format!("{} < {name} < {}", shown(from), shown(to)),
            (None, None) => format!("all {name}"),
        });
    }
    if told.is_empty() {
        return format!("true for no {name} measured");
    }
    format!("true for {}", told.join(" and "))
}

/// Where between two places, of which one makes the claim true, the number passes the end of the predicate that the other
/// one breaks: on a straight line through both, in logarithms where all is above 0, since sizes and ratios grow by factors.
fn crossing(predicate: Predicate, a: &Point<'_>, b: &Point<'_>) -> Option<f64> {
    let outside = if a.holds { b } else { a };
    let end = [predicate.low.filter(|low| outside.value <= low.0), predicate.high]
        .into_iter()
        .flatten()
        .next()
        .or(predicate.low)?
        .0;
    let positive = [a.at, b.at, a.value, b.value, end].iter().all(|number| *number > 0.0);
    let scale = |number: f64| if positive { number.ln() } else { number };
    let (from, to) = (scale(a.value), scale(b.value));
    let share = if (to - from).abs() > f64::EPSILON { (scale(end) - from) / (to - from) } else { 0.5 };
    let at = scale(a.at) + share.clamp(0.0, 1.0) * (scale(b.at) - scale(a.at));
    Some(if positive { at.exp() } else { at })
}

/// Three significant digits, whole from 100 on.
fn rounded(at: f64) -> String {
    if at.fract() == 0.0 { format!("{at}") } else { three(at) }
}

#[cfg(test)]
mod tests {
    use super::super::case::Sample;
    use super::super::verdict::{Tested, Verdict, decide};
    use super::*;

    fn axis() -> Axis {
        Axis { key: "size".into(), field: None, name: "records".into(), unit: "B".into(), plus: 0.0 }
    }

    fn at(group: &str, at: f64, value: f64) -> Case {
        let label = format!("size={at}");
        Case { test: "t".into(), label, group: group.into(), at: Some(at), sample: Sample::Exact(value) }
    }

    fn reason(predicate: Predicate, cases: &[Case]) -> String {
        let axis = axis();
        let outcome = decide(&[Tested { name: "t", predicate, axis: Some(&axis), cases }]);
        assert_eq!(outcome.verdict, Verdict::Depends);
        outcome.reason
    }

    #[test]
    fn the_boundary_lies_where_the_number_passes_the_end() {
        // 4 / size: passes 1 at 4 on any scale in which it is a straight line.
        let below = Predicate { low: Some((1.0, false)), high: None };
        let cases = [at("", 16.0, 0.25), at("", 1.0, 4.0), at("", 8.0, 0.5), at("", 2.0, 2.0)];
        assert_eq!(reason(below, &cases), "true for records < 4.00 B; measured at 1, 2, 8, 16 B");
        let above = Predicate { low: None, high: Some((1.0, false)) };
        assert_eq!(reason(above, &cases), "true for records > 4.00 B; measured at 1, 2, 8, 16 B");
    }

    #[test]
    fn a_stretch_in_the_middle_has_two_ends_and_each_group_its_own() {
        let middle = Predicate { low: Some((0.75, true)), high: Some((0.85, true)) };
        let cases = [
            at("", 1.0, 0.5),
            at("", 2.0, 0.8),
            at("", 3.0, 0.9),
            at("wide", 1.0, 0.8),
            at("none", 2.0, 0.1),
        ];
        let told = reason(middle, &cases);
        assert!(told.contains("true for 1.82 B < records < 2.46 B"), "{told}");
        assert!(told.contains("true for all records measured (wide)"), "{told}");
        assert!(told.contains("true for no records measured (none)"), "{told}");
    }

    #[test]
    fn without_places_the_cases_are_named() {
        let above = Predicate { low: Some((1.0, false)), high: None };
        let mut cases = [at("", 1.0, 2.0), at("", 2.0, 0.5)];
        cases[1].at = None;
        assert_eq!(reason(above, &cases), "true in size=1; not in size=2");
    }
}
