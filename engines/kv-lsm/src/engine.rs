//! `LsmEngine`: the handle. It checks and counts what users ask for and hands it down; no byte layout here.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kv_api::engine::EngineInfo;
use kv_api::{
    BackupReport, Batch, CommitInfo, CompactReport, Durability, Error, EventListener, IngestReport, KeyRange,
    Kv, KvRead, Limits, RecoveryReport, Result, Scan, ScanOptions, SeqNo, SettleReport, Shape, Snapshot,
    SortedSource, Stats, Value, VerifyReport,
};
use kv_io::Env;
use kv_io::executor::Workers;
use kv_io::sync::Mutex;
use kv_io::sync::lock;

use crate::core::{Core, IMMUTABLES_MAX};
use crate::options::LsmOptions;
use crate::scan::{LsmScan, LsmSnapshot, get_all};
use crate::{backup, check, compaction, ingest, recovery, report};

/// An open LSM tree. Dropping it stops its threads, frees the lock and writes nothing.
pub struct LsmEngine {
    core: Arc<Core>,
    workers: Mutex<Option<Workers>>,
}

impl LsmEngine {
    /// Opens the database in `dir` on the machine's files, or creates it if the options say so.
    ///
    /// # Errors
    /// `InvalidOptions`, `NoDatabase`, `Locked`, `WrongEngine`, `FormatVersion`, `Corruption`, `Io`, `NoSpace`.
    pub fn open(dir: &Path, options: LsmOptions) -> Result<LsmEngine> {
        LsmEngine::open_with(Env::os(), dir, options)
    }

    /// The same with files, time and randomness of the caller's choice.
    ///
    /// # Errors
    /// Those of [`LsmEngine::open`].
    pub fn open_with(env: Env, dir: &Path, options: LsmOptions) -> Result<LsmEngine> {
        let core = recovery::open(&env, dir, options)?;
        let workers = match core.options.common.read_only {
            true => None,
            false => Some(core.executor.spawn(&core)?),
        };
        // What was recovered may be due for a merge at once.
        core.executor.notify();
        Ok(LsmEngine { core, workers: Mutex::new(workers) })
    }

    /// See [`kv_io::home::Home::salt_if_made_here`].
    pub(crate) fn salt_if_made_here(&self) -> Result<u64> {
        lock(&self.core.home).as_ref().ok_or(Error::Closed)?.salt_if_made_here()
    }

    /// See [`kv_io::home::Home::finish_backup`].
    pub(crate) fn finish_backup(&self) -> Result<()> {
        lock(&self.core.home).as_ref().ok_or(Error::Closed)?.finish_backup()
    }

    /// Seals the active memtable, if it holds anything, once there is a slot for it.
    fn seal(&self) -> Result<()> {
        let core = &self.core;
        loop {
            let sealed = core.log()?.frozen(&**core, |last_seq| {
                let state = core.state();
                if !state.active.is_empty() && state.immutables.len() >= IMMUTABLES_MAX {
                    return false;
                }
                core.seal(last_seq);
                true
            })?;
            if sealed {
                return Ok(());
            }
            core.executor.wait_until(&**core, None, &mut || {
                core.latch.check_writable()?;
                Ok(core.state().immutables.len() < IMMUTABLES_MAX)
            })?;
        }
    }

    fn flush_before(&self, seq: SeqNo) -> Result<()> {
        let core = &self.core;
        let done = core.executor.wait_until(&**core, None, &mut || {
            core.latch.check_writable()?;
            Ok(core.state().immutables.iter().all(|memtable| memtable.first_seq() > seq))
        });
        done.map(drop)
    }
}

impl KvRead for LsmEngine {
    fn get_with(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let state = self.core.open_state()?;
        let seq = self.core.visible_seq();
        Ok(self.core.user.count_get(state.get(key, seq, found)?))
    }

    fn scan(&self, range: KeyRange<'_>, options: ScanOptions) -> Result<Box<dyn Scan>> {
        let state = self.core.open_state()?;
        let seq = self.core.visible_seq();
        Ok(Box::new(LsmScan::new(&self.core, &state, seq, range, options.direction)))
    }

    fn multi_get(&self, keys: &[&[u8]], out: &mut Vec<Option<Value>>) -> Result<()> {
        let state = self.core.open_state()?;
        let seq = self.core.visible_seq();
        get_all(&self.core, &state, seq, keys, out)
    }
}

impl Kv for LsmEngine {
    fn info(&self) -> EngineInfo {
        report::info(&self.core)
    }

    fn limits(&self) -> Limits {
        self.core.limits
    }

    fn write(&self, batch: &Batch, durability: Durability) -> Result<CommitInfo> {
        let core = &*self.core;
        let log = core.log()?;
        core.limits.check(batch)?;
        let info = core.listeners.told(log.commit(core, batch, durability))?;
        core.run_inline();
        Ok(info)
    }

    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        self.core.check_open()?;
        Ok(Arc::new(LsmSnapshot::new(&self.core)))
    }

    fn ingest(&self, sorted: &mut dyn SortedSource) -> Result<IngestReport> {
        self.core.log()?;
        let _caller = self.core.executor.enter();
        self.core.listeners.told(ingest::run(&self.core, sorted, || self.flush()))
    }

    fn sync(&self) -> Result<()> {
        self.core.listeners.told(self.core.log()?.sync(&*self.core))
    }

    fn flush(&self) -> Result<()> {
        let log = self.core.log()?;
        self.core.listeners.told(log.flush_buffer(&*self.core))?;
        let last_seq = log.last_seq();
        self.seal()?;
        self.flush_before(last_seq)
    }

    fn settle(&self, timeout: Duration) -> Result<SettleReport> {
        self.flush()?;
        let core = &self.core;
        core.executor.wait_until(&**core, Some(timeout), &mut || {
            core.latch.check_writable()?;
            Ok(core.is_settled())
        })?;
        core.reap();
        Ok(SettleReport { debt_bytes: core.debt_bytes() })
    }

    fn compact(&self, range: KeyRange<'_>) -> Result<CompactReport> {
        self.flush()?;
        let _caller = self.core.executor.enter();
        self.core.listeners.told(compaction::manual::run(&self.core, range))
    }

    fn backup(&self, dir: &Path) -> Result<BackupReport> {
        self.core.check_open()?;
        backup::run(&self.core, dir)
    }

    fn verify(&self) -> Result<VerifyReport> {
        self.core.check_open()?;
        check::verify(&self.core)
    }

    fn recovery(&self) -> RecoveryReport {
        self.core.recovery
    }

    fn stats(&self) -> Stats {
        report::stats(&self.core)
    }

    fn shape(&self) -> Result<Shape> {
        self.core.check_open()?;
        Ok(check::shape(&self.core))
    }

    fn subscribe(&self, listener: Arc<dyn EventListener>) {
        self.core.listeners.subscribe(listener);
    }

    fn close(&self) -> Result<()> {
        let core = &self.core;
        if core.latch.check_open().is_err() {
            return Ok(());
        }
        let durable = match &core.log {
            Some(log) => log.close(&**core),
            None => Ok(()),
        };
        core.reap();
        self.shut();
        core.listeners.told(durable)
    }
}

impl LsmEngine {
    /// Stops the threads, frees memory and the lock. Writes nothing.
    fn shut(&self) {
        if !self.core.latch.close() {
            return;
        }
        self.core.executor.stop();
        self.core.executor.wait_for_callers();
        // Joined outside the mutex: a thread may be inside a listener that looks at this engine.
        let workers = lock(&self.workers).take();
        drop(workers);
        self.core.clear();
        drop(lock(&self.core.home).take());
    }
}

impl Drop for LsmEngine {
    fn drop(&mut self) {
        self.shut();
    }
}

impl std::fmt::Debug for LsmEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LsmEngine({})", self.core.space.dir.display())
    }
}
