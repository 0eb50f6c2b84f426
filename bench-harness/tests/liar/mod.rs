//! Engines that misbehave on purpose, and a buffer that stands for standard output.
#![allow(dead_code, reason = "each test program needs some of it")]

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kv_api::stats::IoTotal;
use kv_api::*;

/// How an engine misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Every thousandth write is acknowledged and forgotten.
    ForgetsWrites,
    /// Its own check finds damage.
    FindsDamage,
    /// The counts of its causes jump between two readings of its total.
    LosesBytes,
    /// Its system calls moved a byte that no cause answers for.
    HasNoCause,
    /// A write fails after ten thousand operations.
    Fails,
    /// A write panics after ten thousand operations.
    Panics,
    /// One write, after so many others, sleeps.
    Sleeps(u64, Duration),
}

/// A memory engine that tells one lie.
pub struct Liar {
    inner: MemoryEngine,
    lie: Lie,
    writes: AtomicU64,
}

impl Liar {
    /// A liar behind the contract.
    pub fn open(lie: Lie) -> Arc<dyn Kv> {
        Arc::new(Liar { inner: MemoryEngine::new(), lie, writes: AtomicU64::new(0) })
    }
}

impl KvRead for Liar {
    fn get_with(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        self.inner.get_with(key, found)
    }

    fn scan(&self, range: KeyRange<'_>, options: ScanOptions) -> Result<Box<dyn Scan>> {
        self.inner.scan(range, options)
    }
}

impl Kv for Liar {
    fn info(&self) -> EngineInfo {
        self.inner.info()
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn write(&self, batch: &Batch, durability: Durability) -> Result<CommitInfo> {
        let writes = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
        let is_late = writes > 10_000;
        match self.lie {
            Lie::ForgetsWrites if writes.is_multiple_of(1000) => {
                return Ok(CommitInfo { seq: 1, durability });
            }
            Lie::Fails if is_late => {
                let source = std::io::Error::other("the disk is on fire");
                return Err(Error::io("write a page to", "db/1.pages", source));
            }
            Lie::Panics if is_late => panic!("this panic is part of the test"),
            Lie::Sleeps(after, stall) if writes == after + 1 => std::thread::sleep(stall),
            _ => {}
        }
        self.inner.write(batch, durability)
    }

    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        self.inner.snapshot()
    }

    fn ingest(&self, sorted: &mut dyn SortedSource) -> Result<IngestReport> {
        self.inner.ingest(sorted)
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn flush(&self) -> Result<()> {
        self.inner.flush()
    }

    fn settle(&self, timeout: Duration) -> Result<SettleReport> {
        self.inner.settle(timeout)
    }

    fn compact(&self, range: KeyRange<'_>) -> Result<CompactReport> {
        self.inner.compact(range)
    }

    fn backup(&self, dir: &Path) -> Result<BackupReport> {
        self.inner.backup(dir)
    }

    fn verify(&self) -> Result<VerifyReport> {
        let mut report = self.inner.verify()?;
        if self.lie == Lie::FindsDamage {
            report.add("db/7.tbl", 4096, "checksum is 1, expected 2");
        }
        Ok(report)
    }

    fn stats(&self) -> Stats {
        let mut stats = self.inner.stats();
        if self.lie == Lie::LosesBytes {
            // A write that no system call ever made: the kernel knows nothing of it.
            let mut io = IoStats::default();
            io.of_mut(Cause::Wal).write_bytes = 2 * stats.user.written_bytes;
            stats.io = Some(io);
        }
        if self.lie == Lie::HasNoCause {
            stats.io = Some(IoStats::default());
            stats.io_total = Some(IoTotal { write_bytes: 1, ..IoTotal::default() });
        }
        stats
    }

    fn shape(&self) -> Result<Shape> {
        self.inner.shape()
    }

    fn subscribe(&self, listener: Arc<dyn EventListener>) {
        self.inner.subscribe(listener);
    }

    fn close(&self) -> Result<()> {
        self.inner.close()
    }
}

/// A buffer that stands for standard output.
#[derive(Clone, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// What was written.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
