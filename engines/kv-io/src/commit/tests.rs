//! Commits: order, levels and their syncs, groups, poison, closing.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;

use kv_api::Cause;

use super::*;
use crate::sim::{FaultOp, Repeat};
use crate::test_disk::TestDisk;

/// An engine that keeps the operations it was given.
#[derive(Default)]
struct Toy {
    applied: Mutex<Vec<SeqNo>>,
    groups: Mutex<Vec<usize>>,
    visible: AtomicU64,
    waits: AtomicUsize,
    admitted: AtomicUsize,
    poison: Mutex<Option<String>>,
    fail_apply: AtomicBool,
    panic_apply: AtomicBool,
}

impl Apply for Toy {
    fn admit(&self, _bytes: usize, _ops: usize) -> Result<()> {
        self.admitted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn prepare(&self, _bytes: usize, _ops: usize) -> Result<Room> {
        let waits = self.waits.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        Ok(if waits.is_ok() { Room::Wait } else { Room::Ready })
    }

    fn apply(&self, first_seq: SeqNo, batches: &[&Batch]) -> Result<()> {
        assert!(!self.panic_apply.load(Ordering::SeqCst), "a bug");
        if self.fail_apply.load(Ordering::SeqCst) {
            return Err(Error::corruption("page", 3, "bad"));
        }
        let ops: u64 = batches.iter().map(|batch| batch.len() as u64).sum();
        lock(&self.applied).extend(first_seq..first_seq + ops);
        lock(&self.groups).push(batches.len());
        Ok(())
    }

    fn publish(&self, last_seq: SeqNo) {
        assert!(self.visible.swap(last_seq, Ordering::SeqCst) < last_seq, "visibility goes forward");
    }

    fn poison(&self, error: &Error) {
        lock(&self.poison).get_or_insert(error.to_string());
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }
}

fn replayed(fs: &TestDisk, is_new: bool) -> (Replayed, Vec<SeqNo>) {
    read(fs, Expected { is_new, read_only: false, replay_from: 1 })
}

fn replayed_from(fs: &TestDisk, replay_from: SeqNo) -> (Replayed, Vec<SeqNo>) {
    read(fs, Expected { is_new: false, read_only: false, replay_from })
}

fn read(fs: &TestDisk, expected: Expected) -> (Replayed, Vec<SeqNo>) {
    let mut seqs = Vec::new();
    let replayed = CommitLog::replay(&fs.place, expected, &mut |first_seq, _, count| {
        seqs.extend(first_seq..first_seq + count);
        Ok(())
    });
    (replayed.unwrap(), seqs)
}

fn new_log(fs: &TestDisk) -> CommitLog {
    CommitLog::start(&fs.place, replayed(fs, true).0, WalOptions::for_budget(1 << 20)).unwrap()
}

fn batch(value_len: usize) -> Batch {
    let mut batch = Batch::new();
    batch.put(b"key", &vec![1; value_len]);
    batch
}

#[test]
fn each_level_costs_what_it_promises() {
    let (fs, toy) = (TestDisk::new(), Toy::default());
    let log = new_log(&fs);
    let counts = || (fs.counted(Cause::Wal).write_calls, fs.counted(Cause::Wal).sync_calls);
    let (writes, syncs) = counts();
    let commit = |level| log.commit(&toy, &batch(10), level).unwrap().seq;
    assert_eq!((commit(Durability::Memory), commit(Durability::Memory)), (1, 2));
    assert_eq!(counts(), (writes, syncs), "memory touches no file");
    assert_eq!(replayed(&fs, false).1, [0; 0]);
    assert_eq!(commit(Durability::Os), 3);
    assert_eq!(counts(), (writes + 1, syncs), "one write takes the waiting frames along");
    assert_eq!(replayed(&fs, false).1, [1, 2, 3]);
    assert_eq!(commit(Durability::Disk), 4);
    assert_eq!(counts(), (writes + 3, syncs + 1), "the frame and the witness");
    log.sync(&toy).unwrap();
    log.make_durable(&toy, 4).unwrap();
    assert_eq!(counts(), (writes + 3, syncs + 1), "nothing was left to sync");
    commit(Durability::Memory);
    log.flush_buffer(&toy).unwrap();
    assert_eq!(counts(), (writes + 4, syncs + 1));
    log.make_durable(&toy, 5).unwrap();
    assert_eq!(counts(), (writes + 5, syncs + 2), "the frame was out, so the witness alone");
    let empty = log.commit(&toy, &Batch::new(), Durability::Disk).unwrap();
    assert_eq!((empty.seq, counts()), (5, (writes + 5, syncs + 2)), "an empty batch does nothing");
    assert_eq!(*lock(&toy.applied), [1, 2, 3, 4, 5]);
    assert_eq!(log.frozen(&toy, |last| last).unwrap(), 5);
}

#[test]
fn the_buffer_of_memory_commits_is_bounded() {
    let (fs, toy) = (TestDisk::new(), Toy::default());
    let log = new_log(&fs);
    for _ in 0..400 {
        log.commit(&toy, &batch(1000), Durability::Memory).unwrap();
    }
    let (_, found) = replayed(&fs, false);
    assert!(found.len() > 100, "{} operations left the buffer", found.len());
    log.close(&toy).unwrap();
    let (end, found) = replayed(&fs, false);
    assert!(end.report.clean && found.len() == 400);
    assert_eq!(log.commit(&toy, &batch(1), Durability::Os).unwrap_err().kind(), ErrorKind::Closed);
    log.close(&toy).unwrap();
}

#[test]
fn groups_share_syncs_and_everyone_gets_an_answer() {
    const CALLERS: u64 = 8;
    const EACH: u64 = 200;
    let (fs, toy) = (TestDisk::new(), Toy::default());
    let log = new_log(&fs);
    let mut seqs: Vec<SeqNo> = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (log, toy) = (&log, &toy);
                scope.spawn(move || {
                    let level = if caller == 0 { Durability::Os } else { Durability::Disk };
                    let commit = |_| {
                        let seq = log.commit(toy, &batch(20), level).unwrap().seq;
                        assert!(toy.visible.load(Ordering::SeqCst) >= seq, "own writes are visible");
                        seq
                    };
                    (0..EACH).map(commit).collect::<Vec<_>>()
                })
            })
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=CALLERS * EACH).collect::<Vec<_>>(), "every batch has its own number");
    assert_eq!(*lock(&toy.applied), seqs, "applied in log order");
    assert_eq!(replayed(&fs, false).1, seqs);
    let groups = lock(&toy.groups).len() as u64;
    assert!(fs.counted(Cause::Wal).sync_calls <= groups + 10);
}

#[test]
fn callers_that_queue_behind_a_leader_share_one_sync() {
    let (fs, toy) = (TestDisk::new(), Toy::default());
    let log = new_log(&fs);
    let before = fs.counted(Cause::Wal);
    thread::scope(|scope| {
        log.held(|| {
            for _ in 0..5 {
                scope.spawn(|| log.commit(&toy, &batch(20), Durability::Disk).unwrap());
            }
            while log.queue.waiting() < 4 {
                thread::yield_now();
            }
        });
    });
    let after = fs.counted(Cause::Wal);
    assert_eq!(*lock(&toy.groups), [5]);
    assert_eq!(after.sync_calls - before.sync_calls, 1);
    assert_eq!(after.write_calls - before.write_calls, 2, "the frames and the witness");
}

#[test]
fn a_panic_in_the_engine_poisons_the_log() {
    for level in [Durability::Os, Durability::Disk] {
        let (fs, toy) = (TestDisk::new(), Toy::default());
        let log = new_log(&fs);
        toy.panic_apply.store(true, Ordering::SeqCst);
        let outcome = thread::scope(|scope| scope.spawn(|| log.commit(&toy, &batch(1), level)).join());
        assert!(outcome.is_err());
        let frozen = log.frozen(&toy, |_| panic!("what a commit left half done is never looked at"));
        assert_eq!(frozen.unwrap_err().kind(), ErrorKind::Poisoned);
        let error = log.commit(&toy, &batch(1), Durability::Disk).unwrap_err();
        assert!(error.to_string().contains("panicked half way"), "{error}");
        assert_eq!(log.close(&toy).unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(replayed(&fs, false).1, [1], "the frame was logged");
    }
}

#[test]
fn a_disk_commit_is_not_applied_before_its_sync() {
    let (fs, toy) = (TestDisk::new(), Toy::default());
    let log = new_log(&fs);
    fs.sim.faults().fail(FaultOp::Sync, 0, Repeat::Once);
    assert_eq!(log.commit(&toy, &batch(1), Durability::Disk).unwrap_err().kind(), ErrorKind::Io);
    assert!(lock(&toy.applied).is_empty() && toy.visible.load(Ordering::SeqCst) == 0);
}

#[test]
fn a_failed_write_or_sync_poisons_for_good() {
    for level in [Durability::Os, Durability::Disk] {
        let (fs, toy) = (TestDisk::new(), Toy::default());
        let log = new_log(&fs);
        log.commit(&toy, &batch(1), level).unwrap();
        let syncs = fs.counted(Cause::Wal).sync_calls;
        fs.sim.faults().fail(FaultOp::Write, 0, Repeat::Once);
        assert_eq!(log.commit(&toy, &batch(1), level).unwrap_err().kind(), ErrorKind::Io);
        assert!(lock(&toy.poison).is_some());
        let later = [
            log.commit(&toy, &batch(1), Durability::Memory).map(drop),
            log.commit(&toy, &batch(1), Durability::Disk).map(drop),
            log.sync(&toy),
            log.flush_buffer(&toy),
            log.close(&toy),
        ];
        for outcome in later {
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Poisoned);
        }
        assert_eq!(fs.counted(Cause::Wal).sync_calls, syncs, "nothing is synced after a failure");
    }
}

#[test]
fn every_waiter_of_a_failed_group_gets_an_error() {
    let (fs, toy) = (TestDisk::new(), Toy::default());
    let log = new_log(&fs);
    fs.sim.faults().fail(FaultOp::Sync, 4, Repeat::Once);
    let failed = thread::scope(|scope| {
        let callers: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    (0..50).filter(|_| log.commit(&toy, &batch(1), Durability::Disk).is_err()).count()
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).sum::<usize>()
    });
    let acked = lock(&toy.applied).len();
    assert_eq!(acked + failed, 300, "every caller was answered");
    assert!(acked >= 4 && failed > 0);
}

#[test]
fn a_full_disk_refuses_before_the_log_is_touched() {
    let (fs, toy) = (TestDisk::new(), Toy::default());
    let log = new_log(&fs);
    fs.fill();
    for level in [Durability::Memory, Durability::Os, Durability::Disk] {
        let error = log.commit(&toy, &batch(200_000), level).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{level}");
        log.commit(&toy, &batch(10), level).unwrap();
    }
    fs.sim.faults().heal();
    log.commit(&toy, &batch(200_000), Durability::Disk).unwrap();
    assert_eq!(replayed(&fs, false).1, [1, 2, 3, 4]);
}

#[test]
fn a_failed_apply_poisons_and_the_frame_is_there_after_reopening() {
    let (fs, toy) = (TestDisk::new(), Toy::default());
    let log = new_log(&fs);
    toy.fail_apply.store(true, Ordering::SeqCst);
    assert_eq!(log.commit(&toy, &batch(1), Durability::Os).unwrap_err().kind(), ErrorKind::Corruption);
    assert_eq!(log.commit(&toy, &batch(1), Durability::Os).unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(replayed(&fs, false).1, [1]);
}

#[test]
fn a_commit_without_room_is_admitted_again() {
    let (fs, toy) = (TestDisk::new(), Toy::default());
    let log = new_log(&fs);
    for level in [Durability::Os, Durability::Disk] {
        toy.waits.store(3, Ordering::SeqCst);
        let before = toy.admitted.load(Ordering::SeqCst);
        log.commit(&toy, &batch(1), level).unwrap();
        assert_eq!(toy.admitted.load(Ordering::SeqCst), before + 4);
    }
}

#[test]
fn a_reopened_log_goes_on_where_it_ended() {
    let (fs, toy) = (TestDisk::new(), Toy::default());
    let log = new_log(&fs);
    log.commit(&toy, &batch(1), Durability::Os).unwrap();
    drop(log);
    let (end, seqs) = replayed(&fs, false);
    assert_eq!(seqs, [1]);
    let log = CommitLog::start(&fs.place, end, WalOptions::for_budget(1 << 20)).unwrap();
    log.release(2).unwrap();
    // A segment of another handle is removed, not used again.
    assert_eq!(fs.names(), ["000002.wal"]);
    assert_eq!(log.commit(&toy, &batch(1), Durability::Os).unwrap().seq, 2);
    assert_eq!(log.log_bytes(), 40);
}

#[test]
fn segments_come_and_go_while_everyone_commits() {
    const CALLERS: u64 = 4;
    const EACH: u64 = 300;
    let (fs, toy) = (TestDisk::new(), Toy::default());
    let log = CommitLog::start(&fs.place, replayed(&fs, true).0, WalOptions::for_budget(64 << 10)).unwrap();
    let working = AtomicBool::new(true);
    let mut data_upto = 0;
    thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (log, toy) = (&log, &toy);
                let levels = [Durability::Memory, Durability::Os, Durability::Disk];
                scope.spawn(move || {
                    for turn in 0..EACH {
                        let level = levels[usize::try_from((turn + caller) % 3).unwrap()];
                        log.commit(toy, &batch(2000), level).unwrap();
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while working.load(Ordering::SeqCst) {
                data_upto = log.frozen(&toy, |last| last).unwrap();
                log.make_durable(&toy, data_upto).unwrap();
                log.release(data_upto + 1).unwrap();
            }
        });
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        working.store(false, Ordering::SeqCst);
    });
    log.close(&toy).unwrap();
    let all: Vec<_> = (1..=CALLERS * EACH).collect();
    assert_eq!(*lock(&toy.applied), all);
    let (end, found) = replayed_from(&fs, data_upto + 1);
    assert!(end.report.clean);
    assert_eq!(found, all[usize::try_from(data_upto).unwrap()..]);
    log.release(CALLERS * EACH + 1).unwrap();
    assert!(fs.names().len() <= 2, "the active segment and a spare: {:?}", fs.names());
    assert!(log.log_bytes() < 4096);
}
