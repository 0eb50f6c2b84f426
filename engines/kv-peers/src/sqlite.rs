//! SQLite: an update-in-place B+tree in C with a write-ahead log, through the crate `rusqlite`, its source included.
//!
//! One table without row numbers, so that the key is the tree's own. Levels: `os` is WAL mode with
//! `synchronous=NORMAL` (the log is written at commit and synced before a checkpoint), `disk` is `FULL` (the log is
//! synced at commit). There is nothing below, so `memory` goes up to `os`.
//!
//! Connections: one main connection writes, and reads when nobody else uses it, because its cache survives its own
//! commits; any other connection throws its cache away at every commit. Readers that find it busy, snapshots and
//! scans use connections of a pool, with smaller caches.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use kv_api::{
    Batch, Direction, Durability, EntryRef, Error, KeyRange, Op, Result, Shape, SortedSource, VerifyReport,
};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use crate::chunks::{Chunk, ChunkView, Fetch};
use crate::peer::{Peer, PeerOptions, Tunable, failed, failed_io};

const FILE: &str = "data.sqlite";
const PAGE_BYTES: u64 = 4096;
/// Connections that are kept for readers; more are opened when needed and closed after use.
const POOL: usize = 4;

/// The statement of a get.
pub const GET: &str = "SELECT v FROM kv WHERE k = ?1";
/// The statement of a put.
pub const PUT: &str = "INSERT INTO kv (k, v) VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = excluded.v";
const DELETE: &str = "DELETE FROM kv WHERE k = ?1";
const DELETE_FROM: &str = "DELETE FROM kv WHERE k >= ?1";
const DELETE_RANGE: &str = "DELETE FROM kv WHERE k >= ?1 AND k < ?2";

/// An open SQLite database.
pub struct Sqlite {
    main: Mutex<Main>,
    pool: Arc<Pool>,
}

/// The connection that writes, and the level of its last commit.
struct Main {
    db: Connection,
    level: Durability,
}

/// Connections for readers.
struct Pool {
    idle: Mutex<Vec<Connection>>,
    dir: PathBuf,
    cache_bytes: u64,
}

fn said(action: &'static str, dir: &Path, error: rusqlite::Error) -> Error {
    let path = dir.join(FILE);
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            failed_io(action, &path, std::io::Error::from(std::io::ErrorKind::StorageFull))
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Error::corruption(path, 0, error.to_string())
        }
        _ => failed(action, &path, error),
    }
}

fn connect(dir: &Path, cache_bytes: u64) -> rusqlite::Result<Connection> {
    // Every connection is used by one thread at a time, so SQLite need not lock as well.
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(dir.join(FILE), flags)?;
    db.busy_timeout(std::time::Duration::from_secs(60))?;
    // A negative size counts KiB.
    let cache_kib = i64::try_from(cache_bytes >> 10).unwrap_or(i64::MAX);
    db.pragma_update(None, "cache_size", -cache_kib)?;
    // Reads through a map would use memory beyond the budget.
    db.pragma_update(None, "mmap_size", 0)?;
    db.pragma_update(None, "temp_store", "memory")?;
    Ok(db)
}

impl Pool {
    fn take(&self) -> Result<Connection> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(db) => Ok(db),
            None => connect(&self.dir, self.cache_bytes).map_err(|error| said("open", &self.dir, error)),
        }
    }

    fn give_back(&self, db: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < POOL {
            idle.push(db);
        }
    }
}

fn get(db: &Connection, key: &[u8], found: &mut dyn FnMut(&[u8])) -> rusqlite::Result<bool> {
    let mut statement = db.prepare_cached(GET)?;
    let mut rows = statement.query(params![key])?;
    match rows.next()? {
        Some(row) => {
            found(row.get_ref(0)?.as_blob()?);
            Ok(true)
        }
        None => Ok(false),
    }
}

fn apply(db: &Connection, op: Op<'_>) -> rusqlite::Result<()> {
    match op {
        Op::Put { key, value } => db.prepare_cached(PUT)?.execute(params![key, value]),
        Op::Delete { key } => db.prepare_cached(DELETE)?.execute(params![key]),
        Op::DeleteRange { start, end: Some(end) } => {
            db.prepare_cached(DELETE_RANGE)?.execute(params![start, end])
        }
        Op::DeleteRange { start, end: None } => db.prepare_cached(DELETE_FROM)?.execute(params![start]),
    }
    .map(drop)
}

impl Sqlite {
    /// Calls `use_it` with rusqlite's own handle, for comparisons.
    pub fn with_connection<T>(&self, use_it: impl FnOnce(&Connection) -> T) -> T {
        use_it(&self.main().db)
    }

    fn fail(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> Error + '_ {
        move |error| said(action, &self.pool.dir, error)
    }

    fn main(&self) -> MutexGuard<'_, Main> {
        self.main.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in a transaction; one that failed is rolled back.
    fn commit(&self, level: Durability, work: impl FnOnce(&Connection) -> Result<()>) -> Result<()> {
        let mut main = self.main();
        self.set_level(&mut main, level)?;
        let txn = main.db.unchecked_transaction().map_err(self.fail("begin a transaction in"))?;
        work(&txn)?;
        txn.commit().map_err(self.fail("commit to"))
    }

    fn set_level(&self, main: &mut Main, level: Durability) -> Result<()> {
        if main.level != level {
            let word = if level == Durability::Disk { "FULL" } else { "NORMAL" };
            main.db.pragma_update(None, "synchronous", word).map_err(self.fail("set the level of"))?;
            main.level = level;
        }
        Ok(())
    }

    /// Moves the log into the database file, as far as no reader needs it; `mode` is PASSIVE or TRUNCATE.
    fn checkpoint(&self, main: &Main, mode: &str) -> Result<()> {
        let text = format!("PRAGMA wal_checkpoint({mode})");
        main.db.query_row(&text, [], |_| Ok(())).map_err(self.fail("checkpoint"))
    }
}

impl Peer for Sqlite {
    type View = ChunkView<SqliteState>;

    const NAME: &'static str = "sqlite";
    const ABOUT: &'static str = "SQLite: an update-in-place B+tree in C, in WAL mode";
    const VERSION: &'static str = "rusqlite 0.41.1";
    const LEVELS: &'static [Durability] = &[Durability::Os, Durability::Disk];
    const TUNABLES: &'static [Tunable] = &[
        Tunable {
            name: "cache",
            about: "bytes of the main connection's page cache; default: three quarters of the memory budget",
            default: |budget| budget / 4 * 3,
            limits: (16 << 10, 1 << 40),
        },
        Tunable {
            name: "reader_cache",
            // Four readers share the last quarter.
            about: "bytes of each further connection's page cache; default: a sixteenth of the memory budget",
            default: |budget| budget / 16,
            limits: (4 << 10, 1 << 40),
        },
    ];

    fn open(dir: &Path, options: &PeerOptions<Self>) -> Result<Self> {
        let open = || -> rusqlite::Result<Connection> {
            let db = connect(dir, options.get("cache"))?;
            db.pragma_update(None, "page_size", PAGE_BYTES.to_string())?;
            // The log is what makes its commits cheap; the rollback journal writes every page twice.
            db.pragma_update(None, "journal_mode", "WAL")?;
            db.pragma_update(None, "synchronous", "FULL")?;
            // The same log limit as for the other engines.
            let log_bytes = options.common.wal_bytes_max();
            let log_pages = (log_bytes / PAGE_BYTES).max(1);
            db.pragma_update(None, "wal_autocheckpoint", log_pages.to_string())?;
            db.pragma_update(None, "journal_size_limit", log_bytes.to_string())?;
            db.execute_batch(
                "CREATE TABLE IF NOT EXISTS kv (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID",
            )?;
            Ok(db)
        };
        let db = open().map_err(|error| said("open", dir, error))?;
        let pool =
            Pool { idle: Mutex::default(), dir: dir.to_path_buf(), cache_bytes: options.get("reader_cache") };
        Ok(Sqlite { main: Mutex::new(Main { db, level: Durability::Disk }), pool: Arc::new(pool) })
    }

    fn fixed_settings(&self, _options: &PeerOptions<Self>) -> Vec<(&'static str, String)> {
        vec![
            ("sqlite", rusqlite::version().to_owned()),
            ("journal_mode", "wal".to_owned()),
            ("synchronous", "os: normal, disk: full".to_owned()),
            ("page_size", PAGE_BYTES.to_string()),
            ("mmap_size", "0".to_owned()),
            ("table", "without rowid".to_owned()),
            ("checksums", "log only".to_owned()),
        ]
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let main = match self.main.try_lock() {
            Ok(main) => Some(main),
            Err(TryLockError::Poisoned(main)) => Some(main.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        if let Some(main) = main {
            return get(&main.db, key, found).map_err(self.fail("read"));
        }
        let db = self.pool.take()?;
        let hit = get(&db, key, found).map_err(self.fail("read"))?;
        self.pool.give_back(db);
        Ok(hit)
    }

    fn view(&self) -> Result<ChunkView<SqliteState>> {
        let db = self.pool.take()?;
        let begin = || -> rusqlite::Result<()> {
            db.prepare_cached("BEGIN")?.execute([])?;
            // The state is that of the first read, not of BEGIN.
            db.prepare_cached("SELECT 1 FROM kv LIMIT 1")?.query_row([], |_| Ok(())).optional()?;
            Ok(())
        };
        begin().map_err(self.fail("read"))?;
        Ok(ChunkView::new(SqliteState { db: Mutex::new(Some(db)), pool: Arc::clone(&self.pool) }))
    }

    fn write(&self, batch: &Batch, level: Durability) -> Result<()> {
        self.commit(level, |db| batch.ops().try_for_each(|op| apply(db, op)).map_err(self.fail("write to")))
    }

    fn put(&self, key: &[u8], value: &[u8], level: Durability) -> Result<()> {
        let mut main = self.main();
        self.set_level(&mut main, level)?;
        // One statement is a transaction of its own.
        apply(&main.db, Op::Put { key, value }).map_err(self.fail("write to"))
    }

    fn ingest(&self, sorted: &mut dyn SortedSource) -> Result<()> {
        self.commit(Durability::Disk, |db| {
            let mut put = db.prepare_cached(PUT).map_err(self.fail("write to"))?;
            while let Some(EntryRef { key, value }) = sorted.next()? {
                put.execute(params![key, value]).map_err(self.fail("write to"))?;
            }
            Ok(())
        })
    }

    fn sync(&self) -> Result<()> {
        // A commit at `FULL` syncs the log with all that stands in it; this one changes a number nobody reads.
        self.commit(Durability::Disk, |db| {
            let mark = db.query_row("PRAGMA user_version", [], |row| row.get::<_, i32>(0));
            let mark = mark.map_err(self.fail("sync"))?;
            db.pragma_update(None, "user_version", i32::from(mark == 0)).map_err(self.fail("sync"))
        })
    }

    fn flush(&self) -> Result<()> {
        self.sync()?;
        self.checkpoint(&self.main(), "PASSIVE")
    }

    fn compact(&self, _range: KeyRange<'_>) -> Result<()> {
        let main = self.main();
        main.db.execute_batch("VACUUM").map_err(self.fail("compact"))?;
        self.checkpoint(&main, "PASSIVE")
    }

    fn shape(&self) -> Result<Shape> {
        Err(Error::Unsupported { action: "shape: SQLite tells pages only by reading all of them" })
    }

    fn verify(&self, report: &mut VerifyReport) -> Result<()> {
        let main = self.main();
        let found = main.db.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0));
        let found = found.map_err(self.fail("check"))?;
        if found != "ok" {
            report.add(self.pool.dir.join(FILE), 0, found);
        }
        Ok(())
    }

    fn is_log(name: &str) -> bool {
        name.ends_with("-wal") || name.ends_with("-shm")
    }

    fn close(self) -> Result<()> {
        self.flush()?;
        self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let main = self.main.into_inner().unwrap_or_else(PoisonError::into_inner);
        main.db.close().map_err(|(_, error)| said("close", &self.pool.dir, error))
    }
}

/// One state: a connection within a read transaction, until it is dropped.
pub struct SqliteState {
    db: Mutex<Option<Connection>>,
    pool: Arc<Pool>,
}

impl SqliteState {
    fn with<T>(
        &self,
        action: &'static str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        // The connection is only taken out by `drop`.
        let db = db.as_ref().ok_or(Error::Closed)?;
        read(db).map_err(|error| said(action, &self.pool.dir, error))
    }
}

impl Drop for SqliteState {
    fn drop(&mut self) {
        let db = self.db.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // A connection whose transaction does not end is not used again.
        let is_free =
            |db: &Connection| db.prepare_cached("COMMIT").and_then(|mut end| end.execute([])).is_ok();
        if let Some(db) = db.filter(is_free) {
            self.pool.give_back(db);
        }
    }
}

/// The statement that walks a range: one text per kind of bounds, so that each is prepared once.
fn walk_text(range: KeyRange<'_>, direction: Direction) -> String {
    let start = match range.start {
        Bound::Included(_) => "k >= ?1",
        Bound::Excluded(_) => "k > ?1",
        Bound::Unbounded => "?1 IS NULL",
    };
    let end = match range.end {
        Bound::Included(_) => "k <= ?2",
        Bound::Excluded(_) => "k < ?2",
        Bound::Unbounded => "?2 IS NULL",
    };
    let order = if direction == Direction::Forward { "ASC" } else { "DESC" };
    format!("SELECT k, v FROM kv WHERE {start} AND {end} ORDER BY k {order}")
}

impl Fetch for SqliteState {
    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        self.with("read", |db| get(db, key, found))
    }

    fn fetch(&self, range: KeyRange<'_>, direction: Direction, chunk: &mut Chunk) -> Result<()> {
        let key = |bound| match bound {
            Bound::Included(key) | Bound::Excluded(key) => Some(key),
            Bound::Unbounded => None,
        };
        self.with("scan", |db| {
            let mut statement = db.prepare_cached(&walk_text(range, direction))?;
            let mut rows = statement.query(params![key(range.start), key(range.end)])?;
            while let Some(row) = rows.next()? {
                if !chunk.push(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?) {
                    break;
                }
            }
            Ok(())
        })
    }
}
