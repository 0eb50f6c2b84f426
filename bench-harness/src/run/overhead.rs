//! What the harness itself costs: drawing, making key and value, timing, checking, taking note. It bounds what any engine
//! can look like, so it is printed beside the results.
//!
//! Two engines tell it. One answers rightly from memory, so that checking costs what it costs: what lies outside its
//! calls is the harness's. One does nothing: what its calls take is the price of asking and of reading the clock.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use kv_api::{Kv, MemoryEngine};
use workloads::spec::{Amount, Until};
use workloads::{OpStream, Oracle, PhaseKind, Scale, Spec};

use super::client::{Client, Shared, Tally, batch_bytes_max};
use super::null::NullEngine;
use super::plan::{Workload, durability};
use super::progress::Progress;
use crate::stats::ratio::median;
use crate::sys::interrupt::Interrupt;

/// How often the measured phase is repeated; the median counts.
const ROUNDS: usize = 5;
/// Longest time of a phase that prepares, and of a measured one.
const PREPARE_TIME: Duration = Duration::from_millis(300);
const MEASURE_TIME: Duration = Duration::from_millis(40);
/// Operations of a measured one, so many that making histograms and meeting fresh memory do not show.
const MEASURE_OPS: u64 = 100_000;

/// The cost in one measured phase.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct HarnessCost {
    /// The workload.
    pub workload: String,
    /// The measured phase, by the name in the tables.
    pub measure: String,
    /// Wall nanoseconds of the harness for each operation.
    pub ns_per_op: f64,
}

/// The cost in every measured phase of `workloads`, at most a second each. What the user interrupted is left out.
pub fn costs(workloads: &[Workload], interrupt: &Interrupt) -> Vec<HarnessCost> {
    let cost = |workload: &Workload, index: usize| {
        Some(HarnessCost {
            workload: workload.name.clone(),
            measure: workload.measure_name(index),
            ns_per_op: harness_ns_per_op(&workload.spec, index, interrupt)?,
        })
    };
    let of = |workload| (0..usize::MAX).map_while(move |index| measured(workload, index)).flatten();
    workloads
        .iter()
        .flat_map(|workload| of(workload).filter_map(move |index| cost(workload, index)))
        .collect()
}

/// `Some(None)` for a phase that is not measured, `None` behind the last.
fn measured(workload: &Workload, index: usize) -> Option<Option<usize>> {
    let phase = workload.spec.phases.get(index)?;
    Some((phase.kind == PhaseKind::Measure).then_some(index))
}

/// Wall nanoseconds of the harness for each operation of phase `measured` of `spec`. One client, the data of the
/// workload in its smallest size; the median of five. `None` if nothing was done, or the user interrupted.
fn harness_ns_per_op(spec: &Spec, measured: usize, interrupt: &Interrupt) -> Option<f64> {
    let mut spec = spec.scaled(Scale::Smoke).resolved();
    spec.run.threads = 1;
    spec.phases.get_mut(measured)?.until =
        Until { ops: Some(Amount::Count(MEASURE_OPS)), ..Until::default() };
    let (memory, mut oracle) = (MemoryEngine::new(), Oracle::new(&spec.data, 0, 1));
    for index in (0..measured).filter(|index| spec.phases[*index].kind.has_ops()) {
        work(&memory, &spec, index, &mut oracle, PREPARE_TIME, interrupt);
    }
    let per_op = |ns: u64, tally: &Tally| (tally.completed > 0).then(|| ns as f64 / tally.completed as f64);
    let rounds: Vec<f64> = (0..ROUNDS)
        .filter_map(|_| {
            let asking = work(&NullEngine, &spec, measured, &mut oracle.clone(), MEASURE_TIME, interrupt);
            let right = work(&memory, &spec, measured, &mut oracle, MEASURE_TIME, interrupt);
            let outside = right.wall_ns.saturating_sub(right.service_ns);
            Some(per_op(outside, &right)? + per_op(asking.service_ns, &asking)?)
        })
        .collect();
    median(&rounds).filter(|_| rounds.len() == ROUNDS && !interrupt.is_set())
}

fn work<E: Kv>(
    engine: &E,
    spec: &Spec,
    index: usize,
    oracle: &mut Oracle,
    time: Duration,
    interrupt: &Interrupt,
) -> Tally {
    let (progress, flag) = (Progress::default(), AtomicBool::new(false));
    let shared = Shared {
        engine,
        snapshot: None,
        durability: durability(spec),
        batch: spec.phases[index].batch.max(1) as usize,
        batch_bytes_max: batch_bytes_max(spec),
        time_max: Some(time),
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
    use crate::run::Overrides;

    #[test]
    fn every_mix_of_operations_has_a_cost_and_a_workload_without_measurement_has_none() {
        let none = Interrupt::default();
        for name in ["read-heavy", "write-heavy", "scan-heavy", "ycsb-f", "time-series"] {
            let workloads = Workload::find_all(name, &Overrides::default()).unwrap();
            let found = costs(&workloads[..1], &none);
            assert!(!found.is_empty() && found.iter().all(|cost| cost.ns_per_op > 0.0), "{name}: {found:?}");
            assert_eq!(found[0].workload, workloads[0].name);
            // Printed for whoever looks for where the time goes.
            println!("{name}: {:.0} ns/op", found[0].ns_per_op);
        }
        let mut workload = Workload::find("read-heavy", &Overrides::default()).unwrap();
        assert_eq!(costs(std::slice::from_ref(&workload), &Interrupt::asked()), []);
        workload.spec.phases.retain(|phase| phase.kind != PhaseKind::Measure);
        assert_eq!(costs(&[workload], &none), []);
    }

    #[test]
    fn the_answers_are_right_so_that_checking_them_costs_what_it_costs() {
        let workload = Workload::find("read-heavy", &Overrides::default()).unwrap();
        let spec = workload.spec.scaled(Scale::Smoke).resolved();
        let (memory, mut oracle) = (MemoryEngine::new(), Oracle::new(&spec.data, 0, 1));
        let none = Interrupt::default();
        for index in (0..spec.phases.len()).filter(|index| spec.phases[*index].kind.has_ops()) {
            let tally = work(&memory, &spec, index, &mut oracle, PREPARE_TIME, &none);
            assert!(tally.completed > 0 && tally.wrong == 0, "{:?}", tally.wrong_kept);
        }
    }
}
