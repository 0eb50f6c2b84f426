//! Locks that outlive a panic: a thread that panicked while it held one does not take the others down with it.
//!
//! A panic inside an engine poisons the engine's handle, which every caller checks. The poison flag that std
//! keeps beside each mutex would only turn one typed error into many panics.

//!
//! Everything that threads of an engine meet at comes from here, so that a build with the cargo feature `shuttle` can put
//! a scheduler under it that tries one order of threads after another (`tests/schedules.rs`). Mere counters stay with std.

use std::sync::PoisonError;
use std::time::Duration;

#[cfg(feature = "shuttle")]
pub use shuttle::{
    sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic},
    thread,
};
#[cfg(not(feature = "shuttle"))]
pub use std::{
    sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic},
    thread,
};

/// Locks, whether or not a thread panicked while it held the lock.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits on `condvar` as long as `waiting` says so, or for `time` if one is given. Returns the guard, and
/// whether the time ran out.
pub fn wait_while<'a, T>(
    condvar: &Condvar,
    mut guard: MutexGuard<'a, T>,
    time: Option<Duration>,
    mut waiting: impl FnMut(&mut T) -> bool,
) -> (MutexGuard<'a, T>, bool) {
    // Not the loops of `Condvar`: once a thread has panicked with the lock they come back after a single wait, whatever
    // is being waited for. Each wait gets the whole time: who is woken often and in vain waits longer.
    while waiting(&mut guard) {
        guard = match time {
            None => condvar.wait(guard).unwrap_or_else(PoisonError::into_inner),
            Some(time) => {
                let (guard, result) = condvar
                    .wait_timeout_while(guard, time, &mut waiting)
                    .unwrap_or_else(PoisonError::into_inner);
                if result.timed_out() {
                    return (guard, true);
                }
                guard
            }
        };
    }
    (guard, false)
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_saw_a_panic_waits_as_long_as_any_other() {
        let (mutex, condvar) = (Mutex::new(0), Condvar::new());
        thread::scope(|scope| {
            let panicked = scope.spawn(|| {
                let _guard = lock(&mutex);
                std::panic::resume_unwind(Box::new("on purpose"));
            });
            assert!(panicked.join().is_err() && mutex.is_poisoned());
            let waits = [None, Some(Duration::from_secs(60))].map(|time| {
                let (mutex, condvar) = (&mutex, &condvar);
                scope.spawn(move || {
                    let (count, timed_out) = wait_while(condvar, lock(mutex), time, |count| *count < 50);
                    (*count, timed_out)
                })
            });
            for _ in 0..50 {
                *lock(&mutex) += 1;
                condvar.notify_all();
                thread::yield_now();
            }
            for wait in waits {
                assert_eq!(wait.join().ok(), Some((50, false)));
            }
        });
    }
}
