//! What a handle shares with its snapshots and scans: whether it was closed, counters, how many there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kv_api::{Error, Result};

use crate::counters::Counters;

/// What handle, snapshots and scans share.
#[derive(Debug, Default)]
pub struct Shared {
    /// True once the handle was closed.
    pub closed: AtomicBool,
    /// What users asked for and got.
    pub user: Counters,
    /// Snapshots and scans that are open.
    pub views_open: AtomicU64,
    /// Operations committed since opening.
    pub seq: AtomicU64,
}

impl Shared {
    /// Refuses a call on a closed handle.
    ///
    /// # Errors
    /// `Closed`.
    pub fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }
}

/// An open snapshot or scan, counted.
pub struct Held(Arc<Shared>);

impl Held {
    /// Counts one more.
    pub fn new(shared: &Arc<Shared>) -> Held {
        shared.views_open.fetch_add(1, Ordering::Relaxed);
        Held(Arc::clone(shared))
    }

    /// What handle, snapshots and scans share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.views_open.fetch_sub(1, Ordering::Relaxed);
    }
}
