//! Point reads: what is there, what is not, and in which order answers come.

use kv_api::{KvExt, Result};
use tests::{Lab, for_every_engine};

use crate::{LEVEL, fill, key, put_all, value_of};

for_every_engine!(
    an_empty_database_holds_nothing,
    last_write_wins,
    empty_key_and_empty_value_are_legal,
    keys_that_differ_by_a_zero_byte_are_two,
    get_with_calls_once_or_not_at_all,
    a_value_outlives_its_engine,
    multi_get_answers_in_order,
    first_and_last_are_the_ends,
);

fn an_empty_database_holds_nothing(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    assert!(db.get(b"")?.is_none() && db.get(b"k")?.is_none());
    assert!(db.first()?.is_none() && db.last()?.is_none());
    assert_eq!(db.verify()?.entries, 0);
    Ok(())
}

fn last_write_wins(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    for value in [b"one".as_slice(), b"", b"three"] {
        db.put(b"k", value, LEVEL)?;
        assert_eq!(db.get(b"k")?.as_deref(), Some(value));
    }
    db.flush()?;
    db.put(b"k", b"four", LEVEL)?;
    assert_eq!(db.get(b"k")?.as_deref(), Some(&b"four"[..]));
    db.flush()?;
    db.settle(std::time::Duration::from_secs(10))?;
    assert_eq!(db.get(b"k")?.as_deref(), Some(&b"four"[..]));
    Ok(())
}

fn empty_key_and_empty_value_are_legal(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    db.put(b"", b"", LEVEL)?;
    db.put(b"k", b"", LEVEL)?;
    for _ in 0..2 {
        assert_eq!(db.get(b"")?.as_deref(), Some(&b""[..]), "an empty value is not a delete");
        assert_eq!(db.get(b"k")?.as_deref(), Some(&b""[..]));
        assert_eq!(db.first()?.map(|(key, _)| key), Some(Vec::new()));
        db.flush()?;
    }
    db.delete(b"", LEVEL)?;
    assert!(db.get(b"")?.is_none());
    assert_eq!(db.first()?.map(|(key, _)| key), Some(b"k".to_vec()));
    Ok(())
}

fn keys_that_differ_by_a_zero_byte_are_two(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    let keys = [&b""[..], b"\0", b"\0\0", b"a", b"a\0", b"a\0\0", b"a\0b", b"a\xff", b"\xff", b"\xff\xff"];
    put_all(&*db, keys)?;
    for _ in 0..2 {
        for key in keys {
            assert_eq!(db.get(key)?.as_deref(), Some(value_of(key).as_slice()), "{}", key.escape_ascii());
        }
        assert!(db.get(b"a\0\0\0")?.is_none() && db.get(b"\0\0\0")?.is_none());
        db.flush()?;
    }
    Ok(())
}

fn get_with_calls_once_or_not_at_all(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    db.put(b"k", b"v", LEVEL)?;
    for _ in 0..2 {
        let mut calls = Vec::new();
        assert!(db.get_with(b"k", &mut |value| calls.push(value.to_vec()))?);
        assert!(!db.get_with(b"absent", &mut |value| calls.push(value.to_vec()))?);
        assert_eq!(calls, [b"v".to_vec()]);
        db.flush()?;
    }
    Ok(())
}

fn a_value_outlives_its_engine(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    db.put(b"k", b"v", LEVEL)?;
    db.flush()?;
    let value = db.get(b"k")?;
    db.close()?;
    drop(db);
    assert_eq!(value.as_deref(), Some(&b"v"[..]));
    Ok(())
}

fn multi_get_answers_in_order(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 500)?;
    db.flush()?;
    fill(&*db, 500, 600)?;
    let keys = [key(599), b"absent".to_vec(), key(0), key(0), key(499), b"".to_vec()];
    let asked: Vec<_> = keys.iter().map(Vec::as_slice).collect();
    let mut out = vec![Some(b"what was here before".as_slice().into())];
    db.multi_get(&asked, &mut out)?;
    let expected = [Some(599), None, Some(0), Some(0), Some(499), None];
    assert_eq!(out.len(), expected.len());
    for (found, expected) in out.iter().zip(expected) {
        assert_eq!(found.as_deref(), expected.map(|n| value_of(&key(n))).as_deref());
    }
    db.multi_get(&[], &mut out)?;
    assert!(out.is_empty());
    Ok(())
}

fn first_and_last_are_the_ends(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 300)?;
    db.flush()?;
    db.put(b"a", b"smallest", LEVEL)?;
    db.put(b"\xff\xff", b"largest", LEVEL)?;
    assert_eq!(db.first()?.map(|(key, _)| key), Some(b"a".to_vec()));
    assert_eq!(db.last()?.map(|(key, _)| key), Some(b"\xff\xff".to_vec()));
    db.delete(b"a", LEVEL)?;
    db.delete(b"\xff\xff", LEVEL)?;
    assert_eq!(db.first()?.map(|(key, _)| key), Some(key(0)));
    assert_eq!(db.last()?.map(|(key, _)| key), Some(key(299)));
    Ok(())
}
