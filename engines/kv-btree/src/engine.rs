//! The handle: every call of the contract, checked and passed on. No byte layout here.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kv_api::stats::MemoryUse;
use kv_api::{
    BackupReport, Batch, Cause, CommitInfo, CompactReport, Direction, Durability, EngineInfo, Error,
    EventListener, IngestReport, IoMode, KeyRange, Kv, KvRead, Limits, RecoveryReport, Result, Scan,
    ScanOptions, SettleReport, Shape, Snapshot, SortedSource, Stats, VerifyReport,
};
use kv_io::Env;
use kv_io::executor::{Executor, Workers};
use kv_io::home::Home;
use kv_io::layout::{IDENTITY_FILE, IDENTITY_NEW_FILE, LOCK_FILE, known_files};
use kv_io::sync::lock;
use kv_io::wal::WalOptions;

use crate::bulk;
use crate::check;
use crate::core::Core;
use crate::options::BTreeOptions;
use crate::page::meta::FORMAT_VERSION;
use crate::pager::Reader;
use crate::pressure::Wait;
use crate::recovery;
use crate::scan::{BTreeSnapshot, CursorSource};
use crate::tree;

/// Memory that the copy is written with: it reads nothing back.
const BACKUP_BUDGET: u64 = 8 << 20;

/// The engine's name in identity files and on the command line.
pub const NAME: &str = "btree";

/// A B+tree engine over one directory.
pub struct BTreeEngine {
    core: Arc<Core>,
    workers: Mutex<Option<Workers>>,
}

impl BTreeEngine {
    /// Opens the database in `dir` on the machine's files, or creates it.
    ///
    /// # Errors
    /// `InvalidOptions`, `NoDatabase`, `Locked`, `WrongEngine`, `FormatVersion`, `Corruption`, `Io`, `NoSpace`.
    pub fn open(dir: &Path, options: BTreeOptions) -> Result<BTreeEngine> {
        BTreeEngine::open_with(Env::os(), dir, options)
    }

    /// Opens the database in `dir` with the files and the time of `env`. The page size is that of its creation.
    ///
    /// # Errors
    /// Those of [`BTreeEngine::open`].
    pub fn open_with(env: Env, dir: &Path, mut options: BTreeOptions) -> Result<BTreeEngine> {
        options.check()?;
        let fixed = vec![("page_size".to_owned(), options.page_size.to_string())];
        let mut home = Home::open(&env, dir, NAME, FORMAT_VERSION, &options.common, fixed)?;
        if let Some(page_size) = home.identity.fixed("page_size") {
            options.set("page_size", page_size)?;
        }
        // The meter then knows every file that is here.
        home.list()?;
        let opened = recovery::open(&mut home, &options)?;
        let executor = Executor::new(options.common.background, Arc::clone(&env.clock));
        let core = Arc::new(Core::new(env, home, options, opened, Arc::clone(&executor)));
        let workers = executor.spawn(&core)?;
        Ok(BTreeEngine { core, workers: Mutex::new(Some(workers)) })
    }

    /// Stops the threads and frees the lock.
    fn shut(&self) {
        self.core.executor.stop();
        // Joined outside the mutex: a thread may be inside a listener that looks at this engine.
        let workers = lock(&self.workers).take();
        drop(workers);
        drop(lock(&self.core.home).take());
    }
}

impl KvRead for BTreeEngine {
    fn get_with(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let core = &*self.core;
        core.check_open()?;
        // The guard keeps every page of this root for the length of the call.
        let root = core.store.reclaim.newest();
        let hit = tree::get(&core.store.pager, &root, key, Reader::Get, found)?;
        Ok(core.user.count_get(hit))
    }

    fn scan(&self, range: KeyRange<'_>, options: ScanOptions) -> Result<Box<dyn Scan>> {
        self.core.check_open()?;
        BTreeSnapshot::new(&self.core).scan(range, options)
    }

    fn multi_get(&self, keys: &[&[u8]], out: &mut Vec<Option<kv_api::Value>>) -> Result<()> {
        self.core.check_open()?;
        BTreeSnapshot::new(&self.core).multi_get(keys, out)
    }
}

impl Kv for BTreeEngine {
    fn info(&self) -> EngineInfo {
        let options = &self.core.options;
        let direct = self.core.store.pager.file().align() > 1;
        EngineInfo {
            name: NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            durability: vec![Durability::Memory, Durability::Os, Durability::Disk],
            io: Some(if direct { IoMode::Direct } else { IoMode::Buffered }),
            keyspace: options.common.keyspace,
            settings: vec![
                ("memory_budget".to_owned(), options.common.memory_budget.to_string()),
                ("wal_bytes_max".to_owned(), options.common.wal_bytes_max().to_string()),
                ("background".to_owned(), options.common.background.to_string()),
                ("page_size".to_owned(), options.page_size.to_string()),
                ("dirty_start".to_owned(), options.dirty_start.to_string()),
            ],
        }
    }

    fn limits(&self) -> Limits {
        self.core.limits
    }

    fn write(&self, batch: &Batch, durability: Durability) -> Result<CommitInfo> {
        let log = self.core.log()?;
        self.core.limits.check(batch)?;
        let info = log.commit(&*self.core, batch, durability)?;
        self.core.after_commit();
        Ok(info)
    }

    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        self.core.check_open()?;
        Ok(Arc::new(BTreeSnapshot::new(&self.core)))
    }

    fn ingest(&self, sorted: &mut dyn SortedSource) -> Result<IngestReport> {
        bulk::ingest(&self.core, sorted)
    }

    fn sync(&self) -> Result<()> {
        self.core.log()?.sync(&*self.core)
    }

    fn flush(&self) -> Result<()> {
        self.core.log()?.flush_buffer(&*self.core)?;
        self.core.checkpoint(None).map(|_| ())
    }

    fn settle(&self, timeout: Duration) -> Result<SettleReport> {
        self.core.log()?.flush_buffer(&*self.core)?;
        let pool = &self.core.store.pager.pool;
        let deadline_ns = self
            .core
            .env
            .clock
            .now_ns()
            .saturating_add(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        // A page that died meanwhile, or that a snapshot released late, may need another round.
        for _ in 0..3 {
            let left = Duration::from_nanos(deadline_ns.saturating_sub(self.core.env.clock.now_ns()));
            if !self.core.checkpoint(Some(left))? || pool.dirty() == 0 {
                break;
            }
            self.core.store.writer().take_back();
        }
        Ok(SettleReport { debt_bytes: (pool.dirty() * self.core.options.page_size) as u64 })
    }

    fn compact(&self, _range: KeyRange<'_>) -> Result<CompactReport> {
        self.core.log()?;
        Err(Error::Unsupported {
            action: "compact: back it up to a new directory, which is written full and in order",
        })
    }

    fn backup(&self, dir: &Path) -> Result<BackupReport> {
        self.core.check_open()?;
        backup(&self.core, dir)
    }

    fn verify(&self) -> Result<VerifyReport> {
        self.core.check_open()?;
        let durable = lock(&self.core.store.durable);
        Ok(match &self.core.log {
            Some(log) => log.frozen(|_| check::verify(&self.core.store, &durable, self.core.is_settled())),
            None => check::verify(&self.core.store, &durable, true),
        })
    }

    fn recovery(&self) -> RecoveryReport {
        self.core.report
    }

    fn stats(&self) -> Stats {
        let core = &*self.core;
        let pager = &core.store.pager;
        let gauges = core.store.reclaim.gauges();
        let writer = &core.store.gauges;
        let of = |gauge: &AtomicU64| gauge.load(Ordering::Relaxed);
        let seq = core.store.reclaim.newest().seq;
        let log_buffer = WalOptions::for_budget(core.options.common.memory_budget).buffer_bytes_max() as u64;
        let log_buffer = if core.log.is_some() { log_buffer } else { 0 };
        let owner = |owner: &str, bytes| MemoryUse { owner: owner.to_owned(), bytes };
        let count = |name: &str, value| (name.to_owned(), value);
        Stats {
            user: core.user.stats(),
            io: Some(core.meter.stats()),
            blocks: vec![
                pager.counters.leaf.get("leaf"),
                pager.counters.inner.get("inner"),
                pager.counters.value.get("value"),
            ],
            memory: vec![
                owner(
                    "frames",
                    ((pager.pool.resident() + pager.pool.spares()) * core.options.page_size) as u64,
                ),
                owner("resident map", pager.pool.overhead_bytes()),
                owner("bitmaps", of(&writer.bitmap_bytes)),
                owner("dead lists", gauges.dead_bytes),
                owner("wal buffer", log_buffer),
            ],
            stalls: Wait::ALL.iter().zip(&core.stalls).map(|(wait, stall)| stall.get(wait.name())).collect(),
            files: core.meter.files(&core.dir),
            free_bytes: of(&writer.free_pages) * core.options.page_size as u64,
            debt_bytes: (pager.pool.dirty() * core.options.page_size) as u64,
            counters: vec![
                count("checkpoints", core.checkpoints()),
                count("splits", of(&writer.splits)),
                count("merges", of(&writer.merges)),
                count("page copies", of(&writer.page_copies)),
                count("evictions", pager.pool.evictions()),
                count("frames stolen", of(&writer.frames_stolen)),
                count("pages written", pager.written_pages()),
            ],
            snapshots_open: gauges.snapshots,
            snapshot_age_ops: gauges.oldest_seq.map_or(0, |oldest| seq.saturating_sub(oldest)),
            seq,
            ..Stats::default()
        }
    }

    fn shape(&self) -> Result<Shape> {
        self.core.check_open()?;
        let durable = lock(&self.core.store.durable);
        let shape = match &self.core.log {
            Some(log) => log.frozen(|_| check::shape(&self.core.store, &durable)),
            None => check::shape(&self.core.store, &durable),
        };
        shape.map(Shape::Tree)
    }

    fn subscribe(&self, listener: Arc<dyn EventListener>) {
        self.core.listen(listener);
    }

    fn close(&self) -> Result<()> {
        if self.core.check_open().is_err() {
            return Ok(());
        }
        let outcome = match self.core.log() {
            Err(Error::ReadOnly { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(log) => match self.core.checkpoint(None) {
                Err(error) if !Core::is_no_space(&error) => Err(error),
                // Without room for a checkpoint the log still has everything.
                _ => log.close(&*self.core),
            },
        };
        self.core.set_closed();
        self.shut();
        outcome
    }
}

impl Drop for BTreeEngine {
    fn drop(&mut self) {
        self.core.set_closed();
        self.shut();
    }
}

impl std::fmt::Debug for BTreeEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BTreeEngine").field("dir", &self.core.dir).finish_non_exhaustive()
    }
}

/// Writes the contents of this moment into a new database in `dir`.
///
/// # Errors
/// `InvalidOptions` if `dir` holds something; `Io`, `NoSpace`: what was written is removed again.
fn backup(core: &Arc<Core>, dir: &Path) -> Result<BackupReport> {
    // The copy has a meter of its own; what is read here counts as backup in this one.
    let env = core.env.clone();
    if env.vfs.list(dir, Cause::Backup).is_ok_and(|entries| !entries.is_empty()) {
        let reason = format!("{} holds something; give an empty or absent directory", dir.display());
        return Err(Error::invalid("backup", reason));
    }
    let snapshot = BTreeSnapshot::new(core);
    let seq = snapshot.seq();
    let range = KeyRange::ALL.to_owned_range();
    let mut source = CursorSource(snapshot.cursor(range, Direction::Forward, Reader::Backup));
    let mut options = BTreeOptions { page_size: core.options.page_size, ..BTreeOptions::default() };
    options.common = core.options.common.clone();
    // A copy takes any value that fits the original, and is written with little memory otherwise.
    options.common.memory_budget =
        core.options.common.memory_budget.min(BACKUP_BUDGET.max(8 * core.limits.value_bytes_max as u64));
    options.common.wal_bytes_max = None;
    options.common.read_only = false;
    options.common.create = true;
    let copied = BTreeEngine::open_with(env.clone(), dir, options).and_then(|copy| {
        let report = copy.ingest(&mut source)?;
        copy.close()?;
        Ok(BackupReport { entries: report.entries, user_bytes: report.user_bytes, seq })
    });
    if copied.is_err() {
        clear(&env, dir);
    }
    copied
}

/// Removes what a failed backup left. The first error tells more than one of cleaning up.
fn clear(env: &Env, dir: &Path) {
    let names = env.vfs.list(dir, Cause::Backup).unwrap_or_default();
    let known = known_files(&names).into_iter().map(|(kind, id)| kind.name(id));
    let ours = [IDENTITY_FILE, IDENTITY_NEW_FILE, LOCK_FILE];
    for name in ours.iter().map(|name| (*name).to_owned()).chain(known) {
        if names.iter().any(|entry| entry.name == name) {
            let _ = env.vfs.remove(&dir.join(name), Cause::Backup);
        }
    }
}
