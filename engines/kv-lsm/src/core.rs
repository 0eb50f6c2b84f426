//! Core: what the handle, its snapshots and its threads share. How a batch gets in stands in `apply.rs`, how upkeep
//! is chosen and run in `upkeep.rs`.
//!
//! Lock order: commit lock (in the log) > `jobs` > `manifest` > snapshots. The state is swapped without a lock.
//! `jobs` is held for decisions only; `manifest` spans the manifest's own I/O, which is what orders edits.

use std::sync::Arc;

use arc_swap::ArcSwap;
use kv_api::{Cause, Error, ErrorKind, Limits, RecoveryReport, Result, SeqNo};
use kv_io::commit::{Apply, CommitLog};
use kv_io::counters::UserCounters;
use kv_io::executor::Executor;
use kv_io::latch::Latch;
use kv_io::listeners::Listeners;
use kv_io::sync::Mutex;
use kv_io::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use kv_io::sync::lock;
use kv_io::wal::WalOptions;
use kv_io::{Env, Home, Meter};

use crate::compaction::picker::PickOptions;
use crate::counters::Counters;
use crate::jobs::Jobs;
use crate::memtable::Memtable;
use crate::memtable::index::NODE_BYTES;
use crate::num::to_u64;
use crate::options::{LsmOptions, Sizes};
use crate::pressure::{Load, Pressure};
use crate::sstable::reader::{Table, TableSpace};
use crate::sstable::writer::WriteOptions;
use crate::state::{Snapshots, State};
use crate::version::Version;
use crate::version::edit::VersionEdit;
use crate::version::manifest::{self, Manifest};

/// Sealed memtables that may wait for their flush; a writer that needs to seal one more waits.
pub const IMMUTABLES_MAX: usize = 2;

/// The inside of an open engine.
pub struct Core {
    /// The options it was opened with.
    pub options: LsmOptions,
    /// The sizes that follow from them.
    pub sizes: Sizes,
    /// The largest key, value and batch.
    pub limits: Limits,
    /// Files (metered), time, randomness.
    pub env: Env,
    /// The same with the files as they were given, for a backup: what it writes is not this engine's.
    pub plain_env: Env,
    /// What moved between engine and files.
    pub meter: Arc<Meter>,
    /// The tables' common ground.
    pub space: Arc<TableSpace>,
    /// How tables are written.
    pub write_options: WriteOptions,
    /// Closed, poisoned, read-only.
    pub latch: Latch,
    /// Open snapshots.
    pub snapshots: Snapshots,
    /// What users asked for.
    pub user: UserCounters,
    /// What upkeep did.
    pub counters: Counters,
    /// When writers are slowed down.
    pub pressure: Pressure,
    /// Runs the upkeep.
    pub executor: Arc<Executor>,
    /// What opening found.
    pub recovery: RecoveryReport,
    /// Who is told what happens.
    pub listeners: Listeners,
    /// The directory and its lock, until closed.
    pub home: Mutex<Option<Home>>,
    /// The log; `None` if read-only.
    pub log: Option<CommitLog>,
    state: ArcSwap<State>,
    visible_seq: AtomicU64,
    next_id: AtomicU64,
    /// With inline upkeep: something changed since jobs were looked for last.
    pub(crate) due: AtomicBool,
    manifest: Mutex<Option<Manifest>>,
    pub(crate) jobs: Mutex<Jobs>,
}

/// What a core is made of, once recovery is done.
pub struct Parts {
    /// The options it was opened with.
    pub options: LsmOptions,
    /// Files, time, randomness as they were given.
    pub plain_env: Env,
    /// The directory.
    pub home: Home,
    /// The tables' common ground.
    pub space: Arc<TableSpace>,
    /// What was recovered.
    pub state: State,
    /// The newest operation.
    pub last_seq: SeqNo,
    /// A number above that of every file.
    pub next_id: u64,
    /// The manifest; `None` if read-only.
    pub manifest: Option<Manifest>,
    /// The log; `None` if read-only.
    pub log: Option<CommitLog>,
    /// What opening found.
    pub report: RecoveryReport,
}

impl Core {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Arc<Core> {
        let Parts { options, plain_env, home, space, state, last_seq, next_id, manifest, log, report } =
            parts;
        let executor = Executor::new(options.common.background, Arc::clone(&home.env.clock));
        let core = Core {
            sizes: options.sizes(),
            limits: options.limits(),
            env: home.env.clone(),
            plain_env,
            meter: Arc::clone(&home.meter),
            write_options: write_options(&options),
            latch: Latch::new(options.common.read_only),
            snapshots: Snapshots::default(),
            user: UserCounters::default(),
            counters: Counters::default(),
            pressure: Pressure::default(),
            home: Mutex::new(Some(home)),
            log,
            recovery: report,
            state: ArcSwap::from_pointee(state),
            visible_seq: AtomicU64::new(last_seq),
            next_id: AtomicU64::new(next_id),
            due: AtomicBool::new(true),
            manifest: Mutex::new(manifest),
            jobs: Mutex::default(),
            listeners: Listeners::default(),
            options,
            space,
            executor,
        };
        core.resize_cache();
        core.measure_load();
        Arc::new(core)
    }

    /// The state of this moment. Read it before [`Core::visible_seq`]: a memtable sealed in between can then only
    /// hide what is newer, never leave a hole.
    pub fn state(&self) -> arc_swap::Guard<Arc<State>> {
        self.state.load()
    }

    /// The newest operation that readers see.
    pub fn visible_seq(&self) -> SeqNo {
        self.visible_seq.load(Ordering::Acquire)
    }

    /// Shows everything up to `last_seq` to readers.
    pub fn show(&self, last_seq: SeqNo) {
        self.visible_seq.store(last_seq, Ordering::Release);
    }

    /// A number for a new file.
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The log, if writes are taken.
    ///
    /// # Errors
    /// `Closed`, `ReadOnly`, `Poisoned`.
    pub fn log(&self) -> Result<&CommitLog> {
        self.latch.check_writable()?;
        self.log.as_ref().ok_or(Error::ReadOnly { action: "write" })
    }

    /// The state of now for a reader. It is taken before the handle is looked at: an empty state, which `close` leaves
    /// behind, is never taken for an answer.
    ///
    /// # Errors
    /// `Closed`.
    pub fn open_state(&self) -> Result<arc_swap::Guard<Arc<State>>> {
        let state = self.state();
        self.check_open()?;
        Ok(state)
    }

    /// Refuses reads of a closed handle.
    ///
    /// # Errors
    /// `Closed`.
    pub fn check_open(&self) -> Result<()> {
        self.latch.check_open()
    }

    /// What the picker needs to know.
    pub fn pick_options(&self) -> PickOptions {
        PickOptions {
            size_ratio: self.options.size_ratio,
            l0_trigger: usize::try_from(self.options.l0_trigger).unwrap_or(4),
            base_bytes: self.sizes.base,
        }
    }

    /// Seals the active memtable if it holds anything. The caller holds the commit lock; `last_seq` is the newest
    /// operation.
    pub fn seal(&self, last_seq: SeqNo) {
        if self.state().active.is_empty() {
            return;
        }
        self.state.rcu(|old| {
            let mut immutables = Vec::with_capacity(old.immutables.len() + 1);
            immutables.push(Arc::clone(&old.active));
            immutables.extend(old.immutables.iter().cloned());
            let active = Arc::new(Memtable::new(last_seq + 1));
            State { active, immutables, version: Arc::clone(&old.version) }
        });
        self.wake();
    }

    /// Makes a change of the tables durable and then visible. `flushed` leaves the list of memtables with it.
    ///
    /// # Errors
    /// `Io`, `NoSpace` of the manifest: what it holds is unknown, so the handle is poisoned and nothing deleted.
    pub fn install(
        &self,
        removed: &[(usize, u64)],
        added: Vec<(usize, Arc<Table>)>,
        replay_from: Option<SeqNo>,
        flushed: Option<&Arc<Memtable>>,
    ) -> Result<()> {
        let mut slot = lock(&self.manifest);
        let manifest = slot.as_mut().ok_or(Error::ReadOnly { action: "change tables" })?;
        self.latch.check_writable()?;
        let edit = VersionEdit {
            removed: removed.to_vec(),
            added: added.iter().map(|(level, table)| (*level, table.meta().clone())).collect(),
            replay_from,
            next_id: Some(self.next_id.load(Ordering::Relaxed)),
        };
        if let Some((level, a, b)) = self.state().version.with(removed, &added).overlap() {
            // Our own mistake, if ever; written down it would hide entries for good.
            let what = format!("tables {} and {} of level {level} would overlap", a.id, b.id);
            return Err(self.fail(&Error::corruption(manifest.path(), manifest.len(), what)));
        }
        manifest.append(&edit, Cause::Manifest).map_err(|error| self.fail(&error))?;
        self.state.rcu(|old| {
            let keep = |memtable: &&Arc<Memtable>| flushed.is_none_or(|own| !Arc::ptr_eq(own, memtable));
            State {
                active: Arc::clone(&old.active),
                immutables: old.immutables.iter().filter(keep).cloned().collect(),
                version: Arc::new(old.version.with(removed, &added)),
            }
        });
        if manifest.len() > manifest::REWRITE_BYTES {
            self.rewrite(manifest).map_err(|error| self.fail(&error))?;
        }
        drop(slot);
        if let Some(memtable) = flushed {
            lock(&self.jobs).retired.push(Arc::clone(memtable));
        }
        self.resize_cache();
        self.measure_load();
        self.wake();
        Ok(())
    }

    /// Tells writers how far upkeep is behind.
    fn measure_load(&self) {
        let state = self.state();
        self.pressure.set_load(Load {
            debt: self.debt_bytes(),
            total: state.version.all().map(|(_, table)| table.meta().bytes).sum(),
            base: self.sizes.base,
            l0_tables: to_u64(state.version.tables(0).len()),
            l0_trigger: self.options.l0_trigger,
        });
    }

    /// Begins a new manifest and removes the old one.
    fn rewrite(&self, manifest: &mut Manifest) -> Result<()> {
        let old = manifest.path();
        let space = &self.space;
        let live = manifest.live().clone();
        *manifest =
            Manifest::create(&*space.vfs, &space.dir, space.salt, self.next_id(), live, Cause::Manifest)?;
        space.vfs.remove(&old, Cause::Manifest)
    }

    /// Poisons the handle; returns what the caller passes on, never a plain `NoSpace`, which would promise that
    /// nothing happened.
    pub fn fail(&self, error: &Error) -> Error {
        let error = error.to_poisoned();
        Apply::poison(self, &error);
        error
    }

    /// Gives the cache what memtables, merges, filters and indexes leave of the budget: the active memtable and
    /// those that wait are reckoned full, flushed ones that a scan still holds as they are, and a merge always takes
    /// its buffers. So what is declared lies below the budget while memtables fill and no merge runs; that room is
    /// kept free because emptying the cache when a writer needs it would be paid by the writer.
    ///
    /// It is called by jobs, never under the commit lock. Between the sealing of a memtable and the start of its
    /// flush the sum may therefore lie above the budget by what is written meanwhile.
    pub fn resize_cache(&self) {
        let budget = self.options.common.memory_budget;
        let state = self.state();
        let memtables = self.sizes.memtable.saturating_mul(to_u64(state.immutables.len()) + 1);
        let retired = self.retired_bytes();
        let resident: u64 =
            state.version.all().map(|(_, table)| table.filter_bytes() + table.index_bytes()).sum();
        let left = budget
            .saturating_sub(memtables + retired + self.sizes.compaction + resident + self.log_buffer_bytes());
        self.space.cache.set_bytes_max(left.max(budget / 16));
    }

    /// There may be something to do.
    fn wake(&self) {
        self.due.store(true, Ordering::Relaxed);
        self.executor.notify();
    }

    /// Bytes of log frames that may wait in memory.
    pub fn log_buffer_bytes(&self) -> u64 {
        let bytes = WalOptions::for_budget(self.options.common.memory_budget).buffer_bytes_max();
        if self.log.is_some() { to_u64(bytes) } else { 0 }
    }

    /// Passes a clean refusal on; poisons the handle for anything else.
    pub fn fail_unless_refused(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::NoSpace | ErrorKind::Closed => error,
            _ => self.fail(&error),
        }
    }

    /// Forgets everything that is kept in memory, at close.
    pub fn clear(&self) {
        let version = Arc::new(Version::default());
        let active = Arc::new(Memtable::new(self.visible_seq() + 1));
        self.state.store(Arc::new(State { active, immutables: Vec::new(), version }));
        self.space.cache.set_bytes_max(0);
    }

    /// True if a batch of `bytes` and `ops` needs the active memtable sealed first.
    pub fn must_seal(&self, state: &State, bytes: usize, ops: usize) -> bool {
        if state.active.is_empty() {
            return false;
        }
        let after = state.active.bytes() + to_u64(bytes) + to_u64(ops) * NODE_BYTES;
        after > self.sizes.memtable || !state.active.takes_range_deletes(to_u64(ops)) || self.is_log_full()
    }

    fn is_log_full(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.log_bytes() >= self.options.common.wal_bytes_max())
    }

    /// True if a batch may be logged now. With a full log, sealing alone does not help: it is the flush of what
    /// is sealed that lets go of it.
    pub fn has_room(&self, bytes: usize, ops: usize) -> bool {
        let state = self.state();
        let waits_for_log = self.is_log_full() && !state.immutables.is_empty();
        !waits_for_log && (state.immutables.len() < IMMUTABLES_MAX || !self.must_seal(&state, bytes, ops))
    }
}

/// How the tables of an engine with `options` are written.
pub fn write_options(options: &LsmOptions) -> WriteOptions {
    let buffer = (options.sizes().compaction / 8).clamp(4 << 10, 256 << 10);
    WriteOptions {
        block_size: usize::try_from(options.block_size).unwrap_or(4096),
        filter: options.filter,
        filter_bits: options.filter_bits,
        buffer: usize::try_from(buffer).unwrap_or(4096),
        direct: options.common.io == kv_api::IoMode::Direct,
    }
}
