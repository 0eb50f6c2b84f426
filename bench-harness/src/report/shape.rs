//! What the structure looks like when the workload has ended: levels of an LSM tree, or height and fill of a tree of
//! pages.

use std::fmt::Write;

use kv_api::Shape;
use kv_api::shape::{LevelsShape, TreeShape};

use super::charts::figure;
use super::svg::escape;
use crate::run::CellRecord;
use crate::units::{bytes, count};

/// One figure per engine that tells; empty if none does.
pub fn figures(cells: &[&CellRecord]) -> String {
    let mut figures = String::new();
    for cell in cells {
        let title = format!("{}: shape at the end", cell.engine.label);
        match &cell.shape {
            Some(Shape::Tree(tree)) => figures.push_str(&figure(&title, &pages(tree), &tree_caption(tree))),
            Some(Shape::Levels(levels)) => figures.push_str(&figure(
                &title,
                &tables(levels),
                "Bytes of each level; overlap: how many tables of the next level a table shares keys with, on average: \
                 they are merged with it.",
            )),
            _ => {}
        }
    }
    figures
}

/// A bar on a scale whose full width is `most`.
fn bar(name: &str, value: u64, most: u64, told: &str) -> String {
    let width = value as f64 / most.max(1) as f64 * 100.0;
    format!(
        "<div class=\"bar\"><span>{}</span><span class=\"track\"><i class=\"part\" style=\"--c:var(--k2);width:{width:.2}%\"></i>\
         </span><b>{}</b></div>",
        escape(name),
        escape(told)
    )
}

fn tables(shape: &LevelsShape) -> String {
    let size = |level: &kv_api::shape::LevelShape| level.tables.iter().map(|table| table.bytes).sum::<u64>();
    let memory: u64 = shape.memtables.iter().map(|table| table.bytes).sum();
    let most = shape.levels.iter().map(size).chain([memory]).max().unwrap_or(0);
    let mut out = String::from("<div class=\"bars\">");
    out.push_str(&bar("memtables", memory, most, &format!("{}, {}", bytes(memory), shape.memtables.len())));
    for (index, level) in shape.levels.iter().enumerate().filter(|(_, level)| !level.tables.is_empty()) {
        let mut told = format!("{}, {} tables", bytes(size(level)), level.tables.len());
        if level.target_bytes > 0 {
            let _ =
                write!(told, ", {:.0} % of target", size(level) as f64 / level.target_bytes as f64 * 100.0);
        }
        if let Some(overlap) = shape.levels.get(index + 1).and_then(|next| overlap(level, next)) {
            let _ = write!(told, ", overlap {overlap:.1}");
        }
        out.push_str(&bar(&format!("level {}", level.level), size(level), most, &told));
    }
    out.push_str("</div>");
    out
}

/// Tables of `next` that a table of `level` shares keys with, on average; `None` if either level is empty.
fn overlap(level: &kv_api::shape::LevelShape, next: &kv_api::shape::LevelShape) -> Option<f64> {
    if level.tables.is_empty() || next.tables.is_empty() {
        return None;
    }
    let meets = |a: &kv_api::shape::TableShape| {
        next.tables.iter().filter(|b| a.smallest <= b.largest && b.smallest <= a.largest).count()
    };
    Some(level.tables.iter().map(meets).sum::<usize>() as f64 / level.tables.len() as f64)
}

fn pages(tree: &TreeShape) -> String {
    let most = tree.leaf_fill_tenths.iter().copied().max().unwrap_or(0);
    let mut out = String::from("<p>Leaves by fill</p><div class=\"bars\">");
    for (tenth, leaves) in tree.leaf_fill_tenths.iter().enumerate() {
        let name = format!("{} to {} %", tenth * 10, tenth * 10 + 10);
        out.push_str(&bar(&name, *leaves, most, &count(*leaves)));
    }
    out.push_str("</div>");
    out
}

fn tree_caption(tree: &TreeShape) -> String {
    let pages = |pages: u64| format!("{} ({})", count(pages), bytes(pages * tree.page_bytes));
    format!(
        "Height {}, {} entries, pages of {}: {} leaves, {} inner, {} for large values, {} free, {} kept for snapshots or \
         the last checkpoint, {} dirty.",
        tree.height,
        count(tree.entries),
        bytes(tree.page_bytes),
        pages(tree.leaf_pages),
        pages(tree.inner_pages),
        pages(tree.value_pages),
        pages(tree.free_pages),
        pages(tree.pinned_pages),
        pages(tree.dirty_pages)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use kv_api::shape::{LevelShape, TableShape};

    fn level(level: u8, ranges: &[(&[u8], &[u8])]) -> LevelShape {
        let table = |(smallest, largest): &(&[u8], &[u8])| TableShape {
            bytes: 100,
            smallest: smallest.to_vec(),
            largest: largest.to_vec(),
            ..TableShape::default()
        };
        LevelShape { level, target_bytes: 400, tables: ranges.iter().map(table).collect() }
    }

    #[test]
    fn overlap_counts_tables_that_share_keys() {
        let one = level(1, &[(b"a", b"m"), (b"n", b"z")]);
        let two = level(2, &[(b"a", b"b"), (b"c", b"n"), (b"x", b"z")]);
        assert_eq!(overlap(&one, &two), Some(2.0));
        assert_eq!(overlap(&one, &level(2, &[])), None);
        let told = tables(&LevelsShape { memtables: Vec::new(), levels: vec![one, two] });
        assert!(told.contains("200 B, 2 tables, 50 % of target, overlap 2.0"), "{told}");
    }

    #[test]
    fn a_tree_tells_its_leaves() {
        let mut tree = TreeShape { page_bytes: 4096, height: 3, leaf_pages: 7, ..TreeShape::default() };
        tree.leaf_fill_tenths[6] = 7;
        assert!(pages(&tree).contains("60 to 70 %") && tree_caption(&tree).contains("Height 3"));
        assert_eq!(figures(&[]), "");
    }
}
