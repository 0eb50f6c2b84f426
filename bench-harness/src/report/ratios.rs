//! All ratios of a result in one table: a line for each measured phase, engine and baseline.

use super::result::ResultFile;
use super::table::{measures, table, wrap};
use crate::compare::{Group, Ratio, groups, ratios};
use crate::run::cell::CellRecord;
use crate::units::three;

const SPEED: &str = "ops/s";
const CALL: &str = "call";

/// The table, workload by workload; nothing if no workload ran twice.
pub fn lines(result: &ResultFile) -> Vec<String> {
    let mut out = Vec::new();
    let groups = groups(&result.cells);
    for workload in result.workloads().iter().filter(|name| result.repetitions(name) > 1) {
        let cells: Vec<&CellRecord> = result.cells.iter().filter(|cell| cell.workload == *workload).collect();
        let mut rows = table(&["of", "engine", "over", "ops/s", "interval", "in calls", "interval", "says"]);
        let mut refused: Vec<String> = Vec::new();
        for measure in measures(&cells) {
            for (engine, baseline) in result.pairs(&groups, workload, &measure) {
                match ratios(engine, baseline) {
                    Ok(found) => rows.add_row(row(&measure, engine, baseline, &found)),
                    Err(rule) => {
                        let why = format!("  {} over {}: not {rule}", engine.engine, baseline.engine);
                        if !refused.contains(&why) {
                            refused.push(why);
                        }
                        continue;
                    }
                };
            }
        }
        let blocks = result.repetitions(workload);
        out.extend(wrap(&format!("{workload}: speed ratios, {blocks} blocks, 95 % intervals"), 2));
        if rows.row_count() > 0 {
            out.extend(rows.lines());
        }
        if !refused.is_empty() {
            out.push("no ratio, for the runs were not equal:".to_owned());
            refused.iter().for_each(|why| out.extend(wrap(why, 4)));
        }
        out.push(String::new());
    }
    if !out.is_empty() {
        let head = "ratios above 1: the engine is faster; ops/s has the harness between the calls in it, in calls is time \
                    inside the engine alone; behind: the whole interval of ops/s lies below 1, ahead: above";
        out.extend(wrap(head, 2));
        out.push(String::new());
    }
    out
}

fn row(measure: &str, engine: &Group<'_>, baseline: &Group<'_>, found: &[Ratio]) -> [String; 8] {
    let of = |name: &str| found.iter().find(|ratio| ratio.metric == name);
    let told = |ratio: Option<&Ratio>, is_time: bool| {
        let turn = |value: f64| three(if is_time { 1.0 / value } else { value });
        let value = ratio.map_or("-".to_owned(), |ratio| turn(ratio.value));
        let interval = ratio.and_then(|ratio| ratio.interval).map(|interval| {
            let (low, high) =
                if is_time { (interval.high, interval.low) } else { (interval.low, interval.high) };
            format!("{} to {}", turn(low), turn(high))
        });
        [value, interval.unwrap_or_else(|| "-".to_owned())]
    };
    let says = of(SPEED).and_then(|ratio| ratio.interval).map_or("", |interval| {
        if interval.high < 1.0 {
            "behind"
        } else if interval.low > 1.0 {
            "ahead"
        } else {
            ""
        }
    });
    let [speed, speed_interval] = told(of(SPEED), false);
    let [call, call_interval] = told(of(CALL), true);
    let names = [measure, engine.engine, baseline.engine].map(str::to_owned);
    let [measure, engine, baseline] = names;
    [measure, engine, baseline, speed, speed_interval, call, call_interval, says.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::group::tests::cell;
    use crate::report::table::WIDTH;
    use crate::run::plan::Ground;
    use crate::sys::host::Host;

    fn result(baseline: &str) -> ResultFile {
        let ground = Ground { io: kv_api::IoMode::Buffered, background: kv_api::Background::Threads(1) };
        let mut result = ResultFile::new(Host::of(std::path::Path::new(".")), ground);
        result.baseline = Some(baseline.to_owned());
        let rates = [("a", 30.0), ("b", 10.0), ("c", 20.0)];
        for block in 0..3 {
            for (engine, rate) in rates {
                let mut cell = cell(engine, block, rate + f64::from(block));
                cell.measures[0].derived.service_ns_per_op = Some(1e9 / rate);
                result.cells.push(cell);
            }
        }
        result
    }

    #[test]
    fn each_engine_stands_against_each_baseline_and_two_baselines_meet_once() {
        let lines = lines(&result("b,c"));
        assert!(lines.iter().all(|line| line.len() <= usize::from(WIDTH)), "{lines:#?}");
        let pairs: Vec<Vec<&str>> = lines
            .iter()
            .filter(|line| line.starts_with("read-heavy "))
            .map(|line| line.split_whitespace().collect())
            .collect();
        let told: Vec<_> = pairs.iter().map(|words| (words[1], words[2], words.last().copied())).collect();
        assert_eq!(
            told,
            [("a", "b", Some("ahead")), ("c", "b", Some("ahead")), ("a", "c", Some("ahead"))],
            "{lines:#?}"
        );
        assert_eq!(pairs[2][7], "1.50", "time in calls is turned into speed: {lines:#?}");
    }

    #[test]
    fn what_was_not_equal_is_named_and_has_no_ratio() {
        let mut result = result("b");
        let others = result.cells.iter_mut().filter(|cell| cell.engine.label == "a");
        others.for_each(|cell| cell.op_digest = "other".to_owned());
        let lines = lines(&result).join("\n");
        assert!(lines.contains("a over b: not same operations"), "{lines}");
        assert!(lines.contains("c ") && !lines.contains("read-heavy a "), "{lines}");
    }
}
