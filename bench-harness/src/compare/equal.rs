//! When two runs may be set against each other. A ratio between runs that were not equal says nothing about engines, so
//! none is given, and the rule that was broken is named.

use serde_json::Value;

use super::group::Repetition;
use crate::run::CellRecord;

/// The settings that must be alike, by their place in the workload, and what to call them.
const SETTINGS: [(&str, &str); 9] = [
    ("/data/records", "number of records"),
    ("/data/key", "keys"),
    ("/data/value", "values"),
    ("/run/memory_budget", "memory budget"),
    ("/run/durability", "durability"),
    ("/run/threads", "client threads"),
    ("/run/seed", "seed"),
    ("/run/drop_caches", "dropping of caches"),
    ("/phase", "phases"),
];

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// Time, and what hangs on it.
    Time,
    /// What the engine asked for at its files: the same whoever serves it.
    Count,
}

/// Why these two runs may not be compared; `None` if they may.
pub fn broken_rule(a: &CellRecord, b: &CellRecord, number: Number) -> Option<String> {
    own(a).or_else(|| own(b)).or_else(|| between(a, b)).or_else(|| page_cache(a, b, number))
}

/// The same for runs that are meant to differ in the settings at `places` of the workload, and so in their operations:
/// everything else must be equal.
pub fn broken_rule_but_for(
    a: &CellRecord,
    b: &CellRecord,
    places: &[&str],
    number: Number,
) -> Option<String> {
    own(a)
        .or_else(|| own(b))
        .or_else(|| settings(a, b, places))
        .or_else(|| io(a, b))
        .or_else(|| durability(a, b))
        .or_else(|| page_cache(a, b, number))
}

/// What is wrong with a run by itself.
pub fn own(cell: &CellRecord) -> Option<String> {
    let of = |what: &str| Some(format!("{what} ({})", cell.engine.label));
    if cell.failure.is_some() {
        of("same end: a run failed")
    } else if cell.interrupted {
        of("same end: a run was interrupted")
    } else if cell.is_invalid() {
        of("valid numbers: a check failed")
    } else if cell
        .phases
        .iter()
        .any(|phase| matches!(phase.kind.as_str(), "load" | "age") && phase.capped.is_some())
    {
        of("same age: a load or overwrite was cut short by its time cap")
    } else if cell.phases.iter().any(|phase| {
        let not_steady = phase.steady.as_ref().is_some_and(|steady| !steady.ok);
        not_steady && phase.by_clock
    }) {
        of("steady state: a phase ran into its time cap before it was steady")
    } else {
        None
    }
}

/// The rule that what two runs did up to a measured phase, and in it, broke: they were asked for the same load, and wrote
/// the same. A phase that ends when steady writes as much as it takes, so only its rates are compared.
pub fn broken_by_phases(a: &Repetition<'_>, b: &Repetition<'_>) -> Option<String> {
    let shares =
        |run: &Repetition<'_>| run.phase.open.as_ref().is_some_and(|open| open.max_per_second.is_some());
    if shares(a) || shares(b) {
        return Some("same load: each run was offered a share of its own capacity".to_owned());
    }
    let (mine, theirs) = (a.cell.phases.iter(), b.cell.phases.iter());
    let parted = mine.zip(theirs).take(a.measure.phase + 1).find(|(mine, theirs)| {
        let is_steady = mine.steady.is_some() || theirs.steady.is_some();
        !is_steady && mine.moved.user_bytes != theirs.moved.user_bytes
    });
    parted.map(|(mine, theirs)| {
        format!(
            "same writes: in `{}` {} and {} user bytes",
            mine.name,
            crate::units::count(mine.moved.user_bytes),
            crate::units::count(theirs.moved.user_bytes)
        )
    })
}

/// The first setting, of those not at `places`, that is not alike.
fn settings(a: &CellRecord, b: &CellRecord, places: &[&str]) -> Option<String> {
    SETTINGS.iter().filter(|(place, _)| !places.contains(place)).find_map(|(place, name)| {
        let (mine, theirs) = (a.spec.pointer(place), b.spec.pointer(place));
        (mine != theirs).then(|| format!("same {name}: {} and {}", text(mine), text(theirs)))
    })
}

fn between(a: &CellRecord, b: &CellRecord) -> Option<String> {
    if let Some(rule) = settings(a, b, &[]) {
        return Some(rule);
    }
    let digests = (&a.op_digest, &b.op_digest);
    let whole = a.did_whole_stream() && b.did_whole_stream();
    if whole && digests.0 != digests.1 {
        return Some(format!("same operations: digests {} and {}", digests.0, digests.1));
    }
    if let (true, Some(mine), Some(theirs)) = (whole, &a.contents, &b.contents)
        && mine != theirs
    {
        return Some(format!("same answers: {mine} and {theirs}"));
    }
    io(a, b).or_else(|| durability(a, b))
}

/// Equal I/O: the same way to the disk, and the same memory limit, page cache included.
fn io(a: &CellRecord, b: &CellRecord) -> Option<String> {
    let mode = |cell: &CellRecord| cell.info.as_ref().and_then(|info| info.io).map(|io| io.to_string());
    let (mine, theirs) = (mode(a), mode(b));
    let shown = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "none".to_owned());
    if mine != theirs {
        return Some(format!("same I/O: {} and {}", shown(&mine), shown(&theirs)));
    }
    let limit = |cell: &CellRecord| cell.cgroup.as_ref().map(|group| group.limit_bytes);
    if limit(a) != limit(b) {
        let shown = |limit: Option<u64>| limit.map_or("none".to_owned(), crate::units::bytes);
        return Some(format!("same memory limit: {} and {}", shown(limit(a)), shown(limit(b))));
    }
    None
}

/// Through the page cache without a limit, data beyond the budget is served from memory that the budget does not have. That
/// makes times, and no difference to what was asked for.
fn page_cache(a: &CellRecord, b: &CellRecord, number: Number) -> Option<String> {
    let is_buffered = a.info.as_ref().and_then(|info| info.io) == Some(kv_api::IoMode::Buffered);
    let budget = a.spec.pointer("/run/memory_budget").and_then(Value::as_u64);
    let live = [a, b].iter().flat_map(|cell| &cell.phases).map(|phase| phase.live_bytes).max();
    if number == Number::Time && is_buffered && live > budget && a.cgroup.is_none() {
        return Some(
            "same memory: data exceeds the budget and the page cache serves the rest; use --io direct, or a budget that \
             holds the data"
                .to_owned(),
        );
    }
    None
}

/// An engine that lacks the level asked for was promoted to a stronger one: no loss of trust, but no equal race.
fn durability(a: &CellRecord, b: &CellRecord) -> Option<String> {
    let wanted = a.spec.pointer("/run/durability").and_then(Value::as_str)?;
    let lacks = |cell: &&CellRecord| {
        let levels = cell.info.as_ref().map(|info| &info.durability);
        levels.is_some_and(|levels| !levels.iter().any(|level| level.to_string() == wanted))
    };
    let lacking = [a, b].into_iter().find(lacks)?;
    Some(format!("same durability: {} has no `{wanted}` and took a stronger level", lacking.engine.label))
}

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(word)) => word.clone(),
        Some(value @ (Value::Array(_) | Value::Object(_))) => {
            let text = value.to_string();
            text.char_indices().nth(60).map_or(text.clone(), |(end, _)| format!("{}...", &text[..end]))
        }
        Some(value) => value.to_string(),
        None => "not told".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::group::tests::cell;
    use super::*;

    #[test]
    fn equal_runs_break_no_rule_and_each_difference_is_named() {
        let a = cell("a", 0, 1.0);
        assert_eq!(broken_rule(&a, &cell("b", 0, 2.0), Number::Time), None);
        let broken = |change: &dyn Fn(&mut CellRecord)| {
            let mut other = cell("b", 0, 2.0);
            change(&mut other);
            broken_rule(&a, &other, Number::Time).unwrap_or_default()
        };
        assert!(broken(&|b| b.spec["run"]["memory_budget"] = 7.into()).contains("same memory budget"));
        assert!(broken(&|b| b.spec["run"]["durability"] = "disk".into()).contains("os and disk"));
        assert!(broken(&|b| b.op_digest = "other".to_owned()).contains("same operations"));
        assert!(broken(&|b| b.contents = Some("other".to_owned())).contains("same answers"));
        assert!(broken(&|b| b.failure = Some("it crashed".to_owned())).contains("failed (b)"));
        let capped = broken(&|b| {
            let mut phase = b.phases[0].clone();
            (phase.kind, phase.capped) = ("load".to_owned(), Some("stopped".to_owned()));
            b.phases.insert(0, phase);
        });
        assert!(capped.contains("same age"), "{capped}");
        // Data beyond the budget in the page cache: times are no engine's own, counts are.
        let buffered = |block| {
            let mut cell = cell("a", block, 1.0);
            let info = kv_api::Kv::info(&kv_api::MemoryEngine::new());
            cell.info = Some(kv_api::EngineInfo { io: Some(kv_api::IoMode::Buffered), ..info });
            (cell.spec["run"]["memory_budget"], cell.spec["run"]["durability"]) = (1.into(), "memory".into());
            cell.phases.iter_mut().for_each(|phase| phase.live_bytes = 2);
            cell
        };
        let rule = |number| broken_rule(&buffered(0), &buffered(0), number);
        assert!(rule(Number::Time).unwrap().contains("page cache"));
        assert_eq!(rule(Number::Count), None);
    }
}
