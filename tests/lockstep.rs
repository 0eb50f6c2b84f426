//! The engines, given the same stream of steps, do the same; so does one engine under other settings. Each is compared
//! with a map at every step, while eight snapshots and four scans are held open, and in the end with each other, by full
//! scans both ways.

use std::sync::atomic::{AtomicU64, Ordering};

use kv_api::{Direction, KeyRange, Limits, Result, ScanOptions};
use tests::driver::Driver;
use tests::share::{Repeat, by_share, seeds, side_by_side, tell};
use tests::steps::{Mix, Step, Steps};
use tests::{Engine, Knobs, Lab, Rng, check};

/// Steps of one run.
fn steps_of_a_run() -> usize {
    by_share(2_000, 10_000, 20_000)
}

/// What all of these can take.
fn common_limits(all: &[Limits]) -> Limits {
    let mut common = all[0];
    for limits in all {
        common.key_bytes_max = common.key_bytes_max.min(limits.key_bytes_max);
        common.value_bytes_max = common.value_bytes_max.min(limits.value_bytes_max);
        common.batch_bytes_max = common.batch_bytes_max.min(limits.batch_bytes_max);
    }
    common
}

/// What the runs of a test came to.
#[derive(Default)]
struct Total {
    ops: AtomicU64,
    /// Flushes, settles and compactions under eight snapshots and four scans, of all engines.
    upkept: AtomicU64,
}

/// Drives all labs through the same steps.
fn run(labs: &[Lab], seed: u64, total: &Total) -> Result<()> {
    let mut drivers = labs.iter().map(Driver::open).collect::<Result<Vec<_>>>()?;
    let limits: Vec<_> = drivers.iter().map(|driver| driver.db().limits()).collect();
    let mix = Mix::random(&common_limits(&limits), &mut Rng::new(!seed));
    let steps: Vec<Step> = Steps::new(seed, mix).take(steps_of_a_run()).collect();
    for (lab, driver) in labs.iter().zip(&mut drivers) {
        for (index, step) in steps.iter().enumerate() {
            if let Err(error) = driver.step(step) {
                panic!("{:?}, step {index}, {step:?}: {error}", lab.engine);
            }
        }
        total.upkept.fetch_add(driver.upkept_under(8, 4) as u64, Ordering::Relaxed);
    }
    total.ops.fetch_add(drivers[0].ops(), Ordering::Relaxed);
    for direction in [Direction::Forward, Direction::Reverse] {
        let scan = |driver: &Driver<'_>| -> Result<_> {
            check::rest(&mut *driver.db().scan(KeyRange::ALL, ScanOptions { direction })?)
        };
        let first = scan(&drivers[0])?;
        for (lab, driver) in labs.iter().zip(&drivers).skip(1) {
            let other = scan(driver)?;
            assert!(
                first == other,
                "{:?} and {:?} differ in a {direction:?} scan",
                labs[0].engine,
                lab.engine
            );
        }
    }
    for (lab, driver) in labs.iter().zip(drivers) {
        driver.finish(lab.engine.name())?;
    }
    Ok(())
}

/// Runs all seeds side by side.
fn run_all(test: &'static str, seeds: &[u64], labs: impl Fn(u64) -> Vec<Lab> + Sync) -> Total {
    let total = Total::default();
    side_by_side(seeds, |seed| {
        let _repeat = Repeat::new("lockstep", test, seed);
        if let Err(error) = run(&labs(seed), seed, &total) {
            panic!("seed {seed}: {error}");
        }
    });
    let (ops, upkept) = (total.ops.load(Ordering::Relaxed), total.upkept.load(Ordering::Relaxed));
    tell(&format!(
        "lockstep: {test}: {ops} operations in {} runs, {upkept} times of upkeep under eight snapshots and four scans",
        seeds.len()
    ));
    total
}

/// The B+tree, the LSM tree and the map, each operation on all three.
#[test]
fn both_engines_and_the_map_do_the_same() {
    let seeds = seeds(6, 450, 9_000);
    let total = run_all("both_engines", &seeds, |seed| {
        let mut rng = Rng::new(seed);
        // Half of the runs are the hostile one, the other half draw each engine's settings.
        let mut knobs = || if seed % 2 == 0 { Knobs::hostile() } else { Knobs::random(&mut rng) };
        Engine::STORED.into_iter().map(|engine| Lab::simulated(engine, knobs(), seed)).collect()
    });
    if seeds.len() > 1 {
        let least = by_share(0, 20_000_000, 400_000_000);
        let ops = total.ops.into_inner();
        assert!(ops >= least, "{ops} operations are fewer than the {least} that this share promises");
        assert!(total.upkept.into_inner() > 0, "nothing was held through anything");
    }
}

/// The engine in memory is what examples and figures are compared with, so it must do the same, too.
#[test]
fn the_engine_in_memory_does_the_same() {
    run_all("the_engine_in_memory", &seeds(2, 10, 500), |seed| {
        let engines = [Engine::Memory, Engine::BTree];
        engines.map(|engine| Lab::simulated(engine, Knobs::hostile(), seed)).into()
    });
}

#[test]
fn one_engine_does_the_same_under_other_settings() {
    for engine in Engine::STORED {
        run_all("one_engine", &seeds(2, 10, 500), |seed| {
            let mut rng = Rng::new(seed);
            let mut labs = vec![Lab::simulated(engine, Knobs::hostile(), seed)];
            labs.extend((0..3).map(|_| Lab::simulated(engine, Knobs::random(&mut rng), seed)));
            labs
        });
    }
}
