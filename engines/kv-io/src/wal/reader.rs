//! Replay: finds the chain of segments, hands out its batches in order, and tells a torn tail from damage.
//!
//! 1. `survey` syncs every segment file and reads its header.
//! 2. `chain` follows the headers back from the newest one. It must reach an operation at or before the one that
//!    replay starts from.
//! 3. `walk` reads the segments of the chain, oldest first, frame by frame, up to the first frame that is not
//!    whole. What that means depends on what comes later: `end_of_segment` decides.
//!
//! Nothing is written, renamed or removed here.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use std::collections::BTreeMap;
use std::sync::Arc;

use kv_api::limits::BATCH_BYTES_MAX;
use kv_api::{Cause, Error, Ops, RecoveryReport, Result, SeqNo};

use super::frame::{FRAME_ALIGN, FRAME_HEADER_LEN, FrameHeader, FramePlace, MARK_LEN_MAX, Mark, frame_len};
use super::segment::{Live, SEGMENT_HEADER_LEN, SegmentHeader, check_version};
use super::witness::{WITNESS_LEN, WITNESS_OFFSET, Witness};
use super::{LogPlace, SEGMENT_BYTES_MIN};
use crate::checksum::FileSum;
use crate::layout::{FileKind, parse_name};
use crate::seeded::{self, Bug};
use crate::vfs::{OpenOptions, VfsFile};

/// Takes the batches that replay finds: the number of the first operation, the operations, and how many.
pub type ReplayInto<'a> = &'a mut dyn FnMut(SeqNo, Ops<'_>, u64) -> Result<()>;

/// No log gets here: at a million operations a second it would take 2000 years. So sums of numbers never overflow.
pub const SEQ_MAX: SeqNo = 1 << 56;

/// Bytes at the front of a segment that tell about it.
const FRONT_LEN: usize = 1056;
#[expect(clippy::as_conversions, reason = "a constant expression, checked by the compiler")]
const _: () = assert!(FRONT_LEN == WITNESS_OFFSET as usize + 2 * WITNESS_LEN);

/// What the directory is expected to hold.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// True if the database is only being created: there may be no log yet.
    pub is_new: bool,
    /// True if nothing may be changed, not even by a sync.
    pub read_only: bool,
    /// The first operation that the data files do not hold.
    pub replay_from: SeqNo,
}

/// What replay found.
#[derive(Debug, Clone)]
pub struct Replayed {
    /// The number the next operation gets.
    pub next_seq: SeqNo,
    /// What was taken and what was cut.
    pub report: RecoveryReport,
    /// The chain, oldest first.
    pub(crate) live: Vec<Live>,
    /// Files of the log that nothing needs.
    pub(crate) garbage: Vec<u64>,
    /// The largest id of any segment file.
    pub(crate) id_max: u64,
}

/// Reads the log of `place` and hands every batch with operations from `expected.replay_from` on to `into`.
///
/// # Errors
/// `Corruption` if acknowledged data is missing or damaged; `Io`; `FormatVersion`; what `into` fails with.
pub fn replay(place: &LogPlace, expected: Expected, into: ReplayInto<'_>) -> Result<Replayed> {
    let found = survey(place, expected.read_only)?;
    let id_max = found.keys().next_back().copied().unwrap_or(0);
    let chain = chain(place, &found, expected)?;
    let live: Vec<Live> =
        chain.iter().map(|header| Live { id: header.id, first_seq: header.first_seq }).collect();
    let garbage = found.keys().copied().filter(|id| live.iter().all(|live| live.id != *id)).collect();
    let next_seq = live.first().map_or(expected.replay_from, |oldest| oldest.first_seq);
    let mut replay = Replay {
        place,
        replay_from: expected.replay_from,
        next_seq,
        // In the only segment of a database that exists is all that was acknowledged lately.
        is_newest_sure: live.len() == 1 && !expected.is_new,
        into,
        report: RecoveryReport::default(),
    };
    for (index, segment) in live.iter().enumerate() {
        if let Some(found) = found.get(&segment.id) {
            replay.walk(found, live.get(index + 1).copied())?;
        }
    }
    let Replay { next_seq, report, .. } = replay;
    let next_seq = next_seq.max(expected.replay_from);
    if next_seq > SEQ_MAX {
        let what = format!("the log ends with operation {next_seq}, beyond any that can have been written");
        return Err(Error::corruption(place.dir(), 0, what));
    }
    Ok(Replayed { next_seq, report, live, garbage, id_max })
}

/// A segment file on disk.
struct Found {
    id: u64,
    file: Arc<dyn VfsFile>,
    sum: FileSum,
    header: Option<SegmentHeader>,
    /// What was told before the last sync.
    witness: Option<Witness>,
}

impl Found {
    fn place(&self, offset: usize) -> FramePlace<'_> {
        FramePlace { sum: &self.sum, segment_id: self.id, offset: offset_u64(offset) }
    }

    /// All bytes that may hold frames, header included.
    fn read(&self) -> Result<Vec<u8>> {
        // No segment is longer than one that holds the largest batch; a longer file is damaged behind its frames.
        let most = usize_of(SEGMENT_HEADER_LEN + MARK_LEN_MAX).saturating_add(frame_len(BATCH_BYTES_MAX));
        let len = usize_of(self.file.len()?).min(most);
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| {
            Error::io("read the log segment", self.file.path(), std::io::ErrorKind::OutOfMemory.into())
        })?;
        bytes.resize(len, 0);
        let filled = self.file.read_at(0, &mut bytes, Cause::Recovery)?;
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Headers of whole frames of this segment at or after `start`, bodies unchecked, with their offsets.
    fn frames_from<'b>(
        &'b self,
        bytes: &'b [u8],
        start: usize,
    ) -> impl Iterator<Item = (usize, FrameHeader)> + 'b {
        (start..bytes.len()).step_by(FRAME_ALIGN).filter_map(|offset| {
            Some((offset, FrameHeader::decode(self.place(offset), bytes.get(offset..)?)?))
        })
    }
}

/// Opens, syncs and reads the header of every segment file. The sync comes first: after a failed one in an
/// earlier process the page cache may hold bytes that the disk does not.
fn survey(place: &LogPlace, read_only: bool) -> Result<BTreeMap<u64, Found>> {
    let mut found = BTreeMap::new();
    for entry in place.vfs.list(place.dir(), Cause::Recovery)? {
        let Some((FileKind::Wal, id)) = parse_name(&entry.name).filter(|_| entry.is_file) else { continue };
        let file = place.vfs.open(&place.path(id), OpenOptions::READ, Cause::Recovery)?;
        if !read_only {
            file.sync_data(Cause::Recovery)?;
        }
        let sum = FileSum::new(place.salt, id);
        let mut bytes = [0; FRONT_LEN];
        let filled = file.read_at(0, &mut bytes, Cause::Recovery)?;
        let front = bytes.get(..filled).unwrap_or_default();
        let decoded = SegmentHeader::decode(&sum, front);
        if let Some((version, _)) = decoded {
            check_version(place, id, version)?;
        }
        let header = decoded.map(|(_, header)| header).filter(|header| header.id == id);
        let witness = Witness::decode(&sum, front.get(usize_of(WITNESS_OFFSET)..).unwrap_or_default());
        let segment = Found { id, file, sum, header, witness };
        if header.is_none() {
            if witness.is_some() {
                let what = "the segment's header is damaged, and a witness of its frames follows";
                return Err(Error::corruption(segment.file.path(), 0, what));
            }
            let bytes = segment.read()?;
            let start = usize_of(SEGMENT_HEADER_LEN);
            if let Some((offset, _)) = segment.frames_from(&bytes, start).next() {
                let what = format!("the segment's header is damaged, and a frame follows at byte {offset}");
                return Err(Error::corruption(segment.file.path(), 0, what));
            }
        }
        found.insert(id, segment);
    }
    Ok(found)
}

/// The headers from the oldest needed segment to the newest.
fn chain(place: &LogPlace, found: &BTreeMap<u64, Found>, expected: Expected) -> Result<Vec<SegmentHeader>> {
    let header_of = |id: u64| found.get(&id).and_then(|segment| segment.header);
    let Some(newest) = found.values().rev().find_map(|segment| segment.header) else {
        if expected.is_new {
            return Ok(Vec::new());
        }
        let what = format!("the log is gone: no segment holds operation {} or later", expected.replay_from);
        return Err(Error::corruption(place.dir(), 0, what));
    };
    let mut chain = vec![newest];
    let mut oldest = newest;
    while let Some(previous) = header_of(oldest.previous).filter(|_| oldest.previous != 0) {
        if previous.id >= oldest.id || previous.first_seq > oldest.first_seq {
            let what = "the segment's header names a predecessor that is newer than itself";
            return Err(Error::corruption(place.path(oldest.id), 0, what));
        }
        chain.push(previous);
        oldest = previous;
    }
    if oldest.first_seq > expected.replay_from {
        let what = format!(
            "the segment before {} is missing: operations {} to {} were logged there",
            place.path(oldest.id).display(),
            expected.replay_from,
            oldest.first_seq - 1
        );
        return Err(Error::corruption(place.path(oldest.previous), 0, what));
    }
    chain.reverse();
    Ok(chain)
}

/// The state of a replay.
struct Replay<'a> {
    place: &'a LogPlace,
    replay_from: SeqNo,
    /// The number that the next frame must begin with.
    next_seq: SeqNo,
    /// True if something tells that the newest segment was on disk, with its length.
    is_newest_sure: bool,
    into: ReplayInto<'a>,
    report: RecoveryReport,
}

impl Replay<'_> {
    /// Replays one segment. `successor` is the next one of the chain: it holds everything from its first
    /// operation on.
    fn walk(&mut self, segment: &Found, successor: Option<Live>) -> Result<()> {
        let bytes = match segment.read() {
            Err(_) if seeded::is(Bug::ReadErrorTakenForEnd) => return Ok(()),
            read => read?,
        };
        let mut at = usize_of(SEGMENT_HEADER_LEN);
        let mut mark = None;
        while let Some((header, body)) = whole_frame(segment, &bytes, at) {
            let superseded = |next: Live| header.first_seq >= next.first_seq && !header.is_mark();
            if successor.is_some_and(superseded) {
                break;
            }
            let corrupt = |what: String| Error::corruption(segment.file.path(), offset_u64(at), what);
            if header.first_seq != self.next_seq {
                let (found, wanted) = (header.first_seq, self.next_seq);
                return Err(corrupt(format!("a frame begins with operation {found}, expected {wanted}")));
            }
            if header.is_mark() {
                mark = Mark::decode(body);
                if mark.is_none() {
                    return Err(corrupt("a mark has an unknown kind".to_owned()));
                }
                break;
            }
            self.deliver(segment, at, header, body)?;
            at = at.saturating_add(usize_of(header.frame_len()));
        }
        self.report.clean = mark == Some(Mark::Closed);
        let has_frames = at > usize_of(SEGMENT_HEADER_LEN) || mark.is_some() || segment.witness.is_some();
        if successor.is_none() && (has_frames || self.is_newest_sure) {
            check_not_cut(segment)?;
        }
        // This mark was written after the header of the next segment was synced.
        self.is_newest_sure = matches!(mark, Some(Mark::Continued(_)));
        match mark {
            Some(Mark::Continued(id)) if successor.is_none_or(|next| next.id != id) => {
                let what = format!(
                    "the segment is missing or unreadable; {} goes on in it",
                    segment.file.path().display()
                );
                Err(Error::corruption(self.place.path(id), 0, what))
            }
            Some(_) if successor.is_none() => Ok(()),
            _ => self.end_of_segment(segment, &bytes, at, successor),
        }
    }

    fn deliver(&mut self, segment: &Found, at: usize, header: FrameHeader, body: &[u8]) -> Result<()> {
        let corrupt = |what: &'static str| Error::corruption(segment.file.path(), offset_u64(at), what);
        self.next_seq = header.next_seq();
        if header.next_seq() <= self.replay_from {
            return Ok(());
        }
        if header.first_seq < self.replay_from {
            return Err(corrupt("replay starts in the middle of a frame"));
        }
        let mut count = 0_u64;
        for op in Ops::new(body) {
            op.map_err(corrupt)?;
            count += 1;
        }
        if count != u64::from(header.count) {
            return Err(corrupt("a frame does not hold as many operations as its header tells"));
        }
        self.report.batches_replayed += 1;
        self.report.ops_replayed += count;
        (self.into)(header.first_seq, Ops::new(body), count)
    }

    /// Decides what it means that the frames of a segment end at `at`: all is there, a torn tail is cut, or
    /// acknowledged data is damaged.
    fn end_of_segment(
        &mut self,
        segment: &Found,
        bytes: &[u8],
        at: usize,
        successor: Option<Live>,
    ) -> Result<()> {
        let missing = self.next_seq;
        let corrupt = |why: String| {
            let what = format!("operation {missing} cannot be read here, and {why}");
            Error::corruption(segment.file.path(), offset_u64(at), what)
        };
        if let Some(next) = successor {
            if missing < next.first_seq {
                if next.first_seq > self.replay_from {
                    let path = self.place.path(next.id);
                    return Err(corrupt(format!("{} was begun after it was on disk", path.display())));
                }
                // The data files hold everything up to there.
                self.next_seq = next.first_seq;
            }
            return Ok(());
        }
        if seeded::is(Bug::DamageTakenForTail) {
            return Ok(());
        }
        let mut dropped_upto = self.torn_frame_end(segment, bytes, at);
        if let Some(witness) = segment.witness.filter(|witness| witness.next_seq() > missing) {
            let durable_upto = witness.durable_upto;
            if durable_upto >= missing {
                return Err(corrupt(format!("all up to operation {durable_upto} was on disk")));
            }
            dropped_upto = dropped_upto.max(usize_of(witness.frames_end));
        }
        for (offset, later) in segment.frames_from(bytes, at.saturating_add(FRAME_ALIGN)) {
            if later.durable_upto() >= missing {
                return Err(corrupt(format!("the frame at byte {offset} says that it was on disk")));
            }
            let end = offset.saturating_add(usize_of(later.frame_len())).min(bytes.len());
            dropped_upto = dropped_upto.max(end);
        }
        let dropped = &mut self.report.tail_bytes_dropped;
        *dropped = dropped.saturating_add(offset_u64(dropped_upto.saturating_sub(at)));
        Ok(())
    }

    /// Where the frame that is not whole at `at` ends, as far as one can tell; `at` itself if there is none.
    fn torn_frame_end(&self, segment: &Found, bytes: &[u8], at: usize) -> usize {
        let Some(rest) = bytes.get(at..) else { return at };
        let place = segment.place(at);
        if let Some(header) = FrameHeader::decode(place, rest) {
            return at.saturating_add(usize_of(header.frame_len())).min(bytes.len());
        }
        // The front of a header, then nothing: of stale bytes hardly any look so.
        let head = rest.get(..FRAME_HEADER_LEN).unwrap_or(rest);
        let starts = head.iter().any(|byte| *byte != 0);
        let ends = head.iter().skip(FRAME_HEADER_LEN / 2).any(|byte| *byte != 0);
        let cut_short = starts && (rest.len() < FRAME_HEADER_LEN || !ends);
        if cut_short || FrameHeader::resembles(place, self.next_seq, rest) {
            return at.saturating_add(FRAME_HEADER_LEN).min(bytes.len());
        }
        at
    }
}

/// A crash leaves no file shorter than it was at a sync: that of its header comes before the first frame, and the
/// witness tells of the last one.
fn check_not_cut(segment: &Found) -> Result<()> {
    let len = segment.file.len()?;
    let len_min = segment.witness.map_or(0, |witness| witness.file_len).max(SEGMENT_BYTES_MIN);
    if len >= len_min {
        return Ok(());
    }
    let what = format!("the segment ends here, and it had {len_min} bytes at least: it was cut");
    Err(Error::corruption(segment.file.path(), len, what))
}

/// The frame at `at` with its body, if both are what was written.
fn whole_frame<'b>(segment: &Found, bytes: &'b [u8], at: usize) -> Option<(FrameHeader, &'b [u8])> {
    let place = segment.place(at);
    let (head, rest) = bytes.get(at..)?.split_at_checked(FRAME_HEADER_LEN)?;
    let header = FrameHeader::decode(place, head)?;
    Some((header, header.body(place, rest)?))
}

/// Offsets in a file that was read into memory fit both ways.
fn offset_u64(offset: usize) -> u64 {
    u64::try_from(offset).unwrap_or(u64::MAX)
}

fn usize_of(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
