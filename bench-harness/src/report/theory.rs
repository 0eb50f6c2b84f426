//! What the cost model says, beside what was measured: a few lines for the terminal, a table for the page.

use std::fmt::Write;

use super::svg::escape;
use super::table::{table, wrap};
use crate::model::Beside;
use crate::model::beside::{PROBES, READS, SA, WA, per_cent};
use crate::units::three;

/// How the terminal's table is read.
pub const HEAD: &str = "  model: what theory says of the workload and the settings alone; error: predicted over measured, \
                        less 1. blocks/get: pages, or data blocks, that a get asks for; reads/get: those not in memory; \
                        sa here is without the log";

/// An engine's label and what theory says of it.
type Told<'a> = (&'a str, &'a Beside);

/// A result that was made before there was a model has neither rows nor reasons.
fn reasons<'a>((engine, beside): &'a Told<'a>) -> Vec<String> {
    if beside.predicted.is_none() && beside.remarks.is_empty() {
        return vec![format!("{engine} model: this result was made without one")];
    }
    beside.remarks.iter().map(|remark| format!("{engine} model: {remark}")).collect()
}

/// The lines of one measured phase.
pub fn lines(engines: &[Told<'_>]) -> Vec<String> {
    let mut out = Vec::new();
    let mut numbers = table(&["model of", "number", "predicted", "measured", "error"]);
    for (engine, beside) in engines {
        for row in &beside.rows {
            numbers.add_row([
                (*engine).to_owned(),
                row.number.clone(),
                three(row.predicted),
                three(row.measured),
                per_cent(row.error),
            ]);
        }
    }
    if engines.iter().any(|(_, beside)| !beside.rows.is_empty()) {
        out.extend(numbers.lines());
    }
    out.extend(engines.iter().flat_map(reasons).flat_map(|reason| wrap(&format!("  {reason}"), 4)));
    out
}

/// The number in the words of the page.
fn words(number: &str) -> &str {
    match number {
        WA => "written / user byte, settled",
        PROBES => "blocks asked for / get",
        READS => "blocks read / get",
        SA => "space / live, settled, without log",
        other => other,
    }
}

/// The table of one measured phase for the page.
pub fn section(engines: &[Told<'_>]) -> String {
    let mut out = String::from("<h3>Predicted and measured</h3>\n");
    if engines.iter().any(|(_, beside)| !beside.rows.is_empty()) {
        out.push_str("<div class=\"scroll\"><table class=\"named\"><tr><th>engine</th><th>number</th><th>predicted</th>");
        out.push_str("<th>measured</th><th>error</th></tr>");
        for (engine, beside) in engines {
            for row in &beside.rows {
                let _ = write!(
                    out,
                    "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                    escape(engine),
                    escape(words(&row.number)),
                    three(row.predicted),
                    three(row.measured),
                    per_cent(row.error)
                );
            }
        }
        out.push_str("</table></div>\n<p class=\"dim\">Predicted from the workload and the settings alone, for a steady ");
        out.push_str("state. Error: predicted over measured, less 1.</p>\n");
    }
    for reason in engines.iter().flat_map(reasons) {
        let _ = writeln!(out, "<p class=\"dim\">{}</p>", escape(&reason));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Compared;

    fn beside(rows: Vec<Compared>, remarks: Vec<String>) -> Beside {
        Beside { rows, remarks, ..Beside::default() }
    }

    #[test]
    fn misses_and_missing_predictions_are_shown_alike() {
        let row = Compared { number: WA.to_owned(), predicted: 12.0, measured: 10.0, error: Some(0.2) };
        let good = beside(vec![row], Vec::new());
        let none = beside(Vec::new(), vec!["no prediction: not for <redb>".to_owned()]);
        let old = Beside::default();
        let engines = [("btree", &good), ("redb", &none), ("lsm", &old)];
        let text = lines(&engines).join("\n");
        assert!(text.contains("+20.0 %") && text.contains("redb model: no prediction"), "{text}");
        assert!(text.contains("lsm model: this result was made without one"), "{text}");
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        let page = section(&engines);
        assert!(page.contains("+20.0 %") && page.contains("&lt;redb&gt;"), "{page}");
    }
}
