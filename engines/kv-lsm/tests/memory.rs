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
