//! What a database must hold: a `BTreeMap`, kept outside the engine under test, and the walks over it.
//!
//! It is written without a look at [`kv_api::MemoryEngine`], which is itself under test.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use kv_api::{Batch, Direction, KeyRange, Op};

/// Keys and their values.
pub type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Applies `batch` to `map`, in order.
pub fn apply(map: &mut Map, batch: &Batch) {
    for op in batch.ops() {
        match op {
            Op::Put { key, value } => {
                map.insert(key.to_vec(), value.to_vec());
            }
            Op::Delete { key } => {
                map.remove(key);
            }
            Op::DeleteRange { start, end } => {
                let to = end.map_or(Bound::Unbounded, |end| Bound::Excluded(end.to_vec()));
                // An inverted range is empty to an engine, and a panic to the map.
                if end.is_none_or(|end| start < end) {
                    map.extract_if((Bound::Included(start.to_vec()), to), |_, _| true).for_each(drop);
                }
            }
        }
    }
}

/// True if `key` lies in `range`: said again here, so that a mistake in [`KeyRange`] shows.
pub fn contains(range: KeyRange<'_>, key: &[u8]) -> bool {
    let from = match range.start {
        Bound::Unbounded => true,
        Bound::Included(start) => start <= key,
        Bound::Excluded(start) => start < key,
    };
    let to = match range.end {
        Bound::Unbounded => true,
        Bound::Included(end) => key <= end,
        Bound::Excluded(end) => key < end,
    };
    from && to
}

/// The walk a scan must make: the entries of its range in its order, and how far it is.
#[derive(Debug, Clone)]
pub struct Walk {
    map: Arc<Map>,
    keys: Vec<Vec<u8>>,
    direction: Direction,
    at: usize,
}

impl Walk {
    /// A walk over the entries of `map` that lie in `range`.
    pub fn new(map: &Arc<Map>, range: KeyRange<'_>, direction: Direction) -> Walk {
        let mut keys: Vec<_> = map.keys().filter(|key| contains(range, key)).cloned().collect();
        if direction == Direction::Reverse {
            keys.reverse();
        }
        Walk { map: Arc::clone(map), keys, direction, at: 0 }
    }

    /// The next entry.
    pub fn next_entry(&mut self) -> Option<(&[u8], &[u8])> {
        let key = self.keys.get(self.at)?;
        self.at += 1;
        Some((key, &self.map[key]))
    }

    /// True if no entry is left.
    pub fn is_done(&self) -> bool {
        self.at == self.keys.len()
    }

    /// Moves to the first entry at or after `key`, or at or before it in reverse.
    pub fn seek(&mut self, key: &[u8]) {
        let before = |known: &Vec<u8>| match self.direction {
            Direction::Forward => known.as_slice() < key,
            Direction::Reverse => known.as_slice() > key,
        };
        self.at = self.keys.iter().take_while(|known| before(known)).count();
    }
}
