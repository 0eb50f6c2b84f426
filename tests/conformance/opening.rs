//! Opening, closing and opening again.

use kv_api::{Background, CommonOptions, Durability, ErrorKind, KeyRange, Keyspace, Result};
use tests::driver::kind_of;
use tests::{Lab, check, for_every_engine, for_every_stored_engine};

use crate::{LEVEL, fill, key, refused, value_of};

for_every_engine!(close_twice_is_close_once, info_tells_what_was_asked);

mod stored {
    use super::*;
    for_every_stored_engine!(
        a_close_keeps_everything,
        a_drop_keeps_what_was_acknowledged,
        a_drop_after_sync_keeps_everything,
        reopening_many_times_changes_nothing,
        a_second_open_is_locked,
        a_missing_directory_is_no_database,
        another_engine_is_refused_by_name,
        read_only_reads_and_refuses_writes,
        options_that_cannot_work_are_refused,
        foreign_files_are_left_alone,
        stats_name_the_files_there_are,
        a_new_database_is_small,
    );
}

fn close_twice_is_close_once(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    db.put(b"k", b"v", LEVEL)?;
    db.close()?;
    db.close()?;
    refused(db.get(b"k"), ErrorKind::Closed);
    refused(db.put(b"k", b"v", LEVEL), ErrorKind::Closed);
    Ok(())
}

fn info_tells_what_was_asked(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    let info = db.info();
    assert_eq!(info.name, lab.engine.name());
    assert_eq!(info.keyspace, Keyspace::Raw);
    assert!(!info.durability.is_empty() && !info.version.is_empty());
    assert_eq!(info.io.is_some(), lab.engine.is_stored());
    assert_eq!(info.settings.is_empty(), !lab.engine.is_stored(), "{:?}", info.settings);
    Ok(())
}

fn a_close_keeps_everything(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 2000)?;
    for n in 0..500 {
        db.delete(&key(n * 3), Durability::Memory)?;
    }
    let expected = check::contents(&*db)?;
    db.close()?;
    drop(db);
    let db = lab.open()?;
    assert!(db.recovery().clean, "{:?}", db.recovery());
    check::holds(&*db, &expected, "after closing and opening")
}

fn a_drop_keeps_what_was_acknowledged(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    db.put(b"memory", b"", Durability::Memory)?;
    db.put(b"os", b"", Durability::Os)?;
    db.put(b"disk", b"", Durability::Disk)?;
    db.put(b"later", b"", Durability::Memory)?;
    drop(db);
    let db = lab.open()?;
    assert!(!db.recovery().clean);
    for key in [&b"os"[..], b"disk", b"memory"] {
        assert!(db.get(key)?.is_some(), "{} came before an acknowledged write", key.escape_ascii());
    }
    Ok(())
}

fn a_drop_after_sync_keeps_everything(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 1000)?;
    db.sync()?;
    drop(db);
    let db = lab.open()?;
    assert_eq!(check::contents(&*db)?.len(), 1000);
    Ok(())
}

fn reopening_many_times_changes_nothing(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 700)?;
    db.delete_range(KeyRange::from(key(10).as_slice()..key(20).as_slice()), LEVEL)?;
    db.sync()?;
    let expected = check::contents(&*db)?;
    drop(db);
    for round in 0..6 {
        let db = lab.open()?;
        check::holds(&*db, &expected, &format!("opening {round}"))?;
        if round % 2 == 0 {
            db.close()?;
        }
    }
    Ok(())
}

fn a_second_open_is_locked(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    let message = refused(lab.open().map(drop), ErrorKind::Locked);
    assert!(message.contains("open in another"), "{message}");
    db.put(b"k", b"v", LEVEL)?;
    db.close()?;
    // The lock is freed by the close, not by the drop.
    let second = lab.open()?;
    assert!(second.get(b"k")?.is_some());
    drop(db);
    refused(lab.open().map(drop), ErrorKind::Locked);
    Ok(())
}

fn a_missing_directory_is_no_database(lab: &Lab) -> Result<()> {
    let nowhere = lab.beside("nowhere");
    let missing = lab.open_dir(&nowhere, |knobs| knobs.common.create = false);
    let message = refused(missing.map(drop), ErrorKind::NoDatabase);
    assert!(message.contains("nowhere"), "{message}");
    refused(lab.open_dir(&nowhere, read_only).map(drop), ErrorKind::NoDatabase);
    assert!(!nowhere.exists(), "looking makes nothing");
    Ok(())
}

fn read_only(knobs: &mut tests::Knobs) {
    knobs.common.create = false;
    knobs.common.read_only = true;
}

fn another_engine_is_refused_by_name(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 10)?;
    db.close()?;
    drop(db);
    for other in lab.engine.kin().iter().filter(|other| **other != lab.engine) {
        let message = refused(other.open(&lab.env, lab.dir(), &lab.knobs).map(drop), ErrorKind::WrongEngine);
        assert!(message.contains(lab.engine.name()) && message.contains(other.name()), "{message}");
    }
    let db = lab.open()?;
    assert_eq!(check::contents(&*db)?.len(), 10, "nothing was touched");
    Ok(())
}

fn read_only_reads_and_refuses_writes(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 300)?;
    db.flush()?;
    fill(&*db, 300, 400)?;
    db.sync()?;
    let expected = check::contents(&*db)?;
    drop(db);
    // Once with a log that must be replayed, once after a clean close.
    for closes in [false, true] {
        if closes {
            lab.open()?.close()?;
        }
        let before = files(lab);
        let db = lab.open_with(read_only)?;
        check::holds(&*db, &expected, "read-only")?;
        refused(db.put(b"k", b"v", LEVEL), ErrorKind::ReadOnly);
        refused(db.delete(b"k", LEVEL), ErrorKind::ReadOnly);
        refused(db.ingest(&mut tests::steps::Entries::new(&[])), ErrorKind::ReadOnly);
        refused(db.compact(KeyRange::ALL), ErrorKind::ReadOnly);
        assert_eq!(db.get(&key(7))?.as_deref(), Some(value_of(&key(7)).as_slice()));
        db.verify_now();
        db.close()?;
        drop(db);
        assert!(before == files(lab), "a read-only handle leaves every file as it is");
    }
    Ok(())
}

/// Names and contents of the files of a database, without the lock.
fn files(lab: &Lab) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![lab.dir().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the directory is there") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(lab.dir()).expect("below it").to_string_lossy().into_owned();
            files.push((name, std::fs::read(path).expect("reads")));
        }
    }
    files.retain(|(name, _)| name != "LOCK");
    files.sort();
    files
}

fn options_that_cannot_work_are_refused(lab: &Lab) -> Result<()> {
    let tiny = lab.open_with(|knobs| knobs.common.memory_budget = CommonOptions::MEMORY_BUDGET_MIN - 1);
    assert!(refused(tiny.map(drop), ErrorKind::InvalidOptions).contains("memory_budget"));
    let idle = lab.open_with(|knobs| knobs.common.background = Background::Threads(0));
    assert!(refused(idle.map(drop), ErrorKind::InvalidOptions).contains("background"));
    assert_eq!(
        kind_of(lab.open_with(|knobs| knobs.common.read_only = true)),
        Some(ErrorKind::InvalidOptions)
    );
    assert!(!lab.dir().exists(), "a refused open makes nothing");
    Ok(())
}

fn foreign_files_are_left_alone(lab: &Lab) -> Result<()> {
    std::fs::create_dir(lab.dir()).expect("makes a directory");
    let names = ["notes.txt", "zzz.wal", ".DS_Store", "1.bak"];
    for name in names {
        std::fs::write(lab.dir().join(name), b"mine").expect("writes");
    }
    std::fs::create_dir(lab.dir().join("folder")).expect("makes a directory");
    for _ in 0..2 {
        let db = lab.open()?;
        fill(&*db, 0, 500)?;
        db.flush()?;
        db.close()?;
    }
    for name in names {
        assert_eq!(std::fs::read(lab.dir().join(name)).ok().as_deref(), Some(&b"mine"[..]), "{name}");
    }
    assert!(lab.dir().join("folder").is_dir());
    Ok(())
}

fn stats_name_the_files_there_are(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 500)?;
    db.flush()?;
    db.settle(std::time::Duration::from_secs(10))?;
    let stats = db.stats();
    assert!(stats.files.iter().any(|file| file.is_log) && stats.files.iter().any(|file| !file.is_log));
    for file in &stats.files {
        let found = std::fs::metadata(lab.dir().join(&file.name)).expect("a file that stats names is there");
        assert_eq!(found.len(), file.bytes, "{}", file.name);
    }
    Ok(())
}

fn a_new_database_is_small(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    db.put(b"k", b"v", Durability::Disk)?;
    let bytes: u64 = files(lab).iter().map(|(_, bytes)| bytes.len() as u64).sum();
    assert!(bytes < 1 << 20, "{bytes} bytes for one entry");
    Ok(())
}
