//! A batch: puts, deletes and range deletes that take effect together and in order.
//!
//! It is kept as one buffer, already in the encoding that the write-ahead log stores, so that a commit copies
//! it once. One operation:
//!
//! | kind u8 | key_len varint | value_len varint | key | value |
//!
//! kind 1 put: value is the value.  kind 2 delete: value_len is 0.
//! kind 3 delete range: key is the inclusive start; value_len is 0 for "no upper bound", else 1 + the length of
//! the exclusive end, and value is that end.

use std::ops::Bound;

use crate::range::KeyRange;
use crate::varint;

const KIND_PUT: u8 = 1;
const KIND_DELETE: u8 = 2;
const KIND_DELETE_RANGE: u8 = 3;

/// One operation of a batch, borrowed from its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op<'a> {
    /// Set `key` to `value`.
    Put {
        /// The key.
        key: &'a [u8],
        /// Its new value; empty is legal.
        value: &'a [u8],
    },
    /// Remove `key`; it need not exist.
    Delete {
        /// The key.
        key: &'a [u8],
    },
    /// Remove every key in `start..end`.
    DeleteRange {
        /// The first key removed.
        start: &'a [u8],
        /// The first key kept, or `None` to remove to the end of the keyspace.
        end: Option<&'a [u8]>,
    },
}

/// Operations that commit together, in order.
///
/// ```
/// let mut batch = kv_api::Batch::new();
/// batch.put(b"k", b"v").delete(b"old");
/// assert_eq!((batch.len(), batch.user_bytes()), (2, 5));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    bytes: Vec<u8>,
    count: u32,
    user_bytes: u64,
    key_bytes_max: usize,
    value_bytes_max: usize,
}

impl Batch {
    /// What an operation takes besides its key and value, at most: kind and two lengths. A batch with room for so much
    /// more takes the operation without growing.
    pub const OP_BYTES_MAX: usize = 1 + 2 * varint::VARINT_LEN_MAX;

    /// An empty batch.
    pub fn new() -> Self {
        Batch::default()
    }

    /// An empty batch with room for `bytes` encoded bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Batch { bytes: Vec::with_capacity(bytes), ..Batch::default() }
    }

    /// Adds "set `key` to `value`".
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> &mut Self {
        self.push(KIND_PUT, key, value.len() as u64, value);
        self.user_bytes += (key.len() + value.len()) as u64;
        self.value_bytes_max = self.value_bytes_max.max(value.len());
        self
    }

    /// Adds "remove `key`".
    pub fn delete(&mut self, key: &[u8]) -> &mut Self {
        self.push(KIND_DELETE, key, 0, &[]);
        self.user_bytes += key.len() as u64;
        self
    }

    /// Adds "remove every key in `range`". An empty or inverted range adds nothing.
    pub fn delete_range(&mut self, range: KeyRange<'_>) -> &mut Self {
        let mut start_buffer = Vec::new();
        let start: &[u8] = match range.start {
            Bound::Unbounded => &[],
            Bound::Included(key) => key,
            Bound::Excluded(key) => successor(key, &mut start_buffer),
        };
        let mut end_buffer = Vec::new();
        let end: Option<&[u8]> = match range.end {
            Bound::Unbounded => None,
            Bound::Excluded(key) => Some(key),
            Bound::Included(key) => Some(successor(key, &mut end_buffer)),
        };
        if end.is_some_and(|end| end <= start) {
            return self;
        }
        let end_bytes = end.unwrap_or_default();
        self.push(KIND_DELETE_RANGE, start, end.map_or(0, |end| end.len() as u64 + 1), end_bytes);
        self.user_bytes += (start.len() + end_bytes.len()) as u64;
        // A bound made from a key of the longest legal length is one byte longer than a key may be.
        self.key_bytes_max = self.key_bytes_max.max(end_bytes.len());
        self
    }

    fn push(&mut self, kind: u8, key: &[u8], value_len: u64, value: &[u8]) {
        self.bytes.reserve(Batch::OP_BYTES_MAX + key.len() + value.len());
        self.bytes.push(kind);
        varint::put(&mut self.bytes, key.len() as u64);
        varint::put(&mut self.bytes, value_len);
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.count += 1;
        self.key_bytes_max = self.key_bytes_max.max(key.len());
    }

    /// Removes all operations, keeps the memory.
    pub fn clear(&mut self) {
        *self = Batch { bytes: std::mem::take(&mut self.bytes), ..Batch::default() };
        self.bytes.clear();
    }

    /// Number of operations.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// True if there is no operation.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The operations in order.
    pub fn ops(&self) -> impl Iterator<Item = Op<'_>> {
        // The buffer was filled by `push` alone, so decoding it cannot fail.
        Ops::new(&self.bytes).map_while(Result::ok)
    }

    /// The encoded operations, as the log stores them.
    pub fn encoded(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes the user asked to write: key + value per put, key per delete, both bounds per range delete.
    pub fn user_bytes(&self) -> u64 {
        self.user_bytes
    }

    /// Length of the longest key (or range bound) in bytes.
    pub fn key_bytes_max(&self) -> usize {
        self.key_bytes_max
    }

    /// Length of the longest value in bytes.
    pub fn value_bytes_max(&self) -> usize {
        self.value_bytes_max
    }
}

/// The least key above `key`.
fn successor<'b>(key: &[u8], buffer: &'b mut Vec<u8>) -> &'b [u8] {
    buffer.extend_from_slice(key);
    buffer.push(0);
    buffer
}

/// Decodes operations from bytes that may come from a damaged file. After an error it ends.
#[derive(Debug, Clone)]
pub struct Ops<'a> {
    rest: &'a [u8],
}

impl<'a> Ops<'a> {
    /// Decodes `bytes`, which hold whole operations one after another.
    pub fn new(bytes: &'a [u8]) -> Self {
        Ops { rest: bytes }
    }

    fn decode(rest: &mut &'a [u8]) -> Result<Op<'a>, &'static str> {
        let (&kind, after) = rest.split_first().ok_or("an operation is cut short")?;
        *rest = after;
        let key_len = varint::take(rest).ok_or("a key length is cut short")?;
        let value_len = varint::take(rest).ok_or("a value length is cut short")?;
        let key = take(rest, key_len).ok_or("a key reaches past its batch")?;
        match kind {
            KIND_PUT => {
                let value = take(rest, value_len).ok_or("a value reaches past its batch")?;
                Ok(Op::Put { key, value })
            }
            KIND_DELETE if value_len == 0 => Ok(Op::Delete { key }),
            KIND_DELETE => Err("a delete carries a value"),
            KIND_DELETE_RANGE => match value_len.checked_sub(1) {
                None => Ok(Op::DeleteRange { start: key, end: None }),
                Some(end_len) => {
                    let end = take(rest, end_len).ok_or("a range end reaches past its batch")?;
                    Ok(Op::DeleteRange { start: key, end: Some(end) })
                }
            },
            _ => Err("an operation has an unknown kind"),
        }
    }
}

fn take<'a>(rest: &mut &'a [u8], len: u64) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    *rest = tail;
    Some(head)
}

impl<'a> Iterator for Ops<'a> {
    type Item = Result<Op<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let op = Ops::decode(&mut self.rest);
        if op.is_err() {
            self.rest = &[];
        }
        Some(op)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_the_one_in_the_picture() {
        let mut batch = Batch::new();
        batch.put(b"key", b"v").delete(b"d").delete_range(KeyRange::from(b"a".as_slice()..b"c".as_slice()));
        batch.delete_range(KeyRange::from(b"z".as_slice()..));
        assert_eq!(batch.encoded(), b"\x01\x03\x01keyv\x02\x01\x00d\x03\x01\x02ac\x03\x01\x00z");
        assert_eq!(batch.user_bytes(), 4 + 1 + 2 + 1);
    }

    #[test]
    fn bounds_become_half_open() {
        let mut batch = Batch::new();
        batch.delete_range(KeyRange { start: Bound::Excluded(b"a"), end: Bound::Included(b"b") });
        batch.delete_range(KeyRange::from(b"b".as_slice()..b"a".as_slice()));
        let ops: Vec<_> = batch.ops().collect();
        assert_eq!(ops, [Op::DeleteRange { start: b"a\0", end: Some(b"b\0") }]);
    }

    #[test]
    fn a_damaged_buffer_is_an_error_and_then_the_end() {
        let mut batch = Batch::new();
        batch.put(b"key", b"value");
        let bytes = batch.encoded();
        for cut in 1..bytes.len() {
            let mut ops = Ops::new(&bytes[..cut]);
            assert!(ops.next().is_some_and(|op| op.is_err()), "cut at {cut}");
            assert!(ops.next().is_none());
        }
        assert!(Ops::new(&[9, 0, 0]).next().is_some_and(|op| op.is_err()));
        assert!(Ops::new(&[2, 0, 1, 7]).next().is_some_and(|op| op.is_err()));
    }

    #[test]
    fn an_operation_fits_the_room_made_for_it() {
        let (key, value) = ([1; 200], [2; 70_000]);
        let mut batch = Batch::with_capacity(Batch::OP_BYTES_MAX + key.len() + value.len());
        let (place, room) = (batch.bytes.as_ptr(), batch.bytes.capacity());
        batch.put(&key, &value);
        assert_eq!((batch.bytes.as_ptr(), batch.bytes.capacity()), (place, room));
    }

    #[test]
    fn a_cleared_batch_starts_over() {
        let mut batch = Batch::new();
        batch.put(b"k", b"v").clear();
        assert_eq!(batch, Batch::new());
    }
}
