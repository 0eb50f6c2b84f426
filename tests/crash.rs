//! Crash at every sync (quick), at every operation that changes the disk (ci), and inside recoveries; what was
//! not synced is dropped, kept or torn. `src/crash.rs` has the loop and the rule.

use kv_api::Result;
use tests::crash::{Plan, run};
use tests::share::{Repeat, Share, by_share, seeds, share};
use tests::{Engine, Knobs, Rng, each_stored_engine};

each_stored_engine!(hostile_settings, random_settings, small_sane_settings);

fn plan(engine: Engine, knobs: Knobs, seed: u64) -> Plan {
    Plan {
        engine,
        knobs,
        seed,
        steps: by_share(120, 250, 400),
        every_operation: share() >= Share::Ci,
        tears: by_share(2, 4, 14),
        again_one_in: by_share(12, 8, 2),
    }
}

fn crash(test: &'static str, plan: &Plan) -> Result<()> {
    let _repeat = Repeat::new("crash", test, plan.seed);
    let tally = run(plan)?;
    assert!(tally.images > 100 && tally.recoveries > 0, "hardly anything was tried: {tally:?}");
    println!("{test}, seed {}: {tally:?}", plan.seed);
    Ok(())
}

/// The smallest settings: every part of the engine is met within a few dozen commits.
fn hostile_settings(engine: Engine) -> Result<()> {
    seeds(3, 8, 400).into_iter().try_for_each(|seed| crash("hostile", &plan(engine, Knobs::hostile(), seed)))
}

/// Settings drawn at random.
fn random_settings(engine: Engine) -> Result<()> {
    let drawn = |seed: u64| Knobs::random(&mut Rng::new(!seed));
    seeds(2, 8, 400).into_iter().try_for_each(|seed| crash("random", &plan(engine, drawn(seed), seed)))
}

/// Settings that somebody might use: long stretches between two flushes, so that the log carries the state.
fn small_sane_settings(engine: Engine) -> Result<()> {
    seeds(1, 4, 200).into_iter().try_for_each(|seed| crash("small", &plan(engine, Knobs::small(), seed)))
}
