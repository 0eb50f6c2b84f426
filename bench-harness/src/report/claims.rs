//! Claims as people read them: in the terminal, and as a section of the page.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::html;
use super::result::write_whole;
use super::svg::escape;
use super::table::wrap;
use super::trusted;
use crate::claims::builtin::Builtin;
use crate::claims::case::Estimate;
use crate::claims::file::{ClaimRecord, ClaimsFile, FILE_NAME};
use crate::claims::format::{Claim, Experiment};
use crate::claims::verdict::{Finding, Judged, Verdict};
use crate::error::{Failure, Result};
use crate::units::three;

/// How many significant places a number needs: ratios near 1 and small shares are told finer.
fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.1 { format!("{value:.4}") } else { three(value) }
}

fn shown(estimate: Option<Estimate>) -> String {
    match estimate {
        None => "-".to_owned(),
        Some(found) if found.low == found.high => number(found.value),
        Some(found) => format!("{} ({} to {})", number(found.value), number(found.low), number(found.high)),
    }
}

/// What a case says, in words.
fn says(finding: &Finding) -> String {
    match finding {
        Finding::Holds => "true".to_owned(),
        Finding::Fails => "not true".to_owned(),
        Finding::Unclear(why) => format!("does not tell: {why}"),
        Finding::Invalid(why) => format!("invalid: {why}"),
    }
}

/// What is asked of a test: the number and when the claim is true, from the claim as this program has it.
fn asked(id: &str, test: &str) -> Option<String> {
    let claim = crate::claims::find(&[id.to_owned()]).ok()?.pop()?;
    let test = claim.tests.iter().find(|known| known.name == test)?;
    let (about, unit) = match &test.experiment {
        Experiment::Runs(runs) => {
            (runs.metric.about, if runs.over.is_empty() { runs.metric.unit } else { "" })
        }
        Experiment::Builtin(Builtin { about, .. }) => (*about, ""),
    };
    let unit = if unit.is_empty() { String::new() } else { format!(" [{unit}]") };
    Some(format!("{about}{unit}; true if {}", test.predicate.words()))
}

fn tests(record: &ClaimRecord) -> Vec<(&str, Vec<&Judged>)> {
    let mut out: Vec<(&str, Vec<&Judged>)> = Vec::new();
    for case in &record.outcome.cases {
        match out.iter_mut().find(|(name, _)| *name == case.test) {
            Some((_, cases)) => cases.push(case),
            None => out.push((&case.test, vec![case])),
        }
    }
    out
}

/// One claim in the terminal.
pub fn lines(record: &ClaimRecord) -> Vec<String> {
    let verdict = record.outcome.verdict.word();
    let mut out = wrap(&format!("{} {}: {}", record.id, verdict.to_uppercase(), record.claim), 4);
    out.extend(wrap(&format!("  {}", record.outcome.reason), 4));
    out.extend(wrap(&format!("  expected: {}", record.prior), 4));
    for (name, cases) in tests(record) {
        let asked = asked(&record.id, name).map_or(String::new(), |asked| format!(": {asked}"));
        out.extend(wrap(&format!("  {name}{asked}"), 4));
        for case in cases {
            let repetitions = match case.repetitions {
                Some(repetitions) if case.estimate.is_some() => format!(", {repetitions} times"),
                _ => String::new(),
            };
            let line =
                format!("    {}: {}{repetitions}, {}", case.label, shown(case.estimate), says(&case.finding));
            out.extend(wrap(&line, 8));
        }
    }
    for fact in record.observed.iter().flat_map(|seen| &seen.facts) {
        out.extend(wrap(&format!("  {fact}"), 4));
    }
    if !record.note.is_empty() {
        out.extend(wrap(&format!("  note: {}", record.note), 4));
    }
    out
}

/// A line for each claim.
pub fn summary(records: &[ClaimRecord]) -> Vec<String> {
    let one = |record: &ClaimRecord| {
        let seconds = record.wall_ns as f64 / 1e9;
        let word = record.outcome.verdict.word();
        wrap(&format!("{} {word:<12} {} ({seconds:.0} s)", record.id, record.claim), 4)
    };
    records.iter().flat_map(one).collect()
}

/// A claim in one line, for a list.
pub fn listed(claim: &Claim) -> String {
    format!("{} {} (seed {})", claim.id, claim.claim, claim.seeds.join(", "))
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Confirmed => "pass",
        Verdict::Refuted => "fail",
        Verdict::Depends | Verdict::NotSettled => "dim",
    }
}

/// The section of the page: a strip of verdicts, then each claim with its cells.
pub fn section(claims: &ClaimsFile) -> String {
    let mut out = String::from("<h2 id=\"claims\">Claims</h2>\n<div class=\"scroll\"><table class=\"left\">");
    out.push_str("<tr><th></th><th>verdict</th><th>claim</th><th>where, or why not</th></tr>");
    for record in &claims.claims {
        let _ = write!(
            out,
            "<tr><td><a href=\"#{0}\">{0}</a></td><td class=\"{1}\">{2}</td><td>{3}</td><td>{4}</td></tr>",
            escape(&record.id),
            class(record.outcome.verdict),
            record.outcome.verdict.word(),
            escape(&record.claim),
            escape(&record.outcome.reason)
        );
    }
    out.push_str("</table></div>\n");
    claims.claims.iter().for_each(|record| out.push_str(&one(record)));
    out
}

fn one(record: &ClaimRecord) -> String {
    let mut out = format!(
        "<details id=\"{0}\"><summary>{0} <span class=\"{1}\">{2}</span>: {3}</summary>\n<p>{4}</p>\n\
         <p class=\"dim\">Expected: {5}. Seed {6}; {7} size, {8}, {9:.0} s, {10} runs.</p>\n",
        escape(&record.id),
        class(record.outcome.verdict),
        record.outcome.verdict.word(),
        escape(&record.claim),
        escape(&record.outcome.reason),
        escape(record.prior.trim_end_matches('.')),
        escape(&record.seeds.join(", ")),
        escape(&record.scale),
        escape(&record.started),
        record.wall_ns as f64 / 1e9,
        record.runs.len(),
    );
    for (name, cases) in tests(record) {
        let asked = asked(&record.id, name).map_or(String::new(), |asked| format!(": {asked}"));
        let _ = write!(
            out,
            "<h3>{}{}</h3><div class=\"scroll\"><table class=\"left\"><tr><th>cell</th><th>number (95 %)</th>\
             <th>repetitions</th><th>says</th></tr>",
            escape(name),
            escape(&asked)
        );
        for case in cases {
            let repetitions = case.repetitions.map_or("exact".to_owned(), |count| count.to_string());
            let _ = write!(
                out,
                "<tr><td>{}</td><td>{}</td><td>{repetitions}</td><td>{}</td></tr>",
                escape(&case.label),
                shown(case.estimate),
                escape(&says(&case.finding))
            );
        }
        out.push_str("</table></div>\n");
    }
    for fact in record.observed.iter().flat_map(|seen| &seen.facts) {
        let _ = writeln!(out, "<p>{}</p>", escape(fact));
    }
    if !record.note.is_empty() {
        let _ = writeln!(out, "<p class=\"dim\">{}</p>", escape(&record.note));
    }
    let _ = writeln!(
        out,
        "<p class=\"dim\">{}; {}; {}. Repeat it: <code>{}</code></p></details>",
        escape(&record.host.summary()),
        escape(&record.build.summary()),
        escape(&trusted::sentence(record.calibration.as_ref())),
        escape(&html::command(&record.command))
    );
    out
}

/// Writes a page of claims alone into `dir`.
///
/// # Errors
/// The system refuses.
pub fn write_page(claims: &ClaimsFile, dir: &Path) -> Result<()> {
    let path = dir.join(FILE_NAME);
    let json = fs::read(&path).map_err(|error| Failure::io("read", &path, &error))?;
    let page = format!(
        "{}<h1>kvlab: claims</h1>\n{}<p><a download=\"{FILE_NAME}\" href=\"data:application/json;base64,{}\">All runs \
         and verdicts as JSON</a></p>\n</body></html>\n",
        html::head("kvlab: claims"),
        section(claims),
        STANDARD.encode(json)
    );
    write_whole(&dir.join(html::FILE_NAME), &page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::file::tests::record;

    #[test]
    fn a_claim_is_told_within_eighty_columns_and_escaped_on_the_page() {
        let record = record("C03", Verdict::NotSettled);
        let lines = lines(&record);
        assert!(lines[0].starts_with("C03 NOT SETTLED: it is so"));
        assert!(lines.iter().any(|line| line.contains("a <b>: -, invalid: no run")), "{lines:?}");
        assert!(lines.iter().all(|line| line.len() <= 80));
        let mut file = ClaimsFile::empty();
        file.put(record);
        let section = section(&file);
        assert!(section.contains("a &lt;b&gt;") && !section.contains("<b>"));
        assert!(section.contains("href=\"#C03\"") && section.contains("id=\"C03\""));
    }

    #[test]
    fn a_small_share_keeps_its_digits() {
        assert_eq!(number(0.0123), "0.0123");
        assert_eq!(shown(Some(Estimate { value: 1.0, low: 1.0, high: 1.0 })), "1.00");
        assert_eq!(shown(Some(Estimate { value: 2.0, low: 1.0, high: 4.0 })), "2.00 (1.00 to 4.00)");
    }
}
