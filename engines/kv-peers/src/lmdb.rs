//! LMDB: a copy-on-write B+tree in C, read through a memory map, through the crate `heed`.
//!
//! Levels: `disk` is LMDB's own commit. `os` is a commit under `MDB_NOSYNC`: it survives the process, but LMDB then
//! leaves the order of its pages to the kernel, so power loss may damage the file and with it earlier `disk`
//! commits. There is nothing below, so `memory` goes up to `os`.
//!
//! heed stays at 0.22: from 0.23 on a `Database` borrows its environment, and a scan of the contract owns both.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, FlagSetMode, MdbError, RoTxn, RwTxn, WithoutTls};
use kv_api::shape::TreeShape;
use kv_api::{Batch, Direction, Durability, EntryRef, Error, KeyRange, Op, Result, Shape, SortedSource};

use crate::chunks::{Chunk, ChunkView, Fetch};
use crate::peer::{Peer, PeerOptions, Tunable, failed, failed_io};
use crate::ranges::of_delete;

const FILE: &str = "data.mdb";
/// Snapshots and scans that may be open at the same time: a slot of 64 bytes each.
const READERS_MAX: u32 = 1024;

/// The unnamed table of all keys.
pub type Table = Database<Bytes, Bytes>;

/// An open LMDB environment.
pub struct Lmdb {
    env: Env<WithoutTls>,
    table: Table,
    dir: PathBuf,
    /// The level of the commit before; held by whoever writes, since the level is a flag of the environment.
    level: Mutex<Durability>,
    read_ahead: bool,
}

fn said(action: &'static str, dir: &Path, error: heed::Error) -> Error {
    match error {
        heed::Error::Io(error) => failed_io(action, dir, error),
        heed::Error::EnvAlreadyOpened => Error::Locked { path: dir.to_path_buf() },
        heed::Error::Mdb(MdbError::MapFull) => Error::NoSpace { action, path: dir.join(FILE) },
        heed::Error::Mdb(error @ (MdbError::Corrupted | MdbError::PageNotFound | MdbError::Invalid)) => {
            Error::corruption(dir.join(FILE), 0, error.to_string())
        }
        error => failed(action, dir, error),
    }
}

#[expect(unsafe_code, reason = "LMDB maps the file: opening promises that nothing else changes it")]
fn open_env(dir: &Path, map_bytes: usize, read_ahead: bool) -> heed::Result<Env<WithoutTls>> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(map_bytes).max_readers(READERS_MAX);
    if !read_ahead {
        // SAFETY: the flag is advice to the kernel about the map; it changes no promise of the environment.
        unsafe { options.flags(EnvFlags::NO_READ_AHEAD) };
    }
    // SAFETY: the directory's lock file is held, and no other code of this laboratory opens files in this folder, so
    // nothing but LMDB changes what is mapped.
    unsafe { options.open(dir) }
}

impl Lmdb {
    /// heed's own handles, for comparisons.
    pub fn handles(&self) -> (&Env<WithoutTls>, Table) {
        (&self.env, self.table)
    }

    fn fail(&self, action: &'static str) -> impl Fn(heed::Error) -> Error + '_ {
        move |error| said(action, &self.dir, error)
    }

    /// Makes commits sync or not. The caller holds the lock of `level`, and no write transaction is open.
    #[expect(unsafe_code, reason = "flags of the environment may only be changed while nobody writes")]
    fn set_level(&self, now: &mut Durability, level: Durability) -> Result<()> {
        if *now == level {
            return Ok(());
        }
        let mode = if level == Durability::Disk { FlagSetMode::Disable } else { FlagSetMode::Enable };
        // SAFETY: every write transaction begins and ends under the lock of `level`, which the caller holds, and
        // readers do not look at this flag.
        unsafe { self.env.set_flags(EnvFlags::NO_SYNC, mode) }.map_err(self.fail("set the level of"))?;
        *now = level;
        Ok(())
    }

    fn commit(&self, level: Durability, fill: impl FnOnce(&mut RwTxn<'_>) -> Result<()>) -> Result<()> {
        let mut now = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        self.set_level(&mut now, level)?;
        let mut txn = self.env.write_txn().map_err(self.fail("begin a transaction in"))?;
        fill(&mut txn)?;
        txn.commit().map_err(self.fail("commit to"))
    }
}

impl Peer for Lmdb {
    type View = ChunkView<LmdbState>;

    const NAME: &'static str = "lmdb";
    const ABOUT: &'static str = "LMDB: a copy-on-write B+tree in C, read through a memory map";
    const VERSION: &'static str = "0.9.70";
    const LEVELS: &'static [Durability] = &[Durability::Os, Durability::Disk];
    const TUNABLES: &'static [Tunable] = &[
        Tunable {
            name: "map_size",
            // Address space, not memory: large enough never to be the limit.
            about: "bytes of address space, the most that the file may grow to; default 1024GiB",
            default: |_| 1 << 40,
            limits: (1 << 20, 1 << 44),
        },
        Tunable {
            name: "read_ahead",
            // Data larger than memory is the case that decides; read-ahead would fetch 32 pages for one of them.
            // When all data is in memory there is nothing to read ahead.
            about: "1: let the kernel read ahead; default 0",
            default: |_| 0,
            limits: (0, 1),
        },
    ];
    const KEY_BYTES_MIN: usize = 1;
    // LMDB's compile-time limit as shipped.
    const KEY_BYTES_MAX: usize = 511;

    fn open(dir: &Path, options: &PeerOptions<Self>) -> Result<Self> {
        let fail = |error| said("open", dir, error);
        let read_ahead = options.get("read_ahead") == 1;
        let env = open_env(dir, options.get_usize("map_size"), read_ahead).map_err(fail)?;
        let mut txn = env.write_txn().map_err(fail)?;
        let table = env.create_database(&mut txn, None).map_err(fail)?;
        txn.commit().map_err(fail)?;
        Ok(Lmdb { env, table, dir: dir.to_path_buf(), level: Mutex::new(Durability::Disk), read_ahead })
    }

    fn fixed_settings(&self, _options: &PeerOptions<Self>) -> Vec<(&'static str, String)> {
        let advice = if self.read_ahead { "kernel's choice" } else { "none" };
        vec![
            ("readers_max", READERS_MAX.to_string()),
            ("read_ahead_advice", advice.to_owned()),
            // A writable map would let any stray pointer damage the file, and writes are not what it is slow at.
            ("write_map", "off".to_owned()),
            // The page cache holds what is mapped: only a memory cgroup bounds it.
            ("memory_budget_bounds", "nothing: the map lives in the page cache".to_owned()),
            ("checksums", "none".to_owned()),
        ]
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let txn = self.env.read_txn().map_err(self.fail("read"))?;
        let value = self.table.get(&txn, key).map_err(self.fail("read"))?;
        Ok(value.map(found).is_some())
    }

    fn view(&self) -> Result<ChunkView<LmdbState>> {
        let txn = self.env.clone().static_read_txn().map_err(self.fail("read"))?;
        Ok(ChunkView::new(LmdbState { txn: Mutex::new(txn), table: self.table, dir: self.dir.clone() }))
    }

    fn write(&self, batch: &Batch, level: Durability) -> Result<()> {
        let fail = self.fail("write to");
        self.commit(level, |txn| {
            for op in batch.ops() {
                match op {
                    Op::Put { key, value } => self.table.put(txn, key, value).map_err(&fail)?,
                    // It cannot be there.
                    Op::Delete { key: &[] } => {}
                    Op::Delete { key } => drop(self.table.delete(txn, key).map_err(&fail)?),
                    Op::DeleteRange { start, end } => {
                        let Some(range) = of_delete::<Self>(start, end) else { continue };
                        self.table.delete_range(txn, &(range.start, range.end)).map_err(&fail)?;
                    }
                }
            }
            Ok(())
        })
    }

    fn put(&self, key: &[u8], value: &[u8], level: Durability) -> Result<()> {
        self.commit(level, |txn| self.table.put(txn, key, value).map_err(self.fail("write to")))
    }

    fn ingest(&self, sorted: &mut dyn SortedSource) -> Result<()> {
        self.commit(Durability::Disk, |txn| {
            while let Some(EntryRef { key, value }) = sorted.next()? {
                self.table.put(txn, key, value).map_err(self.fail("write to"))?;
            }
            Ok(())
        })
    }

    fn sync(&self) -> Result<()> {
        self.env.force_sync().map_err(self.fail("sync"))
    }

    fn flush(&self) -> Result<()> {
        self.sync()
    }

    fn compact(&self, _range: KeyRange<'_>) -> Result<()> {
        Err(Error::Unsupported { action: "compact: LMDB never gives space back; back it up instead" })
    }

    fn shape(&self) -> Result<Shape> {
        let txn = self.env.read_txn().map_err(self.fail("read"))?;
        let stat = self.table.stat(&txn).map_err(self.fail("read"))?;
        Ok(Shape::Tree(TreeShape {
            page_bytes: u64::from(stat.page_size),
            height: u64::from(stat.depth),
            entries: stat.entries as u64,
            inner_pages: stat.branch_pages as u64,
            leaf_pages: stat.leaf_pages as u64,
            value_pages: stat.overflow_pages as u64,
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

/// One state. LMDB allows a read transaction to one thread at a time, so it is behind a lock.
pub struct LmdbState {
    txn: Mutex<RoTxn<'static, WithoutTls>>,
    table: Table,
    dir: PathBuf,
}

impl Fetch for LmdbState {
    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let txn = self.txn.lock().unwrap_or_else(PoisonError::into_inner);
        let value = self.table.get(&txn, key).map_err(|error| said("read", &self.dir, error))?;
        Ok(value.map(found).is_some())
    }

    fn fetch(&self, range: KeyRange<'_>, direction: Direction, chunk: &mut Chunk) -> Result<()> {
        let fail = |error| said("scan", &self.dir, error);
        let txn = self.txn.lock().unwrap_or_else(PoisonError::into_inner);
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) = (range.start, range.end);
        let mut push = |entry: heed::Result<(&[u8], &[u8])>| -> Result<bool> {
            let (key, value) = entry.map_err(fail)?;
            Ok(chunk.push(key, value))
        };
        match direction {
            Direction::Forward => {
                for entry in self.table.range(&txn, &bounds).map_err(fail)? {
                    if !push(entry)? {
                        break;
                    }
                }
            }
            Direction::Reverse => {
                for entry in self.table.rev_range(&txn, &bounds).map_err(fail)? {
                    if !push(entry)? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}
