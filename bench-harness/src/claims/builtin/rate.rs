//! The rate of writes that an engine keeps up with: requests arrive by a clock, and the highest rate counts at which the
//! last of them is answered without having waited long.

use std::thread;
use std::time::{Duration, Instant};

use kv_api::{Background, Durability};

use super::store::{Store, scattered, value};
use super::{Ground, Observed, case};
use crate::claims::case::Sample;
use crate::error::Result;
use crate::stats::rng;
use crate::units::count;

const VALUE_BYTES: usize = 100;
/// The rate above which one engine on one machine is said not to do.
const SAID: f64 = 10_000.0;
/// How long a rate is tried, and how late its last request may be answered.
const TRY_SMOKE: Duration = Duration::from_millis(400);
const TRY_LAB: Duration = Duration::from_secs(5);
const LATE_SHARE: f64 = 0.1;
/// Shares of the rate without a clock that are tried, from the top.
const SHARES: [f64; 5] = [0.95, 0.8, 0.6, 0.4, 0.2];
/// Engine, level and clients.
const CELLS: [(&str, Durability, u64); 8] = [
    ("btree", Durability::Memory, 1),
    ("btree", Durability::Os, 1),
    ("btree", Durability::Disk, 1),
    ("btree", Durability::Disk, 8),
    ("lsm", Durability::Memory, 1),
    ("lsm", Durability::Os, 1),
    ("lsm", Durability::Disk, 1),
    ("lsm", Durability::Disk, 8),
];
const SEED: u64 = 0x6b76_6c61_6200_0018;

/// What a stretch of writes is bounded by.
#[derive(Clone, Copy)]
struct Stretch {
    /// Writes a second of all clients; `None`: as fast as they are answered.
    rate: Option<f64>,
    time: Duration,
    level: Durability,
    clients: u64,
    records: u64,
}

pub fn run(ground: &Ground<'_>) -> Result<Observed> {
    let time = if ground.is_lab { TRY_LAB } else { TRY_SMOKE };
    let (mut cases, mut facts) = (Vec::new(), Vec::new());
    for (engine, level, clients) in CELLS {
        let store = Store::new(ground, engine, ground.memory_bytes, Background::Threads(1))?;
        let records = 10 * ground.memory_bytes / (16 + VALUE_BYTES as u64);
        store.load(records, scattered, VALUE_BYTES)?;
        let mut rates = Vec::new();
        for _ in 0..ground.repeats {
            rates.push(sustained(&store, Stretch { rate: None, time, level, clients, records })?);
            if ground.interrupt.is_set() {
                return Ok(Observed::default());
            }
        }
        let label = format!("{engine}, {level}, {clients} client(s)");
        let shown: Vec<_> = rates.iter().map(|rate| count(*rate as u64)).collect();
        facts.push(format!("{label}: keeps up with {} writes/s", shown.join(", ")));
        if engine == "btree" {
            cases.push(case(label, Sample::Repeated(rates.iter().map(|rate| rate / SAID).collect())));
        }
    }
    Ok(Observed { cases, facts, ..Observed::default() })
}

/// The highest rate tried at which nobody waited long; 0 if there is none.
fn sustained(store: &Store, stretch: Stretch) -> Result<f64> {
    let (capacity, _) = writes(store, stretch)?;
    for share in SHARES {
        let rate = capacity * share;
        let (_, late) = writes(store, Stretch { rate: Some(rate), ..stretch })?;
        if late.as_secs_f64() <= LATE_SHARE * stretch.time.as_secs_f64() {
            return Ok(rate);
        }
    }
    Ok(0.0)
}

/// Writes of all clients: how many a second, and how late the latest of their last answers was.
fn writes(store: &Store, stretch: Stretch) -> Result<(f64, Duration)> {
    let start = Instant::now();
    let client = |client: u64| -> kv_api::Result<(u64, Duration)> {
        let mut done = 0;
        let gap = stretch.rate.map(|rate| Duration::from_secs_f64(stretch.clients as f64 / rate));
        let mut late = Duration::ZERO;
        loop {
            let due = match gap {
                Some(gap) => gap.mul_f64(done as f64),
                None => start.elapsed(),
            };
            if due >= stretch.time {
                return Ok((done, late));
            }
            // A request that is due already has waited, and is sent at once.
            thread::sleep(due.saturating_sub(start.elapsed()));
            let record = rng::word(SEED ^ client, done) % stretch.records;
            store.db.put(&scattered(record), &value(done, VALUE_BYTES), stretch.level)?;
            done += 1;
            late = start.elapsed().saturating_sub(due);
        }
    };
    let found: kv_api::Result<Vec<(u64, Duration)>> = thread::scope(|scope| {
        let client = &client;
        let clients: Vec<_> =
            (0..stretch.clients).map(|number| scope.spawn(move || client(number))).collect();
        // A client does not panic; one that did has done nothing.
        clients.into_iter().map(|client| client.join().unwrap_or(Ok((0, Duration::MAX)))).collect()
    });
    let found = found?;
    let done: u64 = found.iter().map(|(done, _)| done).sum();
    let late = found.iter().map(|(_, late)| *late).max().unwrap_or_default();
    Ok((done as f64 / start.elapsed().as_secs_f64(), late))
}
