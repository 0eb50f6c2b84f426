//! Faults of the disk: every call of every kind fails once and for good, in every way there is; the disk fills up after
//! every budget of bytes; sectors go bad; bytes change, come from the past or go astray without a word. The error is
//! typed, nothing acknowledged is lost, not by a crash after the fault either, no read is wrong, no file is left behind,
//! nothing panics, and a handle that does not know its own state says so until it is opened again.
//! `src/faulty.rs` has one run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use kv_api::{Durability, ErrorKind, Event, EventListener, Kv, Result};
use kv_io::Env;
use kv_io::sim::{Effect, FaultOp, Repeat as Often, SimVfs};
use tests::crash::courses;
use tests::faulty::{Ground, Tally, Trouble};
use tests::share::{Repeat, by_share, is_whole, only_case, seeds, tell};
use tests::steps::Entries;
use tests::{Engine, Knobs, Lab, each_stored_engine};

each_stored_engine!(
    every_call_fails,
    every_call_finds_no_space,
    every_sync_loses_the_cache,
    every_budget_of_bytes,
    bad_sectors,
    bytes_that_change_on_their_way,
    a_failed_sync_poisons_and_reads_go_on,
    a_slow_sync_holds_up_no_reader,
    a_listener_may_close_a_poisoned_engine,
);

/// Runs every trouble that `troubles` makes of the ground of every course, and tells how much that was.
fn each_ground(
    engine: Engine,
    test: &'static str,
    troubles: impl Fn(&Ground) -> Result<Vec<Trouble>>,
) -> Result<Tally> {
    let mut total = Tally::default();
    let seeds = seeds(1, 1, 20);
    for course in courses::ALL.iter().filter(|course| only_case().is_none_or(|case| course.name == case)) {
        let mut part = Tally::default();
        for seed in &seeds {
            let test = format!("{}::{test}", engine.name());
            let _repeat = Repeat::new("faults", test, *seed).with_case(course.name);
            let ground = Ground::new(engine, course, *seed, by_share(12, 40, 60))?;
            for trouble in troubles(&ground)? {
                part += ground.run(&trouble);
            }
        }
        println!("{}, {}: {part}", engine.name(), course.name);
        total += part;
    }
    tell(&format!("{}, {test}: {total}", engine.name()));
    assert!(!is_whole() || total.hit > 20 && total.hit * 2 > total.runs, "hardly anything failed: {total}");
    Ok(total)
}

/// The n-th call of these kinds, for one n in `stride`.
fn calls(
    ground: &Ground,
    kinds: &[FaultOp],
    stride: usize,
    repeat: Often,
    effect: Effect,
) -> Result<Vec<Trouble>> {
    let calls = ground.calls()?.into_iter().filter(|(op, _)| kinds.contains(op));
    let each =
        |(op, calls)| (0..calls).step_by(stride).map(move |nth| Trouble::Call { op, nth, repeat, effect });
    Ok(calls.flat_map(each).collect())
}

/// An I/O error, once and from then on.
fn every_call_fails(engine: Engine) -> Result<()> {
    let total = each_ground(engine, "every_call_fails", |ground| {
        let mut troubles = Vec::new();
        for repeat in [Often::Once, Often::Forever] {
            troubles.extend(calls(ground, &FaultOp::ALL, by_share(31, 1, 1), repeat, Effect::Error)?);
        }
        Ok(troubles)
    })?;
    assert!(!is_whole() || total.told * 2 > total.hit, "hardly any error surfaced: {total}");
    Ok(())
}

fn every_call_finds_no_space(engine: Engine) -> Result<()> {
    let kinds = [FaultOp::Write, FaultOp::Resize, FaultOp::Create, FaultOp::Rename];
    each_ground(engine, "every_call_finds_no_space", |ground| {
        let mut troubles = Vec::new();
        for repeat in [Often::Once, Often::Forever] {
            troubles.extend(calls(ground, &kinds, by_share(23, 1, 1), repeat, Effect::NoSpace)?);
        }
        Ok(troubles)
    })?;
    Ok(())
}

/// A sync fails, and the page cache has the old bytes again. The other shape is in [`every_call_fails`].
fn every_sync_loses_the_cache(engine: Engine) -> Result<()> {
    each_ground(engine, "every_sync_loses_the_cache", |ground| {
        calls(ground, &[FaultOp::Sync], by_share(7, 1, 1), Often::Once, Effect::Revert)
    })?;
    Ok(())
}

/// The disk is full after so many bytes: for one call, until it is freed, or for good.
fn every_budget_of_bytes(engine: Engine) -> Result<()> {
    each_ground(engine, "every_budget_of_bytes", |_| {
        let rooms = (0..80_u64 << 10).step_by(by_share(20_011, 512, 256));
        let kinds = [(Often::Once, false), (Often::Forever, true), (Often::Forever, false)];
        Ok(rooms
            .flat_map(|room| kinds.map(|(repeat, heals)| Trouble::Full { room, repeat, heals }))
            .collect())
    })?;
    Ok(())
}

/// Every 512 bytes of every file cannot be read.
fn bad_sectors(engine: Engine) -> Result<()> {
    each_ground(engine, "bad_sectors", |ground| {
        let mut troubles = Vec::new();
        for (path, len) in ground.files()? {
            let starts = (0..len.min(32 << 10)).step_by(by_share(8192, 512, 512));
            troubles.extend(
                starts.map(|start| Trouble::Sectors { path: path.clone(), bytes: start..start + 512 }),
            );
        }
        Ok(troubles)
    })?;
    Ok(())
}

/// A bit that flips in flight, a read of old bytes, a write that goes astray: found or harmless.
fn bytes_that_change_on_their_way(engine: Engine) -> Result<()> {
    each_ground(engine, "bytes_that_change_on_their_way", |ground| {
        let mut troubles = Vec::new();
        let kinds = [
            (FaultOp::Read, Effect::Flip),
            (FaultOp::Write, Effect::Flip),
            (FaultOp::Read, Effect::Stale),
            (FaultOp::Write, Effect::Misdirect),
        ];
        for (op, effect) in kinds {
            troubles.extend(calls(ground, &[op], by_share(29, 1, 1), Often::Once, effect)?);
        }
        Ok(troubles)
    })?;
    Ok(())
}

/// Reads go on while a sync takes its time.
fn a_slow_sync_holds_up_no_reader(engine: Engine) -> Result<()> {
    let disk = SimVfs::new(1);
    let env = Env::real(Arc::clone(&disk) as Arc<dyn kv_io::Vfs>);
    let db = Lab::over(engine, Knobs::small().with_threads(2), env).open()?;
    db.put(b"before", b"1", Durability::Disk)?;
    disk.faults().inject(FaultOp::Sync, 0, Often::Once, Effect::Slow(Duration::from_millis(300)));
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| db.put(b"slow", b"2", Durability::Disk));
        let mut reads = 0;
        while !slow.is_finished() {
            assert_eq!(db.get(b"before")?.as_deref(), Some(&b"1"[..]));
            reads += 1;
        }
        assert!(reads > 100, "{reads} reads while a sync took 300 ms");
        slow.join().expect("no panic").map(drop)
    })
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
