//! The figures of the page: each takes the measured rows of one workload and gives one `<figure>`.

use std::fmt::Write;

use super::html::Row;
use super::svg::{Axis, Series, escape, legend, lines};
use crate::metrics::{LatencySummary, Sample};
use crate::units::{bytes, nanos, or_dash, three};

/// The tail is drawn up to this many nines.
const NINES_MAX: f64 = 5.0;

fn figure(title: &str, body: &str, caption: &str) -> String {
    let caption = if caption.is_empty() {
        String::new()
    } else {
        format!("<figcaption>{}</figcaption>", escape(caption))
    };
    format!("<figure><h3 style=\"margin-top:0\">{}</h3>{body}{caption}</figure>", escape(title))
}

/// Which colour a cause of writes has: the same one in every chart and every engine.
fn cause_colour(cause: &str) -> usize {
    // The first two colours are those of the engines.
    match cause {
        "flush" | "checkpoint" => 3,
        "compaction_l1" | "compaction_l5" => 4,
        "compaction_l2" | "compaction_l6" => 5,
        "compaction_l3" | "page" | "compaction_l7" => 6,
        "compaction_l0" | "compaction_l4" | "free_map" | "manifest" => 7,
        _ => 8,
    }
}

/// Where did my byte go: bytes written per user byte, stacked by cause.
pub fn bytes_by_cause(rows: &[Row<'_>]) -> String {
    let most = rows.iter().filter_map(|row| row.measure.derived.wa_settled).fold(0.0, f64::max);
    let mut body = String::from("<div class=\"bars\">");
    let mut causes: Vec<&str> = Vec::new();
    for row in rows {
        let d = &row.measure.derived;
        let _ = write!(body, "<div class=\"bar\"><span>{}</span><span class=\"track\">", escape(row.label()));
        for (cause, share) in &d.wa_by_cause {
            let _ = write!(
                body,
                "<i style=\"width:{:.2}%;--c:var(--s{})\" title=\"{}: {} bytes per user byte\"></i>",
                share / most.max(f64::MIN_POSITIVE) * 100.0,
                cause_colour(cause),
                escape(cause),
                three(*share)
            );
            if !causes.contains(&cause.as_str()) {
                causes.push(cause);
            }
        }
        let _ = write!(body, "</span><b>{}</b></div>", or_dash(d.wa_settled));
    }
    body.push_str("</div><ul class=\"legend rows\">");
    for cause in &causes {
        let per_engine: Vec<_> = rows
            .iter()
            .filter_map(|row| {
                let share = row.measure.derived.wa_by_cause.iter().find(|(known, _)| known == cause)?.1;
                Some(format!("{} {}", row.label(), three(share)))
            })
            .collect();
        let _ = write!(
            body,
            "<li><i class=\"key\" style=\"--c:var(--s{})\"></i>{} <span class=\"dim\">{}</span></li>",
            cause_colour(cause),
            escape(cause),
            escape(&per_engine.join(", "))
        );
    }
    body.push_str("</ul>");
    figure("Where did my byte go", &body, "Bytes written per byte the user wrote, drain included.")
}

/// One number of a row, if it was measured.
type Figure = fn(&Row<'_>) -> Option<f64>;

/// Write, read and space amplification side by side.
pub fn amplifications(rows: &[Row<'_>]) -> String {
    let kinds: [(&str, Figure); 5] = [
        ("written / user byte, phase alone", |row| row.measure.derived.wa_open),
        ("written / user byte, settled", |row| row.measure.derived.wa_settled),
        ("read from files / byte returned", |row| row.measure.derived.ra),
        ("space / live, settled", |row| row.measure.derived.sa_settled),
        ("space / live, peak", |row| row.measure.derived.sa_peak),
    ];
    let mut body = String::from("<div class=\"bars\">");
    for (name, value) in kinds {
        let values: Vec<_> = rows.iter().map(value).collect();
        let most = values.iter().flatten().copied().fold(0.0, f64::max);
        let _ = write!(body, "<div class=\"dim group\">{name}</div>");
        for (index, (row, value)) in rows.iter().zip(values).enumerate() {
            let width = value.unwrap_or(0.0) / most.max(f64::MIN_POSITIVE) * 100.0;
            let _ = write!(
                body,
                "<div class=\"bar\"><span>{}</span><span class=\"track\">\
                 <i style=\"width:{width:.2}%;--c:var(--s{})\"></i></span><b>{}</b></div>",
                escape(row.label()),
                colour(index),
                or_dash(value)
            );
        }
    }
    body.push_str("</div>");
    figure("Amplification", &body, "Each group has its own scale; shorter is better. A dash: not measured.")
}

fn colour(index: usize) -> usize {
    index % 8 + 1
}

/// Latency by percentile, reads and writes.
pub fn latency(rows: &[Row<'_>]) -> String {
    let mut series = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let phase = row.phase;
        let service = [("reads", &phase.reads, false), ("writes", &phase.writes, true)];
        let response = [
            ("read responses", &phase.read_responses, false),
            ("write responses", &phase.write_responses, false),
            ("read service", &phase.reads, true),
            ("write service", &phase.writes, true),
        ];
        let kinds = if phase.open.is_some() { &response[..] } else { &service[..] };
        for (kind, summary, dashed) in kinds.iter().copied() {
            let Some(summary) = summary else { continue };
            let name = format!("{} {kind}", row.label());
            series.push(Series { name, colour: colour(index), dashed, points: curve(summary) });
        }
    }
    let ns = series.iter().flat_map(|line| &line.points).map(|(_, y)| 10f64.powf(*y));
    let (least, most) = ns.fold((f64::MAX, 1.0f64), |(least, most), ns| (least.min(ns), most.max(ns)));
    if series.is_empty() || least > most {
        return String::new();
    }
    let y = Axis::decades("latency", least, most, |ns| nanos(ns as u64).replace(".00", "").replace(".0", ""));
    let labels = [(0.0, "0 %"), (1.0, "90 %"), (2.0, "99 %"), (3.0, "99.9 %"), (4.0, "99.99 %"), (5.0, "")];
    let x = Axis {
        title: "percentile".to_owned(),
        min: 0.0,
        max: NINES_MAX,
        ticks: labels.iter().map(|(at, label)| (*at, (*label).to_owned())).collect(),
    };
    let body = lines("latency by percentile", &x, &y, &series) + &legend(&series);
    figure(
        "Latency",
        &body,
        "Service time, and response time in an open loop; a percentile is drawn when 100 samples lie beyond it.",
    )
}

/// (nines, log10 of nanoseconds) of each known quantile.
fn curve(summary: &LatencySummary) -> Vec<(f64, f64)> {
    let point = |(q, ns): &(f64, u64)| (-(1.0 - q).log10(), (*ns.max(&1) as f64).log10());
    summary.curve.iter().map(point).collect()
}

/// Operations per second over time.
pub fn throughput(rows: &[Row<'_>]) -> String {
    let rate = |samples: &[Sample]| {
        let step = (samples.len() / 60).max(1);
        let picked: Vec<_> = samples.iter().step_by(step).collect();
        let pairs = picked.windows(2).filter(|pair| pair[1].ms > pair[0].ms);
        pairs
            .map(|pair| {
                let (ms, ops) = (pair[1].ms - pair[0].ms, pair[1].ops - pair[0].ops);
                (pair[1].ms as f64 / 1e3, ops as f64 * 1e3 / ms as f64)
            })
            .collect()
    };
    let drawn = over_time("Throughput", "operations per second", rows, rate, thousands);
    if drawn.is_empty() || rows.iter().all(|row| is_short(&row.phase.samples)) {
        let said = "<p class=\"dim\">Each phase took less than a second: too short for a line over time.</p>";
        return figure("Throughput", said, "");
    }
    drawn
}

/// True if a phase is too short for more than a few of its samples, which are 100 ms apart.
fn is_short(samples: &[Sample]) -> bool {
    samples.last().is_none_or(|last| last.ms < 1000)
}

fn thousands(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{} k", three_or_whole(value / 1e3)) }
}

/// Allocated bytes over time.
pub fn space(rows: &[Row<'_>]) -> String {
    if rows.iter().all(|row| row.phase.space.is_none()) {
        return String::new();
    }
    let size = |samples: &[Sample]| {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        samples.iter().map(|sample| (sample.ms as f64 / 1e3, mib(sample.allocated_bytes))).collect()
    };
    over_time("Space", "MiB allocated, log included", rows, size, three_or_whole)
}

/// Requests that wait, over time; nothing in a closed loop, where none does.
pub fn backlog(rows: &[Row<'_>]) -> String {
    let waiting = |samples: &[Sample]| {
        let seen = samples.iter().filter_map(|sample| Some((sample, sample.backlog?)));
        seen.map(|(sample, backlog)| (sample.ms as f64 / 1e3, backlog as f64)).collect()
    };
    over_time("Backlog", "requests due and not answered", rows, waiting, three_or_whole)
}

fn over_time(
    title: &str,
    unit: &str,
    rows: &[Row<'_>],
    points: impl Fn(&[Sample]) -> Vec<(f64, f64)>,
    label: impl Fn(f64) -> String,
) -> String {
    let series: Vec<_> = rows
        .iter()
        .enumerate()
        .map(|(index, row)| Series {
            name: row.label().to_owned(),
            colour: colour(index),
            dashed: false,
            points: points(&row.phase.samples),
        })
        .collect();
    let all = || series.iter().flat_map(|line| &line.points);
    let max_x = all().map(|point| point.0).fold(0.0, f64::max);
    let max_y = all().map(|point| point.1).fold(0.0, f64::max);
    if max_y <= 0.0 {
        return String::new();
    }
    let x = Axis::linear("seconds", max_x, three_or_whole);
    let y = Axis::linear(unit, max_y, label);
    figure(title, &(lines(title, &x, &y, &series) + &legend(&series)), "")
}

fn three_or_whole(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { three(value) }
}

/// Memory by owner against the budget: owners down, engines across.
pub fn memory(rows: &[Row<'_>]) -> String {
    let budget =
        |row: &Row<'_>| row.cell.spec.pointer("/run/memory_budget").and_then(serde_json::Value::as_u64);
    let held: Vec<Vec<(&str, u64)>> = rows
        .iter()
        .map(|row| {
            let owners = row.phase.memory.iter().map(|owner| (owner.owner.as_str(), owner.bytes));
            let peak = [("engine, peak", row.phase.memory_peak_bytes)].into_iter();
            let process = row.phase.rss_anon_peak_bytes.map(|rss| ("process, peak", rss)).into_iter();
            let before = row.cell.rss_anon_before_bytes.map(|rss| ("process, before", rss)).into_iter();
            owners.chain(peak).chain(process).chain(before).collect()
        })
        .collect();
    let mut names: Vec<&str> = Vec::new();
    // Engines name their owners first, so that the three lines they share come last.
    for of_all in [false, true] {
        for (name, _) in held.iter().flatten() {
            if (name.contains(", ") == of_all) && !names.contains(name) {
                names.push(name);
            }
        }
    }
    let mut body = String::from("<div class=\"scroll\"><table><tr><th></th>");
    rows.iter().for_each(|row| {
        let _ = write!(body, "<th>{}</th>", escape(row.label()));
    });
    body.push_str("</tr>");
    for name in names {
        let _ = write!(body, "<tr><td>{}</td>", escape(name));
        for (row, held) in rows.iter().zip(&held) {
            let cell = held.iter().find(|(known, _)| *known == name).map_or(String::new(), |(_, held)| {
                let share = budget(row).filter(|budget| *budget > 0).map_or(String::new(), |budget| {
                    format!("<br><span class=\"dim\">{:.0} %</span>", *held as f64 / budget as f64 * 100.0)
                });
                bytes(*held) + &share
            });
            let _ = write!(body, "<td>{cell}</td>");
        }
        body.push_str("</tr>");
    }
    body.push_str("</table></div>");
    figure(
        "Memory by owner",
        &body,
        "Bytes and share of the budget, as the engine declares them at the end of the phase; process: its anonymous \
         memory, harness included, sampled every 200 ms, and before the engine was opened.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_too_short_for_a_line_says_so() {
        assert!(throughput(&[]).contains("too short"));
        let at = |ms| Sample { ms, ops: ms, ..Sample::default() };
        assert!(is_short(&[at(0), at(999)]) && is_short(&[]));
        assert!(!is_short(&[at(0), at(1000)]));
    }
}
