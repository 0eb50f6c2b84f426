//! Data block: sorted entries that are read, checked and cached together.
//!
//! ```text
//! | crc u32 | used u32 | count u16 | prefix_len u16 | prefix | head u32 * count | offset u16 * count | entries | 0.. |
//! 0         4          8           10               12
//! entry = | suffix_len varint | value_len varint | tag u64 | suffix | value |
//! ```
//!
//! All keys of a block begin with `prefix`; `suffix` is the rest. `head` holds the first four bytes of the suffix,
//! zero-padded, so a search touches one dense array and compares a key only where heads tie. `offset` counts from
//! byte 0 of the block. `used` ends the entries; zeros pad to the unit of the file.
//! Always: entries in order of [`crate::entry::compare`]; a block with more than one entry is under 64 KiB; an
//! entry too large for that has a block of its own, with an empty prefix.
//! `crc` covers everything behind it up to `used`, seeded with database, table and offset.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use kv_io::aligned::AlignedBuf;
use kv_io::checksum::{FileSum, mismatch};
use kv_io::codec::{Put, Reader};
use kv_io::vfs::Map;

use crate::entry::{Entry, Tag, compare, head32, shared_prefix};
use crate::num::{to_u32, to_u64, wide};
use crate::sstable::spares::Spares;

/// Bytes before the prefix.
pub const HEADER_LEN: usize = 12;
const CRC_LEN: usize = 4;
const _: () = assert!(CRC_LEN + 4 + 2 + 2 == HEADER_LEN, "the picture and the header disagree");
/// Bytes per entry in the two arrays.
const SLOT_LEN: usize = 4 + 2;
/// A block with several entries stays below this, so that offsets fit two bytes.
pub const SHARED_LEN_MAX: usize = 48 << 10;

/// Bytes of a block that live elsewhere: in a buffer of their own, or in a larger one, or in a mapped file.
#[derive(Debug, Clone)]
pub enum BlockBytes {
    /// Its own, without padding: what the cache holds. Aligned memory would cost an allocator twice the bytes.
    Own(Vec<u8>),
    /// A piece of a larger read.
    Buffer(Arc<AlignedBuf>, Range<usize>),
    /// In a mapped table.
    Mapped(Arc<dyn Map>, Range<usize>),
}

/// How many bytes of a block are in use, as its header tells; all of `bytes` if that cannot be.
pub fn used_len(bytes: &[u8]) -> usize {
    let mut header = Reader::new(bytes.get(CRC_LEN..).unwrap_or_default());
    header.u32().map(wide).filter(|used| *used <= bytes.len()).unwrap_or(bytes.len())
}

impl BlockBytes {
    #[inline]
    fn get(&self) -> &[u8] {
        match self {
            BlockBytes::Own(bytes) => bytes,
            BlockBytes::Buffer(buffer, range) => buffer.get(range.clone()).unwrap_or_default(),
            BlockBytes::Mapped(map, range) => map.bytes().get(range.clone()).unwrap_or_default(),
        }
    }
}

/// An entry as it lies in a block: its key is the block's prefix and then `suffix`.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    /// The key behind the prefix.
    pub suffix: &'a [u8],
    /// Age and kind.
    pub tag: Tag,
    /// The value.
    pub value: &'a [u8],
    /// Where the value begins in the block, for a walk that comes back to it.
    pub value_at: usize,
}

/// A block in memory whose checksum and bounds were checked.
#[derive(Debug)]
pub struct Block {
    bytes: BlockBytes,
    count: usize,
    prefix_end: usize,
    heads_end: usize,
    offsets_end: usize,
    used: usize,
}

impl Block {
    /// Checks `bytes`, which lie at `offset` of their file, and makes them readable.
    ///
    /// # Errors
    /// What does not hold, as a sentence part.
    pub fn check(bytes: BlockBytes, sum: &FileSum, offset: u64) -> Result<Block, String> {
        let all = bytes.get();
        let mut reader = Reader::new(all);
        let short = || "a block is cut short".to_owned();
        let crc = reader.u32().ok_or_else(short)?;
        let used = wide(reader.u32().ok_or_else(short)?);
        let covered = all.get(CRC_LEN..used).ok_or_else(short)?;
        let found = sum.of(offset, &[covered]);
        if found != crc {
            return Err(mismatch(found, crc));
        }
        let count = usize::from(reader.u16().ok_or_else(short)?);
        let prefix_end = HEADER_LEN + usize::from(reader.u16().ok_or_else(short)?);
        let heads_end = prefix_end + 4 * count;
        let offsets_end = heads_end + 2 * count;
        if count == 0 || offsets_end > used {
            return Err(format!("{count} entries do not fit a block of {used} bytes"));
        }
        let block = Block { count, prefix_end, heads_end, offsets_end, used, bytes };
        match (0..count).find(|&i| block.stored(i).is_none()) {
            None => Ok(block),
            Some(i) => Err(format!("entry {i} of a block reaches past its end")),
        }
    }

    /// The same block in memory of its own, taken from `spares`, so that it does not hold a larger read.
    pub fn detached(&self, spares: &Spares) -> Block {
        let bytes = self.bytes.get().get(..self.used).unwrap_or_default();
        Block { bytes: BlockBytes::Own(spares.copy_of(bytes)), ..*self }
    }

    /// The memory that it alone holds, to be used again; `None` if it reads somebody else's.
    pub fn into_own(self) -> Option<Vec<u8>> {
        match self.bytes {
            BlockBytes::Own(bytes) => Some(bytes),
            BlockBytes::Buffer(..) | BlockBytes::Mapped(..) => None,
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Never true: a block is written with its first entry.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of memory to charge for it.
    pub fn bytes(&self) -> u64 {
        let held = match &self.bytes {
            BlockBytes::Own(bytes) => bytes.capacity(),
            BlockBytes::Buffer(_, range) | BlockBytes::Mapped(_, range) => range.len(),
        };
        to_u64(held) + 128
    }

    /// What all its keys begin with.
    #[inline]
    pub fn prefix(&self) -> &[u8] {
        self.bytes.get().get(HEADER_LEN..self.prefix_end).unwrap_or_default()
    }

    /// Entry `i`; `None` past the end.
    #[inline]
    pub fn stored(&self, i: usize) -> Option<Stored<'_>> {
        let bytes = self.bytes.get();
        let (offsets, _) = bytes.get(self.heads_end..self.offsets_end)?.as_chunks::<2>();
        let at = usize::from(u16::from_le_bytes(*offsets.get(i)?));
        if at < self.offsets_end {
            return None;
        }
        let mut reader = Reader::new(bytes.get(at..self.used)?);
        let suffix_len = reader.varint_len()?;
        let value_len = reader.varint_len()?;
        let tag = Tag::from_raw(reader.u64()?)?;
        let suffix = reader.bytes(suffix_len)?;
        let value_at = self.used - reader.rest().len();
        Some(Stored { suffix, tag, value: reader.bytes(value_len)?, value_at })
    }

    /// The bytes that an entry's value fills, by [`Stored::value_at`].
    #[inline]
    pub fn value(&self, at: usize, len: usize) -> &[u8] {
        self.bytes.get().get(at..at.saturating_add(len)).unwrap_or_default()
    }

    /// Index of the first entry at or after (`key`, `tag`); [`Block::len`] if there is none. A branch-free search
    /// over the heads, then full comparisons among equal heads.
    #[inline]
    pub fn lower_bound(&self, key: &[u8], tag: Tag) -> usize {
        let prefix = self.prefix();
        let suffix = match key.get(..prefix.len()) {
            Some(head) => match head.cmp(prefix) {
                Ordering::Less => return 0,
                Ordering::Greater => return self.count,
                Ordering::Equal => key.get(prefix.len()..).unwrap_or_default(),
            },
            // A key shorter than the prefix is not inside; it lies wholly before or after.
            None if key < prefix => return 0,
            None => return self.count,
        };
        let heads = self.bytes.get().get(self.prefix_end..self.heads_end).unwrap_or_default();
        let (heads, _) = heads.as_chunks::<4>();
        let head = head32(suffix);
        let mut low = heads.partition_point(|own| u32::from_le_bytes(*own) < head);
        let mut high = low;
        while heads.get(high).is_some_and(|own| u32::from_le_bytes(*own) == head) {
            high += 1;
        }
        while low < high {
            let middle = low.midpoint(high);
            let Some(own) = self.stored(middle) else { return self.count };
            if compare((own.suffix, own.tag), (suffix, tag)).is_lt() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// True if entry `i` is a version of `key`.
    #[inline]
    pub fn is_key(&self, i: usize, key: &[u8]) -> Option<Stored<'_>> {
        let stored = self.stored(i)?;
        let rest = key.strip_prefix(self.prefix())?;
        (rest == stored.suffix).then_some(stored)
    }
}

/// Collects entries in order and encodes them as a block.
#[derive(Debug, Default)]
pub struct BlockBuilder {
    keys: Vec<u8>,
    values: Vec<u8>,
    spans: Vec<BuildSpan>,
    prefix_len: usize,
    body_len: usize,
}

#[derive(Debug, Clone, Copy)]
struct BuildSpan {
    key_end: usize,
    value_end: usize,
    tag: Tag,
}

impl BlockBuilder {
    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Bytes that the block will use, at most: the common prefix may only shrink them.
    pub fn len(&self) -> usize {
        let repeated = self.prefix_len * self.spans.len().saturating_sub(1);
        HEADER_LEN + self.body_len - repeated.min(self.body_len)
    }

    /// Bytes that the block would use with `entry` added.
    pub fn len_with(&self, entry: Entry<'_>) -> usize {
        let count = self.spans.len();
        let prefix_len = match self.first_key() {
            Some(first) if count == 1 => shared_prefix(first, entry.key),
            Some(first) => shared_prefix(first.get(..self.prefix_len).unwrap_or_default(), entry.key),
            None => 0,
        };
        let body_len = self.body_len + entry_len(entry);
        HEADER_LEN + body_len - (prefix_len * count).min(body_len)
    }

    fn first_key(&self) -> Option<&[u8]> {
        self.keys.get(..self.spans.first()?.key_end)
    }

    /// The last key added.
    pub fn last_key(&self) -> &[u8] {
        let start = self.spans.len().checked_sub(2).and_then(|i| self.spans.get(i)).map_or(0, |s| s.key_end);
        self.keys.get(start..).unwrap_or_default()
    }

    /// Adds an entry, which must lie after the last one.
    pub fn add(&mut self, entry: Entry<'_>) {
        self.prefix_len = match self.first_key() {
            None => 0,
            Some(first) if self.spans.len() == 1 => shared_prefix(first, entry.key),
            Some(first) => shared_prefix(first.get(..self.prefix_len).unwrap_or_default(), entry.key),
        };
        self.body_len += entry_len(entry);
        self.keys.extend_from_slice(entry.key);
        self.values.extend_from_slice(entry.value);
        let (key_end, value_end) = (self.keys.len(), self.values.len());
        self.spans.push(BuildSpan { key_end, value_end, tag: entry.tag });
    }

    /// Appends the block, padded to `unit`, to `out` as it will lie at `offset`, and starts over. Returns how many
    /// bytes it took.
    pub fn finish(&mut self, out: &mut Vec<u8>, sum: &FileSum, offset: u64, unit: usize) -> usize {
        let start = out.len();
        let prefix_len = if self.spans.len() > 1 { self.prefix_len } else { 0 };
        let count = u16::try_from(self.spans.len()).unwrap_or(u16::MAX);
        out.put_u32(0).put_u32(0).put_u16(count).put_u16(u16::try_from(prefix_len).unwrap_or(u16::MAX));
        out.put_bytes(self.keys.get(..prefix_len).unwrap_or_default());
        let mut key_start = 0;
        for span in &self.spans {
            let suffix = self.keys.get(key_start + prefix_len..span.key_end).unwrap_or_default();
            out.put_u32(head32(suffix));
            key_start = span.key_end;
        }
        let offsets_at = out.len();
        out.resize(offsets_at + 2 * self.spans.len(), 0);
        let (mut key_start, mut value_start) = (0, 0);
        for (i, span) in self.spans.iter().enumerate() {
            let at = u16::try_from(out.len() - start).unwrap_or(u16::MAX);
            if let Some(slot) = out.get_mut(offsets_at + 2 * i..offsets_at + 2 * i + 2) {
                slot.copy_from_slice(&at.to_le_bytes());
            }
            let suffix = self.keys.get(key_start + prefix_len..span.key_end).unwrap_or_default();
            let value = self.values.get(value_start..span.value_end).unwrap_or_default();
            out.put_varint(to_u64(suffix.len())).put_varint(to_u64(value.len())).put_u64(span.tag.raw());
            out.put_bytes(suffix).put_bytes(value);
            (key_start, value_start) = (span.key_end, span.value_end);
        }
        seal(out, start, sum, offset);
        let len = (out.len() - start).next_multiple_of(unit.max(1));
        out.resize(start + len, 0);
        *self = BlockBuilder {
            keys: std::mem::take(&mut self.keys),
            values: std::mem::take(&mut self.values),
            spans: std::mem::take(&mut self.spans),
            ..BlockBuilder::default()
        };
        self.keys.clear();
        self.values.clear();
        self.spans.clear();
        // A jumbo value must not stay with the writer.
        self.values.shrink_to(SHARED_LEN_MAX);
        len
    }
}

/// Fills in length and checksum.
fn seal(out: &mut [u8], start: usize, sum: &FileSum, offset: u64) {
    let Some(block) = out.get_mut(start..) else { return };
    let used = to_u32(block.len()).to_le_bytes();
    if let Some(field) = block.get_mut(CRC_LEN..CRC_LEN + 4) {
        field.copy_from_slice(&used);
    }
    let crc = sum.of(offset, &[block.get(CRC_LEN..).unwrap_or_default()]);
    if let Some(field) = block.get_mut(..CRC_LEN) {
        field.copy_from_slice(&crc.to_le_bytes());
    }
}

/// Bytes that an entry takes in a block without a common prefix.
pub fn entry_len(entry: Entry<'_>) -> usize {
    let (key, value) = (entry.key.len(), entry.value.len());
    let lengths = kv_api::varint::len(to_u64(key)) + kv_api::varint::len(to_u64(value));
    SLOT_LEN + lengths + 8 + key + value
}

#[cfg(test)]
#[path = "block_tests.rs"]
mod tests;
