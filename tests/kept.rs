//! One database that lives through many kills: threads write numbered operations to it from a process of their own, which
//! is killed a few milliseconds after the first one is acknowledged; the next process goes on where it ended.
//!
//! Each thread writes one batch per operation: a put or a delete of one of its keys, and the number. So what a thread's
//! keys must hold follows from its number alone, and a batch that is there in part shows. Acknowledged numbers go to a
//! file per thread, which outlives the process; the number found must be the last of these or the one after it. At
//! `memory` it may be lower, but never lower than what an earlier life of the database was found with.
//!
//! `KVLAB_TESTS=quick|ci|long` kills each engine 3, 50 or 300 times.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kv_api::{Batch, Durability, Kv, Result};
use kv_io::Env;
use tests::share::{by_share, tell};
use tests::{Engine, Knobs, Map, Rng, check, each_stored_engine};

each_stored_engine!(killed_again_and_again);

/// Most threads that write.
const THREADS: u64 = 4;
/// Keys of each thread.
const KEYS: u64 = 150;
/// What tells a process that it is the one to be killed: engine, level, threads, seed and directory.
const ROLE: &str = "KVLAB_KEPT_ROLE";

/// What operation `n` of a thread does to its key: `None` is a delete.
fn effect(thread: u64, n: u64) -> Option<Vec<u8>> {
    let len = if n.is_multiple_of(61) { 7_000 } else { usize::try_from(n * 37 % 300).expect("small") };
    (!n.is_multiple_of(7)).then(|| [format!("{thread}.{n}.").as_bytes(), &vec![b'v'; len]].concat())
}

fn key(thread: u64, n: u64) -> Vec<u8> {
    format!("{thread}/{:04}", n % KEYS).into_bytes()
}

fn number_key(thread: u64) -> Vec<u8> {
    format!("{thread}/number").into_bytes()
}

/// What the keys of a thread hold after `last` operations.
fn state(thread: u64, last: u64) -> Map {
    let mut map = Map::new();
    for n in last.saturating_sub(KEYS - 1).max(1)..=last {
        if let Some(value) = effect(thread, n) {
            map.insert(key(thread, n), value);
        }
    }
    if last > 0 {
        map.insert(number_key(thread), last.to_le_bytes().to_vec());
    }
    map
}

/// The number of the last operation of a thread that `map` holds.
fn number(map: &Map, thread: u64) -> u64 {
    let bytes = map.get(&number_key(thread));
    bytes.map_or(0, |bytes| u64::from_le_bytes(bytes.as_slice().try_into().expect("8 bytes")))
}

/// The file to which a thread notes what was acknowledged.
fn acks_file(dir: &Path, thread: u64) -> PathBuf {
    dir.join(format!("acks-{thread}"))
}

/// The last number acknowledged to a thread.
fn acknowledged(dir: &Path, thread: u64) -> u64 {
    let bytes = std::fs::read(acks_file(dir, thread)).unwrap_or_default();
    bytes.chunks_exact(8).last().map_or(0, |word| u64::from_le_bytes(word.try_into().expect("8 bytes")))
}

/// The settings of one life: half of them keep upkeep on threads of its own.
fn knobs(seed: u64) -> Knobs {
    // A database has one page size for good, so the page is the same in all lives.
    let knobs =
        if seed.is_multiple_of(3) { Knobs { page_bytes: 512, ..Knobs::small() } } else { Knobs::hostile() };
    if seed.is_multiple_of(2) { knobs.with_threads(1) } else { knobs }
}

/// The process that is killed. A plain test run passes it by: there it has no role.
#[test]
fn writes_until_it_is_killed() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let words: Vec<&str> = role.splitn(5, ' ').collect();
    let engine = Engine::STORED.into_iter().find(|engine| engine.name() == words[0]).expect("an engine");
    let level = words[1].parse::<Durability>().expect("a level");
    let (threads, seed) = (words[2].parse::<u64>().expect("a number"), words[3].parse().expect("a number"));
    let dir = Path::new(words[4]);
    let db = engine.open(&Env::os(), &dir.join("db"), &knobs(seed)).expect("opens");
    let found = check::contents(&*db).expect("reads");
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (db, first) = (&db, number(&found, thread) + 1);
            scope.spawn(move || write(&**db, thread, first, level, dir));
        }
    });
}

/// Writes operations from `first` on, for ever.
fn write(db: &dyn Kv, thread: u64, first: u64, level: Durability, dir: &Path) {
    let mut acks = OpenOptions::new().append(true).create(true).open(acks_file(dir, thread)).expect("opens");
    for n in first.. {
        let mut batch = Batch::new();
        match effect(thread, n) {
            Some(value) => batch.put(&key(thread, n), &value),
            None => batch.delete(&key(thread, n)),
        };
        batch.put(&number_key(thread), &n.to_le_bytes());
        db.write(&batch, level).expect("writes");
        acks.write_all(&n.to_le_bytes()).expect("notes");
    }
}

/// Starts this very test program in the role of the process that is killed.
fn start(engine: Engine, level: Durability, threads: u64, seed: u64, dir: &Path) -> Child {
    let role = format!("{} {level} {threads} {seed} {}", engine.name(), dir.display());
    Command::new(std::env::current_exe().expect("it runs"))
        .args(["--exact", "writes_until_it_is_killed", "--nocapture"])
        .env(ROLE, role)
        .stdout(Stdio::null())
        .stderr(File::create(dir.join("stderr")).expect("creates"))
        .spawn()
        .expect("starts")
}

/// Bytes of acks so far.
fn acks_bytes(dir: &Path) -> u64 {
    (0..THREADS).map(|thread| acks_file(dir, thread).metadata().map_or(0, |file| file.len())).sum()
}

/// Waits for the first ack of this life, and then for as long as `after` says.
fn wait(child: &mut Child, dir: &Path, before: u64, after: Duration) {
    let started = Instant::now();
    while acks_bytes(dir) == before {
        let ended = child.try_wait().expect("waits");
        let said = || std::fs::read_to_string(dir.join("stderr")).unwrap_or_default();
        assert!(ended.is_none(), "it ended by itself: {}", said());
        assert!(started.elapsed() < Duration::from_secs(120), "nothing is acknowledged: {}", said());
        std::thread::sleep(Duration::from_micros(200));
    }
    std::thread::sleep(after);
}

fn killed_again_and_again(engine: Engine) -> Result<()> {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let dir = temporary.path();
    let mut rng = Rng::new(1);
    let mut numbers = [0; THREADS as usize];
    let kills = by_share(3, 50, 300);
    for kill in 0..kills {
        let level = *rng.pick(&[Durability::Disk, Durability::Disk, Durability::Os, Durability::Memory]);
        let threads = 1 + kill % THREADS;
        let after = Duration::from_micros(1_000 + rng.below(49_000) as u64);
        let context = format!("{}, kill {kill} at {level}, {threads} threads, {after:?}", engine.name());
        let before = acks_bytes(dir);
        let mut child = start(engine, level, threads, kill, dir);
        wait(&mut child, dir, before, after);
        child.kill().expect("kills");
        child.wait().expect("waits");
        numbers = look(engine, level, kill, dir, numbers, &context)?;
        // The next life goes on from what was found, so what is beyond it was never acknowledged.
        for thread in 0..THREADS {
            let bytes = numbers[usize::try_from(thread).expect("small")].to_le_bytes();
            std::fs::write(acks_file(dir, thread), bytes).expect("writes");
        }
    }
    let total: u64 = numbers.iter().sum();
    tell(&format!(
        "{}, kept: {kills} kills of one database, {total} operations in it, 0 lost",
        engine.name()
    ));
    Ok(())
}

/// Reads what the kill left, without changing it, and compares. Returns the number of each thread.
fn look(
    engine: Engine,
    level: Durability,
    kill: u64,
    dir: &Path,
    before: [u64; THREADS as usize],
    context: &str,
) -> Result<[u64; THREADS as usize]> {
    let mut knobs = knobs(kill);
    (knobs.common.read_only, knobs.common.create) = (true, false);
    let db = engine.open(&Env::os(), &dir.join("db"), &knobs)?;
    let report = db.verify()?;
    assert!(report.is_sound(), "{context}: {report:?}");
    let found = check::contents(&*db)?;
    let mut expected = Map::new();
    let mut numbers = before;
    for (thread, number_now) in (0..THREADS).zip(&mut numbers) {
        let (last, acked) = (number(&found, thread), acknowledged(dir, thread));
        let least = if level == Durability::Memory { *number_now } else { acked };
        assert!(
            (least..=acked + 1).contains(&last),
            "{context}: thread {thread} was acknowledged {acked}, and {last} is there; at least {least} must be"
        );
        *number_now = last;
        expected.extend(state(thread, last));
    }
    assert!(found == expected, "{context}: its operations are not what follows from the numbers {numbers:?}");
    Ok(numbers)
}
