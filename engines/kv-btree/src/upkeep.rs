//! Upkeep: which job is due. There is one kind, a checkpoint, and one runs at a time.
//!
//! `pressure.rs` decides when one is due; here it is run, and waited for.

use std::time::Duration;

use kv_api::{Cause, Error, Event, Result};
use kv_io::commit::Apply;
use kv_io::executor::Upkeep;
use kv_io::sync::lock;

use crate::checkpoint;
use crate::core::Core;

/// One piece of upkeep: a checkpoint, which serves those who asked up to this number.
#[derive(Debug)]
pub struct Job {
    asked: u64,
}

impl Core {
    /// Asks for a checkpoint and waits until one that began later is done.
    ///
    /// # Errors
    /// `NoSpace`, `Poisoned`, `Closed`, `ReadOnly`.
    pub fn checkpoint(&self, timeout: Option<Duration>) -> Result<bool> {
        self.log()?;
        let target = {
            let mut jobs = lock(&self.jobs);
            jobs.asked += 1;
            jobs.asked
        };
        self.executor.notify();
        self.executor.wait_until(self, timeout, &mut || {
            self.latch.check_writable()?;
            Ok(lock(&self.jobs).done >= target)
        })
    }

    /// If callers do the upkeep themselves and some may be due, does it. A commit that is acknowledged already ends
    /// with this: a job that fails tells the next caller.
    pub fn run_inline(&self) {
        if self.pressure().wants_checkpoint() {
            // A job that poisoned the engine shows in every later call; one for want of space is tried again.
            let _ = self.executor.run_inline(self);
        }
    }

    fn run_checkpoint(&self) -> Result<()> {
        let log = self.log()?;
        let start_ns = self.env.clock.now_ns();
        let mut durable = lock(&self.store.durable);
        let frozen = log.frozen(self, |last_seq| checkpoint::freeze(&self.store, &durable, last_seq))??;
        // The pages that died before this belong to the last checkpoint: who waits for their number to fall goes on.
        self.executor.announce();
        let mut written = || {
            lock(&self.jobs).is_writing = false;
            self.executor.announce();
        };
        let done = checkpoint::write(&self.store, &mut durable, frozen, Cause::Checkpoint, &mut written)?;
        drop(durable);
        log.release(done.replay_from)?;
        let wall_ns = self.env.clock.now_ns().saturating_sub(start_ns);
        let seq = done.replay_from.saturating_sub(1);
        self.listeners.tell(&Event::Checkpoint { pages: done.pages, seq, wall_ns });
        Ok(())
    }
}

impl Upkeep for Core {
    type Job = Job;

    fn next_job(&self) -> Option<Job> {
        if self.latch.check_writable().is_err() {
            return None;
        }
        let is_pressed = self.pressure().wants_checkpoint();
        let mut jobs = lock(&self.jobs);
        if jobs.running || !(is_pressed || jobs.asked > jobs.done) {
            return None;
        }
        jobs.running = true;
        jobs.is_writing = true;
        Some(Job { asked: jobs.asked })
    }

    fn run(&self, job: Job) -> Result<()> {
        let outcome = self.run_checkpoint();
        let mut jobs = lock(&self.jobs);
        jobs.running = false;
        jobs.is_writing = false;
        if outcome.is_ok() {
            jobs.done = jobs.done.max(job.asked);
            jobs.checkpoints += 1;
        }
        drop(jobs);
        self.executor.announce();
        outcome
    }

    fn poison(&self, error: &Error) {
        Apply::poison(self, error);
        self.listeners.deliver();
    }
}
