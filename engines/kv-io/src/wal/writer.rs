//! Appends frames to the newest segment, syncs it, and goes on to the next one when it is full.
//!
//! All of it happens under the commit lock, so a [`Writer`] needs no lock of its own. Frames of `Memory` commits
//! wait in a buffer; they have their place in the file already and go out before any later frame.

use std::io::IoSlice;
use std::sync::Arc;

use kv_api::{Cause, Error, ErrorKind, Result, SeqNo};

use super::BUFFER_BYTES_MAX;
use super::frame::{FRAME_HEADER_LEN, FrameHeader, FramePlace, MARK_LEN_MAX, Mark, frame_len, padding};
use super::segment::{SEGMENT_HEADER_LEN, SegmentFile, Segments};
use super::witness::{WITNESS_OFFSET, Witness};
use crate::seeded::{self, Bug};

/// A frame up to this long is copied once more so that one plain write takes it: cheaper than gathering parts.
const COPY_BYTES_MAX: usize = 16 << 10;

/// Why a frame could not be logged.
#[derive(Debug)]
pub enum Failure {
    /// No byte of the log was touched; the caller may try again later.
    Refused(Error),
    /// What the log holds is unknown; only replay can tell.
    Broken(Error),
}

/// The end of the log.
#[derive(Debug)]
pub struct Writer {
    segments: Arc<Segments>,
    active: SegmentFile,
    /// Where the next write goes in the active segment.
    end: u64,
    /// Frames that follow at `end` and are not in the file yet.
    buffer: Vec<u8>,
    buffer_bytes_max: usize,
    next_seq: SeqNo,
    durable_upto: SeqNo,
    /// Bytes of the active segment that the last sync found.
    durable_len: u64,
}

impl Writer {
    /// Starts a fresh segment whose first operation will be `next_seq`. All before it must be on disk.
    ///
    /// # Errors
    /// `NoSpace` or `Io` naming the file.
    pub fn start(segments: Arc<Segments>, next_seq: SeqNo) -> Result<Writer> {
        let active = segments.obtain()?;
        segments.activate(&active, next_seq)?;
        let buffer_bytes_max = segments.options().buffer_bytes_max();
        let durable_len = active.prepared;
        Ok(Writer {
            segments,
            active,
            end: SEGMENT_HEADER_LEN,
            buffer: Vec::new(),
            buffer_bytes_max,
            next_seq,
            durable_upto: next_seq.saturating_sub(1),
            durable_len,
        })
    }

    /// The number the next operation gets.
    pub fn next_seq(&self) -> SeqNo {
        self.next_seq
    }

    /// The newest operation that is on disk.
    pub fn durable_upto(&self) -> SeqNo {
        self.durable_upto
    }

    /// Makes room for a frame with a body of `body_len` bytes: grows the segment, or goes on to the next one.
    ///
    /// # Errors
    /// `Refused` with `NoSpace` as long as nothing of the log was touched, else `Broken`.
    pub fn reserve(&mut self, body_len: usize) -> Result<(), Failure> {
        let options = self.segments.options();
        // Each segment also has room for the mark that ends it, so that ending it cannot be refused.
        let len = frame_len(body_len) as u64 + MARK_LEN_MAX;
        let empty = self.end == SEGMENT_HEADER_LEN && self.buffer.is_empty();
        if !empty && self.frames_end() + len > options.segment_bytes {
            // What may be refused comes first: after the sync there is no way back.
            let next = self.segments.obtain().map_err(refused)?;
            self.go_on_in(next).map_err(Failure::Broken)?;
        }
        let end = self.frames_end() + len;
        self.active.prepare(end, options).map_err(refused)
    }

    /// Leaves one number out: the next frame goes to `next` and begins one operation later. What has that number
    /// is durable elsewhere, so that replay never starts before `next`.
    ///
    /// # Errors
    /// `Io` or `NoSpace` naming the file; the log is then broken.
    pub fn skip_to(&mut self, next: SegmentFile) -> Result<()> {
        self.go_on_after(next, 1)?;
        self.next_seq += 1;
        self.durable_upto = self.next_seq - 1;
        Ok(())
    }

    /// Leaves the active segment in good order and makes `next` the active one.
    fn go_on_in(&mut self, next: SegmentFile) -> Result<()> {
        self.go_on_after(next, 0)
    }

    fn go_on_after(&mut self, next: SegmentFile, left_out: u64) -> Result<()> {
        if seeded::is(Bug::SegmentLeftUnsynced) {
            self.write_out()?
        } else {
            self.sync()?
        }
        self.segments.activate(&next, self.next_seq + left_out)?;
        // Without the mark a lost `next` would pass for a log that ends here, with it it cannot.
        self.write_mark(Mark::Continued(next.id))?;
        self.active.file.sync_data(Cause::Wal)?;
        self.active = next;
        self.end = SEGMENT_HEADER_LEN;
        self.durable_len = self.active.prepared;
        Ok(())
    }

    fn write_mark(&mut self, mark: Mark) -> Result<()> {
        let place = FramePlace { sum: &self.active.sum, segment_id: self.active.id, offset: self.end };
        let bytes = mark.encode(place, self.next_seq);
        self.active.file.write_at(self.end, &[IoSlice::new(&bytes)], Cause::Wal)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Appends a batch in the room that [`Writer::reserve`] made, and returns the number of its first operation.
    /// With `write` it is in the file afterwards, and so is every frame before it; else it waits in the buffer.
    ///
    /// # Errors
    /// `Io` or `NoSpace` naming the file; the log is then broken.
    pub fn append(&mut self, body: &[u8], count: u32, write: bool) -> Result<SeqNo> {
        let len = frame_len(body.len());
        let first_seq = self.next_seq;
        if !write && self.buffer.len() + len > self.buffer_bytes_max {
            self.write_out()?;
        }
        let offset = self.frames_end();
        let place = FramePlace { sum: &self.active.sum, segment_id: self.active.id, offset };
        let header = FrameHeader::of(place, first_seq, count, self.durable_upto, body).encode(place);
        let zeros = padding(body.len());
        if write && len > COPY_BYTES_MAX || len > self.buffer_bytes_max {
            let parts = [&self.buffer, &header[..], body, zeros].map(IoSlice::new);
            self.active.file.write_at(self.end, &parts, Cause::Wal)?;
            self.end = offset + len as u64;
            self.buffer.clear();
        } else {
            self.buffer.reserve(len);
            self.buffer.extend_from_slice(&header);
            self.buffer.extend_from_slice(body);
            self.buffer.extend_from_slice(zeros);
            if write {
                self.write_out()?;
            }
        }
        self.next_seq += u64::from(count);
        self.segments.appended(self.next_seq, len as u64);
        Ok(first_seq)
    }

    /// Writes the frames that wait in the buffer to the file.
    ///
    /// # Errors
    /// `Io` or `NoSpace` naming the file; the log is then broken.
    pub fn write_out(&mut self) -> Result<()> {
        if !self.buffer.is_empty() {
            self.active.file.write_at(self.end, &[IoSlice::new(&self.buffer)], Cause::Wal)?;
            self.end = self.frames_end();
            self.buffer.clear();
        }
        Ok(())
    }

    /// Makes every appended operation durable. Costs nothing if all are.
    ///
    /// # Errors
    /// `Io` or `NoSpace` naming the file; the log is then broken.
    pub fn sync(&mut self) -> Result<()> {
        if self.durable_upto + 1 == self.next_seq {
            return Ok(());
        }
        self.write_out()?;
        self.write_witness()?;
        let synced = self.active.file.sync_data(Cause::Wal);
        if synced.is_err() && seeded::is(Bug::FailedSyncRetried) {
            self.active.file.sync_data(Cause::Wal)?;
        } else {
            synced?;
        }
        self.durable_upto = self.next_seq - 1;
        self.durable_len = self.active.prepared;
        Ok(())
    }

    /// Tells at the front of the segment what was durable before the sync that comes now, and what it is for.
    fn write_witness(&self) -> Result<()> {
        let unsynced = u32::try_from(self.next_seq - 1 - self.durable_upto).unwrap_or(u32::MAX);
        let (frames_end, file_len) = (self.end, self.durable_len);
        let witness = Witness { durable_upto: self.durable_upto, frames_end, unsynced, file_len };
        let bytes = witness.encode(&self.active.sum);
        self.active.file.write_at(WITNESS_OFFSET, &[IoSlice::new(&bytes)], Cause::Wal)
    }

    /// Makes everything durable and then says so with the mark of a closed log, durable too. Nothing may be
    /// appended afterwards.
    ///
    /// # Errors
    /// `Io` or `NoSpace` naming the file; the log is then broken.
    pub fn close(&mut self) -> Result<()> {
        // The mark vouches for all before it, so that must be on disk first.
        if seeded::is(Bug::ClosedBeforeSync) {
            self.write_out()?
        } else {
            self.sync()?
        }
        self.write_mark(Mark::Closed)?;
        // And once more at the front: a file that lost its end says so.
        self.write_witness()?;
        self.active.file.sync_data(Cause::Wal)
    }

    /// Where the next frame begins.
    fn frames_end(&self) -> u64 {
        self.end + self.buffer.len() as u64
    }
}

const _: () = assert!(FRAME_HEADER_LEN < BUFFER_BYTES_MAX);

/// Growing may be refused for want of space; any other failure tells that the device is not to be trusted.
fn refused(error: Error) -> Failure {
    if error.kind() == ErrorKind::NoSpace { Failure::Refused(error) } else { Failure::Broken(error) }
}
