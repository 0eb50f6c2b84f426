//! The scorecard of one measured phase: a number a row, an engine a column, each with its spread over the repetitions,
//! its ratio to the baseline, and a badge where it must not be trusted.

use std::fmt::Write;

use super::equal::NOT_EQUAL;
use super::result::{INVALID, NOT_STEADY, ResultFile};
use super::svg::escape;
use crate::compare::{Group, Paired, Ratio, Repetition, groups};
use crate::metrics::{Derived, LatencySummary};
use crate::stats::ratio::{extent, median};
use crate::units::{bytes, count, nanos, three};

/// A number of the scorecard.
struct Score {
    /// What it is called.
    name: &'static str,
    /// How it is counted.
    hint: &'static str,
    more_is_better: bool,
    of: fn(&Repetition<'_>) -> Option<f64>,
    shown: fn(f64) -> String,
}

fn p99(summary: &Option<LatencySummary>) -> Option<f64> {
    Some(summary.as_ref()?.p99_ns? as f64)
}

/// Response times in an open loop, service times in a closed one.
fn felt<'r, T>(run: &Repetition<'r>, response: &'r T, service: &'r T) -> &'r T {
    if run.phase.open.is_some() { response } else { service }
}

fn derived(run: &Repetition<'_>, of: fn(&Derived) -> Option<f64>) -> Option<f64> {
    of(&run.measure.derived)
}

/// What is scored, in the order shown.
const SCORES: [Score; 10] = [
    Score {
        name: "operations / s",
        hint: "more is better",
        more_is_better: true,
        of: |run| derived(run, |d| d.ops_per_second),
        shown: |rate| count(rate as u64),
    },
    Score {
        name: "read p99",
        hint: "99 of 100 reads took at most",
        more_is_better: false,
        of: |run| p99(felt(run, &run.phase.read_responses, &run.phase.reads)),
        shown: |ns| nanos(ns as u64),
    },
    Score {
        name: "write p99",
        hint: "99 of 100 writes, or batches, took at most",
        more_is_better: false,
        of: |run| p99(felt(run, &run.phase.write_responses, &run.phase.writes)),
        shown: |ns| nanos(ns as u64),
    },
    Score {
        name: "written / user byte",
        hint: "settled: with the drain behind the phase",
        more_is_better: false,
        of: |run| derived(run, |d| d.wa_settled),
        shown: three,
    },
    Score {
        name: "read from files",
        hint: "bytes per get or scan",
        more_is_better: false,
        of: |run| derived(run, |d| d.read_bytes_per_read),
        shown: |read| format!("{} B", count(read as u64)),
    },
    Score {
        name: "space / live byte",
        hint: "average of the phase",
        more_is_better: false,
        of: |run| derived(run, |d| d.sa_steady),
        shown: three,
    },
    Score {
        name: "space / live, peak",
        hint: "the most seen, drain included",
        more_is_better: false,
        of: |run| derived(run, |d| d.sa_peak),
        shown: three,
    },
    Score {
        name: "space / live, settled",
        hint: "after the drain",
        more_is_better: false,
        of: |run| derived(run, |d| d.sa_settled),
        shown: three,
    },
    Score {
        name: "CPU / operation",
        hint: "of the process, harness included",
        more_is_better: false,
        of: |run| derived(run, |d| d.cpu_ns_per_op),
        shown: |ns| nanos(ns as u64),
    },
    Score {
        name: "memory, peak",
        hint: "as the engine declares it",
        more_is_better: false,
        of: |run| run.phase.declared_peak_bytes().map(|held| held as f64),
        shown: |held| bytes(held as u64),
    },
];

/// An engine's column.
struct Column<'g, 'r> {
    group: &'g Group<'r>,
    badges: Vec<&'static str>,
    /// The engine over the baseline; `None` in the column of the baseline; else the rule that was broken.
    paired: Option<Result<Paired<'g, 'r>, String>>,
}

/// What stands against the numbers of `group`.
fn badges(result: &ResultFile, group: &Group<'_>) -> Vec<&'static str> {
    let own = group.runs.iter().any(|run| run.cell.is_invalid());
    let unequal = result.unequal(group.workload, group.measure).is_some();
    let unsteady = group.runs.iter().any(|run| run.phase.steady.as_ref().is_some_and(|steady| !steady.ok));
    [(own, INVALID), (unequal, NOT_EQUAL), (unsteady, NOT_STEADY)]
        .into_iter()
        .filter_map(|(is, badge)| is.then_some(badge))
        .collect()
}

/// The scorecard of one measured phase; empty if no engine got that far.
pub fn section(result: &ResultFile, workload: &str, measure: &str) -> String {
    let all = groups(&result.cells);
    let here: Vec<_> =
        all.iter().filter(|group| group.workload == workload && group.measure == measure).collect();
    let pairs = result.pairs(&all, workload, measure);
    let baseline = pairs.first().map(|(_, baseline)| baseline.engine);
    let over = |group: &Group<'_>| {
        let mine = pairs
            .iter()
            .find(|(engine, base)| engine.engine == group.engine && Some(base.engine) == baseline);
        mine.map(|(engine, base)| Paired::of(engine, base))
    };
    let columns: Vec<_> = here
        .iter()
        .map(|group| Column { group, badges: badges(result, group), paired: over(group) })
        .collect();
    if columns.is_empty() {
        return String::new();
    }
    let mut out = head(&columns, baseline);
    for score in &SCORES {
        let values: Vec<Vec<f64>> =
            columns.iter().map(|column| column.group.runs.iter().filter_map(score.of).collect()).collect();
        if values.iter().all(Vec::is_empty) {
            continue;
        }
        let _ = write!(out, "<tr><th scope=\"row\">{}<small>{}</small></th>", score.name, score.hint);
        for (column, values) in columns.iter().zip(&values) {
            let _ = write!(out, "<td>{}</td>", cell(score, column, values));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>\n");
    out.push_str(&notes(&columns, baseline, result.repetitions(workload)));
    out
}

fn head(columns: &[Column<'_, '_>], baseline: Option<&str>) -> String {
    let mut out = String::from(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"scorecard\"><table class=\"score\"><thead><tr><th></th>",
    );
    for (index, column) in columns.iter().enumerate() {
        let base = if Some(column.group.engine) == baseline { "<small>baseline</small>" } else { "" };
        let _ = write!(
            out,
            "<th scope=\"col\"><i class=\"key\" style=\"--c:var(--s{})\"></i>{}{base}</th>",
            index % 8 + 1,
            escape(column.group.engine)
        );
    }
    out.push_str("</tr></thead><tbody>");
    out
}

fn cell(score: &Score, column: &Column<'_, '_>, values: &[f64]) -> String {
    let Some(middle) = median(values) else { return "<span class=\"dim\">-</span>".to_owned() };
    let mut out = format!("<b>{}</b>", (score.shown)(middle));
    column.badges.iter().for_each(|badge| {
        let _ = write!(out, "<small class=\"badge\">{badge}</small>");
    });
    if let Some((least, most)) = extent(values.iter().copied()).filter(|_| values.len() > 1) {
        let _ = write!(out, "<small>{} to {}</small>", (score.shown)(least), (score.shown)(most));
    }
    match &column.paired {
        Some(Ok(paired)) => {
            if let Some(ratio) = paired.ratio(score.name, score.more_is_better, score.of) {
                out.push_str(&told(&ratio));
            }
        }
        Some(Err(_)) => out.push_str("<small>no ratio</small>"),
        None => {}
    }
    out
}

/// A ratio in its own line: the number, its interval, and what the interval says.
fn told(ratio: &Ratio) -> String {
    let (class, word) = match ratio.better {
        Some(true) => ("pass", " better"),
        Some(false) => ("fail", " worse"),
        None => ("", ""),
    };
    let interval = ratio
        .interval
        .map_or(String::new(), |interval| format!(" ({} to {})", three(interval.low), three(interval.high)));
    format!("<small class=\"{class}\">{}x{interval}{word}</small>", three(ratio.value))
}

fn notes(columns: &[Column<'_, '_>], baseline: Option<&str>, repetitions: usize) -> String {
    let mut out = String::from("<p class=\"dim\">");
    if repetitions > 1 {
        let _ = write!(out, "Medians of {repetitions} repetitions, below them the least and the most. ");
    }
    if let Some(baseline) = baseline {
        let how = if repetitions > 1 {
            "with its 95 % interval; where that holds 1, the runs do not tell which is better"
        } else {
            "of one run each: no error bars, so small differences mean nothing"
        };
        let _ = write!(out, "x: over {}, {how}. ", escape(baseline));
    }
    out.push_str("A dash: not measured, or too few samples to tell.</p>\n");
    for column in columns {
        if let Some(Err(rule)) = &column.paired {
            let engine = escape(column.group.engine);
            let _ =
                writeln!(out, "<p>{engine}: no ratio, for the runs were not equal: not {}</p>", escape(rule));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::group::tests::cell as run;
    use crate::run::checks::{Check, Verdict};
    use crate::run::plan::Ground;
    use crate::sys::host::Host;

    fn result(rates: &[(&str, [f64; 3])]) -> ResultFile {
        let ground = Ground { io: kv_api::IoMode::Buffered, background: kv_api::Background::Threads(1) };
        let mut result = ResultFile::new(Host::of(std::path::Path::new(".")), ground);
        for block in 0..3 {
            for (engine, rates) in rates {
                result.cells.push(run(engine, block, rates[block as usize]));
            }
        }
        result
    }

    #[test]
    fn numbers_come_with_spread_ratio_and_interval() {
        let page = section(
            &result(&[("a", [100.0, 110.0, 90.0]), ("b", [200.0, 221.0, 180.0])]),
            "read-heavy",
            "read-heavy",
        );
        for part in ["<b>100</b>", "90 to 110", "2.00x (", "better", "over a, with its 95 % interval"] {
            assert!(page.contains(part), "`{part}` in {page}");
        }
        assert!(
            !page.contains("badge") && !page.contains("CPU / operation"),
            "nothing measured, no row: {page}"
        );
    }

    #[test]
    fn a_badge_stands_at_the_number_and_broken_rules_have_no_ratio() {
        let mut result = result(&[("a", [100.0; 3]), ("<b>", [200.0; 3])]);
        for cell in result.cells.iter_mut().filter(|cell| cell.engine.label == "<b>") {
            cell.op_digest = "other".to_owned();
            cell.checks.push(Check {
                id: "X1".to_owned(),
                what: "sums".to_owned(),
                verdict: Verdict::Fail,
                detail: String::new(),
            });
        }
        let page = section(&result, "read-heavy", "read-heavy");
        assert!(page.contains("<b>200</b><small class=\"badge\">INVALID</small>"), "{page}");
        assert!(page.contains("<b>100</b><small>"), "{page}");
        assert!(
            page.contains("no ratio, for the runs were not equal: not valid numbers: a check failed"),
            "{page}"
        );
        assert!(page.contains("&lt;b&gt;") && !page.contains("2.00x"), "{page}");
        assert_eq!(section(&result, "read-heavy", "no such phase"), "");
    }
}
