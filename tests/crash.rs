//! Crash at every sync (quick), at every operation that changes the disk (ci), and inside recoveries, creations and
//! backups; what was not synced is dropped, kept, cut off, torn, or there in length or in name alone.
//! `src/crash` has the loop and the rule.

use kv_api::{Batch, Durability, KeyRange, Result};
use tests::crash::courses::{self, Course};
use tests::crash::{Plan, Tally, lives, run, run_steps, threads};
use tests::share::{Repeat, Share, by_share, is_whole, only_case, seeds, share, tell};
use tests::steps::Step;
use tests::{Engine, Knobs, each_stored_engine};

each_stored_engine!(
    twelve_courses,
    all_short_sequences,
    inside_recoveries,
    while_creating,
    one_life_after_another,
    while_threads_work,
    a_disk_that_never_syncs_is_found_out
);

/// Images that each engine must have opened, quick, ci and long: as many seeds are run as that takes. With those of the
/// short sequences this makes 100,000 at ci.
const OPENED_MIN: [u64; 3] = [2_000, 72_000, 2_000_000];
/// Images of short sequences.
const SEQUENCES_OPENED_MIN: [u64; 3] = [1_000, 28_000, 100_000];
/// Images of crashes inside a recovery or a backup: with those of later lives 40,000 at ci.
const RECOVERIES_OPENED_MIN: [u64; 3] = [1_000, 30_000, 400_000];
/// Images of later lives.
const LIVES_OPENED_MIN: [u64; 3] = [600, 10_000, 200_000];

fn least([quick, ci, long]: [u64; 3]) -> u64 {
    by_share(quick, ci, long)
}

fn plan(engine: Engine, knobs: Knobs, seed: u64) -> Plan {
    Plan {
        engine,
        knobs,
        seed,
        steps: by_share(40, 60, 100),
        every_operation: share() >= Share::Ci,
        tears: by_share(2, 4, 6),
        lying_disk: false,
        again_one_in: 0,
        depth: 3,
        creation: true,
    }
}

/// Runs `one` for every course and one seed after another until it has tried `enough`, and tells how much that was.
/// A seed or a case that is asked for is run alone.
fn each_course(
    engine: Engine,
    test: &'static str,
    enough: impl Fn(&Tally) -> bool,
    one: impl Fn(&Course, u64) -> Result<Tally>,
) -> Result<()> {
    let (mut total, mut last) = (Tally::default(), 0);
    let asked = if is_whole() { None } else { Some(seeds(1, 1, 1)[0]) };
    while last == 0 || asked.is_none() && !enough(&total) {
        last += 1;
        let seed = asked.unwrap_or(last);
        for course in courses::ALL.iter().filter(|course| only_case().is_none_or(|case| course.name == case))
        {
            let test = format!("{}::{test}", engine.name());
            let _repeat = Repeat::new("crash", test, seed).with_case(course.name);
            let part = one(course, seed)?;
            assert!(part.opened > 0, "nothing was tried");
            println!("{}, {}, seed {seed}: {part}", engine.name(), course.name);
            total += part;
        }
    }
    let seeds = asked.map_or_else(|| format!("seeds 1 to {last}"), |seed| format!("seed {seed}"));
    tell(&format!("{}, {test}: {total}; {seeds} of every course", engine.name()));
    Ok(())
}

/// The courses of `src/crash/courses.rs`, at every operation.
fn twelve_courses(engine: Engine) -> Result<()> {
    let enough = |total: &Tally| total.opened >= least(OPENED_MIN);
    each_course(engine, "twelve_courses", enough, |course, seed| {
        run(&plan(engine, (course.knobs)(seed), seed), course)
    })
}

/// Images in recoveries, three deep, and in backups.
fn inside_recoveries(engine: Engine) -> Result<()> {
    let enough = |total: &Tally| total.recoveries_opened >= least(RECOVERIES_OPENED_MIN);
    each_course(engine, "inside_recoveries", enough, |course, seed| {
        let plan = Plan {
            again_one_in: by_share(400, 40, 40),
            every_operation: false,
            steps: by_share(20, 40, 60),
            ..plan(engine, (course.knobs)(seed), seed)
        };
        let mut tally = run(&plan, course)?;
        tally += lives::backup(&plan, course, by_share(20, 2, 1))?;
        Ok(tally)
    })
}

/// Images in creations, and three deep in the recoveries of those.
fn while_creating(engine: Engine) -> Result<()> {
    let mut total = Tally::default();
    for seed in seeds(1, 5, 100) {
        let _repeat = Repeat::new("crash", format!("{}::while_creating", engine.name()), seed);
        let plan = plan(engine, if seed % 2 == 0 { Knobs::small() } else { Knobs::hostile() }, seed);
        total += lives::creation(&Plan { again_one_in: by_share(20, 5, 5), ..plan })?;
    }
    assert!(total.recoveries_opened > 20, "too little was tried: {total}");
    tell(&format!("{}, while_creating: {total}", engine.name()));
    Ok(())
}

/// Four lives in a row: bugs that need two crashes with some work in between.
fn one_life_after_another(engine: Engine) -> Result<()> {
    let enough = |total: &Tally| total.recoveries_opened >= least(LIVES_OPENED_MIN);
    each_course(engine, "one_life_after_another", enough, |course, seed| {
        lives::live(&Plan { every_operation: true, ..plan(engine, (course.knobs)(seed), seed) }, course, 4)
    })
}

/// Images while two writers, a reader and two threads of upkeep work. No seed repeats such a run.
fn while_threads_work(engine: Engine) -> Result<()> {
    let mut opened = 0;
    for seed in 1..=by_share(2, 20, 200) {
        opened += threads::run(engine, seed, 100, by_share(40, 20, 10))?;
    }
    tell(&format!(
        "{}, while_threads_work: {opened} images opened; what threads do is not repeatable",
        engine.name()
    ));
    assert!(opened > by_share(20, 2000, 20_000), "too little was tried: {opened}");
    Ok(())
}

fn batch(fill: impl Fn(&mut Batch)) -> Batch {
    let mut batch = Batch::new();
    fill(&mut batch);
    batch
}

/// What short sequences are made of.
fn alphabet() -> [Step; 9] {
    let write = |level, fill: &dyn Fn(&mut Batch)| Step::Write(batch(fill), level);
    [
        write(Durability::Disk, &|b| {
            b.put(b"a", b"1").put(b"b", &[2; 700]);
        }),
        write(Durability::Memory, &|b| {
            b.put(b"a", &[3; 3000]);
        }),
        write(Durability::Os, &|b| {
            b.delete(b"a").put(b"c", b"");
        }),
        write(Durability::Disk, &|b| {
            b.delete_range(KeyRange::ALL).put(b"d", b"4");
        }),
        Step::Ingest(vec![(b"a".to_vec(), vec![5; 900]), (b"e".to_vec(), vec![])]),
        Step::Flush,
        Step::Compact(KeyRange::ALL.to_owned_range()),
        Step::Reopen { close: false },
        Step::Reopen { close: true },
    ]
}

/// Every sequence of up to two (ci: three) of nine steps. Most crash bugs of file systems show in so few
/// (Mohan et al., "Finding Crash-Consistency Bugs with Bounded Black-Box Crash Testing", OSDI 2018). The number of a
/// sequence is its seed: short ones come first, so it is the same in every share.
fn all_short_sequences(engine: Engine) -> Result<()> {
    let alphabet = alphabet();
    let mut longest: Vec<Vec<Step>> = vec![Vec::new()];
    let mut sequences = Vec::new();
    for _ in 0..by_share(2, 3, 4) {
        let longer = longest
            .iter()
            .flat_map(|head| alphabet.iter().map(|last| [&head[..], std::slice::from_ref(last)].concat()));
        longest = longer.collect();
        sequences.extend(longest.iter().cloned());
    }
    let only = if is_whole() { None } else { Some(seeds(1, 1, 1)[0]) };
    let mut total = Tally::default();
    for (steps, number) in sequences.iter().zip(0..) {
        if only.is_some_and(|only| only != number) {
            continue;
        }
        let _repeat = Repeat::new("crash", format!("{}::all_short_sequences", engine.name()), number);
        let plan = Plan { tears: 2, creation: false, ..plan(engine, Knobs::hostile(), number) };
        total += run_steps(&plan, steps)?;
    }
    tell(&format!("{}, all_short_sequences: {} of them, {total}", engine.name(), sequences.len()));
    assert!(!is_whole() || total.opened >= least(SEQUENCES_OPENED_MIN), "too little was tried: {total}");
    Ok(())
}

/// The loop itself: over a disk that only says it synced it must find lost writes, or it would find none ever.
fn a_disk_that_never_syncs_is_found_out(engine: Engine) -> Result<()> {
    let plan = Plan { lying_disk: true, ..plan(engine, Knobs::hostile(), 1) };
    let found = std::panic::catch_unwind(|| run(&plan, &courses::ALL[0]).map(drop));
    let message = found.err().and_then(|panic| panic.downcast::<String>().ok());
    let message = message.expect("a run without syncs breaks the rule");
    assert!(
        message.contains("acknowledged writes are lost") || message.contains("crash before"),
        "{message}"
    );
    Ok(())
}
