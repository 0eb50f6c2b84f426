//! redb: a copy-on-write B+tree in Rust, one writer, readers that never wait.
//!
//! Levels: `memory` is `Durability::None` (kept in the process until a later durable commit), `disk` is
//! `Durability::Immediate`. There is nothing between them, so `os` goes up to `disk`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::redb::{
    AccessGuard, Database, Durability as Level, Range, ReadOnlyTable, ReadableDatabase,
    ReadableTableMetadata, StorageError, TableDefinition,
};
use kv_api::shape::TreeShape;
use kv_api::{Batch, Direction, Durability, EntryRef, Error, KeyRange, Op, Result, Shape, SortedSource};

use crate::peer::{Cursor, Peer, PeerOptions, Tunable, View, failed, failed_io};
use crate::ranges::of_delete;

/// The table of all keys.
pub const TABLE: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("kv");
const FILE: &str = "data.redb";

/// An open redb database.
pub struct Redb {
    db: Database,
    dir: PathBuf,
}

fn said(action: &'static str, dir: &Path, error: impl Into<::redb::Error>) -> Error {
    match error.into() {
        ::redb::Error::Io(error) => failed_io(action, dir, error),
        ::redb::Error::Corrupted(what) => Error::corruption(dir.join(FILE), 0, what),
        ::redb::Error::DatabaseAlreadyOpen => Error::Locked { path: dir.to_path_buf() },
        error => failed(action, dir, error),
    }
}

impl Redb {
    /// redb's own handle, for comparisons.
    pub fn database(&self) -> &Database {
        &self.db
    }

    fn fail<'a, E: Into<::redb::Error>>(&'a self, action: &'static str) -> impl Fn(E) -> Error + 'a {
        move |error| said(action, &self.dir, error)
    }

    fn commit(
        &self,
        level: Durability,
        fill: impl FnOnce(&mut ::redb::Table<'_, &'static [u8], &'static [u8]>) -> Result<()>,
    ) -> Result<()> {
        let mut txn = self.db.begin_write().map_err(self.fail("begin a transaction in"))?;
        let level = if level == Durability::Memory { Level::None } else { Level::Immediate };
        txn.set_durability(level).map_err(|error| failed("set the durability in", &self.dir, error))?;
        fill(&mut txn.open_table(TABLE).map_err(self.fail("open the table in"))?)?;
        txn.commit().map_err(self.fail("commit to"))
    }

    fn table(&self) -> Result<ReadOnlyTable<&'static [u8], &'static [u8]>> {
        let txn = self.db.begin_read().map_err(self.fail("read"))?;
        txn.open_table(TABLE).map_err(self.fail("open the table in"))
    }
}

impl Peer for Redb {
    type View = RedbView;

    const NAME: &'static str = "redb";
    const ABOUT: &'static str = "redb: a copy-on-write B+tree in Rust";
    const VERSION: &'static str = "4.5.0";
    const LEVELS: &'static [Durability] = &[Durability::Memory, Durability::Disk];
    const TUNABLES: &'static [Tunable] = &[Tunable {
        name: "cache",
        // redb has one budget for cached pages and buffered writes: it gets all of it.
        about: "bytes of cached pages and buffered writes; default: the memory budget",
        default: |budget| budget,
        limits: (64 << 10, 1 << 40),
    }];

    fn open(dir: &Path, options: &PeerOptions<Self>) -> Result<Self> {
        let mut builder = Database::builder();
        builder.set_cache_size(options.get_usize("cache"));
        let db = builder.create(dir.join(FILE)).map_err(|error| said("open", dir, error))?;
        let redb = Redb { db, dir: dir.to_path_buf() };
        // Readers do not create tables.
        if redb.table().is_err() {
            redb.commit(Durability::Disk, |_| Ok(()))?;
        }
        Ok(redb)
    }

    fn fixed_settings(&self, _options: &PeerOptions<Self>) -> Vec<(&'static str, String)> {
        vec![
            // One fsync a commit, like the log of the other engines; two-phase commit is for hostile writers.
            ("two_phase_commit", "off".to_owned()),
            // It would write the allocator state at every commit; recovery is slow instead, and is not measured.
            ("quick_repair", "off".to_owned()),
            ("checksums", "written, checked at repair".to_owned()),
        ]
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        // The table holds the transaction, and the value does not: redb would use its page again.
        let table = self.table()?;
        let value = table.get(key).map_err(self.fail("read"))?;
        Ok(value.map(|value| found(value.value())).is_some())
    }

    fn view(&self) -> Result<RedbView> {
        Ok(RedbView { table: Arc::new(self.table()?), dir: self.dir.clone() })
    }

    fn write(&self, batch: &Batch, level: Durability) -> Result<()> {
        let fail = |error: StorageError| said("write to", &self.dir, error);
        self.commit(level, |table| {
            for op in batch.ops() {
                match op {
                    Op::Put { key, value } => drop(table.insert(key, value).map_err(fail)?),
                    Op::Delete { key } => drop(table.remove(key).map_err(fail)?),
                    Op::DeleteRange { start, end } => {
                        let Some(range) = of_delete::<Self>(start, end) else { continue };
                        table.retain_in::<&[u8], _>((range.start, range.end), |_, _| false).map_err(fail)?;
                    }
                }
            }
            Ok(())
        })
    }

    fn put(&self, key: &[u8], value: &[u8], level: Durability) -> Result<()> {
        self.commit(level, |table| table.insert(key, value).map(drop).map_err(self.fail("write to")))
    }

    fn ingest(&self, sorted: &mut dyn SortedSource) -> Result<()> {
        self.commit(Durability::Disk, |table| {
            while let Some(EntryRef { key, value }) = sorted.next()? {
                table.insert(key, value).map_err(self.fail("write to"))?;
            }
            Ok(())
        })
    }

    fn sync(&self) -> Result<()> {
        // A durable commit makes every earlier one durable; it needs no change.
        self.commit(Durability::Disk, |_| Ok(()))
    }

    fn flush(&self) -> Result<()> {
        self.sync()
    }

    fn compact(&self, _range: KeyRange<'_>) -> Result<()> {
        Err(Error::Unsupported { action: "compact: redb needs the database for itself; back it up instead" })
    }

    fn shape(&self) -> Result<Shape> {
        let table = self.table()?;
        let stats = table.stats().map_err(self.fail("read"))?;
        Ok(Shape::Tree(TreeShape {
            page_bytes: 4096,
            height: u64::from(stats.tree_height()),
            entries: table.len().map_err(self.fail("read"))?,
            inner_pages: stats.branch_pages(),
            leaf_pages: stats.leaf_pages(),
            ..TreeShape::default()
        }))
    }

    fn is_log(_name: &str) -> bool {
        false
    }

    fn close(self) -> Result<()> {
        self.sync()
    }
}

/// One state: its table, which holds its transaction.
#[derive(Clone)]
pub struct RedbView {
    table: Arc<ReadOnlyTable<&'static [u8], &'static [u8]>>,
    dir: PathBuf,
}

impl RedbView {
    fn range(&self, range: KeyRange<'_>) -> Result<Range<'static, &'static [u8], &'static [u8]>> {
        self.table.range::<&[u8]>((range.start, range.end)).map_err(|error| said("scan", &self.dir, error))
    }
}

impl View for RedbView {
    type Cursor = RedbCursor;

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = self.table.get(key).map_err(|error| said("read", &self.dir, error))?;
        Ok(value.map(|value| found(value.value())).is_some())
    }

    fn cursor(&self, range: KeyRange<'_>, direction: Direction) -> Result<RedbCursor> {
        Ok(RedbCursor { entries: self.range(range)?, entry: None, direction, view: self.clone() })
    }
}

type Entry = (AccessGuard<'static, &'static [u8]>, AccessGuard<'static, &'static [u8]>);

/// A walk. Fields are dropped in this order: entries before the view, whose table holds the transaction.
pub struct RedbCursor {
    entry: Option<Entry>,
    entries: Range<'static, &'static [u8], &'static [u8]>,
    direction: Direction,
    view: RedbView,
}

impl Cursor for RedbCursor {
    fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
        let found = match self.direction {
            Direction::Forward => self.entries.next(),
            Direction::Reverse => self.entries.next_back(),
        };
        self.entry = found.transpose().map_err(|error| said("scan", &self.view.dir, error))?;
        Ok(self.entry.as_ref().map(|(key, value)| EntryRef { key: key.value(), value: value.value() }))
    }

    fn seek(&mut self, range: KeyRange<'_>) -> Result<()> {
        self.entries = self.view.range(range)?;
        Ok(())
    }
}
