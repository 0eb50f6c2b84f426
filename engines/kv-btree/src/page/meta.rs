//! Meta: the root of trust. Two of them, at bytes 0 and 4096 whatever the page size; a checkpoint writes the one
//! that the last checkpoint did not, so a torn write leaves the other whole. 4096 bytes, of which are used:
//!
//! | magic 8 bytes | version u32 | page_bytes u32 | checkpoint u64 | generation u64 | replay_from u64 |
//! 0               8             12               16               24               32
//! | root u32 | height u8 | zero 3 bytes | file_pages u32 | map_first u32 | map_pages u32 | values u64 | crc u32 |
//! 40         44          45             48               52              56              60           68
//!
//! checkpoint counts checkpoints: the valid meta with the larger one rules, and its parity tells the place.
//! generation is that of the root. replay_from is the first operation that is not in the pages. values counts
//! the values stored apart. crc covers bytes 0 to 67 and is seeded with salt, file id and the meta's place.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use std::borrow::Cow;

use kv_api::SeqNo;
use kv_io::checksum::{FileSum, mismatch};
use kv_io::codec::{Put, Reader};
use kv_io::wal::reader::SEQ_MAX;

use super::{LEVELS_MAX, PAGE_BYTES_MAX, PAGE_BYTES_MIN, PageId};

/// Version of all formats in the pages file.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes of a meta.
pub const META_LEN: usize = 4096;
const MAGIC: [u8; 8] = *b"kvlabBT1";
const USED_LEN: usize = 68;
// The fields of the picture, one after another, up to the crc.
const _: () = assert!(USED_LEN == MAGIC.len() + 4 + 4 + 8 + 8 + 8 + 4 + 1 + 3 + 4 + 4 + 4 + 8);
const _: () = assert!(USED_LEN + 4 <= META_LEN, "the crc is in the meta");

/// What a checkpoint leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Bytes of a page.
    pub page_bytes: usize,
    /// Number of the checkpoint.
    pub checkpoint: u64,
    /// Generation of the root.
    pub generation: u64,
    /// The first operation that is not in the pages.
    pub replay_from: SeqNo,
    /// The root page.
    pub root: PageId,
    /// Levels of the tree: 1 is a single leaf.
    pub height: u8,
    /// Pages of the file that the free map covers.
    pub file_pages: u32,
    /// First page of the free map.
    pub map_first: PageId,
    /// Pages of the free map.
    pub map_pages: u32,
    /// Values stored apart.
    pub values: u64,
}

impl Meta {
    /// Where the meta of checkpoint number `checkpoint` lies, in bytes.
    pub fn offset(checkpoint: u64) -> u64 {
        if checkpoint.is_multiple_of(2) { 0 } else { 4096 }
    }

    /// Pages at the start of the file that the metas cover.
    pub fn reserved_pages(page_bytes: usize) -> u32 {
        u32::try_from((2 * META_LEN).div_ceil(page_bytes)).unwrap_or(u32::MAX)
    }

    /// The bytes, `META_LEN` of them.
    pub fn encode(&self, sum: &FileSum) -> Vec<u8> {
        let mut out = Vec::with_capacity(META_LEN);
        out.put_bytes(&MAGIC).put_u32(FORMAT_VERSION);
        out.put_u32(u32::try_from(self.page_bytes).unwrap_or(0));
        out.put_u64(self.checkpoint).put_u64(self.generation).put_u64(self.replay_from);
        out.put_u32(self.root.0).put_u8(self.height).put_bytes(&[0; 3]);
        out.put_u32(self.file_pages).put_u32(self.map_first.0).put_u32(self.map_pages).put_u64(self.values);
        debug_assert_eq!(out.len(), USED_LEN, "the fields end where the picture says");
        let crc = sum.of(Meta::offset(self.checkpoint), &[&out]);
        out.put_u32(crc);
        out.resize(META_LEN, 0);
        out
    }

    /// The meta in `bytes`, which were read at `offset`.
    ///
    /// # Errors
    /// What does not hold.
    pub fn decode(bytes: &[u8], offset: u64, sum: &FileSum) -> Result<Meta, Cow<'static, str>> {
        let used = bytes.get(..USED_LEN).ok_or("the meta is cut short")?;
        let mut reader = Reader::new(bytes);
        if reader.array() != Some(MAGIC) {
            return Err("the meta does not begin with its magic bytes".into());
        }
        let meta = Meta::fields(&mut reader).ok_or("the meta is cut short")?;
        let found = sum.of(offset, &[used]);
        let expected = super::u32_at(bytes, USED_LEN);
        if found != expected {
            return Err(mismatch(found, expected).into());
        }
        if Meta::offset(meta.checkpoint) != offset {
            return Err("the meta lies in the place of the other one".into());
        }
        meta.check().map(|()| meta)
    }

    fn fields(reader: &mut Reader<'_>) -> Option<Meta> {
        let version = reader.u32()?;
        let page_bytes = usize::try_from(reader.u32()?).ok()?;
        let (checkpoint, generation, replay_from) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let root = PageId(reader.u32()?);
        let height = reader.u8()?;
        reader.bytes(3)?;
        let (file_pages, map_first, map_pages) = (reader.u32()?, PageId(reader.u32()?), reader.u32()?);
        let values = reader.u64()?;
        let page_bytes = if version == FORMAT_VERSION { page_bytes } else { 0 };
        Some(Meta {
            page_bytes,
            checkpoint,
            generation,
            replay_from,
            root,
            height,
            file_pages,
            map_first,
            map_pages,
            values,
        })
    }

    fn check(&self) -> Result<(), Cow<'static, str>> {
        if !is_page_size(self.page_bytes) {
            return Err("the meta has a version or page size that this build does not read".into());
        }
        let numbers = [self.checkpoint, self.generation, self.replay_from];
        // Checkpoints and states are fewer than operations, so what bounds these bounds all, and one more never overflows.
        if numbers.iter().any(|number| !(1..=SEQ_MAX).contains(number)) {
            return Err("the meta has a number that cannot be".into());
        }
        if self.height == 0 || self.height > LEVELS_MAX || self.root.0 >= self.file_pages {
            return Err("the meta names a root that cannot be".into());
        }
        let bits = super::free_map::bits_per_page(self.page_bytes);
        let map_pages = usize::try_from(self.file_pages).unwrap_or(usize::MAX).div_ceil(bits);
        let map_end = self.map_first.0.checked_add(self.map_pages);
        if usize::try_from(self.map_pages) != Ok(map_pages) || map_end.is_none_or(|end| end > self.file_pages)
        {
            return Err("the meta names a free map that cannot be".into());
        }
        Ok(())
    }
}

/// True for the page sizes that can be used.
pub fn is_page_size(page_bytes: usize) -> bool {
    page_bytes.is_power_of_two() && (PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&page_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> Meta {
        Meta {
            page_bytes: 4096,
            checkpoint: 3,
            generation: 4,
            replay_from: 5,
            root: PageId(6),
            height: 7,
            file_pages: 8,
            map_first: PageId(2),
            map_pages: 1,
            values: 9,
        }
    }

    #[test]
    fn numbers_that_nobody_counted_up_to_are_refused() {
        let sum = FileSum::new(1, 1);
        let decode = |meta: Meta| Meta::decode(&meta.encode(&sum), Meta::offset(meta.checkpoint), &sum);
        assert_eq!(decode(meta()), Ok(meta()));
        for number in [0, SEQ_MAX + 1, u64::MAX] {
            assert!(decode(Meta { checkpoint: number, ..meta() }).is_err());
            assert!(decode(Meta { generation: number, ..meta() }).is_err());
            assert!(decode(Meta { replay_from: number, ..meta() }).is_err());
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_picture() {
        let bytes = meta().encode(&FileSum::new(1, 1));
        let mut golden = Vec::new();
        golden.extend_from_slice(b"kvlabBT1\x01\0\0\0\0\x10\0\0");
        for number in [3_u64, 4, 5] {
            golden.extend_from_slice(&number.to_le_bytes());
        }
        golden.extend_from_slice(b"\x06\0\0\0\x07\0\0\0\x08\0\0\0\x02\0\0\0\x01\0\0\0\x09\0\0\0\0\0\0\0");
        assert_eq!(&bytes[..USED_LEN], golden);
        assert_eq!(bytes.len(), META_LEN);
        assert!(bytes[USED_LEN + 4..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_meta_comes_back_and_damage_is_told() {
        let sum = FileSum::new(1, 1);
        let mut bytes = meta().encode(&sum);
        assert_eq!(Meta::decode(&bytes, 4096, &sum), Ok(meta()));
        assert!(Meta::decode(&bytes, 0, &sum).is_err());
        for at in 0..USED_LEN + 4 {
            bytes[at] ^= 1;
            assert!(Meta::decode(&bytes, 4096, &sum).is_err(), "byte {at}");
            bytes[at] ^= 1;
        }
        for cut in 0..USED_LEN + 4 {
            assert!(Meta::decode(&bytes[..cut], 4096, &sum).is_err(), "cut at {cut}");
        }
    }
}
