//! `kvlab compare`: two sets of results against each other. `kvlab report`: the page of results that are there.

use std::path::Path;

use comfy_table::Table;

use crate::compare::sets::{Row, rows};
use crate::error::{Exit, Failure, Result};
use crate::output::Output;
use crate::report::ResultFile;
use crate::report::table::{table, wrap};
use crate::stats::Verdict;
use crate::units::or_dash;

const LEGEND: &str = "ratio: second over first, with its 95 % interval by Welch's t; the two sets did not run side by \
                      side, so noise of the machine does not cancel";

/// The results in `dir`.
///
/// # Errors
/// There are none, or they cannot be used.
fn results(dir: &Path) -> Result<ResultFile> {
    ResultFile::read(dir)?.ok_or_else(|| {
        Failure::usage(format!(
            "{} has no result.json; give a directory that `kvlab run --out` wrote",
            dir.display()
        ))
    })
}

/// Prints each number that both sets have, and their ratio with its interval.
///
/// # Errors
/// A directory without results, or sets that have nothing in common.
pub fn compare(before: &Path, after: &Path, out: &mut Output) -> Result<Option<Exit>> {
    let (old, new) = (results(before)?, results(after)?);
    let found = rows(&old.cells, &new.cells);
    if found.is_empty() {
        return Err(Failure::usage(format!(
            "{} and {} have no workload and engine in common",
            before.display(),
            after.display()
        )));
    }
    if !old.host.is_same_machine(&new.host) {
        out.text("the two were taken on different machines: compare bytes, not times")?;
    }
    let mut heads: Vec<(&str, &str)> = Vec::new();
    for row in &found {
        if !heads.contains(&(&row.workload, &row.measure)) {
            heads.push((&row.workload, &row.measure));
        }
    }
    for (workload, measure) in heads {
        out.text(if workload == measure { workload.to_owned() } else { format!("{workload}: {measure}") })?;
        let of: Vec<&Row> = found.iter().filter(|r| r.workload == workload && r.measure == measure).collect();
        for line in numbers(&of).lines() {
            out.text(line)?;
        }
        let mut rules: Vec<String> = of
            .iter()
            .filter_map(|row| Some(format!("no ratio for {}: not {}", row.engine, row.broken_rule.as_ref()?)))
            .collect();
        rules.dedup();
        rules.iter().flat_map(|rule| wrap(rule, 2)).try_for_each(|line| out.text(line))?;
    }
    for line in wrap(LEGEND, 2) {
        out.text(line)?;
    }
    found.iter().try_for_each(|row| out.json(row))?;
    Ok(None)
}

fn numbers(rows: &[&Row]) -> Table {
    let mut table = table(&["engine", "number", "first", "second", "ratio", "interval", "says"]);
    for row in rows {
        let interval = row.ratio.map_or("-".to_owned(), |ratio| {
            format!("{} to {}", or_dash(Some(ratio.low)), or_dash(Some(ratio.high)))
        });
        table.add_row([
            row.engine.clone(),
            if row.unit.is_empty() {
                row.metric.to_owned()
            } else {
                format!("{} [{}]", row.metric, row.unit)
            },
            or_dash(row.before),
            or_dash(row.after),
            or_dash(row.ratio.map(|ratio| ratio.estimate)),
            interval,
            says(row).to_owned(),
        ]);
    }
    table
}

fn says(row: &Row) -> &'static str {
    match (row.ratio.map(|ratio| ratio.verdict()), row.more_is_better) {
        (Some(Verdict::Same), _) => "the same",
        (Some(Verdict::Unclear), _) => "unclear",
        (Some(Verdict::Above), true) | (Some(Verdict::Below), false) => "better",
        (Some(Verdict::Above), false) | (Some(Verdict::Below), true) => "worse",
        (None, _) => "-",
    }
}

/// Writes the page of the results in `dir` anew.
///
/// # Errors
/// A directory without results, or one that cannot be written.
pub fn report(dir: &Path, out: &mut Output) -> Result<Option<Exit>> {
    let found = results(dir)?;
    found.write(dir)?;
    for line in crate::report::table::lines(&found) {
        out.text(line)?;
    }
    out.text(format!("written: {}", dir.join(crate::report::html::FILE_NAME).display()))?;
    out.json(&found)?;
    Ok(None)
}
