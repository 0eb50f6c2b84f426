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
    for level in 0..=LAST_LEVEL {
        while let Some(task) = begin(core, level, &start, end.as_deref())? {
            if !task.is_move {
                let inputs = task.upper.iter().chain(&task.lower);
                report.read_bytes += inputs.map(|table| table.meta().bytes).sum::<u64>();
            }
            let ids: Vec<u64> = task.upper.iter().map(|table| table.meta().id).collect();
            let before = core.counters.merged_bytes.get();
            core.merge(&task).map_err(|error| core.fail_unless_refused(error))?;
            report.written_bytes += core.counters.merged_bytes.get() - before;
            drop(task);
            core.reap();
            // On the last level each table is rewritten once; what deletes are left serve a snapshot.
            if level == LAST_LEVEL || ids.is_empty() {
                break;
            }
        }
    }
    Ok(report)
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
            upper = from_first_to_last(upper, |table| {
                table.meta().tombstones + table.meta().range_tombstones > 0
            });
            LAST_LEVEL
        }
        _ => level + 1,
    };
    if upper.is_empty() { None } else { Some(picker::task(version, level, to, upper)) }
}

/// The tables from the first to the last that `is_wanted`. Those between them go along: an output may span the gap
/// between its inputs, and must not overlap a table that stayed behind in it.
fn from_first_to_last<T>(mut tables: Vec<T>, is_wanted: impl Fn(&T) -> bool) -> Vec<T> {
    let last = tables.iter().rposition(&is_wanted);
    tables.truncate(last.map_or(0, |last| last + 1));
    let first = tables.iter().position(is_wanted).unwrap_or(0);
    tables.split_off(first)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_between_two_that_are_rewritten_go_along() {
        let wanted = |marked: &[u8], tables: &[u8]| {
            from_first_to_last(tables.to_vec(), |table| marked.contains(table))
        };
        assert_eq!(wanted(&[2, 4], &[1, 2, 3, 4, 5]), [2, 3, 4]);
        assert_eq!(wanted(&[1], &[1, 2]), [1]);
        assert!(wanted(&[9], &[1, 2]).is_empty() && wanted(&[1], &[]).is_empty());
    }
}
