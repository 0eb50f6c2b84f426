//! fjall: a log-structured merge tree in Rust.
//!
//! Levels: the journal is persisted by hand, so all three are there. A `memory` commit stays in the journal's buffer,
//! an `os` commit flushes it, a `disk` commit syncs it before it becomes visible.
//!
//! A batch has one sequence number, so a key may be in it only once, and fjall has no range delete: batches are
//! flattened to the last operation on each key, and a range delete becomes a delete of every key that is there.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use ::fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Slice, Snapshot,
    config::{BlockSizePolicy, CompressionPolicy},
};
use kv_api::stats::MemoryUse;
use kv_api::{
    Batch, Direction, Durability, EntryRef, Error, KeyRange, Op, Result, SettleReport, Shape, SortedSource,
};

use crate::peer::{Cursor, Peer, PeerOptions, Tunable, View, failed, failed_io};
use crate::ranges::of_delete;

/// fjall takes no smaller journal limit.
const JOURNAL_BYTES_MIN: u64 = 64 << 20;
/// The last value of each key, `None` where it is deleted.
type Flat<'b> = BTreeMap<Cow<'b, [u8]>, Option<&'b [u8]>>;

/// What an entry takes in a memtable beside key and value, as fjall counts it.
const ENTRY_BYTES: u64 = 64;
/// How often settling looks whether upkeep is done.
const PAUSE: Duration = Duration::from_millis(5);

/// An open fjall database.
pub struct Fjall {
    db: Database,
    keyspace: Keyspace,
    dir: PathBuf,
    /// Shared by writes, held alone by a range delete, which must see every key that it is to delete, and by the
    /// opening of a snapshot: when fjall installs a flush it makes everything visible that has a sequence number, a
    /// batch of which half is written included, so a snapshot taken then would change under its reader.
    in_flight: RwLock<()>,
    memtable_bytes_max: u64,
    /// Bytes that went into the active memtable, about.
    memtable_bytes: AtomicU64,
}

fn said(action: &'static str, dir: &Path, error: ::fjall::Error) -> Error {
    match error {
        ::fjall::Error::Io(error) => failed_io(action, dir, error),
        ::fjall::Error::Locked => Error::Locked { path: dir.to_path_buf() },
        error => failed(action, dir, error),
    }
}

impl Fjall {
    /// fjall's own handles, for comparisons.
    pub fn handles(&self) -> (&Database, &Keyspace) {
        (&self.db, &self.keyspace)
    }

    fn fail(&self, action: &'static str) -> impl Fn(::fjall::Error) -> Error + '_ {
        move |error| said(action, &self.dir, error)
    }

    /// The batch with one operation per key, the last; range deletes are what they find.
    fn flatten<'b>(&self, batch: &'b Batch) -> Result<Flat<'b>> {
        let mut last = BTreeMap::new();
        for op in batch.ops() {
            match op {
                Op::Put { key, value } => drop(last.insert(key.into(), Some(value))),
                // It cannot be there.
                Op::Delete { key: &[] } => {}
                Op::Delete { key } => drop(last.insert(key.into(), None)),
                Op::DeleteRange { start, end } => {
                    let Some(range) = of_delete::<Self>(start, end) else { continue };
                    for guard in self.keyspace.range::<&[u8], _>((range.start, range.end)) {
                        let key = guard.key().map_err(self.fail("scan"))?;
                        last.insert(key.to_vec().into(), None);
                    }
                    let bounds: (Bound<&[u8]>, Bound<&[u8]>) = (range.start, range.end);
                    last.range_mut::<[u8], _>(bounds).for_each(|(_, value)| *value = None);
                }
            }
        }
        Ok(last)
    }

    /// Seals the active memtable when it is full; the workers flush it.
    ///
    /// fjall would do this by itself, by a message at every write to a full memtable. When the thousand places of
    /// its queue are taken, a worker that seals a memtable waits for a place to ask for the flush, and once all
    /// workers do, nobody empties the queue. Sealed from here, one message is sent per memtable, and no worker waits.
    fn rotate_when_full(&self, ops: usize, user_bytes: u64) -> Result<()> {
        let grown = user_bytes + ops as u64 * ENTRY_BYTES;
        let filled = self.memtable_bytes.fetch_add(grown, Ordering::Relaxed) + grown;
        if filled < self.memtable_bytes_max || self.memtable_bytes.swap(0, Ordering::Relaxed) < filled {
            // Not full, or another writer is at it.
            return Ok(());
        }
        self.keyspace.rotate_memtable().map(drop).map_err(self.fail("seal a memtable of"))
    }

    fn persist(&self, level: Durability) -> Result<()> {
        match mode(level) {
            Some(mode) => self.db.persist(mode).map_err(self.fail("persist the journal of")),
            None => Ok(()),
        }
    }
}

fn mode(level: Durability) -> Option<PersistMode> {
    match level {
        Durability::Memory => None,
        Durability::Os => Some(PersistMode::Buffer),
        Durability::Disk => Some(PersistMode::SyncData),
    }
}

impl Peer for Fjall {
    type View = FjallView;

    const NAME: &'static str = "fjall";
    const ABOUT: &'static str = "fjall: a log-structured merge tree in Rust";
    const VERSION: &'static str = "3.1.13";
    const LEVELS: &'static [Durability] = &[Durability::Memory, Durability::Os, Durability::Disk];
    // Memory is divided as in the LSM tree of this laboratory: one active memtable and two that wait for their flush,
    // a sixth of the budget each; the other half caches blocks.
    const TUNABLES: &'static [Tunable] = &[
        Tunable {
            name: "cache",
            about: "bytes of cached blocks; default: half of the memory budget",
            default: |budget| budget / 2,
            limits: (16 << 10, 1 << 40),
        },
        Tunable {
            name: "memtable",
            about: "bytes of a memtable; default: a sixth of the memory budget, at most 64MiB",
            default: |budget| (budget / 6).min(64 << 20),
            limits: (4 << 10, 1 << 30),
        },
        Tunable {
            name: "block_size",
            about: "bytes of a data block, fixed when the database is created; default 4KiB",
            default: |_| 4096,
            limits: (1 << 10, 1 << 20),
        },
    ];
    // It panics on the empty key.
    const KEY_BYTES_MIN: usize = 1;

    fn open(dir: &Path, options: &PeerOptions<Self>) -> Result<Self> {
        let fail = |error| said("open", dir, error);
        let db = Database::builder(dir)
            .cache_size(options.get("cache"))
            .worker_threads(options.threads())
            // The same log limit for all engines, as far as fjall goes down.
            .max_journaling_size(options.common.wal_bytes_max().max(JOURNAL_BYTES_MIN))
            // Each commit then pays for its own level and no other.
            .manual_journal_persist(true)
            .journal_compression(CompressionType::None)
            .open()
            .map_err(fail)?;
        let block_bytes = u32::try_from(options.get("block_size")).unwrap_or(u32::MAX);
        let keyspace = db.keyspace("kv", || {
            KeyspaceCreateOptions::default()
                .manual_journal_persist(true)
                // The adapter rotates: see `rotate_when_full`.
                .max_memtable_size(u64::MAX)
                .data_block_size_policy(BlockSizePolicy::all(block_bytes))
                // Off in all engines: it changes write and space amplification.
                .data_block_compression_policy(CompressionPolicy::disabled())
                .index_block_compression_policy(CompressionPolicy::disabled())
        });
        Ok(Fjall {
            keyspace: keyspace.map_err(fail)?,
            dir: dir.to_path_buf(),
            in_flight: RwLock::new(()),
            memtable_bytes_max: options.get("memtable"),
            // What came back from the journal.
            memtable_bytes: AtomicU64::new(db.write_buffer_size()),
            db,
        })
    }

    fn fixed_settings(&self, options: &PeerOptions<Self>) -> Vec<(&'static str, String)> {
        vec![
            ("journal_bytes_max", options.common.wal_bytes_max().max(JOURNAL_BYTES_MIN).to_string()),
            ("compression", "none".to_owned()),
            // As shipped: ten bits a key below level 0, more in level 0.
            ("filter", "10 bits a key".to_owned()),
        ]
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = self.keyspace.get(key).map_err(self.fail("read"))?;
        Ok(value.map(|value| found(&value)).is_some())
    }

    fn view(&self) -> Result<FjallView> {
        let _alone = self.in_flight.write().unwrap_or_else(PoisonError::into_inner);
        Ok(FjallView { snapshot: self.db.snapshot(), keyspace: self.keyspace.clone(), dir: self.dir.clone() })
    }

    fn write(&self, batch: &Batch, level: Durability) -> Result<()> {
        let has_ranges = batch.ops().any(|op| matches!(op, Op::DeleteRange { .. }));
        let alone = has_ranges.then(|| self.in_flight.write().unwrap_or_else(PoisonError::into_inner));
        let together = (!has_ranges).then(|| self.in_flight.read().unwrap_or_else(PoisonError::into_inner));
        let mut writes = self.db.batch().durability(mode(level));
        for (key, value) in self.flatten(batch)? {
            match value {
                Some(value) => writes.insert(&self.keyspace, &*key, value),
                None => writes.remove(&self.keyspace, &*key),
            }
        }
        writes.commit().map_err(self.fail("write to"))?;
        drop((alone, together));
        self.rotate_when_full(batch.len(), batch.user_bytes())
    }

    fn put(&self, key: &[u8], value: &[u8], level: Durability) -> Result<()> {
        if level == Durability::Disk {
            // Only a batch is synced before it becomes visible.
            let mut batch = Batch::with_capacity(Batch::OP_BYTES_MAX + key.len() + value.len());
            return self.write(batch.put(key, value), level);
        }
        let together = self.in_flight.read().unwrap_or_else(PoisonError::into_inner);
        self.keyspace.insert(key, value).map_err(self.fail("write to"))?;
        self.persist(level)?;
        drop(together);
        self.rotate_when_full(1, (key.len() + value.len()) as u64)
    }

    fn ingest(&self, sorted: &mut dyn SortedSource) -> Result<()> {
        let mut first = sorted.next()?.map(|entry| (entry.key.to_vec(), entry.value.to_vec()));
        // An ingestion of nothing would write an empty table.
        let Some((key, value)) = first.take() else { return Ok(()) };
        let _alone = self.in_flight.write().unwrap_or_else(PoisonError::into_inner);
        let mut load = self.keyspace.start_ingestion().map_err(self.fail("load into"))?;
        load.write(key, value).map_err(self.fail("load into"))?;
        while let Some(EntryRef { key, value }) = sorted.next()? {
            load.write(key, value).map_err(self.fail("load into"))?;
        }
        load.finish().map_err(self.fail("load into"))?;
        self.persist(Durability::Disk)
    }

    fn sync(&self) -> Result<()> {
        self.persist(Durability::Disk)
    }

    fn flush(&self) -> Result<()> {
        self.persist(Durability::Os)?;
        self.memtable_bytes.store(0, Ordering::Relaxed);
        self.keyspace.rotate_memtable_and_wait().map_err(self.fail("flush"))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "fjall tells nobody when it is done: it must be asked again"
    )]
    fn settle(&self, timeout: Duration) -> Result<SettleReport> {
        self.flush()?;
        let from = Instant::now();
        // Twice idle in a row: a flush that has just ended may be about to ask for a compaction.
        let mut idle = 0;
        while idle < 2 && from.elapsed() < timeout {
            let busy = self.db.outstanding_flushes() > 0 || self.db.active_compactions() > 0;
            idle = if busy { 0 } else { idle + 1 };
            std::thread::sleep(PAUSE);
        }
        // fjall does not say how much it owes, but while it works that is something.
        Ok(SettleReport { debt_bytes: u64::from(idle < 2), ..SettleReport::default() })
    }

    fn compact(&self, _range: KeyRange<'_>) -> Result<()> {
        self.flush()?;
        self.keyspace.major_compact().map_err(self.fail("compact"))
    }

    fn shape(&self) -> Result<Shape> {
        Err(Error::Unsupported { action: "shape: fjall does not tell its tables" })
    }

    fn memory(&self) -> Vec<MemoryUse> {
        vec![
            MemoryUse { owner: "block cache".to_owned(), bytes: self.db.cache_size() },
            MemoryUse { owner: "memtables".to_owned(), bytes: self.db.write_buffer_size() },
        ]
    }

    fn is_log(name: &str) -> bool {
        name.ends_with(".jnl")
    }

    fn close(self) -> Result<()> {
        self.sync()
    }
}

/// One state.
#[derive(Clone)]
pub struct FjallView {
    snapshot: Snapshot,
    keyspace: Keyspace,
    dir: PathBuf,
}

impl View for FjallView {
    type Cursor = FjallCursor;

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = self.snapshot.get(&self.keyspace, key);
        let value = value.map_err(|error| said("read", &self.dir, error))?;
        Ok(value.map(|value| found(&value)).is_some())
    }

    fn cursor(&self, range: KeyRange<'_>, direction: Direction) -> Result<FjallCursor> {
        let entries = self.snapshot.range::<&[u8], _>(&self.keyspace, (range.start, range.end));
        Ok(FjallCursor { entries, entry: None, direction, view: self.clone() })
    }
}

/// A walk that holds its snapshot.
pub struct FjallCursor {
    entries: ::fjall::Iter,
    entry: Option<(Slice, Slice)>,
    direction: Direction,
    view: FjallView,
}

impl Cursor for FjallCursor {
    fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
        let found = match self.direction {
            Direction::Forward => self.entries.next(),
            Direction::Reverse => self.entries.next_back(),
        };
        let entry = found.map(::fjall::Guard::into_inner).transpose();
        self.entry = entry.map_err(|error| said("scan", &self.view.dir, error))?;
        Ok(self.entry.as_ref().map(|(key, value)| EntryRef { key, value }))
    }

    fn seek(&mut self, range: KeyRange<'_>) -> Result<()> {
        let view = &self.view;
        self.entries = view.snapshot.range::<&[u8], _>(&view.keyspace, (range.start, range.end));
        Ok(())
    }
}
