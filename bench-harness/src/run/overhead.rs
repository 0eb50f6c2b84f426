//! What the harness itself costs: the same clients and the same kinds of operations on an engine that does nothing. It
//! bounds what any engine can look like, so it is printed beside the results.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use workloads::{OpStream, Oracle, PhaseKind, Scale, Spec};

use super::client::{Client, Shared, Tally};
use super::null::NullEngine;
use super::plan::durability;
use super::progress::Progress;
use crate::stats::ratio::median;
use crate::sys::interrupt::Interrupt;

/// How often the measured phase is repeated; the median counts.
const ROUNDS: usize = 5;
/// Longest time of one phase.
const PHASE_TIME: Duration = Duration::from_millis(300);

/// Wall nanoseconds of the harness for each operation of the first measured phase of `spec`: drawing, making key and
/// value, timing, checking, taking note. One client, the data of the workload in its smallest size; the median of five.
/// `None` if nothing is measured, or the user interrupted. At most 3 s, mostly well below one.
pub fn harness_ns_per_op(spec: &Spec, interrupt: &Interrupt) -> Option<f64> {
    let mut spec = spec.scaled(Scale::Smoke).resolved();
    spec.run.threads = 1;
    let measured = spec.phases.iter().position(|phase| phase.kind == PhaseKind::Measure)?;
    let mut oracle = Oracle::new(&spec.data, 0, 1);
    for index in (0..measured).filter(|index| spec.phases[*index].kind.has_ops()) {
        work(&spec, index, &mut oracle, interrupt);
    }
    let rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| work(&spec, measured, &mut oracle, interrupt))
        .filter(|tally| tally.completed > 0 && !interrupt.is_set())
        .map(|tally| tally.wall_ns as f64 / tally.completed as f64)
        .collect();
    median(&rounds).filter(|_| rounds.len() == ROUNDS)
}

fn work(spec: &Spec, index: usize, oracle: &mut Oracle, interrupt: &Interrupt) -> Tally {
    let (progress, flag) = (Progress::default(), AtomicBool::new(false));
    let shared = Shared {
        engine: &NullEngine,
        snapshot: None,
        durability: durability(spec),
        batch: spec.phases[index].batch.max(1) as usize,
        time_max: Some(PHASE_TIME),
        interrupt,
        failed: &flag,
        steady: &AtomicBool::new(false),
    };
    let mut stream = OpStream::new(spec, index, oracle);
    Client::new(&shared, oracle, &mut stream, &progress, None).run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Overrides, Workload};

    #[test]
    fn every_mix_of_operations_has_a_cost_and_a_workload_without_measurement_has_none() {
        let none = Interrupt::default();
        for name in ["read-heavy", "write-heavy", "scan-heavy", "ycsb-f", "time-series"] {
            let workloads = Workload::find_all(name, &Overrides::default()).unwrap();
            let cost = harness_ns_per_op(&workloads[0].spec, &none);
            assert!(cost.is_some_and(|ns| ns > 0.0), "{name}: {cost:?}");
        }
        let mut workload = Workload::find("read-heavy", &Overrides::default()).unwrap();
        workload.spec.phases.retain(|phase| phase.kind != PhaseKind::Measure);
        assert_eq!(harness_ns_per_op(&workload.spec, &none), None);
    }
}
