//! Where bytes came from and went: stacked bars by cause, one bar an engine.

use std::fmt::Write;

use super::charts::figure;
use super::html::Row;
use super::svg::escape;
use crate::metrics::{PhaseRecord, drain_behind};
use crate::units::{count, or_dash, three};

/// How a cause is painted: the same way in every chart and every engine. Reads for the sake of readers are striped, so
/// that none looks like a write, and engines have colours of their own.
fn paint(cause: &str) -> (usize, bool) {
    match cause {
        "wal" => (1, false),
        "flush" | "checkpoint" => (2, false),
        "compaction_l1" | "compaction_l5" => (3, false),
        "compaction_l2" | "compaction_l6" => (4, false),
        "compaction_l3" | "page" | "compaction_l7" => (5, false),
        "compaction_l0" | "compaction_l4" | "free_map" | "manifest" => (6, false),
        "point_read" => (1, true),
        "scan_read" => (3, true),
        "index_read" => (5, true),
        "filter_read" => (6, true),
        "update_read" => (4, true),
        _ => (7, false),
    }
}

/// The bar of one engine: its parts by cause, and their sum as it is told.
struct Stack {
    label: String,
    parts: Vec<(String, f64)>,
    told: String,
}

fn key(cause: &str) -> String {
    let (colour, striped) = paint(cause);
    let striped = if striped { " striped" } else { "" };
    format!("class=\"part{striped}\" style=\"--c:var(--k{colour})")
}

/// One bar per engine on one scale, and a legend with every number, so that nothing hangs on colour.
fn stacked(title: &str, stacks: &[Stack], shown: fn(f64) -> String, caption: &str) -> String {
    let sum = |stack: &Stack| stack.parts.iter().map(|(_, share)| share).sum::<f64>();
    let most = stacks.iter().map(sum).fold(0.0, f64::max);
    let mut body = String::from("<div class=\"bars\">");
    let mut causes: Vec<&str> = Vec::new();
    for stack in stacks {
        let _ =
            write!(body, "<div class=\"bar\"><span>{}</span><span class=\"track\">", escape(&stack.label));
        for (cause, share) in &stack.parts {
            let width = share / most.max(f64::MIN_POSITIVE) * 100.0;
            let _ = write!(
                body,
                "<i {};width:{width:.2}%\" title=\"{}: {}\"></i>",
                key(cause),
                escape(cause),
                shown(*share)
            );
            if !causes.contains(&cause.as_str()) {
                causes.push(cause);
            }
        }
        let _ = write!(body, "</span><b>{}</b></div>", stack.told);
    }
    body.push_str("</div><ul class=\"legend rows\">");
    for cause in &causes {
        let per_engine: Vec<_> = stacks
            .iter()
            .filter_map(|stack| {
                let share = stack.parts.iter().find(|(known, _)| known == cause)?.1;
                Some(format!("{} {}", stack.label, shown(share)))
            })
            .collect();
        let _ = write!(
            body,
            "<li><i {}\"></i>{} <span class=\"dim\">{}</span></li>",
            key(cause).replace("class=\"part", "class=\"key part"),
            escape(cause),
            escape(&per_engine.join(", "))
        );
    }
    body.push_str("</ul>");
    figure(title, &body, caption)
}

/// Where did my byte go: bytes written per byte the user wrote.
pub fn written(rows: &[Row<'_>]) -> String {
    if rows.iter().all(|row| row.measure.derived.wa_settled.is_none()) {
        return String::new();
    }
    let stacks: Vec<_> = rows
        .iter()
        .map(|row| Stack {
            label: row.label().to_owned(),
            parts: row.measure.derived.wa_by_cause.clone(),
            told: or_dash(row.measure.derived.wa_settled),
        })
        .collect();
    stacked(
        "Where did my byte go",
        &stacks,
        three,
        "Bytes written to files per byte the user wrote, by cause, drain included.",
    )
}

/// Bytes read from files per operation by cause, those of the drain included; `None` if the engine does not tell.
fn reads_by_cause(phase: &PhaseRecord, drain: Option<&PhaseRecord>) -> Option<Vec<(String, f64)>> {
    let io = phase.moved.io.as_ref()?;
    let ops = Some(phase.moved.completed).filter(|ops| *ops > 0)? as f64;
    let drained = drain.and_then(|drain| drain.moved.io.as_ref());
    let read = |cause| io.of(cause).read_bytes + drained.map_or(0, |io| io.of(cause).read_bytes);
    let all = kv_api::Cause::all().map(|cause| (cause.to_string(), read(cause) as f64 / ops));
    let mut parts: Vec<_> = all.filter(|(_, share)| *share > 0.0).collect();
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    Some(parts)
}

fn bytes_per_op(value: f64) -> String {
    if value >= 100.0 { format!("{} B", count(value as u64)) } else { format!("{} B", three(value)) }
}

/// Who read from files: bytes per operation of the phase.
pub fn read(rows: &[Row<'_>]) -> String {
    let stack = |row: &Row<'_>| {
        let drain = drain_behind(&row.cell.phases, row.measure.phase);
        let parts = reads_by_cause(row.phase, drain);
        let told = parts.as_ref().map(|parts| parts.iter().map(|(_, share)| share).sum());
        Stack {
            label: row.label().to_owned(),
            parts: parts.unwrap_or_default(),
            told: told.map_or("-".to_owned(), bytes_per_op),
        }
    };
    let stacks: Vec<_> = rows.iter().map(stack).collect();
    if stacks.iter().all(|stack| stack.told == "-") {
        return String::new();
    }
    if stacks.iter().all(|stack| stack.parts.is_empty()) {
        let said =
            "<p class=\"dim\">No engine that counts read anything from its files: memory held all.</p>";
        return figure("Who read from files", said, "");
    }
    stacked(
        "Who read from files",
        &stacks,
        bytes_per_op,
        "Bytes read from files per operation of the phase, by cause, drain included; one repetition. Striped: for readers \
         and writers; plain: for upkeep. The system's page cache may have served them.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use kv_api::{Cause, IoStats};

    #[test]
    fn reads_count_the_drain_and_nothing_told_is_not_nothing() {
        let mut phase = PhaseRecord::default();
        phase.moved.completed = 10;
        assert_eq!(reads_by_cause(&phase, None), None);
        let mut io = IoStats::default();
        phase.moved.io = Some(io);
        assert_eq!(reads_by_cause(&phase, None), Some(Vec::new()));
        io.of_mut(Cause::PointRead).read_bytes = 40;
        phase.moved.io = Some(io);
        io = IoStats::default();
        io.of_mut(Cause::Compaction { to: 2 }).read_bytes = 100;
        let drain = PhaseRecord {
            moved: crate::metrics::Moved { io: Some(io), ..Default::default() },
            ..phase.clone()
        };
        let parts = reads_by_cause(&phase, Some(&drain)).unwrap();
        assert_eq!(parts, [("compaction_l2".to_owned(), 10.0), ("point_read".to_owned(), 4.0)]);
    }

    #[test]
    fn a_read_never_looks_like_a_write() {
        let (reads, writes): (Vec<_>, Vec<_>) =
            Cause::all().map(|cause| cause.to_string()).partition(|cause| cause.ends_with("_read"));
        assert_eq!(reads.len(), 5);
        for read in &reads {
            assert!(writes.iter().all(|write| paint(write) != paint(read)), "{read}");
        }
    }
}
