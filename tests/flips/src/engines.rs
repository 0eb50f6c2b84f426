//! The databases: how each is made and how all of it is read.

use std::error::Error;
use std::path::Path;

use kv_api::{Background, CommonOptions, Durability, IoMode, KeyRange, Kv, ScanOptions};

use crate::process::die;

/// What went wrong, as text.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// Entries of each database.
pub const COUNT: u64 = 100;

/// Entry `n`: 8 bytes of key, 64 of value.
pub fn entry(n: u64) -> ([u8; 8], [u8; 64]) {
    (n.wrapping_mul(0x0102_0408_1020_4080).to_be_bytes(), std::array::from_fn(|at| (n * 7 + at as u64) as u8))
}

/// The entries by tens: what one commit takes.
fn tens() -> impl Iterator<Item = std::ops::Range<u64>> {
    (0..COUNT / 10).map(|n| n * 10..n * 10 + 10)
}

/// What was read.
#[derive(Debug, Default)]
pub struct Seen {
    /// What the scan gave.
    pub scanned: Vec<(Vec<u8>, Vec<u8>)>,
    /// What a get of each entry gave, in their order.
    pub got: Vec<Option<Vec<u8>>>,
    /// The engine said that it cut the end of its log.
    pub says_cut: bool,
}

/// A database to flip bytes of.
pub struct Layout {
    /// Its name in the command line.
    pub name: &'static str,
    /// What the table calls it.
    pub title: &'static str,
    /// Makes it in an empty directory. Called in a process of its own, which may die.
    pub make: fn(&Path) -> Outcome<()>,
    /// Opens it and reads everything.
    pub read: fn(&Path, &mut Seen) -> Outcome<()>,
}

/// All of them, in the order of the table.
pub const LAYOUTS: [Layout; 12] = [
    Layout {
        name: "btree-flushed",
        title: "kv-btree, closed",
        make: |dir| own(&btree(dir)?, Left::Flushed),
        read: |dir, seen| ours(&btree(dir)?, seen),
    },
    Layout {
        name: "btree-killed",
        title: "kv-btree, killed",
        make: |dir| own(&btree(dir)?, Left::Killed),
        read: |dir, seen| ours(&btree(dir)?, seen),
    },
    Layout {
        name: "lsm-flushed",
        title: "kv-lsm, closed, in tables",
        make: |dir| own(&lsm(dir)?, Left::Flushed),
        read: |dir, seen| ours(&lsm(dir)?, seen),
    },
    Layout {
        name: "lsm-logged",
        title: "kv-lsm, closed, in the log",
        make: |dir| own(&lsm(dir)?, Left::Logged),
        read: |dir, seen| ours(&lsm(dir)?, seen),
    },
    Layout {
        name: "lsm-killed",
        title: "kv-lsm, killed",
        make: |dir| own(&lsm(dir)?, Left::Killed),
        read: |dir, seen| ours(&lsm(dir)?, seen),
    },
    Layout { name: "redb", title: "redb 4.5.0, closed", make: |dir| redb_make(dir, false), read: redb_read },
    Layout {
        name: "redb-killed",
        title: "redb 4.5.0, killed",
        make: |dir| redb_make(dir, true),
        read: redb_read,
    },
    Layout {
        name: "fjall",
        title: "fjall 3.1.13, closed, in tables",
        make: |dir| fjall_make(dir, true),
        read: fjall_read,
    },
    Layout {
        name: "fjall-journal",
        title: "fjall 3.1.13, closed, in the journal",
        make: |dir| fjall_make(dir, false),
        read: fjall_read,
    },
    Layout { name: "sled", title: "sled 0.34.7, closed", make: sled_make, read: sled_read },
    Layout {
        name: "sqlite",
        title: "SQLite (rusqlite 0.41.1), closed",
        make: sqlite_make,
        read: sqlite_read,
    },
    Layout { name: "lmdb", title: "LMDB (heed 0.22.1), closed", make: lmdb_make, read: lmdb_read },
];

/// How a database of ours is left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Flushed,
    Logged,
    Killed,
}

fn common() -> CommonOptions {
    CommonOptions {
        memory_budget: 1 << 20,
        io: IoMode::Buffered,
        background: Background::Inline,
        ..CommonOptions::default()
    }
}

fn btree(dir: &Path) -> Outcome<kv_btree::BTreeEngine> {
    let options = kv_btree::BTreeOptions { common: common(), ..kv_btree::BTreeOptions::default() };
    Ok(kv_btree::BTreeEngine::open(&dir.join("db"), options)?)
}

fn lsm(dir: &Path) -> Outcome<kv_lsm::LsmEngine> {
    let options = kv_lsm::LsmOptions { common: common(), ..kv_lsm::LsmOptions::default() };
    Ok(kv_lsm::LsmEngine::open(&dir.join("db"), options)?)
}

fn own(kv: &dyn Kv, left: Left) -> Outcome<()> {
    for ten in tens() {
        let mut batch = kv_api::Batch::new();
        for (key, value) in ten.map(entry) {
            batch.put(&key, &value);
        }
        kv.write(&batch, Durability::Disk)?;
    }
    match left {
        Left::Killed => die(),
        Left::Flushed => kv.flush()?,
        Left::Logged => {}
    }
    Ok(kv.close()?)
}

fn ours(kv: &dyn Kv, seen: &mut Seen) -> Outcome<()> {
    seen.says_cut = kv.recovery().tail_bytes_dropped > 0;
    let mut scan = kv.scan(KeyRange::ALL, ScanOptions::FORWARD)?;
    while let Some(entry) = scan.next()? {
        seen.scanned.push((entry.key.to_vec(), entry.value.to_vec()));
    }
    for n in 0..COUNT {
        seen.got.push(kv.get(&entry(n).0)?.map(|value| value.to_vec()));
    }
    Ok(())
}

const TABLE: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("kv");

fn redb_make(dir: &Path, killed: bool) -> Outcome<()> {
    let db = redb::Database::create(dir.join("db"))?;
    // Two commits: its file grows with each, and every byte more is a process more.
    for half in [0..COUNT / 2, COUNT / 2..COUNT] {
        let write = db.begin_write()?;
        {
            let mut table = write.open_table(TABLE)?;
            for (key, value) in half.map(entry) {
                table.insert(key.as_slice(), value.as_slice())?;
            }
        }
        write.commit()?;
    }
    if killed {
        die()
    }
    Ok(())
}

fn redb_read(dir: &Path, seen: &mut Seen) -> Outcome<()> {
    use redb::{ReadableDatabase as _, ReadableTable as _};
    let db = redb::Database::open(dir.join("db"))?;
    let table = db.begin_read()?.open_table(TABLE)?;
    for entry in table.iter()? {
        let (key, value) = entry?;
        seen.scanned.push((key.value().to_vec(), value.value().to_vec()));
    }
    for n in 0..COUNT {
        seen.got.push(table.get(entry(n).0.as_slice())?.map(|value| value.value().to_vec()));
    }
    Ok(())
}

fn fjall_make(dir: &Path, flushed: bool) -> Outcome<()> {
    let db = fjall::Database::builder(dir).open()?;
    let kv = db.keyspace("kv", fjall::KeyspaceCreateOptions::default)?;
    for ten in tens() {
        for (key, value) in ten.map(entry) {
            kv.insert(key, value)?;
        }
        db.persist(fjall::PersistMode::SyncAll)?;
    }
    if flushed {
        kv.rotate_memtable_and_wait()?;
    }
    Ok(db.persist(fjall::PersistMode::SyncAll)?)
}

fn fjall_read(dir: &Path, seen: &mut Seen) -> Outcome<()> {
    let db = fjall::Database::builder(dir).open()?;
    let kv = db.keyspace("kv", fjall::KeyspaceCreateOptions::default)?;
    for entry in kv.iter() {
        let (key, value) = entry.into_inner()?;
        seen.scanned.push((key.to_vec(), value.to_vec()));
    }
    for n in 0..COUNT {
        seen.got.push(kv.get(entry(n).0)?.map(|value| value.to_vec()));
    }
    Ok(())
}

fn sled_make(dir: &Path) -> Outcome<()> {
    let db = sled::open(dir)?;
    for n in 0..COUNT {
        let (key, value) = entry(n);
        db.insert(key, value.as_slice())?;
    }
    db.flush()?;
    Ok(())
}

fn sled_read(dir: &Path, seen: &mut Seen) -> Outcome<()> {
    let db = sled::open(dir)?;
    for entry in db.iter() {
        let (key, value) = entry?;
        seen.scanned.push((key.to_vec(), value.to_vec()));
    }
    for n in 0..COUNT {
        seen.got.push(db.get(entry(n).0)?.map(|value| value.to_vec()));
    }
    Ok(())
}

fn sqlite_make(dir: &Path) -> Outcome<()> {
    let mut db = rusqlite::Connection::open(dir.join("db"))?;
    db.execute_batch("CREATE TABLE kv (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID")?;
    for ten in tens() {
        let write = db.transaction()?;
        for (key, value) in ten.map(entry) {
            write.execute("INSERT INTO kv VALUES (?1, ?2)", (key.as_slice(), value.as_slice()))?;
        }
        write.commit()?;
    }
    db.close().map_err(|(_, error)| error.into())
}

fn sqlite_read(dir: &Path, seen: &mut Seen) -> Outcome<()> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let db = rusqlite::Connection::open_with_flags(dir.join("db"), flags)?;
    let mut all = db.prepare("SELECT k, v FROM kv ORDER BY k")?;
    let mut rows = all.query([])?;
    while let Some(row) = rows.next()? {
        seen.scanned.push((row.get(0)?, row.get(1)?));
    }
    let mut one = db.prepare("SELECT v FROM kv WHERE k = ?1")?;
    for n in 0..COUNT {
        let mut rows = one.query([entry(n).0.as_slice()])?;
        seen.got.push(rows.next()?.map(|row| row.get(0)).transpose()?);
    }
    Ok(())
}

type Lmdb = heed::Database<heed::types::Bytes, heed::types::Bytes>;

#[expect(unsafe_code, reason = "LMDB maps the file: opening promises that nothing else changes it")]
fn lmdb_open(dir: &Path) -> Outcome<heed::Env> {
    let mut options = heed::EnvOpenOptions::new();
    options.map_size(1 << 20);
    // SAFETY: the files are this process's own.
    Ok(unsafe { options.open(dir)? })
}

fn lmdb_make(dir: &Path) -> Outcome<()> {
    let env = lmdb_open(dir)?;
    for ten in tens() {
        let mut write = env.write_txn()?;
        let kv: Lmdb = env.create_database(&mut write, None)?;
        for (key, value) in ten.map(entry) {
            kv.put(&mut write, &key, &value)?;
        }
        write.commit()?;
    }
    Ok(())
}

fn lmdb_read(dir: &Path, seen: &mut Seen) -> Outcome<()> {
    let env = lmdb_open(dir)?;
    let read = env.read_txn()?;
    let kv: Lmdb = env.open_database(&read, None)?.ok_or("there is no database")?;
    for entry in kv.iter(&read)? {
        let (key, value) = entry?;
        seen.scanned.push((key.to_vec(), value.to_vec()));
    }
    for n in 0..COUNT {
        seen.got.push(kv.get(&read, &entry(n).0)?.map(<[u8]>::to_vec));
    }
    Ok(())
}
