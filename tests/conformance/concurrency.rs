//! Many threads on one handle.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kv_api::{Batch, Durability, KeyRange, Result, ScanOptions};
use tests::{Lab, check, for_every_engine};

use crate::{LEVEL, fill, key};

for_every_engine!(
    writers_lose_nothing,
    a_reader_never_sees_half_a_batch,
    reads_never_go_back_in_time,
    close_in_the_middle_of_work_is_closed_or_done,
);

fn writers_lose_nothing(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let db = &db;
            scope.spawn(move || {
                let level = [Durability::Memory, Durability::Os, Durability::Disk, Durability::Disk][thread];
                for n in 0..150 {
                    db.put(&key(thread * 1000 + n), &key(n), level).expect("writes");
                }
            });
        }
    });
    assert_eq!(check::contents(&*db)?.len(), 600);
    assert_eq!(db.stats().seq, 600);
    if lab.engine.is_stored() {
        db.sync()?;
        drop(db);
        assert_eq!(check::contents(&*lab.open()?)?.len(), 600);
    }
    Ok(())
}

fn a_reader_never_sees_half_a_batch(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    let write = |round: u64| {
        let mut batch = Batch::new();
        for n in 0..20 {
            batch.put(&key(n * 37), &round.to_be_bytes());
        }
        db.write(&batch, LEVEL)
    };
    write(0)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for direction in [ScanOptions::FORWARD, ScanOptions::REVERSE] {
            let (db, done) = (&db, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let mut scan = db.scan(KeyRange::ALL, direction).expect("scans");
                    let found = check::rest(&mut *scan).expect("reads");
                    assert_eq!(found.len(), 20);
                    assert!(
                        found.iter().all(|(_, value)| *value == found[0].1),
                        "half of a batch: {found:?}"
                    );
                }
            });
        }
        for round in 1..1500 {
            write(round).expect("writes");
            if round % 100 == 0 {
                db.flush().expect("flushes");
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    Ok(())
}

fn reads_never_go_back_in_time(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    db.put(b"counter", &0_u64.to_be_bytes(), LEVEL)?;
    let acknowledged = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (db, acknowledged, done) = (&db, &acknowledged, &done);
            scope.spawn(move || {
                let mut last = 0;
                while !done.load(Ordering::Acquire) {
                    let least = acknowledged.load(Ordering::Acquire);
                    let value = db.get(b"counter").expect("reads").expect("always there");
                    let now = u64::from_be_bytes(value[..].try_into().expect("eight bytes"));
                    assert!(
                        now >= least && now >= last,
                        "read {now} after {last}, with {least} acknowledged"
                    );
                    last = now;
                }
            });
        }
        for round in 1..5000_u64 {
            db.put(b"counter", &round.to_be_bytes(), LEVEL).expect("writes");
            acknowledged.store(round, Ordering::Release);
            if round % 1000 == 0 {
                db.flush().expect("flushes");
            }
        }
        done.store(true, Ordering::Release);
    });
    Ok(())
}

fn close_in_the_middle_of_work_is_closed_or_done(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 500)?;
    let written = AtomicU64::new(500);
    std::thread::scope(|scope| {
        let (db, written) = (&db, &written);
        scope.spawn(move || {
            for n in 500.. {
                match db.put(&key(n), b"v", LEVEL) {
                    Ok(_) => written.store(n as u64 + 1, Ordering::Relaxed),
                    Err(error) => return assert_eq!(error.kind(), kv_api::ErrorKind::Closed, "{error}"),
                }
            }
        });
        scope.spawn(move || {
            loop {
                if let Err(error) = check::contents(&**db) {
                    return assert_eq!(error.kind(), kv_api::ErrorKind::Closed, "{error}");
                }
            }
        });
        while written.load(Ordering::Relaxed) < 700 {
            std::thread::yield_now();
        }
        db.close().expect("closes");
    });
    if lab.engine.is_stored() {
        let found = check::contents(&*lab.open()?)?.len() as u64;
        assert_eq!(found, written.load(Ordering::Relaxed), "a close keeps everything acknowledged");
    }
    Ok(())
}
