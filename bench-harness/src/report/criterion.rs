//! Times that criterion took, beside what the laboratory counted under the same kinds of operations: what `cargo bench`
//! adds to a result.
//!
//! The two do not come from the same operations. Criterion repeats one call as often as fits its time, so how many there
//! were depends on the machine; bytes are counted over a fixed number, so that results can be set against each other.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use serde_json::Value;

use super::result::ResultFile;
use super::table::{table, wrap};
use crate::compare::{Group, groups};
use crate::metrics::formulas::per_op;
use crate::stats::ratio::median;
use crate::units::{or_dash, three};

/// The median time of one operation, and the interval that criterion gives it.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Estimate {
    /// Nanoseconds per operation.
    pub median_ns: f64,
    /// The lower end of its interval.
    pub low_ns: f64,
    /// The upper end.
    pub high_ns: f64,
}

/// What criterion found of one engine in one group.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct CriterionTime {
    /// The workload that counts what the group times.
    pub workload: String,
    /// The engine's label.
    pub engine: String,
    /// The time; `None` if criterion left no file of it.
    pub estimate: Option<Estimate>,
}

impl Estimate {
    /// Reads what criterion wrote of `group` and `engine` below its `home`, at iterations of `ops` operations. `None`
    /// if there is nothing, or if it is older than `since`: then it is of another run.
    pub fn read(home: &Path, group: &str, engine: &str, ops: u64, since: SystemTime) -> Option<Estimate> {
        let path = home.join(group).join(engine).join("new").join("estimates.json");
        let written = fs::metadata(&path).ok()?.modified().ok()?;
        let text = fs::read_to_string(&path).ok().filter(|_| written >= since)?;
        Estimate::parse(&text, ops)
    }

    fn parse(text: &str, ops: u64) -> Option<Estimate> {
        let known: Value = serde_json::from_str(text).ok()?;
        let of = |place: &str| Some(known.pointer(place)?.as_f64()? / ops as f64);
        Some(Estimate {
            median_ns: of("/median/point_estimate")?,
            low_ns: of("/median/confidence_interval/lower_bound")?,
            high_ns: of("/median/confidence_interval/upper_bound")?,
        })
    }
}

const LEGEND: [&str; 4] = [
    "criterion: its median and 95 % interval, in ns per operation, taken in a loop of its own. Everything else is of other operations of \
     the same kind, a fixed number of them, the median of all runs",
    "call: ns per operation inside the engine, with the clock read around each call; wa: bytes written per user byte, \
     drain included; read: bytes read from files per operation, for upkeep too; sa: allocated bytes per live byte after \
     the drain",
    "operations: puts, gets and scans; those of a batch are counted one by one",
    "-: not measured, or nothing to divide by",
];

/// Criterion's times beside the numbers counted, a line for each group and engine; nothing if there are none.
pub fn lines(result: &ResultFile) -> Vec<String> {
    if result.criterion.is_empty() {
        return Vec::new();
    }
    let groups = groups(&result.cells);
    let mut rows = table(&["of", "engine", "criterion [ns]", "call [ns]", "wa", "read [B]", "sa"]);
    let mut last = "";
    for time in &result.criterion {
        let found =
            groups.iter().find(|group| (group.workload, group.engine) == (&time.workload, &time.engine));
        let of = |number: fn(&Group<'_>) -> Option<f64>| or_dash(found.and_then(number));
        rows.add_row([
            if last == time.workload { String::new() } else { time.workload.clone() },
            time.engine.clone(),
            time.estimate.map_or("-".to_owned(), |estimate| {
                format!(
                    "{} ({} to {})",
                    three(estimate.median_ns),
                    three(estimate.low_ns),
                    three(estimate.high_ns)
                )
            }),
            of(|group| group.median(|derived| derived.service_ns_per_op)),
            of(|group| group.median(|derived| derived.wa_settled)),
            of(read_bytes_per_op),
            of(|group| group.median(|derived| derived.sa_settled)),
        ]);
        last = &time.workload;
    }
    let legend = LEGEND.iter().flat_map(|line| wrap(&format!("  {line}"), 4));
    rows.lines().chain(legend).chain([String::new()]).collect()
}

/// Bytes read from files in the measured phase, whatever for, over the operations that were answered.
fn read_bytes_per_op(group: &Group<'_>) -> Option<f64> {
    let values = group.runs.iter().filter_map(|run| {
        let moved = &run.phase.moved;
        per_op(moved.io?.total().read_bytes, moved.completed)
    });
    median(&values.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::group::tests::cell;
    use crate::run::plan::Ground;
    use crate::sys::host::Host;

    const TEXT: &str = "{\"mean\":{\"point_estimate\":9.0},\"median\":{\"confidence_interval\":{\"confidence_level\":0.95,\
                        \"lower_bound\":190.0,\"upper_bound\":230.0},\"point_estimate\":200.0,\"standard_error\":1.0}}";

    #[test]
    fn an_estimate_is_read_per_operation_and_an_old_one_is_none() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("a batch").join("btree").join("new");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("estimates.json"), TEXT).unwrap();
        let read = |engine: &str, since| Estimate::read(home.path(), "a batch", engine, 100, since);
        let found = read("btree", SystemTime::UNIX_EPOCH);
        assert_eq!(found, Some(Estimate { median_ns: 2.0, low_ns: 1.9, high_ns: 2.3 }));
        assert_eq!(read("lsm", SystemTime::UNIX_EPOCH), None);
        assert_eq!(read("btree", SystemTime::now() + std::time::Duration::from_secs(60)), None);
        assert_eq!(Estimate::parse("{}", 1), None);
        assert_eq!(Estimate::parse("no JSON", 1), None);
    }

    #[test]
    fn a_time_without_a_count_is_shown_and_the_reverse() {
        let ground = Ground { io: kv_api::IoMode::Buffered, background: kv_api::Background::Threads(1) };
        let mut result = ResultFile::new(Host::of(Path::new(".")), ground);
        result.cells = vec![cell("a", 0, 1.0)];
        assert_eq!(lines(&result), Vec::<String>::new());
        result.cells[0].measures[0].derived.wa_settled = Some(7.5);
        let moved = &mut result.cells[0].phases[0].moved;
        let mut io = kv_api::IoStats::default();
        io.of_mut(kv_api::Cause::Flush).read_bytes = 30;
        (moved.io, moved.completed) = (Some(io), 10);
        let time = |engine: &str, estimate| CriterionTime {
            workload: "read-heavy".to_owned(),
            engine: engine.to_owned(),
            estimate,
        };
        result.criterion = vec![time("a", None), time("null", Estimate::parse(TEXT, 1))];
        let shown = lines(&result);
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&shown[1]), ["read-heavy", "a", "-", "-", "7.50", "3.00", "-"]);
        assert_eq!(words(&shown[2]), ["null", "200", "(190", "to", "230)", "-", "-", "-", "-"]);
        assert!(shown.iter().all(|line| line.len() <= 80), "{shown:?}");
    }
}
