//! The crash loop: runs steps on a simulated disk, keeps an image of the disk before every operation that changes
//! it, and opens what each crash policy leaves of each image.
//!
//! The rule: what is found is the state after some prefix of the commits, and no shorter one than the newest
//! commit acknowledged at a level that survives the crash: `Os` and `Disk` when only the process died (P1, whole or in
//! the middle of a write), `Disk` when the power failed (all others).
//!
//! Many images of a run look like one that was opened before: most of all, only a sync changes what is left when
//! nothing unsynced survives. What such an image holds is known, so it is compared with what its own crash allows and
//! not opened again.
//!
//! | file | what it adds |
//! |---|---|
//! | `history.rs` | which states a crash may leave |
//! | `courses.rs` | twelve workloads by name |
//! | `survivor.rs` | the policies tried, and what an image must do once it is open |
//! | `lives.rs` | crash, recover, live on, crash again; creations and backups |
//! | `threads.rs` | images while real threads work |

pub mod courses;
pub mod history;
pub mod lives;
mod survivor;
pub mod threads;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use kv_api::{Durability, Result};
use kv_io::sim::{CrashPolicy, SimVfs};
use kv_io::{Env, Vfs};

use self::courses::Course;
use self::history::History;
use self::survivor::Survivors;
use crate::checked::Checked;
use crate::knobs::Knobs;
use crate::lab::{Engine, Lab};
use crate::map;
use crate::rng::Rng;
use crate::steps::{Entries, Step};
use crate::watch::{Moment, lying, watched};
use crate::{check, driver};

/// The disk as it was before one operation.
struct Image {
    disk: Arc<SimVfs>,
    operation: u64,
    history: History,
    /// Where a write was about to go, and the first half of it.
    half: Option<(PathBuf, u64, Vec<u8>)>,
}

type Images = Arc<Mutex<Vec<Image>>>;

/// How to crash.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The engine.
    pub engine: Engine,
    /// Its settings; upkeep must be inline.
    pub knobs: Knobs,
    /// Seed of the steps and of the choices of the policies.
    pub seed: u64,
    /// Steps to run.
    pub steps: usize,
    /// Crash at every operation that changes the disk, else only at syncs.
    pub every_operation: bool,
    /// Tears by sectors tried of each image; every other policy is tried once or twice.
    pub tears: u64,
    /// The disk only says that it synced: every rule must then break.
    pub lying_disk: bool,
    /// Of so many images one crashes again at every point of its recovery; 0 for none.
    pub again_one_in: usize,
    /// How many recoveries in a row may crash.
    pub depth: usize,
    /// Check images of the creation too, which is the same for all steps.
    pub creation: bool,
}

/// What a run tried, for those who want to know that it tried something.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Crash points.
    pub moments: u64,
    /// Images checked against what their crash allows.
    pub images: u64,
    /// Of all images, those that looked like no other of the run: opened, read, verified and worked on.
    pub opened: u64,
    /// Of all images, those of crashes inside a creation, a backup or a recovery.
    pub recoveries: u64,
    /// Of those, the ones opened.
    pub recoveries_opened: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.moments += other.moments;
        self.images += other.images;
        self.opened += other.opened;
        self.recoveries += other.recoveries;
        self.recoveries_opened += other.recoveries_opened;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tally { moments, images, opened, recoveries, recoveries_opened } = self;
        write!(
            f,
            "{images} crash images checked, {opened} opened, of {moments} moments; of these {recoveries} checked and \
             {recoveries_opened} opened of crashes inside a recovery"
        )
    }
}

/// A run on its way.
struct Run<'p> {
    plan: &'p Plan,
    history: Arc<Mutex<History>>,
    images: Images,
    survivors: Survivors,
    rng: Rng,
}

/// Runs the first steps of a course and checks every image.
///
/// # Errors
/// Those of the engine: none is expected.
///
/// # Panics
/// If an image breaks the rule.
pub fn run(plan: &Plan, course: &Course) -> Result<Tally> {
    run_steps(plan, &steps_of(plan, course, plan.seed, plan.steps)?)
}

fn steps_of(plan: &Plan, course: &Course, seed: u64, count: usize) -> Result<Vec<Step>> {
    let limits = Lab::simulated(plan.engine, plan.knobs.clone(), seed).open()?.limits();
    Ok(course.steps(seed, &limits, count))
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
    let mut run = Run::new(plan, History::default(), Survivors::new(plan));
    let lab = Lab::over(plan.engine, plan.knobs.clone(), run.watch(&disk));
    let mut db = lab.open()?;
    if plan.creation {
        run.check_images("while creating", true);
    } else {
        run.take_images();
    }
    for (index, step) in steps.iter().enumerate() {
        let context = format!("step {index}, {}", name_of(step));
        db = run.step(&lab, db, step).unwrap_or_else(|error| panic!("{context}: {error}"));
        run.check_images(&context, false);
    }
    let expected = Arc::clone(run.history().last());
    check::holds(&*db, &expected, "after the last step")?;
    assert_keeps_the_rules(&disk, "the run");
    Ok(run.survivors.tally)
}

/// A step in a few words.
pub fn name_of(step: &Step) -> String {
    match step {
        Step::Write(batch, level) => format!("a write of {} at {level}", batch.len()),
        Step::Ingest(entries) => format!("an ingest of {}", entries.len()),
        Step::Compact(_) => "compact".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Stops the test if the engine asked the disk for something that no engine should.
fn assert_keeps_the_rules(disk: &SimVfs, context: &str) {
    let broken = disk.broken_rules();
    assert!(broken.is_empty(), "{context}: {broken:?}");
}

impl<'p> Run<'p> {
    fn new(plan: &'p Plan, history: History, survivors: Survivors) -> Run<'p> {
        let rng = Rng::new(plan.seed);
        Run { plan, history: Arc::new(Mutex::new(history)), images: Arc::default(), survivors, rng }
    }

    fn history(&self) -> std::sync::MutexGuard<'_, History> {
        self.history.lock().expect("no panic while it was held")
    }

    /// The environment of `disk`, with an image kept before every operation of interest.
    fn watch(&self, disk: &Arc<SimVfs>) -> Env {
        let vfs = keep_images(disk, &self.history, &self.images, self.plan);
        Env::simulated(vfs, self.plan.seed)
    }

    /// Does one step. The state it leads to is known before it begins, because a crash in it may leave that one.
    fn step(&mut self, lab: &Lab, db: Checked, step: &Step) -> Result<Checked> {
        match step {
            Step::Write(batch, level) => {
                self.history().push(|map| map::apply(map, batch));
                let info = db.write(batch, *level)?;
                // An empty batch does nothing, so it makes nothing before it durable either. The same goes for an ingest.
                if !batch.is_empty() {
                    self.history().acknowledge(info.durability);
                }
            }
            Step::Ingest(entries) => {
                self.history().push(|map| map.extend(entries.iter().cloned()));
                db.ingest(&mut Entries::new(entries))?;
                if !entries.is_empty() {
                    self.history().acknowledge(Durability::Disk);
                }
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
        self.history().go_on_from(&found, "after an orderly drop");
        Ok(db)
    }

    fn take_images(&self) -> Vec<Image> {
        std::mem::take(&mut *self.images.lock().expect("no panic while it was held"))
    }

    /// Checks every policy on every image kept since the last call.
    fn check_images(&mut self, context: &str, is_creation: bool) {
        for image in self.take_images() {
            self.survivors.tally.moments += 1;
            let again = self.plan.again_one_in;
            for cut in self.survivors.cuts(&image) {
                let context = format!("{context}, crash before operation {}, {cut:?}", image.operation);
                let disk = cut.apply(&image);
                if again > 0 && self.rng.one_in(again) {
                    self.crash_in_recovery(
                        &image.history.after(cut.death()),
                        &disk,
                        self.plan.depth,
                        &context,
                    );
                }
                let history = &image.history;
                self.survivors.check(&disk, history, cut.death(), &context, is_creation);
            }
        }
    }

    /// Opens what is left with an image kept before every operation of the recovery, and checks what a second
    /// crash leaves of those. The same states are allowed: no commit was acknowledged in between.
    fn crash_in_recovery(&mut self, history: &History, left: &Arc<SimVfs>, depth: usize, context: &str) {
        let disk = left.crash(CrashPolicy::KeepAll);
        let images = Images::default();
        let plan = Plan { every_operation: true, ..self.plan.clone() };
        let vfs = keep_images(&disk, &Arc::new(Mutex::new(history.clone())), &images, &plan);
        let opened = Lab::over(plan.engine, plan.knobs.clone(), Env::simulated(vfs, plan.seed)).open();
        // The handle is dropped only then: the recovery is what was to be watched.
        let images = std::mem::take(&mut *images.lock().expect("no panic while it was held"));
        match opened {
            Ok(db) => drop(db),
            Err(error) => panic!("{context}: {error}"),
        }
        let deeper = if images.is_empty() { 0 } else { self.rng.below(images.len()) };
        for (at, image) in images.into_iter().enumerate() {
            let cuts = self.survivors.some_cuts(&image, 4);
            let further = self.rng.below(cuts.len());
            for (which, cut) in cuts.into_iter().enumerate() {
                let context =
                    format!("{context}, crash in its recovery before operation {}, {cut:?}", image.operation);
                let disk = cut.apply(&image);
                if depth > 1 && at == deeper && which == further {
                    self.crash_in_recovery(&history.after(cut.death()), &disk, depth - 1, &context);
                }
                self.survivors.check(&disk, history, cut.death(), &context, true);
            }
        }
    }
}

/// The files of `disk`, with an image kept before every operation of interest.
fn keep_images(
    disk: &Arc<SimVfs>,
    history: &Arc<Mutex<History>>,
    images: &Images,
    plan: &Plan,
) -> Arc<dyn Vfs> {
    let (watched_disk, history, images) = (Arc::clone(disk), Arc::clone(history), Arc::clone(images));
    let every = plan.every_operation;
    let before = move |moment: Moment<'_>| {
        if every || matches!(moment, Moment::Sync) {
            let history = history.lock().expect("no panic while it was held").clone();
            let disk = watched_disk.crash(CrashPolicy::KeepAll);
            let image = Image { disk, operation: watched_disk.steps(), history, half: moment.first_half() };
            images.lock().expect("no panic while it was held").push(image);
        }
    };
    let wrap = if plan.lying_disk { lying } else { watched };
    wrap(Arc::clone(disk) as Arc<dyn Vfs>, Arc::new(before))
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
