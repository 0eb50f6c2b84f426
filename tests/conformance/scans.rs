//! Scans: order, bounds, directions, seeks, and one point in time.

use std::ops::Bound;

use kv_api::{Direction, KeyRange, KvExt, Result, ScanOptions};
use tests::check::{keys, rest};
use tests::driver::keys_of;
use tests::{Lab, for_every_engine};

use crate::{LEVEL, fill, key, put_all, value_of};

for_every_engine!(
    bytes_are_ordered_unsigned,
    every_kind_of_bound_both_ways,
    inverted_ranges_are_empty,
    a_prefix_of_0xff_has_no_upper_bound,
    seek_forward,
    seek_reverse,
    a_scan_that_ended_can_seek_back,
    a_scan_sees_its_moment,
    a_scan_outlives_the_call_and_moves_to_a_thread,
    deleted_keys_are_passed_over,
    a_std_range_walks_from_both_ends,
    an_empty_range_of_a_full_database_is_empty,
);

fn bytes_are_ordered_unsigned(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    let mut wanted: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    wanted.extend((0..=255).map(|byte| vec![0x7f, byte]));
    wanted.extend((0..=255).map(|byte| vec![0xff, byte, 0]));
    put_all(&*db, wanted.iter().rev().map(Vec::as_slice))?;
    wanted.sort();
    for _ in 0..2 {
        assert_eq!(keys_of(&db, KeyRange::ALL, Direction::Forward)?, wanted);
        let reversed: Vec<_> = wanted.iter().rev().cloned().collect();
        assert_eq!(keys_of(&db, KeyRange::ALL, Direction::Reverse)?, reversed);
        db.flush()?;
    }
    Ok(())
}

fn every_kind_of_bound_both_ways(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    let all = [&b""[..], b"a", b"b", b"b\0", b"c", b"d", b"\xff"];
    put_all(&*db, all)?;
    let at = [&b""[..], b"a", b"aa", b"b", b"b\0", b"c", b"d", b"e", b"\xff", b"\xff\xff"];
    for _ in 0..2 {
        let bounds = |key| [Bound::Included(key), Bound::Excluded(key), Bound::Unbounded];
        for start in at.iter().flat_map(|key| bounds(*key)) {
            for end in at.iter().flat_map(|key| bounds(*key)) {
                let range = KeyRange { start, end };
                let inside = all.iter().filter(|key| tests::map::contains(range, key));
                let mut wanted: Vec<_> = inside.map(|key| key.to_vec()).collect();
                assert_eq!(keys_of(&db, range, Direction::Forward)?, wanted, "{range:?}");
                wanted.reverse();
                assert_eq!(keys_of(&db, range, Direction::Reverse)?, wanted, "{range:?} in reverse");
            }
        }
        db.flush()?;
    }
    Ok(())
}

fn inverted_ranges_are_empty(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 100)?;
    let range = KeyRange::from(b"key00050".as_slice()..b"key00040".as_slice());
    for direction in [Direction::Forward, Direction::Reverse] {
        let mut scan = db.scan(range, ScanOptions { direction })?;
        assert!(scan.next()?.is_none());
        // A seek cannot leave the range, so it finds nothing either.
        scan.seek(b"key00045")?;
        assert!(scan.next()?.is_none());
        assert!(scan.next()?.is_none());
    }
    Ok(())
}

fn a_prefix_of_0xff_has_no_upper_bound(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    put_all(&*db, [&b"\xfe\xff"[..], b"\xff", b"\xff\xfe", b"\xff\xff", b"\xff\xff\0", b"\xff\xff\xff\xff"])?;
    for _ in 0..2 {
        let with = |prefix: &[u8]| db.prefix(prefix).map(Iterator::count);
        assert_eq!((with(b"\xff")?, with(b"\xff\xff")?, with(b"\xff\xff\xff\xff")?), (5, 3, 1));
        assert_eq!((with(b"")?, with(b"\xfe")?, with(b"\xff\xff\xff\xff\xff")?), (6, 1, 0));
        db.flush()?;
    }
    Ok(())
}

/// Keys 10, 20 .. 990, of which the first half is in files and the second not.
fn tens(lab: &Lab) -> Result<tests::Checked> {
    let db = lab.open()?;
    for n in (10..1000).step_by(10) {
        db.put(&key(n), &value_of(&key(n)), LEVEL)?;
        if n == 500 {
            db.flush()?;
        }
    }
    Ok(db)
}

fn seek_forward(lab: &Lab) -> Result<()> {
    let db = tens(lab)?;
    let (low, high) = (key(100), key(900));
    let mut scan = db.scan(KeyRange::from(low.as_slice()..=high.as_slice()), ScanOptions::FORWARD)?;
    let mut land = |at: &[u8]| -> Result<Option<Vec<u8>>> {
        scan.seek(at)?;
        Ok(scan.next()?.map(|entry| entry.key.to_vec()))
    };
    assert_eq!(land(b"")?, Some(key(100)), "before the range");
    assert_eq!(land(&key(100))?, Some(key(100)), "at its start");
    assert_eq!(land(&key(455))?, Some(key(460)), "between two keys");
    assert_eq!(land(&key(120))?, Some(key(120)), "back again");
    assert_eq!(land(&key(900))?, Some(key(900)), "at its end");
    assert_eq!(land(&key(901))?, None, "after the range");
    assert_eq!(land(b"\xff")?, None, "after everything");
    assert_eq!(land(&key(505))?, Some(key(510)), "back from the end");
    assert_eq!(keys(&mut *scan)?.len(), (900 - 510) / 10);
    Ok(())
}

fn seek_reverse(lab: &Lab) -> Result<()> {
    let db = tens(lab)?;
    let (low, high) = (key(100), key(900));
    let mut scan = db.scan(KeyRange::from(low.as_slice()..high.as_slice()), ScanOptions::REVERSE)?;
    let mut land = |at: &[u8]| -> Result<Option<Vec<u8>>> {
        scan.seek(at)?;
        Ok(scan.next()?.map(|entry| entry.key.to_vec()))
    };
    assert_eq!(land(b"\xff")?, Some(key(890)), "beyond the range");
    assert_eq!(land(&key(900))?, Some(key(890)), "at its excluded end");
    assert_eq!(land(&key(455))?, Some(key(450)), "between two keys");
    assert_eq!(land(&key(880))?, Some(key(880)), "back again");
    assert_eq!(land(&key(100))?, Some(key(100)), "at its start");
    assert_eq!(land(&key(99))?, None, "below the range");
    assert_eq!(land(b"")?, None, "below everything");
    assert_eq!(land(&key(505))?, Some(key(500)), "back from the end");
    assert_eq!(keys(&mut *scan)?.len(), (500 - 100) / 10);
    Ok(())
}

fn a_scan_that_ended_can_seek_back(lab: &Lab) -> Result<()> {
    let db = tens(lab)?;
    for direction in [Direction::Forward, Direction::Reverse] {
        let mut scan = db.scan(KeyRange::ALL, ScanOptions { direction })?;
        assert_eq!(keys(&mut *scan)?.len(), 99);
        assert!(scan.next()?.is_none(), "the end stays the end");
        scan.seek(&key(500))?;
        assert_eq!(keys(&mut *scan)?.len(), 50);
        scan.seek(&key(500))?;
        scan.seek(&key(700))?;
        assert_eq!(scan.next()?.map(|entry| entry.key.to_vec()), Some(key(700)), "the last seek counts");
    }
    Ok(())
}

fn a_scan_sees_its_moment(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 1000)?;
    let mut forward = db.scan(KeyRange::ALL, ScanOptions::FORWARD)?;
    let mut reverse = db.scan(KeyRange::ALL, ScanOptions::REVERSE)?;
    let mut found = Vec::new();
    for round in 0..10 {
        for _ in 0..100 {
            let entry = forward.next()?.expect("a thousand entries");
            assert_eq!(entry.value, value_of(entry.key));
            found.push(entry.key.to_vec());
        }
        for n in (round..1000).step_by(10) {
            db.put(&key(n), b"changed", LEVEL)?;
            db.delete(&key(999 - n), LEVEL)?;
            db.put(format!("key{n:05}x").as_bytes(), b"added", LEVEL)?;
        }
        db.flush()?;
        if round % 3 == 0 {
            tests::driver::unless_unsupported(db.compact(KeyRange::ALL).map(|_| ()))?;
        }
    }
    assert!(forward.next()?.is_none());
    assert_eq!(found, (0..1000).map(key).collect::<Vec<_>>());
    let back = rest(&mut *reverse)?;
    let wanted: Vec<_> = (0..1000).rev().map(|n| (key(n), value_of(&key(n)))).collect();
    assert!(back == wanted, "the reverse scan saw something of what came after it");
    Ok(())
}

fn a_scan_outlives_the_call_and_moves_to_a_thread(lab: &Lab) -> Result<()> {
    let db = tens(lab)?;
    let mut scan = db.scan(KeyRange::ALL, ScanOptions::FORWARD)?;
    scan.next()?;
    let other = std::thread::spawn(move || keys(&mut *scan));
    fill(&*db, 0, 200)?;
    assert_eq!(other.join().expect("no panic")?.len(), 98);
    Ok(())
}

fn deleted_keys_are_passed_over(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 1000)?;
    db.flush()?;
    for n in (0..1000).filter(|n| n % 100 != 0) {
        db.delete(&key(n), LEVEL)?;
    }
    for _ in 0..2 {
        let wanted: Vec<_> = (0..10).map(|n| key(n * 100)).collect();
        assert_eq!(keys_of(&db, KeyRange::ALL, Direction::Forward)?, wanted);
        let reversed: Vec<_> = wanted.into_iter().rev().collect();
        assert_eq!(keys_of(&db, KeyRange::ALL, Direction::Reverse)?, reversed);
        let mut scan = db.scan(KeyRange::ALL, ScanOptions::FORWARD)?;
        scan.seek(&key(301))?;
        assert_eq!(scan.next()?.map(|entry| entry.key.to_vec()), Some(key(400)));
        db.flush()?;
    }
    Ok(())
}

fn a_std_range_walks_from_both_ends(lab: &Lab) -> Result<()> {
    let db = tens(lab)?;
    let mut range = db.range(key(100)..key(200))?;
    let mut found = Vec::new();
    while let Some(front) = range.next() {
        found.push(front?.0);
        found.extend(range.next_back().transpose()?.map(|(key, _)| key));
    }
    assert!(range.next_back().is_none(), "the ends do not cross");
    let order = [100, 190, 110, 180, 120, 170, 130, 160, 140, 150];
    assert_eq!(found, order.map(key));
    assert_eq!(db.range::<Vec<u8>>(..)?.rev().count(), 99);
    assert_eq!(db.range(key(200)..key(100))?.count(), 0);
    Ok(())
}

fn an_empty_range_of_a_full_database_is_empty(lab: &Lab) -> Result<()> {
    let db = tens(lab)?;
    let (low, high) = (key(101), key(109));
    let gap = KeyRange::from(low.as_slice()..=high.as_slice());
    for direction in [Direction::Forward, Direction::Reverse] {
        let snapshot = db.snapshot()?;
        let mut scan = snapshot.scan(gap, ScanOptions { direction })?;
        assert!(scan.next()?.is_none());
        scan.seek(&key(105))?;
        assert!(scan.next()?.is_none());
    }
    Ok(())
}
