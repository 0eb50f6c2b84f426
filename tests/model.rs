//! Random operations against a `BTreeMap`, with the smallest settings the engines take: what a reader sees now,
//! in eight snapshots and in four scans, held open while everything below them is flushed, merged and moved.

use proptest::prelude::*;
use tests::driver::Driver;
use tests::share::{Repeat, by_share, seeds, tell};
use tests::steps::{Mix, Step, Steps};
use tests::{Engine, Knobs, Lab, Rng, each_engine};

/// Held open at once.
const SNAPSHOTS: usize = 8;
const SCANS: usize = 4;

/// Runs `count` steps of `seed`. Returns how many flushes, merges and settles came under all snapshots and scans.
fn run(engine: Engine, knobs: Knobs, seed: u64, count: usize) -> kv_api::Result<usize> {
    let lab = Lab::simulated(engine, knobs, seed);
    let mut driver = Driver::open(&lab)?;
    let mix = Mix::busy(&driver.db().limits());
    for (index, step) in Steps::new(seed, mix).take(count).enumerate() {
        if let Err(error) = driver.step(&step) {
            panic!("step {index}: {error}; {step:?}");
        }
        if index % 500 == 499 {
            driver.check_all(&format!("after step {index}"))?;
        }
    }
    let upkept = driver.upkept_under(SNAPSHOTS, SCANS);
    driver.finish("after the last step")?;
    Ok(upkept)
}

each_engine!(hostile, random_settings, threads, small_cases);

/// The smallest settings.
fn hostile(engine: Engine) -> kv_api::Result<()> {
    let mut upkept = 0;
    for seed in seeds(6, 20, 500) {
        let _repeat = Repeat::new("model", "hostile", seed);
        upkept += run(engine, Knobs::hostile(), seed, by_share(5_000, 10_000, 10_000))?;
    }
    let name = engine.name();
    tell(&format!("model: {name}: {upkept} times of upkeep under {SNAPSHOTS} snapshots and {SCANS} scans"));
    assert!(upkept > 0, "nothing was held through anything");
    Ok(())
}

/// Settings drawn at random.
fn random_settings(engine: Engine) -> kv_api::Result<()> {
    for seed in seeds(10, 40, 1000) {
        let _repeat = Repeat::new("model", "random_settings", seed);
        run(engine, Knobs::random(&mut Rng::new(!seed)), seed, by_share(3_000, 5_000, 10_000))?;
    }
    Ok(())
}

/// Upkeep on threads, beside the operations.
fn threads(engine: Engine) -> kv_api::Result<()> {
    for seed in seeds(2, 10, 100) {
        let _repeat = Repeat::new("model", "threads", seed);
        run(engine, Knobs::hostile().with_threads(2), seed, by_share(3_000, 10_000, 10_000))?;
    }
    Ok(())
}

/// Few operations, so that a failure shrinks to the least that shows it.
fn small_cases(engine: Engine) -> kv_api::Result<()> {
    let config = ProptestConfig {
        cases: by_share(100, 400, 10_000),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    // A case is a set of steps of one seed: shrinking drops steps and keeps the others as they are.
    let cases = (any::<u64>(), prop::collection::vec(any::<bool>(), 0..120));
    proptest!(config, |((seed, kept) in cases)| {
        let lab = Lab::simulated(engine, Knobs::hostile(), seed);
        let mut driver = Driver::open(&lab).expect("opens");
        let mix = Mix { keys: 12, ..Mix::busy(&driver.db().limits()) };
        let steps: Vec<Step> = Steps::new(seed, mix).take(kept.len()).collect();
        for (step, _) in steps.iter().zip(&kept).filter(|(_, kept)| **kept) {
            driver.step(step).expect("no step fails");
        }
        driver.finish("after the last step").expect("reads");
    });
    Ok(())
}
