//! Random operations: a stream of steps that follows from its seed, made to meet the corners of the engines.

use std::ops::Bound;

use kv_api::{Batch, Direction, Durability, KeyRange, Limits, OwnedRange};

use crate::rng::Rng;

/// One thing done to a database.
#[derive(Debug, Clone)]
pub enum Step {
    /// Commit a batch.
    Write(Batch, Durability),
    /// Add sorted entries without the log.
    Ingest(Vec<(Vec<u8>, Vec<u8>)>),
    /// Make all earlier commits durable.
    Sync,
    /// Move memory to files.
    Flush,
    /// Flush and pay all debt.
    Settle,
    /// Rewrite a range.
    Compact(OwnedRange),
    /// Open again: after a close, or after a sync and a drop.
    Reopen {
        /// Close first.
        close: bool,
    },
    /// Read some keys at once.
    Get(Vec<Vec<u8>>),
    /// Walk a range; after every few entries seek to one of the keys.
    Scan {
        /// The range.
        range: OwnedRange,
        /// The direction.
        direction: Direction,
        /// The keys to seek to.
        seeks: Vec<Vec<u8>>,
    },
    /// Take a snapshot into a slot; the one in it is read and dropped first.
    Snapshot(usize),
    /// Open a scan into a slot, or move the one in it; one that is at its end makes room for the next.
    LiveScan {
        /// The slot.
        slot: usize,
        /// The range of a new scan.
        range: OwnedRange,
        /// The direction of a new scan.
        direction: Direction,
        /// Where to seek in a scan that is open, or `None` to take a few entries.
        seek: Option<Vec<u8>>,
    },
}

impl Step {
    /// Operations of the step: each of a batch or an ingest, each key asked for, each opening and each seek of a scan; one
    /// for any other step.
    pub fn ops(&self) -> u64 {
        let count = match self {
            Step::Write(batch, _) => batch.len(),
            Step::Ingest(entries) => entries.len(),
            Step::Get(keys) => keys.len(),
            Step::Scan { seeks, .. } => 1 + seeks.len(),
            _ => 1,
        };
        count as u64
    }
}

/// What a stream of steps may contain.
#[derive(Debug, Clone)]
pub struct Mix {
    /// How many keys there are: few, so that they meet often.
    pub keys: usize,
    /// Longest key in bytes.
    pub key_bytes_max: usize,
    /// Longest value in bytes.
    pub value_bytes_max: usize,
    /// Largest batch in encoded bytes.
    pub batch_bytes_max: usize,
    /// Snapshots held open at once; 0 for none.
    pub snapshots: usize,
    /// Scans held open at once; 0 for none.
    pub scans: usize,
    /// Once in so many steps the database is closed and opened again, which lets go of all that is held; 0 for never.
    pub reopen_one_in: usize,
    /// True if reads are among the steps.
    pub reads: bool,
    /// True if batches are written at all levels, else at `Disk` alone.
    pub levels: bool,
    /// Most operations of a batch.
    pub batch_ops_max: usize,
    /// Of the steps that read, hold or tidy, one in so many is done and a write comes in place of the others: 1 for all.
    /// They cost the most, so a long run has more operations with fewer of them.
    pub rest_one_in: usize,
}

impl Mix {
    /// Small batches at all levels, reads, eight snapshots and four scans held open: what the model suites begin with.
    pub fn busy(limits: &Limits) -> Mix {
        Mix {
            keys: 400,
            key_bytes_max: limits.key_bytes_max.min(400),
            value_bytes_max: limits.value_bytes_max.min(8 << 10),
            batch_bytes_max: limits.batch_bytes_max,
            snapshots: 8,
            scans: 4,
            reopen_one_in: 500,
            reads: true,
            levels: true,
            batch_ops_max: 12,
            rest_one_in: 1,
        }
    }

    /// A mix with every choice drawn at random, for an engine with these limits.
    pub fn random(limits: &Limits, rng: &mut Rng) -> Mix {
        Mix {
            keys: *rng.pick(&[12, 100, 400, 2000]),
            key_bytes_max: limits.key_bytes_max.min(*rng.pick(&[8, 24, 400])),
            value_bytes_max: limits.value_bytes_max.min(*rng.pick(&[8, 300, 8 << 10])),
            reopen_one_in: *rng.pick(&[500, 2000, 8000]),
            batch_ops_max: *rng.pick(&[2, 12, 60]),
            rest_one_in: *rng.pick(&[2, 4, 8]),
            ..Mix::busy(limits)
        }
    }
}

/// An endless stream of steps.
#[derive(Debug)]
pub struct Steps {
    rng: Rng,
    mix: Mix,
}

impl Steps {
    /// The stream of `seed`.
    pub fn new(seed: u64, mix: Mix) -> Steps {
        Steps { rng: Rng::new(seed), mix }
    }

    /// A key: empty, short, of nothing but 0xFF, behind a long common prefix, or of the greatest length.
    fn key(&mut self) -> Vec<u8> {
        let n = self.rng.below(self.mix.keys);
        let mut key = match n % 11 {
            0 if n == 0 => Vec::new(),
            0 => vec![0xFF; n / 11 % 6 + 1],
            1 => {
                let mut key = vec![b'k'; self.mix.key_bytes_max.min(300 + n)];
                let tail = key.len().saturating_sub(2);
                key[tail..].copy_from_slice(&(n as u16).to_be_bytes());
                key
            }
            2..=5 => format!("a/common/prefix/{n:05}").into_bytes(),
            6 => format!("k{n:02}\0\0").into_bytes(),
            _ => (n as u32).wrapping_mul(0x9E37_79B9).to_be_bytes().to_vec(),
        };
        key.truncate(self.mix.key_bytes_max);
        key
    }

    fn value(&mut self) -> Vec<u8> {
        let most = self.mix.value_bytes_max;
        let len = match self.rng.below(32) {
            0..=1 => 0,
            2..=22 => self.rng.below(40),
            23..=29 => self.rng.below(300),
            30 => self.rng.below(2000),
            _ => self.rng.below(most + 1),
        };
        self.rng.bytes(len.min(most))
    }

    /// A range with bounds of every kind; inverted now and then.
    fn range(&mut self) -> OwnedRange {
        let bound = |steps: &mut Steps| match steps.rng.below(4) {
            0 => Bound::Unbounded,
            1 => Bound::Excluded(steps.key()),
            _ => Bound::Included(steps.key()),
        };
        let range = OwnedRange { start: bound(self), end: bound(self) };
        let inverted = matches!(
            (&range.start, &range.end),
            (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) if a > b
        );
        if inverted && !self.rng.one_in(8) {
            return OwnedRange { start: range.end, end: range.start };
        }
        range
    }

    /// A narrow range, so that range deletes leave something.
    fn narrow_range(&mut self) -> OwnedRange {
        let start = self.key();
        if self.rng.one_in(4) {
            return OwnedRange::prefix(&start[..start.len().min(18)]);
        }
        let mut end = start.clone();
        match end.last_mut() {
            Some(last) => *last = last.saturating_add(self.rng.below(64) as u8),
            None => end.push(2),
        }
        OwnedRange { start: Bound::Included(start), end: Bound::Excluded(end) }
    }

    fn op(&mut self, batch: &mut Batch) {
        match self.rng.below(40) {
            0 if self.rng.one_in(6) => {
                let range = self.range();
                batch.delete_range(range.as_range());
            }
            0..=2 => {
                let range = self.narrow_range();
                batch.delete_range(range.as_range());
            }
            3..=12 => {
                let key = self.key();
                batch.delete(&key);
            }
            _ => {
                let (key, value) = (self.key(), self.value());
                batch.put(&key, &value);
            }
        }
    }

    fn write(&mut self) -> Step {
        let mut batch = Batch::new();
        let ops = if self.rng.one_in(3) { 1 + self.rng.below(self.mix.batch_ops_max) } else { 1 };
        for _ in 0..ops {
            let before = batch.clone();
            self.op(&mut batch);
            if batch.encoded().len() > self.mix.batch_bytes_max {
                batch = before;
            }
        }
        let level = match self.rng.below(4) {
            _ if !self.mix.levels => Durability::Disk,
            0..=1 => Durability::Memory,
            2 => Durability::Os,
            _ => Durability::Disk,
        };
        Step::Write(batch, level)
    }

    fn ingest(&mut self) -> Step {
        let mut entries: Vec<_> = (0..self.rng.below(30)).map(|_| (self.key(), self.value())).collect();
        entries.sort();
        entries.dedup_by(|a, b| a.0 == b.0);
        Step::Ingest(entries)
    }

    fn direction(&mut self) -> Direction {
        if self.rng.one_in(2) { Direction::Forward } else { Direction::Reverse }
    }

    fn scan(&mut self) -> Step {
        let seeks = (0..self.rng.below(4)).map(|_| self.key()).collect();
        Step::Scan { range: self.range(), direction: self.direction(), seeks }
    }

    fn live_scan(&mut self) -> Step {
        let seek = if self.rng.one_in(4) { Some(self.key()) } else { None };
        let slot = self.rng.below(self.mix.scans);
        Step::LiveScan { slot, range: self.range(), direction: self.direction(), seek }
    }

    /// Asked in two steps of a hundred.
    fn reopens(&mut self) -> bool {
        self.mix.reopen_one_in > 0 && self.rng.one_in((self.mix.reopen_one_in / 50).max(1))
    }

    fn upkeep(&mut self) -> Step {
        match self.rng.below(10) {
            0..=3 => Step::Flush,
            4 => Step::Sync,
            5 => Step::Settle,
            6..=7 => {
                let range = if self.rng.one_in(3) { self.range() } else { KeyRange::ALL.to_owned_range() };
                Step::Compact(range)
            }
            _ => self.ingest(),
        }
    }
}

impl Iterator for Steps {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let kind = match self.rng.below(100) {
            kind @ 2..36 if self.mix.rest_one_in > 1 && !self.rng.one_in(self.mix.rest_one_in) => kind + 36,
            kind => kind,
        };
        Some(match kind {
            0..=1 if self.reopens() => Step::Reopen { close: self.rng.one_in(2) },
            2..=7 => self.upkeep(),
            8..=13 if self.mix.reads => self.scan(),
            14..=19 if self.mix.reads => Step::Get((0..1 + self.rng.below(5)).map(|_| self.key()).collect()),
            20..=25 if self.mix.snapshots > 0 => Step::Snapshot(self.rng.below(self.mix.snapshots)),
            26..=35 if self.mix.scans > 0 => self.live_scan(),
            _ => self.write(),
        })
    }
}

/// Entries as a source for `ingest`.
#[derive(Debug)]
pub struct Entries<'a> {
    entries: std::slice::Iter<'a, (Vec<u8>, Vec<u8>)>,
}

impl<'a> Entries<'a> {
    /// A source of `entries`, in their order.
    pub fn new(entries: &'a [(Vec<u8>, Vec<u8>)]) -> Entries<'a> {
        Entries { entries: entries.iter() }
    }
}

impl kv_api::SortedSource for Entries<'_> {
    fn next(&mut self) -> kv_api::Result<Option<kv_api::EntryRef<'_>>> {
        Ok(self.entries.next().map(|(key, value)| kv_api::EntryRef { key, value }))
    }
}
