//! Snapshots: the state of one moment, whatever happens after it.

use kv_api::{Direction, ErrorKind, KeyRange, Result, ScanOptions};
use tests::driver::unless_unsupported;
use tests::{Lab, check, for_every_engine};

use crate::{LEVEL, fill, key, refused, value_of};

for_every_engine!(
    a_snapshot_keeps_its_state_through_upkeep,
    eight_snapshots_keep_eight_states,
    a_snapshot_survives_a_range_delete,
    snapshots_are_dropped_in_any_order,
    deletes_kept_for_a_snapshot_go_without_disorder,
    everything_after_close_is_closed,
    a_snapshot_reads_from_many_threads,
);

fn a_snapshot_keeps_its_state_through_upkeep(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 500)?;
    let expected = check::contents(&*db)?;
    let snapshot = db.snapshot()?;
    for n in 0..500 {
        db.put(&key(n), b"new", LEVEL)?;
    }
    db.flush()?;
    for n in 0..400 {
        db.delete(&key(n), LEVEL)?;
    }
    db.flush()?;
    unless_unsupported(db.compact(KeyRange::ALL).map(|_| ()))?;
    check::holds(&*snapshot, &expected, "after flush and compaction")?;
    drop(snapshot);
    unless_unsupported(db.compact(KeyRange::ALL).map(|_| ()))?;
    assert_eq!(db.verify()?.entries, 100);
    Ok(())
}

fn eight_snapshots_keep_eight_states(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    let mut held = Vec::new();
    for round in 0..8_usize {
        for n in 0..200 {
            db.put(&key(n), format!("round {round}").as_bytes(), LEVEL)?;
        }
        db.delete(&key(round), LEVEL)?;
        held.push(db.snapshot()?);
        if round % 2 == 0 {
            db.flush()?;
        }
    }
    db.settle(std::time::Duration::from_secs(10))?;
    for (round, snapshot) in held.iter().enumerate() {
        assert!(snapshot.get(&key(round))?.is_none());
        let found = snapshot.get(&key(100))?;
        assert_eq!(found.as_deref(), Some(format!("round {round}").as_bytes()));
        assert_eq!(check::contents(&**snapshot)?.len(), 199);
    }
    assert!(held.windows(2).all(|pair| pair[0].seq() < pair[1].seq()));
    Ok(())
}

fn a_snapshot_survives_a_range_delete(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 600)?;
    db.flush()?;
    let snapshot = db.snapshot()?;
    db.delete_range(KeyRange::ALL, LEVEL)?;
    db.flush()?;
    unless_unsupported(db.compact(KeyRange::ALL).map(|_| ()))?;
    assert!(check::contents(&*db)?.is_empty());
    assert_eq!(check::contents(&*snapshot)?.len(), 600);
    fill(&*db, 300, 310)?;
    db.flush()?;
    assert_eq!(check::contents(&*snapshot)?.len(), 600);
    assert_eq!(check::contents(&*db)?.len(), 10);
    Ok(())
}

fn snapshots_are_dropped_in_any_order(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    let mut held = Vec::new();
    for round in 0..6 {
        fill(&*db, round * 100, round * 100 + 150)?;
        held.push((db.snapshot()?, check::contents(&*db)?));
    }
    for at in [3, 0, 2, 2, 0, 0] {
        let (snapshot, expected) = held.remove(at);
        let (from, to) = (key(at * 90), key(at * 90 + 50));
        db.delete_range(KeyRange::from(from.as_slice()..to.as_slice()), LEVEL)?;
        db.flush()?;
        check::holds(&*snapshot, &expected, "one that is let go")?;
        drop(snapshot);
        for (snapshot, expected) in &held {
            check::holds(&**snapshot, expected, "one that stays")?;
        }
    }
    assert_eq!(db.stats().snapshots_open, 0);
    Ok(())
}

/// Deletes at both ends, kept for a snapshot through one compaction, leave with the next one: what lies between
/// them must stay in its place.
fn deletes_kept_for_a_snapshot_go_without_disorder(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 3000)?;
    db.flush()?;
    unless_unsupported(db.compact(KeyRange::ALL).map(|_| ()))?;
    let mut expected = check::contents(&*db)?;
    let snapshot = db.snapshot()?;
    for n in (0..20).chain(2980..3000) {
        db.delete(&key(n), LEVEL)?;
        expected.remove(&key(n));
    }
    db.flush()?;
    unless_unsupported(db.compact(KeyRange::ALL).map(|_| ()))?;
    assert_eq!(check::contents(&*snapshot)?.len(), 3000);
    drop(snapshot);
    for _ in 0..2 {
        unless_unsupported(db.compact(KeyRange::ALL).map(|_| ()))?;
        check::holds(&*db, &expected, "after compacting without the snapshot")?;
        db.verify_now();
    }
    Ok(())
}

fn everything_after_close_is_closed(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 100)?;
    db.flush()?;
    let snapshot = db.snapshot()?;
    let mut scan = snapshot.scan(KeyRange::ALL, ScanOptions::FORWARD)?;
    scan.next()?;
    db.close()?;
    refused(snapshot.get(&key(1)), ErrorKind::Closed);
    refused(
        snapshot.scan(KeyRange::ALL, ScanOptions { direction: Direction::Reverse }).map(drop),
        ErrorKind::Closed,
    );
    refused(scan.next().map(|_| ()), ErrorKind::Closed);
    refused(scan.next().map(|_| ()), ErrorKind::Closed);
    refused(scan.seek(b""), ErrorKind::Closed);
    refused(db.get(&key(1)), ErrorKind::Closed);
    refused(db.snapshot().map(drop), ErrorKind::Closed);
    refused(db.put(b"k", b"v", LEVEL), ErrorKind::Closed);
    refused(db.flush(), ErrorKind::Closed);
    refused(db.sync(), ErrorKind::Closed);
    refused(db.verify(), ErrorKind::Closed);
    refused(db.shape(), ErrorKind::Closed);
    db.close()
}

fn a_snapshot_reads_from_many_threads(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 400)?;
    db.flush()?;
    let snapshot = db.snapshot()?;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..400 {
                    let found = snapshot.get(&key(n)).expect("reads");
                    assert_eq!(found.as_deref(), Some(value_of(&key(n)).as_slice()));
                }
            });
        }
        for n in 0..400 {
            db.put(&key(n), b"new", LEVEL).expect("writes");
        }
    });
    assert_eq!(snapshot.get(&key(7))?.as_deref(), Some(value_of(&key(7)).as_slice()));
    Ok(())
}
