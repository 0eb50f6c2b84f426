//! Walks over engines whose cursors borrow their transaction: entries are fetched some at a time, under the lock of
//! the transaction, and copied. Each fetch seeks again behind the last entry.
//!
//! The sizes of the fetches, 10, 40, 50, 100, 100, .., sum to 10, 50, 100 and every further hundred: a scan of a
//! usual length reads nothing that it does not return.

use std::sync::Arc;

use kv_api::{Direction, EntryRef, KeyRange, OwnedRange, Result};

use crate::peer::{Cursor, View};
use crate::ranges::behind_key;

const SIZES: [usize; 3] = [10, 40, 50];
const SIZE_MAX: usize = 100;
/// A fetch ends early at this many bytes, so that large values do not gather.
const BYTES_MAX: usize = 256 << 10;

/// Entries of one fetch, in one buffer.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Vec<u8>,
    /// Where key and value of each entry end.
    ends: Vec<(usize, usize)>,
    /// Entries returned already.
    at: usize,
    wanted: usize,
}

impl Chunk {
    /// Takes an entry; true while more are wanted.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> bool {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len()));
        self.ends.len() < self.wanted && self.bytes.len() < BYTES_MAX
    }

    fn clear(&mut self, wanted: usize) {
        self.bytes.clear();
        self.ends.clear();
        self.at = 0;
        self.wanted = wanted;
    }

    fn entry(&self, at: usize) -> Option<EntryRef<'_>> {
        let (key_end, value_end) = *self.ends.get(at)?;
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |(_, end)| *end);
        Some(EntryRef { key: self.bytes.get(start..key_end)?, value: self.bytes.get(key_end..value_end)? })
    }
}

/// A state that entries can be fetched from.
pub trait Fetch: Send + Sync + 'static {
    /// As [`kv_api::KvRead::get_with`].
    ///
    /// # Errors
    /// What the engine says.
    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool>;

    /// Pushes the first entries of `range` in `direction`, until no more are wanted or there are none.
    ///
    /// # Errors
    /// What the engine says.
    fn fetch(&self, range: KeyRange<'_>, direction: Direction, chunk: &mut Chunk) -> Result<()>;
}

/// A state shared with its walks.
#[derive(Debug)]
pub struct ChunkView<F>(Arc<F>);

impl<F: Fetch> ChunkView<F> {
    /// Shares `from`.
    pub fn new(from: F) -> ChunkView<F> {
        ChunkView(Arc::new(from))
    }
}

impl<F: Fetch> View for ChunkView<F> {
    type Cursor = ChunkCursor<F>;

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        self.0.get(key, found)
    }

    fn cursor(&self, range: KeyRange<'_>, direction: Direction) -> Result<ChunkCursor<F>> {
        Ok(ChunkCursor::new(&self.0, range, direction))
    }
}

/// A walk in fetches.
#[derive(Debug)]
pub struct ChunkCursor<F> {
    from: Arc<F>,
    range: OwnedRange,
    direction: Direction,
    chunk: Chunk,
    fetches: usize,
    /// True if the last fetch found less than was wanted: there is no more.
    is_last: bool,
}

impl<F: Fetch> ChunkCursor<F> {
    /// A walk over `range` of `from`. The first fetch comes with the first step.
    fn new(from: &Arc<F>, range: KeyRange<'_>, direction: Direction) -> ChunkCursor<F> {
        ChunkCursor {
            from: Arc::clone(from),
            range: range.to_owned_range(),
            direction,
            chunk: Chunk::default(),
            fetches: 0,
            is_last: false,
        }
    }

    fn fetch(&mut self) -> Result<()> {
        if let Some(last) = self.chunk.entry(self.chunk.ends.len().wrapping_sub(1)) {
            self.range = behind_key(self.range.as_range(), self.direction, last.key).to_owned_range();
        }
        self.chunk.clear(SIZES.get(self.fetches).copied().unwrap_or(SIZE_MAX));
        self.fetches += 1;
        if self.range.as_range().is_empty() {
            self.is_last = true;
            return Ok(());
        }
        self.from.fetch(self.range.as_range(), self.direction, &mut self.chunk)?;
        self.is_last = self.chunk.ends.len() < self.chunk.wanted && self.chunk.bytes.len() < BYTES_MAX;
        Ok(())
    }
}

impl<F: Fetch> Cursor for ChunkCursor<F> {
    fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
        if self.chunk.at == self.chunk.ends.len() && !self.is_last {
            self.fetch()?;
        }
        let at = self.chunk.at;
        if at < self.chunk.ends.len() {
            self.chunk.at += 1;
        }
        Ok(self.chunk.entry(at))
    }

    fn seek(&mut self, range: KeyRange<'_>) -> Result<()> {
        self.range = range.to_owned_range();
        self.chunk.clear(0);
        self.fetches = 0;
        self.is_last = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    struct Map(BTreeMap<Vec<u8>, Vec<u8>>);

    impl Fetch for Map {
        fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
            Ok(self.0.get(key).map(|value| found(value)).is_some())
        }

        fn fetch(&self, range: KeyRange<'_>, direction: Direction, chunk: &mut Chunk) -> Result<()> {
            let mut entries = self.0.range::<[u8], _>((range.start, range.end));
            while let Some((key, value)) = match direction {
                Direction::Forward => entries.next(),
                Direction::Reverse => entries.next_back(),
            } {
                if !chunk.push(key, value) {
                    break;
                }
            }
            Ok(())
        }
    }

    #[test]
    fn a_walk_in_fetches_gives_every_entry_once() -> Result<()> {
        for (count, size) in [(0_u32, 1), (9, 1), (10, 1), (100, 3), (101, 0), (777, 1), (20, 70_000)] {
            let entries = (0..count).map(|n| (n.to_be_bytes().to_vec(), vec![n as u8; size]));
            let map = Arc::new(Map(entries.collect()));
            for direction in [Direction::Forward, Direction::Reverse] {
                let mut cursor = ChunkCursor::new(&map, KeyRange::ALL, direction);
                let mut found = Vec::new();
                while let Some(entry) = cursor.next()? {
                    found.push((entry.key.to_vec(), entry.value.to_vec()));
                }
                if direction == Direction::Reverse {
                    found.reverse();
                }
                assert!(
                    found.into_iter().eq(map.0.clone()),
                    "{count} entries of {size} bytes, {direction:?}"
                );
                assert!(cursor.next()?.is_none());
            }
        }
        Ok(())
    }
}
