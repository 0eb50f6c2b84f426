//! How many pages of a B+tree one write rewrites: each write is followed by a checkpoint, so that what was written is
//! its own. And what is left of that when many writes share a checkpoint.

use std::collections::BTreeMap;

use kv_api::{Background, Cause, Durability};

use super::store::{Store, scattered, value};
use super::{Ground, Observed, case};
use crate::claims::case::Sample;
use crate::error::{Failure, Result};
use crate::stats::rng;
use crate::units::three;

const VALUE_BYTES: usize = 100;
/// Writes of a repetition that have a checkpoint each.
const WRITES: u64 = 60;
/// Updates that share a checkpoint, for the facts.
const SHARED: [u64; 3] = [10, 100, 1000];
const SEED: u64 = 0x6b76_6c61_6200_0009;

/// Pages of single writes: one mean for each repetition, and how often which number was seen.
#[derive(Default)]
struct Seen {
    means: Vec<f64>,
    counts: BTreeMap<u64, u64>,
}

impl Seen {
    fn add(&mut self, pages: &[u64]) {
        if pages.is_empty() {
            return;
        }
        self.means.push(pages.iter().sum::<u64>() as f64 / pages.len() as f64);
        pages.iter().for_each(|pages| *self.counts.entry(*pages).or_default() += 1);
    }

    fn histogram(&self, name: &str) -> String {
        let all: u64 = self.counts.values().sum();
        let shares = self.counts.iter().map(|(pages, count)| {
            format!("{pages} pages {} %", three(*count as f64 / all.max(1) as f64 * 100.0))
        });
        format!("{name}: {}", shares.collect::<Vec<_>>().join(", "))
    }
}

pub fn run(ground: &Ground<'_>) -> Result<Observed> {
    let store = Store::new(ground, "btree", ground.memory_bytes, Background::Inline)?;
    let records = ground.memory_bytes / 2 / (16 + VALUE_BYTES as u64);
    store.load(records, scattered, VALUE_BYTES)?;
    store.db.flush()?;
    let page_bytes = page_bytes(&store)?;
    let (mut updates, mut inserts, mut splits) = (Seen::default(), Seen::default(), Seen::default());
    let mut next = records;
    for round in 0..u64::from(ground.repeats) {
        let chosen = |index: u64| rng::below(SEED, round * WRITES + index, records as usize) as u64;
        let pages: Result<Vec<(u64, bool)>> =
            (0..WRITES).map(|index| one(&store, chosen(index), page_bytes)).collect();
        updates.add(&pages?.iter().map(|(pages, _)| *pages).collect::<Vec<_>>());
        let pages: Result<Vec<(u64, bool)>> =
            (0..4 * WRITES).map(|index| one(&store, next + index, page_bytes)).collect();
        next += 4 * WRITES;
        let pages = pages?;
        let of =
            |split: bool| pages.iter().filter(|page| page.1 == split).map(|page| page.0).collect::<Vec<_>>();
        inserts.add(&of(false));
        splits.add(&of(true));
        if ground.interrupt.is_set() {
            return Ok(Observed::default());
        }
    }
    let mut facts = vec![
        updates.histogram("an update"),
        inserts.histogram("an insert"),
        splits.histogram("an insert that splits a page"),
    ];
    facts.push(shared(&store, records, page_bytes)?);
    let named = [("an update", updates), ("an insert", inserts), ("an insert that splits a page", splits)];
    let cases = named.into_iter().map(|(name, seen)| case(name, Sample::Repeated(seen.means)));
    Ok(Observed { cases: cases.collect(), facts, ..Observed::default() })
}

fn page_bytes(store: &Store) -> Result<u64> {
    let info = store.db.info();
    let setting = info.settings.iter().find(|(name, _)| name == "page_size").map(|(_, value)| value.clone());
    let known = setting.and_then(|text| workloads::units::parse_size(&text).ok());
    known.ok_or_else(|| Failure::failed("the B+tree does not tell its page size"))
}

/// Bytes that went to data files, the log left out, and splits so far.
fn moved(store: &Store) -> (u64, u64) {
    let stats = store.db.stats();
    let log = |cause: Cause| stats.io.map_or(0, |io| io.of(cause).write_bytes);
    let all = stats.io.map_or(0, |io| io.amplified_write_bytes());
    let splits = stats.counters.iter().find(|(name, _)| name == "splits").map_or(0, |(_, count)| *count);
    (all - log(Cause::Wal), splits)
}

/// Puts one record with a checkpoint behind it: the pages that were written, and whether one was split.
fn one(store: &Store, record: u64, page_bytes: u64) -> Result<(u64, bool)> {
    let before = moved(store);
    store.db.put(&scattered(record), &value(record ^ before.0, VALUE_BYTES), Durability::Os)?;
    store.db.flush()?;
    let after = moved(store);
    Ok(((after.0 - before.0).div_ceil(page_bytes), after.1 > before.1))
}

/// Pages for each update where several share a checkpoint.
fn shared(store: &Store, records: u64, page_bytes: u64) -> Result<String> {
    let mut told = Vec::new();
    for updates in SHARED {
        let before = moved(store);
        for index in 0..updates {
            let record = rng::below(SEED ^ updates, index, records as usize) as u64;
            store.db.put(&scattered(record), &value(index, VALUE_BYTES), Durability::Os)?;
        }
        store.db.flush()?;
        let pages = (moved(store).0 - before.0) as f64 / page_bytes as f64;
        told.push(format!("{updates} {}", three(pages / updates as f64)));
    }
    Ok(format!(
        "pages for each update where so many share a checkpoint, {records} records: {}",
        told.join(", ")
    ))
}
