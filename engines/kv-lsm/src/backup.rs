//! Backup: a snapshot poured into a fresh engine, which opens by itself.

use std::path::Path;
use std::sync::Arc;

use kv_api::{Background, BackupReport, Cause, EntryRef, Kv, Result, Scan, Snapshot, SortedSource};
use kv_io::home::{check_backup_dir, clear_backup};

use crate::core::Core;
use crate::engine::LsmEngine;
use crate::options::LsmOptions;
use crate::scan::{LsmScan, LsmSnapshot};
use crate::version::manifest::NEW_NAME;

/// A scan as a source of sorted entries.
struct ScanSource(LsmScan);

impl SortedSource for ScanSource {
    fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
        self.0.next()
    }
}

/// Copies the contents of this moment into a new database in `dir`.
///
/// # Errors
/// `InvalidOptions` if `dir` holds something; `Io`, `NoSpace`: what was written is removed again.
pub fn run(core: &Arc<Core>, dir: &Path) -> Result<BackupReport> {
    let env = &core.plain_env;
    check_backup_dir(&*env.vfs, dir)?;
    let snapshot = LsmSnapshot::new(core);
    let seq = snapshot.seq();
    // What is read here counts as backup in this engine's meter; the copy has a meter of its own.
    let mut source = ScanSource(LsmScan::all(core, &core.state(), seq, Cause::Backup));
    let mut salt = None;
    let copied = LsmEngine::open_with(env.for_backup(), dir, options(core)).and_then(|copy| {
        salt = Some(copy.salt_if_made_here()?);
        let report = copy.ingest(&mut source)?;
        copy.finish_backup()?;
        copy.close()?;
        Ok(BackupReport { entries: report.entries, user_bytes: report.user_bytes, seq })
    });
    if copied.is_err() {
        clear_backup(&*env.vfs, dir, &[NEW_NAME], salt);
    }
    copied
}

/// How the copy is opened: the same budget gives the same limits; an engine that only ingests holds next to nothing.
fn options(core: &Core) -> LsmOptions {
    let mut options = core.options.clone();
    options.common.background = Background::Inline;
    (options.common.create, options.common.read_only) = (true, false);
    options
}
