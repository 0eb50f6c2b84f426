//! Target `ops_and_faults`: steps on a disk where calls fail or space runs out, then a crash. What is found is the state
//! after some prefix of the commits, none shorter than what was acknowledged at a level that survives the crash.

use std::sync::Arc;

use kv_api::{Durability, Error, ErrorKind, Kv, Result};
use kv_io::sim::{CrashPolicy, FaultOp, Repeat, SimVfs};
use kv_io::{Env, Vfs};

use super::input::Input;
use super::ops::{knobs, step};
use crate::driver::unless_unsupported;
use crate::lab::{Engine, Lab};
use crate::steps::{Entries, Step};
use crate::{Knobs, Map, check, map};

const STEPS_MAX: usize = 80;

const OPS: [FaultOp; 8] = [
    FaultOp::Read,
    FaultOp::Write,
    FaultOp::Resize,
    FaultOp::Sync,
    FaultOp::SyncDir,
    FaultOp::Create,
    FaultOp::Rename,
    FaultOp::Remove,
];

/// The states that may be found: oldest first, from the newest one that must survive.
struct Known {
    states: Vec<Arc<Map>>,
    /// Index of the newest state acknowledged at `Os` or above, and at `Disk`.
    os: usize,
    disk: usize,
    /// A sync may have failed: then the page cache may have lost what only reached the operating system.
    sync_failed: bool,
}

impl Known {
    fn last(&self) -> &Arc<Map> {
        &self.states[self.states.len() - 1]
    }

    /// The oldest state that the death of the process may leave.
    fn os(&self) -> usize {
        if self.sync_failed { self.disk } else { self.os }
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

    /// Stops unless `found` is one of the states from `least` on; forgets the later ones.
    fn found(&mut self, found: Map, least: usize, context: &str) {
        let at = self.states.iter().rposition(|state| **state == found).filter(|at| *at >= least);
        assert!(
            at.is_some(),
            "{context}: {} entries, which is no state from {least} to {}; state {:?} is",
            found.len(),
            self.states.len() - 1,
            self.states.iter().rposition(|state| **state == found),
        );
        self.states = vec![Arc::new(found)];
        (self.os, self.disk, self.sync_failed) = (0, 0, false);
    }
}

/// The target: `| settings 4 | crash u8 | (arm u8 | step)* |`.
pub fn ops_and_faults(bytes: &[u8]) {
    for engine in Engine::STORED {
        let mut input = Input::new(bytes);
        let knobs = knobs(&mut input);
        let policy = match input.byte() {
            0..64 => CrashPolicy::DropUnsynced,
            64..128 => CrashPolicy::KeepAll,
            seed => CrashPolicy::Tear { seed: u64::from(seed) },
        };
        let mut disk = SimVfs::new(1);
        let mut known = Known { states: vec![Arc::default()], os: 0, disk: 0, sync_failed: false };
        // A second life begins with what the first crash left.
        for life in 0..2 {
            let lab = lab_over(engine, &knobs, &disk);
            Life { lab: &lab, disk: &disk, known: &mut known, db: None }.run(&mut input);
            disk.faults().heal();
            disk = disk.crash(policy);
            let least = if policy == CrashPolicy::KeepAll { known.os() } else { known.disk };
            let context = format!("{}, crash {life}, {policy:?}", engine.name());
            let lab = lab_over(engine, &knobs, &disk);
            let found = lab.open().and_then(|db| check::contents(&*db));
            let found = found.unwrap_or_else(|error| panic!("{context}: {error}"));
            known.found(found, least, &context);
        }
    }
}

fn lab_over(engine: Engine, knobs: &Knobs, disk: &Arc<SimVfs>) -> Lab {
    Lab::over(engine, knobs.clone(), Env::simulated(Arc::clone(disk) as Arc<dyn Vfs>, 1))
}

/// From the first opening to a crash.
struct Life<'l> {
    lab: &'l Lab,
    disk: &'l Arc<SimVfs>,
    known: &'l mut Known,
    db: Option<Arc<dyn Kv>>,
}

impl Life<'_> {
    /// Arms faults, opens, steps. A handle whose last write has an unknown outcome is dropped: the next opening tells.
    fn run(&mut self, input: &mut Input<'_>) {
        for _ in 0..STEPS_MAX {
            let arm = input.byte();
            if input.is_empty() || arm == 0xFF {
                return;
            }
            self.arm(arm, input);
            let outcome = match self.db.clone() {
                None => self.open(),
                Some(db) => self.step(&*db, &step(input)),
            };
            if let Err(error) = outcome {
                typed(&error);
                if error.kind() == ErrorKind::Poisoned {
                    self.db = None;
                }
            }
        }
    }

    fn arm(&mut self, arm: u8, input: &mut Input<'_>) {
        let faults = self.disk.faults();
        match arm {
            0xE0..0xF8 => {
                let often = if arm & 1 == 0 { Repeat::Once } else { Repeat::Forever };
                let op = input.pick(&OPS);
                faults.fail(op, u64::from(input.byte() % 32), often);
                self.known.sync_failed |= op == FaultOp::Sync;
            }
            0xF8..0xFC => {
                let room = u64::from(input.short()) % 9000 * 8;
                faults.limit_space(self.disk.used_bytes() + room, Repeat::Forever);
            }
            0xFC | 0xFD => faults.heal(),
            _ => {}
        }
    }

    /// Opens, and takes what is there for what there is: it must be on disk by now.
    fn open(&mut self) -> Result<()> {
        let db = self.lab.engine.open(&self.lab.env, self.lab.dir(), &self.lab.knobs)?;
        let found = check::contents(&*db)?;
        let least = self.known.os();
        self.known.found(found, least, &format!("{}, opened again", self.lab.engine.name()));
        self.db = Some(db);
        Ok(())
    }

    fn step(&mut self, db: &dyn Kv, step: &Step) -> Result<()> {
        match step {
            Step::Write(batch, level) => {
                self.known.push(|map| map::apply(map, batch));
                match db.write(batch, *level) {
                    Ok(info) => {
                        // An empty batch does nothing, so it makes nothing before it durable either.
                        if !batch.is_empty() {
                            self.known.acknowledge(info.durability);
                        }
                    }
                    Err(error) => {
                        match error.kind() {
                            ErrorKind::NoSpace => drop(self.known.states.pop()),
                            _ => self.db = None,
                        }
                        return Err(error);
                    }
                }
            }
            Step::Ingest(entries) => {
                self.known.push(|map| map.extend(entries.iter().cloned()));
                if let Err(error) = db.ingest(&mut Entries::new(entries)) {
                    self.db = None;
                    return Err(error);
                }
                if !entries.is_empty() {
                    self.known.acknowledge(Durability::Disk);
                }
            }
            Step::Sync => {
                db.sync()?;
                self.known.acknowledge(Durability::Disk);
            }
            Step::Flush => db.flush()?,
            Step::Settle => drop(db.settle(std::time::Duration::from_secs(10))?),
            Step::Compact(range) => unless_unsupported(db.compact(range.as_range()).map(drop))?,
            Step::Reopen { close } => {
                self.db = None;
                if *close {
                    db.close()?;
                    self.known.acknowledge(Durability::Disk);
                }
            }
            Step::Get(keys) => {
                for key in keys {
                    let found = db.get(key)?;
                    assert_eq!(
                        found.as_deref(),
                        self.known.last().get(key).map(Vec::as_slice),
                        "a wrong read"
                    );
                }
            }
            Step::Scan { .. } | Step::Snapshot(_) | Step::LiveScan { .. } => {
                assert!(check::contents(db)? == **self.known.last(), "a wrong scan");
            }
        }
        Ok(())
    }
}

/// Stops unless the error is one that a failing disk may lead to.
fn typed(error: &Error) {
    let kinds = [ErrorKind::Io, ErrorKind::NoSpace, ErrorKind::Poisoned];
    assert!(kinds.contains(&error.kind()), "{:?}: {error}", error.kind());
}
