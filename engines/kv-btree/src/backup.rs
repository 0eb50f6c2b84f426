//! Backup: a snapshot poured into a fresh engine, which opens by itself.

use std::path::Path;
use std::sync::Arc;

use kv_api::{BackupReport, Direction, KeyRange, Kv, Result, Snapshot};
use kv_io::home::{check_backup_dir, clear_backup};

use crate::core::Core;
use crate::engine::BTreeEngine;
use crate::options::BTreeOptions;
use crate::pager::Reader;
use crate::scan::{BTreeSnapshot, CursorSource};

/// Memory that the copy is written with: it reads nothing back.
const BUDGET: u64 = 8 << 20;

/// Copies the contents of this moment into a new database in `dir`.
///
/// # Errors
/// `InvalidOptions` if `dir` holds something; `Io`, `NoSpace`: what was written is removed again.
pub fn run(core: &Arc<Core>, dir: &Path) -> Result<BackupReport> {
    let env = &core.plain_env;
    check_backup_dir(&*env.vfs, dir)?;
    let snapshot = BTreeSnapshot::new(core);
    let seq = snapshot.seq();
    let range = KeyRange::ALL.to_owned_range();
    // What is read here counts as backup in this engine's meter; the copy has a meter of its own.
    let mut source = CursorSource(snapshot.cursor(range, Direction::Forward, Reader::Backup));
    let mut salt = None;
    let copied = BTreeEngine::open_with(env.for_backup(), dir, options(core)).and_then(|copy| {
        salt = Some(copy.salt_if_made_here()?);
        let report = copy.ingest(&mut source)?;
        copy.finish_backup()?;
        copy.close()?;
        Ok(BackupReport { entries: report.entries, user_bytes: report.user_bytes, seq })
    });
    if copied.is_err() {
        clear_backup(&*env.vfs, dir, &[], salt);
    }
    copied
}

/// How the copy is opened: it takes any value that fits the original, and is written with little memory otherwise.
fn options(core: &Core) -> BTreeOptions {
    let mut options = BTreeOptions { page_size: core.options.page_size, ..BTreeOptions::default() };
    options.common = core.options.common.clone();
    let value_bytes_max = core.limits.value_bytes_max as u64;
    options.common.memory_budget = core.options.common.memory_budget.min(BUDGET.max(8 * value_bytes_max));
    options.common.wal_bytes_max = None;
    (options.common.create, options.common.read_only) = (true, false);
    options
}
