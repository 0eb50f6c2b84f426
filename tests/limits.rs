//! Large and odd: files beyond 4 GiB, tens of thousands of tables, floods of empty values, batches of nothing and of the
//! most operations, directories with names that are no text. `conformance` has the longest key and value and one more.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use kv_api::limits::BATCH_OPS_MAX;
use kv_api::{Batch, Durability, EntryRef, ErrorKind, KeyRange, KvRead, Result, SortedSource};
use kv_io::{Env, SimVfs, Vfs};
use tests::crash::files_of;
use tests::share::{Share, by_share, share, tell};
use tests::steps::Entries;
use tests::{Engine, Knobs, Lab, Map, check, each_stored_engine};

each_stored_engine!(
    files_beyond_4_gib,
    many_tables,
    floods_of_empty_values,
    batches_of_nothing_and_of_the_most_operations,
    directories_whose_names_are_no_text,
);

/// Bytes of a value that tells its number at both ends; the zeros between cost a simulated disk nothing.
const HUGE_BYTES: usize = 64 << 20;
/// So many of them reach beyond 4 GiB.
const HUGE_COUNT: u64 = 68;

/// Entries with huge values, one at a time.
struct Huge {
    numbers: std::ops::Range<u64>,
    key: [u8; 8],
    value: Vec<u8>,
}

impl Huge {
    fn new(numbers: std::ops::Range<u64>) -> Huge {
        Huge { numbers, key: [0; 8], value: vec![0; HUGE_BYTES] }
    }
}

impl SortedSource for Huge {
    fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
        let Some(n) = self.numbers.next() else { return Ok(None) };
        self.key = n.to_be_bytes();
        let stamp = (!n).to_be_bytes();
        self.value[..8].copy_from_slice(&stamp);
        self.value[HUGE_BYTES - 8..].copy_from_slice(&stamp);
        Ok(Some(EntryRef { key: &self.key, value: &self.value }))
    }
}

/// Stops the test unless all huge values from `first` on are there, each at its place.
fn holds_huge(db: &(impl KvRead + ?Sized), first: u64) -> Result<()> {
    for n in 0..HUGE_COUNT {
        let mut seen = 0;
        let found = db.get_with(&n.to_be_bytes(), &mut |value| {
            let stamp = (!n).to_be_bytes();
            assert!(value.starts_with(&stamp) && value.ends_with(&stamp), "value {n} is another one");
            seen = value.len();
        })?;
        assert_eq!((found, seen), (n >= first, if n >= first { HUGE_BYTES } else { 0 }), "value {n}");
    }
    Ok(())
}

/// Offsets that do not fit 32 bits.
fn files_beyond_4_gib(engine: Engine) -> Result<()> {
    if share() == Share::Quick {
        tell(&format!("{}, limits: files beyond 4 GiB are left to KVLAB_TESTS=ci", engine.name()));
        return Ok(());
    }
    let mut knobs = Knobs { table_bytes: 256 << 20, ..Knobs::small() };
    knobs.common.memory_budget = 512 << 20;
    let disk = SimVfs::new(1);
    let lab = Lab::over(engine, knobs, Env::simulated(Arc::clone(&disk) as Arc<dyn Vfs>, 1));
    let db = lab.open()?;
    for first in (0..HUGE_COUNT).step_by(4) {
        db.ingest(&mut Huge::new(first..(first + 4).min(HUGE_COUNT)))?;
    }
    holds_huge(&*db, 0)?;
    let used_bytes = disk.used_bytes();
    assert!(used_bytes > 1 << 32, "{used_bytes} bytes are not beyond 4 GiB");
    db.close()?;
    let db = lab.open()?;
    // What is written now lies behind everything, and the log takes a frame of its own for it.
    db.put(b"behind", &vec![7; HUGE_BYTES], Durability::Disk)?;
    db.delete_range(KeyRange::from(..3_u64.to_be_bytes().as_slice()), Durability::Disk)?;
    db.flush()?;
    drop(db);
    let db = lab.open()?;
    holds_huge(&*db, 3)?;
    assert!(db.get(b"behind")?.as_deref() == Some(&vec![7; HUGE_BYTES][..]));
    assert_eq!(db.verify()?.entries, HUGE_COUNT - 3 + 1);
    tell(&format!("{}, limits: {used_bytes} bytes of files", engine.name()));
    Ok(())
}

fn numbered(count: u64, value: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    (0..count).map(|n| (n.to_be_bytes().to_vec(), value.to_vec())).collect()
}

/// Tables of the least size: thousands of them, opened again, and gone once they hold nothing.
fn many_tables(engine: Engine) -> Result<()> {
    let count = by_share(10_000, 400_000, 4_000_000);
    let mut knobs = Knobs::hostile();
    // Filters and indexes of that many tables have to fit.
    knobs.common.memory_budget = by_share(4 << 20, 64 << 20, 512 << 20);
    let disk = SimVfs::new(1);
    let lab = Lab::over(engine, knobs, Env::simulated(Arc::clone(&disk) as Arc<dyn Vfs>, 1));
    let entries = numbered(count, &[b'v'; 100]);
    let db = lab.open()?;
    db.ingest(&mut Entries::new(&entries))?;
    db.close()?;
    let files = files_of(&*disk, lab.dir())?.len();
    assert!(engine != Engine::Lsm || files as u64 > count / 60, "only {files} files");
    let db = lab.open()?;
    for n in (0..count).step_by(97) {
        assert_eq!(db.get(&n.to_be_bytes())?.as_deref(), Some(&[b'v'; 100][..]), "entry {n}");
        assert!(db.get(&[&n.to_be_bytes()[..], b"x"].concat())?.is_none());
    }
    let report = db.verify()?;
    assert!(report.is_sound() && report.entries == count, "{report:?}");
    db.delete_range(KeyRange::ALL, Durability::Disk)?;
    db.flush()?;
    db.settle(std::time::Duration::from_secs(600))?;
    assert_eq!(db.verify()?.entries, 0);
    tell(&format!("{}, limits: {count} entries in {files} files", engine.name()));
    Ok(())
}

/// Entries of nothing but a key, the empty key among them.
fn floods_of_empty_values(engine: Engine) -> Result<()> {
    let lab = Lab::simulated(engine, Knobs::hostile(), 1);
    let mut map = Map::new();
    let mut db = lab.open()?;
    for round in 0..by_share(40, 400, 4_000_u64) {
        let mut batch = Batch::new();
        batch.put(b"", b"");
        for n in 0..60 {
            let key = (round * 60 + n).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
            // Keys of zero to eight bytes: the shorter ones come again and again.
            let key = &key[..usize::try_from(n % 9).expect("small")];
            if n % 7 == 3 {
                batch.delete(key)
            } else {
                batch.put(key, b"")
            };
        }
        tests::map::apply(&mut map, &batch);
        db.write(&batch, Durability::Os)?;
        if round % 50 == 49 {
            drop(db);
            db = lab.open()?;
        }
    }
    check::holds(&*db, &map, "after the flood")?;
    db.settle(std::time::Duration::from_secs(60))?;
    check::holds(&*db, &map, "after settle")?;
    let mut scan = db.scan(KeyRange::ALL, kv_api::ScanOptions::FORWARD)?;
    let first = scan.next()?.expect("an entry");
    assert_eq!((first.key, first.value), (&b""[..], &b""[..]), "the empty key comes first");
    Ok(())
}

fn batches_of_nothing_and_of_the_most_operations(engine: Engine) -> Result<()> {
    let mut knobs = Knobs::small();
    knobs.common.memory_budget = 64 << 20;
    let lab = Lab::simulated(engine, knobs, 1);
    let db = lab.open()?;
    for level in [Durability::Memory, Durability::Os, Durability::Disk] {
        let before = db.stats().seq;
        assert_eq!(db.write(&Batch::new(), level)?.seq, before, "an empty batch takes no number");
    }
    let mut most = Batch::new();
    for n in 0..BATCH_OPS_MAX {
        most.put(&(n % 1000).to_be_bytes()[6..], b"");
    }
    db.write(&most, Durability::Os)?;
    assert_eq!(check::contents(&*db)?.len(), 1000);
    most.delete(b"one more");
    let refused = db.write(&most, Durability::Os).map(drop).expect_err("one operation too many");
    assert_eq!(refused.kind(), ErrorKind::BatchTooLarge, "{refused}");
    drop(db);
    let db = lab.open()?;
    assert_eq!(check::contents(&*db)?.len(), 1000, "after the log was read");
    Ok(())
}

/// A path is bytes: not all of it is UTF-8, or fit to be printed.
fn directories_whose_names_are_no_text(engine: Engine) -> Result<()> {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let long = [b'l'; 255];
    for name in [&b"not \xFF\xFE text"[..], b"two\nlines", b" ", b"-rf", "\u{fc}\u{df}".as_bytes(), &long] {
        let dir = temporary.path().join(OsStr::from_bytes(name));
        let (db_dir, copy_dir) = (dir.join(OsStr::from_bytes(b"d\x80b")), dir.join("copy"));
        let open = |dir: &std::path::Path| engine.open(&Env::os(), dir, &Knobs::small());
        let db = open(&db_dir)?;
        db.put(b"key", b"value", Durability::Disk)?;
        db.flush()?;
        let refused = open(&db_dir).map(drop).expect_err("it is open");
        assert_eq!(refused.kind(), ErrorKind::Locked, "{refused}");
        db.backup(&copy_dir)?;
        drop(db);
        for dir in [&db_dir, &copy_dir] {
            assert_eq!(open(dir)?.get(b"key")?.as_deref(), Some(&b"value"[..]), "{}", dir.display());
        }
    }
    Ok(())
}
