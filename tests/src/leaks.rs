//! Files that nothing needs: what a directory may hold once an engine was opened and has paid its debts.

use std::collections::BTreeSet;

use kv_api::{Cause, Kv, Result, Shape};
use kv_io::Vfs;
use kv_io::layout::{FileKind, IDENTITY_FILE, LOCK_FILE, known_files, table_name};

use crate::lab::Lab;

/// Segments of a log that was let go of: the one that is written to, one that still waits, and the spare.
const SEGMENTS_MAX: usize = 3;

/// Stops the test if the directory holds a file that no live state of `db` needs. Ask after [`Kv::settle`].
///
/// # Errors
/// Those of the engine and the disk.
///
/// # Panics
/// If there is such a file, or one is missing.
pub fn none(vfs: &dyn Vfs, lab: &Lab, db: &dyn Kv, context: &str) -> Result<()> {
    let entries = vfs.list(lab.dir(), Cause::Verify)?;
    let known = known_files(&entries);
    let count = |kind: FileKind| known.iter().filter(|(own, _)| *own == kind).count();
    let tables: BTreeSet<String> =
        known.iter().filter(|(kind, _)| *kind == FileKind::Table).map(|(_, id)| table_name(*id)).collect();
    let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    let (live, manifests, pages) = match db.shape()? {
        Shape::Levels(shape) => {
            let tables = shape.levels.iter().flat_map(|level| &level.tables);
            (tables.map(|table| table_name(table.id)).collect(), 1, 0)
        }
        _ => (BTreeSet::new(), 0, 1),
    };
    assert_eq!(tables, live, "{context}: left: tables there are; right: live ones");
    assert_eq!(count(FileKind::Manifest), manifests, "{context}: {names:?}");
    assert_eq!(count(FileKind::Pages), pages, "{context}: {names:?}");
    assert!((1..=SEGMENTS_MAX).contains(&count(FileKind::Wal)), "{context}: {names:?}");
    let others: Vec<_> =
        names.iter().filter(|name| kv_io::layout::parse_name(name).is_none()).copied().collect();
    let expected = BTreeSet::from([IDENTITY_FILE, LOCK_FILE]);
    assert_eq!(others.iter().copied().collect::<BTreeSet<_>>(), expected, "{context}: {names:?}");
    Ok(())
}
