//! Twelve workloads by name: each leads to another part of the engines, and all of them to every part.

use std::ops::Bound;

use kv_api::{Batch, Durability, KeyRange, Limits, OwnedRange};

use crate::knobs::Knobs;
use crate::rng::Rng;
use crate::steps::{Mix, Step, Steps};

/// A workload by name.
#[derive(Debug, Clone, Copy)]
pub struct Course {
    /// Its name: what `KVLAB_CASE` selects.
    pub name: &'static str,
    /// The settings that go with it.
    pub knobs: fn(seed: u64) -> Knobs,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Everything, with the corners that [`Steps`] goes for.
    Anything,
    /// So many of each in a hundred.
    Shares(Shares),
}

/// What a course consists of, in shares of a hundred; what is left are puts.
#[derive(Debug, Clone, Copy)]
struct Shares {
    deletes: usize,
    range_deletes: usize,
    ingests: usize,
    flushes: usize,
    compactions: usize,
    syncs: usize,
    drops: usize,
    closes: usize,
    /// How many keys there are; 0 for a new one each time, in order.
    keys: usize,
    value_bytes_max: usize,
    batch_ops_max: usize,
    /// Of so many steps the second half takes away what the first half brought; 0 for never.
    shrinks_after: usize,
    levels: &'static [Durability],
}

const MEMORY: Durability = Durability::Memory;
const OS: Durability = Durability::Os;
const DISK: Durability = Durability::Disk;

/// Small batches of small values over a few dozen keys, all levels, now and then a flush.
const PLAIN: Shares = Shares {
    deletes: 10,
    range_deletes: 0,
    ingests: 0,
    flushes: 3,
    compactions: 1,
    syncs: 1,
    drops: 1,
    closes: 1,
    keys: 60,
    value_bytes_max: 200,
    batch_ops_max: 6,
    shrinks_after: 0,
    levels: &[MEMORY, OS, DISK],
};

const fn shares(name: &'static str, shares: Shares) -> Course {
    Course { name, knobs: hostile, kind: Kind::Shares(shares) }
}

fn hostile(_seed: u64) -> Knobs {
    Knobs::hostile()
}

fn short_log(_seed: u64) -> Knobs {
    let mut knobs = Knobs::small();
    knobs.common.wal_bytes_max = Some(64 << 10);
    knobs
}

/// All of them.
pub const ALL: [Course; 12] = [
    Course { name: "hostile", knobs: hostile, kind: Kind::Anything },
    Course { name: "random", knobs: |seed| Knobs::random(&mut Rng::new(!seed)), kind: Kind::Anything },
    Course { name: "sane", knobs: |_| Knobs::small(), kind: Kind::Anything },
    shares("append", Shares { deletes: 0, keys: 0, batch_ops_max: 12, ..PLAIN }),
    shares("shrink", Shares { shrinks_after: 40, batch_ops_max: 10, keys: 200, ..PLAIN }),
    shares("overwrite", Shares { keys: 6, deletes: 3, value_bytes_max: 400, ..PLAIN }),
    shares("large_values", Shares { value_bytes_max: 9000, batch_ops_max: 2, keys: 12, ..PLAIN }),
    shares("range_deletes", Shares { range_deletes: 20, batch_ops_max: 8, keys: 120, ..PLAIN }),
    shares("ingest", Shares { ingests: 15, flushes: 2, keys: 150, ..PLAIN }),
    shares("upkeep", Shares { flushes: 15, compactions: 10, syncs: 5, ..PLAIN }),
    Course {
        name: "long_log",
        knobs: short_log,
        kind: Kind::Shares(Shares {
            flushes: 0,
            compactions: 0,
            syncs: 4,
            value_bytes_max: 5000,
            levels: &[MEMORY, MEMORY, OS, OS, DISK],
            ..PLAIN
        }),
    },
    shares("reopen", Shares { drops: 10, closes: 10, flushes: 4, ..PLAIN }),
];

impl Course {
    /// The first `count` steps of it under a seed.
    pub fn steps(&self, seed: u64, limits: &Limits, count: usize) -> Vec<Step> {
        match self.kind {
            Kind::Anything => {
                let mix = Mix {
                    keys: 40,
                    key_bytes_max: limits.key_bytes_max.min(100),
                    value_bytes_max: limits.value_bytes_max.min(3000),
                    batch_bytes_max: limits.batch_bytes_max,
                    snapshots: 0,
                    scans: 0,
                    reopen_one_in: 50,
                    reads: false,
                    levels: true,
                    batch_ops_max: 12,
                    rest_one_in: 1,
                };
                Steps::new(seed, mix).take(count).collect()
            }
            Kind::Shares(shares) => {
                let limit = limits.batch_bytes_max;
                let mut walk = Walk { shares, rng: Rng::new(seed), next_key: 0, at: 0, limit };
                walk.shares.value_bytes_max = shares.value_bytes_max.min(limits.value_bytes_max);
                (0..count).map(|_| walk.step()).collect()
            }
        }
    }
}

/// A course under way.
struct Walk {
    shares: Shares,
    rng: Rng,
    next_key: usize,
    at: usize,
    /// Most encoded bytes of a batch.
    limit: usize,
}

impl Walk {
    fn step(&mut self) -> Step {
        let shares = self.shares;
        self.at += 1;
        let mut draw = self.rng.below(100);
        let mut falls_in = |share: usize| {
            let hit = draw < share;
            draw = if hit { usize::MAX } else { draw.saturating_sub(share) };
            hit
        };
        if falls_in(shares.ingests) {
            return self.ingest();
        }
        if falls_in(shares.flushes) {
            return Step::Flush;
        }
        if falls_in(shares.compactions) {
            return Step::Compact(KeyRange::ALL.to_owned_range());
        }
        if falls_in(shares.syncs) {
            return Step::Sync;
        }
        if falls_in(shares.drops) {
            return Step::Reopen { close: false };
        }
        if falls_in(shares.closes) {
            return Step::Reopen { close: true };
        }
        self.write()
    }

    fn key(&mut self) -> Vec<u8> {
        if self.shares.keys == 0 {
            self.next_key += 1;
            return format!("key{:06}", self.next_key).into_bytes();
        }
        format!("key{:06}", self.rng.below(self.shares.keys)).into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        let len = self.rng.below(self.shares.value_bytes_max + 1);
        self.rng.bytes(len)
    }

    fn range(&mut self) -> OwnedRange {
        let start = self.key();
        let mut end = start.clone();
        if let Some(last) = end.get_mut(7) {
            *last += 1;
        }
        OwnedRange { start: Bound::Included(start), end: Bound::Excluded(end) }
    }

    fn write(&mut self) -> Step {
        let shares = self.shares;
        let shrinks = shares.shrinks_after > 0 && self.at / shares.shrinks_after % 2 == 1;
        let mut batch = Batch::new();
        for _ in 0..=self.rng.below(shares.batch_ops_max) {
            let before = batch.clone();
            match self.rng.below(100) {
                draw if draw < shares.range_deletes => {
                    let range = self.range();
                    batch.delete_range(range.as_range());
                }
                draw if shrinks || draw < shares.range_deletes + shares.deletes => {
                    let key = self.key();
                    batch.delete(&key);
                }
                _ => {
                    let (key, value) = (self.key(), self.value());
                    batch.put(&key, &value);
                }
            }
            if batch.encoded().len() > self.limit {
                batch = before;
            }
        }
        Step::Write(batch, *self.rng.pick(shares.levels))
    }

    fn ingest(&mut self) -> Step {
        let mut entries: Vec<_> = (0..self.rng.below(30)).map(|_| (self.key(), self.value())).collect();
        entries.sort();
        entries.dedup_by(|a, b| a.0 == b.0);
        Step::Ingest(entries)
    }
}
