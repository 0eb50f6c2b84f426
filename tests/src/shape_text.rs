//! The structure of an engine as text, for golden scripts: what a student should see, and nothing that moves
//! when only a byte count does.

use kv_api::Shape;
use kv_api::shape::{LevelsShape, TableShape, TreeShape};

use crate::script::show as show_bytes;

/// The text.
///
/// ```text
/// memtable: 2 entries                        height 2: 1 inner page, 3 leaves
/// L0: 2 tables [a..c] 1 tombstone, [b..d]    40 entries, 0 value pages
/// ```
pub fn show(shape: &Shape) -> String {
    match shape {
        Shape::Tree(tree) => show_tree(tree),
        Shape::Levels(levels) => show_levels(levels),
        Shape::Memory { entries } => format!("memory: {entries} entries\n"),
        other => format!("{other:?}\n"),
    }
}

fn show_tree(tree: &TreeShape) -> String {
    format!(
        "height {}: {}, {}\n{}, {}\n",
        tree.height,
        count(tree.inner_pages, "inner page", "inner pages"),
        count(tree.leaf_pages, "leaf", "leaves"),
        count(tree.entries, "entry", "entries"),
        count(tree.value_pages, "value page", "value pages"),
    )
}

fn show_levels(shape: &LevelsShape) -> String {
    let mut text = String::new();
    for (at, memtable) in shape.memtables.iter().enumerate().filter(|(_, memtable)| memtable.entries > 0) {
        let name = if at == 0 { "memtable" } else { "sealed memtable" };
        text += &format!("{name}: {}\n", count(memtable.entries, "entry", "entries"));
    }
    for level in shape.levels.iter().filter(|level| !level.tables.is_empty()) {
        let tables = count(level.tables.len() as u64, "table", "tables");
        text += &format!("L{}: {tables} {}\n", level.level, show_tables(&level.tables));
    }
    if text.is_empty() { "nothing\n".to_owned() } else { text }
}

/// Every table, or what many of them span.
fn show_tables(tables: &[TableShape]) -> String {
    if let (Some(first), Some(last), 5..) = (tables.first(), tables.last(), tables.len()) {
        return format!("[{}..{}]", show_bytes(&first.smallest), show_bytes(&last.largest));
    }
    tables.iter().map(show_table).collect::<Vec<_>>().join(", ")
}

fn show_table(table: &TableShape) -> String {
    let mut text = format!("[{}..{}]", show_bytes(&table.smallest), show_bytes(&table.largest));
    if table.tombstones > 0 {
        text += &format!(" {}", count(table.tombstones, "tombstone", "tombstones"));
    }
    if table.range_tombstones > 0 {
        text += &format!(" {}", count(table.range_tombstones, "range tombstone", "range tombstones"));
    }
    text
}

fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
