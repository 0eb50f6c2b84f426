//! Histories: eight threads at once, upkeep on two more. What each operation gave, with the time of its call and of its
//! return, must be what one thread could have seen: gets and puts of a key are linearizable, a snapshot and a scan see
//! whole commits alone, and nothing that was acknowledged before they began is missing from them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use kv_api::{Batch, Durability, KeyRange, Result, ScanOptions};
use tests::linear::{Content, Op, What, is_linearizable};
use tests::share::{Repeat, by_share, seeds, tell};
use tests::{Checked, Engine, Knobs, Lab, Rng, each_engine};

each_engine!(registers, transfers, counters, ranges);

const THREADS: u64 = 8;
const WRITERS: u64 = 4;

/// Runs one history of each seed on a database of its own: on files of this machine and on a simulated disk by turns.
fn histories(engine: Engine, test: &'static str, one: impl Fn(&Checked, u64) -> Result<()>) -> Result<()> {
    let all = seeds(4, 75, 2_000);
    for seed in &all {
        let _repeat = Repeat::new("history", test, *seed);
        let knobs = Knobs::hostile().with_threads(2);
        let lab = if seed % 2 == 0 { Lab::new(engine, knobs) } else { Lab::simulated(engine, knobs, *seed) };
        one(&lab.open()?, *seed)?;
    }
    tell(&format!("history: {}: {test}, {} histories of {THREADS} threads", engine.name(), all.len()));
    Ok(())
}

fn level(rng: &mut Rng) -> Durability {
    *rng.pick(&[Durability::Memory, Durability::Memory, Durability::Os, Durability::Disk])
}

/// A number as a value, with bytes behind it so that files fill.
fn value(number: u64, rng: &mut Rng) -> Vec<u8> {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(8 + rng.below(200), number as u8);
    value
}

fn number(value: &[u8]) -> u64 {
    let bytes = value.first_chunk::<8>().expect("a value begins with its number");
    let number = u64::from_be_bytes(*bytes);
    assert!(value[8..].iter().all(|byte| *byte == number as u8), "a value of two writes: {value:x?}");
    number
}

/// Gets, puts, deletes and pairs of puts of eight keys; reads by a get, a snapshot and a scan by turns.
fn registers(engine: Engine) -> Result<()> {
    const KEYS: usize = 8;
    histories(engine, "registers", |db, seed| {
        let began = Instant::now();
        let now = || began.elapsed().as_nanos() as u64;
        let client = |thread: u64| -> Result<Vec<(usize, Op)>> {
            let mut rng = Rng::new(seed << 8 | thread);
            let mut seen = Vec::new();
            for n in 0..by_share(100, 150, 300) {
                let (key, written) = (rng.below(KEYS), thread << 32 | n);
                let start_ns = now();
                let (what, also) = match rng.below(20) {
                    0..=8 => (What::Read(read(db, key, &mut rng)?), None),
                    9..=10 => {
                        db.delete(&[key as u8], level(&mut rng))?;
                        (What::Write(None), None)
                    }
                    11..=13 => {
                        let mut batch = Batch::new();
                        let other = (key + 1) % KEYS;
                        batch.put(&[key as u8], &value(written, &mut rng));
                        batch.put(&[other as u8], &value(written, &mut rng));
                        db.write(&batch, level(&mut rng))?;
                        (What::Write(Some(written)), Some(other))
                    }
                    _ => {
                        db.put(&[key as u8], &value(written, &mut rng), level(&mut rng))?;
                        (What::Write(Some(written)), None)
                    }
                };
                let op = Op { start_ns, end_ns: now(), what };
                seen.extend([key].into_iter().chain(also).map(|key| (key, op)));
            }
            Ok(seen)
        };
        let seen = at_once(THREADS, client)?;
        for key in 0..KEYS {
            let mut ops: Vec<Op> =
                seen.iter().flatten().filter(|(of, _)| *of == key).map(|(_, op)| *op).collect();
            assert!(is_linearizable(&mut ops), "key {key} has no order: {ops:#?}");
        }
        Ok(())
    })
}

fn read(db: &Checked, key: usize, rng: &mut Rng) -> Result<Content> {
    let key = [key as u8];
    let found = match rng.below(3) {
        0 => db.get(&key)?,
        1 => db.snapshot()?.get(&key)?,
        _ => {
            let mut scan = db.scan(KeyRange::from(&key[..]..=&key[..]), ScanOptions::FORWARD)?;
            return Ok(scan.next()?.map(|entry| number(entry.value)));
        }
    };
    Ok(found.map(|found| number(&found)))
}

/// Calls `client` with the numbers below `threads`, all at once.
fn at_once<T: Send>(threads: u64, client: impl Fn(u64) -> Result<T> + Sync) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let client = &client;
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || client(thread))).collect();
        running.into_iter().map(|thread| thread.join().expect("no client panics")).collect()
    })
}

/// Everything that a reader holds, by one of three ways to read.
fn all(db: &Checked, rng: &mut Rng) -> Result<Vec<(Vec<u8>, u64)>> {
    let held = rng.one_in(2).then(|| db.snapshot()).transpose()?;
    let mut scan = match &held {
        Some(snapshot) => snapshot.scan(KeyRange::ALL, ScanOptions::FORWARD)?,
        None => {
            db.scan(KeyRange::ALL, if rng.one_in(3) { ScanOptions::REVERSE } else { ScanOptions::FORWARD })?
        }
    };
    let mut found = Vec::new();
    while let Some(entry) = scan.next()? {
        found.push((entry.key.to_vec(), number(entry.value)));
    }
    found.sort();
    Ok(found)
}

/// Four threads move amounts between two accounts of their own, in one commit each; the sum of all never changes.
fn transfers(engine: Engine) -> Result<()> {
    const EACH: u64 = 1 << 20;
    histories(engine, "transfers", |db, seed| {
        for account in 0..2 * WRITERS {
            db.put(&[account as u8], &value(EACH, &mut Rng::new(seed)), Durability::Os)?;
        }
        at_once(THREADS, |thread| {
            let mut rng = Rng::new(seed << 8 | thread);
            let mut mine = [EACH; 2];
            for _ in 0..by_share(60, 100, 200) {
                if thread >= WRITERS {
                    let sum: u64 = all(db, &mut rng)?.into_iter().map(|(_, amount)| amount).sum();
                    assert_eq!(sum, 2 * WRITERS * EACH, "a reader saw half a commit");
                    continue;
                }
                let amount = rng.below(1000) as u64;
                let (from, to) = if mine[0] > mine[1] { (0, 1) } else { (1, 0) };
                (mine[from], mine[to]) = (mine[from] - amount, mine[to] + amount);
                let mut batch = Batch::new();
                for (account, amount) in (2 * thread..).zip(mine) {
                    batch.put(&[account as u8], &value(amount, &mut rng));
                }
                db.write(&batch, level(&mut rng))?;
            }
            Ok(())
        })?;
        Ok(())
    })
}

/// Four threads count up a key each. A reader sees no counter go back, none behind what was acknowledged before it began,
/// and none ahead of what was asked for when it had ended.
fn counters(engine: Engine) -> Result<()> {
    histories(engine, "counters", |db, seed| {
        let asked: Vec<AtomicU64> = (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
        let acknowledged: Vec<AtomicU64> = (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
        let read_all = |of: &[AtomicU64]| -> Vec<u64> {
            of.iter().map(|counter| counter.load(Ordering::SeqCst)).collect()
        };
        at_once(THREADS, |thread| {
            let mut rng = Rng::new(seed << 8 | thread);
            let mut last = vec![0; WRITERS as usize];
            for count in 1..=by_share(100, 150, 300) {
                if thread < WRITERS {
                    asked[thread as usize].store(count, Ordering::SeqCst);
                    db.put(&[thread as u8], &value(count, &mut rng), level(&mut rng))?;
                    acknowledged[thread as usize].store(count, Ordering::SeqCst);
                    continue;
                }
                let least = read_all(&acknowledged);
                let found = all(db, &mut rng)?;
                let most = read_all(&asked);
                let mut now = vec![0; WRITERS as usize];
                found.into_iter().for_each(|(key, count)| now[usize::from(key[0])] = count);
                for (writer, count) in now.iter().enumerate() {
                    assert!(*count >= last[writer], "counter {writer} went back: {last:?}, {now:?}");
                    assert!(*count >= least[writer], "counter {writer} lost a write: {least:?}, {now:?}");
                    assert!(*count <= most[writer], "counter {writer} came early: {now:?}, {most:?}");
                }
                last = now;
            }
            Ok(())
        })?;
        Ok(())
    })
}

/// Four threads replace all keys of a prefix by others in one commit, with a range delete. A reader sees of each prefix
/// the keys of one commit, all of them.
fn ranges(engine: Engine) -> Result<()> {
    const KEYS: u64 = 12;
    histories(engine, "ranges", |db, seed| {
        at_once(THREADS, |thread| {
            let mut rng = Rng::new(seed << 8 | thread);
            for round in 1..=by_share(60, 100, 200) {
                if thread >= WRITERS {
                    check_prefixes(&all(db, &mut rng)?, KEYS);
                    continue;
                }
                let prefix = thread as u8;
                let mut batch = Batch::new();
                batch.delete_range(KeyRange::from(&[prefix][..]..&[prefix + 1][..]));
                for n in 0..KEYS {
                    // Other keys in each round, so that a range delete that is missed leaves too many.
                    batch.put(&[prefix, (n * 16 + round % 16) as u8], &value(round, &mut rng));
                }
                db.write(&batch, level(&mut rng))?;
            }
            Ok(())
        })?;
        Ok(())
    })
}

fn check_prefixes(found: &[(Vec<u8>, u64)], keys: u64) {
    for prefix in 0..WRITERS as u8 {
        let rounds: Vec<u64> =
            found.iter().filter(|(key, _)| key[0] == prefix).map(|(_, round)| *round).collect();
        let is_one = rounds.windows(2).all(|pair| pair[0] == pair[1]);
        let is_whole = rounds.is_empty() || rounds.len() as u64 == keys;
        assert!(is_one && is_whole, "prefix {prefix} has keys of several commits, or not all: {rounds:?}");
    }
}
