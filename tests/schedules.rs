//! One order of threads after another: shuttle runs the engines' own threads and their callers one step at a time and
//! picks who goes next, at random and by PCT with three changes of priority (Burckhardt et al., "A Randomized Scheduler
//! with Probabilistic Guarantees of Finding Bugs", ASPLOS 2010). A wait that nobody ends is found as a deadlock, and no
//! wait ends by its time running out, so a lost wake-up cannot hide behind one.
//!
//! `cargo test -p tests --features shuttle --test schedules`; `KVLAB_TESTS=ci|long` tries more orders, `KVLAB_SEED=n` those
//! of one seed. What it cannot see: reorderings of relaxed atomics (all are taken as ordered), and steps inside of the
//! skip list, the swapped pointers and the channels of others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kv_api::{Durability, ErrorKind, KeyRange, Kv, KvRead, Result, ScanOptions};
use kv_io::sim::SimVfs;
use kv_io::{Env, Vfs};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, FailurePersistence, Runner, thread};
use tests::share::{Repeat, by_share, seeds, tell};
use tests::watch::{Moment, watched};
use tests::{Engine, Knobs, Lab, each_stored_engine};

each_stored_engine!(
    writers_beside_a_snapshot,
    a_close_while_others_write,
    a_handle_dropped_under_its_readers,
    a_panic_in_the_upkeep,
    a_panic_in_a_commit,
);

const WRITERS: u8 = 3;
const WRITES: u8 = 6;
const LEVELS: [Durability; 3] = [Durability::Disk, Durability::Os, Durability::Memory];

/// Runs `scenario` under many orders.
fn explore(engine: Engine, test: &'static str, scenario: fn(Engine) -> Result<()>) -> Result<()> {
    let orders = by_share(60, 1_100, 100_000);
    for seed in seeds(1, 1, 10) {
        let _repeat = Repeat::new("schedules", test, seed);
        let run = move || scenario(engine).expect("the scenario allows for every error that may come");
        let mut config = Config::new();
        config.stack_size = 1 << 20;
        // The seed repeats it; a schedule is a megabyte of text.
        config.failure_persistence = FailurePersistence::None;
        Runner::new(RandomScheduler::new_from_seed(seed, orders), config.clone()).run(run);
        Runner::new(PctScheduler::new_from_seed(seed, 3, orders), config).run(run);
        tell(&format!("schedules: {}: {test}: {} orders of seed {seed}", engine.name(), 2 * orders));
    }
    Ok(())
}

/// Settings under which few writes reach a flush, a merge or a checkpoint, with two threads of upkeep.
fn knobs() -> Knobs {
    Knobs { memtable_bytes: 1 << 10, l0_trigger: 1, ..Knobs::hostile().with_threads(2) }
}

fn lab(engine: Engine, vfs: Arc<dyn Vfs>) -> Lab {
    Lab::over(engine, knobs(), Env::simulated(vfs, 1))
}

fn open(lab: &Lab) -> Result<Arc<dyn Kv>> {
    lab.engine.open(&lab.env, lab.dir(), &lab.knobs)
}

fn key(writer: u8, n: u8) -> [u8; 2] {
    [writer, n]
}

fn level(writer: u8, n: u8) -> Durability {
    LEVELS[usize::from(writer + n) % LEVELS.len()]
}

/// Of so many acknowledged writes those that outlive the handle: behind the last one that was not at `memory` none is sure.
fn sure(writer: u8, acknowledged: u8) -> u8 {
    (0..acknowledged).rev().find(|n| level(writer, *n) != Durability::Memory).map_or(0, |n| n + 1)
}

/// Writes one key after another; returns how many were acknowledged before the first error, and that error's kind.
fn write_all(db: &dyn Kv, writer: u8) -> (u8, Option<ErrorKind>) {
    for n in 0..WRITES {
        if let Err(error) = db.put(&key(writer, n), &[writer; 300], level(writer, n)) {
            return (n, Some(error.kind()));
        }
    }
    (WRITES, None)
}

fn spawn_writers(db: &Arc<dyn Kv>) -> Vec<thread::JoinHandle<(u8, Option<ErrorKind>)>> {
    (0..WRITERS)
        .map(|writer| {
            let db = Arc::clone(db);
            thread::spawn(move || write_all(&*db, writer))
        })
        .collect()
}

/// How many writes of each writer a reader sees: each writer's must be a prefix.
fn seen(reader: &(impl KvRead + ?Sized)) -> Result<[u8; WRITERS as usize]> {
    let mut seen = [0; WRITERS as usize];
    let mut scan = reader.scan(KeyRange::ALL, ScanOptions::FORWARD)?;
    while let Some(entry) = scan.next()? {
        let [writer, n] = *entry.key else { panic!("a key nobody wrote: {:x?}", entry.key) };
        assert_eq!(entry.value, [writer; 300], "the value of write {n} of writer {writer}");
        let count = &mut seen[usize::from(writer)];
        assert_eq!(*count, n, "writer {writer}: a write is missing before write {n}");
        *count += 1;
    }
    Ok(seen)
}

/// Opens what a handle left and looks for so many writes of each writer.
fn assert_kept(lab: &Lab, least: &[u8]) -> Result<()> {
    let db = lab.engine.open(&lab.env, lab.dir(), &Knobs::hostile())?;
    for (found, least) in seen(&*db)?.iter().zip(least) {
        assert!(found >= least, "{least} writes were acknowledged, {found} are there");
    }
    assert!(db.verify()?.is_sound());
    db.close()
}

fn writers_beside_a_snapshot(engine: Engine) -> Result<()> {
    explore(engine, "writers_beside_a_snapshot", |engine| {
        let lab = lab(engine, SimVfs::new(1));
        let db = open(&lab)?;
        let writers = spawn_writers(&db);
        let snapshot = db.snapshot()?;
        let first = seen(&*snapshot)?;
        let now = seen(&*db)?;
        assert!(first.iter().zip(now).all(|(first, now)| *first <= now), "a later read sees less");
        db.flush()?;
        for writer in writers {
            assert_eq!(writer.join().expect("no writer panics"), (WRITES, None));
        }
        assert_eq!(seen(&*snapshot)?, first, "a snapshot changed");
        drop(snapshot);
        assert_eq!(seen(&*db)?, [WRITES; WRITERS as usize]);
        db.close()?;
        assert_kept(&lab, &[WRITES; WRITERS as usize])
    })
}

fn a_close_while_others_write(engine: Engine) -> Result<()> {
    explore(engine, "a_close_while_others_write", |engine| {
        let lab = lab(engine, SimVfs::new(1));
        let db = open(&lab)?;
        let writers = spawn_writers(&db);
        let snapshot = db.snapshot()?;
        db.close()?;
        assert_eq!(snapshot.get(b"any").map_err(|error| error.kind()), Err(ErrorKind::Closed));
        let mut acknowledged = Vec::new();
        for writer in writers {
            let (count, error) = writer.join().expect("no writer panics");
            assert!(matches!(error, None | Some(ErrorKind::Closed)), "{error:?}");
            acknowledged.push(count);
        }
        assert_kept(&lab, &acknowledged)
    })
}

fn a_handle_dropped_under_its_readers(engine: Engine) -> Result<()> {
    explore(engine, "a_handle_dropped_under_its_readers", |engine| {
        let lab = lab(engine, SimVfs::new(1));
        let db = open(&lab)?;
        let writers = spawn_writers(&db);
        let snapshot = db.snapshot()?;
        let reader = thread::spawn(move || match seen(&*snapshot) {
            Ok(_) => None,
            Err(error) => Some(error.kind()),
        });
        // Whoever is last stops the upkeep, on its own thread.
        drop(db);
        let error = reader.join().expect("no reader panics");
        assert!(matches!(error, None | Some(ErrorKind::Closed)), "{error:?}");
        for writer in writers {
            assert_eq!(writer.join().expect("no writer panics"), (WRITES, None));
        }
        // What only the process held at `memory` may be gone with the handle: a drop is no close.
        let sure: Vec<u8> = (0..WRITERS).map(|writer| sure(writer, WRITES)).collect();
        assert_kept(&lab, &sure)
    })
}

/// A disk that makes whoever touches it panic, once `armed` and if `wanted`.
fn panicking(armed: &Arc<AtomicBool>, wanted: fn(&Moment<'_>) -> bool) -> (Arc<SimVfs>, Arc<dyn Vfs>) {
    let (disk, armed) = (SimVfs::new(1), Arc::clone(armed));
    let vfs = watched(
        Arc::clone(&disk) as Arc<dyn Vfs>,
        Arc::new(move |moment| {
            if wanted(&moment) && armed.swap(false, Ordering::SeqCst) {
                // Not `panic!`: its message would fill the output of every order.
                std::panic::resume_unwind(Box::new("injected"));
            }
        }),
    );
    (disk, vfs)
}

fn is_data(moment: &Moment<'_>) -> bool {
    matches!(moment, Moment::Write { path, .. } if path.extension().is_some_and(|kind| kind != "wal"))
}

fn is_log(moment: &Moment<'_>) -> bool {
    matches!(moment, Moment::Write { path, .. } if path.extension().is_some_and(|kind| kind == "wal"))
}

/// Orders in which a panic was met.
static HURT: AtomicU64 = AtomicU64::new(0);

/// The database is poisoned, everyone comes back with a typed error, and what was acknowledged at `disk` and `os` is there.
fn after_a_panic(engine: Engine, wanted: fn(&Moment<'_>) -> bool) -> Result<()> {
    let armed = Arc::new(AtomicBool::new(false));
    let (disk, vfs) = panicking(&armed, wanted);
    let hurt = lab(engine, vfs);
    let db = open(&hurt)?;
    armed.store(true, Ordering::SeqCst);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let db = Arc::clone(&db);
            thread::spawn(move || {
                // The panic may come to the caller itself.
                let written = catch_unwind(AssertUnwindSafe(|| write_all(&*db, writer)));
                let (count, error) = written.unwrap_or((0, None));
                assert!(matches!(error, None | Some(ErrorKind::Poisoned)), "{error:?}");
                sure(writer, count)
            })
        })
        .collect();
    // The panic may come to this caller, too.
    let _ = catch_unwind(AssertUnwindSafe(|| db.flush()));
    let sure: Vec<u8> =
        writers.into_iter().map(|writer| writer.join().expect("the panic was caught")).collect();
    let is_hurt = !armed.load(Ordering::SeqCst);
    HURT.fetch_add(u64::from(is_hurt), Ordering::Relaxed);
    if is_hurt {
        let after = db.put(b"zz", b"", Durability::Memory).map_err(|error| error.kind());
        assert_eq!(after.map(drop), Err(ErrorKind::Poisoned), "a write after the panic");
    }
    armed.store(false, Ordering::SeqCst);
    drop(db);
    assert_kept(&lab(engine, disk), &sure)
}

fn a_panic_in_the_upkeep(engine: Engine) -> Result<()> {
    let before = HURT.load(Ordering::Relaxed);
    explore(engine, "a_panic_in_the_upkeep", |engine| after_a_panic(engine, is_data))?;
    assert!(HURT.load(Ordering::Relaxed) > before, "no order met the panic");
    Ok(())
}

fn a_panic_in_a_commit(engine: Engine) -> Result<()> {
    let before = HURT.load(Ordering::Relaxed);
    explore(engine, "a_panic_in_a_commit", |engine| after_a_panic(engine, is_log))?;
    assert!(HURT.load(Ordering::Relaxed) > before, "no order met the panic");
    Ok(())
}
