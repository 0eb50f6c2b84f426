//! Check: reads everything and compares what should agree, and tells the shape of the levels. Damage goes into the
//! report, it is no error.
//!
//! Per table: every section's checksum, the props against the manifest, every block's checksum, the order of
//! entries, their keys inside the table's bounds, the counts, every key in the filter, every entry found by a search. Per level: no two tables
//! overlap. Then everything is read once as a user would: a live entry counts once.

use std::sync::Arc;

use kv_api::shape::{LevelShape, LevelsShape, MemtableShape, TableShape};
use kv_api::{Cause, Direction, Error, Result, Scan, Shape, VerifyReport};

use crate::compaction::picker;
use crate::core::Core;
use crate::cursor::Cursor;
use crate::entry::{Kind, Tag, compare, hash64};
use crate::num::to_u64;
use crate::scan::LsmScan;
use crate::sstable::TableMeta;
use crate::sstable::bloom::FilterHash;
use crate::sstable::cursor::{Fetch, TableCursor};
use crate::sstable::reader::Table;
use crate::version::Level;

/// Bytes read at once.
const CHUNK: usize = 64 << 10;

/// Checks the state of this moment.
///
/// # Errors
/// `Io` that kept it from looking, `Closed`.
pub fn verify(core: &Arc<Core>) -> Result<VerifyReport> {
    let mut report = VerifyReport::default();
    let state = Arc::clone(&core.state());
    let seq = core.visible_seq();
    if let Some((level, a, b)) = state.version.overlap() {
        report.add(&core.space.dir, 0, format!("tables {} and {} of level {level} overlap", a.id, b.id));
    }
    for (_, table) in state.version.all() {
        core.check_open()?;
        note(&mut report, check_table(table))?;
        report.blocks += to_u64(table.index().len());
        report.bytes += table.meta().bytes;
    }
    if report.is_sound() {
        let mut scan = LsmScan::all(core, &state, seq, Cause::Verify);
        let mut count = || -> Result<u64> {
            let mut entries = 0;
            while scan.next()?.is_some() {
                entries += 1;
            }
            Ok(entries)
        };
        match count() {
            Ok(entries) => report.entries = entries,
            Err(error) => note(&mut report, Err(error))?,
        }
    }
    Ok(report)
}

/// Damage is written down; any other failure ends the check.
fn note(report: &mut VerifyReport, outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(Error::Corruption { path, offset, what }) => {
            report.add(path, offset, what);
            Ok(())
        }
        other => other,
    }
}

fn check_table(table: &Arc<Table>) -> Result<()> {
    table.check_sections(Cause::Verify)?;
    let fetch = Fetch::Chunks { bytes_max: CHUNK, cause: Cause::Verify };
    let mut cursor = TableCursor::new(Arc::clone(table), Direction::Forward, fetch);
    cursor.rewind()?;
    let wrong = |what: String| Err(table.damaged(0, what));
    let meta = table.meta();
    let mut last: Option<(Vec<u8>, Tag)> = None;
    let mut found = TableMeta::default();
    while let Some(entry) = cursor.entry() {
        if last.as_ref().is_some_and(|(key, tag)| compare((key, *tag), (entry.key, entry.tag)).is_ge()) {
            return wrong(format!("entry {} is out of order", found.entries));
        }
        if !meta.covers(entry.key) {
            return wrong(format!("entry {} lies outside the table's bounds", found.entries));
        }
        if !cursor.is_found_by_search() {
            return wrong(format!("a search does not find entry {}", found.entries));
        }
        if !table.may_hold(&FilterHash::of(hash64(entry.key))) {
            return wrong(format!("the filter denies entry {}", found.entries));
        }
        found.entries += 1;
        found.tombstones += u64::from(entry.tag.kind() == Kind::Delete);
        found.user_bytes += to_u64(entry.key.len() + entry.value.len());
        if entry.tag.seq() < meta.seq_min || entry.tag.seq() > meta.seq_max {
            return wrong(format!("entry {} is not of the age the table claims", found.entries));
        }
        last = Some((entry.key.to_vec(), entry.tag));
        cursor.next()?;
    }
    found.range_tombstones = table.tombstones().count();
    let counts = |m: &TableMeta| (m.entries, m.tombstones, m.user_bytes, m.range_tombstones);
    if counts(&found) != counts(meta) {
        return wrong(format!(
            "the table holds {:?} entries, the manifest says {:?}",
            counts(&found),
            counts(meta)
        ));
    }
    Ok(())
}

/// The levels and memtables.
pub fn shape(core: &Core) -> Shape {
    let state = core.state();
    let targets = picker::targets(&state.version, &core.pick_options());
    let memtables = state
        .memtables()
        .map(|memtable| MemtableShape { entries: memtable.entries(), bytes: memtable.bytes() })
        .collect();
    let level = |(number, level): (usize, &Level<Arc<Table>>)| LevelShape {
        level: u8::try_from(number).unwrap_or(u8::MAX),
        target_bytes: targets.bytes.get(number).copied().unwrap_or(0),
        tables: level.tables().iter().map(|table| table_shape(table.meta())).collect(),
    };
    let levels = state.version.levels().iter().enumerate().map(level).collect();
    Shape::Levels(LevelsShape { memtables, levels })
}

fn table_shape(meta: &TableMeta) -> TableShape {
    let mut largest = meta.end.clone().unwrap_or_default();
    // The end is the key just above the largest one, unless a range tombstone set it.
    if largest.last() == Some(&0) {
        largest.pop();
    }
    TableShape {
        id: meta.id,
        bytes: meta.bytes,
        entries: meta.entries,
        tombstones: meta.tombstones,
        range_tombstones: meta.range_tombstones,
        smallest: meta.smallest.clone(),
        largest,
    }
}
