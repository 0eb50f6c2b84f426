//! SSTable: a file of sorted entries, written once, read by anyone, never changed. `table` in code.
//!
//! ```text
//! | data block | data block | ... | range tombstones | index | filter | props | zeros | footer |
//! 0            units of the file    4 KiB aligned                                 ends at a multiple of 4 KiB
//! ```
//!
//! The footer leads to the sections, the index to the blocks. Tombstones, index and filter are kept in memory from
//! opening on; blocks come and go through the cache. Every byte that is read is under some checksum.
//!
//! range tombstones = | count varint | (start, has_end u8, end, seq varint) * count |, start ascending, newest first.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

pub mod block;
pub mod bloom;
pub mod cursor;
pub mod footer;
pub mod index;
pub mod lookup;
pub mod reader;
pub mod spares;
pub mod writer;

use std::sync::Arc;

use kv_api::SeqNo;
use kv_io::codec::{Put, Reader};

use crate::range_tombstone::{Fragments, RangeTombstone};

/// What is known of a table without reading it. The manifest holds it; the table's props repeat it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableMeta {
    /// Number in the file name.
    pub id: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Entries, tombstones included.
    pub entries: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Range tombstones, one per fragment and age.
    pub range_tombstones: u64,
    /// Key and value bytes.
    pub user_bytes: u64,
    /// The first key it says something about.
    pub smallest: Vec<u8>,
    /// The first key behind all that it says something about; `None` for no upper bound.
    pub end: Option<Vec<u8>>,
    /// Oldest operation in it.
    pub seq_min: SeqNo,
    /// Newest operation in it.
    pub seq_max: SeqNo,
    /// Age of all its entries, whatever they say themselves; 0 if they are right. Set for ingested tables, whose
    /// age is known only when they are done.
    pub global_seq: SeqNo,
}

impl TableMeta {
    /// True if the table may say something about `key`.
    pub fn covers(&self, key: &[u8]) -> bool {
        *self.smallest <= *key && self.end.as_deref().is_none_or(|end| key < end)
    }

    /// True if the table and `start..end` have a key in common.
    pub fn overlaps(&self, start: &[u8], end: Option<&[u8]>) -> bool {
        end.is_none_or(|end| *self.smallest < *end) && self.end.as_deref().is_none_or(|own| start < own)
    }

    /// Appends it to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.id).put_u64(self.bytes).put_u64(self.entries).put_u64(self.tombstones);
        out.put_u64(self.range_tombstones)
            .put_u64(self.user_bytes)
            .put_u64(self.seq_min)
            .put_u64(self.seq_max);
        out.put_u64(self.global_seq).put_prefixed(&self.smallest).put_u8(u8::from(self.end.is_some()));
        out.put_prefixed(self.end.as_deref().unwrap_or_default());
    }

    /// Reads one; `None` if it is cut short or cannot be.
    pub fn decode(reader: &mut Reader<'_>) -> Option<TableMeta> {
        let meta = TableMeta {
            id: reader.u64()?,
            bytes: reader.u64()?,
            entries: reader.u64()?,
            tombstones: reader.u64()?,
            range_tombstones: reader.u64()?,
            user_bytes: reader.u64()?,
            seq_min: reader.u64()?,
            seq_max: reader.u64()?,
            global_seq: reader.u64()?,
            smallest: reader.prefixed()?.to_vec(),
            end: match (reader.u8()?, reader.prefixed()?) {
                (0, b"") => None,
                (1, end) => Some(end.to_vec()),
                _ => return None,
            },
        };
        let ordered = meta.end.as_ref().is_none_or(|end| meta.smallest < *end);
        (ordered && meta.seq_min <= meta.seq_max && meta.tombstones <= meta.entries).then_some(meta)
    }
}

/// Anything that stands for a table: what the picker and the shape look at.
pub trait Described {
    /// What is known of the table.
    fn meta(&self) -> &TableMeta;

    /// True if it removes ranges of keys.
    fn has_range_tombstones(&self) -> bool {
        self.meta().range_tombstones > 0
    }
}

impl Described for Arc<TableMeta> {
    fn meta(&self) -> &TableMeta {
        self
    }
}

/// The section of range tombstones.
fn encode_tombstones(fragments: &Fragments) -> Vec<u8> {
    let mut out = Vec::new();
    if fragments.is_empty() {
        return out;
    }
    out.put_varint(fragments.count());
    for tombstone in fragments.tombstones() {
        out.put_prefixed(&tombstone.start).put_u8(u8::from(tombstone.end.is_some()));
        out.put_prefixed(tombstone.end.as_deref().unwrap_or_default()).put_varint(tombstone.seq);
    }
    out
}

/// Reads the section of range tombstones; `None` if it is not one.
fn decode_tombstones(bytes: &[u8]) -> Option<Fragments> {
    if bytes.is_empty() {
        return Some(Fragments::default());
    }
    let mut reader = Reader::new(bytes);
    let count = reader.varint()?;
    let mut next = || -> Option<RangeTombstone> {
        let start = Arc::from(reader.prefixed()?);
        let end = match (reader.u8()?, reader.prefixed()?) {
            (0, b"") => None,
            (1, end) => Some(Arc::from(end)),
            _ => return None,
        };
        Some(RangeTombstone { start, end, seq: reader.varint()? })
    };
    let mut fragments = Fragments::default();
    for _ in 0..count {
        // They were cut when they were written. Nested ones would have to be cut anew, and a few of them make many.
        fragments.push_in_order(next()?)?;
    }
    reader.is_empty().then_some(fragments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_comes_back_and_cuts_are_refused() {
        let meta = TableMeta {
            id: 3,
            bytes: 8192,
            entries: 5,
            tombstones: 1,
            smallest: b"a".to_vec(),
            end: Some(b"k\0".to_vec()),
            seq_min: 2,
            seq_max: 9,
            ..TableMeta::default()
        };
        let mut bytes = Vec::new();
        meta.encode(&mut bytes);
        let mut want = Vec::new();
        [3, 8192, 5, 1, 0, 0, 2, 9, 0].iter().for_each(|n| {
            want.put_u64(*n);
        });
        want.put_bytes(b"\x01a\x01\x02k\0");
        assert_eq!(bytes, want);
        assert_eq!(TableMeta::decode(&mut Reader::new(&bytes)), Some(meta));
        for cut in 0..bytes.len() {
            assert_eq!(TableMeta::decode(&mut Reader::new(&bytes[..cut])), None, "cut at {cut}");
        }
    }

    #[test]
    fn ranges_are_half_open() {
        let meta = TableMeta { smallest: b"b".to_vec(), end: Some(b"d".to_vec()), ..TableMeta::default() };
        assert!(meta.covers(b"b") && meta.covers(b"c") && !meta.covers(b"d") && !meta.covers(b"a"));
        assert!(meta.overlaps(b"a", Some(b"b\0")) && !meta.overlaps(b"a", Some(b"b")));
        assert!(!meta.overlaps(b"d", None) && meta.overlaps(b"c", None));
    }

    #[test]
    fn range_tombstones_come_back() {
        let tombstone = |start: &[u8], end: Option<&[u8]>, seq| RangeTombstone {
            start: start.into(),
            end: end.map(Arc::from),
            seq,
        };
        let set = Fragments::build([tombstone(b"a", Some(b"m"), 5), tombstone(b"f", None, 9)]);
        let bytes = encode_tombstones(&set);
        assert_eq!(bytes, b"\x04\x01a\x01\x01f\x05\x01f\x01\x01m\x09\x01f\x01\x01m\x05\x01m\x00\x00\x09");
        assert_eq!(decode_tombstones(&bytes), Some(set));
        for cut in 1..bytes.len() {
            assert_eq!(decode_tombstones(&bytes[..cut]), None, "cut at {cut}");
        }
        // Nested, not newest first, with another end, out of order, empty: nobody wrote that.
        for foreign in [
            b"\x02\x01a\x01\x01m\x05\x01b\x01\x01c\x09".as_slice(),
            b"\x02\x01a\x01\x01m\x05\x01a\x01\x01m\x05",
            b"\x02\x01a\x01\x01m\x05\x01a\x01\x01n\x04",
            b"\x02\x01f\x01\x01m\x05\x01a\x01\x01b\x05",
            b"\x01\x01m\x01\x01m\x05",
        ] {
            assert_eq!(decode_tombstones(foreign), None, "{}", foreign.escape_ascii());
        }
    }
}
