//! Memory: what the engine declares stays within its budget, also while a scan holds memtables that were flushed.

use std::path::Path;

use kv_api::{Batch, CommonOptions, Durability, KeyRange, Kv, KvRead, Result, ScanOptions};
use kv_io::Env;
use kv_io::sim::SimVfs;
use kv_lsm::{LsmEngine, LsmOptions};

mod setup;

use setup::hostile;

const BUDGET: u64 = 4 << 20;

fn key(n: u32) -> [u8; 8] {
    u64::from(n.wrapping_mul(0x9e37_79b1)).to_be_bytes()
}

/// Each of them cuts all fragments anew, and each fragment keeps every age: nested ones cost their product.
#[test]
fn range_deletes_that_nest_fill_a_memtable_long_before_memory_does() -> Result<()> {
    let disk = SimVfs::new(1);
    let open = || {
        let common = CommonOptions { memory_budget: 64 << 20, ..hostile().common };
        let options = LsmOptions { common, ..LsmOptions::default() };
        LsmEngine::open_with(Env::simulated(disk.clone(), 1), Path::new("/db"), options)
    };
    let held = |db: &LsmEngine| {
        let stats = db.stats();
        stats.memory.iter().find(|part| part.owner == "memtables").map_or(0, |part| part.bytes)
    };
    let db = open()?;
    let mut most = 0;
    for _ in 0..2000 {
        db.delete_range(KeyRange::ALL, Durability::Memory)?;
    }
    for round in 0..3_u32 {
        let mut batch = Batch::new();
        for n in 0..5000_u32 {
            let (start, end) = ((n * 10 + round).to_be_bytes(), (n * 10 + round + 5).to_be_bytes());
            batch.delete_range(KeyRange::from(start.as_slice()..end.as_slice()));
        }
        db.write(&batch, Durability::Disk)?;
        most = most.max(held(&db));
    }
    // 10,000 fragments of 2,000 ages are 160 MB.
    assert!(most < 4 << 20, "{most} bytes of memtables");
    db.put(b"key", b"value", Durability::Disk)?;
    drop(db);
    let db = open()?;
    assert_eq!(db.get(b"key")?.as_deref(), Some(&b"value"[..]));
    assert!(held(&db) < 4 << 20, "{} bytes of memtables after replay", held(&db));
    Ok(())
}

#[test]
fn a_scan_over_flushed_memtables_takes_its_memory_from_the_cache() -> Result<()> {
    let common = CommonOptions { memory_budget: BUDGET, ..hostile().common };
    let options = LsmOptions { common, ..LsmOptions::default() };
    let db = LsmEngine::open_with(Env::simulated(SimVfs::new(1), 1), Path::new("/db"), options)?;
    let mut scans = Vec::new();
    let (mut most, mut retired) = (0, 0);
    for round in 0..60_u32 {
        let mut batch = Batch::new();
        for n in 0..500 {
            batch.put(&key(round * 500 + n), &[round as u8; 200]);
        }
        db.write(&batch, Durability::Memory)?;
        // Two scans at a time, each of which keeps the memtables of its moment.
        if round % 4 == 0 {
            scans.truncate(1);
            scans.insert(0, db.scan(KeyRange::ALL, ScanOptions::FORWARD)?);
        }
        for n in 0..round * 500 {
            assert!(db.get(&key(n))?.is_some(), "{n}");
        }
        let stats = db.stats();
        most = most.max(stats.memory_bytes());
        let memtables = stats.memory.iter().find(|part| part.owner == "memtables").map(|part| part.bytes);
        retired = retired.max(memtables.unwrap_or(0));
    }
    assert!(retired > BUDGET / 4, "no scan held a flushed memtable: {retired} bytes of memtables at most");
    assert!(most <= BUDGET, "{most} of {BUDGET} bytes");
    drop(scans);
    Ok(())
}
