//! Databases that crash more than once: crash, recover, live on, crash again; and crashes while a database is created
//! or copied.

use std::sync::{Arc, Mutex};

use kv_api::{ErrorKind, Result};
use kv_io::sim::{CrashPolicy, SimVfs};
use kv_io::{Env, Vfs};

use super::courses::Course;
use super::history::{Death, History};
use super::survivor::Survivors;
use super::{Image, Images, Plan, Run, Tally, keep_images, name_of, steps_of};
use crate::check;
use crate::lab::Lab;
use crate::map::Map;

/// Lives `lives` lives one after another: opens, does some steps, crashes at a random moment, and goes on with what the
/// crash left. In each life some images of that life are opened too.
///
/// # Errors
/// Those of the engine: none is expected.
///
/// # Panics
/// If an image breaks the rule.
pub fn live(plan: &Plan, course: &Course, lives: usize) -> Result<Tally> {
    let mut run = Run::new(plan, History::default(), Survivors::new(plan));
    let mut disk = SimVfs::new(plan.seed);
    let mut history = History::default();
    for life in 0..lives {
        let count = 10 + run.rng.below(16);
        let steps = steps_of(plan, course, run.rng.seed(), count)?;
        let images = run.one_life(&disk, history, &steps, life)?;
        let (next, what_was_left) = run.die(images, life);
        (disk, history) = (next, what_was_left);
    }
    Ok(run.survivors.tally)
}

impl Run<'_> {
    /// Opens the disk and does the steps; returns an image of before every change, those of the recovery included.
    fn one_life(
        &mut self,
        disk: &Arc<SimVfs>,
        left: History,
        steps: &[crate::steps::Step],
        life: usize,
    ) -> Result<Vec<Image>> {
        *self.history() = left;
        let lab = Lab::over(self.plan.engine, self.plan.knobs.clone(), self.watch(disk));
        let mut db = lab.open()?;
        let found = check::contents(&*db)?;
        self.history().check(&found, Death::Power, &format!("life {life}, opened"));
        // What could be read is durable from now on.
        *self.history() = History::from(found);
        for step in steps {
            db = self.step(&lab, db, step).unwrap_or_else(|error| panic!("{}: {error}", name_of(step)));
        }
        drop(db);
        super::assert_keeps_the_rules(disk, &format!("life {life}"));
        Ok(self.take_images())
    }

    /// Opens copies of a few images under a few policies and picks one to live on with: the disk it leaves, not opened
    /// yet, and what may be found there.
    fn die(&mut self, images: Vec<Image>, life: usize) -> (Arc<SimVfs>, History) {
        let last = images.len().saturating_sub(1);
        let tried: Vec<usize> = (0..5).map(|_| self.rng.below(images.len())).chain([last]).collect();
        let mut next = None;
        self.survivors.tally.moments += tried.len() as u64;
        for at in tried {
            let image = &images[at];
            for cut in self.survivors.some_cuts(image, 6) {
                let context = format!("life {life}, crash before operation {}, {cut:?}", image.operation);
                let disk = cut.apply(image);
                let copy = disk.crash(CrashPolicy::KeepAll);
                let found = self.survivors.check(&copy, &image.history, cut.death(), &context, life > 0);
                if next.is_none() || self.rng.one_in(8) {
                    let mut left = image.history.after(cut.death());
                    left.ends_at(&found);
                    next = Some((disk, left));
                }
            }
        }
        next.expect("a life changes something")
    }
}

/// Crashes at every operation of a creation, and again in the recoveries of what that leaves.
///
/// # Errors
/// Those of the engine: none is expected.
///
/// # Panics
/// If what is left does not open as an empty database.
pub fn creation(plan: &Plan) -> Result<Tally> {
    super::run_steps(&Plan { every_operation: true, ..plan.clone() }, &[])
}

/// Crashes at one in `stride` operations of a backup: the database has everything, and the copy is whole or says that
/// it is none.
///
/// # Errors
/// Those of the engine: none is expected.
///
/// # Panics
/// If either is not so.
pub fn backup(plan: &Plan, course: &Course, stride: usize) -> Result<Tally> {
    let plan = Plan { every_operation: true, ..plan.clone() };
    let disk = SimVfs::new(plan.seed);
    let lab = |vfs: Arc<dyn Vfs>| Lab::over(plan.engine, plan.knobs.clone(), Env::simulated(vfs, plan.seed));
    let mut run = Run::new(&plan, History::default(), Survivors::new(&plan));
    let made = lab(Arc::clone(&disk) as Arc<dyn Vfs>);
    let mut db = made.open()?;
    for step in steps_of(&plan, course, plan.seed, 40)? {
        db = run.step(&made, db, &step)?;
    }
    db.sync()?;
    drop(db);
    let images = Images::default();
    let whole = {
        let map = Arc::clone(run.history().last());
        let history = Arc::new(Mutex::new(History::from(Map::clone(&map))));
        let watched = lab(keep_images(&disk, &history, &images, &plan));
        let db = watched.open()?;
        images.lock().expect("no panic while it was held").clear();
        db.backup(&watched.beside("copy"))?;
        map
    };
    let images = std::mem::take(&mut *images.lock().expect("no panic while it was held"));
    for image in images.into_iter().step_by(stride) {
        run.survivors.tally.moments += 1;
        for cut in run.survivors.some_cuts(&image, 8) {
            let context = format!("a backup, crash before operation {}, {cut:?}", image.operation);
            let left = cut.apply(&image);
            check_copy(&lab(left.crash(CrashPolicy::KeepAll)), &whole, &context)?;
            run.survivors.check(&left, &image.history, cut.death(), &context, true);
        }
    }
    Ok(run.survivors.tally)
}

/// Opens what a crash left of a backup.
fn check_copy(lab: &Lab, whole: &Map, context: &str) -> Result<()> {
    match lab.open_dir(&lab.beside("copy"), |knobs| knobs.common.create = false) {
        Ok(copy) => check::holds(&*copy, whole, &format!("{context}: the copy")),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NoDatabase, "{context}: the copy: {error}");
            Ok(())
        }
    }
}
