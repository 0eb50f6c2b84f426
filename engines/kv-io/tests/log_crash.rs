//! The log loses power at every call: what comes back is a prefix that holds every acknowledged operation that
//! must survive. Then it loses power again while it recovers from that; every call fails once; the disk is full.
//!
//! The engine of these tests is a number: the newest operation in its "data files", which are durable at once. So
//! all that can be lost is the log's to lose.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kv_api::{Batch, Durability, Error, ErrorKind, Op, Result, SeqNo};
use kv_io::commit::{Apply, CommitLog, Room};
use kv_io::sim::{CrashPolicy, FaultOp, Repeat, SimVfs};
use kv_io::wal::reader::Expected;
use kv_io::wal::{LogPlace, WalOptions};

/// Takes everything and keeps nothing.
struct Sink;

impl Apply for Sink {
    fn admit(&self, _bytes: usize, _ops: usize) -> Result<()> {
        Ok(())
    }

    fn prepare(&self, _bytes: usize, _ops: usize) -> Result<Room> {
        Ok(Room::Ready)
    }

    fn apply(&self, _first_seq: SeqNo, _batches: &[&Batch]) -> Result<()> {
        Ok(())
    }

    fn publish(&self, _last_seq: SeqNo) {}

    fn poison(&self, _error: &Error) {}

    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// What the outside knows across crashes.
#[derive(Clone, Default)]
struct World {
    /// True once the log was started, as the identity file would tell.
    created: bool,
    /// The newest operation in the data files.
    data_upto: SeqNo,
    /// The newest operation that must survive power loss, and the end of the process.
    disk_upto: SeqNo,
    os_upto: SeqNo,
    /// What each operation that was ever tried wrote: the handle that tried it, and how long its value was.
    history: Vec<(u8, usize)>,
    /// How many handles there were.
    handles: u8,
    /// How many commits were refused for want of space.
    refusals: usize,
}

/// How much a handle does before it closes.
#[derive(Clone, Copy)]
struct Work {
    commits: usize,
    value_len_max: usize,
}

impl World {
    fn batch(&self, seq: SeqNo, value_len: usize) -> Batch {
        let mut batch = Batch::new();
        batch.put(&seq.to_be_bytes(), &vec![self.handles; value_len]);
        batch
    }

    fn check_op(&self, seq: SeqNo, op: Op<'_>) {
        let (handle, value_len) = self.history[usize::try_from(seq).unwrap() - 1];
        let Op::Put { key, value } = op else { panic!("operation {seq} was a put") };
        assert_eq!(key, seq.to_be_bytes(), "operation {seq} has its own key");
        assert_eq!(value, vec![handle; value_len], "operation {seq} has the value it was given last");
    }

    /// Recovers, works, closes. Everything that is acknowledged is noted as it happens.
    fn run(&mut self, sim: &Arc<SimVfs>, work: Work) -> Result<()> {
        let place = LogPlace { vfs: Arc::clone(sim) as _, dir: PathBuf::from("db"), salt: 7 };
        place.vfs.create_dir(&place.dir, kv_api::Cause::Identity)?;
        place.vfs.sync_dir(Path::new("."), kv_api::Cause::Identity)?;
        let log = self.recover(&place)?;
        self.handles += 1;
        let levels =
            [Durability::Os, Durability::Memory, Durability::Disk, Durability::Memory, Durability::Os];
        for turn in 0..work.commits {
            let seq = log.last_seq() + 1;
            let value_len = if turn % 29 == 28 { 80_000 } else { turn * 7919 % work.value_len_max };
            self.history.truncate(usize::try_from(seq).unwrap() - 1);
            self.history.push((self.handles, value_len));
            let level = levels[turn % levels.len()];
            let info = match log.commit(&Sink, &self.batch(seq, value_len), level) {
                Err(error) if error.kind() == ErrorKind::NoSpace => {
                    // Refused before the log was touched: with space again, the same handle goes on.
                    self.refusals += 1;
                    sim.faults().heal();
                    log.commit(&Sink, &self.batch(seq, value_len), level)?
                }
                outcome => outcome?,
            };
            assert_eq!(info.seq, seq);
            match level {
                Durability::Disk => (self.disk_upto, self.os_upto) = (seq, seq),
                Durability::Os => self.os_upto = seq,
                Durability::Memory => {}
            }
            if turn % 13 == 12 {
                log.sync(&Sink)?;
                (self.disk_upto, self.os_upto) = (seq, seq);
            }
            if turn % 31 == 30 {
                self.take_without_log(&log, sim)?;
            }
            if turn % 19 == 18 {
                // The data files may be ahead of the log: nothing was flushed there.
                self.flushed(log.last_seq());
                log.release(self.data_upto + 1)?;
            }
        }
        log.close(&Sink)?;
        (self.disk_upto, self.os_upto) = (log.last_seq(), log.last_seq());
        Ok(())
    }

    /// Something that is not logged takes a number: it is in the data files, and all before it.
    fn take_without_log(&mut self, log: &CommitLog, sim: &SimVfs) -> Result<()> {
        let before = log.last_seq();
        let taken = log.advance(&Sink, |seq| {
            self.history.truncate(usize::try_from(seq).unwrap() - 1);
            self.history.push((0, 0));
            self.flushed(seq);
            Ok(true)
        });
        match taken {
            Err(error) if error.kind() == ErrorKind::NoSpace => {
                assert_eq!((log.last_seq(), self.data_upto <= before), (before, true), "nothing happened");
                self.refusals += 1;
                sim.faults().heal();
            }
            taken => assert_eq!(taken?, Some(before + 1)),
        }
        Ok(())
    }

    /// The same world after a crash: only `Disk` commits survive, unless the system kept what it had.
    fn after(&self, policy: CrashPolicy) -> World {
        let mut world = self.clone();
        if !matches!(policy, CrashPolicy::KeepAll) {
            world.os_upto = world.disk_upto;
        }
        world
    }

    fn flushed(&mut self, upto: SeqNo) {
        self.data_upto = upto;
        self.disk_upto = self.disk_upto.max(upto);
        self.os_upto = self.os_upto.max(upto);
    }

    fn recover(&mut self, place: &LogPlace) -> Result<CommitLog> {
        let replay_from = self.data_upto + 1;
        let next = Cell::new(replay_from);
        let expected = Expected { is_new: !self.created, read_only: false, replay_from };
        let replayed = CommitLog::replay(place, expected, &mut |first_seq, ops, count| {
            assert_eq!(first_seq, next.get(), "no operation is skipped");
            for (seq, op) in (first_seq..).zip(ops) {
                self.check_op(seq, op.expect("the frame was whole"));
            }
            next.set(first_seq + count);
            Ok(())
        })?;
        assert_eq!(replayed.next_seq, next.get());
        let survived = replayed.next_seq - 1;
        let sure = self.os_upto;
        assert!(survived >= sure, "{survived} operations came back, {sure} were acknowledged");
        assert!(survived <= self.history.len() as u64);
        // What was lost is lost: later handles write these numbers anew.
        self.history.truncate(usize::try_from(survived).unwrap());
        self.disk_upto = self.disk_upto.min(survived);
        self.os_upto = self.os_upto.min(survived);
        self.flushed(survived);
        let log = CommitLog::start(place, replayed, WalOptions::for_budget(64 << 10))?;
        self.created = true;
        log.release(survived + 1)?;
        Ok(log)
    }
}

fn policies(seed: u64) -> impl Iterator<Item = CrashPolicy> {
    let tears = (0..16).map(move |tear| CrashPolicy::Tear { seed: seed * 16 + tear });
    [CrashPolicy::DropUnsynced, CrashPolicy::KeepAll].into_iter().chain(tears)
}

const WORK: Work = Work { commits: 150, value_len_max: 6000 };
const LITTLE: Work = Work { commits: 8, value_len_max: 300 };

/// Works until the power goes at I/O `step`; true if it went.
fn crashed(world: &mut World, sim: &Arc<SimVfs>, work: Work, step: u64) -> bool {
    sim.crash_at(sim.steps() + step);
    world.run(sim, work).is_err()
}

#[test]
fn power_may_go_at_any_call() {
    let mut images = 0;
    for step in 0.. {
        let (mut world, sim) = (World::default(), SimVfs::new(step));
        let gone = crashed(&mut world, &sim, WORK, step);
        for policy in policies(step) {
            let (mut world, image) = (world.after(policy), sim.crash(policy));
            world.run(&image, LITTLE).unwrap_or_else(|e| panic!("step {step}, {policy:?}: {e}"));
            world.run(&image, LITTLE).unwrap();
            images += 1;
        }
        if !gone {
            break;
        }
    }
    assert!(images > 500, "{images} images");
}

#[test]
fn power_may_go_again_while_recovering() {
    let mut images = 0;
    for first in (0..).step_by(41) {
        let (mut world, sim) = (World::default(), SimVfs::new(first));
        let gone = crashed(&mut world, &sim, WORK, first);
        for policy in policies(first).take(6) {
            for second in (0..).step_by(2) {
                let (mut world, image) = (world.after(policy), sim.crash(policy));
                let gone_again = crashed(&mut world, &image, LITTLE, second);
                for policy in policies(second).take(6) {
                    let (mut world, image) = (world.after(policy), image.crash(policy));
                    world
                        .run(&image, LITTLE)
                        .unwrap_or_else(|e| panic!("steps {first} and {second}, {policy:?}: {e}"));
                    images += 1;
                }
                if !gone_again {
                    break;
                }
            }
        }
        if !gone {
            break;
        }
    }
    assert!(images > 1000, "{images} images");
}

/// Opens again after a failure: the next process on the same machine, and after a crash.
fn recovers(world: &World, sim: &Arc<SimVfs>, what: &str) {
    for policy in policies(sim.steps()).take(6) {
        let (mut world, image) = (world.after(policy), sim.crash(policy));
        world.run(&image, LITTLE).unwrap_or_else(|e| panic!("{what}, {policy:?}: {e}"));
    }
    let mut world = world.clone();
    world.run(sim, LITTLE).unwrap_or_else(|e| panic!("{what}, reopened: {e}"));
    let image = sim.crash(CrashPolicy::DropUnsynced);
    world.run(&image, LITTLE).unwrap_or_else(|e| panic!("{what}, reopened, then without power: {e}"));
}

#[test]
fn any_call_may_fail_once() {
    let ops = [
        FaultOp::Read,
        FaultOp::Write,
        FaultOp::Resize,
        FaultOp::Sync,
        FaultOp::SyncDir,
        FaultOp::Create,
        FaultOp::Rename,
        FaultOp::Remove,
    ];
    let mut failures = 0;
    for op in ops {
        for nth in 0.. {
            let (mut world, sim) = (World::default(), SimVfs::new(nth));
            sim.faults().fail(op, nth, Repeat::Once);
            let outcome = world.run(&sim, WORK);
            sim.faults().heal();
            if outcome.is_ok() {
                break;
            }
            failures += 1;
            recovers(&world, &sim, &format!("{op:?} {nth} failed"));
        }
    }
    assert!(failures > 100, "{failures} failures");
}

#[test]
fn the_disk_may_be_full_at_any_size() {
    let mut refusals = 0;
    for bytes in (0..1_500_000).step_by(4999) {
        let (mut world, sim) = (World::default(), SimVfs::new(bytes));
        sim.faults().limit_space(bytes, Repeat::Forever);
        let outcome = world.run(&sim, WORK);
        sim.faults().heal();
        if let Err(error) = outcome {
            assert_eq!(error.kind(), ErrorKind::NoSpace, "full at {bytes} bytes");
            assert!(world.handles == 0, "a log that was started goes on once there is space");
        }
        refusals += world.refusals;
        recovers(&world, &sim, &format!("full at {bytes} bytes"));
    }
    assert!(refusals > 10, "{refusals} commits were refused");
}
