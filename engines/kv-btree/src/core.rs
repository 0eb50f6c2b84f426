//! What the handle, its snapshots and the upkeep threads share: the store, the log, and the rules between them.
//! When a checkpoint is due is decided in `pressure.rs` and acted on here; how a batch gets in stands in `apply.rs`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use kv_api::{Cause, Error, ErrorKind, Event, EventListener, Limits, RecoveryReport, Result};
use kv_io::commit::CommitLog;
use kv_io::counters::{StallCounter, UserCounters};
use kv_io::executor::{Executor, Upkeep};
use kv_io::home::Home;
use kv_io::latch::Latch;
use kv_io::meter::Meter;
use kv_io::sync::lock;
use kv_io::{Clock, Env};

use crate::checkpoint::{self, Store};
use crate::options::BTreeOptions;
use crate::pressure::{Pressure, Wait};
use crate::recovery;

/// Checkpoints asked for and done.
#[derive(Debug, Default)]
struct Schedule {
    running: bool,
    /// True until the pages of the running checkpoint are in the file.
    is_writing: bool,
    asked: u64,
    done: u64,
    checkpoints: u64,
}

/// A checkpoint to do: it serves those who asked up to this number.
#[derive(Debug)]
pub struct CheckpointJob {
    asked: u64,
}

/// The shared part of an engine.
pub struct Core {
    /// Its directory.
    pub dir: PathBuf,
    /// What it was opened with; its files are not those of the meter.
    pub env: Env,
    /// Held until the engine is closed: with it goes the lock.
    pub home: Mutex<Option<Home>>,
    /// What moved through its files.
    pub meter: Arc<Meter>,
    /// How it was opened.
    pub options: BTreeOptions,
    /// The largest key, value and batch.
    pub limits: Limits,
    /// The tree.
    pub store: Store,
    /// The log; `None` if read-only.
    pub log: Option<CommitLog>,
    /// Closed, poisoned, read-only.
    pub latch: Latch,
    /// Runs checkpoints.
    pub executor: Arc<Executor>,
    /// What opening found.
    pub report: RecoveryReport,
    /// What users asked for.
    pub user: UserCounters,
    /// How often and how long writers waited, in the order of [`Wait::ALL`].
    pub stalls: [StallCounter; 3],
    /// The time.
    pub clock: Arc<dyn Clock>,
    schedule: Mutex<Schedule>,
    listeners: RwLock<Vec<Arc<dyn EventListener>>>,
}

impl Core {
    /// The engine over what recovery opened.
    pub fn new(
        env: Env,
        home: Home,
        options: BTreeOptions,
        opened: recovery::Opened,
        executor: Arc<Executor>,
    ) -> Core {
        Core {
            dir: home.dir.clone(),
            meter: Arc::clone(&home.meter),
            clock: Arc::clone(&env.clock),
            env,
            home: Mutex::new(Some(home)),
            limits: options.limits(),
            latch: Latch::new(options.common.read_only),
            options,
            store: opened.store,
            log: opened.log,
            executor,
            report: opened.report,
            user: UserCounters::default(),
            stalls: Default::default(),
            schedule: Mutex::default(),
            listeners: RwLock::default(),
        }
    }

    /// Refuses everything once the engine is closed.
    ///
    /// # Errors
    /// `Closed`.
    #[inline]
    pub fn check_open(&self) -> Result<()> {
        self.latch.check_open()
    }

    /// False once a failure may have left a commit half done in memory.
    pub fn is_settled(&self) -> bool {
        !self.latch.is_poisoned()
    }

    /// The log, if writes are taken.
    ///
    /// # Errors
    /// `Closed`, `ReadOnly`, `Poisoned`.
    pub fn log(&self) -> Result<&CommitLog> {
        self.latch.check_writable()?;
        self.log.as_ref().ok_or(Error::ReadOnly { action: "write" })
    }

    /// From now on every call gives `Closed`. True the first time.
    pub fn set_closed(&self) -> bool {
        self.latch.close()
    }

    /// Checkpoints done.
    pub fn checkpoints(&self) -> u64 {
        lock(&self.schedule).checkpoints
    }

    /// Adds a listener.
    pub fn listen(&self, listener: Arc<dyn EventListener>) {
        self.listeners.write().unwrap_or_else(std::sync::PoisonError::into_inner).push(listener);
    }

    /// Tells the listeners. Called outside all locks.
    pub fn tell(&self, event: &Event) {
        let listeners = self.listeners.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        listeners.iter().for_each(|listener| listener.on_event(event));
    }

    /// What presses now.
    pub fn pressure(&self) -> Pressure {
        let pool = &self.store.pager.pool;
        Pressure {
            dirty: pool.dirty(),
            dirty_start: (pool.pages_max() * usize::from(self.options.dirty_start) / 100).max(4),
            dirty_max: (pool.pages_max() / 2).max(5),
            log_bytes: self.log.as_ref().map_or(0, CommitLog::log_bytes),
            log_bytes_max: self.options.common.wal_bytes_max(),
        }
    }

    /// Why a commit must wait now.
    pub fn must_wait(&self) -> Option<Wait> {
        let wait = self.pressure().stalls()?;
        let schedule = lock(&self.schedule);
        // While a checkpoint writes it makes room; while it syncs, a commit that needs room writes pages itself.
        let is_due = if wait == Wait::DirtyLimit { schedule.is_writing } else { schedule.running };
        drop(schedule);
        (is_due || self.executor.blocked().is_some()).then_some(wait)
    }

    /// True while a checkpoint runs.
    pub fn is_checkpointing(&self) -> bool {
        lock(&self.schedule).running
    }

    /// Takes note of a wait.
    pub fn waited(&self, wait: Wait, wall_ns: u64) {
        let stalls = Wait::ALL.iter().zip(&self.stalls);
        stalls.filter(|(own, _)| **own == wait).for_each(|(_, stall)| stall.add(wall_ns));
    }

    /// Asks for a checkpoint and waits until one that began later is done.
    ///
    /// # Errors
    /// `NoSpace`, `Poisoned`, `Closed`, `ReadOnly`.
    pub fn checkpoint(&self, timeout: Option<Duration>) -> Result<bool> {
        self.log()?;
        let target = {
            let mut schedule = lock(&self.schedule);
            schedule.asked += 1;
            schedule.asked
        };
        self.executor.notify();
        self.executor.wait_until(self, timeout, &mut || {
            self.latch.check_writable()?;
            Ok(lock(&self.schedule).done >= target)
        })
    }

    fn run_checkpoint(&self) -> Result<()> {
        let log = self.log()?;
        let start_ns = self.clock.now_ns();
        let mut durable = lock(&self.store.durable);
        let frozen = log.frozen(|last_seq| checkpoint::freeze(&self.store, &durable, last_seq))?;
        let mut written = || {
            lock(&self.schedule).is_writing = false;
            self.executor.announce();
        };
        let done = checkpoint::write(&self.store, &mut durable, frozen, Cause::Checkpoint, &mut written)?;
        drop(durable);
        log.release(done.replay_from)?;
        let wall_ns = self.clock.now_ns().saturating_sub(start_ns);
        let seq = done.replay_from.saturating_sub(1);
        self.tell(&Event::Checkpoint { pages: done.pages, seq, wall_ns });
        Ok(())
    }
}

impl Upkeep for Core {
    type Job = CheckpointJob;

    fn next_job(&self) -> Option<CheckpointJob> {
        if self.latch.is_poisoned() || self.log.is_none() {
            return None;
        }
        let is_pressed = self.pressure().wants_checkpoint();
        let mut schedule = lock(&self.schedule);
        if schedule.running || !(is_pressed || schedule.asked > schedule.done) {
            return None;
        }
        schedule.running = true;
        schedule.is_writing = true;
        Some(CheckpointJob { asked: schedule.asked })
    }

    fn run(&self, job: CheckpointJob) -> Result<()> {
        let outcome = self.run_checkpoint();
        let mut schedule = lock(&self.schedule);
        schedule.running = false;
        schedule.is_writing = false;
        if outcome.is_ok() {
            schedule.done = schedule.done.max(job.asked);
            schedule.checkpoints += 1;
        }
        drop(schedule);
        self.executor.announce();
        outcome
    }

    fn poison(&self, error: &Error) {
        if self.latch.poison(error) {
            self.executor.announce();
            self.tell(&Event::Poisoned { cause: error.to_string() });
        }
    }
}

impl Core {
    /// After a commit: whoever does the upkeep looks for a job, if one is due. Under inline upkeep that is this
    /// caller, whose commit is acknowledged already: a failed job is the next caller's business.
    pub fn after_commit(&self) {
        if self.pressure().wants_checkpoint() {
            // A job that poisoned the engine shows in every later call; one for want of space is tried again.
            let _ = self.executor.run_inline(self);
        }
    }

    /// True if `error` only says that a checkpoint found no room: nothing is lost, the log has everything.
    pub fn is_no_space(error: &Error) -> bool {
        error.kind() == ErrorKind::NoSpace
    }
}
