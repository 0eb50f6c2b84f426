//! Batches: atomic, in order, numbered.

use kv_api::{Batch, Durability, ErrorKind, KeyRange, Result};
use tests::{Lab, for_every_engine, for_every_stored_engine};

use crate::{LEVEL, fill, key, refused};

for_every_engine!(
    a_batch_takes_effect_in_order,
    a_refused_batch_does_nothing_at_all,
    an_empty_batch_does_nothing,
    numbers_count_operations,
    deleting_what_is_not_there_is_fine,
    keys_written_in_any_order_are_found,
    every_level_is_met_or_exceeded,
    keys_deleted_and_put_again_come_back,
);

mod stored {
    use super::*;
    for_every_stored_engine!(a_large_batch_is_whole_after_reopening);
}

fn a_batch_takes_effect_in_order(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    let mut batch = Batch::new();
    batch.put(b"a", b"1").put(b"a", b"2").delete(b"b").put(b"b", b"3").put(b"c", b"4").delete(b"c");
    batch.put(b"d", b"5").delete_range(KeyRange::from(b"d".as_slice()..b"e".as_slice())).put(b"d2", b"6");
    db.write(&batch, LEVEL)?;
    for _ in 0..2 {
        assert_eq!(db.get(b"a")?.as_deref(), Some(&b"2"[..]));
        assert_eq!(db.get(b"b")?.as_deref(), Some(&b"3"[..]));
        assert!(db.get(b"c")?.is_none() && db.get(b"d")?.is_none());
        assert_eq!(db.get(b"d2")?.as_deref(), Some(&b"6"[..]));
        db.flush()?;
    }
    Ok(())
}

fn a_refused_batch_does_nothing_at_all(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    db.put(b"k", b"old", LEVEL)?;
    let before = db.stats();
    let mut batch = Batch::new();
    batch.put(b"k", b"new").put(&vec![b'x'; db.limits().key_bytes_max + 1], b"");
    refused(db.write(&batch, Durability::Disk), ErrorKind::KeyTooLarge);
    assert_eq!(db.get(b"k")?.as_deref(), Some(&b"old"[..]));
    let after = db.stats();
    assert_eq!((after.seq, after.user.commits), (before.seq, before.user.commits));
    let written = |stats: &kv_api::Stats| stats.io.map(|io| io.total().write_bytes);
    assert_eq!(written(&after), written(&before), "refused before the log is touched");
    db.put(b"k", b"newer", Durability::Disk)?;
    assert_eq!(db.get(b"k")?.as_deref(), Some(&b"newer"[..]), "the handle goes on");
    Ok(())
}

fn an_empty_batch_does_nothing(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    let seq = db.put(b"k", b"v", LEVEL)?.seq;
    assert_eq!(db.write(&Batch::new(), Durability::Disk)?.seq, seq);
    let nowhere = KeyRange::from(b"z".as_slice()..b"a".as_slice());
    assert_eq!(db.delete_range(nowhere, LEVEL)?.seq, seq, "an inverted range is an empty batch");
    assert_eq!(db.get(b"k")?.as_deref(), Some(&b"v"[..]));
    Ok(())
}

fn numbers_count_operations(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    let start = db.stats().seq;
    assert_eq!(db.put(b"a", b"", LEVEL)?.seq, start + 1);
    let mut batch = Batch::new();
    batch.put(b"b", b"").delete(b"c").put(b"d", b"");
    assert_eq!(db.write(&batch, LEVEL)?.seq, start + 4);
    assert_eq!(db.snapshot()?.seq(), start + 4);
    assert_eq!(db.stats().seq, start + 4);
    Ok(())
}

fn deleting_what_is_not_there_is_fine(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    db.delete(b"k", LEVEL)?;
    db.flush()?;
    db.delete(b"k", LEVEL)?;
    db.delete(b"", LEVEL)?;
    db.flush()?;
    assert!(db.get(b"k")?.is_none());
    assert_eq!(db.verify()?.entries, 0);
    Ok(())
}

fn keys_written_in_any_order_are_found(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    // 7919 and 1500 have no common divisor, so this visits every number once, far apart.
    for n in 0..1500 {
        let key = key(n * 7919 % 1500);
        db.put(&key, &key, LEVEL)?;
    }
    for n in (0..1500).rev() {
        assert_eq!(db.get(&key(n))?.as_deref(), Some(key(n).as_slice()));
    }
    assert_eq!(db.verify()?.entries, 1500);
    Ok(())
}

fn every_level_is_met_or_exceeded(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    for level in [Durability::Memory, Durability::Os, Durability::Disk] {
        assert!(db.put(level.to_string().as_bytes(), b"v", level)?.durability >= level);
    }
    db.sync()?;
    assert_eq!(db.verify()?.entries, 3);
    Ok(())
}

fn keys_deleted_and_put_again_come_back(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    for round in 0..4 {
        fill(&*db, 0, 200)?;
        db.flush()?;
        for n in (round % 2..200).step_by(2) {
            db.delete(&key(n), LEVEL)?;
        }
        if round == 2 {
            db.flush()?;
        }
        let left = (0..200).filter(|n| n % 2 != round % 2);
        let found = tests::driver::keys_of(&db, KeyRange::ALL, kv_api::Direction::Forward)?;
        assert_eq!(found, left.map(key).collect::<Vec<_>>());
    }
    Ok(())
}

fn a_large_batch_is_whole_after_reopening(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    let limit = db.limits().batch_bytes_max;
    let mut batch = Batch::new();
    let mut count = 0;
    while batch.encoded().len() + 1100 < limit {
        batch.put(&key(count), &vec![b'v'; 1000]);
        count += 1;
    }
    db.put(b"before", b"", LEVEL)?;
    db.write(&batch, Durability::Os)?;
    db.put(b"zafter", b"", Durability::Os)?;
    drop(db);
    let db = lab.open()?;
    assert_eq!(db.verify()?.entries, count as u64 + 2);
    assert_eq!(db.get(&key(count - 1))?.map(|value| value.len()), Some(1000));
    Ok(())
}
