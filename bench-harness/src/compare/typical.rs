//! Several repetitions shown as one: the run nearest to the median, its numbers replaced by the medians of all, and the
//! service times of all together. What is shown of one repetition stays as it was.

use serde_json::{Map, Value};

use super::group::{Group, groups};
use crate::metrics::latency::{LatencySummary, encode, merged};
use crate::metrics::{Derived, OpRecord};
use crate::run::CellRecord;
use crate::stats::ratio::median;

/// One record for each workload and engine, in the order of their first blocks.
pub fn typical(cells: &[CellRecord]) -> Vec<CellRecord> {
    let groups = groups(cells);
    let mut out: Vec<CellRecord> = Vec::new();
    for cell in cells {
        let is_mine = |other: &CellRecord| (&other.workload, &other.engine) == (&cell.workload, &cell.engine);
        if out.iter().any(is_mine) {
            continue;
        }
        let mine: Vec<&Group<'_>> = groups
            .iter()
            .filter(|group| group.workload == cell.workload && group.engine == cell.engine.label)
            .collect();
        let shown = mine.first().and_then(|group| group.typical()).map_or(cell, |run| run.cell);
        let mut shown = shown.clone();
        for group in mine.iter().filter(|group| group.runs.len() > 1) {
            merge(&mut shown, group);
        }
        out.push(shown);
    }
    out
}

/// Puts the medians and all service times of `group` into `shown`.
fn merge(shown: &mut CellRecord, group: &Group<'_>) {
    let Some(measure) = shown.measures.iter_mut().find(|measure| measure.name == group.measure) else {
        return;
    };
    if let Some(derived) = medians(group) {
        measure.model.compare(&derived);
        measure.derived = derived;
    }
    let Some(phase) = shown.phases.get_mut(measure.phase) else { return };
    for op in &mut phase.ops {
        let all = group.runs.iter().flat_map(|run| &run.phase.ops).filter(|other| other.op == op.op);
        if let Some(merged) = together(&all.collect::<Vec<_>>()) {
            *op = OpRecord { op: op.op.clone(), ..merged };
        }
    }
}

/// Each number's median over the repetitions that have it.
fn medians(group: &Group<'_>) -> Option<Derived> {
    let all: Vec<Value> =
        group.runs.iter().filter_map(|run| serde_json::to_value(&run.measure.derived).ok()).collect();
    serde_json::from_value(middle(&all.iter().collect::<Vec<_>>())).ok()
}

/// The median of numbers; of maps and of lists of (name, number) each entry's by itself; of anything else the first.
fn middle(values: &[&Value]) -> Value {
    let first = values.iter().find(|value| !value.is_null()).copied().unwrap_or(&Value::Null);
    match first {
        Value::Number(number) => {
            let numbers: Vec<f64> = values.iter().filter_map(|value| value.as_f64()).collect();
            let found = median(&numbers).unwrap_or(0.0);
            if number.is_f64() { Value::from(found) } else { Value::from(found.round() as u64) }
        }
        Value::Object(_) => {
            let names = values.iter().filter_map(|value| value.as_object()).flat_map(Map::keys);
            let names: std::collections::BTreeSet<&String> = names.collect();
            let entry = |name: &String| {
                let of: Vec<&Value> = values.iter().filter_map(|value| value.get(name)).collect();
                (name.clone(), middle(&of))
            };
            Value::Object(names.into_iter().map(entry).collect())
        }
        Value::Array(_) => named(values),
        other => other.clone(),
    }
}

/// Lists of (name, number), largest first: a name that a list lacks counts as nothing there.
fn named(lists: &[&Value]) -> Value {
    let pairs = |list: &Value| -> Vec<(String, f64)> {
        let items = list.as_array().into_iter().flatten();
        items.filter_map(|item| Some((item.get(0)?.as_str()?.to_owned(), item.get(1)?.as_f64()?))).collect()
    };
    let lists: Vec<Vec<(String, f64)>> = lists.iter().map(|list| pairs(list)).collect();
    let names: std::collections::BTreeSet<&String> = lists.iter().flatten().map(|(name, _)| name).collect();
    let of = |name: &String| {
        let values: Vec<f64> = lists
            .iter()
            .map(|list| list.iter().find(|(other, _)| other == name).map_or(0.0, |(_, value)| *value))
            .collect();
        (name.clone(), median(&values).unwrap_or(0.0))
    };
    let mut out: Vec<(String, f64)> = names.into_iter().map(of).collect();
    out.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    serde_json::to_value(out).unwrap_or_default()
}

/// The times of several records in one; `None` if one of them kept none.
fn together(records: &[&OpRecord]) -> Option<OpRecord> {
    let (latency, histogram) = sum(records.iter().map(|record| record.histogram.as_deref()))?;
    let responses = sum(records.iter().map(|record| record.response_histogram.as_deref()));
    let (response, response_histogram) = responses.unzip();
    let count = records.iter().map(|record| record.count).sum();
    Some(OpRecord {
        op: String::new(),
        count,
        latency: Some(latency),
        histogram: Some(histogram),
        response,
        response_histogram,
    })
}

/// Several histograms in one, summed up and encoded; `None` if one is missing.
fn sum<'a>(histograms: impl Iterator<Item = Option<&'a str>>) -> Option<(LatencySummary, String)> {
    let all = merged(histograms)?;
    Some((LatencySummary::of(&all), encode(&all)?))
}

#[cfg(test)]
mod tests {
    use super::super::group::tests::cell;
    use super::*;

    #[test]
    fn repetitions_are_shown_by_their_medians_and_one_run_as_it_is() {
        let mut cells = vec![cell("a", 0, 1.0), cell("a", 1, 9.0), cell("a", 2, 2.0), cell("b", 0, 7.0)];
        let causes =
            [vec![("wal", 1.0)], vec![("wal", 3.0), ("flush", 5.0)], vec![("wal", 2.0), ("flush", 9.0)]];
        for (cell, causes) in cells.iter_mut().zip(&causes) {
            let derived = &mut cell.measures[0].derived;
            derived.wa_by_cause = causes.iter().map(|(name, share)| ((*name).to_owned(), *share)).collect();
            derived.debt_bytes = 10 * u64::from(cell.block);
            derived.blocks_per_get = [("leaf".to_owned(), f64::from(cell.block))].into();
        }
        let shown = typical(&cells);
        let labels: Vec<_> = shown.iter().map(|cell| (cell.engine.label.as_str(), cell.block)).collect();
        assert_eq!(labels, [("a", 2), ("b", 0)]);
        let derived = &shown[0].measures[0].derived;
        assert_eq!((derived.ops_per_second, derived.debt_bytes), (Some(2.0), 10));
        assert_eq!(derived.wa_by_cause, [("flush".to_owned(), 5.0), ("wal".to_owned(), 2.0)]);
        assert_eq!(derived.blocks_per_get.get("leaf"), Some(&1.0));
        assert_eq!(derived.wa_open, None);
        assert_eq!(shown[1].measures[0].derived.ops_per_second, Some(7.0));
    }

    #[test]
    fn service_times_of_all_repetitions_count() {
        let record = |ns: u64| {
            let mut histogram = hdrhistogram::Histogram::new_with_bounds(1, 1_000_000, 3).unwrap();
            (0..1000).for_each(|_| histogram.record(ns).unwrap());
            let latency = Some(LatencySummary::of(&histogram));
            OpRecord {
                op: "get".to_owned(),
                count: 1000,
                latency,
                histogram: encode(&histogram),
                ..OpRecord::default()
            }
        };
        let merged = together(&[&record(100), &record(200)]).unwrap();
        assert_eq!((merged.count, merged.latency.as_ref().map(|latency| latency.max_ns)), (2000, Some(200)));
        let without = OpRecord { histogram: None, ..record(1) };
        assert!(together(&[&record(100), &without]).is_none());
    }
}
