//! Maps of a matrix: where along its axes one engine overtakes the other.

use std::fmt::Write;

use super::result::ResultFile;
use super::svg::escape;
use super::table::measures;
use crate::claims::select::label;
use crate::compare::{Group, Paired, Ratio, groups};
use crate::metrics::Derived;
use crate::run::CellRecord;
use crate::units::three;

/// A ratio of 2 to this power, or its inverse, has the full colour.
const FULL_COLOUR_LOG2: f64 = 3.0;
/// The full colour, in per cent over the ground of the page: text must stay readable on it.
const FULL_COLOUR_PERCENT: f64 = 60.0;

/// A number that is mapped: its name, whether more is better, and where it is.
type Mapped = (&'static str, bool, fn(&Derived) -> Option<f64>);

const MAPPED: [Mapped; 2] = [
    ("operations / s", true, |derived| derived.ops_per_second),
    ("written / user byte, settled", false, |derived| derived.wa_settled),
];

/// The cells of one workload file: labels of its matrix with the names they ran under, in order.
struct Matrix {
    /// The name of the file.
    name: String,
    /// For each cell the name it ran under, and its place on every axis.
    cells: Vec<(String, Vec<(String, String)>)>,
}

/// A label such as `value.size=100 phase.measure.dist=uniform` as places on axes.
fn places(label: &str) -> Vec<(String, String)> {
    let parts = label.split_whitespace().filter_map(|part| part.split_once('='));
    parts.map(|(axis, value)| (axis.to_owned(), value.to_owned())).collect()
}

fn matrices(cells: &[CellRecord]) -> Vec<Matrix> {
    let mut out: Vec<Matrix> = Vec::new();
    for cell in cells.iter().filter(|cell| !label(cell).is_empty()) {
        let name = cell.spec.pointer("/name").and_then(serde_json::Value::as_str).unwrap_or_default();
        if !out.iter().any(|matrix| matrix.name == name) {
            out.push(Matrix { name: name.to_owned(), cells: Vec::new() });
        }
        let Some(matrix) = out.iter_mut().find(|matrix| matrix.name == name) else { continue };
        if !matrix.cells.iter().any(|(workload, _)| *workload == cell.workload) {
            matrix.cells.push((cell.workload.clone(), places(label(cell))));
        }
    }
    out.retain(|matrix| matrix.cells.len() > 1);
    out
}

/// Values without repetition, in order.
fn distinct(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    values.for_each(|value| {
        if !out.contains(&value) {
            out.push(value);
        }
    });
    out
}

impl Matrix {
    fn value<'m>(&self, cell: &'m [(String, String)], axis: &str) -> &'m str {
        cell.iter().find(|(name, _)| name == axis).map_or("", |(_, value)| value.as_str())
    }

    fn values(&self, axis: &str) -> Vec<String> {
        distinct(self.cells.iter().map(|(_, cell)| self.value(cell, axis).to_owned()))
    }

    /// Axes with more than one value.
    fn axes(&self) -> Vec<String> {
        let all = distinct(self.cells.iter().flat_map(|(_, cell)| cell.iter().map(|(axis, _)| axis.clone())));
        all.into_iter().filter(|axis| self.values(axis).len() > 1).collect()
    }

    /// Everything but the columns, in words: one row of a map each.
    fn rows(&self, column: &str) -> Vec<String> {
        distinct(self.cells.iter().map(|(_, cell)| self.row(cell, column)))
    }

    /// True if `measure` is a phase that has no name of its own, so that it bears that of the workload.
    fn is_own(&self, measure: &str) -> bool {
        self.cells.iter().any(|(workload, _)| workload == measure)
    }

    /// The runs of `engine` at one place of the matrix.
    fn group<'g, 'r>(
        &self,
        groups: &'g [Group<'r>],
        measure: &str,
        engine: &str,
        row: &str,
        (column, value): (&str, &str),
    ) -> Option<&'g Group<'r>> {
        let is_there =
            |cell: &[(String, String)]| self.row(cell, column) == row && self.value(cell, column) == value;
        let workload = &self.cells.iter().find(|(_, cell)| is_there(cell))?.0;
        // A phase without a name of its own is called otherwise in every cell.
        let measure = if self.is_own(measure) { workload } else { measure };
        groups
            .iter()
            .find(|group| (group.engine, group.measure) == (engine, measure) && group.workload == *workload)
    }

    fn row(&self, cell: &[(String, String)], column: &str) -> String {
        let others = self.axes().into_iter().filter(|axis| axis != column);
        others.map(|axis| format!("{axis}={}", self.value(cell, &axis))).collect::<Vec<_>>().join(" ")
    }
}

/// A row of a map: two engines in a measured phase, along the columns.
struct Line<'a> {
    /// What stands before it.
    head: String,
    /// The place on the axes that are not the columns; see [`Matrix::row`].
    row: String,
    measure: &'a str,
    engine: &'a str,
    baseline: &'a str,
}

/// The maps of every matrix in the result; empty if there is none that ran with two engines.
pub fn section(result: &ResultFile) -> String {
    let all = groups(&result.cells);
    let mut out = String::new();
    for matrix in matrices(&result.cells) {
        let Some(column) = matrix.axes().pop() else { continue };
        let is_here = |cell: &&CellRecord| matrix.cells.iter().any(|(name, _)| *name == cell.workload);
        let here: Vec<&CellRecord> = result.cells.iter().filter(is_here).collect();
        let mut own = false;
        let mut phases = measures(&here);
        // One phase without a name of its own stands for that of all cells.
        phases.retain(|measure| !matrix.is_own(measure) || !std::mem::replace(&mut own, true));
        let lines: Vec<Vec<Line<'_>>> =
            phases.iter().flat_map(|measure| lines(result, &all, &matrix, &column, measure)).collect();
        // Along a single axis each pair of engines is one row: together they make one map.
        let lines =
            if matrix.axes().len() == 1 { vec![lines.into_iter().flatten().collect()] } else { lines };
        let maps: String = lines
            .iter()
            .filter(|lines| !lines.is_empty())
            .flat_map(|lines| MAPPED.iter().map(|mapped| map(&matrix, &all, &column, lines, mapped)))
            .collect();
        if !maps.is_empty() {
            let _ = write!(out, "<h3>{}</h3>\n<div class=\"grid2\">{maps}</div>\n", escape(&matrix.name));
        }
    }
    if out.is_empty() {
        return out;
    }
    format!(
        "<h2 id=\"crossover\">Where they cross</h2>\n<p class=\"dim\"><i class=\"key\" style=\"--c:var(--up)\"></i>the first \
         engine is better <i class=\"key\" style=\"--c:var(--down)\"></i>the second is better; the colour is the logarithm \
         of the ratio, full at {:.0}x. Hatched: the interval holds 1, or one repetition, which has none: the runs do not \
         tell.</p>\n{out}",
        FULL_COLOUR_LOG2.exp2()
    )
}

/// The rows of one measured phase: for each pair of engines all places on the other axes.
fn lines<'a>(
    result: &ResultFile,
    all: &'a [Group<'a>],
    matrix: &Matrix,
    column: &str,
    measure: &'a str,
) -> Vec<Vec<Line<'a>>> {
    let pairs = matrix.cells.iter().map(|(workload, _)| {
        result.pairs(all, workload, if matrix.is_own(measure) { workload } else { measure })
    });
    // A cell in which an engine failed must not take it from the others.
    let pairs = pairs.max_by_key(Vec::len).unwrap_or_default();
    let phase = if matrix.is_own(measure) { String::new() } else { format!("{measure}: ") };
    let of = |(engine, baseline): (&'a Group<'a>, &'a Group<'a>)| {
        let line = |row: String| Line {
            head: format!("{phase}{} over {}", engine.engine, baseline.engine),
            row,
            measure,
            engine: engine.engine,
            baseline: baseline.engine,
        };
        matrix.rows(column).into_iter().map(line).collect()
    };
    pairs.into_iter().map(of).collect()
}

/// One map: a number along the axes, a row for each of `lines`.
fn map(
    matrix: &Matrix,
    groups: &[Group<'_>],
    column: &str,
    lines: &[Line<'_>],
    (name, more_is_better, of): &Mapped,
) -> String {
    let columns = matrix.values(column);
    let mut body =
        format!("<div class=\"scroll\"><table class=\"heat\"><tr><th scope=\"col\">{}</th>", escape(column));
    columns.iter().for_each(|value| {
        let _ = write!(body, "<th scope=\"col\">{}</th>", escape(value));
    });
    body.push_str("</tr>");
    let (mut told, mut rules) = (0, Vec::new());
    for line in lines {
        let head = if line.row.is_empty() { &line.head } else { &line.row };
        let _ = write!(body, "<tr><th scope=\"row\">{}</th>", escape(head));
        for value in &columns {
            let found = matrix.group(groups, line.measure, line.engine, &line.row, (column, value));
            let base = matrix.group(groups, line.measure, line.baseline, &line.row, (column, value));
            let paired = found.zip(base).map(|(engine, baseline)| Paired::of(engine, baseline));
            let ratio = match paired {
                Some(Ok(paired)) => paired.ratio(name, *more_is_better, |run| of(&run.measure.derived)),
                Some(Err(rule)) => {
                    body.push_str("<td>not equal</td>");
                    rules.push(rule);
                    continue;
                }
                None => None,
            };
            told += usize::from(ratio.is_some());
            body.push_str(&ratio.map_or("<td>-</td>".to_owned(), |ratio| painted(&ratio, *more_is_better)));
        }
        body.push_str("</tr>");
    }
    // That nothing may be compared is said once, in the first map.
    if told == 0 && (rules.is_empty() || *name != MAPPED[0].0) {
        return String::new();
    }
    let caption = rules.first().map_or(String::new(), |rule| format!("Not equal: not {rule}."));
    let title = match lines {
        [first, ..] if !first.row.is_empty() => format!("{}, {name}", first.head),
        _ => (*name).to_owned(),
    };
    super::charts::figure(&title, &(body + "</table></div>"), &caption)
}

/// A cell in its colour, with its number for those who do not see it.
fn painted(ratio: &Ratio, more_is_better: bool) -> String {
    let log2 = ratio.value.max(f64::MIN_POSITIVE).log2();
    let percent = (log2.abs() / FULL_COLOUR_LOG2).min(1.0) * FULL_COLOUR_PERCENT;
    let side = if (log2 > 0.0) == more_is_better { "up" } else { "down" };
    let is_clear = ratio.interval.is_some_and(|interval| interval.low > 1.0 || interval.high < 1.0);
    let class = if is_clear { "" } else { " class=\"unclear\"" };
    let interval = ratio.interval.map_or(String::new(), |interval| {
        format!("<small>{} to {}</small>", three(interval.low), three(interval.high))
    });
    format!(
        "<td{class} style=\"--p:{percent:.0}%;--c:var(--{side})\"><b>{}x</b>{interval}</td>",
        three(ratio.value)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::group::tests::cell;
    use crate::run::plan::Ground;
    use crate::stats::Interval;
    use crate::sys::host::Host;

    fn result(sizes: &[&str]) -> ResultFile {
        let ground = Ground { io: kv_api::IoMode::Buffered, background: kv_api::Background::Threads(1) };
        let mut result = ResultFile::new(Host::of(std::path::Path::new(".")), ground);
        for (step, size) in sizes.iter().enumerate() {
            for block in 0..3 {
                for (engine, rate) in [("a", 100.0), ("b", 50.0 * (step + 1) as f64 * (step + 1) as f64)] {
                    let mut cell = cell(engine, block, rate);
                    let label = format!("value.size={size} dist=zipf");
                    cell.workload = format!("sizes {label}");
                    cell.measures[0].name.clone_from(&cell.workload);
                    cell.spec["name"] = "sizes".into();
                    cell.spec["label"] = label.into();
                    result.cells.push(cell);
                }
            }
        }
        result
    }

    #[test]
    fn a_matrix_shows_where_the_sides_change() {
        let page = section(&result(&["100", "1000"]));
        for part in [
            ">operations / s</h3>",
            "<th scope=\"row\">b over a</th>",
            "<b>0.50x</b>",
            "<b>2.00x</b>",
            "var(--down)",
            "var(--up)",
            ">1000</th>",
        ] {
            assert!(page.contains(part), "`{part}` in {page}");
        }
        assert!(!page.contains("written / user byte"), "what was not measured has no map");
        assert_eq!(section(&result(&["100"])), "", "one cell is no matrix");
    }

    #[test]
    fn an_interval_that_holds_one_is_hatched() {
        let interval = |low, high| Some(Interval { estimate: 2.0, low, high, blocks: 3 });
        let ratio = |interval| Ratio { metric: "", value: 2.0, interval, better: None };
        assert!(painted(&ratio(interval(0.9, 4.0)), true).contains("class=\"unclear\""));
        assert!(painted(&ratio(None), true).contains("class=\"unclear\""));
        let clear = painted(&ratio(interval(1.5, 2.5)), false);
        assert!(
            !clear.contains("unclear") && clear.contains("--p:20%") && clear.contains("--down"),
            "{clear}"
        );
    }

    #[test]
    fn axes_are_read_off_labels() {
        let matrix = Matrix {
            name: "m".to_owned(),
            cells: ["x=1 y=a z=k", "x=2 y=a z=k", "x=1 y=b z=k"]
                .map(|label| (label.to_owned(), places(label)))
                .into(),
        };
        assert_eq!(
            (matrix.axes(), matrix.rows("y")),
            (vec!["x".to_owned(), "y".to_owned()], vec!["x=1".to_owned(), "x=2".to_owned()])
        );
    }
}
