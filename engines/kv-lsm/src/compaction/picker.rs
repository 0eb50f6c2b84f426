//! Picker: which tables to merge next. Pure: it sees a version and options, and opens no file.
//!
//! Leveled compaction (O'Neil et al., Acta Informatica 1996) with a dynamic base level (RocksDB,
//! `level_compaction_dynamic_level_bytes`): the deepest level sets the targets of those above it, a ratio apart,
//! up to the base level, which takes what leaves level 0; levels between 0 and the base stay empty. The ratio is
//! smoothed so that all levels share the slack. What is fullest goes first, measured against the level below it: a
//! full level above a fuller one would only be merged into what must move on itself (Pebble's rule).

use crate::compaction::CompactionTask;
use crate::sstable::{Described, TableMeta};
use crate::version::{LAST_LEVEL, LEVELS, Version};

/// What the picker needs to know.
#[derive(Debug, Clone, Copy)]
pub struct PickOptions {
    /// Each level may hold this many times the bytes of the one above it.
    pub size_ratio: u64,
    /// Tables in level 0 that make it full.
    pub l0_trigger: usize,
    /// Bytes that the base level may hold.
    pub base_bytes: u64,
}

/// What each level may hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Targets {
    /// The level that takes what leaves level 0.
    pub base: usize,
    /// Bytes per level; 0 for level 0, which is limited by its number of tables, and for levels above the base.
    pub bytes: [u64; LEVELS],
}

/// How full a level is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// The level.
    pub level: usize,
    /// Its contents divided by its target; 1 or more makes it due.
    pub fill: f64,
    /// Its fill divided by that of the next level, if that is larger than it should be: who goes first.
    pub urgency: f64,
}

/// Where a level was last picked from: the next pick among equals lies behind it.
pub type Rounds = [Vec<u8>; LEVELS];

/// A table is cut between half and double its target, where the next level has a boundary.
pub const CUT_RANGE: (f64, f64) = (0.5, 2.0);

/// What each level of `version` may hold.
pub fn targets<T: Described + Clone>(version: &Version<T>, options: &PickOptions) -> Targets {
    let mut bytes = [0; LEVELS];
    let total: u64 = (1..LEVELS).map(|level| version.bytes(level)).sum();
    let Some(highest) = (1..LEVELS).find(|level| version.bytes(*level) > 0) else {
        bytes[LAST_LEVEL] = options.base_bytes;
        return Targets { base: LAST_LEVEL, bytes };
    };
    let ratio = options.size_ratio.max(2);
    // The share of the deepest level if every level above it is full.
    let bottom = total - total / ratio;
    let mut ideal = bottom;
    (highest..LAST_LEVEL).for_each(|_| ideal /= ratio);
    let mut base = highest;
    while base > 1 && ideal > options.base_bytes {
        base -= 1;
        ideal /= ratio;
    }
    let steps = (LAST_LEVEL - base) as f64;
    let smooth = if steps > 0.0 {
        (bottom as f64 / options.base_bytes as f64).powf(1.0 / steps).max(1.0)
    } else {
        1.0
    };
    let mut target = options.base_bytes as f64;
    for slot in bytes.iter_mut().skip(base) {
        *slot = target as u64;
        target *= smooth;
    }
    bytes[LAST_LEVEL] = bytes[LAST_LEVEL].max(bottom);
    Targets { base, bytes }
}

/// How full each level is that could be merged downward, most urgent first.
pub fn scores<T: Described + Clone>(version: &Version<T>, options: &PickOptions) -> Vec<Score> {
    let targets = targets(version, options);
    let ratio = |bytes: u64, target: u64| bytes as f64 / target.max(1) as f64;
    let by_count = version.tables(0).len() as f64 / options.l0_trigger.max(1) as f64;
    let mut scores = vec![Score { level: 0, fill: by_count, urgency: by_count }];
    for level in targets.base..LAST_LEVEL {
        let fill = ratio(version.bytes(level), targets.bytes[level]);
        scores.push(Score { level, fill, urgency: fill });
    }
    for upper in (0..scores.len().saturating_sub(1)).rev() {
        let next = scores[upper + 1].urgency.max(0.01);
        if scores[upper].fill >= 1.0 && next > 1.0 {
            scores[upper].urgency /= next;
        }
    }
    scores.sort_by(|a, b| b.urgency.total_cmp(&a.urgency).then(a.level.cmp(&b.level)));
    scores
}

/// The most urgent merge, or `None` if no level is full.
pub fn pick<T: Described + Clone>(
    version: &Version<T>,
    options: &PickOptions,
    rounds: &Rounds,
) -> Option<CompactionTask<T>> {
    let base = targets(version, options).base;
    let due = scores(version, options).into_iter().filter(|score| score.fill >= 1.0);
    due.into_iter().find_map(|score| match score.level {
        0 => pick_level_zero(version, base),
        level => pick_least_overlap(version, level, &rounds[level]),
    })
}

/// Level 0: the oldest table alone if nothing else overlaps it, else all tables together.
fn pick_level_zero<T: Described + Clone>(version: &Version<T>, base: usize) -> Option<CompactionTask<T>> {
    let tables = version.tables(0);
    let oldest = tables.last()?;
    let alone = tables.iter().filter(|table| overlaps(table.meta(), oldest.meta())).count() == 1;
    if alone {
        let task = task(version, 0, base, vec![oldest.clone()]);
        if task.is_move {
            return Some(task);
        }
    }
    Some(task(version, 0, base, tables.to_vec()))
}

/// A deeper level: the table that drags the fewest bytes of the next level along, for each byte of its own. Among
/// equals the first one behind `after`, so that all get their turn.
fn pick_least_overlap<T: Described + Clone>(
    version: &Version<T>,
    level: usize,
    after: &[u8],
) -> Option<CompactionTask<T>> {
    let cost = |table: &T| {
        let meta = table.meta();
        let dragged: u64 = version
            .overlapping(level + 1, &meta.smallest, meta.end.as_deref())
            .iter()
            .map(|lower| lower.meta().bytes)
            .sum();
        dragged * 1000 / meta.bytes.max(1)
    };
    let best =
        version.tables(level).iter().min_by_key(|table| (cost(table), *table.meta().smallest <= *after))?;
    Some(task(version, level, level + 1, vec![best.clone()]))
}

/// The task of merging `upper` into level `to`, with all that overlaps it there.
pub fn task<T: Described + Clone>(
    version: &Version<T>,
    from: usize,
    to: usize,
    upper: Vec<T>,
) -> CompactionTask<T> {
    let (start, end) = span(&upper);
    let lower = if from == to { Vec::new() } else { version.overlapping(to, &start, end.as_deref()) };
    // A table with deletes is rewritten at the bottom: there they have done their work and go.
    let has_deletes = |table: &T| table.meta().tombstones + table.meta().range_tombstones > 0;
    let sheds = upper.iter().any(has_deletes) && version.is_bottom(to, &start, end.as_deref());
    let is_move = from != to && upper.len() == 1 && lower.is_empty() && !sheds;
    CompactionTask { from, to, upper, lower, is_move }
}

/// From the smallest key to the end of all of `tables`.
pub fn span<T: Described>(tables: &[T]) -> (Vec<u8>, Option<Vec<u8>>) {
    let start = tables.iter().map(|table| &table.meta().smallest).min().cloned().unwrap_or_default();
    let ends = tables.iter().map(|table| table.meta().end.clone());
    // `None` is above every key.
    let end = ends.reduce(|a, b| a.zip(b).map(|(a, b)| a.max(b))).flatten();
    (start, end)
}

fn overlaps(a: &TableMeta, b: &TableMeta) -> bool {
    a.overlaps(&b.smallest, b.end.as_deref())
}

/// Bytes that must be rewritten until no level is full: what leaves each full level, and what it is merged with.
pub fn debt_bytes<T: Described + Clone>(version: &Version<T>, options: &PickOptions) -> u64 {
    let targets = targets(version, options);
    let (zero, base) = (version.bytes(0), version.bytes(targets.base));
    let is_full = version.tables(0).len() >= options.l0_trigger;
    let mut debt = if is_full { zero + base } else { 0 };
    let mut incoming = if is_full { zero } else { 0 };
    for level in targets.base..LAST_LEVEL {
        let own = version.bytes(level) + incoming;
        incoming = own.saturating_sub(targets.bytes[level]);
        let next = version.bytes(level + 1);
        let dragged = if own > 0 { incoming as f64 * (next as f64 / own as f64) } else { 0.0 };
        debt += incoming + dragged as u64;
    }
    debt
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::version::text::{ids, version};

    const OPTIONS: PickOptions = PickOptions { size_ratio: 10, l0_trigger: 4, base_bytes: 40 << 10 };

    /// From, to, upper tables, lower tables, whether it is a move.
    type Picked = (usize, usize, Vec<u64>, Vec<u64>, bool);

    fn picked(text: &str, after: &str) -> Option<Picked> {
        let mut rounds = Rounds::default();
        rounds.iter_mut().for_each(|round| *round = after.as_bytes().to_vec());
        let task = pick(&version(text), &OPTIONS, &rounds)?;
        Some((task.from, task.to, ids(&task.upper), ids(&task.lower), task.is_move))
    }

    #[test]
    fn a_tree_within_its_targets_is_left_alone() {
        assert_eq!(picked("L0: 3 a-z 10 | 2 a-z 10 | 1 a-z 10", ""), None);
        assert_eq!(picked("L5: 3 a-c 39\nL6: 1 a-z 300", ""), None);
        assert_eq!(debt_bytes(&version("L0: 3 a-z 10"), &OPTIONS), 0);
    }

    #[test]
    fn a_full_level_zero_goes_to_the_base_level_with_all_that_overlaps() {
        let tree = "L0: 9 a-c 10 | 8 b-d 10 | 7 a-b 10 | 6 c-f 10\nL6: 1 a-b 10 | 2 e-g 10 | 3 x-z 10";
        assert_eq!(picked(tree, ""), Some((0, 6, vec![9, 8, 7, 6], vec![1, 2], false)));
    }

    #[test]
    fn the_oldest_table_moves_if_nothing_overlaps_it() {
        let tree = "L0: 9 a-c 10 | 8 b-d 10 | 7 a-b 10 | 6 m-n 10\nL6: 1 a-b 20";
        assert_eq!(picked(tree, ""), Some((0, 6, vec![6], vec![], true)));
    }

    #[test]
    fn the_base_level_rises_as_the_tree_grows() {
        let base = |text: &str| targets(&version(text), &OPTIONS).base;
        assert_eq!(base(""), 6);
        assert_eq!(base("L6: 1 a-z 44"), 6);
        assert_eq!(base("L6: 1 a-z 100"), 5);
        assert_eq!(base("L6: 1 a-z 1000"), 4);
        let tall = targets(&version("L6: 1 a-z 1600"), &OPTIONS);
        assert_eq!(tall.bytes[4], 40 << 10);
        // 1440 KiB at the bottom over 40 at the base: each of the two steps is the root of 36.
        assert_eq!(tall.bytes[5], 240 << 10);
    }

    #[test]
    fn the_table_with_the_least_overlap_goes_first_and_equals_take_turns() {
        let tree = "L5: 1 a-c 20 | 2 d-f 20 | 3 g-i 20\nL6: 4 a-b 100 | 5 d-d 50 | 6 g-g 50 | 7 x-z 100";
        assert_eq!(picked(tree, ""), Some((5, 6, vec![2], vec![5], false)));
        assert_eq!(picked(tree, "d"), Some((5, 6, vec![3], vec![6], false)));
        let gap = "L5: 1 a-c 20 | 2 d-f 20 | 3 g-i 20\nL6: 4 a-c 100 | 6 g-g 150 | 7 x-z 50";
        assert_eq!(picked(gap, ""), Some((5, 6, vec![2], vec![], true)));
    }

    #[test]
    fn a_full_level_waits_for_a_fuller_one_below_it() {
        let tree = "L0: 9 a-c 1 | 8 b-d 1 | 7 a-b 1 | 6 c-f 1\nL5: 1 a-c 200 | 2 d-f 200\nL6: 4 a-b 500";
        let order: Vec<usize> = scores(&version(tree), &OPTIONS).iter().map(|score| score.level).collect();
        assert_eq!(order[0], 5, "level 0 is at 1, level 5 at ten times its target");
        assert!(debt_bytes(&version(tree), &OPTIONS) > 360 << 10);
    }

    #[test]
    fn a_table_with_deletes_is_rewritten_at_the_bottom() {
        let tree = version("L5: 1 a-c 50\nL6: 4 x-z 300");
        let with_deletes = Arc::new(TableMeta { tombstones: 1, ..TableMeta::clone(&tree.tables(5)[0]) });
        assert!(task(&tree, 5, 6, vec![Arc::clone(&tree.tables(5)[0])]).is_move);
        assert!(!task(&tree, 5, 6, vec![with_deletes]).is_move);
    }

    #[test]
    fn a_span_without_an_end_has_none() {
        let tree = version("L1: 1 c-d 1 | 2 f-g 1");
        assert_eq!(span(tree.tables(1)), (b"c".to_vec(), Some(b"g\0".to_vec())));
        let open = Arc::new(TableMeta { smallest: b"a".to_vec(), ..TableMeta::default() });
        assert_eq!(span(&[open, Arc::clone(&tree.tables(1)[0])]), (b"a".to_vec(), None));
    }
}
