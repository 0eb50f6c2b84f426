//! Manual compaction: rewrites a range of keys down to the bottom, level by level.

use std::ops::Bound;
use std::sync::Arc;

use kv_api::{CompactReport, KeyRange, Result};

use crate::compaction::CompactionTask;
use crate::compaction::picker;
use crate::core::Core;
use crate::entry::successor;
use crate::sstable::reader::Table;
use crate::version::{LAST_LEVEL, Version};

/// Merges every table that shares a key with `range` downward until all of them lie on the last level, and rewrites
/// tables there that still carry deletes. Memtables were flushed before.
///
/// # Errors
/// `NoSpace`, `Io`, `Closed`, `Poisoned`; what was merged so far stays merged.
pub fn run(core: &Core, range: KeyRange<'_>) -> Result<CompactReport> {
    let mut report = CompactReport::default();
    if range.is_empty() {
        return Ok(report);
    }
    let (start, end) = half_open(range);
    for level in 0..LAST_LEVEL {
        while let Some(task) = begin(core, level, &start, end.as_deref())? {
            merge(core, task, &mut report)?;
        }
    }
    // On the last level each table is rewritten once; what deletes are left serve a snapshot.
    let mut from = start;
    while let Some(task) = begin(core, LAST_LEVEL, &from, end.as_deref())? {
        let (_, done) = picker::span(&task.upper);
        merge(core, task, &mut report)?;
        match done {
            Some(done) => from = done,
            None => break,
        }
    }
    Ok(report)
}

fn merge(core: &Core, task: CompactionTask<Arc<Table>>, report: &mut CompactReport) -> Result<()> {
    if !task.is_move {
        let inputs = task.upper.iter().chain(&task.lower);
        report.read_bytes += inputs.map(|table| table.meta().bytes).sum::<u64>();
    }
    let before = core.counters.merged_bytes.get();
    core.merge(&task).map_err(|error| core.fail_unless_refused(error))?;
    report.written_bytes += core.counters.merged_bytes.get() - before;
    // The task was the last to hold its inputs.
    drop(task);
    core.reap();
    Ok(())
}

/// The next task from `level`, once no other merge runs.
fn begin(
    core: &Core,
    level: usize,
    start: &[u8],
    end: Option<&[u8]>,
) -> Result<Option<CompactionTask<Arc<Table>>>> {
    let mut task = None;
    let mut nothing_left = false;
    core.executor.wait_until(core, None, &mut || {
        core.latch.check_writable()?;
        task = core.begin_merge(|version, _| {
            let task = choose(core, version, level, start, end);
            nothing_left = task.is_none();
            task
        });
        Ok(task.is_some() || nothing_left)
    })?;
    Ok(task)
}

fn choose(
    core: &Core,
    version: &Version,
    level: usize,
    start: &[u8],
    end: Option<&[u8]>,
) -> Option<CompactionTask<Arc<Table>>> {
    let mut upper = version.overlapping(level, start, end);
    let base = picker::targets(version, &core.pick_options()).base;
    let to = match level {
        // Level 0 goes as a whole: a table left behind there would be older than what passed it.
        0 if !upper.is_empty() => {
            upper = version.tables(0).to_vec();
            base
        }
        LAST_LEVEL => {
            // One at a time: the outputs of two tables could reach over what lies between them.
            upper.retain(|table| table.meta().tombstones + table.meta().range_tombstones > 0);
            upper.truncate(1);
            LAST_LEVEL
        }
        _ => level + 1,
    };
    if upper.is_empty() { None } else { Some(picker::task(version, level, to, upper)) }
}

/// `range` as a first key and the first key behind it.
fn half_open(range: KeyRange<'_>) -> (Vec<u8>, Option<Vec<u8>>) {
    let start = match range.start {
        Bound::Unbounded => Vec::new(),
        Bound::Included(key) => key.to_vec(),
        Bound::Excluded(key) => successor(key),
    };
    let end = match range.end {
        Bound::Unbounded => None,
        Bound::Included(key) => Some(successor(key)),
        Bound::Excluded(key) => Some(key.to_vec()),
    };
    (start, end)
}
