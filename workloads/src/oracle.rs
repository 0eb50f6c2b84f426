//! What the data must be now: one `u32` per record ever written, kept per thread, so that every read can be
//! checked while threads run and the whole content can be compared at the end.
//!
//! Thread `t` of `n` owns the records with `record % n == t`; only it reads and writes them. Memory: 4 bytes per
//! record owned, so 4 MB for a million.
//!
//! A range delete removes neighbours in key order, so a thread may only send one where its records lie side by
//! side: in a lane. With series16 keys a lane is one series, if the number of threads divides that of series; with
//! one thread and keys in record order there is one lane. [`crate::spec::Spec::problem`] refuses the rest.

use crate::keys::{Key, KeyKind};
use crate::op::Op;
use crate::rng::{Stream, mix64};
use crate::spec::DataSpec;
use crate::values::{Mismatch, Values, key_hash};

/// Set in a slot whose record was deleted; the version below it is kept, so that none is ever used twice.
const DELETED: u32 = 1 << 31;
/// The content of a slot whose record was never written.
const NEVER: u32 = 0;
/// The number of the stream that chooses samples; no phase and thread has it.
const SAMPLE_STREAM: u64 = u64::MAX;

/// How many records of `total` belong to `thread` of `threads`; also how a count of operations is shared out.
///
/// ```
/// assert_eq!(workloads::oracle::share(10, 0, 4) + workloads::oracle::share(10, 3, 4), 3 + 2);
/// ```
pub const fn share(total: u64, thread: u32, threads: u32) -> u64 {
    total / threads as u64 + if (thread as u64) < total % threads as u64 { 1 } else { 0 }
}

/// The expected state of the records of one thread.
#[derive(Clone, Debug)]
pub struct Oracle {
    key: KeyKind,
    values: Values,
    thread: u32,
    threads: u32,
    slots: Vec<u32>,
    live: u64,
    live_value_bytes: u64,
    lanes: Lanes,
}

/// How far the oldest records were deleted by range. Local record `i` is the point `i / count` of lane `i % count`.
#[derive(Clone, Debug)]
struct Lanes {
    count: u64,
    /// The first point of each lane that was not deleted.
    floors: Vec<u64>,
    /// The lane that is next.
    turn: u64,
    /// Local records below this are deleted in every lane.
    base: u64,
}

impl Lanes {
    fn new(key: KeyKind, threads: u32) -> Lanes {
        let count = match key {
            KeyKind::Series16 { series } if series.is_multiple_of(threads) => {
                u64::from(series / threads).max(1)
            }
            _ => 1,
        };
        Lanes { count, floors: Vec::new(), turn: 0, base: 0 }
    }

    fn floor(&self, lane: u64) -> u64 {
        self.floors.get(lane as usize).copied().unwrap_or(0)
    }

    fn raise(&mut self, lane: u64, floor: u64) {
        self.floors.resize(self.count as usize, 0);
        self.floors[lane as usize] = floor;
        self.turn = (lane + 1) % self.count;
        self.base = self.floors.iter().min().map_or(0, |floor| floor * self.count);
    }
}

impl Oracle {
    /// An oracle of an empty store for `thread` of `threads` (0 counts as 1).
    pub fn new(data: &DataSpec, thread: u32, threads: u32) -> Oracle {
        let threads = threads.max(1);
        Oracle {
            key: data.key.kind,
            values: data.values(),
            thread: thread % threads,
            threads,
            slots: Vec::new(),
            live: 0,
            live_value_bytes: 0,
            lanes: Lanes::new(data.key.kind, threads),
        }
    }

    /// The thread and the number of threads.
    pub fn part(&self) -> (u32, u32) {
        (self.thread, self.threads)
    }

    /// The kind of the keys.
    pub fn key_kind(&self) -> KeyKind {
        self.key
    }

    /// The maker of the values.
    pub fn values(&self) -> Values {
        self.values
    }

    /// Whether `record` belongs to this thread.
    #[inline]
    pub fn owns(&self, record: u64) -> bool {
        self.local(record).is_some()
    }

    /// The local number of a record of this thread. Asked several times an operation, and a division takes as long as
    /// all the rest of it, so one thread does without.
    #[inline]
    fn local(&self, record: u64) -> Option<u64> {
        if self.threads == 1 {
            return Some(record);
        }
        let threads = u64::from(self.threads);
        let local = record / threads;
        (record - local * threads == u64::from(self.thread)).then_some(local)
    }

    /// The number of local record numbers in use: the highest ever written plus one.
    #[inline]
    pub fn population(&self) -> u64 {
        self.slots.len() as u64
    }

    /// The record with the local number `local`.
    #[inline]
    pub fn record(&self, local: u64) -> u64 {
        local * u64::from(self.threads) + u64::from(self.thread)
    }

    #[inline]
    fn slot(&self, record: u64) -> u32 {
        let slot = self.local(record).and_then(|local| self.slots.get(local as usize));
        slot.copied().unwrap_or(NEVER)
    }

    /// The version that must be found now, `None` where nothing must be found. For records of other threads,
    /// of which nothing is known, also `None`: ask [`Oracle::owns`].
    #[inline]
    pub fn version(&self, record: u64) -> Option<u32> {
        let slot = self.slot(record);
        (slot != NEVER && slot & DELETED == 0).then_some(slot)
    }

    /// The version that the next write of `record` must carry: from 1 up, counting on over deletes.
    #[inline]
    pub fn next_version(&self, record: u64) -> u32 {
        // After 2^31 - 1 versions of one record they begin again.
        ((self.slot(record) & !DELETED) % (DELETED - 1)) + 1
    }

    /// Takes note that `op` took effect. In a batch, call it for each operation as it is put into the batch,
    /// before the next is drawn; if the batch then fails, the oracle no longer describes the store.
    #[inline]
    pub fn acknowledge(&mut self, op: Op) {
        match op {
            Op::Get { .. } | Op::GetAbsent { .. } | Op::Scan { .. } => {}
            Op::Put { record, version }
            | Op::Update { record, version }
            | Op::Insert { record, version }
            | Op::Rmw { record, version } => self.set(record, version),
            Op::Delete { record, version } => self.set(record, version | DELETED),
            Op::DeleteRange { record, count } => {
                for record in self.records_of(op) {
                    if let Some(version) = self.version(record) {
                        self.set(record, version | DELETED);
                    }
                }
                let local = record / u64::from(self.threads);
                let (lane, point) = (local % self.lanes.count, local / self.lanes.count);
                self.lanes.raise(lane, point + u64::from(count));
            }
        }
    }

    /// The records that `op` is about: one, or all those of a range delete.
    pub fn records_of(&self, op: Op) -> impl Iterator<Item = u64> + use<> {
        let count = if let Op::DeleteRange { count, .. } = op { u64::from(count) } else { 1 };
        let step = self.lanes.count * u64::from(self.threads);
        (0..count).map(move |i| op.record() + i * step)
    }

    /// The first key a range delete removes and the first it keeps. For other operations the range of their key
    /// alone, up to the next record's.
    pub fn range(&self, op: Op) -> (Key, Key) {
        let count = if let Op::DeleteRange { count, .. } = op { u64::from(count) } else { 1 };
        let step = self.lanes.count * u64::from(self.threads);
        (self.key.encode(op.record()), self.key.encode(op.record() + count * step))
    }

    /// The range delete that leaves the newest `retain` records of all threads: the oldest ones of the next lane
    /// that has such. `None` when there is nothing to delete.
    pub fn expired(&self, retain: u64) -> Option<Op> {
        let lanes = self.lanes.count;
        let points_kept = (retain / lanes / u64::from(self.threads)).max(1);
        (0..lanes).map(|step| (self.lanes.turn + step) % lanes).find_map(|lane| {
            let points = (self.population() + lanes - 1).saturating_sub(lane) / lanes;
            let floor = self.lanes.floor(lane);
            let count = points.saturating_sub(points_kept).saturating_sub(floor).min(u64::from(u32::MAX));
            let record = self.record(floor * lanes + lane);
            (count > 0).then_some(Op::DeleteRange { record, count: count as u32 })
        })
    }

    /// The local number from which on records may exist: those below were deleted by range, and exist again only
    /// if a write created them.
    #[inline]
    pub fn base(&self) -> u64 {
        self.lanes.base
    }

    /// The length of the value of `version` of `record`, in bytes.
    #[inline]
    pub fn value_len(&self, record: u64, version: u32) -> usize {
        self.values.fixed_len().unwrap_or_else(|| self.values.len(&self.key.encode(record), version))
    }

    #[inline]
    fn set(&mut self, record: u64, slot: u32) {
        let local = self.local(record);
        debug_assert!(local.is_some(), "a thread writes only its own records");
        let Some(local) = local.map(|local| local as usize) else { return };
        if local >= self.slots.len() {
            self.slots.resize(local + 1, NEVER);
        }
        let is_live = |slot: u32| slot != NEVER && slot & DELETED == 0;
        let old = self.slots[local];
        if is_live(slot) {
            self.live += 1;
            self.live_value_bytes += self.value_len(record, slot) as u64;
        }
        if is_live(old) {
            self.live -= 1;
            self.live_value_bytes -= self.value_len(record, old) as u64;
        }
        self.slots[local] = slot;
    }

    /// The number of records that exist now.
    pub fn live_count(&self) -> u64 {
        self.live
    }

    /// Key and value bytes of the records that exist now.
    pub fn live_bytes(&self) -> u64 {
        self.live * self.key.len_bytes() as u64 + self.live_value_bytes
    }

    /// The records that exist now with their versions, in record order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u32)> {
        let live = |(local, &slot): (usize, &u32)| {
            (slot != NEVER && slot & DELETED == 0).then(|| (self.record(local as u64), slot))
        };
        self.slots.iter().enumerate().filter_map(live)
    }

    /// About the share `share` (0 to 1) of the records ever written, deleted ones too, chosen by `seed`: those
    /// to read back one by one. [`Oracle::check_get`] judges what is found.
    pub fn sample(&self, share: f64, seed: u64) -> impl Iterator<Item = u64> {
        let stream = Stream::new(seed, SAMPLE_STREAM);
        let written = |(local, slot): (usize, &u32)| (*slot != NEVER).then(|| self.record(local as u64));
        let chosen = move |record: &u64| stream.draws(*record).unit() < share;
        self.slots.iter().enumerate().filter_map(written).filter(chosen)
    }

    /// The key an operation is about.
    #[inline]
    pub fn key(&self, op: Op) -> Key {
        match op {
            Op::GetAbsent { record } => self.key.absent(record),
            _ => self.key.encode(op.record()),
        }
    }

    /// Checks what a get of `record` found.
    pub fn check_get(&self, record: u64, found: Option<&[u8]>) -> Result<(), Mismatch> {
        self.check_found(record, &self.key.encode(record), found)
    }

    /// The same for a caller who has the record's key at hand.
    #[inline]
    pub fn check_found(&self, record: u64, key: &[u8], found: Option<&[u8]>) -> Result<(), Mismatch> {
        match (self.version(record), found) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(Mismatch::Unexpected),
            (Some(expected), None) => Err(Mismatch::Missing { expected }),
            (Some(expected), Some(value)) => self.values.check_version(key, expected, value),
        }
    }

    /// Checks one entry of a scan and tells its version. Entries of other threads are checked as far as their
    /// own bytes tell: the value must be whole and belong to its key.
    pub fn check_entry(&self, key: &[u8], value: &[u8]) -> Result<u32, Mismatch> {
        let id = self.key.decode(key).filter(|id| !id.absent).ok_or(Mismatch::Unexpected)?;
        if !self.owns(id.record) {
            return self.values.check(key, value);
        }
        let expected = self.version(id.record).ok_or(Mismatch::Unexpected)?;
        self.values.check_version(key, expected, value)?;
        Ok(expected)
    }

    /// The digest that a full scan must have. Costs one key and two hashes per record.
    pub fn content(&self) -> ContentDigest {
        let mut digest = ContentDigest::default();
        for (record, version) in self.iter() {
            let key = self.key.encode(record);
            digest.add(&key, self.values.len(&key, version), version);
        }
        digest
    }
}

/// The content of a store in three words that do not depend on order: parts can be merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ContentDigest {
    /// The number of entries.
    pub entries: u64,
    /// Their key and value bytes.
    pub bytes: u64,
    /// The XOR over all entries of a hash of key and version.
    pub xor: u64,
}

impl ContentDigest {
    /// Adds one entry.
    pub fn add(&mut self, key: &[u8], value_bytes: usize, version: u32) {
        self.entries += 1;
        self.bytes += (key.len() + value_bytes) as u64;
        self.xor ^= mix64(key_hash(key) ^ mix64(!u64::from(version)));
    }

    /// Adds the entries of another part, such as another thread's.
    pub fn merge(&mut self, other: ContentDigest) {
        self.entries += other.entries;
        self.bytes += other.bytes;
        self.xor ^= other.xor;
    }
}
