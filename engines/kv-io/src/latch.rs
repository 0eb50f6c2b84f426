//! Latch: whether an engine's handle still takes reads and writes. What closes it never opens again.

use std::sync::OnceLock;

use kv_api::{Error, Result};

use crate::sync::atomic::{AtomicBool, Ordering};

/// Closed, poisoned, read-only.
#[derive(Debug)]
pub struct Latch {
    read_only: bool,
    closed: AtomicBool,
    poisoned: OnceLock<Error>,
}

impl Latch {
    /// Open.
    pub fn new(read_only: bool) -> Latch {
        Latch { read_only, closed: AtomicBool::new(false), poisoned: OnceLock::new() }
    }

    /// Refuses everything once closed.
    ///
    /// # Errors
    /// `Closed`.
    #[inline]
    pub fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    /// Refuses writes once closed or poisoned, or if opened read-only.
    ///
    /// # Errors
    /// `Closed`, `ReadOnly`, `Poisoned`.
    pub fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        if self.read_only {
            return Err(Error::ReadOnly { action: "write" });
        }
        self.poisoned.get().map_or(Ok(()), |error| Err(error.to_poisoned()))
    }

    /// Takes no more writes; true if it was this error that did it.
    pub fn poison(&self, error: &Error) -> bool {
        self.poisoned.set(error.clone()).is_ok()
    }

    /// True if an error closed it for writes.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.get().is_some()
    }

    /// Takes nothing any more; true if it was open.
    pub fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }
}
