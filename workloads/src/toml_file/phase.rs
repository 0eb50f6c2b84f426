//! The phases of a workload file.

use super::choice::{arrivals, dist, scan};
use super::table::{Section, Table};
use super::{RECORDS_MAX, Result, amount};
use crate::op::OpKind;
use crate::spec::{Amount, Base, Loop, Mix, Order, PhaseKind, PhaseSpec, ReadsFrom, Until};
use toml::de::DeValue;

pub(super) static PHASE: Section = Section {
    name: "phase",
    keys: &[
        "kind", "name", "loop", "arrivals", "ops", "dist", "scan", "retain", "order", "batch", "snapshot",
        "until", "trace",
    ],
};
pub(super) static OPS: Section = Section {
    name: "phase.ops",
    keys: &["get", "get_absent", "put", "update", "insert", "delete", "scan", "rmw", "delete_range"],
};
pub(super) static UNTIL: Section = Section {
    name: "phase.until",
    keys: &["records", "ops", "user_bytes", "s", "steady", "min_s", "max_s", "window_s", "debt_below"],
};

const BATCH_MAX: u64 = 1_000_000;
const ALL_RECORDS: Amount = Amount::Times { factor: 1.0, of: Base::Records };
const WAIT_DEFAULT_S: f64 = 60.0;
/// How far the shares of a mix may be from 1 for rounding.
const SHARE_SLACK: f64 = 1e-6;

pub(super) fn phases(file: &Table<'_>) -> Result<Vec<PhaseSpec>> {
    let phases = file.tables("phase", &PHASE)?;
    if phases.is_empty() {
        return Err(file.missing("phase"));
    }
    phases.iter().map(phase).collect()
}

fn phase(table: &Table<'_>) -> Result<PhaseSpec> {
    let words = &["load", "age", "settle", "measure", "replay", "drain", "verify"];
    let kind = table.word("kind", words, &PhaseKind::ALL)?.ok_or_else(|| table.missing("kind"))?;
    refuse_misplaced(table, kind)?;
    let ops = mix(table, kind)?;
    if table.get("retain").is_some() && ops.share(OpKind::DeleteRange) == 0.0 {
        return Err(table.invalid("retain", "has no effect without delete_range in ops"));
    }
    let trace = table.text("trace")?.map(str::to_string);
    if kind == PhaseKind::Replay && trace.is_none() {
        return Err(table.missing("trace"));
    }
    let bases = [("x_records", Base::Records)];
    Ok(PhaseSpec {
        kind,
        name: table.text("name")?.unwrap_or(kind.name()).to_string(),
        arrival: arrival(table)?,
        ops,
        dist: dist(table)?,
        scan: scan(table)?,
        order: order(table)?.unwrap_or(Order::Random),
        batch: table.integer("batch", 1, BATCH_MAX)?.map_or(1, |batch| batch as u32),
        snapshot: snapshot(table, &ops)?,
        retain: amount(table, "retain", &bases, RECORDS_MAX)?.unwrap_or(ALL_RECORDS),
        until: until(table, kind)?,
        trace,
    })
}

fn order(table: &Table<'_>) -> Result<Option<Order>> {
    let kinds = [Order::Sequential, Order::Random, Order::Reverse];
    table.word("order", &["sequential", "random", "reverse"], &kinds)
}

/// A snapshot that is held never sees what is written meanwhile, so writes beside it are refused.
fn snapshot(table: &Table<'_>, ops: &Mix) -> Result<ReadsFrom> {
    static WORDS: [&str; 2] = [ReadsFrom::Newest.name(), ReadsFrom::Held.name()];
    let from = table.word("snapshot", &WORDS, &[ReadsFrom::Newest, ReadsFrom::Held])?.unwrap_or_default();
    if from == ReadsFrom::Held && ops.iter().any(|(kind, _)| kind.writes()) {
        return Err(table.invalid("snapshot", "is for phases that read alone, and ops has writes"));
    }
    Ok(from)
}

fn arrival(table: &Table<'_>) -> Result<Loop> {
    let is_open = table.word("loop", &["closed", "open"], &[false, true])?.unwrap_or(false);
    match (is_open, arrivals(table)?) {
        (true, Some(arrivals)) => Ok(Loop::Open(arrivals)),
        (true, None) => Err(table.missing("arrivals")),
        (false, Some(_)) => Err(table.invalid("arrivals", "has no effect with loop = \"closed\"")),
        (false, None) => Ok(Loop::Closed),
    }
}

/// Refuses keys that would be without effect in a phase of this kind.
fn refuse_misplaced(table: &Table<'_>, kind: PhaseKind) -> Result<()> {
    for key in PHASE.keys.iter().copied().filter(|key| !["kind", "name"].contains(key)) {
        if table.get(key).is_some() && !kind.keys().contains(&key) {
            return Err(table.invalid(key, format!("has no effect in a phase of kind {}", kind.name())));
        }
    }
    Ok(())
}

fn mix(table: &Table<'_>, kind: PhaseKind) -> Result<Mix> {
    let Some(ops) = table.table("ops", &OPS)? else {
        return match kind {
            PhaseKind::Load => Ok(Mix::only(OpKind::Put)),
            PhaseKind::Age | PhaseKind::Measure => Err(table.missing("ops")),
            _ => Ok(Mix::default()),
        };
    };
    let mut mix = Mix::default();
    let mut sum = 0.0;
    for op in OpKind::ALL {
        let share = ops.number(op.name(), 0.0, 1.0)?.unwrap_or(0.0);
        mix = mix.with(op, share);
        sum += share;
    }
    if (sum - 1.0).abs() > SHARE_SLACK {
        return Err(table.invalid("ops", format!("must sum to 1, not {sum}")));
    }
    Ok(mix)
}

fn until(table: &Table<'_>, kind: PhaseKind) -> Result<Until> {
    let mut spec = Until::default();
    if let Some(until) = table.table("until", &UNTIL)? {
        let by_kind: &[&str] = match kind {
            PhaseKind::Load => &["records", "s"],
            PhaseKind::Age => &["ops", "user_bytes", "s"],
            PhaseKind::Measure => &["ops", "user_bytes", "s", "steady", "min_s", "max_s", "window_s"],
            PhaseKind::Settle | PhaseKind::Drain => &["s", "debt_below"],
            PhaseKind::Replay | PhaseKind::Verify => &[],
        };
        for key in UNTIL.keys {
            if until.get(key).is_some() && !by_kind.contains(key) {
                return Err(until.invalid(key, format!("does not end a phase of kind {}", kind.name())));
            }
        }
        spec = ends(&until)?;
    }
    let none = spec == Until::default();
    match kind {
        PhaseKind::Load if spec.records.is_none() => spec.records = Some(ALL_RECORDS),
        PhaseKind::Measure | PhaseKind::Age if none => return Err(table.missing("until")),
        PhaseKind::Settle | PhaseKind::Drain if spec.s.is_none() => spec.s = Some(WAIT_DEFAULT_S),
        _ => {}
    }
    Ok(spec)
}

fn ends(until: &Table<'_>) -> Result<Until> {
    let bases = [("x_data", Base::Data), ("x_memory", Base::Memory)];
    let spec = Until {
        records: match until.get("records").map(|records| records.get_ref().as_str()) {
            Some(Some("all")) => Some(ALL_RECORDS),
            _ => amount(until, "records", &[("x_records", Base::Records)], RECORDS_MAX)?,
        },
        ops: amount(until, "ops", &[("x_records", Base::Records)], u64::MAX)?,
        user_bytes: amount(until, "user_bytes", &bases, u64::MAX)?,
        s: until.number("s", 0.001, f64::INFINITY)?,
        steady: until.flag("steady")?.unwrap_or(false),
        min_s: until.number("min_s", 0.001, f64::INFINITY)?,
        max_s: until.number("max_s", 0.001, f64::INFINITY)?,
        window_s: until.number("window_s", 0.1, f64::INFINITY)?,
        debt_below: debt(until, &bases)?,
    };
    let given = [("min_s", spec.min_s), ("max_s", spec.max_s), ("window_s", spec.window_s)];
    for (key, given) in given {
        if given.is_some() && !spec.steady {
            return Err(until.invalid(key, "has no effect without steady = true"));
        }
    }
    if spec.steady && spec.s.is_some() {
        return Err(until.invalid("s", "stands beside steady = true; write max_s"));
    }
    if spec.steady && spec.max_s.is_none() {
        return Err(until.missing("max_s"));
    }
    if spec.min_s > spec.max_s {
        return Err(until.invalid("min_s", "is more than max_s"));
    }
    Ok(spec)
}

/// Bytes, a multiple of the data or the memory, or a share of the data as in "1%".
fn debt(until: &Table<'_>, bases: &[(&'static str, Base)]) -> Result<Option<Amount>> {
    let Some(DeValue::String(text)) = until.get("debt_below").map(toml::Spanned::get_ref) else {
        return amount(until, "debt_below", bases, u64::MAX);
    };
    let Some(percent) = text.strip_suffix('%') else { return amount(until, "debt_below", bases, u64::MAX) };
    match percent.trim().parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => {
            Ok(Some(Amount::Times { factor: percent / 100.0, of: Base::Data }))
        }
        _ => Err(until.invalid("debt_below", format!("must be a size or as in \"1%\", not \"{text}\""))),
    }
}
