//! From runs to the cases of a test: which numbers belong together, and which may be divided by which.

use std::collections::{BTreeMap, BTreeSet};

use super::boundary;
use super::case::{Case, Sample};
use super::format::{Axis, Runs, Test, coordinates};
use super::metric::{Metric, View};
use super::verdict::{Finding, Judged, Predicate};
use crate::compare::equal;
use crate::metrics::{Derived, drain_behind};
use crate::run::CellRecord;
use crate::stats::ratio::median;
use crate::units::three;

/// What tells the number of a run from those of all others but its repetitions: engine, phase, and each axis.
type Place = BTreeMap<String, String>;

/// One repetition.
#[derive(Clone, Copy)]
struct Found<'a> {
    cell: &'a CellRecord,
    /// The phase; `None` if the run did not get so far.
    phase: Option<usize>,
}

/// The label that a run's workload has among the cells of its matrix; empty without one.
pub fn label(cell: &CellRecord) -> &str {
    cell.spec.pointer("/label").and_then(serde_json::Value::as_str).unwrap_or_default()
}

/// The cases of `test`, whose experiment is `runs`, from all runs of its claim.
pub fn cases(test: &Test, runs: &Runs, cells: &[CellRecord]) -> Vec<Case> {
    let found = places(runs, cells);
    let wanted = |place: &&Place| {
        runs.of.iter().all(|(key, values)| place.get(key).is_some_and(|value| values.contains(value)))
    };
    // What is divided by is no case of its own.
    let is_base = |place: &Place| !runs.over.is_empty() && twin(place, runs) == *place;
    let shown = found.keys().filter(wanted).filter(|place| !is_base(place));
    let made = shown.map(|place| Case {
        test: test.name.clone(),
        label: words(place, runs, None),
        group: test.axis.as_ref().map_or(String::new(), |axis| words(place, runs, Some(axis))),
        at: test.axis.as_ref().and_then(|axis| at(place, axis)),
        sample: sample(runs, place, &found),
    });
    made.collect()
}

/// What else the runs of `test` show, a line each: the other numbers that it names, and where along its axis two engines
/// are equal.
pub fn facts(test: &Test, runs: &Runs, cells: &[CellRecord]) -> Vec<String> {
    let found = places(runs, cells);
    let alone = Runs { over: BTreeMap::new(), ..runs.clone() };
    let mut out = Vec::new();
    for metric in &runs.show {
        for (place, repetitions) in &found {
            let values: Vec<f64> =
                repetitions.iter().filter_map(|found| found.number(runs, metric).ok()).collect();
            if let Some(middle) = median(&values) {
                let unit = if metric.unit.is_empty() { String::new() } else { format!(" {}", metric.unit) };
                let middle = if middle.abs() < 0.1 { format!("{middle:.4}") } else { three(middle) };
                out.push(format!("{}: {} {middle}{unit}", words(place, &alone, None), metric.about));
            }
        }
    }
    if let (Some(axis), true) = (&test.axis, runs.over.contains_key("engine")) {
        out.extend(equal_at(test, runs, axis, cells));
    }
    out
}

/// Where along the axis the ratio of two engines passes 1, by the estimates alone: outside of what the test looks at too.
fn equal_at(test: &Test, runs: &Runs, axis: &Axis, cells: &[CellRecord]) -> Option<String> {
    let mut wide = runs.clone();
    wide.of.retain(|key, _| key == "engine");
    let cases = cases(test, &wide, cells);
    let more = Predicate { low: Some((1.0, false)), high: None };
    let judged: Vec<(Case, Judged)> = cases
        .into_iter()
        .filter_map(|case| {
            let estimate = case.sample.estimate().ok()?;
            let finding = if estimate.value > 1.0 { Finding::Holds } else { Finding::Fails };
            let (test, label) = (case.test.clone(), case.label.clone());
            Some((case, Judged { test, label, estimate: Some(estimate), repetitions: None, finding }))
        })
        .collect();
    let pairs: Vec<(&Case, &Judged)> = judged.iter().map(|(case, judged)| (case, judged)).collect();
    let places: BTreeSet<&String> = judged.iter().map(|(case, _)| &case.label).collect();
    (places.len() > 1).then(|| {
        format!(
            "{} more than 1, by the estimates alone: {}",
            runs.metric.about,
            boundary::sentence(more, Some(axis), &pairs)
        )
    })
}

/// Every phase that the test looks at, of every run of its workload, by place.
fn places<'a>(runs: &Runs, cells: &'a [CellRecord]) -> BTreeMap<Place, Vec<Found<'a>>> {
    let mut found: BTreeMap<Place, Vec<Found<'a>>> = BTreeMap::new();
    let name = &runs.cells[0].name;
    let is_mine = |cell: &&CellRecord| {
        cell.spec.pointer("/name").and_then(serde_json::Value::as_str) == Some(name.as_str())
    };
    for cell in cells.iter().filter(is_mine) {
        for phase in &runs.phases {
            let axes = coordinates(label(cell)).map(|(key, value)| (key.to_owned(), value.to_owned()));
            let mut place: Place = axes.collect();
            place.insert("engine".to_owned(), cell.engine.label.clone());
            place.insert("phase".to_owned(), phase.clone());
            let phase = cell.phases.iter().position(|record| record.name == *phase);
            found.entry(place).or_default().push(Found { cell, phase });
        }
    }
    found
}

/// The place of what the number at `place` is divided by.
fn twin(place: &Place, runs: &Runs) -> Place {
    let mut twin = place.clone();
    twin.extend(runs.over.iter().map(|(key, value)| (key.clone(), value.clone())));
    twin
}

/// The number at `place` in all its repetitions.
fn sample(runs: &Runs, place: &Place, found: &BTreeMap<Place, Vec<Found<'_>>>) -> Sample {
    let number = |of: &Found<'_>| of.number(runs, runs.metric);
    let mine = found.get(place).map_or(&[][..], Vec::as_slice);
    if runs.over.is_empty() {
        let values: Result<Vec<f64>, String> = mine.iter().map(number).collect();
        return values.map_or_else(Sample::Broken, Sample::Repeated);
    }
    let Some(theirs) = found.get(&twin(place, runs)) else {
        return Sample::Broken("there is no run to divide by".to_owned());
    };
    let pairs: Result<Vec<(f64, f64)>, String> = mine
        .iter()
        .filter_map(|mine| Some((mine, theirs.iter().find(|other| other.cell.block == mine.cell.block)?)))
        .map(|(mine, theirs)| {
            equal_but_for(runs, mine.cell, theirs.cell).map_or(Ok(()), Err)?;
            Ok((number(mine)?, number(theirs)?))
        })
        .collect();
    pairs.map_or_else(Sample::Broken, Sample::Paired)
}

impl Found<'_> {
    /// The number of this repetition.
    ///
    /// # Errors
    /// Why there is none.
    fn number(&self, runs: &Runs, metric: &Metric) -> Result<f64, String> {
        let cell = self.cell;
        if let Some(rule) = equal::own(cell) {
            return Err(format!("not {rule}"));
        }
        let index = self.phase.ok_or_else(|| "the run did not reach the phase".to_owned())?;
        let phase = cell.phases.get(index).ok_or_else(|| "the run did not reach the phase".to_owned())?;
        if let Some((capped, why)) =
            cell.phases[..=index].iter().find_map(|phase| Some((phase, phase.capped.as_ref()?)))
        {
            return Err(format!("`{}` of {} was cut short: {why}", capped.name, cell.engine.label));
        }
        // What was derived when the run ended had samples over time, which the record no longer has.
        let known = cell.measures.iter().find(|measure| measure.phase == index);
        let derived = known.map_or_else(
            || {
                let before = index.checked_sub(1).map(|before| &cell.phases[before]);
                Derived::of(before, phase, drain_behind(&cell.phases, index))
            },
            |measure| measure.derived.clone(),
        );
        let view = View { cell, phase, derived };
        let seed = || {
            format!("in `{}` of {} there is no number of {}", phase.name, runs.cells[0].name, metric.about)
        };
        (metric.of)(&view).ok_or_else(seed)
    }
}

/// The rule that two runs break which are to differ in nothing but what the test sets against each other.
fn equal_but_for(runs: &Runs, mine: &CellRecord, theirs: &CellRecord) -> Option<String> {
    let varied: Vec<&str> = runs.over.keys().map(String::as_str).collect();
    let rule = match varied.as_slice() {
        ["engine"] => equal::broken_rule(mine, theirs, runs.metric.number),
        ["phase"] => equal::own(mine),
        // Other keys are axes of the workload, and streams that differ in one have other operations.
        axes => equal::broken_rule_but_for(mine, theirs, &pointers(runs, axes), runs.metric.number),
    };
    rule.map(|rule| format!("not {rule}"))
}

/// The tables of the workload in which axes lie: what is varied there may differ.
fn pointers(runs: &Runs, axes: &[&str]) -> Vec<&'static str> {
    let phases = || runs.cells[0].phases.iter().map(|phase| phase.name.as_str());
    let table = |axis: &&str| {
        let head = axis.split('.').next().unwrap_or_default();
        match head {
            "value" => "/data/value",
            "key" => "/data/key",
            "records" => "/data/records",
            "memory_budget" => "/run/memory_budget",
            "durability" => "/run/durability",
            "threads" => "/run/threads",
            "seed" => "/run/seed",
            _ if phases().any(|name| name == head) => "/phase",
            _ => "",
        }
    };
    axes.iter().map(table).collect()
}

/// A place in words: "lsm over btree, value.size=100". With `axis`, without the place on it.
fn words(place: &Place, runs: &Runs, axis: Option<&Axis>) -> String {
    let engine = place.get("engine").map(String::as_str).unwrap_or_default();
    let engine = match runs.over.get("engine") {
        Some(over) => format!("{engine} over {over}"),
        None => engine.to_owned(),
    };
    let mut out = vec![engine];
    for (key, value) in place {
        let is_shown = match key.as_str() {
            "engine" => false,
            "phase" => runs.phases.len() > 1,
            key => axis.is_none_or(|axis| axis.key != key),
        };
        if is_shown {
            let over = runs.over.get(key).map_or(String::new(), |over| format!(" over {over}"));
            out.push(if key == "phase" { format!("{value}{over}") } else { format!("{key}={value}{over}") });
        }
    }
    out.join(", ")
}

/// The number that a place has on an axis.
fn at(place: &Place, axis: &Axis) -> Option<f64> {
    let text = place.get(&axis.key)?;
    let text = match &axis.field {
        Some(field) => {
            text.split(',').find_map(|part| part.strip_prefix(field.as_str())?.strip_prefix(':'))?
        }
        None => text,
    };
    let number = text.parse().ok().or_else(|| Some(workloads::units::parse_size(text).ok()? as f64))?;
    Some(axis.plus + number)
}

#[cfg(test)]
mod tests {
    use super::super::format::{Experiment, parse};
    use super::*;
    use crate::metrics::PhaseRecord;
    use crate::model::Beside;
    use crate::registry::EngineSpec;
    use crate::run::cell::Measure;
    use crate::run::{Overrides, Workload};
    use workloads::toml_file;

    const CLAIM: &str = "schema = 1\nid = \"C99\"\nclaim = \"c\"\nprior = \"p\"\nsmoke = { repeats = 3 }\n\
        lab = { repeats = 3 }\n[[test]]\nname = \"t\"\nengines = \"a,b\"\nmetric = \"ops_per_second\"\nabove = 1.05\n\
        axis = { key = \"value.size\", plus = 16 }\n\
        workload = { schema = 1, name = \"w\", data = { records = 10, value = { size = [100, 1000] } }, \
        phase = [{ kind = \"load\" }, { kind = \"measure\", ops = { update = 1.0 }, until = { ops = 5 } }] }\n";

    fn made(more: &str) -> Test {
        parse("t", &format!("{CLAIM}{more}")).unwrap().tests.remove(0)
    }

    /// Runs of both engines in every cell and three blocks, with a rate that says which is which.
    fn runs(test: &Test) -> Vec<CellRecord> {
        let Experiment::Runs(runs) = &test.experiment else { panic!("it has runs") };
        let mut out = Vec::new();
        for (number, spec) in runs.cells.iter().enumerate() {
            let text = toml_file::to_text(&spec.resolved()).unwrap();
            let workload = Workload::parse("t", &text, &Overrides::default()).unwrap();
            for block in 0..3 {
                for (engine, rate) in [("a", 10), ("b", 20 * (number as u64 + 1))] {
                    let mut cell = CellRecord::lost(
                        String::new(),
                        block,
                        &workload,
                        &EngineSpec::plain(engine),
                        String::new(),
                    );
                    cell.failure = None;
                    let phase = |kind: &str, rate: u64| {
                        let mut phase =
                            PhaseRecord { name: kind.into(), kind: kind.into(), ..PhaseRecord::default() };
                        (phase.moved.completed, phase.moved.wall_ns) = (rate, 1_000_000_000);
                        phase
                    };
                    cell.phases = vec![phase("load", 1), phase("measure", rate)];
                    out.push(cell);
                }
            }
        }
        out
    }

    fn found(test: &Test, cells: &[CellRecord]) -> Vec<Case> {
        let Experiment::Runs(runs) = &test.experiment else { panic!("it has runs") };
        cases(test, runs, cells)
    }

    #[test]
    fn numbers_are_divided_within_blocks_and_have_their_place_on_the_axis() {
        let test = made("over = { engine = \"a\" }\n");
        let cells = runs(&test);
        let cases = found(&test, &cells);
        let shown: Vec<_> =
            cases.iter().map(|case| (case.label.as_str(), case.group.as_str(), case.at.unwrap())).collect();
        assert_eq!(
            shown,
            [
                ("b over a, value.size=100", "b over a", 116.0),
                ("b over a, value.size=1000", "b over a", 1016.0)
            ]
        );
        assert_eq!(cases[0].sample, Sample::Paired(vec![(20.0, 10.0); 3]));
        assert_eq!(cases[1].sample, Sample::Paired(vec![(40.0, 10.0); 3]));
    }

    #[test]
    fn a_number_that_hung_on_samples_is_the_one_of_the_run() {
        let test = made("");
        let mut cells = runs(&test);
        for cell in &mut cells {
            let derived = Derived { ops_per_second: Some(7.0), ..Derived::default() };
            let (name, dist, model) = (String::new(), String::new(), Beside::default());
            cell.measures = vec![Measure { name, phase: 1, dist, derived, model }];
        }
        assert_eq!(found(&test, &cells)[0].sample, Sample::Repeated(vec![7.0; 3]));
    }

    #[test]
    fn an_axis_may_be_what_is_set_against_itself_and_of_picks_the_runs() {
        let test = made("over = { \"value.size\" = \"100\" }\nof = { engine = \"b\" }\n");
        let cases = found(&test, &runs(&test));
        assert_eq!(cases.len(), 1);
        assert_eq!(cases[0].label, "b, value.size=1000 over 100");
        assert_eq!(cases[0].sample, Sample::Paired(vec![(40.0, 20.0); 3]));
        let phases = made("phase = \"load,measure\"\nover = { phase = \"load\" }\nof = { engine = \"a\" }\n");
        let cases = found(&phases, &runs(&phases));
        assert_eq!(cases[0].label, "a, measure over load, value.size=100");
        assert_eq!(cases[0].sample, Sample::Paired(vec![(10.0, 1.0); 3]));
    }

    #[test]
    fn a_number_alone_is_repeated_and_a_run_that_broke_a_rule_spoils_its_case() {
        let test = made("of = { engine = \"b\" }\n");
        let mut cells = runs(&test);
        assert_eq!(found(&test, &cells)[0].sample, Sample::Repeated(vec![20.0; 3]));
        cells[1].phases[1].capped = Some("5 s were over".to_owned());
        let spoiled = found(&test, &cells);
        assert!(
            matches!(&spoiled[0].sample, Sample::Broken(why) if why.contains("`measure` of b was cut short")),
            "{spoiled:?}"
        );
        assert!(matches!(&spoiled[1].sample, Sample::Repeated(_)));
    }

    #[test]
    fn runs_that_differ_in_more_than_what_is_compared_have_no_ratio() {
        let test = made("over = { \"value.size\" = \"100\" }\nof = { engine = \"b\" }\n");
        let mut cells = runs(&test);
        cells.iter_mut().filter(|cell| label(cell).ends_with("=1000")).for_each(|cell| {
            cell.spec["run"]["memory_budget"] = 7.into();
        });
        let cases = found(&test, &cells);
        assert!(
            matches!(&cases[0].sample, Sample::Broken(why) if why.contains("same memory budget")),
            "{cases:?}"
        );
    }
}
