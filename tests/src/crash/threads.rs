//! Images while real threads work: two writers, a reader and two threads of upkeep. What the threads do when is theirs,
//! so a seed does not repeat a run: a failure leaves its image as the only witness.

use std::sync::{Arc, Mutex};

use kv_api::{Batch, Durability, Result};
use kv_io::sim::{CrashPolicy, SimVfs};
use kv_io::{Env, Vfs};

use super::history::{Death, History};
use crate::check;
use crate::knobs::Knobs;
use crate::lab::{Engine, Lab};
use crate::map::{self, Map};
use crate::rng::Rng;
use crate::watch::{Moment, watched};

/// Writers, each with keys of its own and a history of its own.
const WRITERS: usize = 2;

struct Witness {
    disk: Arc<SimVfs>,
    histories: [History; WRITERS],
}

/// Runs until `commits` commits of each writer are done, keeps an image before one in `one_in` changes, and opens what
/// some policies leave of each. Returns how many images were opened.
///
/// # Errors
/// Those of the engine: none is expected.
///
/// # Panics
/// If an image breaks the rule for one of the writers.
pub fn run(engine: Engine, seed: u64, commits: usize, one_in: usize) -> Result<u64> {
    let disk = SimVfs::new(seed);
    let histories: Arc<Mutex<[History; WRITERS]>> = Arc::default();
    let witnesses: Arc<Mutex<Vec<Witness>>> = Arc::default();
    let knobs = Knobs::hostile().with_threads(2);
    {
        let (inner, known, witnesses) = (Arc::clone(&disk), Arc::clone(&histories), Arc::clone(&witnesses));
        let rng = Mutex::new(Rng::new(seed));
        let before = move |_: Moment<'_>| {
            if rng.lock().expect("no panic while it was held").one_in(one_in) {
                // Nobody begins or acknowledges a commit while this is held.
                let known = known.lock().expect("no panic while it was held");
                let witness = Witness { disk: inner.crash(CrashPolicy::KeepAll), histories: known.clone() };
                witnesses.lock().expect("no panic while it was held").push(witness);
            }
        };
        let vfs = watched(Arc::clone(&disk) as Arc<dyn Vfs>, Arc::new(before));
        let db = Lab::over(engine, knobs, Env::real(vfs)).open()?;
        std::thread::scope(|scope| {
            let work = |writer| write(&*db, &histories, writer, seed, commits);
            let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || work(writer))).collect();
            while !writers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                check::contents(&*db)?;
            }
            writers.into_iter().try_for_each(|writer| writer.join().expect("no writer panics"))
        })?;
        db.close()?;
    }
    let witnesses = std::mem::take(&mut *witnesses.lock().expect("no panic while it was held"));
    let mut opened = 0;
    let mut rng = Rng::new(!seed);
    for witness in witnesses {
        let seed = rng.seed();
        for policy in [
            CrashPolicy::DropUnsynced,
            CrashPolicy::KeepAll,
            CrashPolicy::Tear { seed },
            CrashPolicy::Prefix { seed },
        ] {
            open(engine, &witness, policy)?;
            opened += 1;
        }
    }
    Ok(opened)
}

fn write(
    db: &dyn kv_api::Kv,
    histories: &Mutex<[History; WRITERS]>,
    writer: usize,
    seed: u64,
    commits: usize,
) -> Result<()> {
    let mut rng = Rng::new(seed * 16 + writer as u64);
    for _ in 0..commits {
        let mut batch = Batch::new();
        for _ in 0..=rng.below(4) {
            let key = format!("{writer}{:03}", rng.below(60)).into_bytes();
            if rng.one_in(5) {
                batch.delete(&key);
            } else {
                let len = rng.below(300);
                batch.put(&key, &rng.bytes(len));
            }
        }
        let level = *rng.pick(&[Durability::Memory, Durability::Os, Durability::Disk]);
        let mut known = histories.lock().expect("no panic while it was held");
        known[writer].push(|map| map::apply(map, &batch));
        drop(known);
        let info = db.write(&batch, level)?;
        histories.lock().expect("no panic while it was held")[writer].acknowledge(info.durability);
    }
    Ok(())
}

fn open(engine: Engine, witness: &Witness, policy: CrashPolicy) -> Result<()> {
    let context = format!("threads, {policy:?}");
    let left = witness.disk.crash(policy) as Arc<dyn Vfs>;
    let db = Lab::over(engine, Knobs::hostile(), Env::simulated(left, 1)).open();
    let db = db.unwrap_or_else(|error| panic!("{context}: {error}"));
    let found = check::contents(&*db)?;
    check::holds(&*db, &found, &context)?;
    let death = if policy.is_process_death() { Death::Process } else { Death::Power };
    for (writer, history) in witness.histories.iter().enumerate() {
        let first = format!("{writer}").into_bytes();
        let own: Map = found
            .iter()
            .filter(|(key, _)| key.starts_with(&first))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        history.check(&own, death, &format!("{context}, writer {writer}"));
    }
    Ok(())
}
