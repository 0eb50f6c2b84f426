//! State: what a reader holds while it reads, and who reads at which age.

use std::collections::BTreeMap;
use std::sync::Arc;

use kv_api::{Result, SeqNo};
use kv_io::sync::Mutex;
use kv_io::sync::lock;

use crate::entry::{Entry, Kind};
use crate::memtable::Memtable;
use crate::version::Version;

/// Memtables and tables of one moment. Immutable; whoever holds it can read all that was in it.
#[derive(Debug)]
pub struct State {
    /// Takes the writes.
    pub active: Arc<Memtable>,
    /// Sealed, waiting to be flushed; newest first.
    pub immutables: Vec<Arc<Memtable>>,
    /// The live tables.
    pub version: Arc<Version>,
}

impl State {
    /// The memtables, newest first.
    pub fn memtables(&self) -> impl Iterator<Item = &Arc<Memtable>> {
        std::iter::once(&self.active).chain(&self.immutables)
    }

    /// Calls `found` with the value that `key` has for a reader at `seq`; false if it has none.
    ///
    /// From new to old: the first source that says anything about the key, an entry or a range delete, has the
    /// last word, because whatever lies deeper is older.
    ///
    /// # Errors
    /// `Io`, `Corruption`.
    pub fn get(&self, key: &[u8], seq: SeqNo, found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let mut answer = Answer { deleted: 0, said: false, present: false, found };
        for memtable in self.memtables() {
            answer.deleted = memtable.deleted_at(key, seq);
            memtable.get(key, seq, &mut |entry| answer.take(entry));
            if answer.is_final() {
                return Ok(answer.present);
            }
        }
        let mut lookup = None;
        let mut levels = self.version.levels().iter();
        let zero = levels.next().map(|level| &level.tables()[..]).unwrap_or_default();
        let deeper = levels.filter_map(|level| level.find(key));
        for table in zero.iter().filter(|table| table.meta().covers(key)).chain(deeper) {
            answer.deleted = table.tombstones().covering(key, seq);
            let lookup = lookup.get_or_insert_with(|| table.lookup(key, seq));
            table.get(lookup, &mut |entry| answer.take(entry))?;
            if answer.is_final() {
                return Ok(answer.present);
            }
        }
        Ok(false)
    }
}

/// What is known of a key so far.
struct Answer<'a> {
    /// Age of the newest range delete over the key in the source that is being asked; 0 for none.
    deleted: SeqNo,
    said: bool,
    present: bool,
    found: &'a mut dyn FnMut(&[u8]),
}

impl Answer<'_> {
    fn take(&mut self, entry: Entry<'_>) {
        self.said = true;
        if entry.tag.kind() == Kind::Put && entry.tag.seq() > self.deleted {
            self.present = true;
            (self.found)(entry.value);
        }
    }

    fn is_final(&self) -> bool {
        self.said || self.deleted > 0
    }
}

/// The ages that somebody still reads at. A compaction keeps for each the newest version that it sees.
#[derive(Debug, Default)]
pub struct Snapshots {
    open: Mutex<BTreeMap<SeqNo, usize>>,
}

impl Snapshots {
    /// Registers a reader at the age that `visible` tells; read under the lock, so that no compaction can choose
    /// between the reading and the registration.
    pub fn register(&self, visible: impl FnOnce() -> SeqNo) -> SeqNo {
        let mut open = lock(&self.open);
        let seq = visible();
        *open.entry(seq).or_default() += 1;
        seq
    }

    /// Takes one reader at `seq` off the list.
    pub fn release(&self, seq: SeqNo) {
        let mut open = lock(&self.open);
        if let Some(count) = open.get_mut(&seq) {
            *count -= 1;
            if *count == 0 {
                open.remove(&seq);
            }
        }
    }

    /// The ages, ascending.
    pub fn list(&self) -> Vec<SeqNo> {
        lock(&self.open).keys().copied().collect()
    }

    /// How many readers there are.
    pub fn count(&self) -> u64 {
        lock(&self.open).values().map(|count| crate::num::to_u64(*count)).sum()
    }

    /// The oldest age.
    pub fn oldest(&self) -> Option<SeqNo> {
        lock(&self.open).keys().next().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_counted_by_age() {
        let snapshots = Snapshots::default();
        assert_eq!((snapshots.register(|| 5), snapshots.register(|| 5), snapshots.register(|| 3)), (5, 5, 3));
        assert_eq!((snapshots.list(), snapshots.count(), snapshots.oldest()), (vec![3, 5], 3, Some(3)));
        snapshots.release(5);
        snapshots.release(3);
        assert_eq!(snapshots.list(), [5]);
    }
}
