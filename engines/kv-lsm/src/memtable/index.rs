//! The index of a memtable: the trait in front of it, the skiplist behind it, and runs of entries copied out of it.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use crossbeam_skiplist::SkipMap;
use kv_api::Direction;

use crate::entry::{Entry, Tag, compare, head64};
use crate::num::to_u32;

/// A sorted set of entries that one thread adds to while others read.
pub trait MemIndex: Send + Sync {
    /// Adds an entry; no two entries have the same key and tag.
    fn insert(&self, entry: Entry<'_>);

    /// Adds the entries of one batch, each for itself as by [`MemIndex::insert`]; they may share memory.
    fn insert_all(&self, entries: &mut dyn Iterator<Item = Entry<'_>>) {
        entries.for_each(|entry| self.insert(entry));
    }

    /// Calls `found` with the first entry of `key` at or after `tag`, or returns false if there is none.
    fn get(&self, key: &[u8], tag: Tag, found: &mut dyn FnMut(Entry<'_>)) -> bool;

    /// Appends up to `count` entries to `run`, from `place` in `direction`. Copies, so that a walk holds no
    /// reference into the index between two calls.
    fn copy_run(&self, place: Place<'_>, direction: Direction, count: usize, run: &mut Run);
}

/// Where a walk begins: the gap between two entries, or an end.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// The end that the direction starts from.
    Edge,
    /// Before the first entry at or after this key and tag: forward gives that one, reverse the one before it.
    Before(&'a [u8], Tag),
    /// Behind the entry with this key and tag, in the direction of the walk.
    Beyond(&'a [u8], Tag),
}

/// Bytes of a skiplist node besides key and value: counts, the record, a tower of two links on average, the counts of
/// shared bytes, and what the allocator adds to two allocations. The entries of a batch share some of it.
pub const NODE_BYTES: u64 = 8 + 56 + 16 + 16 + 16;

/// A skiplist (Pugh, CACM 1990), lock-free for readers and writers.
#[derive(Default)]
pub struct SkipIndex {
    map: SkipMap<Record, ()>,
}

/// What the skiplist stores: where key and value lie, one behind the other, and the head beside the node so that most
/// comparisons stay in the node. Its two words have sixteen bytes of the key, for keys often begin alike: with eight,
/// keys of "user" and twenty digits tied in the last comparisons of each search, each a wait for memory elsewhere.
///
/// The entries of a batch share one allocation. With one for each, an allocator spends as long on giving back a flushed
/// memtable as on filling it, and the thread that asks it next waits for that.
struct Record {
    head: [u64; 2],
    tag: Tag,
    bytes: Arc<[u8]>,
    start: u32,
    key_len: u32,
    value_len: u32,
}

impl Record {
    fn entry(&self) -> Entry<'_> {
        let from = self.bytes.get(self.start as usize..).unwrap_or_default();
        let (key, rest) = from.split_at_checked(self.key_len as usize).unwrap_or_default();
        Entry { key, tag: self.tag, value: rest.get(..self.value_len as usize).unwrap_or_default() }
    }
}

/// The first sixteen bytes of `key` as two numbers, which compare as they do.
fn head_of(key: &[u8]) -> [u64; 2] {
    [head64(key), head64(key.get(8..).unwrap_or_default())]
}

/// A key and tag to look for, without building a [`Record`].
struct Probe<'a> {
    head: [u64; 2],
    tag: Tag,
    key: &'a [u8],
}

/// What records and probes are compared by: nearly always the head alone, so that a search does not even look up where
/// the rest of a record lies.
trait Sorted {
    fn head(&self) -> [u64; 2];
    fn key_and_tag(&self) -> (&[u8], Tag);
}

impl Sorted for Record {
    #[inline]
    fn head(&self) -> [u64; 2] {
        self.head
    }

    fn key_and_tag(&self) -> (&[u8], Tag) {
        (self.entry().key, self.tag)
    }
}

impl Sorted for Probe<'_> {
    #[inline]
    fn head(&self) -> [u64; 2] {
        self.head
    }

    fn key_and_tag(&self) -> (&[u8], Tag) {
        (self.key, self.tag)
    }
}

#[inline]
fn order<T: Sorted + ?Sized>(a: &T, b: &T) -> Ordering {
    a.head().cmp(&b.head()).then_with(|| compare(a.key_and_tag(), b.key_and_tag()))
}

impl<'a> Borrow<dyn Sorted + 'a> for Record {
    fn borrow(&self) -> &(dyn Sorted + 'a) {
        self
    }
}

impl PartialEq for dyn Sorted + '_ {
    fn eq(&self, other: &Self) -> bool {
        order(self, other).is_eq()
    }
}

impl Eq for dyn Sorted + '_ {}

impl PartialOrd for dyn Sorted + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Sorted + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        order(self, other)
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Record {}

impl PartialOrd for Record {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Record {
    fn cmp(&self, other: &Self) -> Ordering {
        order(self, other)
    }
}

impl SkipIndex {
    /// Adds `entry`, whose key and value lie in `bytes` from `start` on.
    fn link(&self, entry: &Entry<'_>, bytes: Arc<[u8]>, start: u32) {
        let (key_len, value_len) = (to_u32(entry.key.len()), to_u32(entry.value.len()));
        let record = Record { head: head_of(entry.key), tag: entry.tag, bytes, start, key_len, value_len };
        self.map.get_or_insert(record, ());
    }
}

impl MemIndex for SkipIndex {
    fn insert(&self, entry: Entry<'_>) {
        // Zeros first: so all is copied into its place, without a buffer in between.
        let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, entry.key.len() + entry.value.len()).collect();
        if let Some(place) = Arc::get_mut(&mut bytes) {
            let (key, value) = place.split_at_mut(entry.key.len());
            key.copy_from_slice(entry.key);
            value.copy_from_slice(entry.value);
        }
        self.link(&entry, bytes, 0);
    }

    fn insert_all(&self, entries: &mut dyn Iterator<Item = Entry<'_>>) {
        let mut run = Run::default();
        entries.for_each(|entry| run.push(entry));
        let bytes: Arc<[u8]> = run.bytes.as_slice().into();
        for (at, span) in run.spans.iter().enumerate() {
            let Some(entry) = run.entry(at) else { continue };
            self.link(&entry, Arc::clone(&bytes), to_u32(span.start));
        }
    }

    fn get(&self, key: &[u8], tag: Tag, found: &mut dyn FnMut(Entry<'_>)) -> bool {
        let probe = Probe { head: head_of(key), tag, key };
        let Some(node) = self.map.lower_bound::<dyn Sorted>(Bound::Included(&probe)) else { return false };
        let entry = node.key().entry();
        if entry.key != key {
            return false;
        }
        found(entry);
        true
    }

    fn copy_run(&self, place: Place<'_>, direction: Direction, count: usize, run: &mut Run) {
        let probe = |key, tag| Probe { head: head_of(key), tag, key };
        let first = match (place, direction) {
            (Place::Edge, Direction::Forward) => self.map.front(),
            (Place::Edge, Direction::Reverse) => self.map.back(),
            (Place::Before(key, tag), Direction::Forward) => {
                self.map.lower_bound::<dyn Sorted>(Bound::Included(&probe(key, tag)))
            }
            (Place::Beyond(key, tag), Direction::Forward) => {
                self.map.lower_bound::<dyn Sorted>(Bound::Excluded(&probe(key, tag)))
            }
            (Place::Before(key, tag) | Place::Beyond(key, tag), Direction::Reverse) => {
                self.map.upper_bound::<dyn Sorted>(Bound::Excluded(&probe(key, tag)))
            }
        };
        let Some(mut node) = first else { return };
        for _ in 0..count {
            run.push(node.key().entry());
            let moved = match direction {
                Direction::Forward => node.move_next(),
                Direction::Reverse => node.move_prev(),
            };
            if !moved || run.bytes.len() >= RUN_BYTES_MAX {
                break;
            }
        }
    }
}

/// A run stops growing once it holds this many bytes.
const RUN_BYTES_MAX: usize = 64 << 10;
/// The longest run, in entries.
pub const RUN_COUNT_MAX: usize = 64;

/// Copies of consecutive entries, in the direction of the walk that made them.
#[derive(Debug, Default)]
pub struct Run {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    key_len: usize,
    value_len: usize,
    tag: Tag,
}

impl Run {
    fn push(&mut self, entry: Entry<'_>) {
        let span = Span {
            start: self.bytes.len(),
            key_len: entry.key.len(),
            value_len: entry.value.len(),
            tag: entry.tag,
        };
        self.bytes.extend_from_slice(entry.key);
        self.bytes.extend_from_slice(entry.value);
        self.spans.push(span);
    }

    /// Forgets the entries.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
        // A single huge value must not stay with the walk.
        self.bytes.shrink_to(2 * RUN_BYTES_MAX);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Entry `at`, if there are so many.
    pub fn entry(&self, at: usize) -> Option<Entry<'_>> {
        let span = self.spans.get(at)?;
        let bytes = self.bytes.get(span.start..)?;
        let (key, rest) = bytes.split_at_checked(span.key_len)?;
        Some(Entry { key, tag: span.tag, value: rest.get(..span.value_len)? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entry::Kind;

    proptest! {
        #[test]
        fn entries_with_equal_heads_stand_in_the_order_of_entries(
            // Zeros at the end of a key look in its head like no bytes at all.
            keys in proptest::collection::vec(proptest::collection::vec(0_u8..2, 0..20), 1..60),
            absent in proptest::collection::vec(0_u8..2, 0..20),
        ) {
            let tag = |seq: usize| Tag::new(seq as u64 + 1, Kind::Put);
            let index = SkipIndex::default();
            for (seq, key) in keys.iter().enumerate() {
                index.insert(Entry { key, tag: tag(seq), value: key });
            }
            let mut run = Run::default();
            index.copy_run(Place::Edge, Direction::Forward, RUN_COUNT_MAX, &mut run);
            let found: Vec<(&[u8], Tag)> =
                (0..run.len()).filter_map(|at| run.entry(at)).map(|entry| (entry.key, entry.tag)).collect();
            prop_assert_eq!(found.len(), keys.len());
            prop_assert!(found.is_sorted_by(|a, b| compare(*a, *b).is_lt()));
            for (seq, key) in keys.iter().enumerate() {
                prop_assert!(index.get(key, tag(seq), &mut |entry| assert_eq!(entry.tag, tag(seq))));
            }
            let was_put = keys.contains(&absent);
            prop_assert_eq!(index.get(&absent, Tag::NEWEST, &mut |_| ()), was_put);
        }
    }
}
