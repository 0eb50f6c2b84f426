//! What an engine is opened with besides a directory and options: files, time, randomness.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use crate::clock::{Clock, RealClock, SimClock};
use crate::os::RealVfs;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::vfs::Vfs;

/// Files, time and randomness. Cheap to clone: clones share all three.
#[derive(Debug, Clone)]
pub struct Env {
    /// The files.
    pub vfs: Arc<dyn Vfs>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    rng: Arc<AtomicU64>,
    /// True if a database that is created stays unfinished until [`Home::finish_backup`](crate::Home::finish_backup).
    pub(crate) is_backup: bool,
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
        let (clock, rng) = (Arc::new(RealClock::default()), Arc::new(AtomicU64::new(seed)));
        Env { vfs, clock, rng, is_backup: false }
    }

    /// A clock that stands still and numbers that follow from `seed`: one seed is one schedule.
    pub fn simulated(vfs: Arc<dyn Vfs>, seed: u64) -> Env {
        let (clock, rng) = (Arc::new(SimClock::default()), Arc::new(AtomicU64::new(seed)));
        Env { vfs, clock, rng, is_backup: false }
    }

    /// The same time and randomness over other files.
    pub fn with_vfs(&self, vfs: Arc<dyn Vfs>) -> Env {
        Env { vfs, ..self.clone() }
    }

    /// The same for a copy that is being made: the database in it exists only once it is whole.
    #[must_use]
    pub fn for_backup(&self) -> Env {
        Env { is_backup: true, ..self.clone() }
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
