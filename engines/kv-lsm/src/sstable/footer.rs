//! Footer: the last 128 bytes of a table; where everything else is found from.
//!
//! ```text
//! | magic 8 | format u32 | unit u32 | table id u64 | data_len u64 | section * 4 | zero 12 | crc u32 |
//! 0         8            12         16             24             32            112       124
//! section = | offset u64 | len u64 | crc u32 |     in order: tombstones, index, filter, props
//! ```
//!
//! Data blocks fill bytes 0 to `data_len`. `crc` covers what is before it, seeded with database, table and the
//! footer's offset; each section's crc likewise with the section's offset.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use kv_io::checksum::{FileSum, mismatch};
use kv_io::codec::{Put, Reader};

/// Length of the footer in bytes.
pub const FOOTER_LEN: usize = 128;
/// Version of the table format.
pub const FORMAT: u32 = 1;
const MAGIC: &[u8; 8] = b"KVLABTBL";
const SECTION_LEN: usize = 8 + 8 + 4;
const SECTIONS_AT: usize = 8 + 4 + 4 + 8 + 8;
const CRC_AT: usize = FOOTER_LEN - 4;
const _: () = assert!(SECTIONS_AT + 4 * SECTION_LEN + 12 == CRC_AT, "the picture and the fields disagree");

/// A part of a table file with its own checksum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Section {
    /// Where it begins.
    pub offset: u64,
    /// Its bytes; 0 if the table has none.
    pub len: u64,
    /// Checksum over them.
    pub crc: u32,
}

/// The footer's fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footer {
    /// Block offsets and lengths are multiples of this, in bytes.
    pub unit: u32,
    /// The number in the file's name.
    pub table_id: u64,
    /// Bytes of data blocks.
    pub data_len: u64,
    /// Range tombstones.
    pub tombstones: Section,
    /// The fence index.
    pub index: Section,
    /// The filter.
    pub filter: Section,
    /// What the table holds, as [`crate::sstable::TableMeta`].
    pub props: Section,
}

impl Footer {
    /// Encodes it for a footer at `offset`.
    pub fn encode(&self, sum: &FileSum, offset: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_LEN);
        out.put_bytes(MAGIC).put_u32(FORMAT).put_u32(self.unit).put_u64(self.table_id).put_u64(self.data_len);
        for section in [self.tombstones, self.index, self.filter, self.props] {
            out.put_u64(section.offset).put_u64(section.len).put_u32(section.crc);
        }
        out.resize(CRC_AT, 0);
        let crc = sum.of(offset, &[&out]);
        out.put_u32(crc);
        out
    }

    /// Reads the footer that lies at `offset` and checks it and every section's place.
    ///
    /// # Errors
    /// What does not hold, as a sentence part.
    pub fn decode(bytes: &[u8], sum: &FileSum, offset: u64, table_id: u64) -> Result<Footer, String> {
        let covered = bytes.get(..CRC_AT).ok_or("the footer is cut short")?;
        let crc =
            Reader::new(bytes.get(CRC_AT..).unwrap_or_default()).u32().ok_or("the footer is cut short")?;
        let found = sum.of(offset, &[covered]);
        if found != crc {
            return Err(format!("the footer's {}", mismatch(found, crc)));
        }
        let mut reader = Reader::new(covered);
        if reader.array::<8>().as_ref() != Some(MAGIC) {
            return Err("this is not a table".to_owned());
        }
        let format = reader.u32();
        if format != Some(FORMAT) {
            return Err(format!("table format {format:?} is not {FORMAT}, which this build reads"));
        }
        let footer = Footer::fields(&mut reader).ok_or("the footer is cut short")?;
        let sections = [footer.tombstones, footer.index, footer.filter, footer.props];
        let inside = |s: &Section| s.offset >= footer.data_len && s.offset.saturating_add(s.len) <= offset;
        let fits = |s: &Section| s.len == 0 || inside(s);
        let unit_ok = footer.unit.is_power_of_two() && footer.data_len.is_multiple_of(u64::from(footer.unit));
        if !unit_ok || footer.table_id != table_id || !sections.iter().all(fits) {
            return Err("the footer's fields do not fit the file".to_owned());
        }
        Ok(footer)
    }

    fn fields(reader: &mut Reader<'_>) -> Option<Footer> {
        let (unit, table_id, data_len) = (reader.u32()?, reader.u64()?, reader.u64()?);
        let mut section = || Some(Section { offset: reader.u64()?, len: reader.u64()?, crc: reader.u32()? });
        let (tombstones, index, filter, props) = (section()?, section()?, section()?, section()?);
        Some(Footer { unit, table_id, data_len, tombstones, index, filter, props })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer() -> Footer {
        let section = |offset, len, crc| Section { offset, len, crc };
        Footer {
            unit: 4096,
            table_id: 12,
            data_len: 8192,
            tombstones: section(8192, 0, 0),
            index: section(8192, 100, 1),
            filter: section(8292, 50, 2),
            props: section(8342, 30, 3),
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_picture() {
        let sum = FileSum::new(7, 12);
        let bytes = footer().encode(&sum, 9000);
        assert_eq!(bytes.len(), FOOTER_LEN);
        assert_eq!(&bytes[..8], b"KVLABTBL");
        assert_eq!(bytes[24..32], 8192_u64.to_le_bytes());
        assert_eq!(bytes[52..60], 8192_u64.to_le_bytes());
        assert_eq!(bytes[60..68], 100_u64.to_le_bytes());
        assert_eq!(bytes[108..112], 3_u32.to_le_bytes());
        assert_eq!(bytes[124..], sum.of(9000, &[&bytes[..124]]).to_le_bytes());
        assert_eq!(Footer::decode(&bytes, &sum, 9000, 12), Ok(footer()));
    }

    #[test]
    fn places_beyond_four_tebibytes_come_back() {
        let sum = FileSum::new(7, 12);
        let far = 1 << 42;
        let section = |offset, len| Section { offset: far + offset, len, crc: 5 };
        let footer = Footer {
            data_len: far,
            tombstones: section(0, 0),
            index: section(0, 5 << 32),
            filter: section(5 << 32, 50),
            props: section((5 << 32) + 50, 30),
            ..footer()
        };
        let at = far + (6 << 32);
        let bytes = footer.encode(&sum, at);
        assert_eq!(Footer::decode(&bytes, &sum, at, 12), Ok(footer));
        assert!(
            Footer::decode(&bytes, &sum, at & 0xFFFF_FFFF, 12).is_err(),
            "the place is part of the checksum"
        );
    }

    #[test]
    fn every_flip_cut_and_displacement_is_found() {
        let sum = FileSum::new(7, 12);
        let bytes = footer().encode(&sum, 9000);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Footer::decode(&damaged, &sum, 9000, 12).is_err(), "byte {at}");
            assert!(Footer::decode(&bytes[..at], &sum, 9000, 12).is_err(), "cut at {at}");
        }
        assert!(Footer::decode(&bytes, &sum, 9001, 12).is_err());
        assert!(Footer::decode(&bytes, &FileSum::new(7, 13), 9000, 12).is_err());
        let beyond = Footer { index: Section { offset: 8192, len: 4096, crc: 0 }, ..footer() };
        assert!(Footer::decode(&beyond.encode(&sum, 9000), &sum, 9000, 12).is_err());
    }
}
