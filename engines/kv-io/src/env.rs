//! What an engine is opened with besides a directory and options: files, time, randomness.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::{Clock, RealClock, SimClock};
use crate::os::RealVfs;
use crate::vfs::Vfs;

/// Files, time and randomness. Cheap to clone: clones share all three.
#[derive(Debug, Clone)]
pub struct Env {
    /// The files.
    pub vfs: Arc<dyn Vfs>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    rng: Arc<AtomicU64>,
}

impl Env {
    /// The machine: its files, its clock, true randomness.
    pub fn os() -> Env {
        Env::real(RealVfs::new())
    }

    /// The machine's clock and true randomness over `vfs`.
    pub fn real(vfs: Arc<dyn Vfs>) -> Env {
        // The keys of a new RandomState come from the operating system.
        let seed = RandomState::new().build_hasher().finish();
        Env { vfs, clock: Arc::new(RealClock::default()), rng: Arc::new(AtomicU64::new(seed)) }
    }

    /// A clock that stands still and numbers that follow from `seed`: one seed is one schedule.
    pub fn simulated(vfs: Arc<dyn Vfs>, seed: u64) -> Env {
        Env { vfs, clock: Arc::new(SimClock::default()), rng: Arc::new(AtomicU64::new(seed)) }
    }

    /// The same time and randomness over other files.
    pub fn with_vfs(&self, vfs: Arc<dyn Vfs>) -> Env {
        Env { vfs, clock: Arc::clone(&self.clock), rng: Arc::clone(&self.rng) }
    }

    /// The next random number (SplitMix64; Steele, Lea and Flood, OOPSLA 2014).
    pub fn random(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.rng.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
