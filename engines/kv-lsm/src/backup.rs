//! Backup: a snapshot poured into a fresh engine, which opens by itself.

use std::path::Path;
use std::sync::Arc;

use kv_api::{BackupReport, Cause, EntryRef, Error, KeyRange, Kv, Result, Scan, ScanOptions, SortedSource};

use crate::core::Core;
use crate::engine::LsmEngine;
use crate::num::to_u64;
use crate::options::LsmOptions;

/// Entries of a scan, counted.
struct Counted {
    scan: Box<dyn Scan>,
    report: BackupReport,
}

impl SortedSource for Counted {
    fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
        let entry = self.scan.next()?;
        if let Some(entry) = entry {
            self.report.entries += 1;
            self.report.user_bytes += to_u64(entry.key.len() + entry.value.len());
        }
        Ok(entry)
    }
}

/// Copies the contents of this moment into `dir`.
///
/// # Errors
/// `InvalidOptions` if `dir` holds something; `Io`, `NoSpace`.
pub fn run(engine: &LsmEngine, core: &Arc<Core>, dir: &Path) -> Result<BackupReport> {
    let vfs = &core.plain_env.vfs;
    vfs.create_dir(dir, Cause::Backup)?;
    if !vfs.list(dir, Cause::Backup)?.is_empty() {
        return Err(Error::invalid(
            "backup",
            format!("{} is not empty; name a new directory", dir.display()),
        ));
    }
    let snapshot = engine.snapshot()?;
    let scan = snapshot.scan(KeyRange::ALL, ScanOptions::FORWARD)?;
    let report = BackupReport { seq: snapshot.seq(), ..BackupReport::default() };
    let mut entries = Counted { scan, report };
    // The same budget gives the same limits; an engine that only ingests holds next to nothing.
    let mut options: LsmOptions = core.options.clone();
    options.common.background = kv_api::Background::Inline;
    (options.common.create, options.common.read_only) = (true, false);
    let copy = LsmEngine::open_with(core.plain_env.clone(), dir, options)?;
    copy.ingest(&mut entries)?;
    copy.close()?;
    Ok(entries.report)
}
