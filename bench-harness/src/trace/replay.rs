//! Sends a trace to an engine, one request after the other as fast as it answers, and checks every answer.
//!
//! The values of a trace are lengths; what is written is the value that [`Values`] makes for the key, the number of
//! times it was written, and that length. So a sorted map of key to (version, length) is an exact oracle: about 100
//! bytes of memory per live key.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::ops::Bound;

use kv_api::{Durability, KeyRange, Kv, ScanOptions};
use workloads::Values;
use workloads::trace::{Request, TraceError, TraceReader, What};

/// The longest value a replay makes, in bytes: what no engine of the laboratory exceeds.
const VALUE_LEN_MAX: u64 = 64 << 20;

/// What a replay did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Requests sent.
    pub requests: u64,
    /// Entries that the store holds at the end.
    pub live: u64,
    /// Answers that were wrong, and entries of the final scan that differ.
    pub wrong: u64,
    /// The first wrong answer.
    pub first_wrong: Option<String>,
}

/// Why a replay ended early.
#[derive(Debug)]
pub enum ReplayError {
    /// The trace cannot be read.
    Trace(TraceError),
    /// The engine refused a request.
    Engine(kv_api::Error),
    /// A value too long to be made, in bytes.
    ValueTooLong(u64),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplayError::Trace(error) => write!(f, "{error}"),
            ReplayError::Engine(error) => write!(f, "{error}"),
            ReplayError::ValueTooLong(len) => {
                write!(f, "the trace has a value of {len} bytes; a replay makes at most {VALUE_LEN_MAX}")
            }
        }
    }
}

impl std::error::Error for ReplayError {}

impl From<kv_api::Error> for ReplayError {
    fn from(error: kv_api::Error) -> ReplayError {
        ReplayError::Engine(error)
    }
}

/// The expected content: version and length by key, and how often each key was ever written.
#[derive(Default)]
struct Model {
    live: BTreeMap<Vec<u8>, (u32, u32)>,
    versions: BTreeMap<Vec<u8>, u32>,
}

impl Model {
    fn matches(&self, key: &[u8], found: Option<&[u8]>) -> bool {
        match (self.live.get(key), found) {
            (None, None) => true,
            (Some((version, len)), Some(value)) => {
                Values::new(*len, 0.0).check_version(key, *version, value).is_ok()
            }
            _ => false,
        }
    }
}

/// Replays `trace` on `engine`, whose store must be empty, and compares the whole store at the end.
///
/// # Errors
/// A damaged trace, or an engine that refuses; what was sent before took effect.
pub fn replay<E: Kv + ?Sized>(
    engine: &E,
    trace: TraceReader<impl Read>,
    durability: Durability,
) -> Result<Replayed, ReplayError> {
    let mut model = Model::default();
    let mut done = Replayed::default();
    for request in trace {
        send(engine, &request.map_err(ReplayError::Trace)?, durability, &mut model, &mut done)?;
        done.requests += 1;
    }
    let mut scan = engine.scan(KeyRange::ALL, ScanOptions::FORWARD)?;
    let mut expected = model.live.keys();
    while let Some(entry) = scan.next()? {
        let is_next = expected.next().is_some_and(|key| key.as_slice() == entry.key);
        if !is_next || !model.matches(entry.key, Some(entry.value)) {
            wrong(&mut done, "the final scan", entry.key);
        }
    }
    for missing in expected {
        wrong(&mut done, "the final scan", missing);
    }
    done.live = model.live.len() as u64;
    Ok(done)
}

fn send<E: Kv + ?Sized>(
    engine: &E,
    request: &Request,
    durability: Durability,
    model: &mut Model,
    done: &mut Replayed,
) -> Result<(), ReplayError> {
    let key = &request.key;
    match &request.what {
        What::Put { value_len } => {
            let len = u32::try_from(*value_len).ok().filter(|_| *value_len <= VALUE_LEN_MAX);
            let len = len.ok_or(ReplayError::ValueTooLong(*value_len))?;
            let version = model.versions.entry(key.clone()).or_default();
            *version = version.wrapping_add(1);
            let mut value = Vec::new();
            Values::new(len, 0.0).fill(key, *version, &mut value);
            engine.put(key, &value, durability)?;
            model.live.insert(key.clone(), (*version, len));
        }
        What::Delete => {
            engine.delete(key, durability)?;
            model.live.remove(key);
        }
        What::DeleteRange { end } => {
            let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let range = KeyRange { start: Bound::Included(key), end };
            engine.delete_range(range, durability)?;
            model.live.retain(|key, _| !range.contains(key));
        }
        What::Get => {
            let found = engine.get(key)?;
            if !model.matches(key, found.as_deref()) {
                wrong(done, "a get", key);
            }
        }
        What::Scan { entries } => {
            let range = KeyRange { start: Bound::Included(key), end: Bound::Unbounded };
            let mut scan = engine.scan(range, ScanOptions::FORWARD)?;
            let mut expected = model.live.range(key.clone()..);
            for _ in 0..*entries {
                let Some(entry) = scan.next()? else {
                    if let Some((missing, _)) = expected.next() {
                        wrong(done, "a scan", missing);
                    }
                    break;
                };
                let is_next = expected.next().is_some_and(|(key, _)| key.as_slice() == entry.key);
                if !is_next || !model.matches(entry.key, Some(entry.value)) {
                    wrong(done, "a scan", entry.key);
                    break;
                }
            }
        }
    }
    Ok(())
}

fn wrong(done: &mut Replayed, what: &str, key: &[u8]) {
    done.wrong += 1;
    done.first_wrong.get_or_insert_with(|| format!("{what} is wrong at key {}", key.escape_ascii()));
}
