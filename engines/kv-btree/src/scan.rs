//! Snapshots and scans: a pinned state, and cursors over it.

use std::sync::Arc;

use kv_api::{
    Direction, EntryRef, Error, KeyRange, KvRead, OwnedRange, Result, Scan, ScanOptions, SeqNo, Snapshot,
    SortedSource,
};

use crate::core::Core;
use crate::pager::Reader;
use crate::reclaim::Pinned;
use crate::tree::{self, cursor::Cursor};

/// The state of one moment.
pub struct BTreeSnapshot {
    core: Arc<Core>,
    pin: Arc<Pinned>,
}

impl BTreeSnapshot {
    /// The state of now.
    pub fn new(core: &Arc<Core>) -> BTreeSnapshot {
        BTreeSnapshot { core: Arc::clone(core), pin: Arc::new(core.store.reclaim.pin()) }
    }

    /// A cursor over all entries, on behalf of `reader`.
    pub fn cursor(&self, range: OwnedRange, direction: Direction, reader: Reader) -> Cursor {
        Cursor::new(Arc::clone(&self.core.store.pager), self.pin.root.clone(), range, direction, reader)
    }
}

impl KvRead for BTreeSnapshot {
    fn get_with(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        self.core.check_open()?;
        let hit = tree::get(&self.core.store.pager, &self.pin.root, key, Reader::Get, found)?;
        Ok(self.core.user.count_get(hit))
    }

    fn scan(&self, range: KeyRange<'_>, options: ScanOptions) -> Result<Box<dyn Scan>> {
        self.core.check_open()?;
        self.core.user.count_scan();
        Ok(Box::new(BTreeScan {
            is_empty: range.is_empty(),
            cursor: self.cursor(range.to_owned_range(), options.direction, Reader::Scan),
            core: Arc::clone(&self.core),
            _pin: Arc::clone(&self.pin),
            failed: None,
            entries: 0,
        }))
    }
}

impl Snapshot for BTreeSnapshot {
    fn seq(&self) -> SeqNo {
        self.pin.root.seq
    }
}

/// A walk over one state.
struct BTreeScan {
    core: Arc<Core>,
    cursor: Cursor,
    _pin: Arc<Pinned>,
    is_empty: bool,
    failed: Option<Error>,
    /// Entries given since they were last added to the engine's counter.
    entries: u64,
}

impl BTreeScan {
    fn check(&self) -> Result<()> {
        self.core.check_open()?;
        match &self.failed {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }
}

impl Scan for BTreeScan {
    fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
        self.check()?;
        if self.is_empty {
            return Ok(None);
        }
        match self.cursor.next() {
            Ok(entry) => {
                self.entries += u64::from(entry.is_some());
                Ok(entry)
            }
            Err(error) => {
                self.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.check()?;
        let sought = if self.is_empty { Ok(()) } else { self.cursor.seek(key) };
        if let Err(error) = &sought {
            self.failed = Some(error.clone());
        }
        sought
    }
}

impl Drop for BTreeScan {
    fn drop(&mut self) {
        self.core.user.count_scanned(self.entries);
    }
}

/// A cursor as a source of sorted entries.
pub struct CursorSource(pub Cursor);

impl SortedSource for CursorSource {
    fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
        self.0.next()
    }
}
