//! The pitfalls of comparing storage engines, each a rule over the numbers of a run: what a reader must know before he
//! believes a difference. Pure; a failed check is another matter and stamps the result INVALID.

use std::collections::BTreeSet;

use kv_api::IoMode;
use serde_json::Value;

use crate::calibrate::Calibration;
use crate::run::cell::CellRecord;
use crate::units::three;

/// The clock may run this much faster or slower than another time.
const CLOCK_TOLERANCE: f64 = 0.03;
/// With less of the clients' time inside the engine, the clients bound what is measured.
const ENGINE_SHARE_MIN: f64 = 0.5;
/// Data of less than this many times the budget measure the cache.
const DATA_OVER_MEMORY_MIN: f64 = 2.0;
/// What the harness may need in the process of an engine: oracle, histograms, samples.
const HARNESS_BYTES_MAX: u64 = 32 << 20;
/// A client may be late by one part in so many of the response.
const LATE_PARTS_MAX: u64 = 10;

/// Every pitfall that these runs are in, a line each.
pub fn warnings(cells: &[CellRecord], calibration: Option<&Calibration>) -> Vec<String> {
    let rules = [
        modes(cells),
        cached(cells),
        page_cache(cells),
        unbounded(cells),
        durability(cells),
        load_order(cells),
        capped(cells),
        over_budget(cells),
        process_over_budget(cells),
        client_bound(cells),
        late_clients(cells),
        clock(cells, calibration),
        one_repetition(cells),
        one_process(cells),
        debug(),
        inside_the_device(cells),
    ];
    rules.into_iter().flatten().map(|rule| format!("warning: {rule}")).collect()
}

fn label(cell: &CellRecord) -> String {
    format!("{} on {}", cell.workload, cell.engine.label)
}

/// The cells for which `is` holds, by name and each once; `None` if it holds for none.
fn named(cells: &[CellRecord], is: impl Fn(&CellRecord) -> bool) -> Option<String> {
    let mut found: Vec<String> = Vec::new();
    for name in cells.iter().filter(|cell| is(cell)).map(label) {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    (!found.is_empty()).then(|| found.join(", "))
}

fn budget(cell: &CellRecord) -> Option<u64> {
    cell.spec.pointer("/run/memory_budget").and_then(Value::as_u64)
}

fn has_files(cell: &CellRecord) -> bool {
    cell.phases.iter().any(|phase| phase.space.is_some())
}

fn live_bytes(cell: &CellRecord) -> Option<u64> {
    cell.phases.iter().map(|phase| phase.live_bytes).max()
}

fn is_buffered(cell: &CellRecord) -> bool {
    cell.info.as_ref().is_some_and(|info| info.io == Some(IoMode::Buffered))
}

/// True if the page cache is the engine's cache, which no budget bounds.
fn is_unbounded(cell: &CellRecord) -> bool {
    cell.info.as_ref().is_some_and(|info| {
        let says = |(name, value): &(String, String)| match name.as_str() {
            "read_mode" => value == "mmap",
            "memory_budget_bounds" => value.starts_with("nothing"),
            _ => false,
        };
        cell.cgroup.is_none() && info.settings.iter().any(says)
    })
}

fn modes(cells: &[CellRecord]) -> Option<String> {
    let modes: BTreeSet<_> =
        cells.iter().filter_map(|cell| cell.info.as_ref()?.io).map(|io| io.to_string()).collect();
    (modes.len() > 1).then(|| "the engines obtained different I/O modes: compare bytes, not times".to_owned())
}

/// Pitfall 11.
fn cached(cells: &[CellRecord]) -> Option<String> {
    let times =
        |cell: &CellRecord| Some(live_bytes(cell)? as f64 / budget(cell).filter(|all| *all > 0)? as f64);
    let least = cells.iter().filter(|cell| has_files(cell)).filter_map(times).fold(f64::INFINITY, f64::min);
    (least < DATA_OVER_MEMORY_MIN).then(|| {
        format!("data is {}x the memory budget: this measures memory more than a disk", three(least))
    })
}

/// Rule 3.1.1: the page cache holds what the budget does not.
fn page_cache(cells: &[CellRecord]) -> Option<String> {
    let beyond =
        |cell: &CellRecord| is_buffered(cell) && cell.cgroup.is_none() && live_bytes(cell) > budget(cell);
    cells.iter().any(beyond).then(|| {
        "data exceeds the budget and I/O is buffered: the system's page cache serves what the engines do not hold, so \
         times say little about a disk"
            .to_owned()
    })
}

/// Pitfall 12.
fn unbounded(cells: &[CellRecord]) -> Option<String> {
    let is_mixed = cells.iter().any(|cell| has_files(cell) && !is_unbounded(cell));
    named(cells, is_unbounded).filter(|_| is_mixed).map(|names| {
        format!("unequal caches: all memory of the machine is cache for {names}, whatever the budget of the others")
    })
}

/// Pitfall 13.
fn durability(cells: &[CellRecord]) -> Option<String> {
    let lacks = |cell: &CellRecord| {
        let wanted = cell.spec.pointer("/run/durability").and_then(Value::as_str);
        let levels = cell.info.as_ref().map(|info| &info.durability);
        wanted.zip(levels).is_some_and(|(wanted, levels)| {
            !levels.is_empty() && !levels.iter().any(|level| level.to_string() == wanted)
        })
    };
    named(cells, lacks).map(|names| {
        format!("unequal durability: a stronger level than the one asked for, for lack of it, was taken by {names}")
    })
}

/// Pitfall 15: full pages here, tables that need no merge there, until enough was overwritten.
fn load_order(cells: &[CellRecord]) -> Option<String> {
    let in_key_order = |cell: &CellRecord| {
        let key = cell.spec.pointer("/data/key/kind").and_then(Value::as_str);
        let phases = cell.spec.pointer("/phase").and_then(Value::as_array);
        let phases = phases.map_or(&[][..], Vec::as_slice);
        let is = |phase: &&Value, kind: &str| phase.get("kind").and_then(Value::as_str) == Some(kind);
        let sorted = |phase: &Value| {
            matches!(phase.get("order").and_then(Value::as_str), Some("sequential" | "reverse"))
        };
        let keeps_order = !matches!(key, Some("hash16" | "text24"));
        let aged = phases.iter().any(|phase| is(&phase, "age"));
        keeps_order && !aged && phases.iter().any(|phase| is(&phase, "load") && sorted(phase))
    };
    named(cells, in_key_order).map(|names| {
        format!("loaded in key order and not aged, which flatters pages and tables differently: {names}")
    })
}

/// Pitfalls 1 and 20.
fn capped(cells: &[CellRecord]) -> Option<String> {
    named(cells, |cell| cell.is_complete() && cell.was_cut())
        .map(|names| format!("a cap ended a phase early, so not all work was done by {names}"))
}

fn over_budget(cells: &[CellRecord]) -> Option<String> {
    let peak = |cell: &CellRecord| cell.phases.iter().map(|phase| phase.memory_peak_bytes).max();
    named(cells, |cell| peak(cell) > budget(cell))
        .map(|names| format!("more memory than the budget was declared by {names}"))
}

/// Rule 3.1.1 again, for engines that do not tell what they hold.
fn process_over_budget(cells: &[CellRecord]) -> Option<String> {
    let is_over = |cell: &CellRecord| {
        let peak = cell.phases.iter().filter_map(|phase| phase.rss_anon_peak_bytes).max();
        let own = peak.zip(cell.rss_anon_before_bytes).map(|(peak, before)| peak.saturating_sub(before));
        own.zip(budget(cell)).is_some_and(|(own, budget)| own > budget + budget / 4 + HARNESS_BYTES_MAX)
    };
    named(cells, is_over).map(|names| {
        format!(
            "unequal memory: a quarter more than the budget, and {} for the harness, was not enough for the process of \
             {names}",
            crate::units::bytes(HARNESS_BYTES_MAX)
        )
    })
}

/// The client's own lateness is part of every response.
fn late_clients(cells: &[CellRecord]) -> Option<String> {
    let is_late = |cell: &CellRecord| {
        cell.phases.iter().any(|phase| {
            let late = phase.open.as_ref().and_then(|open| open.client_late.as_ref()?.p99_ns);
            let felt = [&phase.read_responses, &phase.write_responses].into_iter().flatten();
            let felt = felt.filter_map(|felt| felt.p99_ns).max();
            late.zip(felt).is_some_and(|(late, felt)| late > felt / LATE_PARTS_MAX)
        })
    };
    named(cells, is_late).map(|names| {
        format!(
            "the system woke clients late, by more than a tenth of the p99 response, which is not the engine's doing: \
             {names}"
        )
    })
}

/// Pitfall 18.
fn client_bound(cells: &[CellRecord]) -> Option<String> {
    let share = |cell: &CellRecord| {
        // In an open loop clients wait for arrivals: that is no work of the harness.
        let closed = cell
            .measures
            .iter()
            .filter(|m| cell.phases.get(m.phase).is_none_or(|phase| phase.open.is_none()));
        let shares = closed.filter_map(|measure| measure.derived.engine_time_share);
        shares.fold(1.0_f64, f64::min)
    };
    named(cells, |cell| share(cell) < ENGINE_SHARE_MIN).map(|names| {
        format!("client-bound: more than half of the clients' time went to the harness, not to the engine: {names}")
    })
}

/// Pitfall 19: against the calibration, else against the median of all probes of the run.
fn clock(cells: &[CellRecord], calibration: Option<&Calibration>) -> Option<String> {
    let all: Vec<f64> = cells.iter().filter_map(|cell| cell.clock_ns).flatten().map(|ns| ns as f64).collect();
    let usual = calibration
        .filter(|calibration| !calibration.cached)
        .map(|calibration| calibration.probes.clock_ns as f64)
        .or_else(|| crate::stats::ratio::median(&all))?;
    let off = |ns: u64| (ns as f64 / usual - 1.0).abs() > CLOCK_TOLERANCE;
    let worst = all
        .iter()
        .map(|ns| (ns / usual - 1.0) * 100.0)
        .fold(0.0_f64, |worst, off| if off.abs() > worst.abs() { off } else { worst });
    named(cells, |cell| cell.clock_ns.is_some_and(|both| both.into_iter().any(off))).map(|names| {
        format!(
            "the processor ran at another speed before or after a run ({worst:+.0} % of the probe's time at worst), by \
             neighbours, heat or turbo: {names}"
        )
    })
}

fn one_repetition(cells: &[CellRecord]) -> Option<String> {
    let is_alone = |cell: &CellRecord| {
        !cells
            .iter()
            .any(|other| (&other.id, other.block) != (&cell.id, cell.block) && label(other) == label(cell))
    };
    let engines: BTreeSet<_> = cells.iter().map(|cell| &cell.engine.label).collect();
    (engines.len() > 1 && cells.iter().any(is_alone))
        .then(|| "one repetition: no error bars, so small differences mean nothing; --repeats 5".to_owned())
}

fn one_process(cells: &[CellRecord]) -> Option<String> {
    let engines: BTreeSet<_> = cells.iter().map(|cell| &cell.engine.label).collect();
    (engines.len() > 1 && cells.iter().any(|cell| !cell.own_process)).then(|| {
        "engines ran one after the other in one process, in the order shown: noise of the machine is not shared out \
         between them, and process memory holds what earlier engines left"
            .to_owned()
    })
}

fn debug() -> Option<String> {
    cfg!(debug_assertions).then(|| "built with debug assertions: times mean little, use --release".to_owned())
}

/// Pitfall 2.
fn inside_the_device(cells: &[CellRecord]) -> Option<String> {
    cells.iter().any(has_files).then(|| {
        "what the device writes inside itself for each byte (WA_D) is unknown, and so is what its age does to it"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::cell;
    use crate::metrics::PhaseRecord;
    use crate::sys::disk::DirSize;
    use kv_api::{Durability, Kv, MemoryEngine};

    fn plain(engine: &str, block: u32) -> CellRecord {
        let mut cell = cell(engine, block, 1.0);
        let budget = budget(&cell).unwrap();
        cell.own_process = true;
        cell.spec["phase"] = serde_json::json!([{ "kind": "load", "order": "random" }]);
        cell.phases[0] = PhaseRecord {
            space: Some(DirSize::default()),
            live_bytes: budget * 10,
            memory_peak_bytes: budget,
            ..cell.phases[0].clone()
        };
        let info = MemoryEngine::new().info();
        let levels = vec![Durability::Memory, Durability::Os, Durability::Disk];
        cell.info = Some(kv_api::EngineInfo { io: Some(IoMode::Direct), durability: levels, ..info });
        cell.clock_ns = Some([1000, 1010]);
        cell
    }

    /// The warnings about two engines in two blocks of which the first cell was changed, the two that are always there
    /// left out.
    fn after(change: impl Fn(&mut CellRecord)) -> String {
        let mut cells = vec![plain("a", 0), plain("b", 0), plain("a", 1), plain("b", 1)];
        change(&mut cells[0]);
        let found = warnings(&cells, None).into_iter();
        found.filter(|line| !line.contains("WA_D") && !line.contains("debug")).collect()
    }

    #[test]
    fn a_clean_run_is_not_warned_of_and_the_device_never_tells() {
        assert_eq!(after(|_| {}), "");
        assert!(warnings(&[plain("a", 0)], None).iter().any(|line| line.contains("WA_D")));
        let nothing: Vec<_> =
            warnings(&[], None).into_iter().filter(|line| !line.contains("debug")).collect();
        assert!(nothing.is_empty(), "{nothing:?}");
    }

    #[test]
    fn each_pitfall_is_named() {
        let info = |cell: &mut CellRecord, change: &dyn Fn(&mut kv_api::EngineInfo)| {
            cell.info.as_mut().map(change);
        };
        type Change<'a> = (&'a str, &'a dyn Fn(&mut CellRecord));
        let cases: [Change<'_>; 12] = [
            ("different I/O modes", &|cell| info(cell, &|info| info.io = Some(IoMode::Buffered))),
            ("page cache serves", &|cell| info(cell, &|info| info.io = Some(IoMode::Buffered))),
            ("measures memory", &|cell| cell.phases[0].live_bytes /= 9),
            ("unequal caches", &|cell| {
                info(cell, &|info| info.settings = vec![("read_mode".to_owned(), "mmap".to_owned())])
            }),
            ("unequal durability", &|cell| info(cell, &|info| info.durability = vec![Durability::Disk])),
            ("key order", &|cell| {
                cell.spec["phase"][0]["order"] = "sequential".into();
                cell.spec["data"]["key"]["kind"] = "int8".into();
            }),
            ("a cap ended", &|cell| cell.phases[0].capped = Some("stopped".to_owned())),
            ("declared by", &|cell| cell.phases[0].memory_peak_bytes += 1),
            ("client-bound", &|cell| cell.measures[0].derived.engine_time_share = Some(0.4)),
            ("another speed", &|cell| cell.clock_ns = Some([1000, 1100])),
            ("one repetition", &|cell| cell.engine.label = "c".to_owned()),
            ("in one process", &|cell| cell.own_process = false),
        ];
        for (says, change) in cases {
            assert!(after(change).contains(says), "`{says}` in `{}`", after(change));
        }
        assert!(after(|cell| cell.clock_ns = Some([1000, 1100])).contains("on a"), "the run is named");
    }
}
