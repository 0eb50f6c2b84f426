//! RocksDB: a log-structured merge tree in C++, through the crate `rocksdb`, its source included.
//!
//! Levels: the log is flushed by hand, so all three are there and the log keeps the order of commits. A `memory`
//! commit stays in the log's buffer, an `os` commit flushes it, a `disk` commit syncs it before it becomes visible.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, DBRawIterator, FlushOptions, IngestExternalFileOptions,
    Options, ReadOptions, SnapshotWithThreadMode, SstFileWriter, WaitForCompactOptions, WriteBatch,
    WriteOptions, properties,
};
use kv_api::shape::{LevelShape, LevelsShape, MemtableShape, TableShape};
use kv_api::stats::MemoryUse;
use kv_api::{
    Batch, Direction, Durability, EntryRef, Error, IoMode, KeyRange, Op, Result, SettleReport, Shape,
    SortedSource,
};
use self_cell::self_cell;
use std::ops::Bound;

use crate::peer::{Cursor, Peer, PeerOptions, Tunable, View, failed, failed_io};

/// Files of the directory that an ingest writes before RocksDB takes them over.
const LOAD_FILE: &str = "ingest.tmp";

/// An open RocksDB database.
pub struct Rocks {
    db: Arc<DB>,
    dir: PathBuf,
    options: Options,
    cache: Cache,
    plain: WriteOptions,
    synced: WriteOptions,
    io: IoMode,
}

fn said(action: &'static str, dir: &Path, error: ::rocksdb::Error) -> Error {
    let text = error.to_string();
    match error.kind() {
        ::rocksdb::ErrorKind::Corruption => Error::corruption(dir, 0, text),
        ::rocksdb::ErrorKind::IOError if text.contains("No space left") => {
            failed_io(action, dir, std::io::Error::from(std::io::ErrorKind::StorageFull))
        }
        ::rocksdb::ErrorKind::IOError if text.contains("lock ") => Error::Locked { path: dir.to_path_buf() },
        _ => failed(action, dir, text),
    }
}

fn engine_options(options: &PeerOptions<Rocks>, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_size(options.get_usize("block_size"));
    // One cache for data, filters and indexes, so that the budget bounds all of them.
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    // Ten bits a key, as in every LSM tree here. RocksDB has no filter unless it is asked for one.
    table.set_bloom_filter(options.get("filter_bits") as f64, false);

    let mut own = Options::default();
    own.create_if_missing(true);
    own.set_block_based_table_factory(&table);
    // Off in all engines: it changes write and space amplification.
    own.set_compression_type(DBCompressionType::None);
    own.set_bottommost_compression_type(DBCompressionType::None);
    let memtable = options.get("memtable");
    own.set_write_buffer_size(options.get_usize("memtable"));
    // One active memtable and two that wait for their flush.
    own.set_max_write_buffer_number(3);
    // The tuning guide: level 1 as large as the level 0 that is merged into it, which is four memtables.
    own.set_max_bytes_for_level_base(4 * memtable);
    own.set_target_file_size_base(memtable.max(1 << 20));
    own.set_max_background_jobs(i32::try_from(options.threads()).unwrap_or(i32::MAX).max(2));
    // The same log limit as for the other engines.
    own.set_max_total_wal_size(options.common.wal_bytes_max());
    own.set_manual_wal_flush(true);
    if options.common.io == IoMode::Direct {
        own.set_use_direct_reads(true);
        own.set_use_direct_io_for_flush_and_compaction(true);
    }
    // Its own diagnostics, not data.
    own.set_keep_log_file_num(1);
    // It takes 4 MiB ahead for its manifest, which at the sizes measured here would pass for space amplification.
    own.set_manifest_preallocation_size(64 << 10);
    own
}

impl Rocks {
    /// RocksDB's own handle, for comparisons.
    pub fn database(&self) -> &DB {
        &self.db
    }

    fn fail(&self, action: &'static str) -> impl Fn(::rocksdb::Error) -> Error + '_ {
        move |error| said(action, &self.dir, error)
    }

    fn after(&self, level: Durability) -> Result<()> {
        if level == Durability::Os {
            return self.db.flush_wal(false).map_err(self.fail("flush the log of"));
        }
        Ok(())
    }

    fn how(&self, level: Durability) -> &WriteOptions {
        if level == Durability::Disk { &self.synced } else { &self.plain }
    }

    fn number(&self, name: &::rocksdb::properties::PropName) -> u64 {
        self.db.property_int_value(name).ok().flatten().unwrap_or(0)
    }
}

impl Peer for Rocks {
    type View = RocksView;

    const NAME: &'static str = "rocksdb";
    const ABOUT: &'static str = "RocksDB: a log-structured merge tree in C++";
    const VERSION: &'static str = "0.25.0";
    const LEVELS: &'static [Durability] = &[Durability::Memory, Durability::Os, Durability::Disk];
    // Memory is divided as in the LSM tree of this laboratory: three memtables of a sixth of the budget each; the
    // other half caches blocks, filters and indexes.
    const TUNABLES: &'static [Tunable] = &[
        Tunable {
            name: "cache",
            about: "bytes of cached blocks, filters and indexes; default: half of the memory budget",
            default: |budget| budget / 2,
            limits: (16 << 10, 1 << 40),
        },
        Tunable {
            name: "memtable",
            // Below 64 KiB RocksDB raises the size by itself.
            about: "bytes of a memtable; default: a sixth of the memory budget, at most 64MiB",
            default: |budget| (budget / 6).min(64 << 20),
            limits: (64 << 10, 1 << 30),
        },
        Tunable {
            name: "block_size",
            about: "bytes of a data block; default 4KiB",
            default: |_| 4096,
            limits: (1 << 10, 1 << 20),
        },
        Tunable {
            name: "filter_bits",
            about: "bits of filter per key; default 10",
            default: |_| 10,
            limits: (1, 64),
        },
    ];

    fn open(dir: &Path, options: &PeerOptions<Self>) -> Result<Self> {
        let cache = Cache::new_lru_cache(options.get_usize("cache"));
        let own = engine_options(options, &cache);
        let open = DB::open(&own, dir);
        let mut io = options.common.io;
        let db = match open {
            // The file system may refuse direct I/O; the mode obtained is reported.
            Err(error) if io == IoMode::Direct && error.to_string().contains("irect I/O") => {
                io = IoMode::Buffered;
                let mut buffered = own.clone();
                buffered.set_use_direct_reads(false);
                buffered.set_use_direct_io_for_flush_and_compaction(false);
                DB::open(&buffered, dir)
            }
            open => open,
        };
        let db = Arc::new(db.map_err(|error| said("open", dir, error))?);
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        let plain = WriteOptions::default();
        Ok(Rocks { db, dir: dir.to_path_buf(), options: own, cache, plain, synced, io })
    }

    fn fixed_settings(&self, options: &PeerOptions<Self>) -> Vec<(&'static str, String)> {
        vec![
            ("memtables", "3".to_owned()),
            ("level_base", (4 * options.get("memtable")).to_string()),
            ("compression", "none".to_owned()),
            ("checksums", "every block".to_owned()),
        ]
    }

    fn io(&self) -> IoMode {
        self.io
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        // Pinned: the value is borrowed from the block or the memtable, not copied.
        let value = self.db.get_pinned(key).map_err(self.fail("read"))?;
        Ok(value.map(|value| found(&value)).is_some())
    }

    fn view(&self) -> Result<RocksView> {
        let cell = SnapshotCell::new(Arc::clone(&self.db), |db| db.snapshot());
        Ok(RocksView { cell: Arc::new(cell), dir: self.dir.clone() })
    }

    fn write(&self, batch: &Batch, level: Durability) -> Result<()> {
        let mut writes = WriteBatch::default();
        for op in batch.ops() {
            match op {
                Op::Put { key, value } => writes.put(key, value),
                Op::Delete { key } => writes.delete(key),
                Op::DeleteRange { start, end: Some(end) } => writes.delete_range(start, end),
                // Longer than any key, and above all of them.
                Op::DeleteRange { start, end: None } => {
                    writes.delete_range(start, &vec![0xFF; Self::KEY_BYTES_MAX + 1][..]);
                }
            }
        }
        self.db.write_opt(writes, self.how(level)).map_err(self.fail("write to"))?;
        self.after(level)
    }

    fn put(&self, key: &[u8], value: &[u8], level: Durability) -> Result<()> {
        self.db.put_opt(key, value, self.how(level)).map_err(self.fail("write to"))?;
        self.after(level)
    }

    fn ingest(&self, sorted: &mut dyn SortedSource) -> Result<()> {
        let path = self.dir.join(LOAD_FILE);
        let fail = self.fail("load into");
        let mut writer = SstFileWriter::create(&self.options);
        writer.open(&path).map_err(&fail)?;
        let mut load = || -> Result<bool> {
            let mut is_empty = true;
            while let Some(EntryRef { key, value }) = sorted.next()? {
                writer.put(key, value).map_err(&fail)?;
                is_empty = false;
            }
            Ok(is_empty)
        };
        let loaded = load();
        let outcome = match loaded {
            Ok(false) => writer.finish().and_then(|()| {
                let mut how = IngestExternalFileOptions::default();
                how.set_move_files(true);
                self.db.ingest_external_file_opts(&how, vec![&path])
            }),
            // RocksDB takes no empty file.
            _ => Ok(()),
        };
        drop(writer);
        // Moved if it was taken.
        remove(&path);
        loaded?;
        outcome.map_err(fail)
    }

    fn sync(&self) -> Result<()> {
        self.db.flush_wal(true).map_err(self.fail("sync the log of"))
    }

    fn flush(&self) -> Result<()> {
        let mut wait = FlushOptions::default();
        wait.set_wait(true);
        self.db.flush_opt(&wait).map_err(self.fail("flush"))
    }

    fn settle(&self, timeout: Duration) -> Result<SettleReport> {
        self.flush()?;
        let mut wait = WaitForCompactOptions::default();
        wait.set_timeout(u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX).max(1));
        match self.db.wait_for_compact(&wait) {
            Err(error) if error.kind() != ::rocksdb::ErrorKind::TimedOut => {
                Err(said("settle", &self.dir, error))
            }
            _ => Ok(SettleReport { debt_bytes: self.debt_bytes() }),
        }
    }

    fn compact(&self, range: KeyRange<'_>) -> Result<()> {
        // Whole tables are compacted, so a bound that is excluded may as well be included.
        let key = |bound| match bound {
            Bound::Included(key) | Bound::Excluded(key) => Some(key),
            Bound::Unbounded => None,
        };
        self.flush()?;
        self.db.compact_range(key(range.start), key(range.end));
        Ok(())
    }

    fn shape(&self) -> Result<Shape> {
        let files = self.db.live_files().map_err(self.fail("list the tables of"))?;
        let mut levels: Vec<LevelShape> = Vec::new();
        for file in files {
            let level = u8::try_from(file.level).unwrap_or(u8::MAX);
            while levels.len() <= usize::from(level) {
                let next = u8::try_from(levels.len()).unwrap_or(u8::MAX);
                levels.push(LevelShape { level: next, ..LevelShape::default() });
            }
            let digits: String = file.name.chars().filter(char::is_ascii_digit).collect();
            let table = TableShape {
                id: digits.parse().unwrap_or(0),
                bytes: file.size as u64,
                entries: file.num_entries,
                tombstones: file.num_deletions,
                range_tombstones: 0,
                smallest: file.start_key.unwrap_or_default(),
                largest: file.end_key.unwrap_or_default(),
            };
            if let Some(level) = levels.get_mut(usize::from(level)) {
                level.tables.push(table);
            }
        }
        let memtable = MemtableShape {
            entries: self.number(properties::NUM_ENTRIES_ACTIVE_MEM_TABLE),
            bytes: self.number(properties::CUR_SIZE_ACTIVE_MEM_TABLE),
        };
        Ok(Shape::Levels(LevelsShape { memtables: vec![memtable], levels }))
    }

    fn memory(&self) -> Vec<MemoryUse> {
        let owner = |owner: &str, bytes| MemoryUse { owner: owner.to_owned(), bytes };
        vec![
            owner("block cache", self.cache.get_usage() as u64),
            owner("memtables", self.number(properties::CUR_SIZE_ALL_MEM_TABLES)),
            owner("open tables", self.number(properties::ESTIMATE_TABLE_READERS_MEM)),
        ]
    }

    fn debt_bytes(&self) -> u64 {
        self.number(properties::ESTIMATE_PENDING_COMPACTION_BYTES)
    }

    fn is_log(name: &str) -> bool {
        name.ends_with(".log")
    }

    fn close(self) -> Result<()> {
        self.sync()
    }
}

#[expect(clippy::disallowed_methods, reason = "a file that RocksDB wrote and did not take over")]
fn remove(path: &Path) {
    // It is not there if RocksDB moved it; if it cannot go now, the next ingest writes over it.
    let _ = std::fs::remove_file(path);
}

type Snapshot<'db> = SnapshotWithThreadMode<'db, DB>;

self_cell!(
    /// A snapshot with the database it borrows from.
    struct SnapshotCell {
        owner: Arc<DB>,
        #[not_covariant]
        dependent: Snapshot,
    }
);

self_cell!(
    /// An iterator with the snapshot it borrows from.
    struct WalkCell {
        owner: Arc<SnapshotCell>,
        #[not_covariant]
        dependent: DBRawIterator,
    }
);

/// One state.
#[derive(Clone)]
pub struct RocksView {
    cell: Arc<SnapshotCell>,
    dir: PathBuf,
}

impl View for RocksView {
    type Cursor = RocksCursor;

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        self.cell.with_dependent(|_, snapshot| {
            let value = snapshot.get_pinned(key).map_err(|error| said("read", &self.dir, error))?;
            Ok(value.map(|value| found(&value)).is_some())
        })
    }

    fn cursor(&self, range: KeyRange<'_>, direction: Direction) -> Result<RocksCursor> {
        let walk = WalkCell::new(Arc::clone(&self.cell), |cell| {
            cell.with_dependent(|_, snapshot| snapshot.raw_iterator_opt(bounds(range)))
        });
        let mut cursor = RocksCursor { walk, direction, is_fresh: true, dir: self.dir.clone() };
        cursor.seek(range)?;
        Ok(cursor)
    }
}

/// The bounds of a range as RocksDB has them: the lower one included, the upper one excluded.
fn bounds(range: KeyRange<'_>) -> ReadOptions {
    let mut options = ReadOptions::default();
    match range.start {
        Bound::Included(key) => options.set_iterate_lower_bound(key),
        Bound::Excluded(key) => options.set_iterate_lower_bound([key, &[0]].concat()),
        Bound::Unbounded => {}
    }
    match range.end {
        Bound::Included(key) => options.set_iterate_upper_bound([key, &[0]].concat()),
        Bound::Excluded(key) => options.set_iterate_upper_bound(key),
        Bound::Unbounded => {}
    }
    options
}

/// A walk that holds its snapshot.
pub struct RocksCursor {
    walk: WalkCell,
    direction: Direction,
    /// True while the iterator stands on an entry that was not returned yet.
    is_fresh: bool,
    dir: PathBuf,
}

impl Cursor for RocksCursor {
    fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
        let (is_fresh, direction) = (std::mem::take(&mut self.is_fresh), self.direction);
        self.walk.with_dependent_mut(|_, walk| match direction {
            _ if is_fresh || !walk.valid() => {}
            Direction::Forward => walk.next(),
            Direction::Reverse => walk.prev(),
        });
        self.walk.with_dependent(|_, walk| match walk.item() {
            Some((key, value)) => Ok(Some(EntryRef { key, value })),
            None => walk.status().map(|()| None).map_err(|error| said("scan", &self.dir, error)),
        })
    }

    fn seek(&mut self, range: KeyRange<'_>) -> Result<()> {
        let direction = self.direction;
        // The iterator keeps to the bounds of the walk; `range` only says where to go on.
        self.walk.with_dependent_mut(|_, walk| match direction {
            Direction::Forward => match range.start {
                Bound::Included(key) => walk.seek(key),
                Bound::Excluded(key) => walk.seek([key, &[0]].concat()),
                Bound::Unbounded => walk.seek_to_first(),
            },
            Direction::Reverse => match range.end {
                Bound::Included(key) => walk.seek_for_prev(key),
                // The iterator's own upper bound is this one.
                Bound::Excluded(_) | Bound::Unbounded => walk.seek_to_last(),
            },
        });
        self.is_fresh = true;
        Ok(())
    }
}
