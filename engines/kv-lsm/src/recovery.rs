//! Recovery: from a directory to an open engine. Idempotent: a crash inside it changes nothing that it found.
//!
//! 1. `Home` takes the lock and reads the identity.       2. The newest manifest tells the live tables.
//! 3. The log is replayed into memtables from the first operation that no table holds.
//! 4. What was replayed becomes tables; a new manifest names everything; a fresh log segment begins.
//! 5. Only now go old manifests, log segments and tables that nothing names.
//!
//! Read-only, steps 4 and 5 are left out and the memtables stay.

use std::path::Path;
use std::sync::Arc;

use kv_api::{Cause, Error, Result, SeqNo};
use kv_io::commit::{CommitLog, Replayed};
use kv_io::layout::{self, FileKind, known_files, manifest_name};
use kv_io::seeded::{self, Bug};
use kv_io::vfs::OpenOptions;
use kv_io::wal::reader::Expected;
use kv_io::wal::{LogPlace, WalOptions};
use kv_io::{Env, Home};

use crate::compaction::gc::Gc;
use crate::core::{Core, Parts, write_options};
use crate::flush::write_table;
use crate::memtable::Memtable;
use crate::num::to_u64;
use crate::options::{LsmOptions, ReadMode};
use crate::sstable::reader::{Table, TableSpace};
use crate::state::State;
use crate::version::manifest::{self, Live, Manifest, NEW_NAME};
use crate::version::{LEVELS, Version};

/// The engine's name in the identity.
pub const ENGINE: &str = "lsm";
/// Version of the layout of directory, manifest and tables.
pub const FORMAT_VERSION: u32 = 1;

/// What the directory holds, before anything is changed.
struct Found {
    live: Live,
    tables: Vec<(usize, Arc<Table>)>,
    /// Above every number on disk.
    next_id: u64,
    manifests: Vec<u64>,
    /// Numbers of table files that the manifest does not name.
    orphans: Vec<u64>,
    manifest_tail: u64,
    has_unfinished_manifest: bool,
}

/// Opens the directory.
///
/// # Errors
/// Those of `Home::open`; `Corruption` of manifest, tables or log; `Io`, `NoSpace`.
pub fn open(env: &Env, dir: &Path, options: LsmOptions) -> Result<Arc<Core>> {
    options.check()?;
    let mut home = Home::open(env, dir, ENGINE, FORMAT_VERSION, &options.common, Vec::new())?;
    let direct = options.common.io == kv_api::IoMode::Direct;
    let mapped = options.read_mode == ReadMode::Mmap;
    let space = TableSpace::new(
        Arc::clone(&home.vfs),
        &home.dir,
        home.identity.salt,
        direct,
        mapped,
        options.common.memory_budget / 4,
    );
    let space = Arc::new(space);
    let mut found = survey(&home, &space)?;
    let mut recovery = Recovery {
        options: &options,
        space: &space,
        next_id: found.next_id,
        memtables: Vec::new(),
        flushed: Vec::new(),
    };
    let replayed = recovery.replay(&home, &found)?;
    let mut report = replayed.report;
    report.tail_bytes_dropped = report.tail_bytes_dropped.saturating_add(found.manifest_tail);
    let last_seq = replayed.next_seq.saturating_sub(1);
    let plain_env = env.clone();
    if options.common.read_only {
        let state = recovery.into_state(&found, replayed.next_seq, &[]);
        let next_id = found.next_id;
        let parts = Parts {
            plain_env,
            home,
            space,
            state,
            last_seq,
            next_id,
            manifest: None,
            log: None,
            report,
            options,
        };
        return Ok(Core::new(parts));
    }
    if seeded::is(Bug::ManifestsClearedFirst) {
        clear(&home, &found, 0)?;
        (found.manifests, found.orphans) = (Vec::new(), Vec::new());
    }
    let flushed = recovery.flush_all()?;
    let next_id = recovery.next_id;
    let state = State {
        active: Arc::new(Memtable::new(replayed.next_seq)),
        immutables: Vec::new(),
        version: Arc::new(version_of(&found.tables, &flushed)),
    };
    let (manifest, log, next_id) = begin(&mut home, &space, &found, &flushed, replayed, next_id, &options)?;
    let probe = OpenOptions::READ.with_direct(direct);
    space.note_mode(&*home.vfs.open(&manifest.path(), probe, Cause::Recovery)?);
    report.orphans_removed = clear(&home, &found, manifest.id())?;
    let (manifest, log) = (Some(manifest), Some(log));
    Ok(Core::new(Parts { plain_env, home, space, state, last_seq, next_id, manifest, log, report, options }))
}

/// Reads the manifest and opens what it names.
fn survey(home: &Home, space: &Arc<TableSpace>) -> Result<Found> {
    let entries = home.list()?;
    let files = known_files(&entries);
    let ids = |kind: FileKind| files.iter().filter(move |(own, _)| *own == kind).map(|(_, id)| *id);
    let manifests: Vec<u64> = ids(FileKind::Manifest).collect();
    let has_unfinished_manifest = entries.iter().any(|entry| entry.name == NEW_NAME);
    let (live, manifest_tail) = match manifests.iter().max() {
        Some(newest) => manifest::load(&*home.vfs, &home.dir, home.identity.salt, *newest)?,
        None if home.is_new => (Live { replay_from: 1, next_id: 1, ..Live::default() }, 0),
        None => {
            let what = "the manifest is gone: nothing tells which tables are live";
            return Err(Error::corruption(home.path(&manifest_name(1)), 0, what));
        }
    };
    let mut tables = Vec::with_capacity(live.tables.len());
    for (level, meta) in live.tables.values() {
        tables.push((*level, Table::open(space, meta.clone(), Cause::Recovery)?));
    }
    // Names that no file of ours has count too: a new file cannot have them.
    let on_disk = if seeded::is(Bug::NumbersOnDiskIgnored) { 0 } else { layout::next_id(&entries) };
    let next_id = on_disk.max(live.next_id);
    let orphans = ids(FileKind::Table).filter(|id| !live.tables.contains_key(id)).collect();
    let version = version_of(&tables, &[]);
    if let Some((level, a, b)) = version.overlap() {
        let what = format!("tables {} and {} of level {level} overlap", a.id, b.id);
        return Err(Error::corruption(
            home.path(&manifest_name(manifests.iter().max().copied().unwrap_or(0))),
            0,
            what,
        ));
    }
    Ok(Found { live, tables, next_id, manifests, orphans, manifest_tail, has_unfinished_manifest })
}

fn version_of(tables: &[(usize, Arc<Table>)], flushed: &[Arc<Table>]) -> Version {
    let mut levels = vec![Vec::new(); LEVELS];
    let zero = flushed.iter().map(|table| (0, Arc::clone(table)));
    for (level, table) in tables.iter().cloned().chain(zero) {
        if let Some(tables) = levels.get_mut(level) {
            tables.push(table);
        }
    }
    Version::new(levels)
}

/// Takes batches from the log into memtables, and full memtables into tables.
struct Recovery<'a> {
    options: &'a LsmOptions,
    space: &'a Arc<TableSpace>,
    next_id: u64,
    /// Oldest first; the last one takes what comes.
    memtables: Vec<Arc<Memtable>>,
    flushed: Vec<Arc<Table>>,
}

impl Recovery<'_> {
    fn replay(&mut self, home: &Home, found: &Found) -> Result<Replayed> {
        let place = place(home);
        let expected = Expected {
            is_new: home.is_new,
            read_only: self.options.common.read_only,
            replay_from: found.live.replay_from,
        };
        CommitLog::replay(&place, expected, &mut |first_seq, ops, count| {
            // The log has checked that every operation can be decoded.
            let memtable = self.memtable(first_seq, count)?;
            memtable.apply(first_seq, ops.map_while(|op| op.ok()));
            Ok(())
        })
    }

    /// The memtable that takes a batch of `ops`; a full one is written out first, so that replay stays within the budget.
    fn memtable(&mut self, first_seq: SeqNo, ops: u64) -> Result<Arc<Memtable>> {
        if let Some(last) = self.memtables.last() {
            if last.bytes() < self.options.sizes().memtable && last.takes_range_deletes(ops) {
                return Ok(Arc::clone(last));
            }
            if !self.options.common.read_only {
                self.flush_memtables()?;
            }
        }
        let memtable = Arc::new(Memtable::new(first_seq));
        self.memtables.push(Arc::clone(&memtable));
        Ok(memtable)
    }

    fn flush_memtables(&mut self) -> Result<()> {
        for memtable in std::mem::take(&mut self.memtables) {
            let next_id = std::cell::Cell::new(self.next_id);
            let take_id = || next_id.replace(next_id.get() + 1);
            let options = write_options(self.options);
            // No snapshot outlives a process.
            let mut gc = Gc::new(Vec::new());
            let table = write_table(self.space, &options, Cause::Recovery, &take_id, &memtable, &mut gc)?;
            self.flushed.extend(table);
            self.next_id = next_id.get();
        }
        Ok(())
    }

    fn flush_all(&mut self) -> Result<Vec<Arc<Table>>> {
        self.flush_memtables()?;
        Ok(std::mem::take(&mut self.flushed))
    }

    /// The state of a read-only engine.
    fn into_state(self, found: &Found, next_seq: SeqNo, flushed: &[Arc<Table>]) -> State {
        State {
            active: Arc::new(Memtable::new(next_seq)),
            immutables: self.memtables.into_iter().rev().collect(),
            version: Arc::new(version_of(&found.tables, flushed)),
        }
    }
}

fn place(home: &Home) -> LogPlace {
    LogPlace { vfs: Arc::clone(&home.vfs), dir: home.dir.clone(), salt: home.identity.salt }
}

/// Makes the recovered state the one that rules: manifest first, then a fresh segment, then the identity of a new
/// database, then the old segments go.
fn begin(
    home: &mut Home,
    space: &Arc<TableSpace>,
    found: &Found,
    flushed: &[Arc<Table>],
    replayed: Replayed,
    next_id: u64,
    options: &LsmOptions,
) -> Result<(Manifest, CommitLog, u64)> {
    let replay_from = replayed.next_seq;
    let mut live = found.live.clone();
    for table in flushed {
        live.tables.insert(table.meta().id, (0, table.meta().clone()));
    }
    live.replay_from = replay_from;
    live.next_id = next_id + 1;
    if found.has_unfinished_manifest {
        home.vfs.remove(&home.path(NEW_NAME), Cause::Recovery)?;
    }
    let manifest = Manifest::create(&*home.vfs, &home.dir, space.salt, next_id, live, Cause::Recovery)?;
    let wal_options = WalOptions::for_budget(options.common.memory_budget);
    let log = CommitLog::start(&place(home), replayed, wal_options)?;
    home.commit_identity()?;
    log.release(replay_from)?;
    Ok((manifest, log, next_id + 1))
}

/// Removes what the new manifest does not name; names that are not ours are left alone.
fn clear(home: &Home, found: &Found, manifest: u64) -> Result<u64> {
    let old = found.manifests.iter().filter(|id| **id != manifest).map(|id| FileKind::Manifest.name(*id));
    let orphans = found.orphans.iter().map(|id| FileKind::Table.name(*id));
    for name in old.chain(orphans) {
        home.vfs.remove(&home.path(&name), Cause::Recovery)?;
    }
    Ok(to_u64(found.orphans.len()))
}
