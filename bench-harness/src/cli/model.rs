//! `kvlab model`: judges the cost model. Its constants come from one configuration (`model/fit.toml`); three others are run,
//! and every prediction is set beside what was measured, misses too.

use std::path::PathBuf;

use kv_api::IoMode;

use super::args::ModelArgs;
use super::run;
use crate::error::{Exit, Failure, Result};
use crate::model::Beside;
use crate::model::beside::{PROBES, SA, WA, per_cent};
use crate::output::Output;
use crate::registry::Registry;
use crate::report::ResultFile;
use crate::report::table::{table, wrap};
use crate::run::{CellRecord, Workload};
use crate::units::three;

/// The configuration that the constants come from.
const FIT: &str = include_str!("../../model/fit.toml");
/// Those that they are judged on: value size, page size and size ratio, memory.
const JUDGED: [&str; 3] = [
    include_str!("../../model/value.toml"),
    include_str!("../../model/shape.toml"),
    include_str!("../../model/memory.toml"),
];
/// The name of the first in results.
const FIT_NAME: &str = "model-fit";

/// The largest error that passes.
const ALLOWED: [(&str, f64); 3] = [(WA, 0.15), (PROBES, 0.05), (SA, 0.10)];

/// One number of one engine under one configuration.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
struct Judged {
    workload: String,
    engine: String,
    number: String,
    predicted: f64,
    measured: f64,
    error: Option<f64>,
    /// The largest error that passes; `None`: shown, not judged.
    allowed: Option<f64>,
    /// Whether it passes; `None` where it is not judged.
    passes: Option<bool>,
}

/// Runs the configurations, or takes what was run of them, and prints every error.
///
/// # Errors
/// A wrong option, a directory that cannot be used, or a result without these configurations.
pub fn model(
    registry: &Registry,
    program: Option<PathBuf>,
    args: &ModelArgs,
    out: &mut Output,
) -> Result<Option<Exit>> {
    let (dir, ended) = match &args.from {
        Some(dir) => (dir, None),
        None => {
            let fit = args.with_fit.then_some(FIT);
            let overrides = args.options.overrides();
            let texts = fit.into_iter().chain(JUDGED);
            let workloads =
                texts.map(|text| Workload::parse("model", text, &overrides)).collect::<Result<Vec<_>>>()?;
            let ended = run::given(registry, program, &args.options, workloads, IoMode::Buffered, out)?;
            if ended == Some(Exit::Interrupted) || args.options.dry_run {
                return Ok(ended);
            }
            // What ran is judged even where another run failed.
            (&args.options.out, ended)
        }
    };
    let result = ResultFile::read(dir)?.ok_or_else(|| {
        Failure::usage(format!("{} has no result.json; give what `kvlab model --out` wrote", dir.display()))
    })?;
    let judged = judge(&result.cells);
    if judged.is_empty() {
        return Err(Failure::usage(format!(
            "{} has no run that the model speaks of; `kvlab model` makes them",
            dir.display()
        )));
    }
    show(&judged, out)?;
    let misses = judged.iter().any(|row| row.passes == Some(false));
    Ok(ended.or(misses.then_some(Exit::Check)))
}

/// Every prediction for `cells` by the formulas as they are now. The configuration of the fit is never judged.
fn judge(cells: &[CellRecord]) -> Vec<Judged> {
    let mut out = Vec::new();
    for cell in cells.iter().filter(|cell| cell.is_complete()) {
        let Some(spec) = cell.workload_spec() else { continue };
        for measure in &cell.measures {
            let Some(phase) = cell.phases.get(measure.phase) else { continue };
            let beside = Beside::of(&spec, measure.phase, cell.info.as_ref(), phase, &measure.derived);
            out.extend(beside.rows.into_iter().map(|row| {
                let known = ALLOWED.iter().find(|(number, _)| *number == row.number);
                let allowed = known.map(|(_, allowed)| *allowed).filter(|_| cell.workload != FIT_NAME);
                Judged {
                    workload: cell.workload.clone(),
                    engine: cell.engine.label.clone(),
                    passes: allowed.zip(row.error).map(|(allowed, error)| error.abs() <= allowed),
                    number: row.number,
                    predicted: row.predicted,
                    measured: row.measured,
                    error: row.error,
                    allowed,
                }
            }));
        }
    }
    out
}

fn show(judged: &[Judged], out: &mut Output) -> Result<()> {
    let mut rows =
        table(&["configuration", "engine", "number", "predicted", "measured", "error", "allowed", "says"]);
    for row in judged {
        rows.add_row([
            row.workload.clone(),
            row.engine.clone(),
            row.number.clone(),
            three(row.predicted),
            three(row.measured),
            per_cent(row.error),
            row.allowed.map_or("-".to_owned(), |allowed| format!("{:.0} %", allowed * 100.0)),
            match row.passes {
                Some(true) => "within",
                Some(false) => "MISS",
                None if row.workload == FIT_NAME => "fitted",
                None => "shown",
            }
            .to_owned(),
        ]);
    }
    for line in rows.lines() {
        out.text(line)?;
    }
    let of = |passes: bool| judged.iter().filter(|row| row.passes == Some(passes)).count();
    let summary = format!(
        "the model against {} judged numbers: {} within, {} missed; its constants come from model-fit alone",
        of(true) + of(false),
        of(true),
        of(false)
    );
    wrap(&summary, 2).iter().try_for_each(|line| out.text(line))?;
    judged.iter().try_for_each(|row| out.json(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Overrides;

    #[test]
    fn the_judged_differ_from_the_fit_in_one_thing_each_and_never_in_their_phases() {
        let parse = |text: &str| Workload::parse("model", text, &Overrides::default()).unwrap().spec;
        let fit = parse(FIT);
        assert_eq!(fit.name, FIT_NAME);
        for judged in JUDGED.map(parse) {
            let differs = [
                judged.data.value != fit.data.value,
                judged.run.engine != fit.run.engine,
                judged.run.memory_budget != fit.run.memory_budget,
            ];
            assert_eq!(differs.iter().filter(|differs| **differs).count(), 1, "{}", judged.name);
            let kinds = |spec: &workloads::Spec| -> Vec<_> {
                spec.phases.iter().map(|phase| (phase.kind, phase.ops, phase.dist)).collect()
            };
            assert_eq!(kinds(&judged), kinds(&fit));
        }
    }

    #[test]
    fn a_run_that_the_model_does_not_speak_of_is_not_judged() {
        let workload = Workload::parse("model", JUDGED[0], &Overrides::default()).unwrap();
        let engine = crate::EngineSpec::plain("redb");
        let mut cell = CellRecord::lost("x".to_owned(), 0, &workload, &engine, String::new());
        cell.failure = None;
        assert!(judge(&[cell]).is_empty());
    }
}
