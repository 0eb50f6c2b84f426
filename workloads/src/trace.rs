//! Traces: requests as they were sent, in a compact file, to be sent again. Values are kept by length alone: whoever
//! sends a trace again makes bytes of its own, so a trace holds keys and no contents.
//!
//! ```text
//! file    | "KVTRACE1" | frame ... | end |
//! frame   | len: u32 LE, over 0 | hash of the payload: u64 LE | payload: whole requests |
//! end     | 0: u32 LE | number of requests in the file: u64 LE |
//! request | kind: u8 | gap: varint, ns since the request before | key_len: varint | key | by kind: |
//!         1 put           value_len: varint
//!         2 delete
//!         3 delete range  end_len: varint, 0 for no bound, else 1 + length | end, not included
//!         4 get
//!         5 scan          entries read: varint
//! ```
//!
//! A varint has seven bits a byte, low ones first, the top bit set on all but the last. A file without its end was
//! cut; a frame whose hash differs is damaged. Both are errors that say where.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use std::fmt;
use std::io::{self, Read, Write};

use crate::values::key_hash;

const MAGIC: &[u8; 8] = b"KVTRACE1";
/// A frame is written once its payload is so long, in bytes.
const FRAME_LEN: usize = 64 << 10;
/// The longest payload a reader takes, in bytes: a frame and one request with the longest key.
const FRAME_LEN_MAX: u32 = 16 << 20;
/// The longest key a trace holds, in bytes.
const KEY_LEN_MAX: usize = 4 << 20;
const VARINT_LEN_MAX: u32 = 10;

/// One request of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it was sent, in nanoseconds since the trace began; the times of a trace never descend.
    pub at_ns: u64,
    /// The key, or the first of a range.
    pub key: Vec<u8>,
    /// What was asked.
    pub what: What,
}

/// What a request asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Set the key to a value.
    Put {
        /// The length of the value, in bytes.
        value_len: u64,
    },
    /// Remove the key.
    Delete,
    /// Remove the keys from the key on.
    DeleteRange {
        /// The first key kept, `None` for all that follow.
        end: Option<Vec<u8>>,
    },
    /// Read the key.
    Get,
    /// Read entries from the key on.
    Scan {
        /// How many were read.
        entries: u64,
    },
}

/// Why a trace cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum TraceError {
    /// The system refused.
    Io(io::Error),
    /// The file begins with something else.
    NotATrace,
    /// The file ends before its end mark.
    Cut {
        /// Where the part that is not whole begins, in bytes.
        at: u64,
    },
    /// Bytes differ from what was written.
    Damaged {
        /// Where the frame begins, in bytes.
        at: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TraceError::Io(source) => write!(f, "cannot read the trace: {source}"),
            TraceError::NotATrace => write!(f, "this is no trace: it does not begin with KVTRACE1"),
            TraceError::Cut { at } => {
                write!(f, "the trace was cut: what begins at byte {at} is not whole; record it again")
            }
            TraceError::Damaged { at, what } => {
                write!(f, "the trace is damaged in the frame at byte {at}: {what}; record it again")
            }
        }
    }
}

impl std::error::Error for TraceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TraceError::Io(source) => Some(source),
            _ => None,
        }
    }
}

/// Writes a trace.
#[derive(Debug)]
pub struct TraceWriter<W> {
    out: W,
    payload: Vec<u8>,
    requests: u64,
    last_ns: u64,
}

impl<W: Write> TraceWriter<W> {
    /// Begins a trace.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: W) -> io::Result<TraceWriter<W>> {
        out.write_all(MAGIC)?;
        Ok(TraceWriter { out, payload: Vec::new(), requests: 0, last_ns: 0 })
    }

    /// Adds a request sent at `at_ns`; a time before that of the last request counts as that.
    ///
    /// # Errors
    /// Those of `out`, and `InvalidInput` for a key of more than 4 MiB.
    pub fn add(&mut self, at_ns: u64, key: &[u8], what: &What) -> io::Result<()> {
        let end_len = if let What::DeleteRange { end: Some(end) } = what { end.len() } else { 0 };
        if key.len().max(end_len) > KEY_LEN_MAX {
            let why = format!("a trace holds keys of at most {KEY_LEN_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let kind = match what {
            What::Put { .. } => 1,
            What::Delete => 2,
            What::DeleteRange { .. } => 3,
            What::Get => 4,
            What::Scan { .. } => 5,
        };
        self.payload.push(kind);
        put_varint(&mut self.payload, at_ns.saturating_sub(self.last_ns));
        put_len(&mut self.payload, key.len());
        self.payload.extend_from_slice(key);
        match what {
            What::Put { value_len: number } | What::Scan { entries: number } => {
                put_varint(&mut self.payload, *number);
            }
            What::DeleteRange { end: None } => put_varint(&mut self.payload, 0),
            What::DeleteRange { end: Some(end) } => {
                put_len(&mut self.payload, end.len() + 1);
                self.payload.extend_from_slice(end);
            }
            What::Delete | What::Get => {}
        }
        self.last_ns = self.last_ns.max(at_ns);
        self.requests += 1;
        if self.payload.len() >= FRAME_LEN { self.frame() } else { Ok(()) }
    }

    /// Writes what is left and the end mark, and gives back `out`. A trace that is not finished reads as cut.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(mut self) -> io::Result<W> {
        self.frame()?;
        self.out.write_all(&0u32.to_le_bytes())?;
        self.out.write_all(&self.requests.to_le_bytes())?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn frame(&mut self) -> io::Result<()> {
        if self.payload.is_empty() {
            return Ok(());
        }
        let len = u32::try_from(self.payload.len()).map_err(io::Error::other)?;
        self.out.write_all(&len.to_le_bytes())?;
        self.out.write_all(&key_hash(&self.payload).to_le_bytes())?;
        self.out.write_all(&self.payload)?;
        self.payload.clear();
        Ok(())
    }
}

/// Reads a trace, request by request. After an error, or the end, it gives nothing more.
#[derive(Debug)]
pub struct TraceReader<R> {
    input: R,
    payload: std::vec::IntoIter<u8>,
    /// Where the frame being read begins, and where the next one does.
    frame_at: u64,
    next_at: u64,
    requests: u64,
    last_ns: u64,
    is_over: bool,
}

impl<R: Read> TraceReader<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// The input is no trace, or cannot be read.
    pub fn new(mut input: R) -> Result<TraceReader<R>, TraceError> {
        let mut magic = [0; MAGIC.len()];
        match input.read_exact(&mut magic) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(TraceError::Io(error)),
            Ok(()) if magic == *MAGIC => {}
            _ => return Err(TraceError::NotATrace),
        }
        let payload = Vec::new().into_iter();
        Ok(TraceReader { input, payload, frame_at: 0, next_at: 8, requests: 0, last_ns: 0, is_over: false })
    }

    /// Fills the payload with the next frame; false at the end.
    fn frame(&mut self) -> Result<bool, TraceError> {
        self.frame_at = self.next_at;
        let len = u32::from_le_bytes(self.bytes()?);
        let word = u64::from_le_bytes(self.bytes()?);
        if len == 0 {
            if word != self.requests {
                return Err(self.damaged("the number of requests differs"));
            }
            let mut after = [0];
            return match self.input.read(&mut after) {
                Ok(0) => Ok(false),
                Ok(_) => Err(self.damaged("bytes follow the end")),
                Err(error) => Err(TraceError::Io(error)),
            };
        }
        if len > FRAME_LEN_MAX {
            return Err(self.damaged("the length is beyond any frame's"));
        }
        let mut payload = Vec::new();
        let read =
            self.input.by_ref().take(u64::from(len)).read_to_end(&mut payload).map_err(TraceError::Io)?;
        if u32::try_from(read) != Ok(len) {
            return Err(TraceError::Cut { at: self.frame_at });
        }
        if key_hash(&payload) != word {
            return Err(self.damaged("the hash differs"));
        }
        self.next_at += 12 + u64::from(len);
        self.payload = payload.into_iter();
        Ok(true)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], TraceError> {
        let mut bytes = [0; N];
        match self.input.read_exact(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(TraceError::Cut { at: self.frame_at })
            }
            Err(error) => Err(TraceError::Io(error)),
        }
    }

    fn damaged(&self, what: &'static str) -> TraceError {
        TraceError::Damaged { at: self.frame_at, what }
    }

    fn request(&mut self) -> Option<Request> {
        let kind = self.payload.next()?;
        let gap_ns = self.varint()?;
        let key_len = self.varint()?;
        let key = self.take(key_len)?;
        let what = match kind {
            1 => What::Put { value_len: self.varint()? },
            2 => What::Delete,
            3 => match self.varint()?.checked_sub(1) {
                None => What::DeleteRange { end: None },
                Some(len) => What::DeleteRange { end: Some(self.take(len)?) },
            },
            4 => What::Get,
            5 => What::Scan { entries: self.varint()? },
            _ => return None,
        };
        self.last_ns = self.last_ns.checked_add(gap_ns)?;
        self.requests += 1;
        Some(Request { at_ns: self.last_ns, key, what })
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for place in 0..VARINT_LEN_MAX {
            let byte = self.payload.next()?;
            let bits = u64::from(byte & 0x7F);
            let moved = bits << (7 * place);
            if moved >> (7 * place) != bits {
                return None;
            }
            number |= moved;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, len: u64) -> Option<Vec<u8>> {
        let len = usize::try_from(len).ok().filter(|len| *len <= self.payload.len())?;
        Some(self.payload.by_ref().take(len).collect())
    }
}

impl<R: Read> Iterator for TraceReader<R> {
    type Item = Result<Request, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        if self.payload.len() == 0 {
            match self.frame() {
                Ok(true) => {}
                Ok(false) => {
                    self.is_over = true;
                    return None;
                }
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
        let request = self.request().ok_or_else(|| self.damaged("a request is malformed"));
        self.is_over = request.is_err();
        Some(request)
    }
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    put_varint(out, u64::try_from(len).unwrap_or(u64::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(requests: &[Request]) -> Vec<u8> {
        let mut writer = TraceWriter::new(Vec::new()).unwrap();
        for request in requests {
            writer.add(request.at_ns, &request.key, &request.what).unwrap();
        }
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Vec<Request>, TraceError> {
        TraceReader::new(bytes)?.collect()
    }

    fn sample() -> Vec<Request> {
        let request = |at_ns, key: &[u8], what| Request { at_ns, key: key.to_vec(), what };
        vec![
            request(5, b"a", What::Put { value_len: 300 }),
            request(5, b"b", What::Delete),
            request(1_000, b"c", What::DeleteRange { end: Some(b"d".to_vec()) }),
            request(1_001, b"", What::DeleteRange { end: None }),
            request(1_002, b"e", What::Get),
            request(1_003, b"f", What::Scan { entries: 10 }),
        ]
    }

    /// A change here means that traces of older builds can no longer be read: give the format another magic.
    #[test]
    fn golden_trace() {
        let bytes = written(&sample());
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
        assert_eq!(read(&bytes).unwrap(), sample());
        assert_eq!(read(&written(&[])).unwrap(), []);
    }

    const GOLDEN: &str = "4b565452414345311e0000003e849617cb93d94c01050161ac020200016203e307016302640301000004010165\
        050101660a000000000600000000000000";

    #[test]
    fn every_cut_and_every_flipped_bit_is_found() {
        let bytes = written(&sample());
        for len in 0..bytes.len() {
            let error = read(&bytes[..len]).expect_err("a cut trace is refused");
            let right = if len < 8 {
                matches!(error, TraceError::NotATrace)
            } else {
                matches!(error, TraceError::Cut { .. })
            };
            assert!(right, "cut to {len}: {error}");
        }
        for bit in 0..8 * bytes.len() {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&damaged).is_err(), "bit {bit}");
        }
        let longer = [bytes.as_slice(), b"x"].concat();
        assert_eq!(
            read(&longer).unwrap_err().to_string(),
            "the trace is damaged in the frame at byte 50: bytes follow the end; record it again"
        );
    }

    #[test]
    fn long_traces_have_many_frames_and_keys_have_a_limit() {
        let requests: Vec<Request> = (0..20_000u64)
            .map(|i| Request {
                at_ns: i * 700,
                key: i.to_be_bytes().to_vec(),
                what: What::Put { value_len: i },
            })
            .collect();
        let bytes = written(&requests);
        assert_eq!(read(&bytes).unwrap(), requests);
        assert!(bytes.len() < 15 * requests.len(), "{} bytes for {} requests", bytes.len(), requests.len());
        let mut writer = TraceWriter::new(Vec::new()).unwrap();
        assert!(writer.add(0, &vec![0; KEY_LEN_MAX + 1], &What::Get).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            gaps in prop::collection::vec((any::<u32>(), prop::collection::vec(any::<u8>(), 0..40), 0u8..6, any::<u64>()), 0..60),
        ) {
            let mut at_ns = 0;
            let requests: Vec<Request> = gaps.into_iter().map(|(gap, key, kind, number)| {
                at_ns += u64::from(gap);
                let what = match kind {
                    0 => What::Put { value_len: number },
                    1 => What::Delete,
                    2 => What::DeleteRange { end: None },
                    3 => What::DeleteRange { end: Some(number.to_be_bytes().to_vec()) },
                    4 => What::Get,
                    _ => What::Scan { entries: number },
                };
                Request { at_ns, key, what }
            }).collect();
            prop_assert_eq!(read(&written(&requests)).unwrap(), requests);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&[MAGIC.as_slice(), &bytes].concat());
        }
    }
}
