//! How a measured phase was driven and how it ended: the load of an open loop and how response grew over service, and
//! whether it was steady, window by window.

use std::fmt::Write;

use super::html::Row;
use super::result::NOT_STEADY;
use super::svg::escape;
use crate::metrics::{LatencySummary, OpenRecord, SteadyRecord};
use crate::units::{bytes, count, nanos, or_dash, three};

/// Windows shown of one engine: the last ones.
const WINDOWS_SHOWN: usize = 8;

/// Whether a phase was steady, in a sentence.
pub fn steadiness(steady: &SteadyRecord) -> String {
    if steady.ok { format!("steady: {}", steady.why) } else { format!("{NOT_STEADY}: {}", steady.why) }
}

/// The load of an open loop and what became of it, part by part.
pub fn load(open: &OpenRecord) -> Vec<String> {
    let per_second = |rate: f64| format!("{}/s", count(rate as u64));
    let share = open.max_per_second.filter(|max| *max > 0.0).map_or(String::new(), |max| {
        format!(
            " ({} of the {} that its closed loop took)",
            three(open.offered_per_second / max),
            per_second(max)
        )
    });
    let mut parts = vec![format!(
        "offered {}{share}, achieved {}",
        per_second(open.offered_per_second),
        per_second(open.achieved_per_second)
    )];
    if open.backlog_peak == 0 {
        parts.push("no backlog".to_owned());
    } else {
        parts.push(format!(
            "backlog up to {} requests, {} s into the phase, drained in {}",
            count(open.backlog_peak),
            three(open.backlog_peak_ms as f64 / 1e3),
            nanos(open.drain_ns)
        ));
    }
    if let Some(late) = &open.client_late {
        let p99 = late.p99_ns.map_or("-".to_owned(), nanos);
        parts.push(format!(
            "the client itself was late by {} (p50), {p99} (p99)",
            nanos(late.p50_ns.unwrap_or(late.max_ns))
        ));
    }
    let waited = open.waited as f64 / open.served.max(1) as f64;
    parts.push(format!("{:.1} % of the requests waited for one before them", waited * 100.0));
    if open.served < open.scheduled {
        parts.push(format!(
            "{} requests were never served, and responses are better than they were felt",
            count(open.scheduled - open.served)
        ));
    }
    if open.is_cut {
        parts.push("arrivals ended early, for memory holds no more times".to_owned());
    }
    parts
}

/// Response beside service in open loops, and the load; empty if there is none.
pub fn responses(rows: &[Row<'_>]) -> String {
    let open: Vec<_> = rows.iter().filter_map(|row| Some((row, row.phase.open.as_ref()?))).collect();
    if open.is_empty() {
        return String::new();
    }
    let mut out = String::from("<h3>Response beside service</h3>\n<div class=\"scroll\"><table><tr>");
    for head in ["engine", "operation", "time", "p50", "p90", "p99", "p99.9", "p99.99", "max"] {
        let _ = write!(out, "<th>{head}</th>");
    }
    out.push_str("</tr>");
    let told = |ns: Option<u64>| ns.map_or("-".to_owned(), nanos);
    for (row, _) in &open {
        for op in &row.phase.ops {
            let mut line = |what: &str, times: &Option<LatencySummary>| {
                let Some(times) = times else { return };
                let cells = [
                    escape(row.label()),
                    escape(&op.op),
                    what.to_owned(),
                    told(times.p50_ns),
                    told(times.p90_ns),
                    told(times.p99_ns),
                    told(times.p999_ns),
                    told(times.p9999_ns),
                    nanos(times.max_ns),
                ];
                let _ = write!(out, "<tr><td>{}</td></tr>", cells.join("</td><td>"));
            };
            line("response", &op.response);
            line("service", &op.latency);
        }
    }
    out.push_str("</table></div>\n");
    for (row, open) in &open {
        let _ = writeln!(out, "<p>{}: {}</p>", escape(row.label()), escape(&load(open).join("; ")));
    }
    out.push_str(
        "<p class=\"dim\">Open loop: requests arrive by a timetable, answered or not. Response counts from the arrival, \
         so that a stall is felt by all that arrive while it lasts; service counts from the call.</p>\n",
    );
    out
}

/// The windows of the phases that were to end at a steady state; empty if none was.
pub fn windows(rows: &[Row<'_>]) -> String {
    let judged: Vec<_> =
        rows.iter().filter_map(|row| Some((row.label(), row.phase.steady.as_ref()?))).collect();
    if judged.is_empty() {
        return String::new();
    }
    let mut out = String::from("<h3>Steady state</h3>\n");
    for (label, steady) in &judged {
        let label = escape(label);
        let _ = if steady.ok {
            writeln!(out, "<p>{label}: {}</p>", escape(&steady.why))
        } else {
            writeln!(out, "<p><span class=\"stamp\">{NOT_STEADY}</span>{label}: {}</p>", escape(&steady.why))
        };
    }
    out.push_str("<div class=\"scroll\"><table><tr>");
    for head in ["engine", "seconds", "ops/s", "written / user byte", "allocated", "p99", "debt"] {
        let _ = write!(out, "<th>{head}</th>");
    }
    out.push_str("</tr>");
    for (label, steady) in &judged {
        let first = steady.windows.len().saturating_sub(WINDOWS_SHOWN);
        for window in &steady.windows[first..] {
            let cells = [
                escape(label),
                format!("{:.0} to {:.0}", window.from_ms as f64 / 1e3, window.to_ms as f64 / 1e3),
                count(window.ops_per_second as u64),
                or_dash(window.wa),
                bytes(window.allocated_bytes),
                window.p99_ns.map_or("-".to_owned(), nanos),
                bytes(window.debt_bytes),
            ];
            let _ = write!(out, "<tr><td>{}</td></tr>", cells.join("</td><td>"));
        }
    }
    out.push_str(
        "</table></div>\n<p class=\"dim\">Steady: over the last five windows throughput, write amplification, space and \
         the 99th percentile vary by 20 % at most and climb or fall by 10 % at most, a cumulative sum chart is silent, \
         and the engine went through three checkpoints, or wrote its deepest level once.</p>\n",
    );
    out
}
