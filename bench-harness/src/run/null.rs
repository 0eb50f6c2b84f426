//! An engine that does nothing: what is left of a measurement is the cost of asking.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kv_api::limits::Limits;
use kv_api::{
    BackupReport, Batch, CommitInfo, CompactReport, Durability, EngineInfo, EntryRef, Error, EventListener,
    IngestReport, KeyRange, Kv, KvRead, MemoryEngine, Result, Scan, ScanOptions, SeqNo, SettleReport, Shape,
    Snapshot, SortedSource, Stats, VerifyReport,
};

/// Takes every write and forgets it; gives every key the same value.
#[derive(Debug)]
pub struct NullEngine;

const VALUE: [u8; 100] = [0; 100];

impl KvRead for NullEngine {
    fn get_with(&self, _key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        found(&VALUE);
        Ok(true)
    }

    fn scan(&self, _range: KeyRange<'_>, _options: ScanOptions) -> Result<Box<dyn Scan>> {
        Ok(Box::new(Endless))
    }
}

/// The same entry over and over.
struct Endless;

impl Scan for Endless {
    fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
        Ok(Some(EntryRef { key: &VALUE[..16], value: &VALUE }))
    }

    fn seek(&mut self, _key: &[u8]) -> Result<()> {
        Ok(())
    }
}

impl Kv for NullEngine {
    fn info(&self) -> EngineInfo {
        EngineInfo { name: "null".to_owned(), ..MemoryEngine::new().info() }
    }

    fn limits(&self) -> Limits {
        MemoryEngine::new().limits()
    }

    fn write(&self, _batch: &Batch, durability: Durability) -> Result<CommitInfo> {
        Ok(CommitInfo { seq: SeqNo::MIN, durability })
    }

    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        Err(Error::Unsupported { action: "snapshot" })
    }

    fn ingest(&self, _sorted: &mut dyn SortedSource) -> Result<IngestReport> {
        Err(Error::Unsupported { action: "ingest" })
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn settle(&self, _timeout: Duration) -> Result<SettleReport> {
        Ok(SettleReport::default())
    }

    fn compact(&self, _range: KeyRange<'_>) -> Result<CompactReport> {
        Ok(CompactReport::default())
    }

    fn backup(&self, _dir: &Path) -> Result<BackupReport> {
        Err(Error::Unsupported { action: "backup" })
    }

    fn verify(&self) -> Result<VerifyReport> {
        Ok(VerifyReport::default())
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }

    fn shape(&self) -> Result<Shape> {
        MemoryEngine::new().shape()
    }

    fn subscribe(&self, _listener: Arc<dyn EventListener>) {}

    fn close(&self) -> Result<()> {
        Ok(())
    }
}
