//! Fence index: for every block of a table a key that separates it from the next one. Kept in memory whole.
//!
//! ```text
//! | prefix_len varint | prefix | count u32 | head u64 * count | start u32 * (count + 1) | end u32 * count | keys |
//! ```
//!
//! Separator `i` is at or above every key of block `i` and below every key of block `i + 1` (equal only where the
//! versions of one key fill several blocks), and as short as that allows. All separators begin with `prefix`;
//! `head` holds the next eight bytes, `keys` whatever follows the prefix, up to `end`, for ties. `start` is the
//! block's offset in units of the file; the extra one ends the last block.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use std::cmp::Ordering;
use std::ops::Range;

use kv_io::codec::{Put, Reader};

use crate::entry::{head64, shared_prefix};
use crate::num::{to_u32, to_u64, wide};

/// The fences of one table.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Index {
    prefix: Vec<u8>,
    heads: Vec<u64>,
    starts: Vec<u32>,
    ends: Vec<u32>,
    keys: Vec<u8>,
    unit: u64,
}

impl Index {
    /// Number of blocks.
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// True if the table has no block: it holds nothing but range tombstones.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> u64 {
        to_u64(self.heads.len() * 16 + self.keys.len() + self.prefix.len() + 128)
    }

    /// The first block that may hold an entry at or after `key`; [`Index::len`] if there is none.
    #[inline]
    pub fn find(&self, key: &[u8]) -> usize {
        let prefix = self.prefix.as_slice();
        let rest = match key.get(..prefix.len()) {
            Some(head) => match head.cmp(prefix) {
                Ordering::Less => return 0,
                Ordering::Greater => return self.len(),
                Ordering::Equal => key.get(prefix.len()..).unwrap_or_default(),
            },
            None if key <= prefix => return 0,
            None => return self.len(),
        };
        let head = head64(rest);
        let at = self.heads.partition_point(|own| *own < head);
        if self.heads.get(at) == Some(&head) { self.find_in_tie(at, head, rest) } else { at }
    }

    /// [`Index::find`] among the separators with equal heads that begin at `first`: keys that share more than eight
    /// bytes beyond the prefix may all be there.
    fn find_in_tie(&self, first: usize, head: u64, rest: &[u8]) -> usize {
        let from = self.heads.get(first..).unwrap_or_default();
        let (mut low, mut high) = (first, first + from.partition_point(|own| *own == head));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.rest(middle) < rest { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// True if `key` is the separator of block `i`: further versions of it may lie in the next block.
    #[inline]
    pub fn is_separator(&self, i: usize, key: &[u8]) -> bool {
        key.strip_prefix(self.prefix.as_slice()).is_some_and(|rest| rest == self.rest(i)) && i < self.len()
    }

    /// Separator `i` without the prefix.
    fn rest(&self, i: usize) -> &[u8] {
        let end = |i: usize| self.ends.get(i).map(|end| wide(*end));
        let start = i.checked_sub(1).and_then(end).unwrap_or(0);
        self.keys.get(start..end(i).unwrap_or(start)).unwrap_or_default()
    }

    /// The bytes of block `i` in the file; `None` if there is no such block.
    #[inline]
    pub fn place(&self, i: usize) -> Option<Range<u64>> {
        let start = u64::from(*self.starts.get(i)?) * self.unit;
        let end = u64::from(*self.starts.get(i + 1)?) * self.unit;
        Some(start..end)
    }

    /// Reads an index whose checksum was checked.
    ///
    /// # Errors
    /// What does not hold, as a sentence part.
    pub fn decode(bytes: &[u8], unit: u64, data_len: u64) -> Result<Index, String> {
        Index::take(bytes, unit)
            .filter(|index| index.is_consistent(data_len))
            .ok_or_else(|| "the index does not describe the blocks of its table".to_owned())
    }

    fn take(bytes: &[u8], unit: u64) -> Option<Index> {
        let mut reader = Reader::new(bytes);
        let prefix = reader.prefixed()?.to_vec();
        let count = wide(reader.u32()?);
        // Each block takes 16 bytes here, so a damaged count asks for no more memory than the section has.
        let heads = reader.bytes(count.checked_mul(8)?)?;
        let starts = reader.bytes(count.checked_add(1)?.checked_mul(4)?)?;
        let ends = reader.bytes(count.checked_mul(4)?)?;
        let four = |bytes: &[u8]| bytes.as_chunks::<4>().0.iter().map(|n| u32::from_le_bytes(*n)).collect();
        Some(Index {
            prefix,
            heads: heads.as_chunks::<8>().0.iter().map(|n| u64::from_le_bytes(*n)).collect(),
            starts: four(starts),
            ends: four(ends),
            keys: reader.rest().to_vec(),
            unit,
        })
    }

    fn is_consistent(&self, data_len: u64) -> bool {
        let last = self.starts.last().map(|end| u64::from(*end) * self.unit);
        let ends = self.ends.last().map_or(0, |end| wide(*end));
        self.starts.first() == Some(&0)
            && last == Some(data_len)
            && ends == self.keys.len()
            && self.starts.is_sorted_by(|a, b| a < b)
            && self.ends.is_sorted()
            && self.heads.is_sorted()
            && (0..self.len()).all(|i| self.heads.get(i) == Some(&head64(self.rest(i))))
    }
}

/// Collects separators while blocks are written.
#[derive(Debug, Default)]
pub struct IndexBuilder {
    keys: Vec<u8>,
    ends: Vec<usize>,
    starts: Vec<u32>,
}

impl IndexBuilder {
    /// Adds the block that begins at `offset` and ends with `last_key`; `next_key` begins the next block.
    pub fn add(&mut self, offset: u64, unit: u64, last_key: &[u8], next_key: Option<&[u8]>) {
        self.starts.push(u32::try_from(offset / unit.max(1)).unwrap_or(u32::MAX));
        match next_key {
            Some(next) => separator(last_key, next, &mut self.keys),
            None => self.keys.extend_from_slice(last_key),
        }
        self.ends.push(self.keys.len());
    }

    /// Bytes that the section takes by now, at most.
    pub fn len(&self) -> usize {
        self.keys.len() + 16 * self.ends.len() + 16
    }

    /// True if no block was added.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn key(&self, i: usize) -> &[u8] {
        let start = i.checked_sub(1).and_then(|i| self.ends.get(i)).copied().unwrap_or(0);
        let end = self.ends.get(i).copied().unwrap_or(start);
        self.keys.get(start..end).unwrap_or_default()
    }

    /// Appends the section to `out`; the blocks end at `data_len`.
    pub fn finish(mut self, out: &mut Vec<u8>, data_len: u64, unit: u64) {
        self.starts.push(u32::try_from(data_len / unit.max(1)).unwrap_or(u32::MAX));
        let count = self.ends.len();
        // Separators ascend, so what the first and the last share is shared by all.
        let prefix_len = match count.checked_sub(1) {
            Some(last) => shared_prefix(self.key(0), self.key(last)),
            None => 0,
        };
        out.put_prefixed(self.key(0).get(..prefix_len).unwrap_or_default()).put_u32(to_u32(count));
        let rests = || (0..count).map(|i| self.key(i).get(prefix_len..).unwrap_or_default());
        rests().for_each(|rest| {
            out.put_u64(head64(rest));
        });
        self.starts.iter().for_each(|start| {
            out.put_u32(*start);
        });
        let mut end = 0;
        for rest in rests() {
            end += rest.len();
            out.put_u32(to_u32(end));
        }
        rests().for_each(|rest| {
            out.put_bytes(rest);
        });
    }
}

/// Appends the shortest simple key `s` with `last <= s < next` to `out`; `last` itself where both are equal.
fn separator(last: &[u8], next: &[u8], out: &mut Vec<u8>) {
    let shared = shared_prefix(last, next);
    let (Some(low), Some(high)) = (last.get(shared), next.get(shared)) else {
        out.extend_from_slice(last);
        return;
    };
    out.extend_from_slice(next.get(..shared).unwrap_or_default());
    if next.len() > shared + 1 {
        out.push(*high);
    } else if high - low > 1 {
        out.push(low + 1);
    } else {
        out.extend_from_slice(last.get(shared..).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn build(blocks: &[(&[u8], &[u8])]) -> (Vec<u8>, Index) {
        let mut builder = IndexBuilder::default();
        for (i, (_, last)) in blocks.iter().enumerate() {
            builder.add(to_u64(i) * 4096, 4096, last, blocks.get(i + 1).map(|next| next.0));
        }
        let mut out = Vec::new();
        let data_len = to_u64(blocks.len()) * 4096;
        builder.finish(&mut out, data_len, 4096);
        let index = Index::decode(&out, 4096, data_len).unwrap();
        (out, index)
    }

    #[test]
    fn the_bytes_are_those_of_the_picture() {
        let (bytes, index) = build(&[(b"user10", b"user19"), (b"user3x", b"user99")]);
        let mut want = Vec::new();
        want.put_prefixed(b"user").put_u32(2).put_u64(head64(b"3")).put_u64(head64(b"99"));
        want.put_u32(0).put_u32(1).put_u32(2).put_u32(1).put_u32(3).put_bytes(b"399");
        assert_eq!(bytes, want);
        assert_eq!((index.find(b"user19"), index.find(b"user3"), index.find(b"user3x")), (0, 0, 1));
        assert_eq!(
            (index.find(b"us"), index.find(b"user"), index.find(b"uses"), index.find(b"a")),
            (0, 0, 2, 0)
        );
        assert_eq!(index.place(1), Some(4096..8192));
    }

    #[test]
    fn a_damaged_index_is_refused() {
        let (bytes, _) = build(&[(b"a", b"b"), (b"c", b"d")]);
        for cut in 0..bytes.len() {
            assert!(Index::decode(&bytes[..cut], 4096, 8192).is_err(), "cut at {cut}");
        }
        assert!(Index::decode(&bytes, 4096, 4096).is_err());
        let mut huge = bytes;
        huge[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Index::decode(&huge, 4096, 8192).is_err());
    }

    #[test]
    fn blocks_beyond_four_tebibytes_are_found_at_their_place() {
        let (far, mut builder, mut out) = (1_u64 << 42, IndexBuilder::default(), Vec::new());
        builder.add(0, 4096, b"a", Some(b"c"));
        builder.add(far, 4096, b"d", None);
        builder.finish(&mut out, far + 8192, 4096);
        let index = Index::decode(&out, 4096, far + 8192).unwrap();
        assert_eq!((index.place(0), index.place(1)), (Some(0..far), Some(far..far + 8192)));
        assert_eq!((index.find(b"a"), index.find(b"d")), (0, 1));
    }

    #[test]
    fn a_long_tie_of_heads_is_searched_by_the_rest() {
        let key = |n: u32| format!("{}the same for all{n:05}", if n == 0 { 'a' } else { 'b' }).into_bytes();
        let keys: Vec<Vec<u8>> = (0..1000).map(|n| key(2 * n)).collect();
        let blocks: Vec<(&[u8], &[u8])> = keys.iter().map(|key| (key.as_slice(), key.as_slice())).collect();
        let (_, index) = build(&blocks);
        for n in 0..999 {
            let at = wide(n);
            assert_eq!(index.find(&key(2 * n)), at);
            // A separator is at or above the last key of its block.
            assert!((at..=at + 1).contains(&index.find(&key(2 * n + 1))));
        }
        assert_eq!((index.find(b"bthe same"), index.find(&key(5000))), (1, 1000));
    }

    proptest! {
        #[test]
        fn every_key_is_found_in_its_block(mut keys in proptest::collection::vec(
            proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(b'a'), Just(0xff)], 0..12), 1..60),
            per_block in 1_usize..4,
        ) {
            keys.sort();
            let blocks: Vec<(&[u8], &[u8])> =
                keys.chunks(per_block).map(|c| (c[0].as_slice(), c[c.len() - 1].as_slice())).collect();
            let (_, index) = build(&blocks);
            for key in &keys {
                let want = blocks.iter().position(|(_, last)| key.as_slice() <= *last).unwrap();
                let found = index.find(key);
                // Only a key between two blocks may be sent to the earlier one.
                prop_assert_eq!(found, want);
                if blocks.get(want + 1).is_some_and(|next| next.0 == key.as_slice()) {
                    prop_assert!(index.is_separator(found, key));
                }
            }
        }
    }
}
