//! Crash at every sync (quick), at every operation that changes the disk (ci), and inside recoveries; what was
//! not synced is dropped, kept or torn. `src/crash.rs` has the loop and the rule.

use kv_api::{Batch, Durability, KeyRange, Result};
use tests::crash::{Plan, Tally, run, run_steps};
use tests::share::{Repeat, Share, by_share, seeds, share, tell};
use tests::steps::Step;
use tests::{Engine, Knobs, Rng, each_stored_engine};

each_stored_engine!(
    hostile_settings,
    random_settings,
    small_sane_settings,
    all_short_sequences,
    a_disk_that_never_syncs_is_found_out
);

fn plan(engine: Engine, knobs: Knobs, seed: u64) -> Plan {
    Plan {
        engine,
        knobs,
        seed,
        steps: by_share(120, 250, 400),
        every_operation: share() >= Share::Ci,
        tears: by_share(2, 4, 14),
        lying_disk: false,
        again_one_in: by_share(12, 8, 2),
    }
}

/// Runs one plan per seed and tells how much was tried.
fn crash(test: &'static str, plans: impl IntoIterator<Item = Plan>) -> Result<()> {
    let mut total = Tally::default();
    let mut name = "";
    for plan in plans {
        let _repeat = Repeat::new("crash", test, plan.seed);
        let tally = run(&plan)?;
        assert!(tally.images > 100 && tally.recoveries > 0, "hardly anything was tried: {tally:?}");
        name = plan.engine.name();
        total += tally;
    }
    tell(&format!("{name}, {test}: {total}"));
    Ok(())
}

/// The smallest settings: every part of the engine is met within a few dozen commits.
fn hostile_settings(engine: Engine) -> Result<()> {
    let plan_of = |seed| plan(engine, Knobs::hostile(), seed);
    crash("hostile_settings", seeds(3, 8, 400).into_iter().map(plan_of))
}

/// Settings drawn at random.
fn random_settings(engine: Engine) -> Result<()> {
    let plan_of = |seed: u64| plan(engine, Knobs::random(&mut Rng::new(!seed)), seed);
    crash("random_settings", seeds(2, 8, 400).into_iter().map(plan_of))
}

/// Settings that somebody might use: long stretches between two flushes, so that the log carries the state.
fn small_sane_settings(engine: Engine) -> Result<()> {
    let plan_of = |seed| plan(engine, Knobs::small(), seed);
    crash("small_sane_settings", seeds(1, 4, 200).into_iter().map(plan_of))
}

/// Every sequence of up to two (ci: three) of nine steps. Most crash bugs of file systems show in so few
/// (Mohan et al., "Finding Crash-Consistency Bugs with Bounded Black-Box Crash Testing", OSDI 2018).
fn all_short_sequences(engine: Engine) -> Result<()> {
    let batch = |fill: &dyn Fn(&mut Batch)| {
        let mut batch = Batch::new();
        fill(&mut batch);
        batch
    };
    let all = KeyRange::ALL.to_owned_range();
    let alphabet = [
        Step::Write(
            batch(&|b| {
                b.put(b"a", b"1").put(b"b", &[2; 700]);
            }),
            Durability::Disk,
        ),
        Step::Write(
            batch(&|b| {
                b.put(b"a", &[3; 3000]);
            }),
            Durability::Memory,
        ),
        Step::Write(
            batch(&|b| {
                b.delete(b"a").put(b"c", b"");
            }),
            Durability::Os,
        ),
        Step::Write(
            batch(&|b| {
                b.delete_range(KeyRange::ALL).put(b"d", b"4");
            }),
            Durability::Disk,
        ),
        Step::Ingest(vec![(b"a".to_vec(), vec![5; 900]), (b"e".to_vec(), vec![])]),
        Step::Flush,
        Step::Compact(all),
        Step::Reopen { close: false },
        Step::Reopen { close: true },
    ];
    let mut plan = plan(engine, Knobs::hostile(), 1);
    plan.again_one_in = by_share(40, 20, 4);
    let mut sequences: Vec<Vec<Step>> = vec![Vec::new()];
    for _ in 0..by_share(2, 3, 4) {
        let longer = sequences
            .iter()
            .flat_map(|head| alphabet.iter().map(|last| [&head[..], std::slice::from_ref(last)].concat()));
        sequences = longer.collect();
    }
    let mut total = Tally::default();
    for (index, steps) in sequences.iter().enumerate() {
        plan.seed = index as u64;
        total += std::panic::catch_unwind(|| run_steps(&plan, steps)).unwrap_or_else(|panic| {
            eprintln!("sequence {index}: {steps:?}");
            std::panic::resume_unwind(panic)
        })?;
    }
    tell(&format!("{}, all_short_sequences: {} of them, {total}", engine.name(), sequences.len()));
    Ok(())
}

/// The loop itself: over a disk that only says it synced it must find lost writes, or it would find none ever.
fn a_disk_that_never_syncs_is_found_out(engine: Engine) -> Result<()> {
    let plan = Plan { lying_disk: true, ..plan(engine, Knobs::hostile(), 1) };
    let found = std::panic::catch_unwind(|| run(&plan).map(drop));
    let message = found.err().and_then(|panic| panic.downcast::<String>().ok());
    let message = message.expect("a run without syncs breaks the rule");
    assert!(
        message.contains("acknowledged writes are lost") || message.contains("crash before"),
        "{message}"
    );
    Ok(())
}
