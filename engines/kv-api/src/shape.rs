//! The structure of an engine on disk, for people, charts and tests.

/// The structure on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Shape {
    /// A tree of pages.
    Tree(TreeShape),
    /// Levels of sorted tables.
    Levels(LevelsShape),
    /// Nothing on disk.
    Memory {
        /// Entries held.
        entries: u64,
    },
}

/// A tree of pages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TreeShape {
    /// Bytes of a page.
    pub page_bytes: u64,
    /// Levels of the tree: 1 is a single leaf.
    pub height: u64,
    /// Live entries.
    pub entries: u64,
    /// Inner pages.
    pub inner_pages: u64,
    /// Leaf pages.
    pub leaf_pages: u64,
    /// Pages that hold large values and their chains.
    pub value_pages: u64,
    /// Pages that could be handed out now.
    pub free_pages: u64,
    /// Pages kept only for snapshots or the last checkpoint.
    pub pinned_pages: u64,
    /// Pages changed since the last checkpoint.
    pub dirty_pages: u64,
    /// Leaves by tenths of fill: the first counts those under 10 % full.
    pub leaf_fill_tenths: [u64; 10],
}

/// Levels of sorted tables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LevelsShape {
    /// Entries and bytes of memtables, the active one first.
    pub memtables: Vec<MemtableShape>,
    /// Levels, from 0.
    pub levels: Vec<LevelShape>,
}

/// A memtable.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MemtableShape {
    /// Entries, every version counted.
    pub entries: u64,
    /// Bytes charged to the memory budget.
    pub bytes: u64,
}

/// One level.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LevelShape {
    /// Its number.
    pub level: u8,
    /// Bytes it may hold before it is compacted; 0 where that does not apply.
    pub target_bytes: u64,
    /// Its tables: in key order, or newest first in level 0.
    pub tables: Vec<TableShape>,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TableShape {
    /// Number in its file name.
    pub id: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Entries, tombstones included.
    pub entries: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Range tombstones.
    pub range_tombstones: u64,
    /// Smallest key.
    pub smallest: Vec<u8>,
    /// Largest key.
    pub largest: Vec<u8>,
}
