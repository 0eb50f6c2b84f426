//! Locks that outlive a panic: a thread that panicked while it held one does not take the others down with it.
//!
//! A panic inside an engine poisons the engine's handle, which every caller checks. The poison flag that std
//! keeps beside each mutex would only turn one typed error into many panics.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Locks, whether or not a thread panicked while it held the lock.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits on `condvar` as long as `waiting` says so, or for `time` if one is given. Returns the guard, and
/// whether the time ran out.
pub fn wait_while<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    time: Option<Duration>,
    waiting: impl FnMut(&mut T) -> bool,
) -> (MutexGuard<'a, T>, bool) {
    match time {
        None => (condvar.wait_while(guard, waiting).unwrap_or_else(PoisonError::into_inner), false),
        Some(time) => {
            let (guard, result) =
                condvar.wait_timeout_while(guard, time, waiting).unwrap_or_else(PoisonError::into_inner);
            (guard, result.timed_out())
        }
    }
}
