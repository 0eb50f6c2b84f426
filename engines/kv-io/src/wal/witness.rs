//! The witness: tells from the front of a segment how far its frames go, so that damage to the last of them does not
//! pass for the end of the log.
//!
//! ```text
//! | crc u32 | unsynced u32 | durable_upto u64 | frames_end u64 | file_len u64 | the same once more |
//! 992       996            1000               1008             1016           1024            1056
//! ```
//!
//! * It is written right before each sync of the segment, together with the frames that the sync is for.
//!   `durable_upto` is the newest operation that an *earlier* sync made durable, so it is true whether or not this sync
//!   comes to its end: a log that ends before it has lost acknowledged data.
//! * `unsynced` counts the operations behind it, whose frames end at `frames_end`. Where they are missing a tail was
//!   torn, even if nothing is left of it to be seen.
//! * `file_len` is the length of the file at that earlier sync: a shorter file was cut.
//! * When the log is closed it is written once more, with all that there is as durable.
//! * The two copies lie on either side of the border between two sectors: one write, and a damaged sector leaves one.
//!   `crc` covers the 28 bytes after it, seeded with the salt, the segment's id and the place, so a recycled file has
//!   none, and zeros are none.
//!
//! Why this costs a page of the device at each sync: frames of many groups share a sector, and the last one has
//! nothing behind it that could vouch for it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use kv_api::SeqNo;

use crate::checksum::FileSum;
use crate::codec::{Put, Reader};

/// Where the first copy begins. The second one follows it, in the next sector.
pub const WITNESS_OFFSET: u64 = 992;
/// Bytes that each sync of the log writes beside its frames: both copies.
pub const WITNESS_BYTES: u64 = 2 * WITNESS_LEN_U64;
/// Bytes of one copy.
pub const WITNESS_LEN: usize = 32;

const WITNESS_LEN_U64: u64 = 32;
const SECTOR_LEN: u64 = 512;
#[expect(clippy::as_conversions, reason = "a constant expression, checked by the compiler")]
const _: () = assert!(WITNESS_LEN_U64 == WITNESS_LEN as u64);
const _: () =
    assert!((WITNESS_OFFSET + WITNESS_LEN_U64).is_multiple_of(SECTOR_LEN), "a sector ends between them");
const _: () = assert!(4 + 4 + 3 * 8 == WITNESS_LEN, "the fields fill it");

/// How far a segment goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Witness {
    /// The newest operation that was on disk before the sync it was written for.
    pub durable_upto: SeqNo,
    /// Where the frames end that this sync is for.
    pub frames_end: u64,
    /// Operations in them (at most [`u32::MAX`]).
    pub unsynced: u32,
    /// Bytes that the file had on disk before that sync.
    pub file_len: u64,
}

impl Witness {
    /// Both copies, for [`WITNESS_OFFSET`].
    pub fn encode(&self, sum: &FileSum) -> Vec<u8> {
        let mut tail = Vec::with_capacity(WITNESS_LEN);
        tail.put_u32(self.unsynced)
            .put_u64(self.durable_upto)
            .put_u64(self.frames_end)
            .put_u64(self.file_len);
        let mut bytes = Vec::with_capacity(2 * WITNESS_LEN);
        for offset in offsets() {
            bytes.put_u32(sum.of(offset, &[&tail])).put_bytes(&tail);
        }
        bytes
    }

    /// The witness in `bytes`, which were read at [`WITNESS_OFFSET`]: the one that tells more if the copies differ.
    pub fn decode(sum: &FileSum, bytes: &[u8]) -> Option<Witness> {
        let copies = bytes.chunks(WITNESS_LEN).zip(offsets());
        copies.filter_map(|(copy, offset)| Witness::decode_copy(sum, offset, copy)).max()
    }

    fn decode_copy(sum: &FileSum, offset: u64, bytes: &[u8]) -> Option<Witness> {
        let mut reader = Reader::new(bytes.get(..WITNESS_LEN)?);
        let crc = reader.u32()?;
        let covered = reader.rest();
        let (unsynced, durable_upto) = (reader.u32()?, reader.u64()?);
        let (frames_end, file_len) = (reader.u64()?, reader.u64()?);
        let witness = Witness { durable_upto, frames_end, unsynced, file_len };
        (crc == sum.of(offset, &[covered])).then_some(witness)
    }

    /// The number after the last operation that was to be synced.
    pub fn next_seq(&self) -> SeqNo {
        self.durable_upto.saturating_add(u64::from(self.unsynced)).saturating_add(1)
    }
}

fn offsets() -> [u64; 2] {
    [WITNESS_OFFSET, WITNESS_OFFSET + WITNESS_LEN_U64]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_picture_and_one_copy_is_enough() {
        let sum = FileSum::new(1, 2);
        let witness = Witness { durable_upto: 76, frames_end: 5000, unsynced: 3, file_len: 65_536 };
        assert_eq!(witness.next_seq(), 80);
        let bytes = witness.encode(&sum);
        let golden = b"\x03\0\0\0L\0\0\0\0\0\0\0\x88\x13\0\0\0\0\0\0\0\0\x01\0\0\0\0\0";
        assert_eq!((&bytes[4..32], &bytes[36..]), (&golden[..], &golden[..]));
        assert_eq!(Witness::decode(&sum, &bytes), Some(witness));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Witness::decode(&sum, &damaged), Some(witness), "flip at {at}: the other copy tells");
            damaged[(at + WITNESS_LEN) % bytes.len()] ^= 1;
            assert_eq!(Witness::decode(&sum, &damaged), None, "flips at {at} of both");
            let whole = (at >= WITNESS_LEN).then_some(witness);
            assert_eq!(Witness::decode(&sum, &bytes[..at]), whole, "cut at {at}");
        }
        let older = Witness { durable_upto: 70, ..witness }.encode(&sum);
        let torn = [&bytes[..WITNESS_LEN], &older[WITNESS_LEN..]].concat();
        assert_eq!(Witness::decode(&sum, &torn), Some(witness), "a torn write tells of the newer one");
        assert_eq!(Witness::decode(&FileSum::new(1, 3), &bytes), None, "a recycled file forgets");
        assert_eq!(Witness::decode(&sum, &[0; 2 * WITNESS_LEN]), None, "zeros say nothing");
    }
}
