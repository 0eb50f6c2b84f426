//! Output: the tables that a flush, a merge or an ingest writes, cut to size, removed again if it fails.

use std::path::PathBuf;
use std::sync::Arc;

use kv_api::{Cause, Result};
use kv_io::seeded::{self, Bug};

use crate::entry::Entry;
use crate::range_tombstone::Fragments;
use crate::sstable::TableMeta;
use crate::sstable::reader::{Table, TableSpace};
use crate::sstable::writer::{TableWriter, WriteOptions};

/// Where the numbers of new files come from.
pub type NextId<'a> = &'a dyn Fn() -> u64;

/// Writes tables one after another. Unless [`Output::open_all`] takes them over, dropping it removes their files.
pub struct Output<'a> {
    space: &'a Arc<TableSpace>,
    options: &'a WriteOptions,
    cause: Cause,
    next_id: NextId<'a>,
    writer: Option<TableWriter>,
    /// First key of the table being written: where its share of the range tombstones begins.
    start: Option<Vec<u8>>,
    done: Vec<TableMeta>,
    files: Vec<PathBuf>,
}

impl<'a> Output<'a> {
    /// Nothing written yet.
    pub fn new(
        space: &'a Arc<TableSpace>,
        options: &'a WriteOptions,
        cause: Cause,
        next_id: NextId<'a>,
    ) -> Output<'a> {
        Output {
            space,
            options,
            cause,
            next_id,
            writer: None,
            start: None,
            done: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Bytes of the table being written.
    pub fn bytes(&self) -> u64 {
        self.writer.as_ref().map_or(0, TableWriter::bytes)
    }

    fn writer(&mut self) -> Result<&mut TableWriter> {
        if self.writer.is_none() {
            let id = (self.next_id)();
            let space = self.space;
            let writer =
                TableWriter::create(&*space.vfs, &space.dir, id, space.salt, self.options, self.cause)?;
            // Only what was made here is removed here.
            self.files.push(space.dir.join(kv_io::layout::table_name(id)));
            return Ok(self.writer.insert(writer));
        }
        match &mut self.writer {
            Some(writer) => Ok(writer),
            None => Err(kv_api::Error::Closed),
        }
    }

    /// Adds an entry to the table being written.
    ///
    /// # Errors
    /// `Io`, `NoSpace`; `Corruption` if the entry lies before one that was added.
    pub fn add(&mut self, entry: Entry<'_>) -> Result<()> {
        let is_behind_cut = self.start.as_deref().is_none_or(|start| entry.key >= start);
        let writer = self.writer()?;
        if !is_behind_cut {
            let what = "an entry that a table is written from is out of order";
            return Err(kv_api::Error::corruption(writer.path(), 0, what));
        }
        writer.add(entry)
    }

    /// Ends the table being written before `next_key`, with its share of `tombstones`; what follows goes to a new
    /// one. `None` ends the last table: it takes all range tombstones that are left, even if it has no entry.
    ///
    /// # Errors
    /// `Io`, `NoSpace`.
    pub fn cut(&mut self, tombstones: &Fragments, next_key: Option<&[u8]>) -> Result<()> {
        let start = std::mem::replace(&mut self.start, next_key.map(<[u8]>::to_vec)).unwrap_or_default();
        let share = tombstones.clip(&start, next_key);
        if self.writer.is_none() && share.is_empty() {
            return Ok(());
        }
        self.writer()?;
        if let Some(writer) = self.writer.take() {
            self.done.push(writer.finish(&share)?);
        }
        Ok(())
    }

    /// Bytes of the finished tables.
    pub fn written_bytes(&self) -> u64 {
        self.done.iter().map(|meta| meta.bytes).sum()
    }

    /// Syncs the directory and opens the finished tables, with `change` applied to what is known of them.
    ///
    /// # Errors
    /// `Io`, `Corruption`: the files are removed.
    pub fn open_all(mut self, change: impl Fn(&mut TableMeta)) -> Result<Vec<Arc<Table>>> {
        if self.done.is_empty() {
            return Ok(Vec::new());
        }
        if !seeded::is(Bug::TableNamesUnsynced) {
            self.space.vfs.sync_dir(&self.space.dir, self.cause)?;
        }
        let mut tables = Vec::with_capacity(self.done.len());
        for mut meta in std::mem::take(&mut self.done) {
            change(&mut meta);
            tables.push(Table::open(self.space, meta, self.cause)?);
        }
        self.files.clear();
        Ok(tables)
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        self.writer = None;
        if seeded::is(Bug::OutputsLeftBehind) {
            return;
        }
        for file in &self.files {
            // One that cannot be removed is removed at the next open: no manifest names it.
            let _ = self.space.vfs.remove(file, self.cause);
        }
    }
}
