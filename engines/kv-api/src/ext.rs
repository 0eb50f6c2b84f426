//! Generic sugar over the object-safe traits: std ranges and double-ended iterators.

use std::ops::{Bound, RangeBounds};

use crate::engine::{Kv, KvRead, Scan, Value};
use crate::error::Result;
use crate::range::{KeyRange, OwnedRange, ScanOptions};

/// An entry that belongs to the caller.
pub type Entry = (Vec<u8>, Value);

/// Conveniences on every engine, `dyn Kv` included.
pub trait KvExt: Kv {
    /// The entries of `range` as a std iterator that walks from both ends, over one snapshot.
    ///
    /// # Errors
    /// Those of [`KvRead::scan`].
    fn range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Result<Range> {
        let borrow = |bound: Bound<&K>| bound.map(|key| key.as_ref().to_vec());
        let owned = OwnedRange { start: borrow(range.start_bound()), end: borrow(range.end_bound()) };
        Range::open(&*self.snapshot()?, owned.as_range())
    }

    /// The entries whose keys begin with `prefix`.
    ///
    /// # Errors
    /// Those of [`KvRead::scan`].
    fn prefix(&self, prefix: &[u8]) -> Result<Range> {
        Range::open(&*self.snapshot()?, OwnedRange::prefix(prefix).as_range())
    }

    /// The entry with the smallest key.
    ///
    /// # Errors
    /// Those of [`KvRead::scan`].
    fn first(&self) -> Result<Option<Entry>> {
        next_owned(&mut *self.scan(KeyRange::ALL, ScanOptions::FORWARD)?)
    }

    /// The entry with the largest key.
    ///
    /// # Errors
    /// Those of [`KvRead::scan`].
    fn last(&self) -> Result<Option<Entry>> {
        next_owned(&mut *self.scan(KeyRange::ALL, ScanOptions::REVERSE)?)
    }
}

impl<E: Kv + ?Sized> KvExt for E {}

/// A std iterator over entries, from both ends: two scans of one snapshot that never cross or repeat.
pub struct Range {
    front: Box<dyn Scan>,
    back: Box<dyn Scan>,
    last_front: Option<Vec<u8>>,
    last_back: Option<Vec<u8>>,
    done: bool,
}

impl Range {
    /// Iterates `range` of `reader`, which must be a snapshot: both ends must see the same state.
    ///
    /// # Errors
    /// Those of [`KvRead::scan`].
    pub fn open<R: KvRead + ?Sized>(reader: &R, range: KeyRange<'_>) -> Result<Range> {
        Ok(Range {
            front: reader.scan(range, ScanOptions::FORWARD)?,
            back: reader.scan(range, ScanOptions::REVERSE)?,
            last_front: None,
            last_back: None,
            done: false,
        })
    }

    /// Passes `found` on, unless it failed, ended, or lies beyond what the other end already gave.
    fn settle(
        &mut self,
        found: Result<Option<Entry>>,
        crossed: impl Fn(&Self, &[u8]) -> bool,
    ) -> Option<Result<Entry>> {
        let entry = match found {
            Ok(Some(entry)) if !crossed(self, &entry.0) => Some(Ok(entry)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        };
        self.done = !matches!(entry, Some(Ok(_)));
        entry
    }
}

impl Iterator for Range {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let found = next_owned(&mut *self.front);
        if let Ok(Some((key, _))) = &found {
            self.last_front = Some(key.clone());
        }
        self.settle(found, |range, key| range.last_back.as_deref().is_some_and(|back| key >= back))
    }
}

impl DoubleEndedIterator for Range {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let found = next_owned(&mut *self.back);
        if let Ok(Some((key, _))) = &found {
            self.last_back = Some(key.clone());
        }
        self.settle(found, |range, key| range.last_front.as_deref().is_some_and(|front| key <= front))
    }
}

impl std::fmt::Debug for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Range").field("done", &self.done).finish_non_exhaustive()
    }
}

/// The next entry of a scan, copied.
fn next_owned(scan: &mut dyn Scan) -> Result<Option<Entry>> {
    Ok(scan.next()?.map(|entry| (entry.key.to_vec(), Value::from(entry.value))))
}
