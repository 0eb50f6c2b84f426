//! An engine that writes down what it is asked before it passes it on.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kv_api::limits::Limits;
use kv_api::{
    BackupReport, Batch, CommitInfo, CompactReport, Direction, Durability, EngineInfo, EntryRef,
    EventListener, IngestReport, KeyRange, Kv, KvRead, Op, RecoveryReport, Result, Scan, ScanOptions,
    SettleReport, Shape, Snapshot, SortedSource, Stats, VerifyReport,
};
use workloads::trace::{TraceWriter, What};

/// Wraps an engine. Point reads, scans and writes of this handle are recorded, the operations of a batch one by one;
/// reads of snapshots, scans in reverse, ingests and upkeep are passed on and not recorded. Requests of several threads are written in the order
/// in which they began: clients that share no keys, as those of a workload, are replayed exactly.
///
/// Costs one lock and about 20 bytes of buffered file per request.
pub struct RecordingKv<W: Write + Send + 'static> {
    inner: Arc<dyn Kv>,
    tape: Arc<Mutex<Tape<W>>>,
    start: Instant,
}

/// The writer, and the first error it had: recording then ends, the engine goes on.
struct Tape<W> {
    writer: Option<TraceWriter<W>>,
    failed: Option<io::Error>,
}

impl<W: Write> Tape<W> {
    fn add(&mut self, at_ns: u64, key: &[u8], what: &What) {
        if self.failed.is_none()
            && let Some(Err(error)) = self.writer.as_mut().map(|writer| writer.add(at_ns, key, what))
        {
            self.failed = Some(error);
        }
    }
}

impl<W: Write + Send + 'static> RecordingKv<W> {
    /// Begins a trace of `inner` into `out`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(inner: Arc<dyn Kv>, out: W) -> io::Result<RecordingKv<W>> {
        let tape = Tape { writer: Some(TraceWriter::new(out)?), failed: None };
        Ok(RecordingKv { inner, tape: Arc::new(Mutex::new(tape)), start: Instant::now() })
    }

    /// Ends the trace and gives back what it was written to. Requests after it are not recorded.
    ///
    /// # Errors
    /// The first error that writing had; a second call.
    pub fn finish(&self) -> io::Result<W> {
        let mut tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = tape.writer.take().ok_or_else(|| io::Error::other("the trace was finished before"))?;
        match tape.failed.take() {
            Some(error) => Err(error),
            None => writer.finish(),
        }
    }

    fn note(&self, key: &[u8], what: &What) {
        let mut tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that times never descend.
        let at_ns = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        tape.add(at_ns, key, what);
    }
}

impl<W: Write + Send + 'static> KvRead for RecordingKv<W> {
    fn get_with(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        self.note(key, &What::Get);
        self.inner.get_with(key, found)
    }

    fn scan(&self, range: KeyRange<'_>, options: ScanOptions) -> Result<Box<dyn Scan>> {
        let key = match range.start {
            std::ops::Bound::Included(key) | std::ops::Bound::Excluded(key) => key.to_vec(),
            std::ops::Bound::Unbounded => Vec::new(),
        };
        let inner = self.inner.scan(range, options)?;
        if options.direction == Direction::Reverse {
            return Ok(inner);
        }
        Ok(Box::new(RecordingScan {
            inner,
            tape: Arc::clone(&self.tape),
            start: self.start,
            key,
            entries: 0,
        }))
    }
}

/// Counts entries, and notes the scan when it is dropped: only then is its length known.
struct RecordingScan<W: Write> {
    inner: Box<dyn Scan>,
    tape: Arc<Mutex<Tape<W>>>,
    start: Instant,
    key: Vec<u8>,
    entries: u64,
}

impl<W: Write + Send> Scan for RecordingScan<W> {
    fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
        let entry = self.inner.next()?;
        self.entries += u64::from(entry.is_some());
        Ok(entry)
    }

    fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.inner.seek(key)
    }
}

impl<W: Write> Drop for RecordingScan<W> {
    fn drop(&mut self) {
        let mut tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner);
        let at_ns = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        tape.add(at_ns, &self.key, &What::Scan { entries: self.entries });
    }
}

impl<W: Write + Send + 'static> Kv for RecordingKv<W> {
    fn write(&self, batch: &Batch, durability: Durability) -> Result<CommitInfo> {
        for op in batch.ops() {
            match op {
                Op::Put { key, value } => {
                    let value_len = u64::try_from(value.len()).unwrap_or(u64::MAX);
                    self.note(key, &What::Put { value_len });
                }
                Op::Delete { key } => self.note(key, &What::Delete),
                Op::DeleteRange { start, end } => {
                    self.note(start, &What::DeleteRange { end: end.map(<[u8]>::to_vec) });
                }
            }
        }
        self.inner.write(batch, durability)
    }

    fn info(&self) -> EngineInfo {
        self.inner.info()
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
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
        self.inner.verify()
    }

    fn recovery(&self) -> RecoveryReport {
        self.inner.recovery()
    }

    fn stats(&self) -> Stats {
        self.inner.stats()
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
