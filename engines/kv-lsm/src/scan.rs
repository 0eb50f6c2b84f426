//! Snapshots and scans: what a reader of one age sees. A scan is made from a merge of everything there is.
//!
//! The merge gives every version of every key. Forward, the first version of a key that is not too new decides;
//! in reverse the versions come oldest first, so the last one that is not too new decides.

use std::sync::Arc;

use kv_api::{
    Cause, Direction, EntryRef, Error, KeyRange, KvRead, OwnedRange, Result, Scan, ScanOptions, SeqNo,
    Snapshot, Value,
};

use crate::core::Core;
use crate::cursor::Cursor;
use crate::entry::{Kind, Tag};
use crate::merge::{LoserTree, Source};
use crate::range_tombstone::{Skyline, newest_at};
use crate::sstable::cursor::Fetch;
use crate::state::State;

/// The state of one moment, by age: registered, so that compactions keep what it sees.
pub struct LsmSnapshot {
    core: Arc<Core>,
    seq: SeqNo,
}

impl LsmSnapshot {
    /// The state of now.
    pub fn new(core: &Arc<Core>) -> LsmSnapshot {
        let seq = core.snapshots.register(|| core.visible_seq());
        LsmSnapshot { core: Arc::clone(core), seq }
    }
}

impl KvRead for LsmSnapshot {
    fn get_with(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.core.user.count_get(self.core.open_state()?.get(key, self.seq, found)?))
    }

    fn scan(&self, range: KeyRange<'_>, options: ScanOptions) -> Result<Box<dyn Scan>> {
        let state = self.core.open_state()?;
        Ok(Box::new(LsmScan::new(&self.core, &state, self.seq, range, options.direction)))
    }

    fn multi_get(&self, keys: &[&[u8]], out: &mut Vec<Option<Value>>) -> Result<()> {
        get_all(&self.core, &*self.core.open_state()?, self.seq, keys, out)
    }
}

impl Snapshot for LsmSnapshot {
    fn seq(&self) -> SeqNo {
        self.seq
    }
}

impl Drop for LsmSnapshot {
    fn drop(&mut self) {
        self.core.snapshots.release(self.seq);
    }
}

/// Replaces `out` by the values of `keys` in one state.
///
/// # Errors
/// `Io`, `Corruption`.
pub fn get_all(
    core: &Core,
    state: &State,
    seq: SeqNo,
    keys: &[&[u8]],
    out: &mut Vec<Option<Value>>,
) -> Result<()> {
    out.clear();
    for key in keys {
        let mut value = None;
        let found = state.get(key, seq, &mut |bytes| value = Some(Value::from(bytes)))?;
        core.user.count_get(found);
        out.push(value);
    }
    Ok(())
}

/// Bytes that a walk over everything reads at once.
const CHUNK_BYTES: usize = 64 << 10;

/// A walk over the live entries of one state at one age.
pub struct LsmScan {
    core: Arc<Core>,
    merge: LoserTree<Source>,
    skyline: Skyline,
    seq: SeqNo,
    is_users: bool,
    range: OwnedRange,
    direction: Direction,
    /// The merge stands on the entry that was given out last, or nowhere yet.
    stage: Stage,
    /// The key that was decided last; its other versions are passed over.
    key: Vec<u8>,
    /// In reverse, the candidate that is given out once its key has no newer version.
    value: Vec<u8>,
    failed: Option<Error>,
    /// Entries given out, counted when the scan ends.
    entries: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The merge has not been told where to stand.
    Fresh,
    /// The merge stands on what is to be looked at next.
    Ahead,
    /// The merge stands on an entry that was given out (forward only).
    Given,
    /// There is nothing more.
    Done,
}

impl LsmScan {
    /// Over `range` of `state`, as a reader at `seq` sees it.
    pub fn new(
        core: &Arc<Core>,
        state: &State,
        seq: SeqNo,
        range: KeyRange<'_>,
        direction: Direction,
    ) -> LsmScan {
        core.user.count_scan();
        LsmScan::over(core, state, seq, range, direction, Fetch::Cached)
    }

    /// Over everything, for the engine's own ends: it reads in chunks, past the cache, and counts under `cause` and
    /// not among the scans of users.
    pub fn all(core: &Arc<Core>, state: &State, seq: SeqNo, cause: Cause) -> LsmScan {
        let fetch = Fetch::Chunks { bytes_max: CHUNK_BYTES, cause };
        LsmScan::over(core, state, seq, KeyRange::ALL, Direction::Forward, fetch)
    }

    fn over(
        core: &Arc<Core>,
        state: &State,
        seq: SeqNo,
        range: KeyRange<'_>,
        direction: Direction,
        fetch: Fetch,
    ) -> LsmScan {
        let mut sources: Vec<Source> =
            state.memtables().map(|memtable| Source::memtable(memtable, direction)).collect();
        let mut sets: Vec<_> = state.memtables().map(|memtable| memtable.tombstones()).collect();
        for (number, level) in state.version.levels().iter().enumerate() {
            sets.extend(level.range_deleting().iter().map(|table| Arc::clone(table.tombstones())));
            if number == 0 {
                let tables = level.tables().iter();
                sources.extend(tables.map(|table| Source::table(table, direction, fetch)));
            } else if !level.tables().is_empty() {
                sources.push(Source::level(level.tables(), direction, fetch));
            }
        }
        core.counters.scan_opened();
        LsmScan {
            core: Arc::clone(core),
            merge: LoserTree::new(sources, direction, 0),
            skyline: Skyline::new(sets),
            seq,
            is_users: matches!(fetch, Fetch::Cached),
            range: range.to_owned_range(),
            direction,
            stage: if range.is_empty() { Stage::Done } else { Stage::Fresh },
            key: Vec::new(),
            value: Vec::new(),
            failed: None,
            entries: 0,
        }
    }

    /// Stands on the first entry of the range.
    fn start(&mut self) -> Result<()> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        self.stage = Stage::Ahead;
        let bound = match self.direction {
            Direction::Forward => &self.range.start,
            Direction::Reverse => &self.range.end,
        };
        match (bound, self.direction) {
            (Unbounded, _) => self.merge.rewind(),
            (Included(key), Direction::Forward) | (Excluded(key), Direction::Reverse) => {
                self.merge.seek(key, Tag::NEWEST)
            }
            (Excluded(key), Direction::Forward) | (Included(key), Direction::Reverse) => {
                self.merge.seek(key, Tag::OLDEST)
            }
        }
    }

    /// Forward: stands on the next live entry and says so, or on nothing.
    fn advance(&mut self) -> Result<bool> {
        let mut skip_key = false;
        if self.stage == Stage::Given {
            skip_key = true;
            self.merge.next()?;
        }
        self.stage = Stage::Ahead;
        while let Some(entry) = self.merge.entry() {
            let older_version = skip_key && entry.key == self.key;
            if !older_version {
                if !self.range.as_range().is_at_or_before_end(entry.key) {
                    break;
                }
                if entry.tag.seq() <= self.seq {
                    self.key.clear();
                    self.key.extend_from_slice(entry.key);
                    skip_key = true;
                    let deleted = newest_at(self.skyline.seqs_at(entry.key), self.seq);
                    if entry.tag.kind() == Kind::Put && entry.tag.seq() > deleted {
                        self.stage = Stage::Given;
                        return Ok(true);
                    }
                }
            }
            self.merge.next()?;
        }
        self.stage = Stage::Done;
        Ok(false)
    }

    /// Reverse: leaves the next live entry in `key` and `value` and says so.
    fn retreat(&mut self) -> Result<bool> {
        let mut candidate: Option<Tag> = None;
        loop {
            let entry = self.merge.entry();
            let same_key = entry.is_some_and(|entry| candidate.is_some() && entry.key == self.key);
            if !same_key && let Some(tag) = candidate.take() {
                let deleted = newest_at(self.skyline.seqs_at(&self.key), self.seq);
                if tag.kind() == Kind::Put && tag.seq() > deleted {
                    return Ok(true);
                }
            }
            let Some(entry) = entry else { break };
            if !self.range.as_range().is_at_or_after_start(entry.key) {
                break;
            }
            if entry.tag.seq() <= self.seq {
                self.key.clear();
                self.key.extend_from_slice(entry.key);
                self.value.clear();
                self.value.extend_from_slice(entry.value);
                candidate = Some(entry.tag);
            }
            self.merge.next()?;
        }
        self.stage = Stage::Done;
        Ok(false)
    }

    fn step(&mut self) -> Result<bool> {
        if self.stage == Stage::Fresh {
            self.start()?;
        }
        match (self.stage, self.direction) {
            (Stage::Done, _) => Ok(false),
            (_, Direction::Forward) => self.advance(),
            (_, Direction::Reverse) => self.retreat(),
        }
    }

    /// Remembers the first error: after it there is nothing but errors.
    fn checked<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.failed = Some(error.clone());
        }
        result
    }

    fn check(&self) -> Result<()> {
        self.core.check_open()?;
        self.failed.as_ref().map_or(Ok(()), |error| Err(error.clone()))
    }
}

impl Scan for LsmScan {
    fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
        self.check()?;
        let step = self.step();
        if !self.checked(step)? {
            return Ok(None);
        }
        self.entries += 1;
        Ok(match self.direction {
            Direction::Forward => self.merge.entry().map(|e| EntryRef { key: e.key, value: e.value }),
            Direction::Reverse => Some(EntryRef { key: &self.key, value: &self.value }),
        })
    }

    fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.check()?;
        if self.range.as_range().is_empty() {
            return Ok(());
        }
        let range = self.range.as_range();
        let (before, beyond) = match self.direction {
            Direction::Forward => (!range.is_at_or_after_start(key), !range.is_at_or_before_end(key)),
            Direction::Reverse => (!range.is_at_or_before_end(key), !range.is_at_or_after_start(key)),
        };
        // The key of the entry given out last must not hide the same key after a seek back to it.
        self.stage = if before { Stage::Fresh } else { Stage::Ahead };
        if before {
            return Ok(());
        }
        if beyond {
            self.stage = Stage::Done;
            return Ok(());
        }
        let tag = match self.direction {
            Direction::Forward => Tag::NEWEST,
            Direction::Reverse => Tag::OLDEST,
        };
        let sought = self.merge.seek(key, tag);
        self.checked(sought)
    }
}

impl Drop for LsmScan {
    fn drop(&mut self) {
        if self.is_users {
            self.core.user.count_scanned(self.entries);
        }
        self.core.counters.scan_closed();
    }
}
