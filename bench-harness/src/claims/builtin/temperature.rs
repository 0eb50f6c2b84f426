//! Reads of hot, warm and cold data by age: what is in memory, get by get and block by block, and how long each takes.

use std::time::Instant;

use kv_api::Background;

use super::store::{Store, ordered};
use super::{Ground, Observed, case};
use crate::claims::case::{Case, Sample};
use crate::error::Result;
use crate::stats::rng;
use crate::units::{nanos, three};

const ENGINES: [&str; 2] = ["btree", "lsm"];
const VALUE_BYTES: usize = 1000;
const SPAN_DAYS: f64 = 365.0;
/// Name, share of the reads, and the ages in days from and to.
const CLASSES: [(&str, f64, f64, f64); 3] =
    [("hot", 0.80, 0.0, 7.0), ("warm", 0.15, 7.0, 90.0), ("cold", 0.05, 90.0, SPAN_DAYS)];
/// Memory as a multiple of the hot data.
const MEMORY: [f64; 3] = [0.5, 1.0, 2.0];
const READS: u64 = 8000;
const SEED: u64 = 0x6b76_6c61_6200_0011;
/// What hot data is said to need.
const HOT_NS: f64 = 10e6;

/// What the reads of one class found.
#[derive(Default)]
struct Class {
    times_ns: Vec<u64>,
    from_memory: u64,
}

impl Class {
    fn hit_ratio(&self) -> f64 {
        self.from_memory as f64 / self.times_ns.len().max(1) as f64
    }

    fn p99_ns(&mut self) -> u64 {
        self.times_ns.sort_unstable();
        let at = (self.times_ns.len() as f64 * 0.99) as usize;
        self.times_ns.get(at).copied().unwrap_or(0)
    }
}

/// One repetition.
struct Round {
    classes: [Class; 3],
    /// Blocks asked for, and those that were not in memory.
    blocks: (u64, u64),
}

impl Round {
    /// The share of reads that touched storage over the share of blocks that did.
    fn touching_over_missing(&self) -> (f64, f64) {
        let reads: usize = self.classes.iter().map(|class| class.times_ns.len()).sum();
        let kept: u64 = self.classes.iter().map(|class| class.from_memory).sum();
        let touching = 1.0 - kept as f64 / reads.max(1) as f64;
        (touching, self.blocks.1 as f64 / self.blocks.0.max(1) as f64)
    }
}

/// The p99 of reads of hot data over what it is said to need.
pub fn hot_p99(ground: &Ground<'_>) -> Result<Observed> {
    observed(ground, |rounds| {
        Sample::Repeated(rounds.iter_mut().map(|round| round.classes[0].p99_ns() as f64 / HOT_NS).collect())
    })
}

/// Reads that touch storage over what the hit ratio of blocks lets expect.
pub fn touching(ground: &Ground<'_>) -> Result<Observed> {
    observed(ground, |rounds| Sample::Paired(rounds.iter().map(Round::touching_over_missing).collect()))
}

fn observed(ground: &Ground<'_>, sample: impl Fn(&mut [Round]) -> Sample) -> Result<Observed> {
    let (mut cases, mut facts): (Vec<Case>, Vec<String>) = (Vec::new(), Vec::new());
    let data = ground.memory_bytes as f64 * SPAN_DAYS / CLASSES[0].3;
    let records = (data / (16 + VALUE_BYTES) as f64) as u64;
    for engine in ENGINES {
        for share in MEMORY {
            let memory = (ground.memory_bytes as f64 * share) as u64;
            let store = Store::new(ground, engine, memory, Background::Threads(1))?;
            store.load(records, ordered, VALUE_BYTES)?;
            store.db.settle(std::time::Duration::from_secs(60))?;
            // What the load left in memory is no answer to what reads keep there.
            round(&store, records, 0)?;
            let mut rounds = Vec::new();
            for number in 1..=u64::from(ground.repeats) {
                rounds.push(round(&store, records, number)?);
                if ground.interrupt.is_set() {
                    return Ok(Observed::default());
                }
            }
            let label = format!("{engine}, memory {share} of the hot data");
            cases.push(case(label.clone(), sample(&mut rounds)));
            facts.extend(rounds.last_mut().map(|round| told(&label, round)));
        }
    }
    Ok(Observed { cases, facts, ..Observed::default() })
}

/// One repetition in words.
fn told(label: &str, round: &mut Round) -> String {
    let (touching, missing) = round.touching_over_missing();
    let percent = |share: f64| format!("{} %", three(share * 100.0));
    let blocks = round.blocks.0 as f64 / READS as f64;
    let classes = CLASSES.iter().zip(&mut round.classes).map(|((name, ..), class)| {
        format!("{name} {} from memory, p99 {}", percent(class.hit_ratio()), nanos(class.p99_ns()))
    });
    let classes = classes.collect::<Vec<_>>().join("; ");
    format!(
        "{label}: {classes}; {} of reads touch storage, {} of blocks, {} blocks a read",
        percent(touching),
        percent(missing),
        three(blocks)
    )
}

fn round(store: &Store, records: u64, number: u64) -> Result<Round> {
    let mut out = Round { classes: Default::default(), blocks: (0, 0) };
    let blocks = || {
        let stats = store.db.stats();
        stats.blocks.iter().fold((0, 0), |sum, row| (sum.0 + row.point_requests, sum.1 + row.point_misses))
    };
    let mut before = blocks();
    for read in 0..READS {
        let unit = |part: u64| rng::word(SEED ^ number, read * 2 + part) as f64 / u64::MAX as f64;
        let (class, record) = drawn(unit(0), unit(1), records);
        let start = Instant::now();
        store.db.get(&ordered(record))?;
        let ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let after = blocks();
        let class = &mut out.classes[class];
        class.times_ns.push(ns);
        class.from_memory += u64::from(after.1 == before.1);
        out.blocks = (out.blocks.0 + after.0 - before.0, out.blocks.1 + after.1 - before.1);
        before = after;
    }
    Ok(out)
}

/// The class and the record of a read, from two numbers between 0 and 1. The newest record is the last one.
fn drawn(class: f64, age: f64, records: u64) -> (usize, u64) {
    let mut left = class;
    let place = CLASSES.iter().position(|(_, share, ..)| {
        left -= share;
        left <= 0.0
    });
    let place = place.unwrap_or(CLASSES.len() - 1);
    let (_, _, from, to) = CLASSES[place];
    let days = from + age * (to - from);
    let behind = (days / SPAN_DAYS * records as f64) as u64;
    (place, records.saturating_sub(1 + behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fall_into_classes_by_age() {
        assert_eq!(drawn(0.0, 0.0, 3650), (0, 3649));
        assert_eq!(drawn(0.79, 1.0, 3650), (0, 3579));
        assert_eq!(drawn(0.81, 0.0, 3650).0, 1);
        assert_eq!(drawn(1.0, 1.0, 3650), (2, 0));
        let in_class = |wanted: usize| {
            let drawn = (0..10_000).filter(|read| drawn(f64::from(*read) / 1e4, 0.5, 3650).0 == wanted);
            drawn.count()
        };
        assert!(in_class(0).abs_diff(8000) < 3 && in_class(2).abs_diff(500) < 3);
    }
}
