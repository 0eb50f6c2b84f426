//! A burst into a queue that an engine empties at a tenth of the pace: how long the queue gets, how long it takes to
//! drain, and what of it a power cut at its longest would take.

use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

use kv_api::{Background, Batch, Durability};

use super::store::{Store, scattered, value};
use super::{Ground, Observed, case};
use crate::claims::case::{Case, Sample};
use crate::error::Result;
use crate::units::{count, nanos};

const ENGINES: [&str; 2] = ["btree", "lsm"];
const VALUE_BYTES: usize = 100;
/// Events of the burst, and how long it lasts.
const SMOKE: (u64, Duration) = (20_000, Duration::from_millis(200));
const LAB: (u64, Duration) = (1_000_000, Duration::from_secs(1));
/// How many times faster than the engine is fed the burst comes.
const FACTOR: f64 = 10.0;
const BATCH: usize = 500;
const TICK: Duration = Duration::from_micros(200);

/// One burst.
struct Seen {
    /// The longest queue, in events.
    backlog: u64,
    /// From the end of the burst until the queue is empty.
    drain: Duration,
}

pub fn run(ground: &Ground<'_>) -> Result<Observed> {
    let (events, time) = if ground.is_lab { LAB } else { SMOKE };
    let (mut cases, mut facts): (Vec<Case>, Vec<String>) = (Vec::new(), Vec::new());
    for engine in ENGINES {
        let mut seen = Vec::new();
        for _ in 0..ground.repeats {
            let store = Store::new(ground, engine, ground.memory_bytes, Background::Threads(1))?;
            seen.push(burst(&store, events, time)?);
            if ground.interrupt.is_set() {
                return Ok(Observed::default());
            }
        }
        let backlog = (1.0 - 1.0 / FACTOR) * events as f64;
        let drain = (FACTOR - 1.0) * time.as_secs_f64();
        let over = |of: fn(&Seen) -> f64, expected: f64| {
            Sample::Repeated(seen.iter().map(|seen| of(seen) / expected).collect())
        };
        cases.push(case(format!("{engine}, longest queue"), over(|seen| seen.backlog as f64, backlog)));
        cases.push(case(format!("{engine}, time to drain"), over(|seen| seen.drain.as_secs_f64(), drain)));
        facts.extend(seen.last().map(|seen| {
            format!(
                "{engine}: {} events in {} left a queue of {} and {} to drain it; a queue in memory loses all of it in a power \
                 cut, acknowledged or not, and one on the disk pays a sync for each acknowledged batch",
                count(events),
                nanos(time.as_nanos() as u64),
                count(seen.backlog),
                nanos(seen.drain.as_nanos() as u64)
            )
        }));
    }
    Ok(Observed { cases, facts, ..Observed::default() })
}

/// Events arrive evenly within `time`; the engine gets batches at the pace that it is allowed.
fn burst(store: &Store, events: u64, time: Duration) -> Result<Seen> {
    let mut queue: VecDeque<u64> = VecDeque::new();
    let (mut arrived, mut written, mut longest) = (0_u64, 0_u64, 0_u64);
    let pace = events as f64 / time.as_secs_f64();
    let start = Instant::now();
    while written < events {
        let now = start.elapsed().as_secs_f64();
        let due = ((pace * now) as u64).min(events);
        queue.extend(arrived..due);
        arrived = due;
        longest = longest.max(queue.len() as u64);
        let allowed = (pace / FACTOR * now) as u64;
        let ready = queue.len().min(usize::try_from(allowed.saturating_sub(written)).unwrap_or(0));
        // Whole batches, and what is left at the end.
        if ready >= BATCH || (ready == queue.len() && ready > 0 && arrived == events) {
            let mut batch = Batch::new();
            for event in queue.drain(..ready.min(BATCH)) {
                batch.put(&scattered(event), &value(event, VALUE_BYTES));
                written += 1;
            }
            store.db.write(&batch, Durability::Os)?;
        } else {
            thread::sleep(TICK);
        }
    }
    Ok(Seen { backlog: longest, drain: start.elapsed().saturating_sub(time) })
}
