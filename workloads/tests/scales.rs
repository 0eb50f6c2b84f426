//! Scaling: each scale has the size it promises, and no scale leaves the main job as written.

use workloads::spec::Amount;
use workloads::{PhaseKind, Scale, Spec, ready};

fn ops(spec: &Spec) -> u64 {
    let measure =
        spec.phases.iter().find(|phase| phase.kind == PhaseKind::Measure).expect("a measured phase");
    spec.count(measure.until.ops.expect("a count of operations"))
}

#[test]
fn the_main_job_is_what_its_files_say() {
    for name in ["read-heavy", "write-heavy"] {
        let spec = ready::find(name).expect("a ready workload");
        assert_eq!((spec.records(), spec.data_bytes(), ops(&spec)), (1_000_000, 116_000_000, 1_000_000));
        assert_eq!((spec.memory_budget(), spec.run.threads, spec.run.seed), (32 << 20, 1, 42));
        let kinds: Vec<PhaseKind> = spec.phases.iter().map(|phase| phase.kind).collect();
        assert!(kinds.is_sorted() && kinds.len() == 6, "{kinds:?}");
    }
}

#[test]
fn smoke_is_a_fiftieth_and_lab_and_full_have_fixed_sizes() {
    let spec = ready::find("write-heavy").expect("a ready workload");
    let smoke = spec.scaled(Scale::Smoke);
    assert_eq!((smoke.records(), ops(&smoke), smoke.memory_budget()), (20_000, 20_000, 1 << 20));
    for (scale, budget, data) in
        [(Scale::Lab, 32u64 << 20, 320u64 << 20), (Scale::Full, 256 << 20, 2560 << 20)]
    {
        let scaled = spec.scaled(scale);
        assert_eq!(scaled.memory_budget(), budget);
        assert!(data - scaled.data_bytes() < 116);
        assert!(ops(&scaled).abs_diff(scaled.records()) <= 1, "operations grow as records do");
    }
}

#[test]
fn every_ready_workload_has_a_smoke_size_that_counts_end_and_no_clock() {
    for ready in ready::all() {
        let spec = ready.spec().scaled(Scale::Smoke);
        assert!(spec.data_bytes() < 24 << 20, "{}: {} bytes", ready.name, spec.data_bytes());
        for phase in spec.phases.iter().filter(|phase| phase.ends_by_itself()) {
            let is_wait = matches!(phase.kind, PhaseKind::Settle | PhaseKind::Drain);
            assert_eq!(phase.until.s, is_wait.then_some(600.0), "{}: {}", ready.name, phase.name);
            let ops = phase.until.ops.map_or(0, |ops| spec.count(ops));
            assert!(ops <= 200_000, "{}: {} has {ops} operations", ready.name, phase.name);
        }
        let timed = spec.phases.iter().filter(|phase| !phase.ends_by_itself());
        let seconds: f64 = timed.filter_map(workloads::PhaseSpec::cap_s).sum();
        assert!(seconds < 20.0, "{}: up to {seconds} s", ready.name);
    }
}

#[test]
fn a_batch_fits_into_the_memory_of_every_scale() {
    for cell in ready::all().iter().flat_map(|ready| ready.cells()) {
        for scale in [Scale::Smoke, Scale::Lab, Scale::Full] {
            let spec = cell.scaled(scale);
            let bytes = |batch: u32| u64::from(batch) * spec.data.entry_bytes();
            let most = spec.phases.iter().map(|phase| bytes(phase.batch)).max().unwrap_or(0);
            assert!(most * 4 <= spec.memory_budget(), "{} {}: {most} bytes", spec.name, spec.label);
        }
    }
}

#[test]
fn a_phase_with_nothing_but_a_time_keeps_a_part_of_it_at_smoke_size() {
    let mut spec = ready::find("write-heavy").expect("a ready workload");
    let measure = spec.phases.iter_mut().find(|phase| phase.kind == PhaseKind::Measure).expect("one");
    (measure.until.ops, measure.until.s) = (None, Some(25.0));
    let smoke = spec.scaled(Scale::Smoke);
    let measure = smoke.phases.iter().find(|phase| phase.kind == PhaseKind::Measure).expect("one");
    assert_eq!(measure.until.s, Some(1.0));
}

#[test]
fn resolving_leaves_counts_only_and_changes_nothing() {
    for ready in ready::all() {
        let spec = ready.spec();
        let resolved = spec.resolved();
        assert_eq!(resolved.data_bytes(), spec.data_bytes());
        assert!(matches!(resolved.data.records, Amount::Count(_)));
        for phase in &resolved.phases {
            let amounts = [phase.until.records, phase.until.ops, phase.until.user_bytes];
            assert!(amounts.into_iter().flatten().all(|amount| matches!(amount, Amount::Count(_))));
        }
        assert_eq!(resolved.resolved(), resolved);
    }
}

/// With both engines of the laboratory: a cell within ten minutes, a file within ninety.
#[test]
fn the_lab_size_of_every_ready_workload_is_bounded() {
    for ready in ready::all() {
        let cells = ready.cells();
        let mut all_s = 0.0;
        for spec in cells.iter().map(|cell| cell.scaled(Scale::Lab)) {
            for phase in spec.phases.iter().filter(|phase| phase.kind != PhaseKind::Verify) {
                assert!(
                    phase.until.cap_s().is_some(),
                    "{} {}: {} has no cap",
                    spec.name,
                    spec.label,
                    phase.name
                );
            }
            let cell_s: f64 = spec.phases.iter().filter_map(workloads::PhaseSpec::cap_s).sum();
            assert!(cell_s <= 600.0 + 1e-6, "{} {}: {cell_s} s", spec.name, spec.label);
            assert!(spec.data_bytes().abs_diff(320 << 20) < 5_000, "{} bytes", spec.data_bytes());
            all_s += 2.0 * cell_s;
        }
        assert!(all_s <= 5_400.0 + 1e-6, "{}: {all_s} s", ready.name);
    }
}

#[test]
fn a_share_of_the_data_as_memory_stays_one_at_every_scale() {
    for cell in
        ready::all().iter().filter(|ready| ready.name == "temperature").flat_map(|ready| ready.cells())
    {
        let share = |spec: &Spec| spec.memory_budget() as f64 / spec.data_bytes() as f64;
        let (file, lab) = (share(&cell), share(&cell.scaled(Scale::Lab)));
        assert!((0.009..0.04).contains(&file) && (file - lab).abs() < 1e-4, "{file} and {lab}");
        assert_eq!(cell.scaled(Scale::Smoke).memory_budget(), 1 << 20, "an engine needs some");
    }
}
