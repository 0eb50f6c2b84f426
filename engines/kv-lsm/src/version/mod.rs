//! Version: which tables are live, and on which level. Immutable: a change makes a new one, readers keep the old.
//!
//! Level 0 holds whole flushes, which may overlap, newest first. Every deeper level is one run: tables in key order
//! that do not overlap. For any key, what a level says is newer than what a deeper level says.

pub mod edit;
pub mod manifest;

use std::sync::Arc;

use kv_api::{Direction, Result};

use crate::cursor::Cursor;
use crate::entry::{Entry, Tag, head64};
use crate::sstable::cursor::{Fetch, TableCursor};
use crate::sstable::reader::Table;
use crate::sstable::{Described, TableMeta};

/// Number of levels: 0, and six below it.
pub const LEVELS: usize = 7;
/// The deepest level.
pub const LAST_LEVEL: usize = LEVELS - 1;
const _: () = assert!(LAST_LEVEL <= kv_api::cause::LEVEL_MAX as usize, "the meter has a row for each level");

/// One level.
#[derive(Debug, Clone)]
pub struct Level<T> {
    tables: Arc<[T]>,
    /// First eight bytes of each table's smallest key: a search touches one dense array.
    heads: Arc<[u64]>,
    /// Those of the tables that have range tombstones, mostly none: a scan must know of each.
    range_deleting: Arc<[T]>,
    bytes: u64,
}

impl<T: Described + Clone> Level<T> {
    fn new(tables: Vec<T>) -> Level<T> {
        let heads = tables.iter().map(|table| head64(&table.meta().smallest)).collect();
        let bytes = tables.iter().map(|table| table.meta().bytes).sum();
        let range_deleting = tables.iter().filter(|table| table.has_range_tombstones()).cloned().collect();
        Level { tables: tables.into(), heads, range_deleting, bytes }
    }
}

impl<T: Described> Level<T> {
    /// Its tables: newest first in level 0, in key order below.
    pub fn tables(&self) -> &Arc<[T]> {
        &self.tables
    }

    /// Those of its tables that have range tombstones, in the same order.
    pub fn range_deleting(&self) -> &[T] {
        &self.range_deleting
    }

    /// Bytes of its files.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Index of the first table whose keys do not all lie below `key`. Not for level 0.
    #[inline]
    fn first_reaching(&self, key: &[u8]) -> usize {
        let head = head64(key);
        let mut above = self.heads.partition_point(|own| *own < head);
        while self.heads.get(above) == Some(&head)
            && self.tables.get(above).is_some_and(|table| *table.meta().smallest <= *key)
        {
            above += 1;
        }
        match above.checked_sub(1).and_then(|at| self.tables.get(at)) {
            Some(table) if table.meta().end.as_deref().is_none_or(|end| key < end) => above - 1,
            _ => above,
        }
    }

    /// The table that may hold `key`. Not for level 0.
    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<&T> {
        self.tables.get(self.first_reaching(key)).filter(|table| table.meta().covers(key))
    }

    /// The tables that share a key with `start..end`, in key order. Not for level 0.
    pub fn overlapping(&self, start: &[u8], end: Option<&[u8]>) -> &[T] {
        let first = self.first_reaching(start);
        let rest = self.tables.get(first..).unwrap_or_default();
        let count = match end {
            None => rest.len(),
            Some(end) => rest.partition_point(|table| *table.meta().smallest < *end),
        };
        rest.get(..count).unwrap_or_default()
    }
}

/// The live tables.
#[derive(Debug, Clone)]
pub struct Version<T = Arc<Table>> {
    levels: Vec<Level<T>>,
}

impl<T: Described + Clone> Default for Version<T> {
    fn default() -> Self {
        Version::new((0..LEVELS).map(|_| Vec::new()).collect())
    }
}

impl<T: Described + Clone> Version<T> {
    /// From the tables of each level, in any order.
    pub fn new(mut levels: Vec<Vec<T>>) -> Version<T> {
        levels.resize_with(LEVELS, Vec::new);
        for (number, tables) in levels.iter_mut().enumerate() {
            if number == 0 {
                let age = |table: &T| (table.meta().seq_max, table.meta().id);
                tables.sort_by_key(|table| std::cmp::Reverse(age(table)));
            } else {
                tables.sort_by(|a, b| a.meta().smallest.cmp(&b.meta().smallest));
            }
        }
        Version { levels: levels.into_iter().map(Level::new).collect() }
    }

    /// The levels, from 0.
    pub fn levels(&self) -> &[Level<T>] {
        &self.levels
    }

    /// The tables of a level; none of a level that does not exist.
    pub fn tables(&self, level: usize) -> &[T] {
        self.levels.get(level).map_or(&[], |level| &level.tables)
    }

    /// Bytes of a level's files.
    pub fn bytes(&self, level: usize) -> u64 {
        self.levels.get(level).map_or(0, Level::bytes)
    }

    /// The tables of `level` that share a key with `start..end`.
    pub fn overlapping(&self, level: usize, start: &[u8], end: Option<&[u8]>) -> Vec<T> {
        match self.levels.get(level) {
            Some(run) if level > 0 => run.overlapping(start, end).to_vec(),
            Some(zero) => zero.tables.iter().filter(|t| t.meta().overlaps(start, end)).cloned().collect(),
            None => Vec::new(),
        }
    }

    /// True if no table below `level` shares a key with `start..end`.
    pub fn is_bottom(&self, level: usize, start: &[u8], end: Option<&[u8]>) -> bool {
        self.levels.iter().skip(level + 1).all(|deeper| deeper.overlapping(start, end).is_empty())
    }

    /// The deepest level to which a new table over `start..end` may go although it is newer than all others: no
    /// table on it or above it shares a key. 0 if some table of level 0 does.
    pub fn deepest_free(&self, start: &[u8], end: Option<&[u8]>, base: usize) -> usize {
        if self.tables(0).iter().any(|table| table.meta().overlaps(start, end)) {
            return 0;
        }
        let blocked = |level: &usize| !self.overlapping(*level, start, end).is_empty();
        match (1..LEVELS).find(blocked) {
            None => LAST_LEVEL.max(base),
            Some(level) if level > base.max(1) => level - 1,
            Some(_) => 0,
        }
    }

    /// This version without the tables `removed` and with `added`, by level.
    pub fn with(&self, removed: &[(usize, u64)], added: &[(usize, T)]) -> Version<T> {
        let keep = |number: usize, table: &&T| !removed.contains(&(number, table.meta().id));
        let mut levels: Vec<Vec<T>> = self
            .levels
            .iter()
            .enumerate()
            .map(|(number, level)| level.tables.iter().filter(|t| keep(number, t)).cloned().collect())
            .collect();
        for (number, table) in added {
            if let Some(level) = levels.get_mut(*number) {
                level.push(table.clone());
            }
        }
        Version::new(levels)
    }

    /// Every table with its level.
    pub fn all(&self) -> impl Iterator<Item = (usize, &T)> {
        self.levels
            .iter()
            .enumerate()
            .flat_map(|(number, level)| level.tables.iter().map(move |t| (number, t)))
    }

    /// The first pair of neighbours on a deeper level that overlap, if any: damage or our mistake.
    pub fn overlap(&self) -> Option<(usize, &TableMeta, &TableMeta)> {
        let pairs = self.levels.iter().enumerate().skip(1).flat_map(|(number, level)| {
            level.tables.windows(2).filter_map(move |pair| match pair {
                [a, b] => Some((number, a.meta(), b.meta())),
                _ => None,
            })
        });
        pairs.into_iter().find(|(_, a, b)| a.end.as_ref().is_none_or(|end| *end > b.smallest))
    }
}

/// A walk over tables in key order that do not overlap: opens one at a time.
#[derive(Debug)]
pub struct LevelCursor {
    tables: Arc<[Arc<Table>]>,
    direction: Direction,
    fetch: Fetch,
    at: usize,
    cursor: Option<TableCursor>,
}

impl LevelCursor {
    /// Over `tables`; stands nowhere yet.
    pub fn new(tables: Arc<[Arc<Table>]>, direction: Direction, fetch: Fetch) -> LevelCursor {
        LevelCursor { tables, direction, fetch, at: 0, cursor: None }
    }

    fn open(&mut self, at: usize) -> Option<&mut TableCursor> {
        self.at = at;
        let table = self.tables.get(at).map(Arc::clone);
        self.cursor = table.map(|table| TableCursor::new(table, self.direction, self.fetch));
        self.cursor.as_mut()
    }

    fn following(&self) -> Option<usize> {
        match self.direction {
            Direction::Forward => Some(self.at + 1),
            Direction::Reverse => self.at.checked_sub(1),
        }
    }

    /// While the table it is in has no more entries, goes to the one after it.
    fn skip_exhausted(&mut self) -> Result<()> {
        while let Some(cursor) = &self.cursor {
            if cursor.entry().is_some() {
                return Ok(());
            }
            match self.following() {
                Some(next) => {
                    if let Some(cursor) = self.open(next) {
                        cursor.rewind()?;
                    }
                }
                None => self.cursor = None,
            }
        }
        Ok(())
    }
}

impl Cursor for LevelCursor {
    #[inline]
    fn entry(&self) -> Option<Entry<'_>> {
        self.cursor.as_ref()?.entry()
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        cursor.next()?;
        if cursor.entry().is_some() { Ok(()) } else { self.skip_exhausted() }
    }

    fn rewind(&mut self) -> Result<()> {
        let first = match self.direction {
            Direction::Forward => 0,
            Direction::Reverse => self.tables.len().saturating_sub(1),
        };
        if let Some(cursor) = self.open(first) {
            cursor.rewind()?;
        }
        self.skip_exhausted()
    }

    fn seek(&mut self, key: &[u8], tag: Tag) -> Result<()> {
        let reaching = self.tables.partition_point(|t| t.meta().end.as_deref().is_some_and(|end| end <= key));
        if reaching >= self.tables.len() && self.direction == Direction::Reverse {
            return self.rewind();
        }
        if let Some(cursor) = self.open(reaching) {
            cursor.seek(key, tag)?;
        }
        self.skip_exhausted()
    }
}

#[cfg(test)]
pub mod text {
    //! A version written as text, so that tests of decisions need no file:
    //! `L0: 7 a-f 10 | 6 b-c 10` is level 0 with table 7 over `a..=f` of 10 KiB, newest first.

    use super::*;
    use crate::entry::successor;

    /// Reads the text.
    pub fn version(text: &str) -> Version<Arc<TableMeta>> {
        let mut levels = vec![Vec::new(); LEVELS];
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (level, tables) = line.split_once(':').unwrap();
            let level: usize = level.trim_start_matches('L').parse().unwrap();
            let count = tables.split('|').count() as u64;
            for (i, table) in tables.split('|').enumerate() {
                let fields: Vec<&str> = table.split_whitespace().collect();
                let (first, last) = fields[1].split_once('-').unwrap();
                levels[level].push(Arc::new(TableMeta {
                    id: fields[0].parse().unwrap(),
                    smallest: first.as_bytes().to_vec(),
                    end: Some(successor(last.as_bytes())),
                    bytes: fields[2].parse::<u64>().unwrap() << 10,
                    entries: 10,
                    seq_max: (10 - level as u64) * 100 + count - i as u64,
                    ..TableMeta::default()
                }));
            }
        }
        Version::new(levels)
    }

    /// Numbers of tables.
    pub fn ids(tables: &[Arc<TableMeta>]) -> Vec<u64> {
        tables.iter().map(|table| table.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::text::{ids, version};
    use super::*;

    #[test]
    fn a_key_is_found_on_its_level() {
        let version = version("L1: 1 b-d 1 | 2 f-h 1 | 3 m-m 1");
        let level = &version.levels()[1];
        let find = |key: &[u8]| level.find(key).map(|table| table.id);
        assert_eq!([find(b"a"), find(b"b"), find(b"d"), find(b"da")], [None, Some(1), Some(1), None]);
        assert_eq!([find(b"f"), find(b"m"), find(b"n")], [Some(2), Some(3), None]);
        let over = |start: &[u8], end: Option<&[u8]>| ids(level.overlapping(start, end));
        assert_eq!(over(b"c", Some(b"f")), [1]);
        assert_eq!(over(b"c", Some(b"f\0")), [1, 2]);
        assert_eq!(over(b"e", None), [2, 3]);
        assert!(over(b"i", Some(b"m")).is_empty() && over(b"n", None).is_empty());
    }

    #[test]
    fn keys_with_equal_heads_are_told_apart() {
        let version = version("L1: 1 prefix-8a-prefix-8b 1 | 2 prefix-8c-prefix-8d 1");
        assert!(version.overlap().is_none() || version.levels()[1].tables().len() == 2);
    }

    #[test]
    fn a_new_table_goes_as_deep_as_nothing_older_overlaps() {
        let version = version("L0: 9 a-c 1\nL4: 5 a-m 1\nL6: 1 a-f 1 | 2 x-z 1");
        assert_eq!(version.deepest_free(b"b", Some(b"d"), 4), 0);
        assert_eq!(version.deepest_free(b"n", Some(b"p"), 4), 6);
        assert_eq!(version.deepest_free(b"x", Some(b"y"), 4), 5);
        assert_eq!(version.deepest_free(b"h", Some(b"i"), 4), 0);
        assert!(version.is_bottom(4, b"h", Some(b"w")) && !version.is_bottom(4, b"h", None));
        assert!(version.is_bottom(6, b"", None));
    }

    #[test]
    fn a_level_knows_its_range_deletes_as_tables_come_and_go() {
        let old = version("L6: 1 a-f 1 | 2 g-m 1 | 3 x-z 1");
        assert!(old.levels()[6].range_deleting().is_empty());
        let deleting = |i: usize| {
            let table = &old.tables(6)[i];
            (6, Arc::new(TableMeta { id: table.id + 10, range_tombstones: 2, ..TableMeta::clone(table) }))
        };
        let new = old.with(&[(6, 1), (6, 3)], &[deleting(2), deleting(0)]);
        assert_eq!(ids(new.tables(6)), [11, 2, 13]);
        assert_eq!(ids(new.levels()[6].range_deleting()), [11, 13]);
        assert_eq!(ids(new.with(&[(6, 11)], &[]).levels()[6].range_deleting()), [13]);
    }

    #[test]
    fn tables_come_and_go_and_the_old_version_stays() {
        let old = version("L0: 9 a-c 1\nL6: 1 a-f 1 | 2 x-z 1");
        let moved = Arc::clone(&old.tables(0)[0]);
        let new = old.with(&[(0, 9), (6, 1)], &[(6, moved)]);
        assert_eq!((ids(new.tables(0)), ids(new.tables(6))), (vec![], vec![9, 2]));
        assert_eq!((ids(old.tables(0)), ids(old.tables(6))), (vec![9], vec![1, 2]));
        assert_eq!(new.bytes(6), 2 << 10);
    }
}
