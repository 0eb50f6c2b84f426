//! Memtable: the newest entries in memory, sorted, every version of every key.
//!
//! One writer at a time inserts (the commit lock sees to that); readers never wait. Behind [`MemIndex`] stands a
//! skiplist, the textbook choice; a hash index over an append log, sorted on demand, is to come as a second one.

use std::sync::Arc;

use arc_swap::ArcSwap;
use kv_api::{Direction, Op, SeqNo};
use kv_io::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use kv_io::sync::atomic::{AtomicBool, AtomicU64};

use crate::cursor::Cursor;
use crate::entry::{Entry, Kind, Tag};
use crate::memtable::index::{MemIndex, NODE_BYTES, Place, RUN_COUNT_MAX, Run, SkipIndex};
use crate::num::to_u64;
use crate::range_tombstone::{Fragments, RangeTombstone};

pub mod index;

/// Range deletes that nest cost the product of their number with itself, and each new one cuts all of it anew: a memtable
/// that holds so much is full, whatever its bytes say.
const PAIRS_MAX: u64 = 64 << 10;

/// Entries and range tombstones in memory, with their cost.
pub struct Memtable {
    index: Box<dyn MemIndex>,
    tombstones: ArcSwap<Fragments>,
    has_tombstones: AtomicBool,
    first_seq: SeqNo,
    entries: AtomicU64,
    index_bytes: AtomicU64,
    /// What `tombstones` holds: every put asks for the sum, and there may be many fragments.
    tombstone_bytes: AtomicU64,
    /// Its (fragment, age) pairs, and the most ages of one fragment.
    tombstone_pairs: AtomicU64,
    tombstone_ages: AtomicU64,
    user_bytes: AtomicU64,
}

impl std::fmt::Debug for Memtable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Memtable({} entries from {})", self.entries(), self.first_seq)
    }
}

impl Memtable {
    /// An empty one for operations from `first_seq` on.
    pub fn new(first_seq: SeqNo) -> Memtable {
        Memtable {
            index: Box::new(SkipIndex::default()),
            tombstones: ArcSwap::default(),
            has_tombstones: AtomicBool::new(false),
            first_seq,
            entries: AtomicU64::new(0),
            index_bytes: AtomicU64::new(0),
            tombstone_bytes: AtomicU64::new(0),
            tombstone_pairs: AtomicU64::new(0),
            tombstone_ages: AtomicU64::new(0),
            user_bytes: AtomicU64::new(0),
        }
    }

    /// The first operation it may hold: the log before it is not needed for it.
    pub fn first_seq(&self) -> SeqNo {
        self.first_seq
    }

    /// Entries, every version counted.
    pub fn entries(&self) -> u64 {
        self.entries.load(Relaxed)
    }

    /// Bytes charged to the memory budget.
    pub fn bytes(&self) -> u64 {
        self.index_bytes.load(Relaxed) + self.tombstone_bytes.load(Relaxed)
    }

    /// False if range deletes among `ops` more operations could make more pairs of fragment and age than
    /// `PAIRS_MAX`: each bound may cut a fragment with all its ages in two. One that holds none takes any batch.
    pub fn takes_range_deletes(&self, ops: u64) -> bool {
        let (pairs, ages) = (self.tombstone_pairs.load(Relaxed), self.tombstone_ages.load(Relaxed));
        pairs == 0 || pairs.saturating_add(ops.saturating_mul(2 * (ages + 1))) <= PAIRS_MAX
    }

    /// Key and value bytes held: about what a table of it will take.
    pub fn user_bytes(&self) -> u64 {
        self.user_bytes.load(Relaxed)
    }

    /// True if it holds nothing, not even a range tombstone.
    pub fn is_empty(&self) -> bool {
        self.entries() == 0 && self.tombstones.load().is_empty()
    }

    /// Its range tombstones of this moment.
    pub fn tombstones(&self) -> Arc<Fragments> {
        self.tombstones.load_full()
    }

    /// Adds the operations of one batch, numbered from `first_seq`. Callers hold the commit lock.
    pub fn apply<'a>(&self, first_seq: SeqNo, ops: impl Iterator<Item = Op<'a>>) {
        let mut deleted = Vec::new();
        let (mut entries, mut index_bytes, mut user_bytes) = (0, 0, 0);
        let mut found = (first_seq..).zip(ops).filter_map(|(seq, op)| {
            let (key, kind, value): (_, _, &[u8]) = match op {
                Op::Put { key, value } => (key, Kind::Put, value),
                Op::Delete { key } => (key, Kind::Delete, &[]),
                Op::DeleteRange { start, end } => {
                    deleted.push(RangeTombstone { start: start.into(), end: end.map(Arc::from), seq });
                    return None;
                }
            };
            let bytes = to_u64(key.len() + value.len());
            entries += 1;
            user_bytes += bytes;
            index_bytes += NODE_BYTES + bytes.next_multiple_of(16);
            Some(Entry { key, tag: Tag::new(seq, kind), value })
        });
        match (found.next(), found.next()) {
            (Some(only), None) => self.index.insert(only),
            (Some(first), Some(second)) => {
                self.index.insert_all(&mut [first, second].into_iter().chain(found))
            }
            (None, _) => {}
        }
        if !deleted.is_empty() {
            let tombstones = self.tombstones.load().with_batch(deleted);
            self.tombstone_bytes.store(tombstones.bytes(), Relaxed);
            self.tombstone_pairs.store(tombstones.count(), Relaxed);
            self.tombstone_ages.store(tombstones.ages_max(), Relaxed);
            self.tombstones.store(Arc::new(tombstones));
            self.has_tombstones.store(true, Release);
        }
        self.entries.fetch_add(entries, Relaxed);
        self.user_bytes.fetch_add(user_bytes, Relaxed);
        self.index_bytes.fetch_add(index_bytes, Relaxed);
    }

    /// Calls `found` with the newest entry of `key` for a reader at `seq`; false if there is none.
    #[inline]
    pub fn get(&self, key: &[u8], seq: SeqNo, found: &mut dyn FnMut(Entry<'_>)) -> bool {
        self.entries() > 0 && self.index.get(key, Tag::up_to(seq), found)
    }

    /// Age of the newest range delete over `key` for a reader at `seq`; 0 if there is none.
    #[inline]
    pub fn deleted_at(&self, key: &[u8], seq: SeqNo) -> SeqNo {
        if self.has_tombstones.load(Acquire) { self.tombstones.load().covering(key, seq) } else { 0 }
    }

    /// A walk over all entries; it stands nowhere until it is told where.
    pub fn cursor(self: &Arc<Self>, direction: Direction) -> MemCursor {
        MemCursor {
            memtable: Arc::clone(self),
            direction,
            run: Run::default(),
            at: 0,
            count: 4,
            last: Vec::new(),
        }
    }
}

/// A walk over a memtable by copied runs of entries, short at first.
#[derive(Debug)]
pub struct MemCursor {
    memtable: Arc<Memtable>,
    direction: Direction,
    run: Run,
    at: usize,
    count: usize,
    last: Vec<u8>,
}

impl MemCursor {
    fn fill(&mut self, place: Place<'_>) {
        self.run.clear();
        self.at = 0;
        self.memtable.index.copy_run(place, self.direction, self.count, &mut self.run);
        self.count = (self.count * 2).min(RUN_COUNT_MAX);
    }
}

impl Cursor for MemCursor {
    fn entry(&self) -> Option<Entry<'_>> {
        self.run.entry(self.at)
    }

    fn next(&mut self) -> kv_api::Result<()> {
        self.at += 1;
        if self.at < self.run.len() {
            return Ok(());
        }
        let Some(last) = self.run.entry(self.at - 1) else { return Ok(()) };
        let mut key = std::mem::take(&mut self.last);
        key.clear();
        key.extend_from_slice(last.key);
        let tag = last.tag;
        self.fill(Place::Beyond(&key, tag));
        self.last = key;
        Ok(())
    }

    fn rewind(&mut self) -> kv_api::Result<()> {
        self.fill(Place::Edge);
        Ok(())
    }

    fn seek(&mut self, key: &[u8], tag: Tag) -> kv_api::Result<()> {
        self.fill(Place::Before(key, tag));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kv_api::{Batch, KeyRange};

    use super::*;

    fn filled() -> Arc<Memtable> {
        let memtable = Memtable::new(1);
        let mut batch = Batch::new();
        batch.put(b"b", b"1").put(b"a", b"2").put(b"b", b"3").delete(b"a");
        memtable.apply(1, batch.ops());
        Arc::new(memtable)
    }

    fn get(memtable: &Memtable, key: &[u8], seq: SeqNo) -> (Option<(SeqNo, Kind, Vec<u8>)>, SeqNo) {
        let mut found = None;
        memtable.get(key, seq, &mut |entry| {
            found = Some((entry.tag.seq(), entry.tag.kind(), entry.value.to_vec()));
        });
        let deleted = memtable.deleted_at(key, seq);
        (found, deleted)
    }

    #[test]
    fn a_reader_sees_the_newest_version_up_to_its_own_age() {
        let memtable = filled();
        assert_eq!(get(&memtable, b"b", 9).0, Some((3, Kind::Put, b"3".to_vec())));
        assert_eq!(get(&memtable, b"b", 2).0, Some((1, Kind::Put, b"1".to_vec())));
        assert_eq!(get(&memtable, b"a", 9).0, Some((4, Kind::Delete, Vec::new())));
        assert_eq!(get(&memtable, b"a", 1), (None, 0));
        assert_eq!(get(&memtable, b"c", 9), (None, 0));
    }

    #[test]
    fn range_deletes_are_told_beside_the_entry() {
        let memtable = filled();
        let mut batch = Batch::new();
        batch.delete_range(KeyRange::from(b"a".as_slice()..b"b".as_slice()));
        memtable.apply(5, batch.ops());
        assert_eq!(get(&memtable, b"a", 9).1, 5);
        assert_eq!(get(&memtable, b"a", 4).1, 0);
        assert_eq!(get(&memtable, b"b", 9).1, 0);
    }

    #[test]
    fn a_walk_meets_every_version_in_order_both_ways() -> kv_api::Result<()> {
        let memtable = filled();
        for (direction, want) in [
            (Direction::Forward, vec![(b"a", 4), (b"a", 2), (b"b", 3), (b"b", 1)]),
            (Direction::Reverse, vec![(b"b", 1), (b"b", 3), (b"a", 2), (b"a", 4)]),
        ] {
            let mut cursor = memtable.cursor(direction);
            // Runs of one entry, so that every step crosses from one run into the next.
            cursor.count = 1;
            cursor.rewind()?;
            let mut seen = Vec::new();
            while let Some(entry) = cursor.entry() {
                seen.push((entry.key.to_vec(), entry.tag.seq()));
                cursor.count = 1;
                cursor.next()?;
            }
            let want: Vec<_> = want.into_iter().map(|(key, seq)| (key.to_vec(), seq)).collect();
            assert_eq!(seen, want);
        }
        Ok(())
    }

    #[test]
    fn a_seek_lands_in_the_gap_and_the_direction_decides() -> kv_api::Result<()> {
        let memtable = filled();
        let at = |direction, key: &[u8], tag| -> kv_api::Result<Option<SeqNo>> {
            let mut cursor = memtable.cursor(direction);
            cursor.seek(key, tag)?;
            Ok(cursor.entry().map(|entry| entry.tag.seq()))
        };
        assert_eq!(at(Direction::Forward, b"b", Tag::NEWEST)?, Some(3));
        assert_eq!(at(Direction::Forward, b"b", Tag::up_to(2))?, Some(1));
        assert_eq!(at(Direction::Reverse, b"b", Tag::NEWEST)?, Some(2));
        assert_eq!(at(Direction::Reverse, b"b", Tag::OLDEST)?, Some(1));
        assert_eq!(at(Direction::Reverse, b"a", Tag::NEWEST)?, None);
        Ok(())
    }

    #[test]
    fn the_charge_grows_with_every_entry() {
        let memtable = Memtable::new(1);
        assert!(memtable.is_empty() && memtable.bytes() == 0);
        let mut batch = Batch::new();
        batch.put(&[1; 16], &[2; 112]);
        memtable.apply(1, batch.ops());
        assert_eq!(memtable.bytes(), NODE_BYTES + 128);
        assert_eq!((memtable.entries(), memtable.user_bytes()), (1, 128));
        for (seq, start) in [(2, b"a"), (3, b"x")] {
            let before = memtable.bytes();
            batch.clear();
            batch.delete_range(KeyRange::from(start.as_slice()..));
            memtable.apply(seq, batch.ops());
            assert!(memtable.bytes() > before);
            assert_eq!(memtable.bytes(), NODE_BYTES + 128 + memtable.tombstones().bytes());
        }
    }
}
