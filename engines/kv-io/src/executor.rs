//! Background work: who runs an engine's jobs, and the one way to wait for them.
//!
//! An engine says which job is due ([`Upkeep::next_job`]) and how to do it ([`Upkeep::run`]). The [`Executor`]
//! runs jobs on threads of its own or, with [`Background::Inline`], on the caller at fixed points, so that one
//! seed is one schedule.
//!
//! * A job that fails with `NoSpace` was abandoned cleanly. It is tried again, later and later, and meanwhile
//!   everyone who waits gets the `NoSpace` instead of an endless stall.
//! * Any other failure, and a panic, poisons the engine: no job starts after it, and every waiter wakes.
//!
//! Lock order: the executor calls the engine while it holds no lock of its own.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use kv_api::{Background, Error, ErrorKind, Result};

use crate::clock::Clock;
use crate::sync::thread::{self, JoinHandle, ThreadId};
use crate::sync::{Condvar, Mutex};
use crate::sync::{lock, wait_while};

mod tokens;

#[cfg(test)]
mod tests;

use tokens::Tokens;

/// First pause after a job was abandoned for want of space; it doubles up to [`BACK_OFF_MAX`].
const BACK_OFF_MIN: Duration = Duration::from_millis(10);
/// Longest pause between two attempts at an abandoned job.
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// The background work of an engine.
pub trait Upkeep: Send + Sync + 'static {
    /// One piece of work.
    type Job: Send;

    /// Takes the most urgent job and marks it as running, or says that none is due. Called with no lock of the
    /// executor held, by one thread or several.
    fn next_job(&self) -> Option<Self::Job>;

    /// Does a job. It must not wait through [`Executor::wait_until`].
    ///
    /// # Errors
    /// `NoSpace`: the job was abandoned, its outputs are deleted, and `next_job` will give it again. `Closed`: the
    /// engine was closed meanwhile. Anything else poisons the engine.
    fn run(&self, job: Self::Job) -> Result<()>;

    /// Takes no more writes: called once a job failed for good or panicked.
    fn poison(&self, error: &Error);
}

/// Runs the jobs of one engine.
pub struct Executor {
    background: Background,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    changed: Condvar,
    /// One token asks one worker to look for jobs; there are never more tokens than workers.
    tokens: Tokens,
}

#[derive(Default)]
struct State {
    /// Grows whenever waiters should look again.
    generation: u64,
    stopped: bool,
    /// Why a job was abandoned, until one succeeds.
    blocked: Option<Error>,
    /// Why no job starts any more.
    failed: Option<Error>,
    /// The threads inside a job or looking for one.
    running: Vec<ThreadId>,
    /// The callers inside work of their own that writes files: see [`Executor::enter`].
    callers: Vec<ThreadId>,
}

/// A caller that writes files by itself, until it is dropped.
#[must_use]
pub struct Entered<'a> {
    executor: &'a Executor,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let me = thread::current().id();
        let mut state = lock(&self.executor.state);
        if let Some(place) = state.callers.iter().rposition(|id| *id == me) {
            state.callers.swap_remove(place);
        }
        drop(state);
        self.executor.changed.notify_all();
    }
}

/// What came of looking for a job.
enum Look {
    Idle,
    Done,
    Failed(Error),
}

impl Executor {
    /// An executor without workers; [`Executor::spawn`] starts them.
    pub fn new(background: Background, clock: Arc<dyn Clock>) -> Arc<Executor> {
        let workers = match background {
            Background::Inline => 1,
            Background::Threads(count) => count.max(1),
        };
        let state = Mutex::new(State::default());
        Arc::new(Executor { background, clock, state, changed: Condvar::new(), tokens: Tokens::new(workers) })
    }

    /// Starts the threads that run the jobs of `upkeep`; none with [`Background::Inline`]. The threads keep
    /// `upkeep` alive until the returned [`Workers`] are joined, so `upkeep` must not own them.
    ///
    /// # Errors
    /// `Io` if the system gives no thread; those already started are stopped again.
    pub fn spawn<U: Upkeep>(self: &Arc<Self>, upkeep: &Arc<U>) -> Result<Workers> {
        let mut workers = Workers { executor: Arc::clone(self), threads: Vec::new() };
        let Background::Threads(count) = self.background else { return Ok(workers) };
        for number in 0..count.max(1) {
            let (executor, upkeep) = (Arc::clone(self), Arc::clone(upkeep));
            let thread = thread::Builder::new()
                .name(format!("kv-upkeep-{number}"))
                .spawn(move || executor.work(&*upkeep))
                .map_err(|source| Error::io("start an upkeep thread in", "this process", source))?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// There may be a job: wakes one idle worker. Cheap if all are busy, a system call if one sleeps.
    pub fn notify(&self) {
        // A full channel means that every worker is going to look anyway.
        let _ = self.tokens.give();
    }

    /// Something finished or changed: everyone in [`Executor::wait_until`] looks again.
    pub fn announce(&self) {
        lock(&self.state).generation += 1;
        self.changed.notify_all();
    }

    /// Why jobs are being abandoned, if they are.
    pub fn blocked(&self) -> Option<Error> {
        lock(&self.state).blocked.clone()
    }

    /// With [`Background::Inline`] runs jobs until none is due; with threads only wakes one.
    ///
    /// # Errors
    /// What the first job that did not succeed failed with. A commit that is already acknowledged leaves it to
    /// the next caller; flush and settle pass it on.
    pub fn run_inline<U: Upkeep>(&self, upkeep: &U) -> Result<()> {
        if self.background != Background::Inline {
            self.notify();
            return Ok(());
        }
        loop {
            match self.look(upkeep) {
                Look::Idle => return Ok(()),
                Look::Done => {}
                Look::Failed(error) => return Err(error),
            }
        }
    }

    /// Waits until `ready` says true, and returns true; false if `timeout` passed first. `ready` is asked again
    /// after each job and each [`Executor::announce`], with no lock held. With [`Background::Inline`] the
    /// caller runs the jobs itself, and false also means that no job is left (if a `timeout` was given).
    ///
    /// # Errors
    /// What `ready` or an inline job failed with; `NoSpace` while jobs are being abandoned; `Poisoned` after one
    /// failed for good; `Closed` after [`Executor::stop`]; `InvalidOptions` if inline upkeep has no job left
    /// that could end a wait without `timeout`.
    pub fn wait_until<U: Upkeep>(
        &self,
        upkeep: &U,
        timeout: Option<Duration>,
        ready: &mut dyn FnMut() -> Result<bool>,
    ) -> Result<bool> {
        let start_ns = self.clock.now_ns();
        let mut retried = false;
        loop {
            let seen = lock(&self.state).generation;
            if ready()? {
                return Ok(true);
            }
            let waited = Duration::from_nanos(self.clock.now_ns().saturating_sub(start_ns));
            let left = timeout.map(|timeout| timeout.saturating_sub(waited));
            if left == Some(Duration::ZERO) {
                return Ok(false);
            }
            self.check()?;
            if self.background == Background::Inline {
                if !self.wait_inline(upkeep, seen)? {
                    if timeout.is_some() {
                        return ready();
                    }
                    // One more look at `ready`: another thread's job may have ended between the two looks.
                    if std::mem::replace(&mut retried, true) {
                        return Err(no_job_left());
                    }
                } else {
                    retried = false;
                }
                continue;
            }
            if let Some(error) = self.blocked() {
                return Err(error);
            }
            self.notify();
            let waiting = |state: &mut State| {
                state.generation == seen
                    && !state.stopped
                    && state.blocked.is_none()
                    && state.failed.is_none()
            };
            let (guard, timed_out) = wait_while(&self.changed, lock(&self.state), left, waiting);
            drop(guard);
            if timed_out {
                return ready();
            }
        }
    }

    /// Starts no job any more and wakes everyone; jobs that run are let finish.
    pub fn stop(&self) {
        let mut state = lock(&self.state);
        state.stopped = true;
        state.generation += 1;
        drop(state);
        self.changed.notify_all();
        // One token for each worker, so that all of them see the flag.
        while self.tokens.give() {}
    }

    /// Notes that this thread does work of its own that writes files, until the guard is dropped.
    pub fn enter(&self) -> Entered<'_> {
        lock(&self.state).callers.push(thread::current().id());
        Entered { executor: self }
    }

    /// Waits until no other thread is inside a job or work of its own: only then may somebody else have the directory.
    /// Those who work look at the engine's latch now and then, so it does not take long once that is closed.
    pub fn wait_for_callers(&self) {
        let me = thread::current().id();
        let busy = |state: &mut State| state.running.iter().chain(&state.callers).any(|id| *id != me);
        drop(wait_while(&self.changed, lock(&self.state), None, busy));
    }

    /// `Closed` or `Poisoned` if no job can start any more.
    fn check(&self) -> Result<()> {
        let state = lock(&self.state);
        match &state.failed {
            Some(error) => Err(error.to_poisoned()),
            None if state.stopped => Err(Error::Closed),
            None => Ok(()),
        }
    }

    /// Runs a job here, or waits for one that another caller runs. False if there is neither.
    fn wait_inline<U: Upkeep>(&self, upkeep: &U, seen: u64) -> Result<bool> {
        match self.look(upkeep) {
            Look::Done => return Ok(true),
            Look::Failed(error) => return Err(error),
            Look::Idle => {}
        }
        let me = thread::current().id();
        let others = |state: &State| state.running.iter().any(|id| *id != me);
        let mut waited = false;
        let waiting = |state: &mut State| {
            let wait = state.generation == seen && !state.stopped && others(state);
            waited |= wait;
            wait
        };
        let (state, _) = wait_while(&self.changed, lock(&self.state), None, waiting);
        let moved = state.generation != seen;
        drop(state);
        Ok(waited || moved)
    }

    /// The life of a worker thread.
    fn work<U: Upkeep>(&self, upkeep: &U) {
        let mut back_off = BACK_OFF_MIN;
        loop {
            self.tokens.take();
            loop {
                match self.look(upkeep) {
                    Look::Idle => break,
                    Look::Done => {
                        back_off = BACK_OFF_MIN;
                        // What this job made due may be for another worker.
                        self.notify();
                    }
                    Look::Failed(error) if error.kind() == ErrorKind::NoSpace => {
                        let stopped = |state: &mut State| !state.stopped;
                        drop(wait_while(&self.changed, lock(&self.state), Some(back_off), stopped));
                        back_off = (back_off * 2).min(BACK_OFF_MAX);
                    }
                    Look::Failed(_) => break,
                }
            }
            if lock(&self.state).stopped {
                return;
            }
        }
    }

    /// Takes one job and runs it.
    fn look<U: Upkeep>(&self, upkeep: &U) -> Look {
        {
            let mut state = lock(&self.state);
            if state.stopped || state.failed.is_some() {
                return Look::Idle;
            }
            state.running.push(thread::current().id());
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| upkeep.next_job().map(|job| upkeep.run(job))));
        let look = match outcome {
            Ok(None) => Look::Idle,
            Ok(Some(Ok(()))) => Look::Done,
            // The engine was closed under it: nothing went wrong, and whoever waits looks again.
            Ok(Some(Err(error))) if error.kind() == ErrorKind::Closed => Look::Done,
            Ok(Some(Err(error))) => Look::Failed(error),
            Err(panic) => Look::Failed(panicked(&*panic)),
        };
        if let Look::Failed(error) = &look
            && error.kind() != ErrorKind::NoSpace
        {
            // The job's own panic is what counts; a second one in `poison` changes nothing.
            let _ = catch_unwind(AssertUnwindSafe(|| upkeep.poison(error)));
        }
        self.finish(&look);
        look
    }

    fn finish(&self, look: &Look) {
        let me = thread::current().id();
        let mut state = lock(&self.state);
        if let Some(place) = state.running.iter().rposition(|id| *id == me) {
            state.running.swap_remove(place);
        }
        match look {
            // Nothing is due and nothing runs: whatever was abandoned is no longer wanted.
            Look::Idle if state.running.is_empty() => state.blocked = None,
            Look::Idle => {}
            Look::Done => {
                state.generation += 1;
                state.blocked = None;
            }
            Look::Failed(error) => {
                state.generation += 1;
                if error.kind() == ErrorKind::NoSpace {
                    state.blocked = Some(error.clone());
                } else {
                    state.failed.get_or_insert_with(|| error.clone());
                }
            }
        }
        drop(state);
        self.changed.notify_all();
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Executor({})", self.background)
    }
}

/// What a panic in a job becomes.
fn panicked(payload: &(dyn Any + Send)) -> Error {
    let said = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "no message",
    };
    Error::Poisoned { cause: Arc::from(format!("an upkeep job panicked: {said}")) }
}

fn no_job_left() -> Error {
    Error::invalid(
        "background",
        "with `inline` no job is left that would end this wait; use threads, or raise the memory budget or the log limit",
    )
}

/// The threads of an executor. Dropping them stops and joins them; jobs that run are let finish.
#[derive(Debug)]
pub struct Workers {
    executor: Arc<Executor>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Stops the executor and waits for its threads.
    pub fn join(self) {
        drop(self);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.executor.stop();
        for thread in self.threads.drain(..) {
            // A listener may drop the last handle on a worker: that thread ends by itself.
            if thread.thread().id() != thread::current().id() {
                // A worker catches panics of jobs; there is nothing left to learn from its end.
                let _ = thread.join();
            }
        }
    }
}
