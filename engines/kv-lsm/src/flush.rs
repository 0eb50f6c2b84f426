//! Flush: the oldest sealed memtable becomes a table, and the log lets go of what it held.
//!
//! The table is written and synced, the directory synced, the manifest edited; only then does the memtable leave
//! the state and the log its segments.

use std::sync::Arc;

use kv_api::{Cause, Direction, Event, Result};

use crate::compaction::gc::Gc;
use crate::core::Core;
use crate::cursor::Cursor;
use crate::memtable::Memtable;
use crate::output::{NextId, Output};
use crate::range_tombstone::Skyline;
use crate::sstable::reader::{Table, TableSpace};
use crate::sstable::writer::WriteOptions;

/// Writes `memtable` to a table; none if nothing in it is left to keep. Snapshots are those of `gc`.
///
/// # Errors
/// `Io`, `NoSpace`: the file is removed.
pub fn write_table(
    space: &Arc<TableSpace>,
    options: &WriteOptions,
    cause: Cause,
    next_id: NextId<'_>,
    memtable: &Arc<Memtable>,
    gc: &mut Gc,
) -> Result<Option<Arc<Table>>> {
    let mut output = Output::new(space, options, cause, next_id);
    let tombstones = memtable.tombstones();
    let mut skyline = Skyline::new([Arc::clone(&tombstones)]);
    let mut cursor = memtable.cursor(Direction::Forward);
    cursor.rewind()?;
    while let Some(entry) = cursor.entry() {
        // Older versions may lie in any table, so nothing is at the bottom here.
        if gc.keep(entry, skyline.seqs_at(entry.key), || false) {
            output.add(entry)?;
        }
        cursor.next()?;
    }
    output.cut(&tombstones.pruned(gc.snapshots(), |_, _| false), None)?;
    Ok(output.open_all(|_| ())?.pop())
}

/// Flushes the oldest sealed memtable of the state.
///
/// # Errors
/// `NoSpace`: nothing happened. Any other error leaves the handle to be poisoned.
pub fn run(core: &Core) -> Result<()> {
    let state = core.state();
    let Some(memtable) = state.immutables.last().cloned() else { return Ok(()) };
    // What comes after it is the log's business from now on.
    let newer = state.memtables().nth(state.immutables.len().saturating_sub(1));
    let replay_from = newer.map(|memtable| memtable.first_seq());
    drop(state);
    // The memtable that follows begins to fill now: the cache makes room.
    core.resize_cache();
    let start_ns = core.env.clock.now_ns();
    let mut gc = Gc::new(core.snapshots.list());
    let next_id = || core.next_id();
    let table = write_table(&core.space, &core.write_options, Cause::Flush, &next_id, &memtable, &mut gc)?;
    let mut added = Vec::new();
    let (mut bytes, mut entries) = (0, 0);
    if let Some(table) = table {
        let meta = table.meta();
        (bytes, entries) = (meta.bytes, meta.entries);
        let level = core.level_for(&meta.smallest, meta.end.as_deref());
        let version = Arc::clone(&core.state().version);
        // Deletes at the bottom would stay for ever: from level 0 a merge takes them down and sheds them.
        let sheds = meta.tombstones + meta.range_tombstones > 0
            && version.is_bottom(level, &meta.smallest, meta.end.as_deref());
        let level = if sheds { 0 } else { level };
        added.push((level, table));
        core.counters.tables_created.add(1);
    }
    core.install(&[], added, replay_from, Some(&memtable))?;
    if let Some(replay_from) = replay_from {
        core.log()?.release(replay_from)?;
    }
    core.counters.flushes.add(1);
    let wall_ns = core.env.clock.now_ns().saturating_sub(start_ns);
    core.pressure.worked(memtable.user_bytes(), wall_ns);
    core.listeners.keep(Event::Flush { bytes, entries, wall_ns });
    Ok(())
}
