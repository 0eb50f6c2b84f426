//! The engines, given the same stream of steps, end with the same contents; so does one engine under other
//! settings. Each is compared with a map on the way, and in the end with each other, by full scans both ways.

use kv_api::{Direction, KeyRange, Limits, Result, ScanOptions};
use tests::driver::Driver;
use tests::share::{Repeat, by_share, seeds};
use tests::steps::{Mix, Step, Steps};
use tests::{Engine, Knobs, Lab, Rng, check};

/// A mix that every one of these databases can take.
fn mix_for(limits: &[Limits]) -> Mix {
    Mix {
        keys: 300,
        key_bytes_max: limits.iter().map(|limits| limits.key_bytes_max).min().unwrap_or(0).min(300),
        value_bytes_max: limits.iter().map(|limits| limits.value_bytes_max).min().unwrap_or(0).min(6000),
        batch_bytes_max: limits.iter().map(|limits| limits.batch_bytes_max).min().unwrap_or(0),
        snapshots: 2,
        scans: 2,
        reopen_one_in: 50,
        reads: true,
        levels: true,
    }
}

/// Drives all labs through the same steps.
fn run(labs: &[Lab], seed: u64, count: usize) -> Result<()> {
    let mut drivers = labs.iter().map(Driver::open).collect::<Result<Vec<_>>>()?;
    let limits: Vec<_> = drivers.iter().map(|driver| driver.db().limits()).collect();
    let steps: Vec<Step> = Steps::new(seed, mix_for(&limits)).take(count).collect();
    for (lab, driver) in labs.iter().zip(&mut drivers) {
        for (index, step) in steps.iter().enumerate() {
            if let Err(error) = driver.step(step) {
                panic!("{:?}, step {index}, {step:?}: {error}", lab.engine);
            }
        }
    }
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

#[test]
fn all_engines_end_with_the_same_contents() -> Result<()> {
    for seed in seeds(3, 20, 500) {
        let _repeat = Repeat::new("lockstep", "all_engines", seed);
        let engines = [Engine::Memory].into_iter().chain(Engine::STORED);
        let labs: Vec<_> = engines.map(|engine| Lab::simulated(engine, Knobs::hostile(), seed)).collect();
        run(&labs, seed, by_share(1_500, 10_000, 20_000))?;
    }
    Ok(())
}

#[test]
fn one_engine_ends_the_same_under_other_settings() -> Result<()> {
    for engine in Engine::STORED {
        for seed in seeds(2, 20, 500) {
            let _repeat = Repeat::new("lockstep", "one_engine", seed);
            let mut rng = Rng::new(seed);
            let mut labs = vec![Lab::simulated(engine, Knobs::hostile(), seed)];
            labs.extend((0..3).map(|_| Lab::simulated(engine, Knobs::random(&mut rng), seed)));
            run(&labs, seed, by_share(800, 5_000, 20_000))?;
        }
    }
    Ok(())
}
