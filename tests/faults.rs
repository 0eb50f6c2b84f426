//! Faults of the disk: every read, write, sync and name change fails once, one run each; the disk fills up after
//! every budget of bytes. The error is typed, nothing acknowledged is lost, no read is wrong, nothing panics,
//! and a handle that does not know its own state says so until it is opened again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use kv_api::{Durability, Error, ErrorKind, Event, EventListener, Kv, Result};
use kv_io::Env;
use kv_io::sim::{CrashPolicy, FaultOp, Repeat as Often, SimVfs};
use tests::driver::unless_unsupported;
use tests::share::{Repeat, by_share, seeds};
use tests::steps::{Entries, Mix, Step, Steps};
use tests::{Checked, Engine, Knobs, Lab, Map, check, each_stored_engine, map};

each_stored_engine!(
    a_failed_write_or_sync,
    a_failed_name_change_or_resize,
    a_failed_read,
    a_full_disk_that_is_freed_again,
    a_disk_that_stays_full,
    a_failed_sync_poisons_and_reads_go_on,
    a_listener_may_close_a_poisoned_engine,
);

/// What is known of the contents while calls fail.
struct Known {
    /// What every acknowledged write leads to.
    map: Map,
    /// What it would be with the write that failed, if its outcome is unknown.
    with_failed: Option<Map>,
}

impl Known {
    /// Stops the test unless `found` is one of what it may be.
    fn allows(&self, found: &Map, context: &str) {
        let whole = self.with_failed.as_ref().is_some_and(|map| map == found);
        let missing = self.map.iter().find(|(key, value)| found.get(*key) != Some(value));
        assert!(
            whole || *found == self.map,
            "{context}: acknowledged writes are lost or a failed one is there in part: {} entries, expected {}, first \
             difference at {:?}",
            found.len(),
            self.map.len(),
            missing.map(|(key, _)| key.escape_ascii().to_string()),
        );
    }
}

fn steps_for(db: &Checked, seed: u64, count: usize) -> Vec<Step> {
    let limits = db.limits();
    let mix = Mix {
        keys: 60,
        key_bytes_max: limits.key_bytes_max.min(100),
        value_bytes_max: limits.value_bytes_max.min(3000),
        batch_bytes_max: limits.batch_bytes_max,
        snapshots: 0,
        scans: 0,
        reopen_one_in: 0,
        reads: true,
        levels: false,
        batch_ops_max: 12,
        rest_one_in: 1,
    };
    Steps::new(seed, mix).take(count).collect()
}

/// Does one step; on an error of a write notes both outcomes.
fn step(db: &Checked, step: &Step, known: &mut Known) -> Result<()> {
    match step {
        Step::Write(batch, level) => {
            let mut next = known.map.clone();
            map::apply(&mut next, batch);
            match db.write(batch, *level) {
                Ok(_) => known.map = next,
                Err(error) => {
                    known.with_failed = outcome_is_unknown(&error).then_some(next);
                    return Err(error);
                }
            }
        }
        Step::Ingest(entries) => {
            let mut next = known.map.clone();
            next.extend(entries.iter().cloned());
            match db.ingest(&mut Entries::new(entries)) {
                Ok(_) => known.map = next,
                Err(error) => {
                    known.with_failed = Some(next);
                    return Err(error);
                }
            }
        }
        Step::Sync => db.sync()?,
        Step::Flush => db.flush()?,
        Step::Settle => drop(db.settle(std::time::Duration::from_secs(1))?),
        Step::Compact(range) => unless_unsupported(db.compact(range.as_range()).map(|_| ()))?,
        Step::Get(keys) => {
            for key in keys {
                let found = db.get(key)?;
                let expected = known.map.get(key).map(Vec::as_slice);
                assert_eq!(found.as_deref(), expected, "a wrong read of {}", key.escape_ascii());
            }
        }
        Step::Scan { range, direction, .. } => {
            let found =
                check::rest(&mut *db.scan(range.as_range(), kv_api::ScanOptions { direction: *direction })?)?;
            let inside = known.map.iter().filter(|(key, _)| map::contains(range.as_range(), key));
            let mut expected: Vec<_> = inside.map(|(key, value)| (key.clone(), value.clone())).collect();
            if *direction == kv_api::Direction::Reverse {
                expected.reverse();
            }
            assert!(found == expected, "a wrong scan");
        }
        _ => {}
    }
    Ok(())
}

/// A full disk before the commit point means that nothing happened; the same goes for what was refused.
fn outcome_is_unknown(error: &Error) -> bool {
    !matches!(error.kind(), ErrorKind::NoSpace)
}

/// Stops the test unless the error is one that a failing disk may lead to, and says something.
fn check_error(error: &Error, context: &str) {
    let typed = [ErrorKind::Io, ErrorKind::NoSpace, ErrorKind::Poisoned, ErrorKind::Corruption];
    assert!(typed.contains(&error.kind()), "{context}: {:?}: {error}", error.kind());
    assert!(error.to_string().len() > 20, "{context}: {error}");
}

/// Lets the `nth` call of a kind fail and goes on to the end: open, steps, close. False if it never came to that.
fn one_fault(engine: Engine, knobs: &Knobs, seed: u64, op: FaultOp, nth: u64) -> Result<bool> {
    let context = format!("{op:?} number {nth} fails, seed {seed}");
    let disk = SimVfs::new(seed);
    let lab =
        Lab::over(engine, knobs.clone(), Env::simulated(Arc::clone(&disk) as Arc<dyn kv_io::Vfs>, seed));
    let mut known = Known { map: Map::new(), with_failed: None };
    let mut met = false;
    // Something to open, so that the fault may also hit a recovery.
    {
        let db = lab.open()?;
        for one in steps_for(&db, !seed, 25) {
            step(&db, &one, &mut known)?;
        }
    }
    disk.faults().fail(op, nth, Often::Once);
    let attempt = catch_unwind(AssertUnwindSafe(|| -> Result<()> {
        let db = lab.open()?;
        for one in steps_for(&db, seed, 60) {
            if let Err(error) = step(&db, &one, &mut known) {
                check_error(&error, &context);
                // What can still be read is right.
                match check::contents(&*db) {
                    Ok(found) => {
                        let whole = known.with_failed.as_ref() == Some(&found);
                        let verdict = if whole { "a failed write is visible" } else { "a read is wrong" };
                        assert!(found == known.map, "{context}: {verdict}, after {error}, in {one:?}");
                    }
                    Err(error) => check_error(&error, &context),
                }
                return Err(error);
            }
        }
        db.close()
    }));
    let outcome = attempt.unwrap_or_else(|_| panic!("{context}: panicked"));
    if let Err(error) = outcome {
        check_error(&error, &context);
        met = true;
    }
    disk.faults().heal();
    let db = lab.open().unwrap_or_else(|error| panic!("{context}, healed: {error}"));
    let found = check::contents(&*db)?;
    known.allows(&found, &context);
    db.verify_now();
    drop(db);
    power_cut(&lab, &disk, &found, &context);
    lab.open()?.put(b"after", b"the fault", Durability::Disk)?;
    Ok(met)
}

/// What could be read after an opening does not rest on what a failed sync left in the page cache: a power cut now takes
/// none of it.
fn power_cut(lab: &Lab, disk: &SimVfs, found: &Map, context: &str) {
    for policy in [CrashPolicy::DropUnsynced, CrashPolicy::Tear { seed: 7 }] {
        let image = disk.crash(policy) as Arc<dyn kv_io::Vfs>;
        let after = Lab::over(lab.engine, lab.knobs.clone(), Env::simulated(image, 1));
        let read = after.open().and_then(|db| check::contents(&*db));
        let read = read.unwrap_or_else(|error| panic!("{context}, healed, opened, {policy:?}: {error}"));
        assert!(read == *found, "{context}: what was read after the opening is lost by {policy:?}");
    }
}

/// Fails the n-th call of these kinds for every n until the run comes through often enough without an error.
fn every_fault(engine: Engine, test: &'static str, kinds: &[FaultOp], stride: u64) -> Result<()> {
    for seed in seeds(1, 4, 100) {
        let _repeat = Repeat::new("faults", test, seed);
        for op in kinds {
            let mut quiet = 0;
            let mut errors = 0;
            let mut nth = 0;
            // Some calls may fail without harm (a removal, say): the end is near only after many of them.
            while quiet < 12 && nth < 4000 {
                let met = one_fault(engine, &Knobs::hostile(), seed, *op, nth)?;
                quiet = if met { 0 } else { quiet + 1 };
                errors += u64::from(met);
                nth += stride;
            }
            println!("{test}, seed {seed}: {op:?} failed at {errors} places");
        }
    }
    Ok(())
}

fn a_failed_write_or_sync(engine: Engine) -> Result<()> {
    every_fault(engine, "a_failed_write", &[FaultOp::Write, FaultOp::Sync], by_share(3, 1, 1))
}

fn a_failed_name_change_or_resize(engine: Engine) -> Result<()> {
    let kinds = [FaultOp::Create, FaultOp::Rename, FaultOp::Remove, FaultOp::SyncDir, FaultOp::Resize];
    every_fault(engine, "a_failed_name", &kinds, by_share(2, 1, 1))
}

fn a_failed_read(engine: Engine) -> Result<()> {
    every_fault(engine, "a_failed_read", &[FaultOp::Read], by_share(11, 1, 1))
}

/// Runs into a limit of space. If the space comes back, so does the handle, unless it says that it is poisoned.
fn full_disk(engine: Engine, seed: u64, room: u64, heals: bool) -> Result<()> {
    let context = format!("a disk with room for {room} more bytes, seed {seed}");
    let disk = SimVfs::new(seed);
    let lab =
        Lab::over(engine, Knobs::hostile(), Env::simulated(Arc::clone(&disk) as Arc<dyn kv_io::Vfs>, seed));
    let mut known = Known { map: Map::new(), with_failed: None };
    let db = lab.open()?;
    disk.faults().limit_space(disk.used_bytes() + room, Often::Forever);
    let mut refusals = 0;
    for one in steps_for(&db, seed, 250) {
        let result = catch_unwind(AssertUnwindSafe(|| step(&db, &one, &mut known)));
        match result.unwrap_or_else(|_| panic!("{context}: panicked")) {
            Ok(()) => {}
            Err(error) => {
                check_error(&error, &context);
                refusals += 1;
                if error.kind() == ErrorKind::Poisoned || refusals > 20 {
                    break;
                }
                if heals && refusals == 5 {
                    disk.faults().heal();
                }
            }
        }
    }
    if known.with_failed.is_none() {
        let found = check::contents(&*db)?;
        assert!(found == known.map, "{context}: a read is wrong");
    }
    drop(db);
    disk.faults().heal();
    let db = lab.open().unwrap_or_else(|error| panic!("{context}, healed: {error}"));
    known.allows(&check::contents(&*db)?, &context);
    db.put(b"after", b"the fault", Durability::Disk)?;
    db.flush()
}

fn a_full_disk_that_is_freed_again(engine: Engine) -> Result<()> {
    for seed in seeds(1, 4, 100) {
        let _repeat = Repeat::new("faults", "a_full_disk", seed);
        for room in (0..200_000).step_by(by_share(7_919, 1_021, 101)) {
            full_disk(engine, seed, room, true)?;
        }
    }
    Ok(())
}

fn a_disk_that_stays_full(engine: Engine) -> Result<()> {
    for seed in seeds(1, 4, 100) {
        let _repeat = Repeat::new("faults", "a_disk_that_stays_full", seed);
        for room in (0..200_000).step_by(by_share(7_919, 1_021, 101)) {
            full_disk(engine, seed, room, false)?;
        }
    }
    Ok(())
}

fn a_failed_sync_poisons_and_reads_go_on(engine: Engine) -> Result<()> {
    let disk = SimVfs::new(1);
    let lab = Lab::over(engine, Knobs::small(), Env::simulated(Arc::clone(&disk) as Arc<dyn kv_io::Vfs>, 1));
    let db = lab.open()?;
    db.put(b"before", b"1", Durability::Disk)?;
    disk.faults().fail(FaultOp::Sync, 0, Often::Once);
    let first = db.put(b"failed", b"2", Durability::Disk).expect_err("its sync failed");
    assert!(matches!(first.kind(), ErrorKind::Io | ErrorKind::Poisoned), "{first}");
    // The disk is well again, and still the handle must not go on: nobody knows what the log holds.
    for error in [
        db.put(b"later", b"3", Durability::Memory).map(drop).expect_err("poisoned"),
        db.sync().expect_err("poisoned"),
        db.flush().expect_err("poisoned"),
        db.ingest(&mut Entries::new(&[])).map(drop).expect_err("poisoned"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Poisoned, "{error}");
        assert!(error.to_string().contains("reopen"), "{error}");
    }
    assert_eq!(db.get(b"before")?.as_deref(), Some(&b"1"[..]));
    assert!(db.get(b"failed")?.is_none() && db.get(b"later")?.is_none(), "a failed write is never visible");
    drop(db);
    let db = lab.open()?;
    assert_eq!(db.get(b"before")?.as_deref(), Some(&b"1"[..]));
    assert!(db.get(b"later")?.is_none());
    db.put(b"later", b"4", Durability::Disk)?;
    Ok(())
}

/// Closes its engine as soon as that is poisoned: listeners are called outside all locks.
struct Closer {
    db: Mutex<Weak<dyn Kv>>,
    closed: AtomicBool,
}

impl EventListener for Closer {
    fn on_event(&self, event: &Event) {
        if let Event::Poisoned { .. } = event {
            let db = self.db.lock().unwrap().upgrade().expect("open while it is used");
            // The commit that failed may not be durable, which `close` says.
            let _ = db.close();
            self.closed.store(true, Ordering::SeqCst);
        }
    }
}

fn a_listener_may_close_a_poisoned_engine(engine: Engine) -> Result<()> {
    for op in [FaultOp::Sync, FaultOp::Write] {
        let disk = SimVfs::new(1);
        let env = Env::simulated(Arc::clone(&disk) as Arc<dyn kv_io::Vfs>, 1);
        let lab = Lab::over(engine, Knobs::small(), env);
        let db = lab.open()?;
        let closer =
            Arc::new(Closer { db: Mutex::new(Arc::downgrade(db.kv())), closed: AtomicBool::new(false) });
        db.subscribe(Arc::clone(&closer) as Arc<dyn EventListener>);
        db.put(b"before", b"1", Durability::Disk)?;
        disk.faults().fail(op, 0, Often::Once);
        db.put(b"failed", b"2", Durability::Disk).expect_err("a call of it failed");
        assert!(closer.closed.load(Ordering::SeqCst), "{op:?}: it is told before the caller has its answer");
        assert_eq!(db.get(b"before").unwrap_err().kind(), ErrorKind::Closed, "{op:?}");
        drop(db);
        assert_eq!(lab.open()?.get(b"before")?.as_deref(), Some(&b"1"[..]), "{op:?}");
    }
    Ok(())
}
