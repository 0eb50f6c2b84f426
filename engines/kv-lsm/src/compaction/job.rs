//! Job: does one merge. Reads the inputs past the cache, drops what no reader can see, writes tables cut where the
//! next level has boundaries, and installs the result in one edit.

use std::sync::Arc;

use kv_api::{Cause, Direction, Event, Result};
use kv_io::seeded::{self, Bug};

use crate::compaction::CompactionTask;
use crate::compaction::gc::Gc;
use crate::compaction::picker::{CUT_RANGE, span};
use crate::core::Core;
use crate::cursor::Cursor;
use crate::entry::shared_prefix;
use crate::merge::{LoserTree, Source};
use crate::num::{to_u64, to_usize};
use crate::output::Output;
use crate::range_tombstone::{Fragments, Skyline};
use crate::sstable::cursor::Fetch;
use crate::sstable::reader::Table;
use crate::version::{LAST_LEVEL, Version};

/// Runs `task`.
///
/// # Errors
/// `NoSpace`: nothing happened, the outputs are gone. Any other error leaves the handle to be poisoned.
pub fn run(core: &Core, task: &CompactionTask<Arc<Table>>) -> Result<()> {
    let start_ns = core.env.clock.now_ns();
    let mut removed: Vec<(usize, u64)> =
        task.upper.iter().map(|table| (task.from, table.meta().id)).collect();
    removed.extend(task.lower.iter().map(|table| (task.to, table.meta().id)));
    let mut flush_ns = 0;
    let (read_bytes, written_bytes) = if task.is_move {
        let added = task.upper.iter().map(|table| (task.to, Arc::clone(table))).collect();
        core.install(&removed, added, None, None)?;
        core.counters.trivial_moves.add(1);
        (0, 0)
    } else {
        let outputs = merge(core, task, &mut flush_ns)?;
        let sum = |tables: &[Arc<Table>]| tables.iter().map(|table| table.meta().bytes).sum::<u64>();
        let written_bytes = sum(&outputs);
        core.counters.merged_bytes.add(written_bytes);
        core.counters.tables_created.add(to_u64(outputs.len()));
        core.install(&removed, outputs.into_iter().map(|table| (task.to, table)).collect(), None, None)?;
        // Only now does the manifest no longer name them.
        task.upper.iter().chain(&task.lower).for_each(|table| table.mark_obsolete());
        core.counters.compactions.add(1);
        (sum(&task.upper) + sum(&task.lower), written_bytes)
    };
    let wall_ns = core.env.clock.now_ns().saturating_sub(start_ns);
    core.pressure.worked(0, wall_ns.saturating_sub(flush_ns));
    let level = |level: usize| u8::try_from(level).unwrap_or(u8::MAX);
    let (from, to) = (level(task.from), level(task.to));
    core.listeners.tell(&Event::Compaction { from, to, read_bytes, written_bytes, wall_ns });
    Ok(())
}

/// The merge of all inputs, newest first.
fn sources(core: &Core, task: &CompactionTask<Arc<Table>>) -> LoserTree<Source> {
    let count = if task.from == 0 { task.upper.len() + 1 } else { 2 };
    // Half of the buffers for reading, shared by the sources.
    let bytes_max = (core.sizes.compaction / 2 / to_u64(count)).clamp(4 << 10, 256 << 10);
    let cause = Cause::Compaction { to: u8::try_from(task.to).unwrap_or(u8::MAX) };
    let fetch = Fetch::Chunks { bytes_max: to_usize(bytes_max), cause };
    let run = |tables: &[Arc<Table>]| Source::level(&Arc::from(tables), Direction::Forward, fetch);
    let mut sources: Vec<Source> = match task.from {
        0 => task.upper.iter().map(|table| Source::table(table, Direction::Forward, fetch)).collect(),
        _ => vec![run(&task.upper)],
    };
    if !task.lower.is_empty() {
        sources.push(run(&task.lower));
    }
    let all: Vec<Arc<Table>> = task.upper.iter().chain(&task.lower).cloned().collect();
    let (start, end) = span(&all);
    // Keys between two keys with a common prefix have it too; the end itself may be one byte longer.
    let prefix_len = end.map_or(0, |end| shared_prefix(&start, &end).min(end.len().saturating_sub(1)));
    LoserTree::new(sources, Direction::Forward, prefix_len)
}

/// Writes the merged tables.
fn merge(core: &Core, task: &CompactionTask<Arc<Table>>, flush_ns: &mut u64) -> Result<Vec<Arc<Table>>> {
    let version = Arc::clone(&core.state().version);
    let inputs = || task.upper.iter().chain(&task.lower);
    let mut skyline = Skyline::new(inputs().map(|table| Arc::clone(table.tombstones())));
    let all =
        Fragments::build(inputs().flat_map(|table| table.tombstones().tombstones().collect::<Vec<_>>()));
    let forgotten = usize::from(seeded::is(Bug::OldestSnapshotForgotten));
    let mut gc = Gc::new(core.snapshots.list().into_iter().skip(forgotten).collect());
    let tombstones = all.pruned(gc.snapshots(), |start, end| {
        version.is_bottom(task.to, start, end) || seeded::is(Bug::RangeDeleteDroppedEarly)
    });
    let cause = Cause::Compaction { to: u8::try_from(task.to).unwrap_or(u8::MAX) };
    let next_id = || core.next_id();
    let mut output = Output::new(&core.space, &core.write_options, cause, &next_id);
    let mut cutter = Cutter::new(core, &version, task.to);
    let mut merge = sources(core, task);
    merge.rewind()?;
    let mut last_key: Vec<u8> = Vec::new();
    let mut merged = 0_u64;
    while let Some(entry) = merge.entry() {
        let is_bottom = || is_bottom(&version, task.to, entry.key);
        if gc.keep(entry, skyline.seqs_at(entry.key), is_bottom) {
            // All versions of a key stay in one table.
            if cutter.is_cut(output.bytes(), entry.key) && last_key != entry.key {
                output.cut(&tombstones, Some(entry.key))?;
            }
            output.add(entry)?;
            last_key.clear();
            last_key.extend_from_slice(entry.key);
        }
        merge.next()?;
        merged += 1;
        if merged.is_multiple_of(SLICE) {
            core.latch.check_open()?;
            *flush_ns += flush_meanwhile(core)?;
        }
    }
    output.cut(&tombstones, None)?;
    let ranges_dropped = all.count().saturating_sub(tombstones.count());
    core.counters.tombstones_dropped.add(gc.tombstones_dropped + ranges_dropped);
    output.open_all(|_| ())
}

/// Entries merged between two looks at what else is due.
const SLICE: u64 = 1024;

/// Flushes a memtable that waits; returns how long it took.
fn flush_meanwhile(core: &Core) -> Result<u64> {
    if core.state().immutables.is_empty() {
        return Ok(0);
    }
    let start_ns = core.env.clock.now_ns();
    core.flush_if_due()?;
    Ok(core.env.clock.now_ns().saturating_sub(start_ns))
}

/// True if no table below `level` may hold `key`.
fn is_bottom(version: &Version, level: usize, key: &[u8]) -> bool {
    let skipped = level + 1 + usize::from(seeded::is(Bug::TombstoneDroppedEarly));
    version.levels().iter().skip(skipped).all(|deeper| deeper.find(key).is_none())
}

/// Decides where an output ends: at a boundary of the level below it once it has half its size, so that its own
/// merge drags few tables along; at double its size at the latest.
struct Cutter {
    bounds: Vec<Vec<u8>>,
    next: usize,
    bytes_min: u64,
    bytes_max: u64,
}

impl Cutter {
    fn new(core: &Core, version: &Version, to: usize) -> Cutter {
        let bounds: Vec<Vec<u8>> =
            version.tables(to + 1).iter().map(|table| table.meta().smallest.clone()).collect();
        let target = core.sizes.table as f64;
        let (low, high) = if to == LAST_LEVEL || bounds.is_empty() { (1.0, 1.0) } else { CUT_RANGE };
        Cutter { bounds, next: 0, bytes_min: (target * low) as u64, bytes_max: (target * high) as u64 }
    }

    /// True if a table of `bytes` ends before `key`.
    fn is_cut(&mut self, bytes: u64, key: &[u8]) -> bool {
        let mut crossed = false;
        while self.bounds.get(self.next).is_some_and(|bound| bound.as_slice() <= key) {
            self.next += 1;
            crossed = true;
        }
        bytes >= self.bytes_max || crossed && bytes >= self.bytes_min
    }
}
