//! Jobs: which upkeep runs at the moment, so that two pieces of it keep out of each other's way.

use std::sync::Arc;

use crate::compaction::picker::Rounds;
use crate::memtable::Memtable;

/// What runs now, and what was chosen before.
#[derive(Debug, Default)]
pub struct Jobs {
    /// Someone flushes, or keeps others from it.
    pub flushing: bool,
    /// Keys and levels of the merge that runs.
    pub merging: Option<Merging>,
    /// Where each level was picked from last.
    pub rounds: Rounds,
    /// Flushed memtables: their entries are freed by a job, never by a client that happened to be last.
    pub retired: Vec<Arc<Memtable>>,
}

/// The keys of a merge.
#[derive(Debug)]
pub struct Merging {
    /// The first of them.
    pub start: Vec<u8>,
    /// The first key behind them; `None` for no upper bound.
    pub end: Option<Vec<u8>>,
}

impl Merging {
    /// True if `start..end` shares no key with it.
    pub fn is_apart(&self, start: &[u8], end: Option<&[u8]>) -> bool {
        end.is_some_and(|end| end <= self.start.as_slice())
            || self.end.as_deref().is_some_and(|own| own <= start)
    }
}
