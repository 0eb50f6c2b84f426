//! Groups: the repetitions of one engine under one measured phase of one workload.

use crate::metrics::{Derived, PhaseRecord};
use crate::run::CellRecord;
use crate::run::cell::Measure;
use crate::stats::ratio::median;

/// One repetition.
#[derive(Debug, Clone, Copy)]
pub struct Repetition<'r> {
    /// The run.
    pub cell: &'r CellRecord,
    /// Its measured phase in numbers.
    pub measure: &'r Measure,
    /// The phase itself.
    pub phase: &'r PhaseRecord,
}

/// The repetitions of one engine, in the order of their blocks.
#[derive(Debug, Clone)]
pub struct Group<'r> {
    /// The workload.
    pub workload: &'r str,
    /// The measured phase.
    pub measure: &'r str,
    /// The engine's label.
    pub engine: &'r str,
    /// One for each block that got this far.
    pub runs: Vec<Repetition<'r>>,
}

impl<'r> Group<'r> {
    /// The median of a number over the repetitions that have it; `None` if none has.
    pub fn median(&self, of: impl Fn(&Derived) -> Option<f64>) -> Option<f64> {
        let values: Vec<f64> = self.runs.iter().filter_map(|run| of(&run.measure.derived)).collect();
        median(&values)
    }

    /// The repetition whose throughput is nearest to the median: shown where one run must stand for all.
    pub fn typical(&self) -> Option<Repetition<'r>> {
        let rate = |run: &Repetition<'_>| run.measure.derived.ops_per_second;
        let middle = self.median(|derived| derived.ops_per_second);
        let away = |run: &Repetition<'_>| rate(run).zip(middle).map_or(f64::INFINITY, |(a, b)| (a - b).abs());
        self.runs.iter().copied().min_by(|a, b| away(a).total_cmp(&away(b)))
    }
}

/// The groups of a result: in the order of workloads, measured phases, and engines as they first appear in block 0.
pub fn groups(cells: &[CellRecord]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut ordered: Vec<&CellRecord> = cells.iter().collect();
    ordered.sort_by_key(|cell| cell.block);
    for cell in ordered {
        for measure in &cell.measures {
            let Some(phase) = cell.phases.get(measure.phase) else { continue };
            let run = Repetition { cell, measure, phase };
            let (workload, engine) = (cell.workload.as_str(), cell.engine.label.as_str());
            let is_same = |group: &&mut Group<'_>| {
                (group.workload, group.measure, group.engine) == (workload, measure.name.as_str(), engine)
            };
            match groups.iter_mut().find(is_same) {
                Some(group) => group.runs.push(run),
                None => groups.push(Group { workload, measure: &measure.name, engine, runs: vec![run] }),
            }
        }
    }
    groups
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::Beside;
    use crate::registry::EngineSpec;
    use crate::run::{Overrides, Workload};

    /// A finished run of a ready workload with this throughput.
    pub fn cell(engine: &str, block: u32, ops_per_second: f64) -> CellRecord {
        let overrides = Overrides { scale: Some("smoke".to_owned()), ..Overrides::default() };
        let workload = Workload::find("read-heavy", &overrides).unwrap();
        let spec = EngineSpec::plain(engine);
        let mut cell = CellRecord::lost(format!("{engine} {block}"), block, &workload, &spec, String::new());
        cell.failure = None;
        cell.op_digest = "same".to_owned();
        cell.contents = Some("same".to_owned());
        cell.phases = vec![PhaseRecord { kind: "measure".to_owned(), ..PhaseRecord::default() }];
        let derived = Derived { ops_per_second: Some(ops_per_second), ..Derived::default() };
        let name = "read-heavy".to_owned();
        let model = Beside::default();
        cell.measures = vec![Measure { name, phase: 0, dist: "zipf".to_owned(), derived, model }];
        cell
    }

    #[test]
    fn repetitions_of_an_engine_belong_together_whatever_order_they_ran_in() {
        let cells =
            [cell("a", 0, 1.0), cell("b", 0, 10.0), cell("b", 1, 30.0), cell("a", 1, 3.0), cell("a", 2, 5.0)];
        let groups = groups(&cells);
        let shape: Vec<_> = groups.iter().map(|group| (group.engine, group.runs.len())).collect();
        assert_eq!(shape, [("a", 3), ("b", 2)]);
        assert_eq!(groups[0].median(|derived| derived.ops_per_second), Some(3.0));
        assert_eq!(groups[0].typical().map(|run| run.cell.block), Some(1));
        assert_eq!(groups[1].median(|derived| derived.wa_open), None);
    }
}
