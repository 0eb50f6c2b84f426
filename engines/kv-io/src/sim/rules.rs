//! What no engine should ask of a disk, noted while it asks: each is a mistake, whether or not a test can see harm.

use std::path::Path;

use kv_api::Cause;

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::lock;

/// No more findings than this are kept: one tells all.
const FINDINGS_MAX: usize = 20;

/// What was noted.
#[derive(Debug, Default)]
pub(super) struct Rules {
    broken: Mutex<Vec<String>>,
    idle_syncs: AtomicU64,
}

impl Rules {
    pub(super) fn broken(&self) -> Vec<String> {
        lock(&self.broken).clone()
    }

    pub(super) fn idle_syncs(&self) -> u64 {
        self.idle_syncs.load(Ordering::Relaxed)
    }

    /// A sync that had nothing to do: a waste, not a mistake.
    pub(super) fn idle_sync(&self) {
        self.idle_syncs.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note(&self, what: &str, path: &Path, cause: Cause) {
        let mut broken = lock(&self.broken);
        if broken.len() < FINDINGS_MAX {
            broken.push(format!("{what} {} for {cause:?}", path.display()));
        }
    }
}

/// True if a read for this cause knows what is there. Recovery, checks and the log look for what might be there.
pub(super) fn knows_its_place(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::PointRead
            | Cause::ScanRead
            | Cause::IndexRead
            | Cause::FilterRead
            | Cause::UpdateRead
            | Cause::FreeMap
            | Cause::Flush
            | Cause::Compaction { .. }
    )
}
