//! What can be believed of a result, in words: the counters of the machine, its device, and what nobody could see.

use super::result::ResultFile;
use crate::calibrate::Calibration;
use crate::calibrate::probes::Rate;
use crate::calibrate::trust::Worth;
use crate::compare::{Group, Repetition};
use crate::metrics::formulas::per_op;
use crate::stats::ratio::median;
use crate::units::{bytes, count, nanos};

/// One or two sentences for every output: what the counters are worth, and what was not seen.
pub fn sentences(result: &ResultFile) -> Vec<String> {
    let trust = sentence(result.calibration.as_ref());
    let unseen = result.host.unseen.join("; ");
    let unseen = (!unseen.is_empty()).then(|| format!("not seen: {unseen}"));
    std::iter::once(trust).chain(unseen).collect()
}

/// What the counters and the device are worth.
pub fn sentence(calibration: Option<&Calibration>) -> String {
    match calibration {
        Some(calibration) => format!("trust: {}", counters(calibration)),
        None => {
            "trust: counters and device were not calibrated, so nothing was checked against them".to_owned()
        }
    }
}

fn counters(calibration: &Calibration) -> String {
    let (probes, trust) = (&calibration.probes, &calibration.trust);
    let name = calibration.source.device.as_ref().map_or("none", |device| device.name.as_str());
    let device = match (trust.device, probes.idle) {
        (Worth::Noisy { .. }, _) => trust.device.words(),
        (_, None) => "its counters cannot be seen".to_owned(),
        (_, Some(idle)) => format!(
            "{}/s idle, its count of writes {}, of reads {}",
            bytes(idle.bytes_per_s() as u64),
            trust.device.words(),
            trust.device_read.words()
        ),
    };
    let journal = trust.journal.map_or(String::new(), |journal| {
        let (some, more) = (journal.in_place_bytes as u64, journal.growing_bytes as u64);
        format!(" and added {} to {} of journal", bytes(some.min(more)), bytes(some.max(more)))
    });
    format!(
        "device {name}: {device}; /proc's write_bytes {}, read_bytes {}; a sync took {} (p50), {} (p99){journal}{}",
        trust.proc_write.words(),
        trust.proc_read.words(),
        nanos(probes.sync_p50_ns),
        nanos(probes.sync_p99_ns),
        if calibration.cached { "; found earlier today" } else { "" }
    )
}

/// What the harness itself costs in a measured phase, beside its results; `None` if that was not measured.
pub fn harness(result: &ResultFile, workload: &str, measure: &str) -> Option<String> {
    let ns = result.harness_ns(workload, measure)?;
    let groups = crate::compare::groups(&result.cells);
    let here: Vec<_> =
        groups.iter().filter(|group| group.workload == workload && group.measure == measure).collect();
    // Clients of an open loop wait for arrivals between calls.
    if here.iter().flat_map(|group| &group.runs).any(|run| run.phase.open.is_some()) {
        return None;
    }
    let outside = |group: &&Group<'_>| {
        let ns = |run: &Repetition<'_>| {
            let moved = &run.phase.moved;
            per_op(moved.client_wall_ns.saturating_sub(moved.service_ns), moved.completed)
        };
        let middle = median(&group.runs.iter().filter_map(ns).collect::<Vec<_>>())?;
        Some(format!("{} {middle:.0}", group.engine))
    };
    let seen: Vec<_> = here.iter().filter_map(outside).collect();
    let seen = if seen.is_empty() {
        String::new()
    } else {
        format!("; outside calls in these runs: {} ns/op", seen.join(", "))
    };
    Some(format!(
        "harness alone {ns:.0} ns/op, an engine that does nothing would make {}/s{seen}",
        count((1e9 / ns) as u64)
    ))
}

/// The rates of the device, a row each: what moved, then requests and bytes a second.
pub fn rates(calibration: &Calibration) -> Vec<String> {
    let row = |rate: &Rate| {
        format!(
            "{} {} of {}, {} at a time: {}/s, {}/s",
            if rate.sequential { "sequential" } else { "random" },
            if rate.writes { "writes" } else { "reads" },
            bytes(rate.request_bytes),
            rate.depth,
            count(rate.per_second as u64),
            bytes(rate.bytes_per_s() as u64)
        )
    };
    calibration.probes.rates.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::probes::{Counted, Idle, Probes};
    use crate::calibrate::source::Source;
    use crate::calibrate::trust::Trust;

    #[test]
    fn what_is_noisy_or_missing_is_said() {
        let probes = Probes {
            idle: Some(Idle { read_bytes: 0, write_bytes: 3_000_000, ns: 1_000_000_000 }),
            sequential: Counted::of(64 << 20, Some(128 << 20), Some(64 << 20), 1),
            rewrite: Counted::of(4096, Some(4096), Some(4096), 1),
            sync_p50_ns: 1_000_000,
            ..Probes::default()
        };
        let trust = Trust::of(&probes);
        let told = counters(&Calibration { source: Source::default(), probes, trust, cached: true });
        for part in
            ["noisy", "write_bytes inflated x2.0", "read_bytes absent", "1.00 ms", "found earlier today"]
        {
            assert!(told.contains(part), "`{part}` in {told}");
        }
        assert!(!told.contains("journal"), "{told}");
    }
}
