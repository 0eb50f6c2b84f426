//! The terminal summary: one block per measured workload, 80 columns, no colour needed, the same order every
//! time so that two runs can be compared with `diff`.

use comfy_table::{CellAlignment, Table, presets};

use super::equal::NOT_EQUAL;
use super::loops;
use super::result::ResultFile;
use super::theory;
use crate::compare::typical;
use crate::metrics::{Derived, LatencySummary, PhaseRecord, Sample};
use crate::run::cell::{CellRecord, Measure};
use crate::run::checks::{Check, Verdict};
use crate::units::{bytes, count, nanos, or_dash, three};

/// Columns of the summary.
pub const WIDTH: u16 = 80;
/// Causes named in the line of where bytes went.
const CAUSES_MAX: usize = 4;
/// Heads of columns that hold words.
const WORDS: [&str; 6] = ["operation", "number", "interval", "over", "of", "says"];
/// Signs in the line of throughput over time.
const PACE_SIGNS: usize = 20;

/// The summary, line by line.
pub fn lines(result: &ResultFile) -> Vec<String> {
    let mut out = Vec::new();
    let shown = typical(&result.cells);
    for workload in result.workloads() {
        let of: Vec<_> = shown.iter().filter(|cell| cell.workload == workload).collect();
        out.extend(wrap(&setting(&of), 0));
        out.extend(preparation(&of));
        for name in measures(&of) {
            out.push(String::new());
            out.extend(block(&name, &of, result.unequal(&workload, &name), result.repetitions(&workload)));
            if let Some(line) = super::trusted::harness(result, &workload, &name) {
                out.extend(wrap(&format!("  {line}"), 4));
            }
            for line in result.ratios(&workload, &name) {
                out.extend(wrap(&format!("  {line}"), 4));
            }
        }
        out.push(String::new());
        let cells: Vec<_> = result.cells.iter().filter(|cell| cell.workload == workload).collect();
        let between = result.between.iter().filter(|(of, _)| *of == workload).map(|(_, check)| check);
        out.extend(checks(&cells, between));
        for cell in cells.iter().filter(|cell| cell.failure.is_some()) {
            let why = cell.failure.as_deref().unwrap_or_default();
            out.extend(wrap(&format!("FAILED {}: {why}", cell.engine.label), 2));
        }
        out.push(String::new());
    }
    out.extend(super::ratios::lines(result));
    out.extend(super::criterion::lines(result));
    out.extend(heads().into_iter().flat_map(|line| wrap(line, 4)));
    out.push(String::new());
    out.extend(wrap(&format!("  {}", result.build.summary()), 4));
    out.extend(wrap(&format!("  {}; {}", result.host.summary(), result.host.load_summary()), 4));
    super::trusted::sentences(result).iter().for_each(|line| out.extend(wrap(&format!("  {line}"), 4)));
    result.notes.iter().chain(&result.warnings).for_each(|note| out.extend(wrap(note, 2)));
    if !result.stamps.is_empty() {
        out.push(format!("*** {} ***", result.stamps.join(", ")));
    }
    out
}

/// What the heads of the tables mean.
fn heads() -> [&'static str; 8] {
    [
        "how to read it (a dash: not measured, or too few samples to tell)",
        "  wa: write amplification, bytes written to files per byte the user wrote, log included, with the drain that \
         pays the debt behind the phase; wa open: the phase alone",
        "  B/read: bytes read from files per get or scan; miss: blocks per get that were not in the engine's memory",
        "  sa: space amplification, disk space per live byte, log included, after the drain; sa peak: the most seen, \
         ten looks a second",
        "  cpu/op: of the whole process, harness and background threads included, the drain not; pace: speed over the \
         phase, from _ (standing) to # (fastest)",
        "  debt: bytes of upkeep owed, in a B+tree those of dirty pages, in an LSM tree those of entries to flush and \
         to merge: two engines owe different things, so compare what each pays, not the debts",
        "  p50, p99, p99.9: so many per cent of the calls were faster; told when 100 calls were slower",
        theory::HEAD,
    ]
}

/// What was asked, in one sentence.
pub(super) fn setting(cells: &[&CellRecord]) -> String {
    let Some(cell) = cells.first() else { return String::new() };
    let text = |path: &str| match cell.spec.pointer(path) {
        Some(serde_json::Value::String(word)) => word.clone(),
        Some(value) => value.to_string(),
        None => "?".to_owned(),
    };
    let number = |path: &str| cell.spec.pointer(path).and_then(serde_json::Value::as_u64).unwrap_or(0);
    let (records, memory) = (number("/data/records"), number("/run/memory_budget"));
    let value = match cell.spec.pointer("/data/value/size") {
        Some(size) => format!("{size} B"),
        None => format!("values by {}", text("/data/value/dist")),
    };
    let live = cell.phases.last().map_or(0, |phase| phase.live_bytes);
    let mut modes: Vec<String> = cells
        .iter()
        .map(|cell| {
            cell.info.as_ref().and_then(|info| info.io).map_or("no files".to_owned(), |io| io.to_string())
        })
        .collect();
    modes.dedup();
    let limit = cells.iter().find_map(|cell| cell.cgroup.as_ref()).map_or(String::new(), |group| {
        format!(", all in a control group (v{}) of {}", group.version, bytes(group.limit_bytes))
    });
    let dropped = cells.iter().flat_map(|cell| &cell.phases).any(|phase| phase.dropped_bytes.is_some());
    let dropped = if dropped { ", page cache dropped between phases" } else { "" };
    format!(
        "{}: {} records of {} + {}, {} memory (data is {}x), durability {}, {} client(s), io {}{limit}{dropped}, seed \
         {}",
        cell.workload,
        count(records),
        text("/data/key/kind"),
        value,
        bytes(memory),
        or_dash((memory > 0).then(|| live as f64 / memory as f64)),
        text("/run/durability"),
        number("/run/threads"),
        modes.join(" and "),
        number("/run/seed"),
    )
}

/// How many times the memory budget the data is, for titles: a small one makes a disk benchmark one of memory.
pub(super) fn over_memory(cells: &[&CellRecord]) -> String {
    let budget = |cell: &CellRecord| cell.spec.pointer("/run/memory_budget")?.as_u64();
    let live = cells.iter().flat_map(|cell| &cell.phases).map(|phase| phase.live_bytes).max();
    let budget = cells.first().and_then(|cell| budget(cell)).filter(|budget| *budget > 0);
    let times = live.zip(budget).map(|(live, budget)| live as f64 / budget as f64);
    times.map_or(String::new(), |times| format!(", data {}x memory", three(times)))
}

/// The names of the measured phases, in order.
pub(super) fn measures(cells: &[&CellRecord]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for measure in cells.iter().flat_map(|cell| &cell.measures) {
        if !names.contains(&measure.name) {
            names.push(measure.name.clone());
        }
    }
    names
}

/// One line per engine: how long the phases before the measured ones took.
fn preparation(cells: &[&CellRecord]) -> Vec<String> {
    let line = |cell: &&CellRecord| {
        let before = cell.phases.iter().take_while(|phase| !phase.is_reported());
        let parts: Vec<_> = before
            .map(|phase| {
                let rate = phase.moved.completed as f64 * 1e9 / phase.moved.wall_ns.max(1) as f64;
                let rate = if phase.moved.completed == 0 { String::new() } else { format!(" ({rate:.0}/s)") };
                let capped = if phase.capped.is_some() { " CAPPED" } else { "" };
                format!("{} {}{rate}{capped}", phase.name, nanos(phase.moved.wall_ns))
            })
            .collect();
        wrap(&format!("  {}: {}", cell.engine.label, parts.join(", ")), 4)
    };
    cells.iter().flat_map(line).collect()
}

/// One measured workload: the numbers, where bytes went, and latencies.
fn block(name: &str, cells: &[&CellRecord], unequal: Option<&str>, repetitions: usize) -> Vec<String> {
    let rows: Vec<(&CellRecord, &Measure, &PhaseRecord)> = cells
        .iter()
        .flat_map(|cell| {
            cell.measures.iter().map(move |measure| (*cell, measure, &cell.phases[measure.phase]))
        })
        .filter(|(_, measure, _)| measure.name == name)
        .collect();
    let dist = rows.first().map_or("", |(_, measure, _)| measure.dist.as_str());
    let repeated = match repetitions {
        0 | 1 => "1 repetition: no error bars".to_owned(),
        more => format!("medians of {more} repetitions"),
    };
    let open = rows.iter().find_map(|(_, _, phase)| phase.open.as_ref());
    let driven = open.map_or("service time, closed loop".to_owned(), |open| {
        format!("open loop ({}), response from the arrival, service from the call", open.arrivals)
    });
    let mut out = wrap(&format!("{name} ({dist}{}), {driven}, {repeated}", over_memory(cells)), 2);
    out.extend(unequal.into_iter().flat_map(|why| wrap(&format!("  *** {NOT_EQUAL} *** {why}"), 4)));
    let mut numbers =
        table(&["engine", "ops/s", "wa", "wa open", "B/read", "miss", "sa", "sa peak", "cpu/op"]);
    for (cell, measure, _) in &rows {
        let d = &measure.derived;
        let sum = |by_kind: &std::collections::BTreeMap<String, f64>| {
            or_dash((!by_kind.is_empty()).then(|| by_kind.values().sum()))
        };
        numbers.add_row([
            cell.engine.label.clone(),
            d.ops_per_second.map_or("-".to_owned(), |rate| count(rate as u64)),
            or_dash(d.wa_settled),
            or_dash(d.wa_open),
            d.read_bytes_per_read.map_or("-".to_owned(), |bytes| count(bytes as u64)),
            sum(&d.misses_per_get),
            or_dash(d.sa_settled),
            or_dash(d.sa_peak),
            d.cpu_ns_per_op.map_or("-".to_owned(), |ns| nanos(ns as u64)),
        ]);
    }
    out.extend(numbers.lines());
    let mut latencies = table(&["engine", "operation", "count", "p50", "p99", "p99.9", "max"]);
    for (cell, _, phase) in &rows {
        for op in &phase.ops {
            let Some(latency) = &op.latency else { continue };
            let label = &cell.engine.label;
            // A batch is one call, with one time.
            if latency.count < op.count {
                let name = format!("{} in batches", op.op);
                latencies.add_row(latency_row(label, &name, latency.count, latency));
                continue;
            }
            let Some(response) = &op.response else {
                latencies.add_row(latency_row(label, &op.op, op.count, latency));
                continue;
            };
            latencies.add_row(latency_row(label, &format!("{} response", op.op), op.count, response));
            latencies.add_row(latency_row(label, &format!("{} service", op.op), op.count, latency));
        }
    }
    out.extend(latencies.lines());
    rows.iter().for_each(|(cell, measure, phase)| out.extend(remarks(cell, measure, phase)));
    let beside = rows.iter().map(|(cell, measure, _)| (cell.engine.label.as_str(), &measure.model));
    out.extend(theory::lines(&beside.collect::<Vec<_>>()));
    out
}

fn latency_row(engine: &str, op: &str, ops: u64, latency: &LatencySummary) -> [String; 7] {
    let told = |ns: Option<u64>| ns.map_or("-".to_owned(), nanos);
    [
        engine.to_owned(),
        op.to_owned(),
        count(ops),
        told(latency.p50_ns),
        told(latency.p99_ns),
        told(latency.p999_ns),
        nanos(latency.max_ns),
    ]
}

/// What the numbers of one engine leave out, a line for each of: writes, reads, memory, time.
fn remarks(cell: &CellRecord, measure: &Measure, phase: &PhaseRecord) -> Vec<String> {
    let topics = [
        ("writes", writes(&measure.derived)),
        ("reads", reads(&measure.derived)),
        ("memory", memory(cell, measure, phase)),
        ("time", time(measure, phase)),
        ("load", phase.open.iter().flat_map(loops::load).collect()),
        ("state", phase.steady.iter().map(loops::steadiness).collect()),
    ];
    let told = topics.into_iter().filter(|(_, parts)| !parts.is_empty());
    told.flat_map(|(topic, parts)| wrap(&format!("  {} {topic}: {}", cell.engine.label, parts.join("; ")), 4))
        .collect()
}

/// Bytes per user byte by cause, and what is not in them or does not belong to them.
fn writes(d: &Derived) -> Vec<String> {
    let mut parts = Vec::new();
    if !d.wa_by_cause.is_empty() {
        let named = d.wa_by_cause.iter().take(CAUSES_MAX);
        let named: Vec<_> = named.map(|(cause, share)| format!("{cause} {}", three(*share))).collect();
        let left: f64 = d.wa_by_cause.iter().skip(CAUSES_MAX).map(|(_, share)| share).sum();
        let left = if left >= 0.005 { format!(" + other {}", three(left)) } else { String::new() };
        parts.push(format!("wa is {}{left}", named.join(" + ")));
    }
    if let Some(zeros) = d.prepared_per_user_byte.filter(|zeros| *zeros > 0.0) {
        parts.push(format!("not in it: zeros ahead of the log {}", three(zeros)));
    }
    if d.debt_before_bytes > 0 {
        parts.push(format!("wa also pays {} of debt from before", bytes(d.debt_before_bytes)));
    }
    if d.debt_bytes > 0 || d.debt_left_bytes > 0 {
        parts.push(format!("debt {}, {} after drain", bytes(d.debt_bytes), bytes(d.debt_left_bytes)));
    }
    parts
}

/// What gets asked memory for, and what writes made the engine read.
fn reads(d: &Derived) -> Vec<String> {
    let mut parts = Vec::new();
    let asked = d.blocks_per_get.iter().filter(|(_, blocks)| **blocks > 0.0);
    let asked: Vec<_> = asked.map(|(kind, blocks)| format!("{kind} {}", three(*blocks))).collect();
    if !asked.is_empty() {
        parts.push(format!("a get asks for {}", asked.join(" + ")));
    }
    if let Some((cause, _)) = d.upkeep_read_by_cause.first() {
        let all: f64 = d.upkeep_read_by_cause.iter().map(|(_, share)| share).sum();
        parts.push(format!("writes cause {} B read per user byte, most by {cause}", three(all)));
    }
    parts
}

fn memory(cell: &CellRecord, measure: &Measure, phase: &PhaseRecord) -> Vec<String> {
    let declared = phase.declared_peak_bytes();
    let declared = declared.map_or("not declared".to_owned(), |peak| format!("{} declared", bytes(peak)));
    let mut parts = vec![declared];
    if let Some(rss) = phase.rss_anon_peak_bytes {
        let before = cell.rss_anon_before_bytes;
        let before = before.map_or(String::new(), |before| format!(" ({} before it opened)", bytes(before)));
        parts.push(format!("process {}{before}", bytes(rss)));
    }
    if let Some(peak) = cell.cgroup.as_ref().and_then(|group| group.peak_bytes) {
        parts.push(format!("its control group held {} at most, page cache included", bytes(peak)));
    }
    if let Some(without) = measure.derived.sa_settled_without_log {
        parts.push(format!("sa without log {}", three(without)));
    }
    parts
}

fn time(measure: &Measure, phase: &PhaseRecord) -> Vec<String> {
    let d = &measure.derived;
    let mut parts = Vec::new();
    if let Some(pace) = pace(&phase.samples) {
        parts.push(format!("pace [{pace}]"));
    }
    if let Some(share) = d.engine_time_share {
        let rest = if phase.open.is_some() { "waiting or in the client" } else { "in the client" };
        parts.push(format!("{:.0} % in the engine, the rest {rest}", share * 100.0));
    }
    if phase.moved.user_bytes > 0 {
        let stalled = d.stalled_share.map_or("-".to_owned(), |share| format!("{:.1} %", share * 100.0));
        parts.push(format!("writers waited {stalled}"));
    }
    if let Some(capped) = &phase.capped {
        parts.push(format!("CAPPED: {capped}"));
    }
    parts
}

/// Throughput over time in one word: each sign is a twentieth of the phase, from `_` (nearly nothing) to `#` (the
/// fastest). `None` if the phase was too short to have any.
fn pace(samples: &[Sample]) -> Option<String> {
    let end = samples.last().filter(|last| samples.len() > PACE_SIGNS && last.ops > 0)?;
    let at = |share: usize| {
        let ms = end.ms * share as u64 / PACE_SIGNS as u64;
        samples.iter().take_while(|sample| sample.ms <= ms).last().map_or(0, |sample| sample.ops)
    };
    let done: Vec<u64> = (0..PACE_SIGNS).map(|i| at(i + 1).saturating_sub(at(i))).collect();
    let most = done.iter().copied().max().filter(|most| *most > 0)?;
    let signs = b"_.:-=+*#";
    let sign = |ops: &u64| char::from(signs[(ops * (signs.len() as u64 - 1) / most) as usize]);
    Some(done.iter().map(sign).collect())
}

/// The checks in one line if all is well, else every failed one.
fn checks<'a>(cells: &[&'a CellRecord], between: impl Iterator<Item = &'a Check>) -> Vec<String> {
    let of_cells =
        cells.iter().flat_map(|cell| cell.checks.iter().map(|check| (cell.engine.label.as_str(), check)));
    let all: Vec<_> = of_cells.chain(between.map(|check| ("all engines", check))).collect();
    let number = |verdict| all.iter().filter(|(_, check)| check.verdict == verdict).count();
    let (pass, fail) = (number(Verdict::Pass), number(Verdict::Fail));
    let ids = |verdict: Verdict| {
        let mut ids: Vec<&str> = Vec::new();
        for (_, check) in all.iter().filter(|(_, check)| check.verdict == verdict) {
            if !ids.contains(&check.id.as_str()) {
                ids.push(&check.id);
            }
        }
        if ids.is_empty() { String::new() } else { format!("; {}: {}", verdict.word(), ids.join(", ")) }
    };
    let skipped = ids(Verdict::NotApplicable) + &ids(Verdict::NotMeasured);
    let mut out = wrap(&format!("checks: {pass} passed, {fail} failed{skipped}"), 2);
    for (engine, check) in all.iter().filter(|(_, check)| check.verdict == Verdict::Fail) {
        out.extend(wrap(&format!("  INVALID {engine} {}: {}: {}", check.id, check.what, check.detail), 4));
    }
    out
}

/// A table without lines: numbers to the right, the first column and words to the left.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().copied());
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        if index > 0 && !WORDS.contains(&header[index]) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Breaks a line at spaces so that it fits, later lines indented.
pub fn wrap(text: &str, indent: usize) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let lead = text.len() - text.trim_start().len();
    let mut line = " ".repeat(lead);
    for word in text.split_whitespace() {
        let is_fresh = line.trim().is_empty();
        if !is_fresh && line.len() + 1 + word.len() > usize::from(WIDTH) {
            out.push(std::mem::replace(&mut line, " ".repeat(indent)));
        } else if !is_fresh {
            line.push(' ');
        }
        line.push_str(word);
    }
    out.push(line);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_shows_in_the_pace() {
        let ops = |tick: u64| if tick < 20 { tick * 100 } else { 2000 + (tick - 20) };
        let sample = |tick: u64| Sample { ms: tick * 100, ops: ops(tick), ..Sample::default() };
        let samples: Vec<_> = (0..=40).map(sample).collect();
        assert_eq!(pace(&samples).as_deref(), Some("##########__________"));
        assert_eq!(pace(&samples[..5]), None);
    }

    #[test]
    fn long_lines_break_at_spaces() {
        let text = format!("  name: {}", "word ".repeat(40));
        let lines = wrap(&text, 4);
        assert!(lines.iter().all(|line| line.len() <= 80), "{lines:?}");
        assert!(lines[0].starts_with("  name: word") && lines[1].starts_with("    word"));
    }
}
