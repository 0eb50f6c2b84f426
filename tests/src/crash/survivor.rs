//! What a crash leaves: which policies are tried of an image, and what must hold once it is open.

use std::collections::HashMap;
use std::io::IoSlice;
use std::sync::Arc;

use kv_api::{Batch, Cause, Durability, Result};
use kv_io::sim::{CrashPolicy, SimVfs};
use kv_io::vfs::OpenOptions;
use kv_io::{Env, Vfs};

use super::history::{Death, History};
use super::{Image, Plan, Tally, assert_keeps_the_rules};
use crate::check;
use crate::knobs::Knobs;
use crate::lab::{Engine, Lab};
use crate::map::{self, Map};
use crate::rng::Rng;

/// One way to crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// As the policy says.
    Policy(CrashPolicy),
    /// The process died in the middle of a write: everything is there, and the first half of it.
    HalfWrite,
}

impl Cut {
    pub(super) fn death(self) -> Death {
        match self {
            Cut::Policy(policy) if !policy.is_process_death() => Death::Power,
            _ => Death::Process,
        }
    }

    /// The disk that is left.
    pub(super) fn apply(self, image: &Image) -> Arc<SimVfs> {
        match (self, &image.half) {
            (Cut::Policy(policy), _) => image.disk.crash(policy),
            (Cut::HalfWrite, None) => image.disk.crash(CrashPolicy::KeepAll),
            (Cut::HalfWrite, Some((path, offset, bytes))) => {
                let disk = image.disk.crash(CrashPolicy::KeepAll);
                // A file that lost its name meanwhile lost its bytes with it.
                if let Ok(file) = disk.open(path, OpenOptions::WRITE, Cause::Verify) {
                    let _ = file.write_at(*offset, &[IoSlice::new(bytes)], Cause::Verify);
                }
                disk
            }
        }
    }
}

/// Opens what is left, and knows what was opened before.
pub(super) struct Survivors {
    engine: Engine,
    knobs: Knobs,
    seed: u64,
    tears: u64,
    /// What the images opened so far hold, by the fingerprint of the disk.
    known: HashMap<u64, Arc<Map>>,
    rng: Rng,
    pub(super) tally: Tally,
}

impl Survivors {
    pub(super) fn new(plan: &Plan) -> Survivors {
        Survivors {
            engine: plan.engine,
            knobs: plan.knobs.clone(),
            seed: plan.seed,
            tears: plan.tears,
            known: HashMap::new(),
            rng: Rng::new(!plan.seed),
            tally: Tally::default(),
        }
    }

    /// Every way to crash at the moment of `image`.
    pub(super) fn cuts(&mut self, image: &Image) -> Vec<Cut> {
        let rng = &mut self.rng;
        let mut policies = vec![
            CrashPolicy::DropUnsynced,
            CrashPolicy::KeepAll,
            CrashPolicy::Prefix { seed: rng.seed() },
            CrashPolicy::Prefix { seed: rng.seed() },
            CrashPolicy::TearPages { seed: rng.seed() },
            CrashPolicy::TearBytes { seed: rng.seed() },
            CrashPolicy::LengthZeros { seed: rng.seed() },
            CrashPolicy::LengthGarbage { seed: rng.seed() },
            CrashPolicy::DataOnly,
            CrashPolicy::Names { seed: rng.seed() },
            CrashPolicy::Removals,
            CrashPolicy::LostNames,
            CrashPolicy::EmptyNames,
        ];
        policies.extend((0..self.tears).map(|_| CrashPolicy::Tear { seed: rng.seed() }));
        let half = image.half.is_some().then_some(Cut::HalfWrite);
        policies.into_iter().map(Cut::Policy).chain(half).collect()
    }

    /// Some of them, drawn anew each time.
    pub(super) fn some_cuts(&mut self, image: &Image, count: usize) -> Vec<Cut> {
        let mut all = self.cuts(image);
        while all.len() > count {
            all.swap_remove(self.rng.below(all.len()));
        }
        all
    }

    /// Compares what is left with the history; opens it if no image before looked like it. Returns what it holds.
    pub(super) fn check(
        &mut self,
        disk: &Arc<SimVfs>,
        history: &History,
        death: Death,
        context: &str,
        in_recovery: bool,
    ) -> Arc<Map> {
        self.tally.images += 1;
        self.tally.recoveries += u64::from(in_recovery);
        let fingerprint = disk.fingerprint();
        if let Some(found) = self.known.get(&fingerprint) {
            history.check(found, death, context);
            return Arc::clone(found);
        }
        self.tally.opened += 1;
        self.tally.recoveries_opened += u64::from(in_recovery);
        match self.open(disk, history, death, context) {
            Ok(found) => {
                let found = history.shared(found);
                self.known.insert(fingerprint, Arc::clone(&found));
                found
            }
            Err(error) => panic!("{context}: {error}"),
        }
    }

    /// Opens what is left, compares it with the history, works on with it for a hundred operations, and opens it
    /// once more. Returns what was found first.
    fn open(&self, disk: &Arc<SimVfs>, history: &History, death: Death, context: &str) -> Result<Map> {
        let env = Env::simulated(Arc::clone(disk) as Arc<dyn Vfs>, self.seed);
        let lab = Lab::over(self.engine, self.knobs.clone(), env);
        let mut rng = Rng::new(disk.fingerprint());
        // Verified twice: as it was found, and in the end.
        let checked = lab.open()?;
        let db = Arc::clone(checked.kv());
        let found = check::contents(&*db)?;
        history.check(&found, death, context);
        check::holds(&*db, &found, context)?;
        drop(checked);
        let mut state = found.clone();
        for n in 0..20 {
            let mut batch = Batch::new();
            for part in 0..3 {
                let key = format!("after the crash {}", rng.below(7 * (part + 1)));
                let value = rng.bytes(60);
                batch.put(key.as_bytes(), &value);
            }
            let key = found.keys().nth(rng.below(found.len().max(1)));
            batch.delete(key.map_or(&b"none"[..], Vec::as_slice));
            batch.delete(format!("k{n:02}\0\0").as_bytes());
            db.write(&batch, if n % 2 == 0 { Durability::Os } else { Durability::Disk })?;
            map::apply(&mut state, &batch);
        }
        drop(db);
        let db = lab.open()?;
        check::holds(&*db, &state, &format!("{context}, after a hundred more operations"))?;
        drop(db);
        assert_keeps_the_rules(disk, context);
        Ok(found)
    }
}
