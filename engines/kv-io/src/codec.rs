//! Little-endian integers, and a [`Reader`] that cannot panic: whatever the bytes, it answers with `None`.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use kv_api::varint;

/// Takes fields off the front of bytes that may come from a damaged file.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from the front.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// The next `len` bytes, or `None` if there are fewer.
    pub fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(len)?;
        self.rest = tail;
        Some(head)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.rest.split_first_chunk::<N>()?;
        self.rest = tail;
        Some(*head)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    /// The next two bytes as a number.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// The next four bytes as a number.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next eight bytes as a number.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next varint.
    pub fn varint(&mut self) -> Option<u64> {
        varint::take(&mut self.rest)
    }

    /// The next varint as a length of something that must still follow: `None` if fewer bytes are left. So a
    /// damaged length never asks for memory that the file could not fill.
    pub fn varint_len(&mut self) -> Option<usize> {
        let len = usize::try_from(self.varint()?).ok()?;
        (len <= self.rest.len()).then_some(len)
    }

    /// The next bytes, behind a varint that tells how many.
    pub fn prefixed(&mut self) -> Option<&'a [u8]> {
        let len = self.varint_len()?;
        self.bytes(len)
    }

    /// What has not been taken.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// True if all has been taken.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

/// Appends fields to a byte vector; the counterpart of [`Reader`].
pub trait Put {
    /// Appends a byte.
    fn put_u8(&mut self, value: u8) -> &mut Self;
    /// Appends two bytes.
    fn put_u16(&mut self, value: u16) -> &mut Self;
    /// Appends four bytes.
    fn put_u32(&mut self, value: u32) -> &mut Self;
    /// Appends eight bytes.
    fn put_u64(&mut self, value: u64) -> &mut Self;
    /// Appends a varint.
    fn put_varint(&mut self, value: u64) -> &mut Self;
    /// Appends bytes as they are.
    fn put_bytes(&mut self, bytes: &[u8]) -> &mut Self;
    /// Appends bytes behind a varint that tells how many.
    fn put_prefixed(&mut self, bytes: &[u8]) -> &mut Self;
}

impl Put for Vec<u8> {
    fn put_u8(&mut self, value: u8) -> &mut Self {
        self.push(value);
        self
    }

    fn put_u16(&mut self, value: u16) -> &mut Self {
        self.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn put_u32(&mut self, value: u32) -> &mut Self {
        self.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn put_u64(&mut self, value: u64) -> &mut Self {
        self.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn put_varint(&mut self, value: u64) -> &mut Self {
        varint::put(self, value);
        self
    }

    fn put_bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.extend_from_slice(bytes);
        self
    }

    fn put_prefixed(&mut self, bytes: &[u8]) -> &mut Self {
        // A usize fits u64 on every platform that Rust supports.
        varint::put(self, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.put_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_and_a_short_input_gives_none() {
        let mut bytes = Vec::new();
        bytes.put_u8(1).put_u16(2).put_u32(3).put_u64(4).put_varint(300).put_prefixed(b"abc");
        let read = |bytes: &[u8]| {
            let mut reader = Reader::new(bytes);
            let fields = (reader.u8()?, reader.u16()?, reader.u32()?, reader.u64()?, reader.varint()?);
            let tail = reader.prefixed()?.to_vec();
            reader.is_empty().then_some((fields, tail))
        };
        assert_eq!(read(&bytes), Some(((1, 2, 3, 4, 300), b"abc".to_vec())));
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn a_length_beyond_the_input_is_refused_before_anything_is_allocated() {
        let mut bytes = Vec::new();
        bytes.put_varint(u64::MAX).put_bytes(b"x");
        assert_eq!(Reader::new(&bytes).varint_len(), None);
    }
}
