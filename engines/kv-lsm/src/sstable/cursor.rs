//! A walk over one table, block by block.

use std::collections::VecDeque;
use std::sync::Arc;

use kv_api::{Cause, Direction, Result};

use crate::cursor::Cursor;
use crate::entry::{Entry, Tag};
use crate::sstable::block::Block;
use crate::sstable::reader::Table;

/// How a walk gets its blocks.
#[derive(Debug, Clone, Copy)]
pub enum Fetch {
    /// Through the cache, for a scan.
    Cached,
    /// In pieces of `bytes_max` past the cache, which a merge of whole tables would only flush out.
    Chunks {
        /// Largest piece in bytes.
        bytes_max: usize,
        /// What the reads are counted as.
        cause: Cause,
    },
}

/// Blocks in a row that must be missed before a scan reads ahead.
const AHEAD_AFTER: u32 = 2;
/// The first read ahead in bytes, and how often it doubles.
const AHEAD_MIN: usize = 8 << 10;
const AHEAD_DOUBLINGS: u32 = 4;

/// A walk over the entries of one table.
#[derive(Debug)]
pub struct TableCursor {
    table: Arc<Table>,
    direction: Direction,
    fetch: Fetch,
    block: Option<Arc<Block>>,
    block_no: usize,
    at: usize,
    key: Vec<u8>,
    tag: Tag,
    value: (usize, usize),
    /// Blocks read ahead, and the number of the first of them.
    ahead: VecDeque<Arc<Block>>,
    ahead_from: usize,
    /// Blocks in a row that were not in memory.
    missed: u32,
}

impl TableCursor {
    /// Over `table`; stands nowhere yet.
    pub fn new(table: Arc<Table>, direction: Direction, fetch: Fetch) -> TableCursor {
        TableCursor {
            table,
            direction,
            fetch,
            block: None,
            block_no: 0,
            at: 0,
            key: Vec::new(),
            tag: Tag::OLDEST,
            value: (0, 0),
            ahead: VecDeque::new(),
            ahead_from: 0,
            missed: 0,
        }
    }

    /// Number of blocks of the table.
    fn block_count(&self) -> usize {
        self.table.index().len()
    }

    /// True if a search for the entry it stands on ends there: what a check asks beside the order of entries. True past
    /// the end.
    pub fn is_found_by_search(&self) -> bool {
        let Some(block) = &self.block else { return true };
        let index = self.table.index();
        let first = index.find(&self.key);
        first <= self.block_no
            && (first..self.block_no).all(|block_no| index.is_separator(block_no, &self.key))
            && block.stored(self.at).is_some_and(|own| block.lower_bound(&self.key, own.tag) == self.at)
    }

    fn load(&mut self, block_no: usize) -> Result<Arc<Block>> {
        if self.ahead_from != block_no || self.ahead.is_empty() {
            self.ahead.clear();
            match self.fetch {
                Fetch::Cached => return self.load_cached(block_no),
                Fetch::Chunks { bytes_max, cause } => {
                    self.ahead = self.table.blocks_from(block_no, bytes_max, cause)?.into();
                }
            }
            self.ahead_from = block_no;
        }
        if matches!(self.fetch, Fetch::Cached) {
            self.table.count_ahead();
        }
        self.ahead_from += 1;
        self.ahead.pop_front().ok_or_else(|| self.table.damaged(0, format!("block {block_no} is missing")))
    }

    /// Through the cache. Forward, once two blocks in a row were not there, it reads ahead: twice as far with each
    /// further miss.
    fn load_cached(&mut self, block_no: usize) -> Result<Arc<Block>> {
        if let Some(block) = self.table.cached(block_no) {
            self.missed = 0;
            return Ok(block);
        }
        let in_a_row = self.direction == Direction::Forward && block_no == self.block_no + 1;
        self.missed = if in_a_row { self.missed + 1 } else { 0 };
        if self.missed < AHEAD_AFTER || self.table.is_mapped() {
            return self.table.fetch(block_no);
        }
        let bytes_max = AHEAD_MIN << (self.missed - AHEAD_AFTER).min(AHEAD_DOUBLINGS);
        let blocks = self.table.blocks_from(block_no, bytes_max, Cause::ScanRead)?;
        // One after the other, so that the memory of a block that goes serves the next that comes.
        let keep = |(i, block): (usize, &Arc<Block>)| self.table.keep_detached(block_no + i, block);
        self.ahead = blocks.iter().enumerate().map(keep).collect();
        self.table.count_ahead();
        self.ahead_from = block_no + 1;
        self.ahead.pop_front().ok_or_else(|| self.table.damaged(0, format!("block {block_no} is missing")))
    }

    /// Stands on entry `at` of `block`.
    fn stand(&mut self, block_no: usize, block: Arc<Block>, at: usize) -> Result<()> {
        self.key.clear();
        self.key.extend_from_slice(block.prefix());
        self.block_no = block_no;
        self.block = Some(block);
        self.read_entry(at)
    }

    /// Decodes entry `at` of the block it is in.
    fn read_entry(&mut self, at: usize) -> Result<()> {
        let Some(block) = &self.block else { return Ok(()) };
        let Some(stored) = block.stored(at) else {
            let what = format!("entry {at} of block {} cannot be read", self.block_no);
            return Err(self.table.damaged(0, what));
        };
        self.key.truncate(block.prefix().len());
        self.key.extend_from_slice(stored.suffix);
        self.tag = self.table.tag_of(stored.tag);
        self.value = (stored.value_at, stored.value.len());
        self.at = at;
        Ok(())
    }

    /// Stands past the end.
    fn finish(&mut self) {
        self.block = None;
        self.ahead.clear();
    }

    /// Stands on the first entry of block `block_no`, or past the end if there is no such block.
    fn enter(&mut self, block_no: usize) -> Result<()> {
        if block_no >= self.block_count() {
            self.finish();
            return Ok(());
        }
        let block = self.load(block_no)?;
        self.stand(block_no, block, 0)
    }

    /// Stands on the last entry before block `block_no`, or past the end if there is none.
    fn enter_before(&mut self, block_no: usize) -> Result<()> {
        let Some(before) = block_no.checked_sub(1) else {
            self.finish();
            return Ok(());
        };
        let block = self.load(before)?;
        let last = block.len() - 1;
        self.stand(before, block, last)
    }
}

impl Cursor for TableCursor {
    #[inline]
    fn entry(&self) -> Option<Entry<'_>> {
        let block = self.block.as_ref()?;
        let value = block.value(self.value.0, self.value.1);
        Some(Entry { key: &self.key, tag: self.tag, value })
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        let Some(block) = &self.block else { return Ok(()) };
        match self.direction {
            Direction::Forward if self.at + 1 < block.len() => self.read_entry(self.at + 1),
            Direction::Forward => self.enter(self.block_no + 1),
            Direction::Reverse if self.at > 0 => self.read_entry(self.at - 1),
            Direction::Reverse => self.enter_before(self.block_no),
        }
    }

    fn rewind(&mut self) -> Result<()> {
        match self.direction {
            Direction::Forward => self.enter(0),
            Direction::Reverse => self.enter_before(self.block_count()),
        }
    }

    fn seek(&mut self, key: &[u8], tag: Tag) -> Result<()> {
        // All entries of an ingested table have one age, whatever is stored.
        let tag = match self.table.meta().global_seq {
            0 => tag,
            global if Tag::up_to(global) <= tag => Tag::NEWEST,
            _ => Tag::OLDEST,
        };
        let mut block_no = self.table.index().find(key);
        while block_no < self.block_count() {
            let block = self.load(block_no)?;
            let at = block.lower_bound(key, tag);
            match self.direction {
                Direction::Forward if at < block.len() => return self.stand(block_no, block, at),
                Direction::Reverse if at < block.len() => {
                    return match at.checked_sub(1) {
                        Some(at) => self.stand(block_no, block, at),
                        None => self.enter_before(block_no),
                    };
                }
                // Everything in this block lies before the gap: the gap is in the next one or at its start.
                _ => block_no += 1,
            }
        }
        match self.direction {
            Direction::Forward => self.enter(block_no),
            Direction::Reverse => self.enter_before(block_no),
        }
    }
}
