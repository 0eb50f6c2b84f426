//! Core: what the handle, its snapshots and its threads share. How a batch gets in stands in `apply.rs`, how upkeep
//! is chosen and run in `upkeep.rs`.
//!
//! Lock order: durable > commit lock (in the log) > writer > `jobs`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use kv_api::{Error, Limits, RecoveryReport, Result};
use kv_io::Env;
use kv_io::commit::CommitLog;
use kv_io::counters::{StallCounter, UserCounters};
use kv_io::executor::Executor;
use kv_io::home::Home;
use kv_io::latch::Latch;
use kv_io::listeners::Listeners;
use kv_io::meter::Meter;
use kv_io::sync::lock;

use crate::checkpoint::Store;
use crate::jobs::Jobs;
use crate::options::BTreeOptions;
use crate::pressure::{Pressure, Wait};
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
    pub stalls: [StallCounter; 3],
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
        let jobs = lock(&self.jobs);
        // While a checkpoint writes it makes room; while it syncs, a commit that needs room writes pages itself.
        let is_due = if wait == Wait::DirtyLimit { jobs.is_writing } else { jobs.running };
        drop(jobs);
        (is_due || self.executor.blocked().is_some()).then_some(wait)
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
