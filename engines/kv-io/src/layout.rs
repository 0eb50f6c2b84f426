//! Names in a database directory. Whatever is not named here is not ours and is left alone.
//!
//! KVLAB            the identity: which engine, which format, which salt
//! KVLAB.new        the identity of a database whose creation has not finished
//! LOCK             the lock file, empty, never removed
//! 000017.wal       a segment of the log          000017.tbl        a table
//! 000017.pages     a file of pages               000017.manifest   a log of which tables are live

use std::fmt;

use crate::vfs::DirEntry;

/// The identity of a database.
pub const IDENTITY_FILE: &str = "KVLAB";
/// The identity while the database is being created; renamed to [`IDENTITY_FILE`] as the last step.
pub const IDENTITY_NEW_FILE: &str = "KVLAB.new";
/// The lock file.
pub const LOCK_FILE: &str = "LOCK";

/// The number of the first file of each kind.
pub const FIRST_ID: u64 = 1;
/// No file has a larger number: at a million new files a second it would take 146,000 years to get there.
pub const ID_MAX: u64 = 1 << 62;
/// What a log segment that was ever used begins with.
pub const LOG_MAGIC: [u8; 8] = *b"KVLABWAL";
/// Where the first frame of a log segment begins, in bytes. Before it is the segment's header.
pub const LOG_FRAMES_OFFSET: u64 = 4096;

/// What a numbered file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// A segment of the write-ahead log.
    Wal,
    /// A sorted table.
    Table,
    /// Pages of a tree.
    Pages,
    /// The log of which tables are live.
    Manifest,
}

impl FileKind {
    /// Every kind.
    pub const ALL: [FileKind; 4] = [FileKind::Wal, FileKind::Table, FileKind::Pages, FileKind::Manifest];

    fn suffix(self) -> &'static str {
        match self {
            FileKind::Wal => "wal",
            FileKind::Table => "tbl",
            FileKind::Pages => "pages",
            FileKind::Manifest => "manifest",
        }
    }

    /// The name of file `id` of this kind.
    pub fn name(self, id: u64) -> String {
        format!("{id:06}.{}", self.suffix())
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.suffix())
    }
}

/// The name of log segment `id`.
pub fn wal_name(id: u64) -> String {
    FileKind::Wal.name(id)
}

/// The name of table `id`.
pub fn table_name(id: u64) -> String {
    FileKind::Table.name(id)
}

/// The name of page file `id`.
pub fn pages_name(id: u64) -> String {
    FileKind::Pages.name(id)
}

/// The name of manifest `id`.
pub fn manifest_name(id: u64) -> String {
    FileKind::Manifest.name(id)
}

/// Kind and number of a file with one of our names, or `None`. Only the very spelling that [`FileKind::name`]
/// gives is ours: two names never mean the same file.
pub fn parse_name(name: &str) -> Option<(FileKind, u64)> {
    let (digits, suffix) = name.split_once('.')?;
    let kind = FileKind::ALL.into_iter().find(|kind| kind.suffix() == suffix)?;
    let id = digits.parse().ok()?;
    (kind.name(id) == name).then_some((kind, id))
}

/// Our numbered files among `entries`, sorted by kind and number.
pub fn known_files(entries: &[DirEntry]) -> Vec<(FileKind, u64)> {
    let files = entries.iter().filter(|entry| entry.is_file);
    let mut known: Vec<_> = files.filter_map(|entry| parse_name(&entry.name)).collect();
    known.sort_unstable();
    known
}

/// A number above that of every numbered file in `entries`, whatever its kind; 1 if there is none.
pub fn next_id(entries: &[DirEntry]) -> u64 {
    let ids = entries.iter().filter_map(|entry| parse_name(&entry.name));
    ids.map(|(_, id)| id).max().map_or(1, |id| id.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_foreign_ones_do_not_parse() {
        for kind in FileKind::ALL {
            for id in [0, 1, 17, 999_999, 1_000_000, u64::MAX] {
                assert_eq!(parse_name(&kind.name(id)), Some((kind, id)));
            }
        }
        assert_eq!(wal_name(17), "000017.wal");
        let foreign = [
            "",
            ".",
            ".wal",
            "17.wal",
            "0000017.wal",
            "+00017.wal",
            "000017.WAL",
            "000017.wal.bak",
            "000017",
            "KVLAB",
            "LOCK",
            ".DS_Store",
            "18446744073709551616.wal",
            "000017.tblx",
            " 00017.tbl",
        ];
        for name in foreign {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }

    #[test]
    fn the_next_number_is_above_any_on_disk() {
        let entry = |name: &str| DirEntry { name: name.to_owned(), is_file: true };
        assert_eq!(next_id(&[entry("LOCK")]), 1);
        let entries = [entry("000009.wal"), entry("000004.tbl"), entry("x"), entry("000002.tbl")];
        assert_eq!(next_id(&entries), 10);
        let known = vec![(FileKind::Wal, 9), (FileKind::Table, 2), (FileKind::Table, 4)];
        assert_eq!(known_files(&entries), known);
    }
}
