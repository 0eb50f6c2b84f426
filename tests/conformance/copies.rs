//! Ingest and backup: whole databases in and out.

use kv_api::{Durability, EntryRef, Error, ErrorKind, KeyRange, Result, SortedSource};
use tests::driver::unless_unsupported;
use tests::steps::Entries;
use tests::{Lab, check, for_every_engine, for_every_stored_engine};

use crate::{LEVEL, fill, key, refused, value_of};

for_every_engine!(
    ingest_adds_and_replaces,
    ingest_refuses_keys_out_of_order_and_changes_nothing,
    ingest_is_abandoned_when_its_source_fails,
    an_empty_ingest_does_nothing,
    a_snapshot_does_not_see_a_later_ingest,
);

mod stored {
    use super::*;
    for_every_stored_engine!(
        ingest_refuses_what_is_over_a_limit,
        ingest_survives_a_drop,
        a_backup_opens_by_itself,
        a_backup_refuses_a_directory_with_something_in_it,
        a_backup_is_of_its_moment,
    );
}

fn entries(from: usize, to: usize, value: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    (from..to).map(|n| (key(n), value.to_vec())).collect()
}

fn ingest_adds_and_replaces(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 100, 300)?;
    let mut model = check::contents(&*db)?;
    let new = entries(200, 500, b"ingested");
    let report = db.ingest(&mut Entries::new(&new))?;
    assert_eq!((report.entries, report.user_bytes), (300, 300 * 16));
    model.extend(new);
    check::holds(&*db, &model, "after the ingest")?;
    db.put(&key(250), b"later", LEVEL)?;
    db.delete(&key(251), LEVEL)?;
    model.insert(key(250), b"later".to_vec());
    model.remove(&key(251));
    check::holds(&*db, &model, "after writes on top")?;
    db.flush()?;
    unless_unsupported(db.compact(KeyRange::ALL).map(|_| ()))?;
    check::holds(&*db, &model, "after upkeep")
}

fn ingest_refuses_keys_out_of_order_and_changes_nothing(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 50)?;
    let expected = check::contents(&*db)?;
    for wrong in [[(key(30), vec![]), (key(20), vec![])], [(key(70), vec![]), (key(70), vec![])]] {
        refused(db.ingest(&mut Entries::new(&wrong)), ErrorKind::InvalidOptions);
        check::holds(&*db, &expected, "after a refused ingest")?;
    }
    fill(&*db, 60, 70)
}

/// A source that fails after some entries.
struct Failing {
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    at: usize,
}

impl SortedSource for Failing {
    fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
        self.at += 1;
        match self.entries.get(self.at - 1) {
            Some((key, value)) => Ok(Some(EntryRef { key, value })),
            None => Err(Error::Unsupported { action: "going on, says this test" }),
        }
    }
}

fn ingest_is_abandoned_when_its_source_fails(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 50)?;
    let expected = check::contents(&*db)?;
    for count in [0, 1, 1000] {
        let mut source = Failing { entries: entries(20, 20 + count, b"ingested"), at: 0 };
        refused(db.ingest(&mut source), ErrorKind::Unsupported);
        check::holds(&*db, &expected, "after an abandoned ingest")?;
    }
    db.put(b"k", b"v", LEVEL)?;
    assert_eq!(db.ingest(&mut Entries::new(&entries(0, 10, b"x")))?.entries, 10);
    Ok(())
}

fn ingest_refuses_what_is_over_a_limit(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    let limits = db.limits();
    let wrong = [(b"a".to_vec(), Vec::new()), (vec![b'k'; limits.key_bytes_max + 1], Vec::new())];
    refused(db.ingest(&mut Entries::new(&wrong)), ErrorKind::KeyTooLarge);
    let wrong = [(b"a".to_vec(), Vec::new()), (b"b".to_vec(), vec![0; limits.value_bytes_max + 1])];
    refused(db.ingest(&mut Entries::new(&wrong)), ErrorKind::ValueTooLarge);
    assert!(db.get(b"a")?.is_none());
    Ok(())
}

fn an_empty_ingest_does_nothing(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 10)?;
    assert_eq!(db.ingest(&mut Entries::new(&[]))?.entries, 0);
    assert_eq!(check::contents(&*db)?.len(), 10);
    Ok(())
}

fn a_snapshot_does_not_see_a_later_ingest(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 100)?;
    let expected = check::contents(&*db)?;
    let snapshot = db.snapshot()?;
    db.ingest(&mut Entries::new(&entries(50, 250, b"ingested")))?;
    check::holds(&*snapshot, &expected, "after the ingest")?;
    unless_unsupported(db.compact(KeyRange::ALL).map(|_| ()))?;
    check::holds(&*snapshot, &expected, "after compacting")?;
    assert_eq!(check::contents(&*db)?.len(), 250);
    Ok(())
}

fn ingest_survives_a_drop(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 100)?;
    db.ingest(&mut Entries::new(&entries(50, 1050, b"ingested")))?;
    drop(db);
    let db = lab.open()?;
    assert_eq!(check::contents(&*db)?.len(), 1050);
    assert_eq!(db.get(&key(60))?.as_deref(), Some(&b"ingested"[..]));
    assert_eq!(db.get(&key(10))?.as_deref(), Some(value_of(&key(10)).as_slice()));
    Ok(())
}

fn a_backup_opens_by_itself(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 800)?;
    db.flush()?;
    fill(&*db, 800, 1000)?;
    db.delete_range(KeyRange::from(key(5).as_slice()..key(15).as_slice()), LEVEL)?;
    let mut expected = check::contents(&*db)?;
    let copy = lab.beside("copy");
    let report = db.backup(&copy)?;
    assert_eq!(report.entries, 990);
    assert_eq!(report.user_bytes, expected.iter().map(|(k, v)| (k.len() + v.len()) as u64).sum::<u64>());
    db.put(b"later", b"", Durability::Disk)?;
    let opened = lab.open_dir(&copy, |knobs| knobs.common.create = false)?;
    check::holds(&*opened, &expected, "the copy, with the original open")?;
    opened.put(b"of the copy", b"", Durability::Disk)?;
    assert!(db.get(b"of the copy")?.is_none());
    expected.insert(b"later".to_vec(), vec![]);
    check::holds(&*db, &expected, "the original")
}

fn a_backup_refuses_a_directory_with_something_in_it(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 10)?;
    let copy = lab.beside("copy");
    std::fs::create_dir(&copy).expect("makes a directory");
    std::fs::write(copy.join("notes.txt"), b"mine").expect("writes");
    refused(db.backup(&copy), ErrorKind::InvalidOptions);
    assert!(db.backup(lab.dir()).is_err());
    assert_eq!(std::fs::read_dir(&copy).expect("lists").count(), 1);
    std::fs::remove_file(copy.join("notes.txt")).expect("removes");
    db.backup(&copy)?;
    let opened = lab.open_dir(&copy, |_| {})?;
    assert_eq!(check::contents(&*opened)?.len(), 10);
    Ok(())
}

fn a_backup_is_of_its_moment(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 3000)?;
    let copy = lab.beside("copy");
    std::thread::scope(|scope| -> Result<()> {
        let backup = scope.spawn(|| db.backup(&copy));
        for n in 0..3000 {
            db.put(&key(n), b"changed", LEVEL)?;
        }
        backup.join().expect("no panic").map(|_| ())
    })?;
    let opened = lab.open_dir(&copy, |_| {})?;
    let found = check::contents(&*opened)?;
    assert_eq!(found.len(), 3000);
    let changed = found.iter().take_while(|(_, value)| value.as_slice() == b"changed").count();
    let old = found.iter().skip(changed).all(|(key, value)| *value == value_of(key));
    assert!(old, "the copy holds the first {changed} changes and no other");
    Ok(())
}
