//! canopydb: a B+tree in Rust, copy-on-write in memory, with a write-ahead log and checkpoints.
//!
//! Levels: `os` is a commit whose log record is written, `disk` one that waits for its sync. There is nothing below,
//! so `memory` goes up to `os`.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ::canopydb::{Database, DbOptions, EnvOptions, ReadTransaction, Tree, TreeOptions, WriteTransaction};
use kv_api::{Batch, Direction, Durability, EntryRef, Error, KeyRange, Op, Result, Shape, SortedSource};

use crate::chunks::{Chunk, ChunkView, Fetch};
use crate::peer::{Peer, PeerOptions, Tunable, failed, failed_io};
use crate::ranges::of_delete;

/// The tree of all keys.
pub const TREE: &[u8] = b"kv";
/// Most bytes of a write transaction's log record in memory; a larger one goes through a temporary file.
const RECORD_BYTES_MAX: u64 = 8 << 20;

/// An open canopydb database.
pub struct Canopy {
    db: Database,
    dir: PathBuf,
}

fn said(action: &'static str, dir: &Path, error: ::canopydb::Error) -> Error {
    use ::canopydb::Error as Said;
    match error {
        Said::Io(error) | Said::FatalIo(error) => failed_io(action, dir, error),
        Said::EnvironmentLocked | Said::DatabaseAlreadyOpen(_) => Error::Locked { path: dir.to_path_buf() },
        error => failed(action, dir, error),
    }
}

fn tree_options() -> TreeOptions {
    let mut options = TreeOptions::default();
    // Off in all engines: it changes write and space amplification.
    options.compress_overflow_values = None;
    options
}

/// The tree of a transaction; it was made when the database was.
fn tree<'t>(txn: &'t ReadTransaction, dir: &Path) -> Result<Tree<'t>> {
    let found = txn.get_tree(TREE).map_err(|error| said("read", dir, error))?;
    found.ok_or_else(|| Error::corruption(dir, 0, "the tree `kv` is not there"))
}

impl Canopy {
    /// canopydb's own handle, for comparisons.
    pub fn database(&self) -> &Database {
        &self.db
    }

    fn fail(&self, action: &'static str) -> impl Fn(::canopydb::Error) -> Error + '_ {
        move |error| said(action, &self.dir, error)
    }

    fn commit(&self, level: Durability, fill: impl FnOnce(&mut Tree<'_>) -> Result<()>) -> Result<()> {
        let txn: WriteTransaction = self.db.begin_write().map_err(self.fail("begin a transaction in"))?;
        {
            let tree = txn.get_or_create_tree_with(TREE, tree_options());
            fill(&mut tree.map_err(self.fail("open the tree in"))?)?;
        }
        txn.commit_with(level == Durability::Disk).map(drop).map_err(self.fail("commit to"))
    }

    fn read(&self) -> Result<ReadTransaction> {
        self.db.begin_read().map_err(self.fail("read"))
    }
}

impl Peer for Canopy {
    type View = ChunkView<CanopyState>;

    const NAME: &'static str = "canopydb";
    const ABOUT: &'static str = "canopydb: a B+tree in Rust with a log and checkpoints";
    const VERSION: &'static str = "0.2.5";
    const LEVELS: &'static [Durability] = &[Durability::Os, Durability::Disk];
    // As in the B+tree of this laboratory at most half of the memory is dirty: a checkpoint begins at a quarter, and
    // writers stall at a half. The other half caches clean pages.
    const TUNABLES: &'static [Tunable] = &[
        Tunable {
            name: "cache",
            about: "bytes of cached pages; default: half of the memory budget",
            default: |budget| budget / 2,
            limits: (64 << 10, 1 << 40),
        },
        Tunable {
            name: "checkpoint",
            about: "bytes of changes at which a checkpoint begins; default: a quarter of the memory budget",
            default: |budget| budget / 4,
            limits: (16 << 10, 1 << 40),
        },
    ];

    const COMPACT_WAITS_FOR_VIEWS: bool = true;

    fn open(dir: &Path, options: &PeerOptions<Self>) -> Result<Self> {
        let mut env = EnvOptions::new(dir);
        env.page_cache_size = options.get_usize("cache");
        env.max_wal_size = options.common.wal_bytes_max();
        env.wal_write_batch_memory_limit =
            usize::try_from((options.common.memory_budget / 8).min(RECORD_BYTES_MAX)).unwrap_or(usize::MAX);
        // Every other engine that has checksums checks them; here they are off by default.
        env.use_checksums = true;
        let mut own = DbOptions::new();
        let checkpoint = options.get_usize("checkpoint");
        own.checkpoint_target_size = checkpoint;
        own.throttle_memory_limit = 2 * checkpoint;
        own.stall_memory_limit = 2 * checkpoint;
        own.write_txn_memory_limit = checkpoint;
        let db = Database::with_options(env, own).map_err(|error| said("open", dir, error))?;
        let canopy = Canopy { db, dir: dir.to_path_buf() };
        let is_new = canopy.read()?.get_tree(TREE).map_err(canopy.fail("read"))?.is_none();
        if is_new {
            // Readers do not create trees.
            canopy.commit(Durability::Disk, |_| Ok(()))?;
        }
        Ok(canopy)
    }

    fn fixed_settings(&self, options: &PeerOptions<Self>) -> Vec<(&'static str, String)> {
        vec![
            ("stall_at", (2 * options.get("checkpoint")).to_string()),
            ("compression", "none".to_owned()),
            ("checksums", "every page".to_owned()),
        ]
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let txn = self.read()?;
        let value = tree(&txn, &self.dir)?.get(key).map_err(self.fail("read"))?;
        Ok(value.map(|value| found(&value)).is_some())
    }

    fn view(&self) -> Result<ChunkView<CanopyState>> {
        Ok(ChunkView::new(CanopyState { txn: Mutex::new(self.read()?), dir: self.dir.clone() }))
    }

    fn write(&self, batch: &Batch, level: Durability) -> Result<()> {
        let fail = self.fail("write to");
        self.commit(level, |tree| {
            for op in batch.ops() {
                match op {
                    Op::Put { key, value } => tree.insert(key, value).map_err(&fail)?,
                    Op::Delete { key } => drop(tree.delete(key).map_err(&fail)?),
                    Op::DeleteRange { start, end } => {
                        let Some(range) = of_delete::<Self>(start, end) else { continue };
                        tree.delete_range::<&[u8]>((range.start, range.end)).map_err(&fail)?;
                    }
                }
            }
            Ok(())
        })
    }

    fn put(&self, key: &[u8], value: &[u8], level: Durability) -> Result<()> {
        self.commit(level, |tree| tree.insert(key, value).map_err(self.fail("write to")))
    }

    fn ingest(&self, sorted: &mut dyn SortedSource) -> Result<()> {
        self.commit(Durability::Disk, |tree| {
            while let Some(EntryRef { key, value }) = sorted.next()? {
                tree.insert(key, value).map_err(self.fail("write to"))?;
            }
            Ok(())
        })
    }

    fn sync(&self) -> Result<()> {
        self.db.sync().map_err(self.fail("sync"))
    }

    fn flush(&self) -> Result<()> {
        self.db.checkpoint().map_err(self.fail("checkpoint"))
    }

    fn compact(&self, _range: KeyRange<'_>) -> Result<()> {
        self.db.compact().map_err(self.fail("compact"))
    }

    fn shape(&self) -> Result<Shape> {
        Err(Error::Unsupported { action: "shape: canopydb does not tell its pages" })
    }

    fn is_log(name: &str) -> bool {
        name.contains("/WAL-")
    }

    fn close(self) -> Result<()> {
        self.sync()
    }
}

/// One state. A transaction is for one thread at a time, so it is behind a lock.
pub struct CanopyState {
    txn: Mutex<ReadTransaction>,
    dir: PathBuf,
}

impl Fetch for CanopyState {
    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let txn = self.txn.lock().unwrap_or_else(PoisonError::into_inner);
        let value = tree(&txn, &self.dir)?.get(key).map_err(|error| said("read", &self.dir, error))?;
        Ok(value.map(|value| found(&value)).is_some())
    }

    fn fetch(&self, range: KeyRange<'_>, direction: Direction, chunk: &mut Chunk) -> Result<()> {
        let fail = |error| said("scan", &self.dir, error);
        let txn = self.txn.lock().unwrap_or_else(PoisonError::into_inner);
        let tree = tree(&txn, &self.dir)?;
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) = (range.start, range.end);
        let mut entries = tree.range::<&[u8]>(bounds).map_err(fail)?;
        while let Some(entry) = match direction {
            Direction::Forward => entries.next(),
            Direction::Reverse => entries.next_back(),
        } {
            let (key, value) = entry.map_err(fail)?;
            if !chunk.push(&key, &value) {
                break;
            }
        }
        Ok(())
    }
}
