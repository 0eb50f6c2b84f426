//! The page: one file with everything in it, no script and no network, for screens of any width, light or dark.

use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::equal::NOT_EQUAL;
use super::result::ResultFile;
use super::svg::escape;
use super::{bars, charts, heat, loops, offered, percentiles, rum, scorecard, shape, theory};
use crate::claims::ClaimsFile;
use crate::compare::{Group, Repetition, groups, typical};
use crate::metrics::{LatencySummary, PhaseRecord};
use crate::run::cell::{CellRecord, Measure};
use crate::run::checks::{Check, Verdict};
use crate::units::{bytes, count, nanos, or_dash, three};

/// The name of the file in `--out`.
pub const FILE_NAME: &str = "report.html";
const STYLE: &str = include_str!("page.css");

/// One engine's measured phase.
pub struct Row<'a> {
    /// The cell it belongs to.
    pub cell: &'a CellRecord,
    /// Its numbers.
    pub measure: &'a Measure,
    /// What they were computed from.
    pub phase: &'a PhaseRecord,
    /// All repetitions, this one among them.
    pub runs: &'a [Repetition<'a>],
}

impl<'a> Row<'a> {
    /// What reads and writes felt like: response times in an open loop, service times in a closed one.
    fn felt(&self) -> (&'a Option<LatencySummary>, &'a Option<LatencySummary>) {
        let phase = self.phase;
        if phase.open.is_some() {
            (&phase.read_responses, &phase.write_responses)
        } else {
            (&phase.reads, &phase.writes)
        }
    }

    /// True if the engine counts its own bytes and so knows what it owes.
    pub fn tells_debt(&self) -> bool {
        self.phase.moved.io.is_some()
    }

    /// The label of the engine.
    pub fn label(&self) -> &'a str {
        &self.cell.engine.label
    }
}

/// Everything up to the first heading.
pub fn head(title: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{}</title><style>\n{STYLE}</style></head>\n<body>\n",
        escape(title)
    )
}

/// The whole page. `json` is the text of the result file; `claims` are those beside it, if there are any.
pub fn page(result: &ResultFile, json: &str, claims: Option<&ClaimsFile>) -> String {
    let title = format!("kvlab: {}", result.workloads().join(", "));
    let mut out = head(&title);
    let _ = write!(out, "<h1>{}</h1>\n<p>", escape(&title));
    for stamp in &result.stamps {
        let _ = write!(out, "<span class=\"stamp\">{}</span>", escape(stamp));
    }
    let most = result.workloads().iter().map(|workload| result.repetitions(workload)).max().unwrap_or(1);
    let _ = if most > 1 {
        writeln!(
            out,
            "Medians of {most} repetitions; charts over time show the one nearest to the median, latencies are those of all \
             repetitions together.</p>"
        )
    } else {
        writeln!(out, "One repetition per engine: no error bars, so small differences mean nothing.</p>")
    };
    for sentence in super::trusted::sentences(result) {
        let _ = writeln!(out, "<p class=\"dim\">{}</p>", escape(&sentence));
    }
    for note in result.notes.iter().chain(&result.warnings) {
        let _ = writeln!(out, "<p class=\"dim\">{}</p>", escape(note));
    }
    let (shown, all) = (typical(&result.cells), groups(&result.cells));
    out.push_str(&heat::section(result));
    for workload in result.workloads() {
        let cells: Vec<_> = shown.iter().filter(|cell| cell.workload == workload).collect();
        section(&mut out, result, &all, &cells);
    }
    if let Some(claims) = claims {
        out.push_str(&super::claims::section(claims));
    }
    out.push_str(&checks(result));
    environment(&mut out, result, json);
    out.push_str("</body></html>\n");
    out
}

/// One workload: its setting, what failed, each measured phase, then what the whole cell left.
fn section(out: &mut String, result: &ResultFile, groups: &[Group<'_>], cells: &[&CellRecord]) {
    let _ = writeln!(out, "<section>\n<p class=\"setting\">{}</p>", escape(&super::table::setting(cells)));
    for cell in cells.iter().filter(|cell| cell.failure.is_some() || cell.interrupted) {
        let why = cell.failure.as_deref().unwrap_or("interrupted");
        let _ = writeln!(out, "<p class=\"fail\">{}: {}</p>", escape(&cell.engine.label), escape(why));
    }
    for name in super::table::measures(cells) {
        measured(out, result, &rows(groups, cells, &name), cells, &name);
    }
    let figures = offered::figure_of(groups, cells) + &rum::triangle(cells) + &shape::figures(cells);
    if !figures.is_empty() {
        let _ = writeln!(out, "<h2>Overheads and shape</h2>\n<div class=\"grid2\">{figures}</div>");
    }
    out.push_str("</section>\n");
}

/// What each engine did in the phase `name`.
fn rows<'a>(groups: &'a [Group<'a>], cells: &[&'a CellRecord], name: &str) -> Vec<Row<'a>> {
    let of_cell = |cell: &&'a CellRecord| {
        let cell = *cell;
        let measures = cell.measures.iter().filter(|measure| measure.name == name);
        let row = |measure| Row {
            cell,
            measure,
            phase: &cell.phases[measure.phase],
            runs: repetitions(groups, cell, name),
        };
        measures.map(row).collect::<Vec<_>>()
    };
    cells.iter().flat_map(of_cell).collect()
}

/// One measured phase: the engines' numbers, then their figures.
fn measured(out: &mut String, result: &ResultFile, rows: &[Row<'_>], cells: &[&CellRecord], name: &str) {
    let dist = rows.first().map_or("", |row| row.measure.dist.as_str());
    let setting = escape(dist) + &super::table::over_memory(cells);
    let _ = writeln!(out, "<h2>{} <span class=\"dim\">({setting})</span></h2>", escape(name));
    let workload = cells.first().map_or("", |cell| cell.workload.as_str());
    if let Some(why) = result.unequal(workload, name) {
        let why = escape(why);
        let _ = writeln!(out, "<p><span class=\"stamp\">{NOT_EQUAL}</span>{why}</p>");
    }
    out.push_str("<h3>Scorecard</h3>\n");
    out.push_str(&scorecard::section(result, workload, name));
    let _ = writeln!(out, "<details><summary>All numbers of {}</summary>", escape(name));
    out.push_str(&headline(rows));
    let harness = super::trusted::harness(result, workload, name);
    for line in harness.into_iter().chain(result.ratios(workload, name)) {
        let _ = writeln!(out, "<p>{}</p>", escape(&line));
    }
    out.push_str("</details>\n");
    let beside: Vec<_> = rows.iter().map(|row| (row.label(), &row.measure.model)).collect();
    out.push_str(&theory::section(&beside));
    out.push_str("<div class=\"grid2\">");
    out.push_str(&bars::written(rows));
    out.push_str(&bars::read(rows));
    out.push_str(&charts::amplifications(rows));
    out.push_str(&percentiles::latency(rows));
    out.push_str(&charts::throughput(rows));
    out.push_str(&charts::tail(rows));
    out.push_str(&charts::backlog(rows));
    out.push_str(&charts::debt(rows));
    out.push_str(&charts::space(rows));
    out.push_str(&charts::memory(rows));
    out.push_str("</div>\n");
    for row in rows.iter().filter(|row| row.measure.derived.debt_before_bytes > 0) {
        let debt = bytes(row.measure.derived.debt_before_bytes);
        let name = escape(row.label());
        let _ = writeln!(
            out,
            "<p>{name} began with {debt} of debt: what paid it is among the bytes written.</p>"
        );
    }
    out.push_str(&loops::responses(rows));
    out.push_str(&loops::windows(rows));
    for row in rows.iter().filter(|row| row.phase.capped.is_some()) {
        let why = row.phase.capped.as_deref().unwrap_or_default();
        let _ = writeln!(out, "<p>{} was capped: {}</p>", escape(row.label()), escape(why));
    }
}

/// The repetitions behind what is shown of `cell` in the phase `measure`.
pub(super) fn repetitions<'a>(
    groups: &'a [Group<'a>],
    cell: &CellRecord,
    measure: &str,
) -> &'a [Repetition<'a>] {
    let mine = |group: &&Group<'_>| {
        (group.workload, group.engine, group.measure) == (&*cell.workload, &*cell.engine.label, measure)
    };
    groups.iter().find(mine).map_or(&[], |group| &group.runs)
}

/// What the columns of the table of all numbers mean.
const HEADLINE: &str = "Times are service times, call to return, in a closed loop; response times, arrival to return, in an \
    open one. Bytes written count the drain behind the phase. CPU is that of the whole process, harness included. Peak is \
    the most space seen in ten looks a second: what lived shorter is not in it. Debt left is owed after the drain, dirty \
    pages in a B+tree, entries to flush and merge in an LSM tree: not to be compared. A dash: not measured, or too few \
    samples to tell.";

/// Cost per operation, one row per engine.
fn headline(rows: &[Row<'_>]) -> String {
    let mut out = String::from("<div class=\"scroll\"><table><tr>");
    let heads = [
        "engine",
        "ops/s",
        "read p50",
        "read p99",
        "write p50",
        "write p99",
        "max",
        "written / user byte",
        "read B / read",
        "blocks / get",
        "space / live",
        "peak",
        "CPU / op",
        "memory",
        "writers waited",
        "debt left",
    ];
    heads.iter().for_each(|head| {
        let _ = write!(out, "<th>{head}</th>");
    });
    out.push_str("</tr>");
    for row in rows {
        let d = &row.measure.derived;
        let told = |of: &Option<LatencySummary>, which: fn(&LatencySummary) -> Option<u64>| {
            of.as_ref().and_then(which).map_or("-".to_owned(), nanos)
        };
        let (reads, writes) = row.felt();
        let max = [reads, writes].into_iter().flatten().map(|latency| latency.max_ns).max();
        let blocks: Vec<_> = d
            .blocks_per_get
            .iter()
            .map(|(kind, blocks)| format!("{} {}", three(*blocks), escape(kind)))
            .collect();
        let blocks = if blocks.is_empty() { "-".to_owned() } else { blocks.join("<br>") };
        let cells = [
            escape(row.label()),
            d.ops_per_second.map_or("-".to_owned(), |rate| count(rate as u64)),
            told(reads, |latency| latency.p50_ns),
            told(reads, |latency| latency.p99_ns),
            told(writes, |latency| latency.p50_ns),
            told(writes, |latency| latency.p99_ns),
            max.map_or("-".to_owned(), nanos),
            or_dash(d.wa_settled),
            d.read_bytes_per_read.map_or("-".to_owned(), |read| count(read as u64)),
            blocks,
            or_dash(d.sa_settled),
            or_dash(d.sa_peak),
            d.cpu_ns_per_op.map_or("-".to_owned(), |ns| nanos(ns as u64)),
            row.phase.declared_peak_bytes().map_or("-".to_owned(), bytes),
            d.stalled_share.map_or("-".to_owned(), |share| format!("{:.1} %", share * 100.0)),
            if row.tells_debt() { bytes(d.debt_left_bytes) } else { "-".to_owned() },
        ];
        let _ = write!(out, "<tr><td>{}</td></tr>", cells.join("</td><td>"));
    }
    let _ = writeln!(out, "</table></div>\n<p class=\"dim\">{HEADLINE}</p>");
    out
}

fn checks(result: &ResultFile) -> String {
    let mut out = String::from("<h2>Checks</h2>\n<div class=\"scroll\"><table class=\"left\">");
    out.push_str("<tr><th>check</th><th>engine</th><th></th><th>compares</th><th>numbers</th></tr>");
    let mut row = |engine: &str, check: &Check| {
        let class = match check.verdict {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::NotApplicable | Verdict::NotMeasured => "dim",
        };
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td class=\"{class}\">{}</td><td>{}</td><td>{}</td></tr>",
            escape(&check.id),
            escape(engine),
            check.verdict.word(),
            escape(&check.what),
            escape(&check.detail)
        );
    };
    for cell in &result.cells {
        cell.checks.iter().for_each(|check| row(&cell.engine.label, check));
    }
    result.between.iter().for_each(|(_, check)| row("all", check));
    out.push_str("</table></div>\n");
    out
}

/// Machine, settings, how to repeat, and the raw numbers.
fn environment(out: &mut String, result: &ResultFile, json: &str) {
    let _ = write!(out, "<h2>Environment</h2>\n<dl>");
    let mut item = |name: &str, text: &str| {
        let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(text));
    };
    machine(&mut item, result);
    item("asked for", &format!("io {}, background {}", result.ground.io, result.ground.background));
    for cell in &result.cells {
        let Some(info) = &cell.info else { continue };
        let settings: Vec<_> = info.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let io = info.io.map_or("no files".to_owned(), |io| format!("io {io} obtained"));
        let settings = settings.join(" ");
        item(
            &cell.engine.label,
            &format!("{} {}, {io}, operations {}, {settings}", info.name, info.version, cell.op_digest),
        );
        let phases: Vec<_> = cell
            .phases
            .iter()
            .map(|phase| format!("{} {} s", phase.name, three(phase.moved.wall_ns as f64 / 1e9)))
            .collect();
        item("", &phases.join(", "));
    }
    let _ = write!(
        out,
        "</dl>\n<h3>Repeat it</h3>\n<pre>{}</pre>\n\
         <p><a download=\"result.json\" href=\"data:application/json;base64,{}\">All numbers as JSON</a></p>\n",
        escape(&command(&result.command)),
        STANDARD.encode(json)
    );
}

/// The program and the machine.
fn machine(item: &mut impl FnMut(&str, &str), result: &ResultFile) {
    let (build, host) = (&result.build, &result.host);
    item("program", &build.summary());
    item("built for", &format!("{}, level {}, {}", build.target, build.opt_level, build.target_features));
    item("date", &format!("{} to {}", result.started, result.ended));
    item("machine", &host.summary());
    item("kernel", &host.kernel);
    let memory = host.ram_available_bytes.map_or("unknown".to_owned(), bytes);
    item("memory", &format!("{memory} available when the run began"));
    if let Some(governor) = &host.governor {
        item("governor", governor);
    }
    let limit = |what: Option<String>| what.unwrap_or_else(|| "none found".to_owned());
    let limits = format!(
        "memory {}, processor {}; groups {}",
        limit(host.limits.memory_bytes.map(bytes)),
        limit(host.limits.cpu_cores.map(|cores| format!("{} cores", three(cores)))),
        host.limits.groups.join(" ")
    );
    item("limits", &limits);
    item("load", &host.load_summary());
    if let Some(mount) = &host.mount {
        let (source, point) = (&mount.source, mount.point.display());
        item("mount", &format!("{source} on {point}, {}, {}", mount.file_system, mount.options));
    }
    if let Some(calibration) = &result.calibration {
        item("device rates", &super::trusted::rates(calibration).join("; "));
        item("clock probe", &format!("{} when calibrated", nanos(calibration.probes.clock_ns)));
    }
}

/// The command line as a shell takes it, the program by its name.
pub fn command(words: &[String]) -> String {
    let quoted = words.iter().enumerate().map(|(index, word)| {
        let word = if index == 0 { word.rsplit('/').next().unwrap_or(word) } else { word };
        let is_plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=:,".contains(c));
        if is_plain && !word.is_empty() {
            word.to_owned()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_pasted() {
        let words = ["/x/kvlab", "run", "my file.toml", "--engine", "a,b:c=1"].map(str::to_owned);
        assert_eq!(command(&words), "kvlab run 'my file.toml' --engine a,b:c=1");
    }

    /// Every colour of a theme that has a meaning, by its name in the style sheet.
    fn palette(theme: &str) -> Vec<(&str, [f64; 3])> {
        let meanings = ["s", "k", "up", "down", "bad", "good"];
        let named = theme.split("--").skip(1).filter_map(|part| part.split_once(": #"));
        let known = named.filter(|(name, _)| meanings.contains(&name.trim_end_matches(char::is_numeric)));
        let part = |hex: &str, at: usize| f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
        known.map(|(name, hex)| (name, [part(hex, 0), part(hex, 2), part(hex, 4)])).collect()
    }

    #[test]
    fn no_two_meanings_share_a_colour_in_light_or_dark() {
        let (light, rest) = STYLE.split_once("@media (prefers-color-scheme: dark)").unwrap();
        let dark = rest.split_once("* {").unwrap().0;
        for theme in [light, dark] {
            let palette = palette(theme);
            assert_eq!(palette.len(), 8 + 7 + 4, "engines, causes, sides and verdicts: {palette:?}");
            for (index, (name, colour)) in palette.iter().enumerate() {
                for (other, near) in &palette[..index] {
                    let apart: f64 =
                        colour.iter().zip(near).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
                    assert!(apart >= 30.0, "{name} and {other} are {apart:.0} apart");
                }
            }
        }
    }
}
