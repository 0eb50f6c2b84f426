//! The numbers people compare, computed from a measured phase and the drain behind it.

use std::collections::BTreeMap;

use kv_api::Cause;

use super::formulas as f;
use super::record::{Moved, PhaseRecord};

/// One measured phase in numbers. `None`: not measured.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct Derived {
    /// Operations per second.
    pub ops_per_second: Option<f64>,
    /// The same over the time of the phase and of the drain that paid its debt; `None` if nothing drained it.
    #[serde(default)]
    pub settled_ops_per_second: Option<f64>,
    /// Write amplification of the phase alone.
    pub wa_open: Option<f64>,
    /// The same with the bytes that draining the debt wrote; `None` if nothing drained it.
    pub wa_settled: Option<f64>,
    /// Its parts by cause, drain included.
    pub wa_by_cause: Vec<(String, f64)>,
    /// Bytes read for the sake of writes per user byte written, by cause, drain included.
    #[serde(default)]
    pub upkeep_read_by_cause: Vec<(String, f64)>,
    /// Zeros written ahead of the log per user byte, drain included: not part of write amplification.
    #[serde(default)]
    pub prepared_per_user_byte: Option<f64>,
    /// File bytes read per read operation.
    pub read_bytes_per_read: Option<f64>,
    /// File bytes read per byte returned.
    pub ra: Option<f64>,
    /// Blocks asked for per get by kind, cache hits included.
    pub blocks_per_get: BTreeMap<String, f64>,
    /// Blocks per get by kind that were not in memory.
    pub misses_per_get: BTreeMap<String, f64>,
    /// Allocated bytes averaged over the phase, per live byte averaged over its ends.
    pub sa_steady: Option<f64>,
    /// The largest seen in the phase and its drain.
    pub sa_peak: Option<f64>,
    /// After the drain.
    pub sa_settled: Option<f64>,
    /// File lengths without the log per live byte, after the drain.
    pub sa_settled_without_log: Option<f64>,
    /// Share of the clients' wall time that was spent inside calls of the engine. The rest made keys and values and
    /// checked answers, and bounds how fast any engine can look.
    #[serde(default)]
    pub engine_time_share: Option<f64>,
    /// Nanoseconds inside calls of the engine per operation, all clients together: what the harness does between calls
    /// is not in it.
    #[serde(default)]
    pub service_ns_per_op: Option<f64>,
    /// CPU nanoseconds of the process per operation, the harness's included, those of the drain not, nor those that
    /// clients of an open loop spend looking at the clock.
    pub cpu_ns_per_op: Option<f64>,
    /// Of those, outside the client threads: background work, and the sampler of the harness.
    pub background_cpu_ns_per_op: Option<f64>,
    /// Upkeep owed when the phase began, in bytes: paying it counts in this phase, though others incurred it.
    #[serde(default)]
    pub debt_before_bytes: u64,
    /// Upkeep owed when the phase ended, in bytes.
    pub debt_bytes: u64,
    /// Upkeep still owed after the drain, in bytes.
    pub debt_left_bytes: u64,
    /// Time writers waited, as a share of the wall time of one client; 0 if they never did. `None` if nothing was
    /// written, or the engine does not tell.
    pub stalled_share: Option<f64>,
}

impl Derived {
    /// Computes them for `measure`; `before` is the phase before it, `drain` the one behind it that paid its debt, if there
    /// are any. Without a drain nothing is settled.
    pub fn of(before: Option<&PhaseRecord>, measure: &PhaseRecord, drain: Option<&PhaseRecord>) -> Derived {
        let moved = &measure.moved;
        let mut settled = moved.clone();
        if let Some(drain) = drain {
            settled.add(&drain.moved);
        }
        let end = drain.unwrap_or(measure);
        let has_files = end.space.is_some();
        let drained = drain.map_or(0, |drain| drain.allocated_peak_bytes);
        let peak = Some(measure.allocated_peak_bytes.max(drained)).filter(|_| has_files);
        let is_settled = has_files && drain.is_some();
        let without_log =
            (is_settled && end.space_without_log_bytes > 0).then_some(end.space_without_log_bytes);
        let stalled_ns: u64 = moved.stalls.iter().map(|stall| stall.wall_ns).sum();
        Derived {
            ops_per_second: f::ops_per_second(moved.completed, moved.wall_ns),
            settled_ops_per_second: drain.and_then(|_| f::ops_per_second(moved.completed, settled.wall_ns)),
            wa_open: f::write_amplification(moved.io.as_ref(), moved.user_bytes),
            wa_settled: f::write_amplification(
                settled.io.as_ref().filter(|_| drain.is_some()),
                settled.user_bytes,
            ),
            wa_by_cause: named(f::write_amplification_by_cause(settled.io.as_ref(), settled.user_bytes)),
            upkeep_read_by_cause: named(f::upkeep_read_by_cause(settled.io.as_ref(), settled.user_bytes)),
            prepared_per_user_byte: settled
                .io
                .and_then(|io| f::per_op(io.of(Cause::Prepare).write_bytes, settled.user_bytes)),
            read_bytes_per_read: f::read_bytes_per_read(moved.io.as_ref(), moved.gets, moved.scans),
            ra: f::read_amplification(moved.io.as_ref(), moved.returned_bytes),
            blocks_per_get: blocks(moved, |row| row.point_requests),
            misses_per_get: blocks(moved, |row| row.point_misses),
            sa_steady: f::space_amplification(
                steady(measure).filter(|_| has_files),
                // Data that grow, grow evenly: the average of space stands over the average of what is live.
                u64::midpoint(before.map_or(0, |before| before.live_bytes), measure.live_bytes),
            ),
            sa_peak: f::space_amplification(peak, measure.live_bytes),
            sa_settled: f::space_amplification(
                end.space.as_ref().filter(|_| is_settled).map(|space| space.allocated_bytes),
                end.live_bytes,
            ),
            sa_settled_without_log: f::space_amplification(without_log, end.live_bytes),
            engine_time_share: f::per_op(moved.service_ns, moved.client_wall_ns),
            service_ns_per_op: f::per_op(moved.service_ns, moved.completed),
            cpu_ns_per_op: f::cpu_ns_per_op(
                moved.cpu.total_ns().saturating_sub(moved.waiting_cpu_ns),
                moved.completed,
            ),
            background_cpu_ns_per_op: f::cpu_ns_per_op(
                moved.cpu.total_ns().saturating_sub(moved.client_cpu_ns),
                moved.completed,
            ),
            debt_before_bytes: before.map_or(0, |before| before.debt_bytes),
            debt_bytes: measure.debt_bytes,
            debt_left_bytes: end.debt_bytes,
            stalled_share: f::per_op(stalled_ns, moved.wall_ns)
                .filter(|_| moved.user_bytes > 0 && !moved.stalls.is_empty()),
        }
    }
}

fn named(rows: Vec<(Cause, f64)>) -> Vec<(String, f64)> {
    rows.into_iter().map(|(cause, share)| (cause.to_string(), share)).collect()
}

fn blocks(moved: &Moved, which: impl Fn(&kv_api::stats::BlockReads) -> u64) -> BTreeMap<String, f64> {
    let rows =
        moved.blocks.iter().filter_map(|row| Some((row.kind.clone(), f::per_op(which(row), moved.gets)?)));
    rows.collect()
}

/// Allocated bytes averaged over the samples of a phase.
fn steady(phase: &PhaseRecord) -> Option<u64> {
    let sum: u64 = phase.samples.iter().map(|sample| sample.allocated_bytes).sum();
    sum.checked_div(phase.samples.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::disk::DirSize;
    use kv_api::IoStats;

    #[test]
    fn a_drain_adds_its_bytes_to_the_settled_figure_alone() {
        let phase = |flush: u64, user: u64| {
            let mut io = IoStats::default();
            io.of_mut(Cause::Flush).write_bytes = flush;
            let moved =
                Moved { io: Some(io), user_bytes: user, completed: 10, wall_ns: 10, ..Moved::default() };
            PhaseRecord { moved, live_bytes: 50, ..PhaseRecord::default() }
        };
        let derived = Derived::of(None, &phase(100, 100), Some(&phase(300, 0)));
        assert_eq!((derived.wa_open, derived.wa_settled), (Some(1.0), Some(4.0)));
        assert_eq!((derived.ops_per_second, derived.settled_ops_per_second), (Some(1e9), Some(5e8)));
        assert_eq!(derived.sa_settled, None);
        let owing = Derived::of(None, &phase(100, 100), None);
        assert_eq!((owing.wa_open, owing.wa_settled), (Some(1.0), None), "what owes is not settled");
        assert_eq!(derived.wa_by_cause, [("flush".to_owned(), 4.0)]);
    }

    #[test]
    fn space_is_set_against_what_lived_meanwhile() {
        let sample =
            |allocated_bytes| crate::metrics::Sample { allocated_bytes, ..crate::metrics::Sample::default() };
        let fill = PhaseRecord {
            live_bytes: 100,
            space: Some(DirSize::default()),
            samples: vec![sample(0), sample(60), sample(120)],
            ..PhaseRecord::default()
        };
        assert_eq!(Derived::of(None, &fill, None).sa_steady, Some(1.2));
    }

    #[test]
    fn no_wait_is_zero_and_no_count_of_waits_is_none() {
        let stall = kv_api::stats::Stall { name: "dirty limit".to_owned(), count: 0, wall_ns: 0 };
        let share = |stalls: &[kv_api::stats::Stall], user_bytes: u64| {
            let moved = Moved { stalls: stalls.to_vec(), user_bytes, wall_ns: 10, ..Moved::default() };
            Derived::of(None, &PhaseRecord { moved, ..PhaseRecord::default() }, None).stalled_share
        };
        assert_eq!(share(std::slice::from_ref(&stall), 5), Some(0.0));
        assert_eq!(share(&[kv_api::stats::Stall { count: 1, wall_ns: 5, ..stall.clone() }], 5), Some(0.5));
        assert_eq!(share(&[], 5), None);
        assert_eq!(share(&[stall], 0), None);
    }

    #[test]
    fn the_space_peak_is_the_largest_of_phase_and_drain_and_nothing_without_files() {
        let phase = |peak: u64| PhaseRecord {
            allocated_peak_bytes: peak,
            live_bytes: 50,
            space: Some(DirSize { allocated_bytes: 60, ..DirSize::default() }),
            ..PhaseRecord::default()
        };
        let owing = PhaseRecord { debt_bytes: 7, ..PhaseRecord::default() };
        let derived = Derived::of(Some(&owing), &phase(100), Some(&phase(150)));
        assert_eq!((derived.sa_peak, derived.sa_settled), (Some(3.0), Some(1.2)));
        assert_eq!(derived.debt_before_bytes, 7);
        let derived = Derived::of(None, &PhaseRecord { space: None, ..phase(100) }, None);
        assert_eq!(derived.sa_peak, None);
    }
}
