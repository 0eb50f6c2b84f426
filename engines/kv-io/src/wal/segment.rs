//! Segments: the files of the log, how they begin, grow, are recycled and go away.
//!
//! ```text
//! | magic "KVLABWAL" | version u32 | crc u32 | id u64 | previous u64 | first_seq u64 | zeros |
//! 0                  8             12        16       24             32              40
//! | witness | witness | zeros | frame | frame | ..
//! 992       1024      1056    4096
//! ```
//!
//! * `crc` covers the other 36 bytes, seeded with the salt, the id and offset 0.
//! * `previous` is the id of the segment before, 0 for the first one: the chain that replay follows. Ids grow
//!   along it but may leave gaps.
//! * `first_seq` is the number of the first operation logged here. All before it were on disk when the header was
//!   written, and so were [`SEGMENT_BYTES_MIN`] bytes of the file: a shorter one with frames was cut.
//! * The witness ([`super::witness`]) is written before each sync and when the log is closed. It lies in other sectors
//!   than the header, so writing it cannot harm that.
//!
//! A file without a valid header and without a frame of its own is a spare that was never used, or a creation
//! that a crash cut short. Either way nothing was ever acknowledged from it.
//!
//! A new segment is filled with zeros ahead of the frames, in steps, so that `fdatasync` finds nothing to do but
//! write data; a recycled one has its blocks already.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use kv_api::{Cause, Error, Result, SeqNo};

use super::{LogPlace, SEGMENT_BYTES_MIN, WalOptions};
use crate::checksum::FileSum;
use crate::codec::{Put, Reader};
use crate::layout::{LOG_FRAMES_OFFSET, LOG_MAGIC};
use crate::seeded::{self, Bug};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::lock;
use crate::vfs::{OpenOptions, VfsFile};

/// Where the first frame begins.
pub const SEGMENT_HEADER_LEN: u64 = LOG_FRAMES_OFFSET;
/// Bytes of the header that mean something.
pub const HEADER_FIELDS_LEN: usize = 40;
/// The version of the log format.
pub const WAL_VERSION: u32 = 1;

const MAGIC: [u8; 8] = LOG_MAGIC;
const CRC: usize = 12;

const _: () = assert!(MAGIC.len() + 4 == CRC, "magic and version come before the checksum");
const _: () = assert!(CRC + 4 + 3 * 8 == HEADER_FIELDS_LEN, "fields fill the header");
const _: () = assert!(SEGMENT_HEADER_LEN < SEGMENT_BYTES_MIN, "a segment has room for frames");

/// The first bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Its own id.
    pub id: u64,
    /// The id of the segment before it; 0 for none.
    pub previous: u64,
    /// The number of the first operation logged here.
    pub first_seq: SeqNo,
}

impl SegmentHeader {
    /// The bytes of the header.
    pub fn encode(&self, sum: &FileSum) -> Vec<u8> {
        let mut head = Vec::with_capacity(HEADER_FIELDS_LEN);
        head.put_bytes(&MAGIC).put_u32(WAL_VERSION);
        let mut tail = Vec::new();
        tail.put_u64(self.id).put_u64(self.previous).put_u64(self.first_seq);
        let crc = sum.of(0, &[&head, &tail]);
        head.put_u32(crc).put_bytes(&tail);
        head
    }

    /// The header at the front of `bytes` if there is one, with the version it was written by.
    pub fn decode(sum: &FileSum, bytes: &[u8]) -> Option<(u32, SegmentHeader)> {
        let mut reader = Reader::new(bytes.get(..HEADER_FIELDS_LEN)?);
        let head = reader.rest().get(..CRC)?;
        let (magic, version, crc) = (reader.array::<8>()?, reader.u32()?, reader.u32()?);
        let tail = reader.rest();
        let header = SegmentHeader { id: reader.u64()?, previous: reader.u64()?, first_seq: reader.u64()? };
        (magic == MAGIC && crc == sum.of(0, &[head, tail])).then_some((version, header))
    }
}

/// An open segment file that is prepared for frames up to some length.
#[derive(Debug)]
pub struct SegmentFile {
    /// Its id.
    pub id: u64,
    /// The file.
    pub file: Arc<dyn VfsFile>,
    /// Checksums of its contents.
    pub sum: FileSum,
    /// Bytes that have been written once already, as zeros or in an earlier life.
    pub prepared: u64,
}

impl SegmentFile {
    /// Makes room up to `end`, in steps of an eighth of the file, at most a mebibyte: the commit that needs
    /// the room waits for the zeros. No frame is touched: after a `NoSpace` the segment is as good as before.
    ///
    /// # Errors
    /// `NoSpace` or `Io` naming the file.
    pub fn prepare(&mut self, end: u64, options: WalOptions) -> Result<()> {
        if end <= self.prepared {
            return Ok(());
        }
        if end > options.segment_bytes {
            // One frame with a segment of its own: it is synced once, so zeros would only double the bytes.
            self.file.allocate(end, Cause::Prepare)?;
            self.prepared = end;
            return Ok(());
        }
        let step = (self.prepared / 8).clamp(SEGMENT_BYTES_MIN, STEP_BYTES_MAX);
        let target = (self.prepared + step).max(end).min(options.segment_bytes);
        fill_with_zeros(&*self.file, self.prepared, target)?;
        self.prepared = target;
        Ok(())
    }
}

/// Most bytes of zeros ahead of what one frame needs: one write call.
const STEP_BYTES_MAX: u64 = 1 << 20;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

fn fill_with_zeros(file: &dyn VfsFile, start: u64, end: u64) -> Result<()> {
    let mut at = start;
    while at < end {
        let mut parts = [IoSlice::new(&[]); 16];
        let mut len = 0;
        for part in &mut parts {
            let left = usize::try_from(end - at - len).unwrap_or(usize::MAX).min(ZEROS.len());
            *part = IoSlice::new(&ZEROS[..left]);
            len += left as u64;
        }
        file.write_at(at, &parts, Cause::Prepare)?;
        at += len;
    }
    Ok(())
}

/// A segment that replay still needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Live {
    /// Its id.
    pub id: u64,
    /// The number of the first operation in it.
    pub first_seq: SeqNo,
}

/// The files of the log: which are needed, which can go, and the spare.
#[derive(Debug)]
pub struct Segments {
    place: LogPlace,
    options: WalOptions,
    /// The largest id found on disk. No file up to it is used again: a sync of it may have failed in an earlier process,
    /// and then its length and blocks are in the page cache alone, whatever a later sync says.
    found_max: u64,
    /// Held while files are renamed and removed; only a rotation waits for it.
    set: Mutex<Set>,
    /// Some places in the log: (an operation, bytes appended before it), oldest first.
    marks: Mutex<VecDeque<(SeqNo, u64)>>,
    /// Bytes of frames appended by this handle.
    appended: AtomicU64,
    /// How many of them are no longer needed.
    released: AtomicU64,
}

#[derive(Debug)]
struct Set {
    /// Oldest first; the last one is being written.
    live: VecDeque<Live>,
    /// Renamed and prepared, without a header.
    spare: Option<SegmentFile>,
    next_id: u64,
    /// Ids of files that nothing needs.
    garbage: VecDeque<u64>,
}

impl Segments {
    /// The segments found on disk, none of them being written. `id_max` is the largest id of any file.
    pub fn new(
        place: LogPlace,
        options: WalOptions,
        live: Vec<Live>,
        garbage: Vec<u64>,
        id_max: u64,
    ) -> Segments {
        let set = Mutex::new(Set {
            live: live.into(),
            spare: None,
            next_id: id_max.saturating_add(1),
            garbage: garbage.into(),
        });
        Segments {
            place,
            options,
            found_max: id_max,
            set,
            marks: Mutex::new(VecDeque::new()),
            appended: AtomicU64::new(0),
            released: AtomicU64::new(0),
        }
    }

    /// How the log is cut into files.
    pub fn options(&self) -> WalOptions {
        self.options
    }

    /// A file to become the next segment: the spare, or a new one. Nothing of the log changes.
    ///
    /// # Errors
    /// `NoSpace` or `Io` naming the file.
    pub fn obtain(&self) -> Result<SegmentFile> {
        let mut set = lock(&self.set);
        if let Some(spare) = set.spare.take() {
            return Ok(spare);
        }
        let id = set.next_id;
        // Never the same id twice, even if this attempt fails.
        set.next_id = id.saturating_add(1);
        let path = self.place.path(id);
        let file = self.place.vfs.open(&path, OpenOptions::NEW, Cause::Prepare)?;
        let sum = FileSum::new(self.place.salt, id);
        let prepared = SEGMENT_BYTES_MIN.min(self.options.segment_bytes);
        let filled =
            fill_with_zeros(&*file, 0, prepared).and_then(|()| match seeded::is(Bug::SegmentNameUnsynced) {
                true => Ok(()),
                false => self.place.vfs.sync_dir(self.place.dir(), Cause::Prepare),
            });
        match filled {
            Ok(()) => Ok(SegmentFile { id, file, sum, prepared }),
            Err(error) => {
                set.garbage.push_back(id);
                Err(error)
            }
        }
    }

    /// Takes back what [`Segments::obtain`] gave and nobody used.
    pub fn give_back(&self, segment: SegmentFile) {
        let mut set = lock(&self.set);
        if let Some(unused) = set.spare.replace(segment) {
            set.garbage.push_back(unused.id);
        }
    }

    /// Writes the header that makes `segment` the newest one, and syncs it. The segment before it must be synced.
    ///
    /// # Errors
    /// `Io` or `NoSpace` naming the file; whether the segment is the newest now is then unknown.
    pub fn activate(&self, segment: &SegmentFile, first_seq: SeqNo) -> Result<()> {
        let mut set = lock(&self.set);
        let previous = set.live.back().map_or(0, |live| live.id);
        let header = SegmentHeader { id: segment.id, previous, first_seq }.encode(&segment.sum);
        segment.file.write_at(0, &[IoSlice::new(&header)], Cause::Wal)?;
        // The length of a new file is part of what must be durable.
        segment.file.sync_all(Cause::Wal)?;
        set.live.push_back(Live { id: segment.id, first_seq });
        Ok(())
    }

    /// Notes that a frame of `bytes` was appended; the next one begins with operation `next_seq`.
    pub fn appended(&self, next_seq: SeqNo, bytes: u64) {
        let before = self.appended.fetch_add(bytes, Ordering::Relaxed);
        let step = self.mark_step();
        // A mark stands at the end of a frame: what is released with it is the whole of a large frame, too.
        if before / step != (before + bytes) / step {
            lock(&self.marks).push_back((next_seq, before + bytes));
        }
    }

    /// Bytes between two marks: what `log_bytes` may be off by.
    fn mark_step(&self) -> u64 {
        (self.options.segment_bytes / 4096).clamp(1 << 10, 16 << 10)
    }

    /// Bytes of frames that a crash would have to replay, and less than a 4096th of a segment, or 1 KiB, more.
    pub fn log_bytes(&self) -> u64 {
        self.appended.load(Ordering::Relaxed).saturating_sub(self.released.load(Ordering::Relaxed))
    }

    /// Lets go of all that only holds operations below `replay_from`: keeps one file as the spare, removes the
    /// rest.
    ///
    /// # Errors
    /// `Io` naming the file or directory. What was not removed is tried again at the next call.
    pub fn release(&self, replay_from: SeqNo) -> Result<()> {
        {
            let mut marks = lock(&self.marks);
            while let Some((_, upto)) = marks.pop_front_if(|(next_seq, _)| *next_seq <= replay_from) {
                self.released.store(upto, Ordering::Relaxed);
            }
        }
        let mut set = lock(&self.set);
        while set.live.len() > 1 && set.live.get(1).is_some_and(|next| next.first_seq <= replay_from) {
            if let Some(dead) = set.live.pop_front() {
                set.garbage.push_back(dead.id);
            }
        }
        if set.garbage.is_empty() {
            return Ok(());
        }
        let mut renamed = None;
        while let Some(id) = set.garbage.back().copied() {
            if set.spare.is_none() && renamed.is_none() {
                renamed = self.recycle(&mut set, id)?;
            }
            if renamed.as_ref().is_none_or(|(from, _)| *from != id) {
                self.place.vfs.remove(&self.place.path(id), Cause::Prepare)?;
            }
            set.garbage.pop_back();
        }
        self.place.vfs.sync_dir(self.place.dir(), Cause::Prepare)?;
        // Only now is the new name durable, and with it whatever will be logged there.
        if let Some((_, spare)) = renamed {
            set.spare = Some(spare);
        }
        Ok(())
    }

    /// Gives segment `id`, which nothing needs, the next id, and returns it with the old one. `None` if its size
    /// does not fit, or if another handle made it.
    fn recycle(&self, set: &mut Set, id: u64) -> Result<Option<(u64, SegmentFile)>> {
        if id <= self.found_max {
            return Ok(None);
        }
        let vfs = &self.place.vfs;
        let old = self.place.path(id);
        let prepared = vfs.open(&old, OpenOptions::READ, Cause::Prepare)?.len()?;
        if prepared < SEGMENT_BYTES_MIN || prepared > self.options.segment_bytes {
            return Ok(None);
        }
        let new_id = set.next_id;
        set.next_id = new_id.saturating_add(1);
        let path = self.place.path(new_id);
        vfs.rename(&old, &path, Cause::Prepare)?;
        let file = vfs.open(&path, OpenOptions::WRITE, Cause::Prepare)?;
        let sum = FileSum::new(self.place.salt, new_id);
        Ok(Some((id, SegmentFile { id: new_id, file, sum, prepared })))
    }
}

/// The error of a segment whose format is newer than this build.
pub(super) fn check_version(place: &LogPlace, id: u64, found: u32) -> Result<()> {
    if found == WAL_VERSION {
        return Ok(());
    }
    Err(Error::FormatVersion { path: place.path(id), found, supported: WAL_VERSION })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_picture() {
        let sum = FileSum::new(1, 2);
        let header = SegmentHeader { id: 2, previous: 1, first_seq: 77 };
        let bytes = header.encode(&sum);
        let golden = b"KVLABWAL\x01\0\0\0\xf8\xc4\x69\xaa\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0M\0\0\0\0\0\0\0";
        assert_eq!(bytes, golden);
        assert_eq!(SegmentHeader::decode(&sum, &bytes), Some((WAL_VERSION, header)));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(SegmentHeader::decode(&sum, &damaged), None, "flip at {at}");
        }
        assert_eq!(SegmentHeader::decode(&FileSum::new(1, 3), &bytes), None);
    }
}
