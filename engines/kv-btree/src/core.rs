//! Core: what the handle, its snapshots and its threads share. How a batch gets in stands in `apply.rs`, how upkeep
//! is chosen and run in `upkeep.rs`.
//!
//! Lock order: durable > commit lock (in the log) > writer > `jobs`.

use std::path::PathBuf;
use std::sync::Arc;

use kv_api::{Error, Limits, RecoveryReport, Result};
use kv_io::Env;
use kv_io::commit::CommitLog;
use kv_io::counters::{StallCounter, UserCounters};
use kv_io::executor::Executor;
use kv_io::home::Home;
use kv_io::latch::Latch;
use kv_io::listeners::Listeners;
use kv_io::meter::Meter;
use kv_io::sync::Mutex;
use kv_io::sync::atomic::Ordering;
use kv_io::sync::lock;

use crate::checkpoint::Store;
use crate::jobs::Jobs;
use crate::options::BTreeOptions;
use crate::pressure::{self, Pressure, Wait};
use crate::recovery;

/// The shared part of an engine.
pub struct Core {
    /// Its directory.
    pub dir: PathBuf,
    /// Files (metered), time, randomness.
    pub env: Env,
    /// The same with the files as they were given, for a backup: what it writes is not this engine's.
    pub plain_env: Env,
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
    pub recovery: RecoveryReport,
    /// What users asked for.
    pub user: UserCounters,
    /// How often and how long writers waited, in the order of [`Wait::ALL`].
    pub stalls: [StallCounter; 4],
    /// Who is told what happens.
    pub listeners: Listeners,
    pub(crate) jobs: Mutex<Jobs>,
}

impl Core {
    /// The engine over what recovery opened.
    pub fn new(
        plain_env: Env,
        home: Home,
        options: BTreeOptions,
        opened: recovery::Opened,
        executor: Arc<Executor>,
    ) -> Core {
        Core {
            dir: home.dir.clone(),
            meter: Arc::clone(&home.meter),
            env: home.env.clone(),
            plain_env,
            home: Mutex::new(Some(home)),
            limits: options.limits(),
            latch: Latch::new(options.common.read_only),
            options,
            store: opened.store,
            log: opened.log,
            executor,
            recovery: opened.report,
            user: UserCounters::default(),
            stalls: Default::default(),
            listeners: Listeners::default(),
            jobs: Mutex::default(),
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

    /// The log, if writes are taken.
    ///
    /// # Errors
    /// `Closed`, `ReadOnly`, `Poisoned`.
    pub fn log(&self) -> Result<&CommitLog> {
        self.latch.check_writable()?;
        self.log.as_ref().ok_or(Error::ReadOnly { action: "write" })
    }

    /// Checkpoints done.
    pub fn checkpoints(&self) -> u64 {
        lock(&self.jobs).checkpoints
    }

    /// What presses now.
    pub fn pressure(&self) -> Pressure {
        let pool = &self.store.pager.pool;
        let live = self.store.gauges.live_pages.load(Ordering::Relaxed);
        Pressure {
            dirty: pool.dirty(),
            dirty_start: (pool.pages_max() * usize::from(self.options.dirty_start) / 100).max(4),
            dirty_max: (pool.pages_max() / 2).max(5),
            log_bytes: self.log.as_ref().map_or(0, CommitLog::log_bytes),
            log_bytes_max: self.options.common.wal_bytes_max(),
            dead: self.store.reclaim.held_by_checkpoint(),
            dead_max: pressure::dead_max(live, pool.pages_max()),
        }
    }

    /// Why a commit must wait now.
    pub fn must_wait(&self) -> Option<Wait> {
        let pressure = self.pressure();
        // Without pressure, which is the rule, no lock.
        pressure.stalls(true)?;
        if self.executor.blocked().is_some() {
            return pressure.stalls(true);
        }
        let (running, is_writing) = {
            let jobs = lock(&self.jobs);
            (jobs.running, jobs.is_writing)
        };
        if running { pressure.stalls(is_writing) } else { None }
    }

    /// True while a checkpoint runs.
    pub fn is_checkpointing(&self) -> bool {
        lock(&self.jobs).running
    }

    /// Takes note of a wait.
    pub fn waited(&self, wait: Wait, wall_ns: u64) {
        let stalls = Wait::ALL.iter().zip(&self.stalls);
        stalls.filter(|(own, _)| **own == wait).for_each(|(_, stall)| stall.add(wall_ns));
    }
}
