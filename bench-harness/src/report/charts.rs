//! The figures of the page: each takes the measured rows of one workload and gives one `<figure>`.

use std::fmt::Write;

use super::html::Row;
use super::svg::{Axis, Backdrop, Band, Series, escape, legend, lines};
use crate::metrics::{Derived, Sample};
use crate::stats::ratio::extent;
use crate::units::{bytes, nanos, or_dash, three};

/// A stretch in which writers waited for this share of it is shaded.
const WAIT_SHARE_MIN: f64 = 0.1;

/// One of the numbers derived from a phase, if it was measured.
type Number = fn(&Derived) -> Option<f64>;

/// A figure with its title above and its caption below.
pub(super) fn figure(title: &str, body: &str, caption: &str) -> String {
    let caption = if caption.is_empty() {
        String::new()
    } else {
        format!("<figcaption>{}</figcaption>", escape(caption))
    };
    format!("<figure><h3 style=\"margin-top:0\">{}</h3>{body}{caption}</figure>", escape(title))
}

/// Write, read and space amplification side by side.
pub fn amplifications(rows: &[Row<'_>]) -> String {
    let kinds: [(&str, Number); 5] = [
        ("written / user byte, phase alone", |derived| derived.wa_open),
        ("written / user byte, settled", |derived| derived.wa_settled),
        ("read from files / byte returned", |derived| derived.ra),
        ("space / live, settled", |derived| derived.sa_settled),
        ("space / live, peak", |derived| derived.sa_peak),
    ];
    let mut body = String::from("<div class=\"bars\">");
    for (name, of) in kinds {
        let spreads: Vec<Option<(f64, f64)>> = rows.iter().map(|row| spread(row, of)).collect();
        let most = spreads.iter().flatten().map(|(_, high)| *high).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        if spreads.iter().all(Option::is_none) {
            continue;
        }
        let _ = write!(body, "<div class=\"dim group\">{name}</div>");
        for (index, (row, spread)) in rows.iter().zip(spreads).enumerate() {
            let value = of(&row.measure.derived);
            let width = value.unwrap_or(0.0) / most * 100.0;
            let whisker = spread.filter(|(low, high)| low < high).map_or(String::new(), |(low, high)| {
                let (left, width) = (low / most * 100.0, (high - low) / most * 100.0);
                let told = format!("{} to {}", three(low), three(high));
                format!("<s style=\"left:{left:.2}%;width:{width:.2}%\" title=\"{told}\"></s>")
            });
            let _ = write!(
                body,
                "<div class=\"bar\"><span>{}</span><span class=\"track\">\
                 <i style=\"width:{width:.2}%;--c:var(--s{})\"></i>{whisker}</span><b>{}</b></div>",
                escape(row.label()),
                colour(index),
                or_dash(value)
            );
        }
    }
    body.push_str("</div>");
    let caption = "Each group has its own scale; shorter is better. A dash: not measured.";
    let whiskers = " The whisker goes from the least to the most of the repetitions.";
    let repeated = rows.iter().any(|row| row.runs.len() > 1);
    figure("Amplification", &body, &format!("{caption}{}", if repeated { whiskers } else { "" }))
}

/// The least and the most of a number over the repetitions that have it.
fn spread(row: &Row<'_>, of: Number) -> Option<(f64, f64)> {
    extent(row.runs.iter().filter_map(|run| of(&run.measure.derived)).chain(of(&row.measure.derived)))
}

/// The colour of an engine, by its place among the rows.
pub(super) fn colour(index: usize) -> usize {
    index % 8 + 1
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

pub(super) fn thousands(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{} k", three_or_whole(value / 1e3)) }
}

/// The 99th percentile over time: response in an open loop, service in a closed one.
pub fn tail(rows: &[Row<'_>]) -> String {
    let told = |samples: &[Sample]| {
        let told = samples.iter().filter_map(|sample| Some((sample.ms, sample.p99_ns?.max(1))));
        told.map(|(ms, ns)| (ms as f64 / 1e3, (ns as f64).log10())).collect()
    };
    let series = series(rows, told);
    // Two points of an engine make a line; of less the percentile curve says all there is.
    if series.iter().all(|line| line.points.len() < 2) {
        return String::new();
    }
    time_axis("99 of 100 took at most", &series)
        .map_or(String::new(), |y| drawn("99th percentile", &y, &series, rows))
}

/// A logarithmic axis for lines whose points are base-ten logarithms of nanoseconds; `None` without a point.
pub(super) fn time_axis(title: &str, series: &[Series]) -> Option<Axis> {
    let (least, most) = extent(series.iter().flat_map(|line| &line.points).map(|(_, log10)| *log10))?;
    let label = |ns: f64| nanos(ns as u64).replace(".00", "").replace(".0", "");
    Some(Axis::decades(title, 10f64.powf(least), 10f64.powf(most), label))
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

/// Upkeep owed over time.
pub fn debt(rows: &[Row<'_>]) -> String {
    let owed = |samples: &[Sample]| {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        samples.iter().map(|sample| (sample.ms as f64 / 1e3, mib(sample.debt_bytes))).collect()
    };
    let mut series = series(rows, owed);
    for (line, row) in series.iter_mut().zip(rows) {
        line.points.retain(|_| row.tells_debt());
    }
    linear("Debt", "MiB of upkeep owed", rows, &series, three_or_whole)
}

/// Stretches between samples in which writers waited for [`WAIT_SHARE_MIN`] of the time, neighbours joined.
fn waits(samples: &[Sample], colour: usize) -> Vec<Band> {
    let mut out: Vec<Band> = Vec::new();
    for pair in samples.windows(2) {
        let waited_ns =
            pair[1].stalled_ns.zip(pair[0].stalled_ns).map_or(0, |(now, then)| now.saturating_sub(then));
        let ms = pair[1].ms.saturating_sub(pair[0].ms);
        if ms == 0 || (waited_ns as f64) < WAIT_SHARE_MIN * ms as f64 * 1e6 {
            continue;
        }
        let (from, to) = (pair[0].ms as f64 / 1e3, pair[1].ms as f64 / 1e3);
        match out.last_mut().filter(|last| last.to >= from) {
            Some(last) => last.to = to,
            None => out.push(Band { from, to, colour }),
        }
    }
    out
}

/// The moments of samples before which upkeep ended.
fn upkeep(samples: &[Sample]) -> impl Iterator<Item = f64> {
    let ended = samples.windows(2).filter(|pair| pair[1].upkeep > pair[0].upkeep && pair[0].upkeep.is_some());
    ended.map(|pair| pair[1].ms as f64 / 1e3)
}

/// A line for each engine.
fn series(rows: &[Row<'_>], points: impl Fn(&[Sample]) -> Vec<(f64, f64)>) -> Vec<Series> {
    let line = |(index, row): (usize, &Row<'_>)| Series {
        name: row.label().to_owned(),
        colour: colour(index),
        dashed: false,
        points: points(&row.phase.samples),
    };
    rows.iter().enumerate().map(line).collect()
}

fn over_time(
    title: &str,
    unit: &str,
    rows: &[Row<'_>],
    points: impl Fn(&[Sample]) -> Vec<(f64, f64)>,
    label: impl Fn(f64) -> String,
) -> String {
    linear(title, unit, rows, &series(rows, points), label)
}

fn linear(
    title: &str,
    unit: &str,
    rows: &[Row<'_>],
    series: &[Series],
    label: impl Fn(f64) -> String,
) -> String {
    let most = series.iter().flat_map(|line| &line.points).map(|point| point.1).fold(0.0, f64::max);
    if most <= 0.0 {
        return String::new();
    }
    drawn(title, &Axis::linear(unit, most, label), series, rows)
}

/// Lines over the seconds of a phase, with the waits and the upkeep of each engine behind them.
fn drawn(title: &str, y: &Axis, series: &[Series], rows: &[Row<'_>]) -> String {
    let seconds = series.iter().flat_map(|line| &line.points).map(|point| point.0).fold(0.0, f64::max);
    let mut backdrop = Backdrop::default();
    for (index, row) in rows.iter().enumerate() {
        let samples = &row.phase.samples;
        backdrop.bands.extend(waits(samples, colour(index)));
        backdrop.strokes.extend(upkeep(samples).map(|at| (at, colour(index))));
    }
    let mut caption = Vec::new();
    if !backdrop.bands.is_empty() {
        caption.push("Shaded in the colour of an engine: its writers waited, a tenth of the time or more.");
    }
    if !backdrop.strokes.is_empty() {
        caption.push("Strokes: a flush, merge or checkpoint ended.");
    }
    let x = Axis::linear("seconds", seconds, three_or_whole);
    figure(title, &(lines(title, &x, y, series, &backdrop) + &legend(series)), &caption.join(" "))
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
            let peak = row.phase.declared_peak_bytes().map(|held| ("engine, peak", held)).into_iter();
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

    #[test]
    fn upkeep_is_seen_where_its_count_grows() {
        let at = |ms: u64, upkeep| Sample { ms, upkeep, ..Sample::default() };
        let samples =
            [at(0, Some(7)), at(100, Some(7)), at(200, Some(9)), at(300, Some(9)), at(400, Some(10))];
        assert_eq!(upkeep(&samples).collect::<Vec<_>>(), [0.2, 0.4]);
        assert_eq!(upkeep(&[at(0, None), at(100, None)]).count(), 0);
    }

    #[test]
    fn waits_of_neighbouring_samples_are_one_band_and_short_ones_none() {
        let at = |ms: u64, waited_ms: u64| Sample {
            ms,
            stalled_ns: Some(5_000_000_000 + waited_ms * 1_000_000),
            ..Sample::default()
        };
        let samples = [at(0, 0), at(100, 0), at(200, 50), at(300, 90), at(400, 95), at(500, 195)];
        let bands = waits(&samples, 2);
        assert_eq!(bands, [Band { from: 0.1, to: 0.3, colour: 2 }, Band { from: 0.4, to: 0.5, colour: 2 }]);
        let untold: Vec<_> = samples.iter().map(|sample| Sample { stalled_ns: None, ..*sample }).collect();
        assert!(waits(&untold, 1).is_empty());
    }
}
