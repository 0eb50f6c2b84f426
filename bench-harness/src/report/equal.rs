//! Whether engines that stand in one table did the same work. A time cap can end a phase early on the slower one:
//! from then on they hold different data of different age, and their figures answer different questions.

use crate::metrics::PhaseRecord;
use crate::run::cell::CellRecord;

/// The stamp of a result with such a comparison.
pub const NOT_EQUAL: &str = "NOT EQUAL";

/// A measured phase whose engines must not be compared.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NotEqual {
    /// The workload.
    pub workload: String,
    /// The measured phase, by the name in the tables.
    pub measure: String,
    /// Where the engines first parted, and by how much.
    pub why: String,
}

/// What an open loop at a share of the engine's own capacity offered, in requests per second.
fn own_rate(phase: &PhaseRecord) -> Option<String> {
    let open = phase.open.as_ref().filter(|open| open.max_per_second.is_some())?;
    Some(crate::units::count(open.offered_per_second as u64))
}

/// Every measured phase of `workload` up to the end of which its engines did not write the same. Streams are the same
/// for all engines, so equal counts of user bytes are equal contents; phases that write nothing may differ.
pub fn unequal(workload: &str, cells: &[&CellRecord]) -> Vec<NotEqual> {
    let mut out: Vec<NotEqual> = Vec::new();
    let measured = cells.iter().flat_map(|cell| cell.measures.iter().map(|m| (m.name.as_str(), m.phase)));
    for (name, last) in measured {
        if out.iter().any(|known| known.measure == name) {
            continue;
        }
        let having =
            |phase: usize| cells.iter().filter_map(move |cell| Some((cell, cell.phases.get(phase)?)));
        // Phases that end when steady differ in length by design: they are compared by their rates.
        let by_count =
            |phase: &usize| having(*phase).all(|(_, phase)| phase.steady.is_none() || !phase.by_clock);
        // A replay empties the store and asks all for the same: what was before it is gone.
        let is_replay = |phase: &usize| having(*phase).any(|(_, phase)| phase.kind == "replay");
        let first = (0..=last).rev().find(is_replay).unwrap_or(0);
        // Its own reason comes before those of the phases that led to it.
        let parted = std::iter::once(last).chain(first..last).filter(by_count).find_map(|phase| {
            let (least, low) = having(phase).min_by_key(|(_, phase)| phase.moved.user_bytes)?;
            let (most, high) = having(phase).max_by_key(|(_, phase)| phase.moved.user_bytes)?;
            let name = &high.name;
            if let (true, Some(low), Some(high)) = (cells.len() > 1, own_rate(low), own_rate(high)) {
                return Some(format!(
                    "in `{}` each engine was offered a share of its own capacity, from {low}/s to {high}/s: see how its \
                     responses grow with the load, not which engine is faster",
                    name,
                ));
            }
            (low.moved.user_bytes < high.moved.user_bytes).then(|| {
                let capped = if low.capped.is_some() { ", whose time ran out" } else { "" };
                format!(
                    "in `{}` {} wrote {} user bytes and {} {}{capped}: they hold different data, so ratios between \
                     them mean nothing",
                    high.name,
                    most.engine.label,
                    crate::units::count(high.moved.user_bytes),
                    least.engine.label,
                    crate::units::count(low.moved.user_bytes),
                )
            })
        });
        out.extend(parted.map(|why| NotEqual {
            workload: workload.to_owned(),
            measure: name.to_owned(),
            why,
        }));
    }
    out
}
