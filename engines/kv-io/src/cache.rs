//! The block cache: recently read blocks under a byte budget, in shards, each a CLOCK.
//!
//! CLOCK (Corbato, "A Paging Experiment with the Multics System", 1968) keeps one bit per block instead of a list:
//! a hit sets the bit, and the hand that looks for a victim clears bits until it meets one that is clear. A block
//! enters with its bit clear, so one long scan passes through without pushing out what is asked for twice.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crossbeam::utils::CachePadded;

use crate::sync::Mutex;
use crate::sync::lock;

/// What the cache itself needs for an entry, in bytes; charged on top of what the caller says.
pub const ENTRY_BYTES: u64 = 96;

const SHARDS_MAX: u64 = 16;
/// A shard with less than this could not hold a few large blocks.
const SHARD_BYTES_MIN: u64 = 1 << 20;

/// Blocks by file and offset. `V` is whatever a reader wants to find ready: bytes, or a parsed block.
///
/// ```
/// use std::sync::Arc;
/// use kv_io::cache::BlockCache;
///
/// let cache = BlockCache::new(1 << 20);
/// cache.insert(7, 4096, Arc::new([1_u8; 4096]), 4096);
/// assert_eq!(cache.get(7, 4096).map(|block| block[0]), Some(1));
/// assert!(cache.get(7, 0).is_none());
/// ```
#[derive(Debug)]
pub struct BlockCache<V> {
    shards: Box<[CachePadded<Mutex<Shard<V>>>]>,
}

type Key = (u64, u64);

#[derive(Debug)]
struct Shard<V> {
    index: HashMap<Key, usize, BuildHasherDefault<KeyHasher>>,
    slots: Vec<Option<Entry<V>>>,
    /// Slots that hold nothing.
    free: Vec<usize>,
    hand: usize,
    bytes: u64,
    bytes_max: u64,
}

#[derive(Debug)]
struct Entry<V> {
    key: Key,
    value: Arc<V>,
    charge: u64,
    used: bool,
}

/// Spreads file numbers and offsets, which come from ourselves, faster than a hash made for hostile keys.
#[derive(Debug, Default)]
struct KeyHasher {
    state: u64,
}

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.state ^ (self.state >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, value: u64) {
        self.state = (self.state.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.state ^= self.state >> 29;
    }
}

impl<V> BlockCache<V> {
    /// A cache for at most `bytes_max` bytes. The number of shards follows from it once and for all; a block
    /// larger than a shard's share is not kept. Zero never keeps anything.
    pub fn new(bytes_max: u64) -> BlockCache<V> {
        let count = (bytes_max / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX);
        // The power of two below, so that a mask picks the shard.
        let count = 1 << count.ilog2();
        let share = bytes_max / count;
        let shards = (0..count).map(|_| CachePadded::new(Mutex::new(Shard::new(share)))).collect();
        BlockCache { shards }
    }

    /// The block, if it is here. About 30 ns for a hit, 10 for a miss.
    pub fn get(&self, file: u64, offset: u64) -> Option<Arc<V>> {
        let key = (file, offset);
        let mut shard = lock(self.shard(key));
        let slot = *shard.index.get(&key)?;
        let entry = shard.slots.get_mut(slot)?.as_mut()?;
        entry.used = true;
        Some(Arc::clone(&entry.value))
    }

    /// Keeps a block that takes `charge` bytes, replacing one under the same key. Returns the older ones that had to
    /// go, so that the caller can use their memory again, or drop them while no lock is held.
    pub fn insert(&self, file: u64, offset: u64, value: Arc<V>, charge: u64) -> Vec<Arc<V>> {
        let entry = Entry { key: (file, offset), value, charge: charge + ENTRY_BYTES, used: false };
        let mut evicted = Vec::new();
        lock(self.shard(entry.key)).insert(entry, &mut evicted);
        evicted
    }

    /// Drops the blocks of a file. Costs a look at every entry.
    pub fn remove_file(&self, file: u64) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            for slot in 0..shard.slots.len() {
                if shard.slots.get(slot).and_then(Option::as_ref).is_some_and(|entry| entry.key.0 == file) {
                    shard.take(slot);
                }
            }
        }
    }

    /// Bytes in the cache: what callers charged, and [`ENTRY_BYTES`] for each entry. Never above the budget.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| lock(shard).bytes).sum()
    }

    /// How many blocks there are.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).index.len()).sum()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Changes the budget; what no longer fits goes at once.
    pub fn set_bytes_max(&self, bytes_max: u64) {
        let share = bytes_max / self.shards.len() as u64;
        for shard in &self.shards {
            let mut evicted = Vec::new();
            let mut shard = lock(shard);
            shard.bytes_max = share;
            shard.make_room(0, &mut evicted);
        }
    }

    fn shard(&self, key: Key) -> &Mutex<Shard<V>> {
        let mut hasher = KeyHasher::default();
        hasher.write_u64(key.1);
        hasher.write_u64(key.0);
        let mask = self.shards.len() as u64 - 1;
        // The mask keeps the number below the number of shards, which is a power of two.
        &self.shards[usize::try_from(hasher.finish() & mask).unwrap_or(0)]
    }
}

impl<V> Shard<V> {
    fn new(bytes_max: u64) -> Shard<V> {
        Shard { index: HashMap::default(), slots: Vec::new(), free: Vec::new(), hand: 0, bytes: 0, bytes_max }
    }

    fn insert(&mut self, entry: Entry<V>, evicted: &mut Vec<Arc<V>>) {
        if let Some(slot) = self.index.get(&entry.key).copied() {
            evicted.extend(self.take(slot));
        }
        if entry.charge > self.bytes_max {
            evicted.push(entry.value);
            return;
        }
        self.make_room(entry.charge, evicted);
        self.bytes += entry.charge;
        let slot = self.free.pop().unwrap_or(self.slots.len());
        self.index.insert(entry.key, slot);
        match self.slots.get_mut(slot) {
            Some(place) => *place = Some(entry),
            None => self.slots.push(Some(entry)),
        }
    }

    /// Moves the hand until `charge` more bytes fit. Ends: two rounds empty the shard.
    fn make_room(&mut self, charge: u64, evicted: &mut Vec<Arc<V>>) {
        while self.bytes + charge > self.bytes_max && !self.index.is_empty() {
            let slot = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            match self.slots.get_mut(slot) {
                Some(Some(entry)) if entry.used => entry.used = false,
                Some(Some(_)) => evicted.extend(self.take(slot)),
                Some(None) | None => {}
            }
        }
    }

    fn take(&mut self, slot: usize) -> Option<Arc<V>> {
        let entry = self.slots.get_mut(slot)?.take()?;
        self.index.remove(&entry.key);
        self.free.push(slot);
        self.bytes -= entry.charge;
        Some(entry.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = 1000 - ENTRY_BYTES;

    fn block(byte: u8) -> Arc<Vec<u8>> {
        Arc::new(vec![byte; 4])
    }

    #[test]
    fn the_budget_holds_and_what_is_used_stays() {
        let cache = BlockCache::new(10_000);
        for offset in 0..10 {
            cache.insert(1, offset, block(1), BLOCK);
        }
        assert_eq!((cache.bytes(), cache.len()), (10_000, 10));
        assert!(cache.get(1, 3).is_some());
        for offset in 100..109 {
            cache.insert(1, offset, block(2), BLOCK);
            assert_eq!(cache.bytes(), 10_000);
        }
        assert!(cache.get(1, 3).is_some(), "asked for, so it outlived nine blocks that were not");
        assert!(cache.get(1, 0).is_none());
    }

    #[test]
    fn a_scan_larger_than_the_cache_leaves_what_is_asked_for_again_and_again() {
        let cache = BlockCache::new(50_000);
        for offset in 0..10 {
            cache.insert(1, offset, block(1), BLOCK);
        }
        let mut kept = 0;
        for offset in 0..1000 {
            cache.insert(2, offset, block(2), BLOCK);
            kept += u64::from(cache.get(1, offset % 10).is_some());
        }
        assert_eq!(kept, 1000);
    }

    #[test]
    fn a_zero_budget_and_an_entry_too_large_are_never_kept() {
        let cache = BlockCache::new(0);
        cache.insert(1, 1, block(1), 0);
        assert!(cache.get(1, 1).is_none() && cache.is_empty());
        cache.set_bytes_max(5000);
        cache.insert(1, 1, block(1), 5000);
        assert!(cache.is_empty());
        cache.insert(1, 1, block(1), 100);
        cache.insert(1, 1, block(9), 200);
        assert_eq!((cache.len(), cache.bytes()), (1, 200 + ENTRY_BYTES));
        assert_eq!(cache.get(1, 1), Some(block(9)));
        cache.insert(1, 1, block(1), 5000);
        assert!(cache.get(1, 1).is_none(), "the block it would have replaced is out of date");
    }

    #[test]
    fn a_file_goes_whole_and_a_smaller_budget_holds_at_once() {
        let cache = BlockCache::new(64 << 20);
        for (file, offset) in (0..4).flat_map(|file| (0..500).map(move |offset| (file, offset))) {
            cache.insert(file, offset * 4096, block(1), BLOCK);
        }
        assert_eq!(cache.len(), 2000);
        cache.remove_file(2);
        assert_eq!((cache.len(), cache.bytes()), (1500, 1_500_000));
        assert!(cache.get(2, 4096).is_none() && cache.get(3, 4096).is_some());
        cache.set_bytes_max(160_000);
        assert!(cache.bytes() <= 160_000 && cache.len() > 100);
        cache.insert(2, 0, block(3), BLOCK);
        assert!(cache.get(2, 0).is_some());
    }

    #[test]
    fn threads_share_it_without_losing_the_count() {
        let cache = BlockCache::new(4 << 20);
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let cache = &cache;
                scope.spawn(move || {
                    for step in 0..20_000_u64 {
                        let offset = (step * 7919 + thread * 31) % 8000;
                        match cache.get(1, offset) {
                            Some(found) => assert_eq!(*found, offset),
                            None => drop(cache.insert(1, offset, Arc::new(offset), 4096)),
                        }
                        if step % 5000 == 4999 {
                            cache.remove_file(1);
                        }
                    }
                });
            }
        });
        assert_eq!(cache.bytes(), cache.len() as u64 * (4096 + ENTRY_BYTES));
        assert!(cache.bytes() <= 4 << 20);
    }
}
