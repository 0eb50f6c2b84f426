//! The phases of a workload file.

use super::table::{Section, Table};
use super::{RECORDS_MAX, Result, amount};
use crate::dist::{Dist, THETA_DEFAULT};
use crate::error::Problem;
use crate::op::OpKind;
use crate::spec::{Amount, Base, Loop, Mix, Order, PhaseKind, PhaseSpec, ScanDist, ScanSpec, Until};

pub(super) static PHASE: Section = Section {
    name: "phase",
    keys: &["kind", "name", "loop", "arrivals", "ops", "dist", "scan", "order", "batch", "until"],
};
pub(super) static OPS: Section = Section {
    name: "phase.ops",
    keys: &["get", "get_absent", "put", "update", "insert", "delete", "scan", "rmw"],
};
pub(super) static DIST: Section = Section { name: "phase.dist", keys: &["kind", "theta", "data", "ops"] };
pub(super) static SCAN: Section = Section { name: "phase.scan", keys: &["dist", "limit"] };
pub(super) static UNTIL: Section =
    Section { name: "phase.until", keys: &["records", "ops", "user_bytes", "s", "steady"] };

const BATCH_MAX: u64 = 1_000_000;
const SCAN_LIMIT_MAX: u64 = u32::MAX as u64;
const SCAN_LIMIT_DEFAULT: u64 = 100;
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
    let kinds = [
        PhaseKind::Load,
        PhaseKind::Age,
        PhaseKind::Settle,
        PhaseKind::Measure,
        PhaseKind::Drain,
        PhaseKind::Verify,
    ];
    let kind = table.word("kind", &["load", "age", "settle", "measure", "drain", "verify"], &kinds)?;
    let kind = kind.ok_or_else(|| table.missing("kind"))?;
    if table.text("loop")? == Some("open") {
        table.refuse("loop", "an open loop", "write loop = \"closed\"")?;
    }
    table.refuse("arrivals", "\"arrivals\" (an open loop)", "leave it out")?;
    refuse_misplaced(table, kind)?;
    Ok(PhaseSpec {
        kind,
        name: table.text("name")?.unwrap_or(kind.name()).to_string(),
        arrival: table.word("loop", &["closed"], &[Loop::Closed])?.unwrap_or(Loop::Closed),
        ops: mix(table, kind)?,
        dist: dist(table)?,
        scan: scan(table)?,
        order: table
            .word(
                "order",
                &["sequential", "random", "reverse"],
                &[Order::Sequential, Order::Random, Order::Reverse],
            )?
            .unwrap_or(Order::Random),
        batch: table.integer("batch", 1, BATCH_MAX)?.map_or(1, |batch| batch as u32),
        until: until(table, kind)?,
    })
}

/// Refuses keys that would be without effect in a phase of this kind.
fn refuse_misplaced(table: &Table<'_>, kind: PhaseKind) -> Result<()> {
    for key in ["loop", "ops", "dist", "scan", "order", "batch", "until"] {
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
            PhaseKind::Settle | PhaseKind::Drain | PhaseKind::Verify => Ok(Mix::default()),
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

fn dist(table: &Table<'_>) -> Result<Dist> {
    let Some(dist) = table.table("dist", &DIST)? else { return Ok(Dist::Uniform) };
    let words = &["uniform", "zipf", "ycsb-zipf", "latest", "hotspot", "sequential", "permutation"];
    let kinds = [
        Dist::Uniform,
        Dist::Zipf { theta: dist.number("theta", 0.01, 10.0)?.unwrap_or(THETA_DEFAULT) },
        Dist::YcsbZipf,
        Dist::Latest,
        Dist::Hotspot {
            data: dist.number("data", 0.0, 1.0)?.unwrap_or(0.2),
            ops: dist.number("ops", 0.0, 1.0)?.unwrap_or(0.8),
        },
        Dist::Sequential,
        Dist::Permutation,
    ];
    let found = dist.word("kind", words, &kinds)?.ok_or_else(|| dist.missing("kind"))?;
    for key in ["theta", "data", "ops"] {
        let fits = match found {
            Dist::Zipf { .. } => key == "theta",
            Dist::Hotspot { .. } => key != "theta",
            _ => false,
        };
        if dist.get(key).is_some() && !fits {
            let why = format!("has no effect with {}", found.name());
            return Err(dist.invalid(key, why));
        }
    }
    Ok(found)
}

fn scan(table: &Table<'_>) -> Result<ScanSpec> {
    let mut spec = ScanSpec { dist: ScanDist::Fixed, limit: SCAN_LIMIT_DEFAULT as u32 };
    if let Some(scan) = table.table("scan", &SCAN)? {
        let kinds = [ScanDist::Fixed, ScanDist::Uniform];
        spec.dist = scan.word("dist", &["fixed", "uniform"], &kinds)?.unwrap_or(spec.dist);
        spec.limit = scan.integer("limit", 1, SCAN_LIMIT_MAX)?.map_or(spec.limit, |limit| limit as u32);
    }
    Ok(spec)
}

fn until(table: &Table<'_>, kind: PhaseKind) -> Result<Until> {
    let all_records = Some(Amount::Times { factor: 1.0, of: Base::Records });
    let mut spec = Until::default();
    if let Some(until) = table.table("until", &UNTIL)? {
        if until.get("steady").is_some() {
            let problem = Problem::Unsupported {
                what: "\"steady\" (the end at a steady state)",
                instead: "write ops, user_bytes or s",
            };
            return Err(until.error("steady", problem));
        }
        let by_kind: &[&str] = match kind {
            PhaseKind::Load => &["records", "s"],
            PhaseKind::Age | PhaseKind::Measure => &["ops", "user_bytes", "s"],
            PhaseKind::Settle | PhaseKind::Drain | PhaseKind::Verify => &["s"],
        };
        for key in ["records", "ops", "user_bytes", "s"] {
            if until.get(key).is_some() && !by_kind.contains(&key) {
                return Err(until.invalid(key, format!("does not end a phase of kind {}", kind.name())));
            }
        }
        spec.records = match until.get("records").map(|records| records.get_ref().as_str()) {
            Some(Some("all")) => all_records,
            _ => amount(&until, "records", &[("x_records", Base::Records)], RECORDS_MAX)?,
        };
        spec.ops = amount(&until, "ops", &[("x_records", Base::Records)], u64::MAX)?;
        let bases = [("x_data", Base::Data), ("x_memory", Base::Memory)];
        spec.user_bytes = amount(&until, "user_bytes", &bases, u64::MAX)?;
        spec.s = until.number("s", 0.001, f64::INFINITY)?;
    }
    let none = spec == Until::default();
    match kind {
        PhaseKind::Load if spec.records.is_none() => spec.records = all_records,
        PhaseKind::Measure | PhaseKind::Age if none => return Err(table.missing("until")),
        PhaseKind::Settle | PhaseKind::Drain if none => spec.s = Some(WAIT_DEFAULT_S),
        _ => {}
    }
    Ok(spec)
}
