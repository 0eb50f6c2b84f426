//! The tables layer over every engine, and the mark that keeps it apart from raw keys.

use std::sync::Arc;

use kv_api::tables::TablesBatch;
use kv_api::{ErrorKind, KeyRange, Keyspace, Result, Tables};
use tests::{Lab, for_every_engine, for_every_stored_engine};

use crate::{LEVEL, key, refused};

for_every_engine!(
    tables_do_not_see_each_other,
    a_dropped_table_is_gone_and_its_number_is_not_used_again,
    a_batch_over_two_tables_is_one,
    a_raw_engine_is_refused_by_the_layer,
);

mod stored {
    use super::*;
    for_every_stored_engine!(the_directory_remembers_what_its_keys_are, tables_survive_reopening);
}

fn tables_of(lab: &Lab) -> Result<(tests::Checked, Tables)> {
    let db = lab.open_with(|knobs| knobs.common.keyspace = Keyspace::Tables)?;
    let tables = Tables::new(Arc::clone(db.kv()))?;
    Ok((db, tables))
}

fn tables_do_not_see_each_other(lab: &Lab) -> Result<()> {
    let (db, tables) = tables_of(lab)?;
    let (a, b) = (tables.create("a", LEVEL)?, tables.create("b", LEVEL)?);
    for n in 0..300 {
        tables.put(a, &key(n), b"of a", LEVEL)?;
        tables.put(b, &key(n), b"of b", LEVEL)?;
    }
    tables.put(a, b"", b"of a", LEVEL)?;
    tables.put(a, b"\xff\xff\xff\xff", b"of a", LEVEL)?;
    db.flush()?;
    assert_eq!(tables.get(b, b"")?, None);
    assert_eq!(tables.range(a, KeyRange::ALL)?.count(), 302);
    assert_eq!(tables.range(b, KeyRange::ALL)?.rev().count(), 300);
    for entry in tables.range(b, KeyRange::from(key(100).as_slice()..key(110).as_slice()))? {
        assert_eq!(&*entry?.1, b"of b");
    }
    assert_eq!(tables.list()?.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b"]);
    Ok(())
}

fn a_dropped_table_is_gone_and_its_number_is_not_used_again(lab: &Lab) -> Result<()> {
    let (db, tables) = tables_of(lab)?;
    let old = tables.create("t", LEVEL)?;
    tables.put(old, b"k", b"v", LEVEL)?;
    db.flush()?;
    assert!(tables.drop_table("t", LEVEL)?);
    assert!(!tables.drop_table("t", LEVEL)?);
    let new = tables.create("t", LEVEL)?;
    assert_ne!(old, new);
    assert_eq!(tables.create("t", LEVEL)?, new, "a second create finds the first");
    assert_eq!((tables.get(new, b"k")?, tables.get(old, b"k")?), (None, None));
    Ok(())
}

fn a_batch_over_two_tables_is_one(lab: &Lab) -> Result<()> {
    let (_db, tables) = tables_of(lab)?;
    let (a, b) = (tables.create("a", LEVEL)?, tables.create("b", LEVEL)?);
    let mut batch = TablesBatch::new();
    batch.put(a, b"k", b"1").put(b, b"k", b"2").delete(a, b"k");
    batch.delete_range(b, KeyRange::ALL).put(b, b"l", b"3");
    tables.write(&batch, LEVEL)?;
    assert_eq!(tables.range(a, KeyRange::ALL)?.count(), 0);
    assert_eq!(tables.range(b, KeyRange::ALL)?.count(), 1);
    Ok(())
}

fn a_raw_engine_is_refused_by_the_layer(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    let message = refused(Tables::new(Arc::clone(db.kv())), ErrorKind::InvalidOptions);
    assert!(message.contains("keyspace"), "{message}");
    Ok(())
}

fn the_directory_remembers_what_its_keys_are(lab: &Lab) -> Result<()> {
    let as_tables = |knobs: &mut tests::Knobs| knobs.common.keyspace = Keyspace::Tables;
    drop(lab.open()?);
    refused(lab.open_with(as_tables).map(drop), ErrorKind::InvalidOptions);
    let other = lab.beside("tables");
    drop(lab.open_dir(&other, as_tables)?);
    refused(lab.open_dir(&other, |_| {}).map(drop), ErrorKind::InvalidOptions);
    drop(lab.open_dir(&other, as_tables)?);
    Ok(())
}

fn tables_survive_reopening(lab: &Lab) -> Result<()> {
    let (db, tables) = tables_of(lab)?;
    let users = tables.create("users", LEVEL)?;
    tables.put(users, b"1", b"ada", LEVEL)?;
    db.close()?;
    drop((db, tables));
    let (_db, tables) = tables_of(lab)?;
    assert_eq!(tables.find("users")?, Some(users));
    assert_eq!(tables.get(users, b"1")?.as_deref(), Some(&b"ada"[..]));
    Ok(())
}
