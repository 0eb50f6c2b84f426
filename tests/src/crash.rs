//! The crash loop: runs steps on a simulated disk, keeps an image of the disk before every operation that changes
//! it, and opens what each crash policy leaves of each image.
//!
//! The rule: what is found is the state after some prefix of the commits, and no shorter one than the newest
//! commit acknowledged at a level that survives the crash: `Os` and `Disk` when only the process died (P1),
//! `Disk` when the power failed (P0, P3).
//!
//! Most images of a run look like one that was opened before: only a sync changes what a power failure leaves.
//! What such an image holds is known, so it is compared with what its own crash allows and not opened again.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use kv_api::{Batch, Durability, Result};
use kv_io::sim::{CrashPolicy, SimVfs};
use kv_io::{Env, Vfs};

use crate::checked::Checked;
use crate::knobs::Knobs;
use crate::lab::{Engine, Lab};
use crate::map::{self, Map};
use crate::rng::Rng;
use crate::steps::{Entries, Mix, Step, Steps};
use crate::watch::{Moment, lying, watched};
use crate::{check, driver};

/// The commits of a run: which states a crash may leave.
#[derive(Debug, Clone, Default)]
struct History {
    /// The state after each commit, the empty one first; the last may be in flight.
    states: Vec<Arc<Map>>,
    /// Index of the newest state acknowledged at `Os` or above.
    os: usize,
    /// Index of the newest state acknowledged at `Disk`.
    disk: usize,
}

impl History {
    fn last(&self) -> &Arc<Map> {
        self.states.last().expect("the empty state is always there")
    }

    fn push(&mut self, change: impl FnOnce(&mut Map)) {
        let mut next = Arc::clone(self.last());
        change(Arc::make_mut(&mut next));
        self.states.push(next);
    }

    fn acknowledge(&mut self, level: Durability) {
        let newest = self.states.len() - 1;
        if level >= Durability::Os {
            self.os = newest;
        }
        if level >= Durability::Disk {
            self.disk = newest;
        }
    }

    /// The oldest state that a crash may leave.
    fn least(&self, policy: CrashPolicy) -> usize {
        if policy == CrashPolicy::KeepAll { self.os } else { self.disk }
    }
}

/// The disk as it was before one operation.
struct Image {
    disk: Arc<SimVfs>,
    operation: u64,
    history: History,
}

/// How to crash.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The engine.
    pub engine: Engine,
    /// Its settings; upkeep must be inline.
    pub knobs: Knobs,
    /// Seed of the steps and of the tears.
    pub seed: u64,
    /// Steps to run.
    pub steps: usize,
    /// Crash at every operation that changes the disk, else only at syncs.
    pub every_operation: bool,
    /// Tears tried of each image.
    pub tears: u64,
    /// The disk only says that it synced: every rule must then break.
    pub lying_disk: bool,
    /// Of so many images one crashes again at every point of its recovery; 0 for none.
    pub again_one_in: usize,
}

/// What a run tried, for those who want to know that it tried something.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Crash points.
    pub moments: u64,
    /// Images checked against what their crash allows.
    pub images: u64,
    /// Of those, images of crashes inside a recovery.
    pub recoveries: u64,
    /// Of all images, those that looked like no other of the run: opened, read, verified and worked on.
    pub opened: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.moments += other.moments;
        self.images += other.images;
        self.recoveries += other.recoveries;
        self.opened += other.opened;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tally { moments, images, recoveries, opened } = self;
        write!(
            f,
            "{images} crash images checked, of {moments} moments; {recoveries} of crashes inside a recovery, \
             {opened} unlike any before"
        )
    }
}

/// A run on its way.
struct Run<'p> {
    plan: &'p Plan,
    history: Arc<Mutex<History>>,
    images: Arc<Mutex<Vec<Image>>>,
    /// What the images opened so far hold, by the fingerprint of the disk.
    known: HashMap<u64, Arc<Map>>,
    rng: Rng,
    tally: Tally,
}

/// Runs random steps and checks every image.
///
/// # Errors
/// Those of the engine: none is expected.
///
/// # Panics
/// If an image breaks the rule.
pub fn run(plan: &Plan) -> Result<Tally> {
    let limits = Lab::simulated(plan.engine, plan.knobs.clone(), plan.seed).open()?.limits();
    let mix = Mix {
        keys: 40,
        key_bytes_max: limits.key_bytes_max.min(100),
        value_bytes_max: limits.value_bytes_max.min(3000),
        batch_bytes_max: limits.batch_bytes_max,
        snapshots: 0,
        scans: 0,
        reopen_one_in: 50,
        reads: false,
        levels: true,
        batch_ops_max: 12,
        rest_one_in: 1,
    };
    let steps: Vec<Step> = Steps::new(plan.seed, mix).take(plan.steps).collect();
    run_steps(plan, &steps)
}

/// Runs these steps and checks every image.
///
/// # Errors
/// Those of the engine: none is expected.
///
/// # Panics
/// If an image breaks the rule.
pub fn run_steps(plan: &Plan, steps: &[Step]) -> Result<Tally> {
    let disk = SimVfs::new(plan.seed);
    let history = History { states: vec![Arc::default()], os: 0, disk: 0 };
    let mut run = Run {
        plan,
        history: Arc::new(Mutex::new(history)),
        images: Arc::default(),
        known: HashMap::new(),
        rng: Rng::new(plan.seed),
        tally: Tally::default(),
    };
    let lab = Lab::over(plan.engine, plan.knobs.clone(), run.watch(&disk));
    let mut db = lab.open()?;
    run.check_images("while creating");
    for (index, step) in steps.iter().enumerate() {
        let context = format!("step {index}, {}", name_of(step));
        db = run.step(&lab, db, step).unwrap_or_else(|error| panic!("{context}: {error}"));
        run.check_images(&context);
    }
    let expected = Arc::clone(run.history().last());
    check::holds(&*db, &expected, "after the last step")?;
    Ok(run.tally)
}

fn name_of(step: &Step) -> String {
    match step {
        Step::Write(batch, level) => format!("a write of {} at {level}", batch.len()),
        Step::Ingest(entries) => format!("an ingest of {}", entries.len()),
        Step::Compact(_) => "compact".to_owned(),
        other => format!("{other:?}"),
    }
}

impl Run<'_> {
    fn history(&self) -> std::sync::MutexGuard<'_, History> {
        self.history.lock().expect("no panic while it was held")
    }

    /// The environment of `disk`, with an image kept before every operation of interest.
    fn watch(&self, disk: &Arc<SimVfs>) -> Env {
        let (history, images) = (Arc::clone(&self.history), Arc::clone(&self.images));
        let (watched_disk, every) = (Arc::clone(disk), self.plan.every_operation);
        let before = move |moment: Moment| {
            if every || moment == Moment::Sync {
                let history = history.lock().expect("no panic while it was held").clone();
                let disk = watched_disk.crash(CrashPolicy::KeepAll);
                let operation = watched_disk.steps();
                images.lock().expect("no panic while it was held").push(Image { disk, operation, history });
            }
        };
        let wrap = if self.plan.lying_disk { lying } else { watched };
        Env::simulated(wrap(Arc::clone(disk) as Arc<dyn Vfs>, Arc::new(before)), self.plan.seed)
    }

    /// Does one step. The state it leads to is known before it begins, because a crash in it may leave that one.
    fn step(&mut self, lab: &Lab, db: Checked, step: &Step) -> Result<Checked> {
        match step {
            Step::Write(batch, level) => {
                self.history().push(|map| map::apply(map, batch));
                let info = db.write(batch, *level)?;
                // An empty batch does nothing, so it makes nothing before it durable either.
                if !batch.is_empty() {
                    self.history().acknowledge(info.durability);
                }
            }
            Step::Ingest(entries) => {
                self.history().push(|map| map.extend(entries.iter().cloned()));
                db.ingest(&mut Entries::new(entries))?;
                self.history().acknowledge(Durability::Disk);
            }
            Step::Sync => {
                db.sync()?;
                self.history().acknowledge(Durability::Disk);
            }
            Step::Flush => db.flush()?,
            Step::Settle => drop(db.settle(std::time::Duration::from_secs(60))?),
            Step::Compact(range) => driver::unless_unsupported(db.compact(range.as_range()).map(|_| ()))?,
            Step::Reopen { close } => return self.reopen(lab, db, *close),
            _ => {}
        }
        Ok(db)
    }

    fn reopen(&mut self, lab: &Lab, db: Checked, close: bool) -> Result<Checked> {
        if close {
            db.verify_now();
            db.close()?;
            self.history().acknowledge(Durability::Disk);
        }
        drop(db);
        let db = lab.open()?;
        // A drop may lose what was acknowledged at `Memory` alone: the history then ends earlier.
        let found = check::contents(&*db)?;
        let mut history = self.history();
        let at = history.states.iter().rposition(|state| **state == found);
        let at =
            at.filter(|at| *at >= history.os).expect("an orderly drop keeps what was acknowledged at `Os`");
        history.states.truncate(at + 1);
        drop(history);
        Ok(db)
    }

    fn check_images(&mut self, context: &str) {
        let images: Vec<Image> =
            std::mem::take(&mut *self.images.lock().expect("no panic while it was held"));
        for image in images {
            self.tally.moments += 1;
            let again = self.plan.again_one_in;
            let again = again > 0 && self.rng.one_in(again);
            for policy in self.policies() {
                let context = format!("{context}, crash before operation {}, {policy:?}", image.operation);
                self.check_image(&image, policy, again, &context);
            }
        }
    }

    fn policies(&mut self) -> Vec<CrashPolicy> {
        let tears = (0..self.plan.tears).map(|_| CrashPolicy::Tear { seed: self.rng.seed() });
        [CrashPolicy::DropUnsynced, CrashPolicy::KeepAll].into_iter().chain(tears).collect()
    }

    fn check_image(&mut self, image: &Image, policy: CrashPolicy, again: bool, context: &str) {
        let disk = image.disk.crash(policy);
        if again {
            self.crash_in_recovery(image, policy, &disk, context);
        }
        self.check_survivor(&disk, image, policy, context);
    }

    /// Compares what is left with the history; opens it if no image before looked like it.
    fn check_survivor(&mut self, disk: &Arc<SimVfs>, image: &Image, policy: CrashPolicy, context: &str) {
        self.tally.images += 1;
        let fingerprint = disk.fingerprint();
        if let Some(found) = self.known.get(&fingerprint) {
            check_is_prefix(found, &image.history, policy, context);
            return;
        }
        self.tally.opened += 1;
        match self.open_survivor(disk, image, policy, context) {
            Ok(found) => drop(self.known.insert(fingerprint, Arc::new(found))),
            Err(error) => panic!("{context}: {error}"),
        }
    }

    /// Opens what is left, compares it with the history, works on with it, and opens it once more. Returns what
    /// was found first.
    fn open_survivor(
        &self,
        disk: &Arc<SimVfs>,
        image: &Image,
        policy: CrashPolicy,
        context: &str,
    ) -> Result<Map> {
        let env = Env::simulated(Arc::clone(disk) as Arc<dyn Vfs>, self.plan.seed);
        let lab = Lab::over(self.plan.engine, self.plan.knobs.clone(), env);
        let db = lab.open()?;
        let found = check::contents(&*db)?;
        check_is_prefix(&found, &image.history, policy, context);
        check::holds(&*db, &found, context)?;
        db.verify_now();
        let mut state = found.clone();
        let mut rng = Rng::new(disk.fingerprint());
        for n in 0..20 {
            let mut batch = Batch::new();
            let key = format!("after the crash {}", n % 7);
            batch.put(key.as_bytes(), &rng.bytes(100)).delete(format!("k{n:02}\0\0").as_bytes());
            db.write(&batch, if n % 2 == 0 { Durability::Os } else { Durability::Disk })?;
            map::apply(&mut state, &batch);
        }
        drop(db);
        let db = lab.open()?;
        check::holds(&*db, &state, &format!("{context}, after twenty more writes"))?;
        Ok(found)
    }

    /// Opens what is left with an image kept before every operation of the recovery, and checks what a second
    /// crash leaves of those. The same states are allowed: no commit was acknowledged in between.
    fn crash_in_recovery(&mut self, image: &Image, policy: CrashPolicy, left: &Arc<SimVfs>, context: &str) {
        let disk = left.crash(policy);
        // A watch of its own, so that the images of the run itself stay apart.
        let inner = Run {
            plan: &Plan { every_operation: true, ..self.plan.clone() },
            history: Arc::new(Mutex::new(image.history.clone())),
            images: Arc::default(),
            known: HashMap::new(),
            rng: Rng::new(self.rng.seed()),
            tally: Tally::default(),
        };
        let lab = Lab::over(self.plan.engine, self.plan.knobs.clone(), inner.watch(&disk));
        let opened = lab.open();
        assert!(
            opened.is_ok(),
            "{context}: {}",
            opened.err().map_or(String::new(), |error| error.to_string())
        );
        // The handle is dropped first: the recovery is what was to be watched.
        let images = std::mem::take(&mut *inner.images.lock().expect("no panic while it was held"));
        drop(opened);
        for second in images {
            for policy in [policy, CrashPolicy::Tear { seed: self.rng.seed() }] {
                self.tally.recoveries += 1;
                let context = format!(
                    "{context}, crash in its recovery before operation {}, {policy:?}",
                    second.operation
                );
                // What was lost to the first crash may be more than the second policy alone would lose.
                let weaker = if policy == CrashPolicy::KeepAll { policy } else { CrashPolicy::DropUnsynced };
                self.check_survivor(&second.disk.crash(policy), image, weaker, &context);
            }
        }
    }
}

/// Stops the test unless the history allows what was found.
fn check_is_prefix(found: &Map, history: &History, policy: CrashPolicy, context: &str) {
    let least = history.least(policy);
    let newest = history.states.len() - 1;
    if history.states[least..].iter().any(|state| **state == *found) {
        return;
    }
    let lost = history.states[..least].iter().rposition(|state| **state == *found);
    let acknowledged = &history.states[least];
    let missing = acknowledged.keys().find(|key| !found.contains_key(*key));
    let extra = found.keys().find(|key| !acknowledged.contains_key(*key));
    let other = acknowledged.iter().find(|(key, value)| found.get(*key).is_some_and(|now| now != *value));
    let verdict = match lost {
        Some(at) => format!("acknowledged writes are lost: found the state after commit {at}"),
        None => "found a state that never was".to_owned(),
    };
    panic!(
        "{context}: {verdict}; allowed are {least} to {newest}. Against state {least}: missing {:?}, extra {:?}, \
         other value {:?}; {} entries found, {} expected",
        missing.map(|key| key.escape_ascii().to_string()),
        extra.map(|key| key.escape_ascii().to_string()),
        other.map(|(key, _)| key.escape_ascii().to_string()),
        found.len(),
        acknowledged.len(),
    );
}

/// Every file of a database on a disk, by name.
///
/// # Errors
/// Those of the disk.
pub fn files_of(disk: &dyn Vfs, dir: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in disk.list(dir, kv_api::Cause::Verify)? {
        let file = disk.open(&dir.join(&entry.name), kv_io::vfs::OpenOptions::READ, kv_api::Cause::Verify)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).expect("fits memory")];
        file.read_at(0, &mut bytes, kv_api::Cause::Verify)?;
        files.push((entry.name, bytes));
    }
    files.sort();
    Ok(files)
}
