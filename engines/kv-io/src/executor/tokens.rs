//! Tokens: how idle workers are woken. A channel, for giving one is a single atomic step when all are busy; under the model
//! checker, which does not know channels of others, a count behind a lock.

#[cfg(not(feature = "shuttle"))]
use crossbeam::channel::{Receiver, Sender, bounded};

#[cfg(feature = "shuttle")]
use crate::sync::{Condvar, Mutex, lock, wait_while};

/// At most so many tokens, given by anyone and taken by workers.
#[cfg(not(feature = "shuttle"))]
pub(super) struct Tokens {
    give: Sender<()>,
    take: Receiver<()>,
}

#[cfg(not(feature = "shuttle"))]
impl Tokens {
    /// None yet, and never more than `most`.
    pub(super) fn new(most: usize) -> Tokens {
        let (give, take) = bounded(most);
        Tokens { give, take }
    }

    /// Adds one; false if there are enough.
    pub(super) fn give(&self) -> bool {
        self.give.try_send(()).is_ok()
    }

    /// Waits for one and takes it.
    pub(super) fn take(&self) {
        // Both ends live here, so the channel is never closed.
        let _ = self.take.recv();
    }
}

/// At most so many tokens, given by anyone and taken by workers.
#[cfg(feature = "shuttle")]
pub(super) struct Tokens {
    most: usize,
    count: Mutex<usize>,
    given: Condvar,
}

#[cfg(feature = "shuttle")]
impl Tokens {
    /// None yet, and never more than `most`.
    pub(super) fn new(most: usize) -> Tokens {
        Tokens { most, count: Mutex::new(0), given: Condvar::new() }
    }

    /// Adds one; false if there are enough.
    pub(super) fn give(&self) -> bool {
        let mut count = lock(&self.count);
        if *count == self.most {
            return false;
        }
        *count += 1;
        drop(count);
        self.given.notify_one();
        true
    }

    /// Waits for one and takes it.
    pub(super) fn take(&self) {
        let (mut count, _) = wait_while(&self.given, lock(&self.count), None, |count| *count == 0);
        *count -= 1;
    }
}
