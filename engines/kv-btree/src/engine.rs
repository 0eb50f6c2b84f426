//! The handle: every call of the contract, checked and passed on. No byte layout here.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kv_api::{
    BackupReport, Batch, CommitInfo, CompactReport, Durability, EngineInfo, Error, ErrorKind, EventListener,
    IngestReport, KeyRange, Kv, KvRead, Limits, RecoveryReport, Result, Scan, ScanOptions, SettleReport,
    Shape, Snapshot, SortedSource, Stats, VerifyReport,
};
use kv_io::Env;
use kv_io::executor::{Executor, Workers};
use kv_io::home::Home;
use kv_io::sync::Mutex;
use kv_io::sync::lock;

use crate::core::Core;
use crate::options::BTreeOptions;
use crate::page::meta::FORMAT_VERSION;
use crate::pager::Reader;
use crate::scan::BTreeSnapshot;
use crate::{backup, check, ingest, recovery, report, tree};

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
        let mut home = Home::open(&env, dir, recovery::ENGINE, FORMAT_VERSION, &options.common, fixed)?;
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

    /// The newest state to walk over, and whether no commit has failed half way. Waits for a running checkpoint.
    fn view(&self) -> (check::View<'_>, bool) {
        let core = &*self.core;
        let durable = lock(&core.store.durable);
        let take = || (check::View::new(&core.store, &durable), !core.latch.is_poisoned());
        match &core.log {
            Some(log) => log.held(take),
            None => take(),
        }
    }

    /// See [`Home::salt_if_made_here`].
    pub(crate) fn salt_if_made_here(&self) -> Result<u64> {
        lock(&self.core.home).as_ref().ok_or(Error::Closed)?.salt_if_made_here()
    }

    /// See [`Home::finish_backup`].
    pub(crate) fn finish_backup(&self) -> Result<()> {
        lock(&self.core.home).as_ref().ok_or(Error::Closed)?.finish_backup()
    }

    /// Hands the log's frames to the operating system.
    fn flush_log(&self) -> Result<()> {
        self.core.listeners.told(self.core.log()?.flush_buffer(&*self.core))
    }

    /// Stops the threads and frees the lock.
    fn shut(&self) {
        self.core.executor.stop();
        self.core.executor.wait_for_callers();
        // Joined outside the mutex: a thread may be inside a listener that looks at this engine.
        let workers = lock(&self.workers).take();
        drop(workers);
        // A commit that began before the handle was closed ends first, or it would write beside the next handle.
        if let Some(log) = &self.core.log {
            log.held(|| ());
        }
        self.core.store.pager.leave();
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
        report::info(&self.core)
    }

    fn limits(&self) -> Limits {
        self.core.limits
    }

    fn write(&self, batch: &Batch, durability: Durability) -> Result<CommitInfo> {
        let log = self.core.log()?;
        self.core.limits.check(batch)?;
        let info = self.core.listeners.told(log.commit(&*self.core, batch, durability))?;
        self.core.run_inline();
        Ok(info)
    }

    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        self.core.check_open()?;
        Ok(Arc::new(BTreeSnapshot::new(&self.core)))
    }

    fn ingest(&self, sorted: &mut dyn SortedSource) -> Result<IngestReport> {
        let _caller = self.core.executor.enter();
        self.core.listeners.told(ingest::run(&self.core, sorted))
    }

    fn sync(&self) -> Result<()> {
        self.core.listeners.told(self.core.log()?.sync(&*self.core))
    }

    fn flush(&self) -> Result<()> {
        self.flush_log()?;
        self.core.checkpoint(None).map(|_| ())
    }

    fn settle(&self, timeout: Duration) -> Result<SettleReport> {
        self.flush_log()?;
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
        backup::run(&self.core, dir)
    }

    fn verify(&self) -> Result<VerifyReport> {
        self.core.check_open()?;
        let (view, is_settled) = self.view();
        check::verify(&view, is_settled, &|| self.core.check_open())
    }

    fn recovery(&self) -> RecoveryReport {
        self.core.recovery
    }

    fn stats(&self) -> Stats {
        report::stats(&self.core)
    }

    fn shape(&self) -> Result<Shape> {
        self.core.check_open()?;
        let (view, _) = self.view();
        check::shape(&view, &|| self.core.check_open()).map(Shape::Tree)
    }

    fn subscribe(&self, listener: Arc<dyn EventListener>) {
        self.core.listeners.subscribe(listener);
    }

    fn close(&self) -> Result<()> {
        if self.core.check_open().is_err() {
            return Ok(());
        }
        let outcome = match self.core.log() {
            Err(Error::ReadOnly { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(log) => match self.core.checkpoint(None) {
                Err(error) if error.kind() != ErrorKind::NoSpace => Err(error),
                // Without room for a checkpoint the log still has everything.
                _ => log.close(&*self.core),
            },
        };
        self.core.latch.close();
        self.shut();
        self.core.listeners.told(outcome)
    }
}

impl Drop for BTreeEngine {
    fn drop(&mut self) {
        self.core.latch.close();
        self.shut();
    }
}

impl std::fmt::Debug for BTreeEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BTreeEngine").field("dir", &self.core.dir).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use kv_api::{Background, Cause, CommonOptions, IoMode};
    use kv_io::sim::{FaultOp, Repeat, SimVfs};

    use super::*;
    use crate::checkpoint;

    /// It may rule at the next opening, and a commit that was under way when its meta failed looks for free pages still.
    #[test]
    fn the_pages_of_a_checkpoint_whose_meta_could_not_be_synced_are_not_used_again() {
        let disk = SimVfs::new(1);
        let common = CommonOptions {
            background: Background::Inline,
            io: IoMode::Buffered,
            ..CommonOptions::default()
        };
        let options = BTreeOptions { common, page_size: 512, ..BTreeOptions::default() };
        let env = Env::simulated(disk.clone(), 1);
        let db = BTreeEngine::open_with(env, Path::new("/db"), options).unwrap();
        let fill = |value: u8| {
            for n in 0..200_u32 {
                db.put(&n.to_be_bytes(), &[value; 40], Durability::Memory).unwrap();
            }
        };
        fill(1);
        db.flush().unwrap();
        fill(2);
        let store = &db.core.store;
        let freeze = |seq| checkpoint::freeze(store, &lock(&store.durable), seq);
        let frozen = db.core.log().unwrap().frozen(&*db.core, freeze).unwrap().unwrap();
        let live = store.writer().space.live().clone();
        fill(3);
        // The pages' sync is the first, that of the meta the second.
        disk.faults().fail(FaultOp::Sync, 1, Repeat::Once);
        let mut durable = lock(&store.durable);
        checkpoint::write(store, &mut durable, frozen, Cause::Checkpoint, &mut || ()).unwrap_err();
        let mut writer = store.writer();
        writer.begin();
        let is_gone = |page: &usize| live.get(*page) && !writer.space.in_use().get(*page);
        let gone: Vec<usize> = (0..writer.space.pages()).filter(is_gone).collect();
        assert_eq!(gone, [0; 0]);
        let died =
            (0..writer.space.pages()).filter(|page| live.get(*page) && !writer.space.live().get(*page));
        assert!(died.count() > 10, "hardly a page died since, so nothing was shown");
    }
}
