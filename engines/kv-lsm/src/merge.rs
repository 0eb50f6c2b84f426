//! Merge: several sorted sources seen as one.
//!
//! [`LoserTree`] is what the engine uses: a tournament (Knuth, TAOCP 3, 5.4.1) whose inner nodes remember the
//! loser, so a step replays one path: log2(n) comparisons, most of them of two numbers. [`HeapMerge`] is the
//! textbook version beside it, for comparison.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;

use kv_api::{Direction, Result};

use crate::cursor::Cursor;
use crate::entry::{Entry, Tag, compare, head64};
use crate::memtable::{MemCursor, Memtable};
use crate::sstable::cursor::{Fetch, TableCursor};
use crate::sstable::reader::Table;
use crate::version::LevelCursor;

/// One source of a merge: concrete, so that no step is a virtual call.
#[derive(Debug)]
pub enum Source {
    /// A memtable.
    Mem(MemCursor),
    /// A table of level 0.
    Table(TableCursor),
    /// A deeper level: tables that do not overlap, one after another.
    Level(LevelCursor),
}

impl Source {
    /// A walk over a memtable.
    pub fn memtable(memtable: &Arc<Memtable>, direction: Direction) -> Source {
        Source::Mem(memtable.cursor(direction))
    }

    /// A walk over one table.
    pub fn table(table: &Arc<Table>, direction: Direction, fetch: Fetch) -> Source {
        Source::Table(TableCursor::new(Arc::clone(table), direction, fetch))
    }

    /// A walk over tables in key order that do not overlap.
    pub fn level(tables: &Arc<[Arc<Table>]>, direction: Direction, fetch: Fetch) -> Source {
        Source::Level(LevelCursor::new(Arc::clone(tables), direction, fetch))
    }
}

macro_rules! each {
    ($self:ident, $cursor:ident => $call:expr) => {
        match $self {
            Source::Mem($cursor) => $call,
            Source::Table($cursor) => $call,
            Source::Level($cursor) => $call,
        }
    };
}

impl Cursor for Source {
    #[inline]
    fn entry(&self) -> Option<Entry<'_>> {
        each!(self, cursor => cursor.entry())
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        each!(self, cursor => cursor.next())
    }

    fn rewind(&mut self) -> Result<()> {
        each!(self, cursor => cursor.rewind())
    }

    fn seek(&mut self, key: &[u8], tag: Tag) -> Result<()> {
        each!(self, cursor => cursor.seek(key, tag))
    }
}

/// A merge by tournament. Sources are given newest first, which decides between equal entries.
#[derive(Debug)]
pub struct LoserTree<C> {
    sources: Vec<C>,
    /// Eight bytes of each source's key behind the prefix that all keys share; `None` at its end.
    heads: Vec<Option<u64>>,
    /// Inner node `n` (from 1) remembers who lost there.
    losers: Vec<usize>,
    winner: usize,
    direction: Direction,
    prefix_len: usize,
}

impl<C: Cursor> LoserTree<C> {
    /// A merge of `sources`, which all walk in `direction`. All their keys share their first `prefix_len` bytes.
    pub fn new(sources: Vec<C>, direction: Direction, prefix_len: usize) -> LoserTree<C> {
        let count = sources.len();
        LoserTree {
            sources,
            heads: vec![None; count],
            losers: vec![0; count],
            winner: 0,
            direction,
            prefix_len,
        }
    }

    /// Which source the entry comes from, as an index into those given.
    pub fn source(&self) -> usize {
        self.winner
    }

    fn refresh(&mut self, source: usize) {
        let entry = self.sources.get(source).and_then(Cursor::entry);
        let head = entry.map(|entry| head64(entry.key.get(self.prefix_len..).unwrap_or_default()));
        if let Some(slot) = self.heads.get_mut(source) {
            *slot = head;
        }
    }

    /// True if source `a` comes before source `b`.
    #[inline]
    fn is_before(&self, a: usize, b: usize) -> bool {
        let head = |i: usize| self.heads.get(i).copied().flatten();
        let order = match (head(a), head(b)) {
            (Some(a_head), Some(b_head)) if a_head != b_head => a_head.cmp(&b_head),
            (Some(_), Some(_)) => self.compare_entries(a, b),
            // A source at its end comes last, whichever way the others walk.
            (a_head, b_head) => return a_head.is_some() && b_head.is_none(),
        };
        match self.direction {
            Direction::Forward => order == Ordering::Less,
            Direction::Reverse => order == Ordering::Greater,
        }
    }

    fn compare_entries(&self, a: usize, b: usize) -> Ordering {
        let entry = |i: usize| self.sources.get(i).and_then(Cursor::entry);
        match (entry(a), entry(b)) {
            (Some(x), Some(y)) => compare((x.key, x.tag), (y.key, y.tag)).then(a.cmp(&b)),
            _ => a.cmp(&b),
        }
    }

    /// Plays the whole tournament.
    fn rebuild(&mut self) {
        let count = self.sources.len();
        (0..count).for_each(|source| self.refresh(source));
        let mut winners = vec![0; 2 * count];
        (0..count).for_each(|source| winners[count + source] = source);
        for node in (1..count).rev() {
            let (a, b) = (winners[2 * node], winners[2 * node + 1]);
            let (winner, loser) = if self.is_before(b, a) { (b, a) } else { (a, b) };
            winners[node] = winner;
            self.losers[node] = loser;
        }
        self.winner = winners.get(1).copied().unwrap_or(0);
    }

    /// Replays the path of the source that moved.
    #[inline]
    fn replay(&mut self) {
        let mut winner = self.winner;
        let mut node = (winner + self.sources.len()) / 2;
        while node > 0 {
            let loser = self.losers[node];
            if self.is_before(loser, winner) {
                self.losers[node] = winner;
                winner = loser;
            }
            node /= 2;
        }
        self.winner = winner;
    }
}

impl<C: Cursor> Cursor for LoserTree<C> {
    #[inline]
    fn entry(&self) -> Option<Entry<'_>> {
        self.sources.get(self.winner).and_then(Cursor::entry)
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        let winner = self.winner;
        let Some(source) = self.sources.get_mut(winner) else { return Ok(()) };
        source.next()?;
        self.refresh(winner);
        self.replay();
        Ok(())
    }

    fn rewind(&mut self) -> Result<()> {
        self.sources.iter_mut().try_for_each(Cursor::rewind)?;
        self.rebuild();
        Ok(())
    }

    fn seek(&mut self, key: &[u8], tag: Tag) -> Result<()> {
        self.sources.iter_mut().try_for_each(|source| source.seek(key, tag))?;
        self.rebuild();
        Ok(())
    }
}

/// A merge by binary heap, forward only: the textbook version. Each step copies a key into the heap.
#[derive(Debug)]
pub struct HeapMerge<C> {
    sources: Vec<C>,
    heap: BinaryHeap<Reverse<Waiting>>,
}

/// A source in the heap, under a copy of the key it stands on.
#[derive(Debug, PartialEq, Eq)]
struct Waiting {
    key: Vec<u8>,
    tag: Tag,
    source: usize,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        compare((&self.key, self.tag), (&other.key, other.tag)).then(self.source.cmp(&other.source))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<C: Cursor> HeapMerge<C> {
    /// A merge of `sources`, which all walk forward.
    pub fn new(sources: Vec<C>) -> HeapMerge<C> {
        HeapMerge { sources, heap: BinaryHeap::new() }
    }

    fn push(&mut self, source: usize) {
        if let Some(entry) = self.sources.get(source).and_then(Cursor::entry) {
            self.heap.push(Reverse(Waiting { key: entry.key.to_vec(), tag: entry.tag, source }));
        }
    }

    fn refill(&mut self) {
        self.heap.clear();
        (0..self.sources.len()).for_each(|source| self.push(source));
    }
}

impl<C: Cursor> Cursor for HeapMerge<C> {
    fn entry(&self) -> Option<Entry<'_>> {
        self.sources.get(self.heap.peek()?.0.source)?.entry()
    }

    fn next(&mut self) -> Result<()> {
        let Some(Reverse(first)) = self.heap.pop() else { return Ok(()) };
        if let Some(source) = self.sources.get_mut(first.source) {
            source.next()?;
        }
        self.push(first.source);
        Ok(())
    }

    fn rewind(&mut self) -> Result<()> {
        self.sources.iter_mut().try_for_each(Cursor::rewind)?;
        self.refill();
        Ok(())
    }

    fn seek(&mut self, key: &[u8], tag: Tag) -> Result<()> {
        self.sources.iter_mut().try_for_each(|source| source.seek(key, tag))?;
        self.refill();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entry::Kind;

    /// A source over a sorted list.
    #[derive(Debug, Clone)]
    struct ListCursor {
        list: Vec<(Vec<u8>, Tag)>,
        at: Option<usize>,
        direction: Direction,
    }

    impl Cursor for ListCursor {
        fn entry(&self) -> Option<Entry<'_>> {
            self.list.get(self.at?).map(|(key, tag)| Entry { key, tag: *tag, value: &[] })
        }

        fn next(&mut self) -> Result<()> {
            self.at = match self.direction {
                Direction::Forward => self.at.map(|at| at + 1),
                Direction::Reverse => self.at.and_then(|at| at.checked_sub(1)),
            };
            Ok(())
        }

        fn rewind(&mut self) -> Result<()> {
            self.at = match self.direction {
                Direction::Forward => Some(0),
                Direction::Reverse => self.list.len().checked_sub(1),
            };
            Ok(())
        }

        fn seek(&mut self, key: &[u8], tag: Tag) -> Result<()> {
            let at = self.list.partition_point(|own| compare((&own.0, own.1), (key, tag)).is_lt());
            self.at = match self.direction {
                Direction::Forward => Some(at),
                Direction::Reverse => at.checked_sub(1),
            };
            Ok(())
        }
    }

    fn drain(cursor: &mut impl Cursor) -> Result<Vec<(Vec<u8>, Tag)>> {
        let mut out = Vec::new();
        while let Some(entry) = cursor.entry() {
            out.push((entry.key.to_vec(), entry.tag));
            cursor.next()?;
        }
        Ok(out)
    }

    #[test]
    fn no_source_is_an_empty_merge() -> Result<()> {
        let mut tree: LoserTree<ListCursor> = LoserTree::new(Vec::new(), Direction::Forward, 0);
        tree.rewind()?;
        assert!(tree.entry().is_none());
        tree.next()
    }

    proptest! {
        #[test]
        fn both_merges_agree_with_sorting(
            raw in proptest::collection::vec((
                proptest::collection::vec(prop_oneof![Just(0_u8), Just(b'a'), Just(0xff)], 0..10), 0_usize..6), 0..80),
            probe in proptest::collection::vec(any::<u8>(), 0..3),
            prefix_len in 0_usize..4,
        ) {
            let mut lists = vec![Vec::new(); 6];
            for (seq, (key, source)) in raw.iter().enumerate() {
                let key = [&b"pre"[..prefix_len], key.as_slice()].concat();
                lists[*source].push((key, Tag::new(seq as u64 + 1, Kind::Put)));
            }
            let sorted = |a: &(Vec<u8>, Tag), b: &(Vec<u8>, Tag)| compare((&a.0, a.1), (&b.0, b.1));
            lists.iter_mut().for_each(|list| list.sort_by(sorted));
            let mut want: Vec<_> = lists.concat();
            want.sort_by(sorted);
            let sources = |direction| -> Vec<ListCursor> {
                lists.iter().map(|list| ListCursor { list: list.clone(), at: None, direction }).collect()
            };
            let probe = [&b"pre"[..prefix_len], probe.as_slice()].concat();
            let gap = want.partition_point(|own| compare((&own.0, own.1), (&probe, Tag::NEWEST)).is_lt());

            let mut forward = LoserTree::new(sources(Direction::Forward), Direction::Forward, prefix_len);
            forward.rewind()?;
            prop_assert_eq!(&drain(&mut forward)?, &want);
            forward.seek(&probe, Tag::NEWEST)?;
            prop_assert_eq!(&drain(&mut forward)?, &want[gap..]);

            let mut heap = HeapMerge::new(sources(Direction::Forward));
            heap.rewind()?;
            prop_assert_eq!(&drain(&mut heap)?, &want);
            heap.seek(&probe, Tag::NEWEST)?;
            prop_assert_eq!(&drain(&mut heap)?, &want[gap..]);

            let mut reverse = LoserTree::new(sources(Direction::Reverse), Direction::Reverse, prefix_len);
            reverse.rewind()?;
            let mut backward = drain(&mut reverse)?;
            backward.reverse();
            prop_assert_eq!(&backward, &want);
            reverse.seek(&probe, Tag::NEWEST)?;
            let mut backward = drain(&mut reverse)?;
            backward.reverse();
            prop_assert_eq!(&backward, &want[..gap]);
        }
    }
}
