//! A frame: one batch in the log, or a mark: the log goes on in another segment, or was closed.
//!
//! ```text
//! | header_crc u32 | body_crc u32 | body_len u32 | count u32 | segment u32 | unsynced u32 | first_seq u64 | body | 0..7 zeros |
//! 0                4              8              12          16            20             24              32
//! ```
//!
//! * `header_crc` covers bytes 4..32, `body_crc` the body and its zeros; both are seeded with the salt, the
//!   segment's id and the place in the segment ([`FileSum`]), so stale bytes of a recycled segment never verify.
//! * `body` is [`kv_api::Batch::encoded`] as it is, `body_len` its length without the zeros, `count` its operations,
//!   numbered from `first_seq`. A frame without operations is a [`Mark`].
//! * `segment` is the lower half of the segment's id; it makes the search for a later frame cheap.
//! * `unsynced` tells how many operations right before `first_seq` were not known to be on disk when the frame
//!   was written (at most [`u32::MAX`]). So `durable_upto = first_seq - 1 - unsynced`: if a frame at or below it
//!   cannot be read, acknowledged data is gone, and that is damage, not a torn tail.
//!
//! Always: frames begin at multiples of 8, lie back to back, and none reaches past its segment.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use kv_api::SeqNo;

use crate::checksum::FileSum;
use crate::codec::Reader;
use crate::seeded::{self, Bug};

/// Bytes before the body.
pub const FRAME_HEADER_LEN: usize = 32;
/// Frames begin at multiples of this many bytes.
pub const FRAME_ALIGN: usize = 8;

const FIRST_SEQ: usize = 24;
const _: () = assert!(FIRST_SEQ + size_of::<SeqNo>() == FRAME_HEADER_LEN, "the fields fill the header");
const _: () = assert!(FRAME_HEADER_LEN.is_multiple_of(FRAME_ALIGN), "a body begins aligned");

const ZEROS: [u8; FRAME_ALIGN] = [0; FRAME_ALIGN];

/// The zeros between the end of a body of `len` bytes and the next frame.
pub fn padding(len: usize) -> &'static [u8] {
    ZEROS.get(..len.next_multiple_of(FRAME_ALIGN) - len).unwrap_or_default()
}

/// Bytes of a frame with a body of `len` bytes.
pub fn frame_len(len: usize) -> usize {
    FRAME_HEADER_LEN + len.next_multiple_of(FRAME_ALIGN)
}

/// Where a frame is: checksums hold nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct FramePlace<'a> {
    /// The checksums of its segment.
    pub sum: &'a FileSum,
    /// The id of its segment.
    pub segment_id: u64,
    /// Its first byte in the segment.
    pub offset: u64,
}

impl FramePlace<'_> {
    fn body_crc(&self, body: &[u8], zeros: &[u8]) -> u32 {
        self.sum.of(self.offset + FRAME_HEADER_LEN_U64, &[body, zeros])
    }

    fn segment_low(&self) -> u32 {
        let [a, b, c, d, ..] = self.segment_id.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }
}

const FRAME_HEADER_LEN_U64: u64 = 32;
#[expect(clippy::as_conversions, reason = "a constant expression, checked by the compiler")]
const _: () = assert!(FRAME_HEADER_LEN_U64 == FRAME_HEADER_LEN as u64);

/// What a frame says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Checksum of the body and its zeros.
    pub body_crc: u32,
    /// Bytes of the body, without zeros.
    pub body_len: u32,
    /// Operations in the body; 0 for a mark.
    pub count: u32,
    /// Operations right before `first_seq` that were not known to be on disk.
    pub unsynced: u32,
    /// The number of the first operation.
    pub first_seq: SeqNo,
}

impl FrameHeader {
    /// The header of a frame with `body` at `place`. `durable_upto` is the newest operation known to be on disk.
    pub fn of(
        place: FramePlace<'_>,
        first_seq: SeqNo,
        count: u32,
        durable_upto: SeqNo,
        body: &[u8],
    ) -> FrameHeader {
        let unsynced = first_seq.saturating_sub(1).saturating_sub(durable_upto);
        // The limits keep every batch far below 4 GiB; the writer checks before it gets here.
        let body_len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        FrameHeader {
            body_crc: place.body_crc(body, padding(body.len())),
            body_len,
            count,
            unsynced: u32::try_from(unsynced).unwrap_or(u32::MAX),
            first_seq,
        }
    }

    /// The bytes of the header.
    pub fn encode(&self, place: FramePlace<'_>) -> [u8; FRAME_HEADER_LEN] {
        let mut bytes = [0; FRAME_HEADER_LEN];
        bytes[4..8].copy_from_slice(&self.body_crc.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.body_len.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.count.to_le_bytes());
        bytes[16..20].copy_from_slice(&place.segment_low().to_le_bytes());
        bytes[20..24].copy_from_slice(&self.unsynced.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first_seq.to_le_bytes());
        let crc = place.sum.of(place.offset, &[&bytes[4..]]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header at the front of `bytes`, or `None` if what is there is not a whole header of this place.
    pub fn decode(place: FramePlace<'_>, bytes: &[u8]) -> Option<FrameHeader> {
        let bytes = bytes.first_chunk::<FRAME_HEADER_LEN>()?;
        // The cheap comparison first: a search over a whole segment takes this way out at nearly every step.
        if bytes[16..20] != place.segment_low().to_le_bytes() {
            return None;
        }
        let mut reader = Reader::new(bytes);
        let header_crc = reader.u32()?;
        let covered = reader.rest();
        let (body_crc, body_len, count) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let (_segment, unsynced, first_seq) = (reader.u32()?, reader.u32()?, reader.u64()?);
        let header = FrameHeader { body_crc, body_len, count, unsynced, first_seq };
        (header_crc == place.sum.of(place.offset, &[covered])).then_some(header)
    }

    /// True if `bytes` begin with a header that was once ours, whole or not: its segment or its first operation
    /// are the ones expected at this place.
    pub fn resembles(place: FramePlace<'_>, expected_seq: SeqNo, bytes: &[u8]) -> bool {
        let segment = bytes.get(16..20).is_some_and(|found| found == place.segment_low().to_le_bytes());
        let seq =
            bytes.get(FIRST_SEQ..FRAME_HEADER_LEN).is_some_and(|found| found == expected_seq.to_le_bytes());
        segment || seq
    }

    /// The body, if all of it is in `rest` (the bytes after the header) and it is the one that was written.
    pub fn body<'b>(&self, place: FramePlace<'_>, rest: &'b [u8]) -> Option<&'b [u8]> {
        let len = usize::try_from(self.body_len).ok()?;
        let (body, after) = rest.split_at_checked(len)?;
        let zeros = after.get(..padding(len).len())?;
        let is_right = self.body_crc == place.body_crc(body, zeros);
        (is_right || seeded::is(Bug::LogBodyUnchecked)).then_some(body)
    }

    /// The newest operation that was known to be on disk when the frame was written.
    pub fn durable_upto(&self) -> SeqNo {
        self.first_seq.saturating_sub(1).saturating_sub(u64::from(self.unsynced))
    }

    /// The number after the last operation.
    pub fn next_seq(&self) -> SeqNo {
        self.first_seq.saturating_add(u64::from(self.count))
    }

    /// Bytes of the whole frame.
    pub fn frame_len(&self) -> u64 {
        FRAME_HEADER_LEN_U64 + u64::from(self.body_len).next_multiple_of(8)
    }

    /// True if this is no batch but a [`Mark`].
    pub fn is_mark(&self) -> bool {
        self.count == 0
    }
}

/// The last frame of a segment that was left in good order. Everything before it was on disk when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The handle was closed: any damage to the log from here on is damage. No body.
    Closed,
    /// The log goes on in the segment with this id, whose header was on disk by then. Body: the id, 8 bytes.
    Continued(u64),
}

/// Bytes of the longest mark. Every segment keeps this much room behind its batches.
pub const MARK_LEN_MAX: u64 = 40;

impl Mark {
    /// The bytes of a frame that carries this mark at `place`, behind the operations below `next_seq`.
    pub fn encode(self, place: FramePlace<'_>, next_seq: SeqNo) -> Vec<u8> {
        let id = match self {
            Mark::Closed => None,
            Mark::Continued(id) => Some(id.to_le_bytes()),
        };
        let body = id.as_ref().map_or(&[][..], |id| id);
        let header = FrameHeader::of(place, next_seq, 0, next_seq.saturating_sub(1), body);
        [&header.encode(place)[..], body].concat()
    }

    /// The mark in the body of a frame without operations.
    pub fn decode(body: &[u8]) -> Option<Mark> {
        let mut reader = Reader::new(body);
        if reader.is_empty() {
            return Some(Mark::Closed);
        }
        let id = reader.u64()?;
        reader.is_empty().then_some(Mark::Continued(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kv_api::Batch;

    #[test]
    fn the_bytes_are_those_of_the_picture() {
        let mut batch = Batch::new();
        batch.put(b"key", b"v");
        let sum = FileSum::new(1, 0x1_0000_0002);
        let place = FramePlace { sum: &sum, segment_id: 0x1_0000_0002, offset: 4096 };
        let header = FrameHeader::of(place, 10, 1, 7, batch.encoded());
        let bytes = header.encode(place);
        #[rustfmt::skip]
        let golden = [
            19, 241, 5, 20,   24, 70, 144, 241,   7, 0, 0, 0,   1, 0, 0, 0,
            2, 0, 0, 0,       2, 0, 0, 0,         10, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(bytes, golden);
        assert_eq!((padding(7).len(), frame_len(7)), (1, 40));
    }

    #[test]
    fn marks_come_back() {
        let sum = FileSum::new(1, 2);
        let place = FramePlace { sum: &sum, segment_id: 2, offset: 4096 };
        for mark in [Mark::Closed, Mark::Continued(3)] {
            let bytes = mark.encode(place, 10);
            let header = FrameHeader::decode(place, &bytes).unwrap();
            assert!(header.is_mark() && header.frame_len() == bytes.len() as u64);
            assert!(header.frame_len() <= MARK_LEN_MAX && header.durable_upto() == 9);
            let body = header.body(place, &bytes[FRAME_HEADER_LEN..]).unwrap();
            assert_eq!(Mark::decode(body), Some(mark));
        }
        assert_eq!(Mark::decode(&[1]), None);
    }

    #[test]
    fn a_frame_comes_back_and_only_from_its_own_place() {
        let sum = FileSum::new(1, 2);
        let place = FramePlace { sum: &sum, segment_id: 2, offset: 4096 };
        let header = FrameHeader::of(place, 10, 3, 4, b"hello");
        assert_eq!((header.durable_upto(), header.next_seq(), header.frame_len()), (4, 13, 40));
        let bytes = [&header.encode(place)[..], b"hello", padding(5)].concat();
        assert_eq!(FrameHeader::decode(place, &bytes), Some(header));
        assert_eq!(header.body(place, &bytes[FRAME_HEADER_LEN..]), Some(&b"hello"[..]));
        let moved = FramePlace { offset: 4104, ..place };
        assert_eq!(FrameHeader::decode(moved, &bytes), None);
        let other = FileSum::new(1, 3);
        assert_eq!(FrameHeader::decode(FramePlace { sum: &other, ..place }, &bytes), None);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            let read = FrameHeader::decode(place, &damaged)
                .and_then(|header| header.body(place, &damaged[FRAME_HEADER_LEN..]).map(<[u8]>::to_vec));
            assert_eq!(read, None, "flip at {at}");
            if at < FRAME_HEADER_LEN {
                assert!(FrameHeader::resembles(place, 10, &damaged));
            }
        }
    }
}
