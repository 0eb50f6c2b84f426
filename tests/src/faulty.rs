//! Runs over a disk on which one thing goes wrong: what is tried, what an engine may answer, and what must hold after it.

use std::cell::Cell;
use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kv_api::{Durability, Error, ErrorKind, Result};
use kv_io::sim::{CrashPolicy, Effect, FaultOp, Repeat, SimVfs};
use kv_io::{Env, Vfs};

use crate::checked::Checked;
use crate::crash::courses::Course;
use crate::crash::history::{Death, History};
use crate::crash::name_of;
use crate::driver::unless_unsupported;
use crate::knobs::Knobs;
use crate::lab::{Engine, Lab};
use crate::map::{self, Map};
use crate::steps::{Entries, Step};
use crate::{check, leaks};

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// One call of a kind, counted from the opening, or all from there on.
    Call {
        /// The kind.
        op: FaultOp,
        /// Which call, counted from 0.
        nth: u64,
        /// Once, or from then on.
        repeat: Repeat,
        /// What it does.
        effect: Effect,
    },
    /// No more than so many further bytes fit.
    Full {
        /// The bytes.
        room: u64,
        /// One refusal, or all from then on.
        repeat: Repeat,
        /// After the third refusal there is room again.
        heals: bool,
    },
    /// Some bytes of a file cannot be read any more.
    Sectors {
        /// The file.
        path: PathBuf,
        /// The bytes.
        bytes: Range<u64>,
    },
}

impl Trouble {
    fn befall(&self, disk: &SimVfs) {
        match self {
            Trouble::Call { op, nth, repeat, effect } => disk.faults().inject(*op, *nth, *repeat, *effect),
            Trouble::Full { room, repeat, .. } => {
                disk.faults().limit_space(disk.used_bytes() + room, *repeat);
            }
            Trouble::Sectors { path, bytes } => {
                disk.faults().fail_range(FaultOp::Read, path, bytes.clone());
            }
        }
    }

    /// True if nobody is told that something is wrong: the engine has to find out.
    fn is_silent(&self) -> bool {
        matches!(self, Trouble::Call { effect: Effect::Flip | Effect::Stale | Effect::Misdirect, .. })
    }

    /// True if the disk gives old bytes for new ones, whole and with their checksums: it lost a write or its time.
    fn is_of_the_past(&self) -> bool {
        matches!(self, Trouble::Call { effect: Effect::Stale | Effect::Misdirect, .. })
    }

    /// True if reads fail.
    fn is_of_reads(&self) -> bool {
        matches!(self, Trouble::Call { op: FaultOp::Read | FaultOp::Open, .. } | Trouble::Sectors { .. })
    }

    /// True if the page cache lost what it had taken: then not even a process that dies keeps what was not synced.
    fn takes_cache(&self) -> bool {
        matches!(self, Trouble::Call { effect: Effect::Revert, .. })
    }
}

/// What a run came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Runs.
    pub runs: u64,
    /// Of those, runs in which something did go wrong.
    pub hit: u64,
    /// Of those, runs in which the engine said so.
    pub told: u64,
    /// Crash images taken after that and opened.
    pub opened: u64,
    /// Runs in which a B+tree took old pages for new ones. A page vouches for its place and its bytes, and nothing that
    /// names it tells its age, so a disk that loses a write without a word is found out only by luck.
    pub deceived: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.runs += other.runs;
        self.hit += other.hit;
        self.told += other.told;
        self.opened += other.opened;
        self.deceived += other.deceived;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tally { runs, hit, told, opened, deceived } = self;
        write!(
            f,
            "{runs} runs, {hit} met their fault, {told} surfaced; {opened} crash images opened after it"
        )?;
        if *deceived > 0 { write!(f, "; {deceived} took old pages for new ones") } else { Ok(()) }
    }
}

/// A database with something in it, and the steps to do to it: the same for every fault.
pub struct Ground {
    engine: Engine,
    knobs: Knobs,
    seed: u64,
    disk: Arc<SimVfs>,
    history: History,
    steps: Vec<Step>,
    /// What the crash images opened so far hold, by the fingerprint of the disk.
    known: Mutex<HashMap<u64, Arc<Map>>>,
}

/// A run on its way.
struct Run<'g> {
    ground: &'g Ground,
    trouble: &'g Trouble,
    disk: Arc<SimVfs>,
    history: History,
    /// The states after those writes of which nobody knows whether they happened.
    unknown: Vec<Arc<Map>>,
    /// The handle said that it is poisoned.
    is_poisoned: bool,
    /// The engine said that something is wrong, or that it cut a torn tail.
    told: bool,
    /// Old pages were taken for new ones.
    deceived: Cell<bool>,
    context: String,
}

impl Ground {
    /// The ground of a course: two thirds as many steps as `count` done, `count` to do.
    ///
    /// # Errors
    /// Those of the engine: none is expected.
    pub fn new(engine: Engine, course: &Course, seed: u64, count: usize) -> Result<Ground> {
        let knobs = (course.knobs)(seed);
        let disk = SimVfs::new(seed);
        let mut ground = Ground {
            engine,
            knobs,
            seed,
            disk,
            history: History::default(),
            steps: Vec::new(),
            known: Mutex::default(),
        };
        let limits = ground.lab(&ground.disk).open()?.limits();
        // A drop in the middle would bring every call back to the beginning of a life.
        let stays = |step: &Step| !matches!(step, Step::Reopen { .. });
        ground.steps = course.steps(!seed, &limits, count * 2 / 3).into_iter().filter(stays).collect();
        let mut run =
            ground.run_over(&ground.disk, &Trouble::Full { room: 0, repeat: Repeat::Once, heals: true });
        let db = ground.lab(&ground.disk).open()?;
        for step in &ground.steps {
            run.step(&db, step)?;
        }
        db.sync()?;
        run.history.acknowledge(Durability::Disk);
        let history = run.history;
        drop(db);
        ground.history = history;
        ground.steps = course.steps(seed, &limits, count).into_iter().filter(stays).collect();
        Ok(ground)
    }

    fn lab(&self, disk: &Arc<SimVfs>) -> Lab {
        let env = Env::simulated(Arc::clone(disk) as Arc<dyn Vfs>, self.seed);
        Lab::over(self.engine, self.knobs.clone(), env)
    }

    fn run_over<'g>(&'g self, disk: &Arc<SimVfs>, trouble: &'g Trouble) -> Run<'g> {
        Run {
            ground: self,
            trouble,
            disk: Arc::clone(disk),
            history: self.history.clone(),
            unknown: Vec::new(),
            is_poisoned: false,
            told: false,
            deceived: Cell::new(false),
            context: format!("{trouble:?}"),
        }
    }

    /// How many calls of each kind a run without a fault makes.
    ///
    /// # Errors
    /// Those of the engine: none is expected.
    pub fn calls(&self) -> Result<Vec<(FaultOp, u64)>> {
        let disk = self.disk.crash(CrashPolicy::KeepAll);
        let none = Trouble::Full { room: u64::MAX >> 1, repeat: Repeat::Once, heals: true };
        let mut run = self.run_over(&disk, &none);
        let db = self.lab(&disk).open()?;
        for step in &self.steps {
            run.step(&db, step)?;
        }
        db.verify_now();
        db.close()?;
        Ok(FaultOp::ALL.into_iter().map(|op| (op, disk.faults().calls(op))).collect())
    }

    /// Every file of the ground, with its length.
    ///
    /// # Errors
    /// Those of the disk: none is expected.
    pub fn files(&self) -> Result<Vec<(PathBuf, u64)>> {
        let dir = self.lab(&self.disk).dir().to_path_buf();
        let files = crate::crash::files_of(&*self.disk, &dir)?;
        Ok(files.into_iter().map(|(name, bytes)| (dir.join(name), bytes.len() as u64)).collect())
    }

    /// One run with one thing going wrong, and all that must hold after it.
    ///
    /// # Panics
    /// If it does not.
    pub fn run(&self, trouble: &Trouble) -> Tally {
        let disk = self.disk.crash(CrashPolicy::KeepAll);
        let mut run = self.run_over(&disk, trouble);
        trouble.befall(&disk);
        let hits = disk.faults().hits();
        let attempt = catch_unwind(AssertUnwindSafe(|| run.go()));
        if let Err(panic) = attempt {
            eprintln!("{}: panicked", run.context);
            std::panic::resume_unwind(panic);
        }
        let hit = disk.faults().hits() > hits;
        let opened = run.check_images();
        run.check_after().unwrap_or_else(|error| panic!("{}: {error}", run.context));
        let broken = disk.broken_rules();
        let excused = trouble.is_silent() || trouble.takes_cache();
        assert!(broken.is_empty() || excused, "{}: {broken:?}", run.context);
        let (told, deceived) = (u64::from(hit && run.told), u64::from(run.deceived.get()));
        Tally { runs: 1, hit: u64::from(hit), told, opened, deceived }
    }
}

/// Stops the test unless the error is one that a failing disk may lead to, and says something.
fn check_error(error: &Error, context: &str) {
    let typed = [ErrorKind::Io, ErrorKind::NoSpace, ErrorKind::Poisoned, ErrorKind::Corruption];
    assert!(typed.contains(&error.kind()), "{context}: {:?}: {error}", error.kind());
    assert!(error.to_string().len() > 20, "{context}: {error}");
}

impl Run<'_> {
    /// Opens, does the steps, reads after every error, closes.
    fn go(&mut self) {
        let opened = self.ground.lab(&self.disk).open();
        let db = match opened {
            Ok(db) => db,
            Err(error) => return self.note(&error),
        };
        let mut errors = 0;
        if self.is_cut(&db) {
            drop(db.close());
            return;
        }
        for step in &self.ground.steps {
            if let Err(error) = self.step(&db, step) {
                self.note(&error);
                self.context += &format!("; {} answered {:?}: {error}", name_of(step), error.kind());
                errors += 1;
                self.check_reads(&db, step);
                self.heal_in_time(&db, errors);
                // A log that lost a part without being told may say so at any time: nothing later is known for sure.
                if errors == 4 || self.trouble.is_silent() {
                    break;
                }
            }
        }
        self.check_reads(&db, &Step::Sync);
        match db.verify() {
            Ok(report) if self.trouble.is_silent() || self.trouble.is_of_reads() => {
                self.told |= !report.is_sound();
            }
            Ok(report) => assert!(report.is_sound() || self.told, "{}: {report:#?}", self.context),
            Err(error) => self.note(&error),
        }
        // The drop of a closed handle verifies nothing, so it cannot meet the fault.
        if let Err(error) = db.close() {
            self.note(&error);
        } else if !self.told {
            self.history.acknowledge(Durability::Disk);
        }
    }

    /// True if recovery cut a tail that no fault it was told of explains.
    fn is_cut(&mut self, db: &Checked) -> bool {
        let cut = self.trouble.is_silent() && db.recovery().tail_bytes_dropped > 0;
        self.told |= cut;
        cut
    }

    fn note(&mut self, error: &Error) {
        check_error(error, &self.context);
        self.told = true;
    }

    /// What can be read is right, whatever failed.
    fn check_reads(&mut self, db: &Checked, after: &Step) {
        match check::contents(&**db) {
            Ok(found) => {
                let whole = self.unknown.iter().any(|unknown| **unknown == found);
                let verdict = if whole { "a failed write is visible" } else { "a read is wrong" };
                if self.is_deceived(&found) {
                    return;
                }
                assert!(found == **self.history.last(), "{}: {verdict}, in {after:?}", self.context);
            }
            Err(error) => self.note(&error),
        }
    }

    /// Room comes back after three refusals, and the handle goes on and leaves nothing behind, unless it is poisoned.
    fn heal_in_time(&mut self, db: &Checked, errors: usize) {
        if errors != 3 || !matches!(self.trouble, Trouble::Full { heals: true, .. }) {
            return;
        }
        self.disk.faults().heal();
        match db.settle(Duration::from_secs(60)) {
            Ok(_) => {
                leaks::none(
                    &*self.disk,
                    &self.ground.lab(&self.disk),
                    &**db,
                    &format!("{}, healed", self.context),
                )
                .unwrap_or_else(|error| panic!("{}: {error}", self.context));
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Poisoned, "{}, healed: {error}", self.context),
        }
    }

    /// Does one step; an error of a write leaves it unknown or undone.
    fn step(&mut self, db: &Checked, step: &Step) -> Result<()> {
        match step {
            Step::Write(batch, level) => {
                self.history.push(|map| map::apply(map, batch));
                let done = db.write(batch, *level).map(|info| (!batch.is_empty()).then_some(info.durability));
                self.settle_outcome(done)
            }
            Step::Ingest(entries) => {
                self.history.push(|map| map.extend(entries.iter().cloned()));
                let done = db.ingest(&mut Entries::new(entries));
                let done = done.map(|_| (!entries.is_empty()).then_some(Durability::Disk));
                self.settle_outcome(done)
            }
            Step::Sync => {
                db.sync()?;
                self.history.acknowledge(Durability::Disk);
                Ok(())
            }
            Step::Flush => db.flush(),
            Step::Settle => db.settle(Duration::from_secs(1)).map(drop),
            Step::Compact(range) => unless_unsupported(db.compact(range.as_range()).map(|_| ())),
            _ => Ok(()),
        }
    }

    /// Notes what a write came to. Without space nothing happened, nor after the handle said that it is poisoned; of what
    /// failed before that, any one may be there.
    fn settle_outcome(&mut self, done: Result<Option<Durability>>) -> Result<()> {
        match done {
            Ok(level) => {
                // A handle that goes on knows its state: what failed before never happened.
                self.unknown.clear();
                level.into_iter().for_each(|level| self.history.acknowledge(level));
                Ok(())
            }
            Err(error) => {
                let state = self.history.pop();
                if error.kind() != ErrorKind::NoSpace && !self.is_poisoned {
                    self.unknown.push(state);
                }
                self.is_poisoned |= error.kind() == ErrorKind::Poisoned;
                Err(error)
            }
        }
    }

    /// Stops the test unless this may be found after a crash.
    fn check(&self, found: &Map, death: Death, was_told: bool, context: &str) {
        if self.unknown.iter().any(|unknown| **unknown == *found) {
            return;
        }
        if self.trouble.is_silent() && (was_told || self.told) && self.history.had(found) {
            return;
        }
        if self.is_deceived(found) {
            return;
        }
        let death = if self.trouble.takes_cache() { Death::Power } else { death };
        self.history.check(found, death, context);
    }

    /// True if a B+tree took old pages for new ones and the contents are wrong for it.
    fn is_deceived(&self, found: &Map) -> bool {
        let deceived = self.ground.engine == Engine::BTree
            && self.trouble.is_of_the_past()
            && **self.history.last() != *found;
        self.deceived.set(self.deceived.get() || deceived);
        deceived
    }

    /// Opens what a crash after the fault leaves; returns how many images were.
    fn check_images(&self) -> u64 {
        let mut opened = 0;
        for (policy, death) in [
            (CrashPolicy::DropUnsynced, Death::Power),
            (CrashPolicy::KeepAll, Death::Process),
            (CrashPolicy::Tear { seed: self.ground.seed }, Death::Power),
        ] {
            let context = format!("{}, then a crash, {policy:?}", self.context);
            let image = self.disk.crash(policy);
            let fingerprint = image.fingerprint();
            let known =
                self.ground.known.lock().expect("no panic while it was held").get(&fingerprint).cloned();
            if let Some(found) = known {
                self.check(&found, death, true, &context);
                continue;
            }
            opened += 1;
            let (found, cut) = match self.ground.lab(&image).open() {
                Ok(db) => {
                    let found = check::contents(&*db).and_then(|found| {
                        check::holds(&*db, &found, &context)?;
                        Ok(found)
                    });
                    let cut = db.recovery().tail_bytes_dropped > 0;
                    self.let_go(db);
                    (found, cut)
                }
                Err(error) => (Err(error), false),
            };
            match found {
                Ok(found) => {
                    self.check(&found, death, cut, &context);
                    let mut known = self.ground.known.lock().expect("no panic while it was held");
                    known.insert(fingerprint, self.history.shared(found));
                }
                Err(error) => self.expect_damage(&error, &context),
            }
        }
        opened
    }

    /// Lets go of a handle whose files may be damaged: the drop of a closed one verifies nothing.
    fn let_go(&self, db: Checked) {
        if self.trouble.is_silent() {
            drop(db.close());
        }
    }

    /// Only what nobody was told of may end as damage.
    fn expect_damage(&self, error: &Error, context: &str) {
        // An edit of the manifest that was lost without a word may name tables that are gone.
        let kinds = [ErrorKind::Corruption, ErrorKind::Io];
        let allowed = self.trouble.is_silent() && kinds.contains(&error.kind());
        assert!(allowed, "{context}: {error}");
    }

    /// The disk is well again: the database opens, has all that it must have, leaks nothing, and takes more.
    fn check_after(&mut self) -> Result<()> {
        let context = format!("{}, healed", self.context);
        self.disk.faults().heal();
        let lab = self.ground.lab(&self.disk);
        let db = match lab.open() {
            Ok(db) => db,
            Err(error) => {
                self.expect_damage(&error, &context);
                return Ok(());
            }
        };
        let cut = db.recovery().tail_bytes_dropped > 0;
        let found = match check::contents(&*db) {
            Ok(found) => found,
            Err(error) => {
                self.let_go(db);
                self.expect_damage(&error, &context);
                return Ok(());
            }
        };
        self.check(&found, Death::Process, cut, &context);
        if self.trouble.is_silent() {
            self.let_go(db);
            return Ok(());
        }
        // Nothing that can be read now rests on what a failed sync left in the page cache.
        for policy in [CrashPolicy::DropUnsynced, CrashPolicy::Tear { seed: 7 }] {
            let left = self.ground.lab(&self.disk.crash(policy)).open()?;
            assert!(check::contents(&*left)? == found, "{context}: what was read is lost by {policy:?}");
        }
        db.put(b"after", b"the fault", Durability::Os)?;
        db.settle(Duration::from_secs(60))?;
        leaks::none(&*self.disk, &lab, &*db, &context)?;
        db.close()?;
        drop(db);
        let mut expected = found;
        expected.insert(b"after".to_vec(), b"the fault".to_vec());
        check::holds(&*lab.open()?, &expected, &format!("{context}, closed and opened again"))
    }
}
