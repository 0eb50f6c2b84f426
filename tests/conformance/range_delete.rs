//! Range deletes: every kind of bound, over memory and files, beside puts.

use std::ops::Bound;

use kv_api::{Batch, Direction, KeyRange, Result};
use tests::driver::{keys_of, unless_unsupported};
use tests::{Lab, Map, check, for_every_engine};

use crate::{LEVEL, fill, key, put_all, value_of};

for_every_engine!(
    every_kind_of_bound,
    to_the_end_and_from_the_start,
    a_put_after_it_stays,
    over_several_flushes,
    overlapping_ranges,
    bounds_that_are_no_keys,
    many_small_ranges,
    half_of_a_large_database,
);

fn every_kind_of_bound(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    let all = [&b""[..], b"a", b"b", b"b\0", b"c", b"\xff", b"\xff\xff"];
    let bounds = |key| [Bound::Included(key), Bound::Excluded(key), Bound::Unbounded];
    for (round, start) in all.iter().flat_map(|key| bounds(*key)).enumerate() {
        for end in all.iter().flat_map(|key| bounds(*key)) {
            put_all(&*db, all)?;
            if round % 6 == 1 {
                db.flush()?;
            }
            let range = KeyRange { start, end };
            db.delete_range(range, LEVEL)?;
            let outside = all.iter().filter(|key| !tests::map::contains(range, key));
            let wanted: Vec<_> = outside.map(|key| key.to_vec()).collect();
            assert_eq!(keys_of(&db, KeyRange::ALL, Direction::Forward)?, wanted, "{range:?}");
        }
    }
    Ok(())
}

fn to_the_end_and_from_the_start(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 1000)?;
    put_all(&*db, [&b"\xff"[..], b"\xff\xff\xff\xff", b""])?;
    db.flush()?;
    db.delete_range(KeyRange::from(key(500).as_slice()..), LEVEL)?;
    db.delete_range(KeyRange::from(..key(400).as_slice()), LEVEL)?;
    for _ in 0..3 {
        let wanted: Vec<_> = (400..500).map(key).collect();
        assert_eq!(keys_of(&db, KeyRange::ALL, Direction::Forward)?, wanted);
        assert_eq!(keys_of(&db, KeyRange::ALL, Direction::Reverse)?.len(), 100);
        assert!(db.get(b"")?.is_none() && db.get(b"\xff\xff\xff\xff")?.is_none());
        db.flush()?;
        unless_unsupported(db.compact(KeyRange::ALL).map(|_| ()))?;
    }
    db.delete_range(KeyRange::ALL, LEVEL)?;
    assert!(check::contents(&*db)?.is_empty());
    db.flush()?;
    assert_eq!(db.verify()?.entries, 0);
    Ok(())
}

fn a_put_after_it_stays(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    for flushes in [false, true] {
        fill(&*db, 0, 100)?;
        let mut batch = Batch::new();
        batch.put(&key(50), b"gone").delete_range(KeyRange::ALL).put(&key(60), b"stays");
        db.write(&batch, LEVEL)?;
        if flushes {
            db.flush()?;
        }
        db.put(&key(70), b"stays", LEVEL)?;
        assert_eq!(keys_of(&db, KeyRange::ALL, Direction::Forward)?, [key(60), key(70)]);
        assert!(db.get(&key(50))?.is_none());
        assert_eq!(db.get(&key(60))?.as_deref(), Some(&b"stays"[..]));
    }
    Ok(())
}

fn over_several_flushes(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    for part in 0..5 {
        fill(&*db, part, 500)?;
        db.flush()?;
    }
    db.delete_range(KeyRange::from(key(100).as_slice()..key(400).as_slice()), LEVEL)?;
    for round in 0..4 {
        assert_eq!(check::contents(&*db)?.len(), 200, "round {round}");
        assert!(db.get(&key(250))?.is_none());
        assert!(db.get(&key(99))?.is_some() && db.get(&key(400))?.is_some());
        match round {
            0 => db.flush()?,
            1 => drop(db.settle(std::time::Duration::from_secs(10))?),
            _ => unless_unsupported(db.compact(KeyRange::ALL).map(|_| ()))?,
        }
    }
    Ok(())
}

fn overlapping_ranges(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    let mut model: Map = (0..600).map(|n| (key(n), value_of(&key(n)))).collect();
    fill(&*db, 0, 600)?;
    let ranges = [(100, 200), (150, 250), (120, 130), (90, 260), (400, 401), (399, 402)];
    for (at, (from, to)) in ranges.into_iter().enumerate() {
        let (from, to) = (key(from), key(to));
        let mut batch = Batch::new();
        batch.delete_range(KeyRange::from(from.as_slice()..to.as_slice())).put(&key(125 + at), b"again");
        db.write(&batch, LEVEL)?;
        tests::map::apply(&mut model, &batch);
        if at % 2 == 0 {
            db.flush()?;
        }
        check::holds(&*db, &model, "after a range delete")?;
    }
    db.settle(std::time::Duration::from_secs(10))?;
    check::holds(&*db, &model, "after settling")
}

fn bounds_that_are_no_keys(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 300)?;
    db.flush()?;
    db.delete_range(KeyRange::from(b"key00009x".as_slice()..b"key00020\0".as_slice()), LEVEL)?;
    db.delete_range(KeyRange::from(b"a".as_slice()..b"b".as_slice()), LEVEL)?;
    db.delete_range(KeyRange::from(b"x".as_slice()..b"z".as_slice()), LEVEL)?;
    let left = keys_of(&db, KeyRange::ALL, Direction::Forward)?;
    let wanted: Vec<_> = (0..300).filter(|n| !(10..=20).contains(n)).map(key).collect();
    assert_eq!(left, wanted);
    Ok(())
}

fn many_small_ranges(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 1000)?;
    db.flush()?;
    let mut model = check::contents(&*db)?;
    for n in (0..1000).step_by(7) {
        let (from, to) = (key(n), key(n + 3));
        let mut batch = Batch::new();
        batch.delete_range(KeyRange::from(from.as_slice()..to.as_slice()));
        db.write(&batch, LEVEL)?;
        tests::map::apply(&mut model, &batch);
    }
    check::holds(&*db, &model, "before the flush")?;
    db.flush()?;
    check::holds(&*db, &model, "after the flush")?;
    unless_unsupported(db.compact(KeyRange::ALL).map(|_| ()))?;
    check::holds(&*db, &model, "after the compaction")
}

fn half_of_a_large_database(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 10_000)?;
    db.flush()?;
    db.delete_range(KeyRange::from(key(2_000).as_slice()..key(7_000).as_slice()), LEVEL)?;
    fill(&*db, 4_000, 4_100)?;
    assert_eq!(db.verify()?.entries, 5_100);
    db.flush()?;
    assert_eq!(check::contents(&*db)?.len(), 5_100);
    Ok(())
}
