//! Faults of the disk: no space, failed reads, writes and syncs at any call. No acknowledged write is lost, nothing
//! panics, and the handle says what happened.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use kv_api::{Batch, Cause, Durability, Error, ErrorKind, KeyRange, Kv, KvRead, Result, ScanOptions};
use kv_io::Env;
use kv_io::Vfs;
use kv_io::sim::{CrashPolicy, FaultOp, Repeat, SimVfs};
use kv_io::vfs::OpenOptions;
use kv_lsm::LsmEngine;

mod setup;

use setup::hostile;

fn open(disk: &Arc<SimVfs>) -> Result<LsmEngine> {
    LsmEngine::open_with(Env::simulated(disk.clone(), 1), Path::new("/db"), hostile())
}

/// Writes rounds of ten keys until one fails; returns the rounds acknowledged and the error.
fn fill(db: &LsmEngine, rounds: std::ops::Range<u32>) -> (u32, Option<Error>) {
    for round in rounds.clone() {
        let mut batch = Batch::new();
        for n in 0..10_u32 {
            batch.put(&[round.to_be_bytes(), n.to_be_bytes()].concat(), &[round as u8; 60]);
        }
        if let Err(error) = db.write(&batch, Durability::Disk) {
            return (round, Some(error));
        }
    }
    (rounds.end, None)
}

/// The number of whole rounds found; fails if a round is there in part or one is missing in between.
fn rounds(db: &LsmEngine) -> Result<u32> {
    let mut scan = db.scan(KeyRange::ALL, ScanOptions::FORWARD)?;
    let mut entries = 0_u32;
    while let Some(entry) = scan.next()? {
        let (round, n) = (entries / 10, entries % 10);
        assert_eq!(entry.key, [round.to_be_bytes(), n.to_be_bytes()].concat());
        assert_eq!(entry.value, [round as u8; 60]);
        entries += 1;
    }
    assert_eq!(entries % 10, 0, "a batch is there in part");
    Ok(entries / 10)
}

#[test]
fn a_full_disk_refuses_writes_loses_nothing_and_heals() -> Result<()> {
    for limit in (40..400).step_by(19) {
        let disk = SimVfs::new(limit);
        let db = open(&disk)?;
        disk.faults().limit_space(limit << 10, Repeat::Forever);
        let (acked, error) = fill(&db, 0..200);
        let found = rounds(&db)?;
        assert!(found >= acked, "limit {limit}: {found} of {acked}");
        disk.faults().heal();
        if let Some(error) = &error {
            assert!(
                matches!(error.kind(), ErrorKind::NoSpace | ErrorKind::Poisoned),
                "limit {limit}: {error}"
            );
        }
        let again = db.write(Batch::new().put(b"\xff", b""), Durability::Disk);
        if let Err(error) = &again {
            assert_eq!(error.kind(), ErrorKind::Poisoned, "limit {limit}: {error}");
        }
        drop(db);
        let db = open(&disk)?;
        if again.is_ok() {
            db.delete(b"\xff", Durability::Disk)?;
        }
        assert!(rounds(&db)? >= acked);
        assert!(db.verify()?.is_sound());
    }
    Ok(())
}

#[test]
fn any_failed_call_poisons_or_refuses_and_reopening_recovers() -> Result<()> {
    let ops = [
        FaultOp::Read,
        FaultOp::Write,
        FaultOp::Sync,
        FaultOp::SyncDir,
        FaultOp::Create,
        FaultOp::Rename,
        FaultOp::Remove,
        FaultOp::Resize,
    ];
    for op in ops {
        for nth in (0..24).chain((24..400).step_by(29)) {
            let disk = SimVfs::new(nth);
            let db = open(&disk)?;
            let (before, none) = fill(&db, 0..20);
            assert!(none.is_none());
            disk.faults().fail(op, nth, Repeat::Once);
            let (acked, error) = fill(&db, before..60);
            if let Some(error) = &error {
                assert_ne!(error.kind(), ErrorKind::Corruption, "{op:?} {nth}: {error}");
            }
            disk.faults().heal();
            // What was read before may be read on; a poisoned handle takes no write.
            assert!(rounds(&db)? >= acked, "{op:?} {nth}");
            drop(db);
            for policy in [CrashPolicy::KeepAll, CrashPolicy::DropUnsynced, CrashPolicy::Tear { seed: nth }] {
                let image = disk.crash(policy);
                let db = open(&image).unwrap_or_else(|error| panic!("{op:?} {nth} {policy:?}: {error}"));
                let found = rounds(&db)?;
                assert!(
                    found == acked || found == acked + 1,
                    "{op:?} {nth} {policy:?}: {found}, {acked} acked"
                );
                assert!(db.verify()?.is_sound());
            }
        }
    }
    Ok(())
}

#[test]
fn any_failed_call_while_opening_is_an_error_and_the_next_open_recovers() -> Result<()> {
    let disk = SimVfs::new(9);
    let db = open(&disk)?;
    assert!(fill(&db, 0..40).1.is_none());
    drop(db);
    for op in
        [FaultOp::Read, FaultOp::Write, FaultOp::Sync, FaultOp::SyncDir, FaultOp::Create, FaultOp::Rename]
    {
        for nth in (0..40).step_by(2) {
            let image = disk.crash(CrashPolicy::KeepAll);
            image.faults().fail(op, nth, Repeat::Once);
            let first = open(&image).map(drop);
            image.faults().heal();
            let image = image.crash(CrashPolicy::Tear { seed: nth });
            let db = open(&image).unwrap_or_else(|error| panic!("{op:?} {nth} after {first:?}: {error}"));
            assert_eq!(rounds(&db)?, 40, "{op:?} {nth}");
            assert!(db.verify()?.is_sound(), "{op:?} {nth}");
        }
    }
    Ok(())
}

#[test]
fn a_power_cut_inside_recovery_changes_nothing() -> Result<()> {
    let disk = SimVfs::new(10);
    let db = open(&disk)?;
    assert!(fill(&db, 0..30).1.is_none());
    drop(db);
    let image = disk.crash(CrashPolicy::DropUnsynced);
    drop(open(&image)?);
    for step in 0..image.steps() {
        let image = disk.crash(CrashPolicy::DropUnsynced);
        image.crash_at(step);
        let _ = open(&image);
        for policy in [CrashPolicy::DropUnsynced, CrashPolicy::Tear { seed: step }] {
            let db =
                open(&image.crash(policy)).unwrap_or_else(|error| panic!("step {step} {policy:?}: {error}"));
            assert_eq!(rounds(&db)?, 30, "step {step} {policy:?}");
            assert!(db.verify()?.is_sound(), "step {step} {policy:?}");
        }
    }
    Ok(())
}

#[test]
fn a_damaged_byte_is_an_error_and_never_another_answer() -> Result<()> {
    let disk = SimVfs::new(11);
    let db = open(&disk)?;
    assert!(fill(&db, 0..12).1.is_none());
    db.delete_range(KeyRange::from(&[0, 0, 0, 3][..]..&[0, 0, 0, 5][..]), Durability::Disk)?;
    db.flush()?;
    db.close()?;
    let contents = || -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut options = hostile();
        (options.common.read_only, options.common.create) = (true, false);
        let db = LsmEngine::open_with(Env::simulated(disk.clone(), 1), Path::new("/db"), options)?;
        let mut out = Vec::new();
        let mut scan = db.scan(KeyRange::ALL, ScanOptions::REVERSE)?;
        while let Some(entry) = scan.next()? {
            out.push((entry.key.to_vec(), entry.value.to_vec()));
        }
        Ok(out)
    };
    let want = contents()?;
    assert_eq!(want.len(), 100);
    let (mut caught, mut harmless) = (0, 0);
    for entry in disk.list(Path::new("/db"), Cause::Verify)? {
        if !entry.name.ends_with("tbl") && !entry.name.ends_with("manifest") {
            continue;
        }
        let file = disk.open(&Path::new("/db").join(&entry.name), OpenOptions::WRITE, Cause::Verify)?;
        for at in (0..file.len()?).step_by(5) {
            let mut byte = [0];
            file.read_at(at, &mut byte, Cause::Verify)?;
            file.write_at(at, &[IoSlice::new(&[byte[0] ^ 0x55])], Cause::Verify)?;
            match contents() {
                Ok(found) => {
                    assert_eq!(found, want, "{} byte {at}", entry.name);
                    harmless += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
                    caught += 1;
                }
            }
            file.write_at(at, &[IoSlice::new(&byte)], Cause::Verify)?;
        }
    }
    assert!(caught > 300, "{caught} caught, {harmless} in padding");
    assert!(open(&disk)?.verify()?.is_sound());
    Ok(())
}
