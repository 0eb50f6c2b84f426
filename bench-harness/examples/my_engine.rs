//! Your engine in the laboratory: implement `Kv`, register it, and every command works on it. Here a map in memory
//! does the work; put your own in its place, line by line.
//!
//! `cargo run --release -p bench-harness --example my_engine -- --scale smoke`

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use bench_harness::Registry;
use kv_api::*;

struct Mine(MemoryEngine);

impl KvRead for Mine {
    fn get_with(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        self.0.get_with(key, found)
    }
    fn scan(&self, range: KeyRange<'_>, options: ScanOptions) -> Result<Box<dyn Scan>> {
        self.0.scan(range, options)
    }
}

impl Kv for Mine {
    fn info(&self) -> EngineInfo {
        EngineInfo { name: "mine".to_owned(), ..self.0.info() }
    }
    fn limits(&self) -> Limits {
        self.0.limits()
    }
    fn write(&self, batch: &Batch, durability: Durability) -> Result<CommitInfo> {
        self.0.write(batch, durability)
    }
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        self.0.snapshot()
    }
    fn ingest(&self, sorted: &mut dyn SortedSource) -> Result<IngestReport> {
        self.0.ingest(sorted)
    }
    fn sync(&self) -> Result<()> {
        self.0.sync()
    }
    fn flush(&self) -> Result<()> {
        self.0.flush()
    }
    fn settle(&self, timeout: Duration) -> Result<SettleReport> {
        self.0.settle(timeout)
    }
    fn compact(&self, range: KeyRange<'_>) -> Result<CompactReport> {
        self.0.compact(range)
    }
    fn backup(&self, _dir: &Path) -> Result<BackupReport> {
        Err(Error::Unsupported { action: "backup" })
    }
    fn verify(&self) -> Result<VerifyReport> {
        self.0.verify()
    }
    fn stats(&self) -> Stats {
        self.0.stats()
    }
    fn shape(&self) -> Result<Shape> {
        self.0.shape()
    }
    fn subscribe(&self, listener: Arc<dyn EventListener>) {
        self.0.subscribe(listener);
    }
    fn close(&self) -> Result<()> {
        self.0.close()
    }
}

fn main() -> ExitCode {
    let mut registry = Registry::empty();
    registry.add("mine", "my engine", |_dir, _common| Ok(Arc::new(Mine(MemoryEngine::new())) as Arc<dyn Kv>));
    bench_harness::main_with(registry)
}
