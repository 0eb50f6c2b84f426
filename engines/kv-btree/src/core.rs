//! What the handle, its snapshots and the upkeep threads share: the store, the log, and the rules between them.
//! When to checkpoint and when a writer must wait are decided here, by [`Pressure`], and acted on.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::Duration;

use kv_api::{Batch, Cause, Error, ErrorKind, Event, EventListener, Limits, RecoveryReport, Result, SeqNo};
use kv_io::commit::{Apply, CommitLog, Room};
use kv_io::counters::ShardedCounter;
use kv_io::executor::{Executor, Upkeep};
use kv_io::home::Home;
use kv_io::meter::Meter;
use kv_io::{Clock, Env};

use crate::checkpoint::{self, Store};
use crate::options::BTreeOptions;
use crate::pager::lock;
use crate::recovery;

/// What users asked for.
#[derive(Debug, Default)]
pub struct UserCounters {
    /// Point reads.
    pub gets: ShardedCounter,
    /// Those that found a value.
    pub hits: ShardedCounter,
    /// Scans opened.
    pub scans: ShardedCounter,
    /// Entries that scans returned.
    pub scanned: ShardedCounter,
    /// Operations committed.
    pub ops: AtomicU64,
    /// User bytes committed.
    pub bytes: AtomicU64,
    /// Batches committed.
    pub commits: AtomicU64,
}

/// Waiting for one reason.
#[derive(Debug, Default)]
pub struct StallCounter {
    /// How often.
    pub count: AtomicU64,
    /// How long in all.
    pub wall_ns: AtomicU64,
}

impl StallCounter {
    fn add(&self, wall_ns: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.wall_ns.fetch_add(wall_ns, Ordering::Relaxed);
    }
}

/// Why a writer waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Too many pages are dirty.
    DirtyLimit,
    /// The log is too long.
    LogLimit,
}

impl Wait {
    /// Its name in the statistics.
    pub fn name(self) -> &'static str {
        match self {
            Wait::DirtyLimit => "dirty limit",
            Wait::LogLimit => "log limit",
        }
    }
}

/// Longest time that a commit is held back, in nanoseconds.
const DELAY_NS_MAX: u64 = 1_000_000;

/// What presses for a checkpoint.
#[derive(Debug, Clone, Copy)]
pub struct Pressure {
    /// Dirty pages.
    pub dirty: usize,
    /// Dirty pages at which a checkpoint begins.
    pub dirty_start: usize,
    /// Dirty pages at which writers wait.
    pub dirty_max: usize,
    /// Bytes of log since the last checkpoint.
    pub log_bytes: u64,
    /// Bytes of log at which a checkpoint begins.
    pub log_bytes_max: u64,
}

impl Pressure {
    /// True if a checkpoint is due.
    pub fn wants_checkpoint(&self) -> bool {
        self.dirty >= self.dirty_start || self.log_bytes > self.log_bytes_max
    }

    /// How long a commit is held back while a checkpoint runs and the log grows past its limit: nothing at the
    /// limit, a millisecond where writers would have to wait, so that they do not run into a wall.
    pub fn delay_ns(&self) -> u64 {
        let over = self.log_bytes.saturating_sub(self.log_bytes_max);
        let share = u128::from(over.min(self.log_bytes_max)) * u128::from(DELAY_NS_MAX);
        u64::try_from(share / u128::from(self.log_bytes_max.max(1))).unwrap_or(DELAY_NS_MAX)
    }

    /// Why a writer must wait while a checkpoint runs. Without one, a commit makes its own room.
    pub fn stalls(&self) -> Option<Wait> {
        if self.dirty >= self.dirty_max {
            Some(Wait::DirtyLimit)
        } else if self.log_bytes / 2 > self.log_bytes_max {
            Some(Wait::LogLimit)
        } else {
            None
        }
    }
}

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
    /// Runs checkpoints.
    pub executor: Arc<Executor>,
    /// What opening found.
    pub report: RecoveryReport,
    /// What users asked for.
    pub user: UserCounters,
    /// Waiting for dirty pages and for the log, and being held back.
    pub stalls: [StallCounter; 3],
    clock: Arc<dyn Clock>,
    schedule: Mutex<Schedule>,
    poisoned: OnceLock<Error>,
    closed: AtomicBool,
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
            options,
            store: opened.store,
            log: opened.log,
            executor,
            report: opened.report,
            user: UserCounters::default(),
            stalls: Default::default(),
            schedule: Mutex::default(),
            poisoned: OnceLock::new(),
            closed: AtomicBool::new(false),
            listeners: RwLock::default(),
        }
    }

    /// Refuses everything once the engine is closed.
    ///
    /// # Errors
    /// `Closed`.
    #[inline]
    pub fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    /// False once a failure may have left a commit half done in memory.
    pub fn is_settled(&self) -> bool {
        self.poisoned.get().is_none()
    }

    /// The log, if writes are taken.
    ///
    /// # Errors
    /// `Closed`, `ReadOnly`, `Poisoned`.
    pub fn log(&self) -> Result<&CommitLog> {
        self.check()?;
        self.log.as_ref().ok_or(Error::ReadOnly { action: "write" })
    }

    /// From now on every call gives `Closed`. True the first time.
    pub fn set_closed(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
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
    fn must_wait(&self) -> Option<Wait> {
        let wait = self.pressure().stalls()?;
        let schedule = lock(&self.schedule);
        // While a checkpoint writes it makes room; while it syncs, a commit that needs room writes pages itself.
        let is_due = if wait == Wait::DirtyLimit { schedule.is_writing } else { schedule.running };
        drop(schedule);
        (is_due || self.executor.blocked().is_some()).then_some(wait)
    }

    /// Holds a commit back a little while the log outgrows a running checkpoint.
    fn delay(&self) {
        let delay_ns = self.pressure().delay_ns();
        if delay_ns == 0 || !lock(&self.schedule).running {
            return;
        }
        self.clock.sleep(Duration::from_nanos(delay_ns));
        let [_, _, delay] = &self.stalls;
        delay.add(delay_ns);
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
            self.check()?;
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
        if self.poisoned.get().is_some() || self.log.is_none() {
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
        if self.poisoned.set(error.to_poisoned()).is_ok() {
            self.executor.announce();
            self.tell(&Event::Poisoned { cause: error.to_string() });
        }
    }
}

impl Apply for Core {
    fn admit(&self, _bytes: usize, _ops: usize) -> Result<()> {
        let Some(wait) = self.must_wait() else {
            self.delay();
            return Ok(());
        };
        let start_ns = self.clock.now_ns();
        let outcome = self.executor.wait_until(self, None, &mut || {
            Apply::check(self)?;
            Ok(self.must_wait().is_none())
        });
        let wall_ns = self.clock.now_ns().saturating_sub(start_ns);
        let [dirty, log, _] = &self.stalls;
        let stall = if wait == Wait::DirtyLimit { dirty } else { log };
        stall.add(wall_ns);
        self.tell(&Event::Stall { name: wait.name(), wall_ns });
        outcome.map(|_| ())
    }

    fn prepare(&self, bytes: usize, ops: usize) -> Result<Room> {
        let pager = &self.store.pager;
        // What may have to be written before the next checkpoint gets its place in the file now, while the batch
        // can still be refused: large values, and pages for which there is no room in memory.
        let mut writer = self.store.writer();
        let live = writer.space.pages() - writer.space.free();
        let pages = ops.min(live) + 2 * bytes / pager.page_bytes() + 16;
        let pressed = pager.pool.dirty() + pages > writer.dirty_max;
        if pressed || bytes > pager.page_bytes() / 4 {
            let pages = if pressed { pages } else { 2 * bytes / pager.page_bytes() + 4 };
            writer.reserve(pages)?;
        }
        Ok(Room::Ready)
    }

    fn apply(&self, _first_seq: SeqNo, batches: &[&Batch]) -> Result<()> {
        let mut writer = self.store.writer();
        writer.begin();
        for batch in batches {
            recovery::apply_batch(&mut writer, batch)?;
            self.user.ops.fetch_add(batch.len() as u64, Ordering::Relaxed);
            self.user.bytes.fetch_add(batch.user_bytes(), Ordering::Relaxed);
            self.user.commits.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn publish(&self, last_seq: SeqNo) {
        self.store.writer().publish(last_seq);
    }

    fn poison(&self, error: &Error) {
        Upkeep::poison(self, error);
    }

    fn check(&self) -> Result<()> {
        self.check_open()?;
        match self.poisoned.get() {
            Some(error) => Err(error.clone()),
            None if self.options.common.read_only => Err(Error::ReadOnly { action: "write" }),
            None => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_rises_from_a_checkpoint_over_a_delay_to_a_wait() {
        let at = |dirty, log_bytes| Pressure {
            dirty,
            dirty_start: 40,
            dirty_max: 50,
            log_bytes,
            log_bytes_max: 1000,
        };
        assert!(!at(39, 1000).wants_checkpoint() && at(39, 1000).delay_ns() == 0);
        assert!(at(40, 0).wants_checkpoint() && at(0, 1001).wants_checkpoint());
        assert_eq!(at(0, 1500).delay_ns(), DELAY_NS_MAX / 2);
        assert_eq!(at(0, 9000).delay_ns(), DELAY_NS_MAX);
        assert_eq!(at(49, 1999).stalls(), None);
        assert_eq!(at(50, 0).stalls(), Some(Wait::DirtyLimit));
        assert_eq!(at(0, 2002).stalls(), Some(Wait::LogLimit));
    }
}
