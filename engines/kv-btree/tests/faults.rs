//! Faults of the disk that this engine alone can meet. The suites for all engines are in package `tests`.

use std::path::Path;
use std::sync::Arc;

use kv_api::{
    Background, CommonOptions, Durability, EntryRef, ErrorKind, IoMode, KeyRange, Kv, KvRead, Result,
    ScanOptions, SortedSource,
};
use kv_btree::{BTreeEngine, BTreeOptions};
use kv_io::sim::{CrashPolicy, Repeat, SimVfs};
use kv_io::{Env, Vfs};

fn open(disk: &Arc<SimVfs>) -> Result<BTreeEngine> {
    let options = BTreeOptions {
        common: CommonOptions {
            memory_budget: 64 << 10,
            background: Background::Inline,
            io: IoMode::Buffered,
            ..CommonOptions::default()
        },
        page_size: 512,
        ..BTreeOptions::default()
    };
    BTreeEngine::open_with(Env::simulated(Arc::clone(disk) as Arc<dyn Vfs>, 1), Path::new("/db"), options)
}

/// Entries in order, every hundredth with a value that is stored apart.
struct Sorted {
    next: u32,
    end: u32,
    key: [u8; 4],
    value: Vec<u8>,
}

fn sorted(end: u32) -> Sorted {
    Sorted { next: 0, end, key: [0; 4], value: Vec::new() }
}

impl SortedSource for Sorted {
    fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
        if self.next == self.end {
            return Ok(None);
        }
        self.key = self.next.to_be_bytes();
        self.value = vec![b'n'; if self.next.is_multiple_of(100) { 3000 } else { 20 }];
        self.next += 1;
        Ok(Some(EntryRef { key: &self.key, value: &self.value }))
    }
}

/// How many entries, and how many of them have an old value.
fn count(db: &BTreeEngine) -> Result<(u32, u32)> {
    let mut scan = db.scan(KeyRange::ALL, ScanOptions::FORWARD)?;
    let (mut all, mut old) = (0, 0);
    while let Some(entry) = scan.next()? {
        all += 1;
        old += u32::from(entry.value == b"old");
    }
    Ok((all, old))
}

#[test]
fn an_ingest_without_space_leaves_everything_as_it_was_and_the_engine_goes_on() -> Result<()> {
    let mut refused = 0;
    for (before, room) in
        [0_u32, 300].into_iter().flat_map(|n| (0..160_000).step_by(6131).map(move |room| (n, room)))
    {
        let context = format!("{before} entries before, room for {room} bytes");
        let disk = SimVfs::new(room);
        let db = open(&disk)?;
        for n in 0..before {
            // Half of them are replaced by the ingest.
            db.put(&(n * 4000 / 300).to_be_bytes(), b"old", Durability::Os)?;
        }
        db.flush()?;
        disk.faults().limit_space(disk.used_bytes() + room, Repeat::Forever);
        match db.ingest(&mut sorted(2000)) {
            Ok(report) => assert_eq!(report.entries, 2000, "{context}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NoSpace, "{context}: {error}");
                assert_eq!(count(&db)?, (before, before), "{context}");
                let report = db.verify()?;
                assert!(report.is_sound(), "{context}: {:#?}", report.problems);
                refused += 1;
            }
        }
        disk.faults().heal();
        db.put(b"after", b"old", Durability::Disk)?;
        db.flush()?;
        assert_eq!(db.ingest(&mut sorted(2000))?.entries, 2000, "{context}");
        let beyond = before / 2 + 1;
        assert_eq!(count(&db)?, (2000 + beyond, beyond), "{context}");
        assert!(db.verify()?.is_sound(), "{context}");
        drop(db);
        let db = open(&disk.crash(CrashPolicy::DropUnsynced))?;
        assert_eq!(count(&db)?, (2000 + beyond, beyond), "{context}");
        assert!(db.verify()?.is_sound(), "{context}");
    }
    assert!(refused > 20, "{refused} ingests met the limit");
    Ok(())
}
