//! The smallest correct engine: a `BTreeMap` behind the contract. Oracle of the tests, template for yours.
//!
//! It has no files, so every durability level means the same and nothing survives the handle. A snapshot holds
//! the map itself; the first write after it copies the map, so a snapshot costs O(entries) once.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use crate::SeqNo;
use crate::batch::{Batch, Op};
use crate::engine::{EngineInfo, EntryRef, Kv, KvRead, Scan, Snapshot, SortedSource};
use crate::error::{Error, Result};
use crate::event::EventListener;
use crate::limits::{BATCH_BYTES_MAX, KEY_BYTES_MAX, Limits, VALUE_BYTES_MAX};
use crate::options::{Durability, Keyspace};
use crate::range::{Direction, KeyRange, OwnedRange, ScanOptions};
use crate::report::{BackupReport, CommitInfo, CompactReport, IngestReport, SettleReport, VerifyReport};
use crate::shape::Shape;
use crate::stats::{MemoryUse, Stats, UserStats};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// What the lock guards: the newest state and what was asked of it.
#[derive(Debug, Default)]
struct State {
    map: Arc<Map>,
    seq: SeqNo,
    bytes: u64,
    user: UserStats,
}

/// An engine without files.
#[derive(Debug)]
pub struct MemoryEngine {
    state: RwLock<State>,
    closed: Arc<AtomicBool>,
    keyspace: Keyspace,
}

impl Default for MemoryEngine {
    fn default() -> Self {
        MemoryEngine::new()
    }
}

impl MemoryEngine {
    /// An empty engine for the caller's own keys.
    pub fn new() -> Self {
        MemoryEngine::with_keyspace(Keyspace::Raw)
    }

    /// An empty engine for raw keys or for [`crate::Tables`].
    pub fn with_keyspace(keyspace: Keyspace) -> Self {
        MemoryEngine { state: RwLock::default(), closed: Arc::default(), keyspace }
    }

    /// The newest state. A panic elsewhere cannot leave the map half changed, so a poisoned lock is taken.
    fn state(&self) -> Result<RwLockReadGuard<'_, State>> {
        check_open(&self.closed)?;
        Ok(self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn view(&self) -> Result<MemorySnapshot> {
        let state = self.state()?;
        Ok(MemorySnapshot { map: Arc::clone(&state.map), seq: state.seq, closed: Arc::clone(&self.closed) })
    }
}

fn check_open(closed: &AtomicBool) -> Result<()> {
    if closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
}

/// Applies `op` to `map`; returns by how many bytes the contents grew or shrank.
fn apply(map: &mut Map, op: Op<'_>) -> i64 {
    let size = |key: &[u8], value: &[u8]| (key.len() + value.len()) as i64;
    match op {
        Op::Put { key, value } => {
            let old = map.insert(key.to_vec(), value.to_vec());
            size(key, value) - old.map_or(0, |old| size(key, &old))
        }
        Op::Delete { key } => map.remove(key).map_or(0, |old| -size(key, &old)),
        Op::DeleteRange { start, end } => {
            let range = (Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded));
            let doomed: Vec<_> = map.range::<[u8], _>(range).map(|(key, _)| key.clone()).collect();
            doomed.iter().filter_map(|key| map.remove(key).map(|old| -size(key, &old))).sum()
        }
    }
}

impl KvRead for MemoryEngine {
    fn get_with(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        self.view()?.get_with(key, found)
    }

    fn scan(&self, range: KeyRange<'_>, options: ScanOptions) -> Result<Box<dyn Scan>> {
        self.view()?.scan(range, options)
    }
}

impl Kv for MemoryEngine {
    fn info(&self) -> EngineInfo {
        EngineInfo {
            name: "memory".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            durability: vec![Durability::Memory],
            io: None,
            keyspace: self.keyspace,
            settings: Vec::new(),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            key_bytes_max: KEY_BYTES_MAX,
            value_bytes_max: VALUE_BYTES_MAX,
            batch_bytes_max: BATCH_BYTES_MAX,
        }
    }

    fn write(&self, batch: &Batch, durability: Durability) -> Result<CommitInfo> {
        check_open(&self.closed)?;
        self.limits().check(batch)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let map = Arc::make_mut(&mut state.map);
        let grown: i64 = batch.ops().map(|op| apply(map, op)).sum();
        state.bytes = state.bytes.saturating_add_signed(grown);
        state.seq += batch.len() as u64;
        state.user.ops_written += batch.len() as u64;
        state.user.written_bytes += batch.user_bytes();
        state.user.commits += 1;
        // Nothing outlives the handle at any level; the level asked for is met as far as this engine goes.
        Ok(CommitInfo { seq: state.seq, durability })
    }

    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        Ok(Arc::new(self.view()?))
    }

    fn ingest(&self, sorted: &mut dyn SortedSource) -> Result<IngestReport> {
        check_open(&self.closed)?;
        let mut batch = Batch::new();
        let mut report = IngestReport::default();
        let mut last: Option<Vec<u8>> = None;
        while let Some(EntryRef { key, value }) = sorted.next()? {
            if last.as_deref().is_some_and(|last| last >= key) {
                return Err(Error::invalid("ingest", "keys must be strictly ascending; sort them first"));
            }
            last = Some(key.to_vec());
            batch.put(key, value);
            report.entries += 1;
            report.user_bytes += (key.len() + value.len()) as u64;
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let map = Arc::make_mut(&mut state.map);
        let grown: i64 = batch.ops().map(|op| apply(map, op)).sum();
        state.bytes = state.bytes.saturating_add_signed(grown);
        state.seq += batch.len() as u64;
        Ok(report)
    }

    fn sync(&self) -> Result<()> {
        check_open(&self.closed)
    }

    fn flush(&self) -> Result<()> {
        check_open(&self.closed)
    }

    fn settle(&self, _timeout: Duration) -> Result<SettleReport> {
        check_open(&self.closed)?;
        Ok(SettleReport::default())
    }

    fn compact(&self, _range: KeyRange<'_>) -> Result<CompactReport> {
        check_open(&self.closed)?;
        Ok(CompactReport::default())
    }

    fn backup(&self, _dir: &Path) -> Result<BackupReport> {
        Err(Error::Unsupported { action: "backup: it has no files; scan it and load the entries elsewhere" })
    }

    fn verify(&self) -> Result<VerifyReport> {
        let state = self.state()?;
        let bytes = state.map.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
        let mut report = VerifyReport { entries: state.map.len() as u64, bytes, ..VerifyReport::default() };
        if bytes != state.bytes {
            report.add("memory", 0, format!("{bytes} bytes are held, {} were counted", state.bytes));
        }
        Ok(report)
    }

    fn stats(&self) -> Stats {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        Stats {
            user: state.user,
            memory: vec![MemoryUse { owner: "map".to_owned(), bytes: state.bytes }],
            seq: state.seq,
            ..Stats::default()
        }
    }

    fn shape(&self) -> Result<Shape> {
        Ok(Shape::Memory { entries: self.state()?.map.len() as u64 })
    }

    fn subscribe(&self, _listener: Arc<dyn EventListener>) {
        // Nothing ever happens in the background here, so there is nothing to tell.
    }

    fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}

/// One state of a [`MemoryEngine`].
#[derive(Debug)]
struct MemorySnapshot {
    map: Arc<Map>,
    seq: SeqNo,
    closed: Arc<AtomicBool>,
}

impl KvRead for MemorySnapshot {
    fn get_with(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        check_open(&self.closed)?;
        Ok(self.map.get(key).map(|value| found(value)).is_some())
    }

    fn scan(&self, range: KeyRange<'_>, options: ScanOptions) -> Result<Box<dyn Scan>> {
        check_open(&self.closed)?;
        Ok(Box::new(MemoryScan {
            map: Arc::clone(&self.map),
            closed: Arc::clone(&self.closed),
            range: range.to_owned_range(),
            at: None,
            direction: options.direction,
        }))
    }
}

impl Snapshot for MemorySnapshot {
    fn seq(&self) -> SeqNo {
        self.seq
    }
}

/// A walk over one state.
struct MemoryScan {
    map: Arc<Map>,
    closed: Arc<AtomicBool>,
    range: OwnedRange,
    /// Where the next entry lies: beyond this bound. `None` before the first step.
    at: Option<Bound<Vec<u8>>>,
    direction: Direction,
}

impl Scan for MemoryScan {
    fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
        check_open(&self.closed)?;
        let at = self.at.as_ref().map(|bound| bound.as_ref().map(Vec::as_slice));
        let mut range = self.range.as_range();
        match (self.direction, at) {
            (Direction::Forward, Some(at)) => range.start = at,
            (Direction::Reverse, Some(at)) => range.end = at,
            (_, None) => {}
        }
        if range.is_empty() {
            return Ok(None);
        }
        let mut entries = self.map.range::<[u8], _>((range.start, range.end));
        let found = match self.direction {
            Direction::Forward => entries.next(),
            Direction::Reverse => entries.next_back(),
        };
        let Some((key, value)) = found else { return Ok(None) };
        self.at = Some(Bound::Excluded(key.clone()));
        Ok(Some(EntryRef { key, value }))
    }

    fn seek(&mut self, key: &[u8]) -> Result<()> {
        check_open(&self.closed)?;
        let range = self.range.as_range();
        let beyond = match self.direction {
            Direction::Forward => !range.is_at_or_after_start(key),
            Direction::Reverse => !range.is_at_or_before_end(key),
        };
        // Before the range the walk starts at the range; the other end is kept by `next`.
        self.at = if beyond { None } else { Some(Bound::Included(key.to_vec())) };
        Ok(())
    }
}
