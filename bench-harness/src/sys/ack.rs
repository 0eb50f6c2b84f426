//! The ack log: how many operations of each phase each client has had acknowledged, in a file that survives
//! `kill -9`. Streams of operations are pure functions of the workload and the seed, so these counts and the
//! workload are all that is needed to know what a store must hold.
//!
//! ```text
//! | magic "KVLABACK" | version u64 | words_at u64 | phase u64 | header: JSON, zeros up to words_at | words ... |
//! 0                  8             16             24          32                           words_at
//!
//! words[thread * phases + phase] = operations acknowledged; all numbers little-endian.
//! phase = number of the phase that runs, so that an operation in flight can be named.
//! ```

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::map::SharedWords;
use crate::error::{Failure, Result};

const MAGIC: &[u8; 8] = b"KVLABACK";
const VERSION: u64 = 1;
const HEADER_AT: usize = 32;
const PHASE_WORD: usize = 3;
const _: () = assert!(PHASE_WORD * 8 + 8 == HEADER_AT, "the phase is the last word before the header");
/// Most clients and phases that a file may claim.
const PARTS_MAX: u64 = 1 << 16;

/// What the file says about the run.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AckHeader {
    /// The engine, as `--engine` takes it.
    pub engine: String,
    /// The name of the workload.
    pub workload: String,
    /// The text of the workload file.
    pub workload_text: String,
    /// What the command line changed in it.
    pub overrides: crate::run::Overrides,
    /// Clients.
    pub threads: u32,
    /// Phases of the workload.
    pub phases: u32,
}

/// An ack log that is being written.
#[derive(Debug)]
pub struct AckLog {
    words: SharedWords,
    words_at: usize,
    phases: usize,
}

/// An ack log that was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acks {
    /// The run.
    pub header: AckHeader,
    /// The phase that ran.
    pub phase: usize,
    counts: Vec<u64>,
}

impl AckLog {
    /// Creates `path`, which must not exist: it may be the only witness of an earlier run.
    ///
    /// # Errors
    /// The file exists or cannot be made.
    pub fn create(path: &Path, header: &AckHeader) -> Result<AckLog> {
        let fail = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Failure::usage(format!(
                "{} exists and may be the witness of an earlier run; remove it or name another file",
                path.display()
            )),
            _ => Failure::io("create the ack log", path, &error).of_argument(),
        };
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(path).map_err(fail)?;
        let bytes = encode(header);
        let words_at = bytes.len();
        file.write_all(&bytes).map_err(fail)?;
        let counts = header.threads as u64 * u64::from(header.phases);
        file.set_len(words_at as u64 + counts * 8).map_err(fail)?;
        let words = SharedWords::new(&file).map_err(fail)?;
        Ok(AckLog { words, words_at: words_at / 8, phases: header.phases as usize })
    }

    /// Says which phase runs, before its first operation.
    pub fn begin_phase(&self, phase: usize) {
        self.words.words()[PHASE_WORD].store(phase as u64, Ordering::Release);
    }

    /// Where `thread` notes how many operations of `phase` were acknowledged.
    pub fn slot(&self, thread: usize, phase: usize) -> &AtomicU64 {
        &self.words.words()[self.words_at + thread * self.phases + phase]
    }
}

fn encode(header: &AckHeader) -> Vec<u8> {
    let json = serde_json::to_vec(header).unwrap_or_default();
    let words_at = (HEADER_AT + json.len()).next_multiple_of(8);
    let mut bytes = Vec::with_capacity(words_at);
    bytes.extend_from_slice(MAGIC);
    for word in [VERSION, words_at as u64, 0] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(&json);
    bytes.resize(words_at, 0);
    bytes
}

impl Acks {
    /// Reads `path` back.
    ///
    /// # Errors
    /// It is no ack log, or of another version.
    pub fn read(path: &Path) -> Result<Acks> {
        let bytes = std::fs::read(path)
            .map_err(|error| Failure::io("read the ack log", path, &error).of_argument())?;
        decode(&bytes).ok_or_else(|| {
            Failure::usage(format!(
                "{} is no ack log of this version; give the file that `kvlab run --ack-log` wrote",
                path.display()
            ))
        })
    }

    /// How many operations of `phase` were acknowledged to `thread`.
    pub fn count(&self, thread: usize, phase: usize) -> u64 {
        self.counts.get(thread * self.header.phases as usize + phase).copied().unwrap_or(0)
    }
}

fn decode(bytes: &[u8]) -> Option<Acks> {
    let word = |index: usize| {
        let bytes = bytes.get(index * 8..index * 8 + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    if !bytes.starts_with(MAGIC) || word(1)? != VERSION {
        return None;
    }
    let words_at = usize::try_from(word(2)?).ok()?;
    let json = bytes.get(HEADER_AT..words_at)?;
    let end = json.iter().rposition(|byte| *byte != 0)? + 1;
    let header: AckHeader = serde_json::from_slice(&json[..end]).ok()?;
    let parts = u64::from(header.threads).checked_mul(u64::from(header.phases))?;
    if parts > PARTS_MAX || u64::from(header.phases) <= word(PHASE_WORD)? {
        return None;
    }
    let counts: Option<Vec<u64>> = (0..parts as usize).map(|i| word(words_at / 8 + i)).collect();
    Some(Acks { header, phase: word(PHASE_WORD)? as usize, counts: counts? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> AckHeader {
        AckHeader {
            engine: "memory".to_owned(),
            workload: "w".to_owned(),
            workload_text: "schema = 1".to_owned(),
            overrides: crate::run::Overrides::default(),
            threads: 2,
            phases: 3,
        }
    }

    #[test]
    fn what_was_noted_is_read_back_while_the_log_is_still_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acks");
        let log = AckLog::create(&path, &header()).unwrap();
        log.begin_phase(2);
        log.slot(1, 2).store(77, Ordering::Release);
        let acks = Acks::read(&path).unwrap();
        assert_eq!((acks.phase, acks.count(1, 2), acks.count(0, 2)), (2, 77, 0));
        assert_eq!(acks.header, header());
        assert!(AckLog::create(&path, &header()).unwrap_err().to_string().contains("exists"));
    }

    #[test]
    fn the_picture_is_the_file_and_damage_is_refused() {
        let bytes = encode(&header());
        assert_eq!(&bytes[..16], b"KVLABACK\x01\0\0\0\0\0\0\0");
        assert_eq!(&bytes[32..44], b"{\"engine\":\"m");
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), None, "cut at {cut}");
        }
        let mut foreign = bytes;
        foreign[8] = 9;
        assert_eq!(decode(&foreign), None);
    }
}
