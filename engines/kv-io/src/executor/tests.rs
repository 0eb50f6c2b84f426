//! The executor with threads and inline: order, panics, full disks, waiting, stopping.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::clock::{RealClock, SimClock};

/// What a job of the toy engine does.
#[derive(Debug, Clone, Copy)]
enum Task {
    Count,
    Full,
    Fail,
    Closed,
    Panic,
}

#[derive(Default)]
struct Toy {
    tasks: Mutex<VecDeque<Task>>,
    done: AtomicUsize,
    tries: AtomicUsize,
    /// A full disk heals after this many tries.
    full_for: usize,
    poison: Mutex<Option<String>>,
}

impl Toy {
    fn with(tasks: &[Task], full_for: usize) -> Arc<Toy> {
        Arc::new(Toy { tasks: Mutex::new(tasks.iter().copied().collect()), full_for, ..Toy::default() })
    }

    fn is_done(&self, count: usize) -> Result<bool> {
        Ok(self.done.load(Ordering::SeqCst) >= count)
    }
}

impl Upkeep for Toy {
    type Job = Task;

    fn next_job(&self) -> Option<Task> {
        lock(&self.tasks).pop_front()
    }

    fn run(&self, job: Task) -> Result<()> {
        let tries = self.tries.fetch_add(1, Ordering::SeqCst) + 1;
        match job {
            Task::Fail => return Err(Error::corruption("table", 7, "damaged")),
            Task::Closed => return Err(Error::Closed),
            Task::Panic => panic!("job went wrong"),
            Task::Full if tries <= self.full_for => {
                lock(&self.tasks).push_front(job);
                return Err(Error::NoSpace { action: "write", path: "table".into() });
            }
            Task::Full | Task::Count => {}
        }
        self.done.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn poison(&self, error: &Error) {
        *lock(&self.poison) = Some(error.to_string());
    }
}

fn threads(count: usize) -> Arc<Executor> {
    Executor::new(Background::Threads(count), Arc::new(RealClock::default()))
}

fn inline() -> Arc<Executor> {
    Executor::new(Background::Inline, Arc::new(SimClock::default()))
}

#[test]
fn a_job_that_ends_because_the_engine_was_closed_poisons_nothing() {
    for executor in [inline(), threads(1)] {
        let toy = Toy::with(&[Task::Closed, Task::Count], 0);
        let workers = executor.spawn(&toy).unwrap();
        executor.wait_until(&*toy, None, &mut || toy.is_done(1)).unwrap();
        drop(workers);
        assert!(lock(&toy.poison).is_none() && executor.blocked().is_none());
    }
}

#[test]
fn threads_run_every_job_and_a_drop_joins_them() {
    let (executor, toy) = (threads(2), Toy::with(&[Task::Count; 50], 0));
    let workers = executor.spawn(&toy).unwrap();
    executor.notify();
    assert!(executor.wait_until(&*toy, None, &mut || toy.is_done(50)).unwrap());
    drop(workers);
    assert_eq!(Arc::strong_count(&toy), 1, "the threads gave their handle back");
    assert_eq!(Arc::strong_count(&executor), 1);
}

#[test]
fn inline_runs_jobs_on_the_caller_in_order() {
    let (executor, toy) = (inline(), Toy::with(&[Task::Count; 3], 0));
    let workers = executor.spawn(&toy).unwrap();
    executor.notify();
    assert!(toy.is_done(0).unwrap() && !toy.is_done(1).unwrap(), "nothing runs by itself");
    assert!(executor.wait_until(&*toy, None, &mut || toy.is_done(2)).unwrap());
    assert!(!toy.is_done(3).unwrap(), "no job runs once the wait is over");
    executor.run_inline(&*toy).unwrap();
    assert!(toy.is_done(3).unwrap());
    workers.join();
}

#[test]
fn an_inline_wait_that_no_job_can_end_is_an_error() {
    let (executor, toy) = (inline(), Toy::with(&[Task::Count], 0));
    let error = executor.wait_until(&*toy, None, &mut || Ok(false)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOptions);
    assert!(toy.is_done(1).unwrap());
    let second = Some(Duration::from_secs(1));
    assert!(!executor.wait_until(&*toy, second, &mut || Ok(false)).unwrap());
}

#[test]
fn a_panic_in_a_job_poisons_and_wakes_every_waiter() {
    for executor in [inline(), threads(1)] {
        let toy = Toy::with(&[Task::Panic, Task::Count], 0);
        let workers = executor.spawn(&toy).unwrap();
        let error = executor.wait_until(&*toy, None, &mut || toy.is_done(1)).unwrap_err();
        assert!(error.to_string().contains("job went wrong"), "{error}");
        assert!(lock(&toy.poison).as_ref().is_some_and(|cause| cause.contains("job went wrong")));
        executor.notify();
        drop(workers);
        assert!(!toy.is_done(1).unwrap(), "no job starts after a failure");
    }
}

#[test]
fn a_failed_job_poisons_with_its_own_error() {
    for executor in [inline(), threads(2)] {
        let toy = Toy::with(&[Task::Fail], 0);
        let _workers = executor.spawn(&toy).unwrap();
        let error = executor.wait_until(&*toy, None, &mut || Ok(false)).unwrap_err();
        assert!(error.to_string().contains("damaged at byte 7"), "{error}");
        assert!(lock(&toy.poison).is_some());
    }
}

#[test]
fn a_full_disk_fails_the_waiters_and_is_tried_again_until_it_heals() {
    let (executor, toy) = (threads(1), Toy::with(&[Task::Full], 3));
    let _workers = executor.spawn(&toy).unwrap();
    let mut refused = 0;
    loop {
        match executor.wait_until(&*toy, None, &mut || toy.is_done(1)) {
            Ok(done) => {
                assert!(done);
                break;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NoSpace);
                refused += 1;
                RealClock::default().sleep(Duration::from_millis(1));
            }
        }
    }
    assert!(refused > 0, "waiters learn that the disk is full");
    assert_eq!(toy.tries.load(Ordering::SeqCst), 4);
    assert!(lock(&toy.poison).is_none());
}

#[test]
fn inline_tries_an_abandoned_job_again_at_the_next_wait() {
    let (executor, toy) = (inline(), Toy::with(&[Task::Full], 1));
    let first = executor.wait_until(&*toy, None, &mut || toy.is_done(1));
    assert_eq!(first.unwrap_err().kind(), ErrorKind::NoSpace);
    assert!(executor.blocked().is_some());
    assert!(executor.wait_until(&*toy, None, &mut || toy.is_done(1)).unwrap());
    assert!(executor.blocked().is_none());
}

#[test]
fn an_announcement_wakes_a_waiter_and_a_timeout_ends_a_wait() {
    let (executor, toy) = (threads(1), Toy::with(&[], 0));
    let _workers = executor.spawn(&toy).unwrap();
    let tenth = Some(Duration::from_millis(20));
    assert!(!executor.wait_until(&*toy, tenth, &mut || Ok(false)).unwrap());
    thread::scope(|scope| {
        let waiter = scope.spawn(|| executor.wait_until(&*toy, None, &mut || toy.is_done(1)));
        toy.done.store(1, Ordering::SeqCst);
        executor.announce();
        assert!(waiter.join().unwrap().unwrap());
    });
}

#[test]
fn stopping_wakes_waiters_with_closed() {
    let (executor, toy) = (threads(1), Toy::with(&[], 0));
    let workers = executor.spawn(&toy).unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| executor.wait_until(&*toy, None, &mut || Ok(false)));
        workers.join();
        assert_eq!(waiter.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    });
}

#[test]
fn inline_callers_wait_for_each_others_jobs() {
    let (executor, toy) = (inline(), Toy::with(&[Task::Count; 200], 0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| executor.wait_until(&*toy, None, &mut || toy.is_done(200)).unwrap());
        }
    });
    assert!(toy.is_done(200).unwrap());
}

#[test]
fn an_abandoned_job_that_is_no_longer_wanted_blocks_nobody() {
    let (executor, toy) = (inline(), Toy::with(&[Task::Full], 1));
    assert!(executor.run_inline(&*toy).is_err() && executor.blocked().is_some());
    lock(&toy.tasks).clear();
    executor.run_inline(&*toy).unwrap();
    assert!(executor.blocked().is_none());
}
