//! Sends a trace to an engine, one request after the other as fast as it answers, and checks every answer.
//!
//! The values of a trace are lengths; what is written is the value that [`Values`] makes for the key, the number of
//! times it was written, and that length. So a sorted map of key to (version, length) is an exact oracle: about 100
//! bytes of memory per live key. A workload that was recorded from its first phase on leaves the same contents again,
//! whichever engine it is replayed on.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::ops::Bound;
use std::time::Instant;

use kv_api::{Batch, Durability, KeyRange, Kv, ScanOptions};
use workloads::trace::{Request, TraceError, TraceReader, What};
use workloads::{ContentDigest, Mismatch, OpKind, Values};

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
#[derive(Debug, Default)]
pub struct Model {
    live: BTreeMap<Vec<u8>, (u32, u32)>,
    live_bytes: u64,
    versions: BTreeMap<Vec<u8>, u32>,
}

impl Model {
    /// The keys that must be there, in order.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.live.keys().map(Vec::as_slice)
    }

    /// Key and value bytes that must be there.
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Checks what a read of `key` found.
    ///
    /// # Errors
    /// It is not what must be there.
    pub fn check_get(&self, key: &[u8], found: Option<&[u8]>) -> Result<(), Mismatch> {
        match (self.live.get(key), found) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(Mismatch::Unexpected),
            (Some((version, _)), None) => Err(Mismatch::Missing { expected: *version }),
            (Some((version, len)), Some(value)) => Values::new(*len, 0.0).check_version(key, *version, value),
        }
    }

    /// Checks one entry of a scan and tells its version.
    ///
    /// # Errors
    /// It is not what must be there.
    pub fn check_entry(&self, key: &[u8], value: &[u8]) -> Result<u32, Mismatch> {
        self.check_get(key, Some(value))?;
        Ok(self.live.get(key).map_or(0, |(version, _)| *version))
    }

    /// The digest that a full scan must have.
    pub fn content(&self) -> ContentDigest {
        let mut digest = ContentDigest::default();
        self.live.iter().for_each(|(key, (version, len))| digest.add(key, *len as usize, *version));
        digest
    }

    fn set(&mut self, key: &[u8], version: u32, len: u32) {
        self.remove(key);
        self.live_bytes += key.len() as u64 + u64::from(len);
        self.live.insert(key.to_vec(), (version, len));
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some((_, len)) = self.live.remove(key) {
            self.live_bytes -= key.len() as u64 + u64::from(len);
        }
    }

    fn remove_range(&mut self, range: KeyRange<'_>) {
        let gone: Vec<Vec<u8>> = self.live.keys().filter(|key| range.contains(key)).cloned().collect();
        gone.iter().for_each(|key| self.remove(key));
    }
}

/// How one request went.
#[derive(Debug)]
pub struct Sent {
    /// What it was, in the words of workloads.
    pub kind: OpKind,
    /// When the engine was called.
    pub start: Instant,
    /// When it had answered.
    pub end: Instant,
    /// Key and value bytes written.
    pub user_bytes: u64,
    /// Key and value bytes that came back.
    pub returned_bytes: u64,
    /// Entries that a scan gave.
    pub entries: u64,
    /// What was wrong with the answer.
    pub wrong: Option<Mismatch>,
}

/// Sends `request`, times the call alone, checks the answer and keeps `model` up to date.
///
/// # Errors
/// An engine that refuses, or a value too long to be made.
pub fn send<E: Kv + ?Sized>(
    engine: &E,
    request: &Request,
    durability: Durability,
    model: &mut Model,
) -> Result<Sent, ReplayError> {
    let key = request.key.as_slice();
    match &request.what {
        What::Get => Ok(get(engine, key, model)?),
        What::Scan { entries } => Ok(scan(engine, key, *entries, model)?),
        What::Put { value_len } => {
            let len = u32::try_from(*value_len).ok().filter(|_| *value_len <= VALUE_LEN_MAX);
            let len = len.ok_or(ReplayError::ValueTooLong(*value_len))?;
            let version = model.versions.entry(key.to_vec()).or_default();
            *version = version.wrapping_add(1);
            let (version, mut value, mut batch) = (*version, Vec::new(), Batch::new());
            Values::new(len, 0.0).fill(key, version, &mut value);
            batch.put(key, &value);
            let sent = write(engine, &batch, OpKind::Put, durability)?;
            model.set(key, version, len);
            Ok(sent)
        }
        What::Delete => {
            let mut batch = Batch::new();
            batch.delete(key);
            let sent = write(engine, &batch, OpKind::Delete, durability)?;
            model.remove(key);
            Ok(sent)
        }
        What::DeleteRange { end } => {
            let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let range = KeyRange { start: Bound::Included(key), end };
            let mut batch = Batch::new();
            batch.delete_range(range);
            let sent = write(engine, &batch, OpKind::DeleteRange, durability)?;
            model.remove_range(range);
            Ok(sent)
        }
    }
}

fn write<E: Kv + ?Sized>(
    engine: &E,
    batch: &Batch,
    kind: OpKind,
    durability: Durability,
) -> kv_api::Result<Sent> {
    let start = Instant::now();
    engine.write(batch, durability)?;
    let end = Instant::now();
    let user_bytes = batch.user_bytes();
    Ok(Sent { kind, start, end, user_bytes, returned_bytes: 0, entries: 0, wrong: None })
}

fn get<E: Kv + ?Sized>(engine: &E, key: &[u8], model: &Model) -> kv_api::Result<Sent> {
    let mut value = Vec::new();
    let start = Instant::now();
    let found = engine.get_with(key, &mut |bytes| {
        value.clear();
        value.extend_from_slice(bytes);
    })?;
    let end = Instant::now();
    let kind = if model.live.contains_key(key) { OpKind::Get } else { OpKind::GetAbsent };
    let returned_bytes = if found { (key.len() + value.len()) as u64 } else { 0 };
    let wrong = model.check_get(key, found.then_some(value.as_slice())).err();
    Ok(Sent { kind, start, end, user_bytes: 0, returned_bytes, entries: 0, wrong })
}

fn scan<E: Kv + ?Sized>(engine: &E, key: &[u8], limit: u64, model: &Model) -> kv_api::Result<Sent> {
    let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let start = Instant::now();
    let range = KeyRange { start: Bound::Included(key), end: Bound::Unbounded };
    let mut scan = engine.scan(range, ScanOptions::FORWARD)?;
    for _ in 0..limit {
        let Some(entry) = scan.next()? else { break };
        found.push((entry.key.to_vec(), entry.value.to_vec()));
    }
    drop(scan);
    let end = Instant::now();
    let mut expected = model.live.range(key.to_vec()..);
    let mut wrong = None;
    for (key, value) in &found {
        let is_next = expected.next().is_some_and(|(next, _)| next == key);
        let checked = if is_next { model.check_get(key, Some(value)) } else { Err(Mismatch::Unexpected) };
        wrong = wrong.or(checked.err());
    }
    if (found.len() as u64) < limit
        && let Some((_, (version, _))) = expected.next()
    {
        wrong = wrong.or(Some(Mismatch::Missing { expected: *version }));
    }
    let returned_bytes = found.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
    let entries = found.len() as u64;
    Ok(Sent { kind: OpKind::Scan, start, end, user_bytes: 0, returned_bytes, entries, wrong })
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
        let request = request.map_err(ReplayError::Trace)?;
        let sent = send(engine, &request, durability, &mut model)?;
        if sent.wrong.is_some() {
            wrong(&mut done, sent.kind.name(), &request.key);
        }
        done.requests += 1;
    }
    let mut scan = engine.scan(KeyRange::ALL, ScanOptions::FORWARD)?;
    let mut expected = model.keys();
    while let Some(entry) = scan.next()? {
        let is_next = expected.next().is_some_and(|key| key == entry.key);
        if !is_next || model.check_entry(entry.key, entry.value).is_err() {
            wrong(&mut done, "the final scan", entry.key);
        }
    }
    for missing in expected {
        wrong(&mut done, "the final scan", missing);
    }
    done.live = model.live.len() as u64;
    Ok(done)
}

fn wrong(done: &mut Replayed, what: &str, key: &[u8]) {
    done.wrong += 1;
    done.first_wrong.get_or_insert_with(|| format!("{what} is wrong at key {}", key.escape_ascii()));
}
