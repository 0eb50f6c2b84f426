//! Flush, settle, compact, verify, stats, shape, events.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kv_api::{ErrorKind, Event, EventListener, KeyRange, Result, Shape};
use tests::driver::{kind_of, unless_unsupported};
use tests::{Lab, check, for_every_engine, for_every_stored_engine};

use crate::{LEVEL, fill, key};

for_every_engine!(
    upkeep_of_an_empty_database_is_fine,
    upkeep_changes_no_contents,
    counters_only_grow,
    stats_count_what_users_do,
    stats_name_who_holds_memory,
    shape_counts_the_entries,
);

mod stored {
    use super::*;
    for_every_stored_engine!(
        events_tell_of_upkeep,
        settled_means_nothing_is_owed,
        compact_takes_what_is_deleted_off_the_disk,
    );
}

const PATIENCE: Duration = Duration::from_secs(60);

fn upkeep_of_an_empty_database_is_fine(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    for _ in 0..2 {
        db.sync()?;
        db.flush()?;
        assert_eq!(db.settle(PATIENCE)?.debt_bytes, 0);
        unless_unsupported(db.compact(KeyRange::ALL).map(|_| ()))?;
        unless_unsupported(db.shape().map(|_| ()))?;
        db.verify_now();
    }
    assert!(check::contents(&*db)?.is_empty());
    Ok(())
}

fn upkeep_changes_no_contents(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    for round in 0..5 {
        fill(&*db, round * 150, round * 150 + 300)?;
        db.delete(&key(round * 10), LEVEL)?;
        let expected = check::contents(&*db)?;
        db.flush()?;
        check::holds(&*db, &expected, "after a flush")?;
        db.settle(PATIENCE)?;
        check::holds(&*db, &expected, "after settling")?;
        let part = key(100);
        unless_unsupported(db.compact(KeyRange::from(part.as_slice()..)).map(|_| ()))?;
        check::holds(&*db, &expected, "after compacting a part")?;
        unless_unsupported(db.compact(KeyRange::ALL).map(|_| ()))?;
        check::holds(&*db, &expected, "after compacting all")?;
    }
    Ok(())
}

/// Keeps every event.
#[derive(Default)]
struct Events(Mutex<Vec<Event>>);

impl EventListener for Events {
    fn on_event(&self, event: &Event) {
        self.0.lock().expect("no panic").push(event.clone());
    }
}

fn events_tell_of_upkeep(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    let events = Arc::new(Events::default());
    db.subscribe(Arc::clone(&events) as Arc<dyn EventListener>);
    for _ in 0..8 {
        fill(&*db, 0, 500)?;
        db.flush()?;
    }
    db.settle(PATIENCE)?;
    let seen = events.0.lock().expect("no panic").clone();
    let is_upkeep = |event: &&Event| matches!(event, Event::Flush { .. } | Event::Checkpoint { .. });
    assert!(seen.iter().filter(is_upkeep).count() >= 8, "eight flushes and these events: {seen:?}");
    assert!(!seen.iter().any(|event| matches!(event, Event::Poisoned { .. })), "{seen:?}");
    Ok(())
}

fn counters_only_grow(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    let mut last = db.stats();
    for round in 0..10 {
        fill(&*db, round * 50, round * 50 + 100)?;
        match round % 4 {
            0 => db.flush()?,
            1 => db.sync()?,
            2 => drop(db.settle(PATIENCE)?),
            _ => drop(check::contents(&*db)?),
        }
        let now = db.stats();
        assert!(now.seq > last.seq);
        for (name, value) in &last.counters {
            assert!(now.counter(name) >= *value, "counter {name}");
        }
        let (Some(before), Some(after)) = (last.io, now.io) else { return Ok(()) };
        for cause in kv_api::Cause::all() {
            let (before, after) = (before.of(cause), after.of(cause));
            let grown = after.read_bytes >= before.read_bytes
                && after.read_calls >= before.read_calls
                && after.write_bytes >= before.write_bytes
                && after.write_calls >= before.write_calls
                && after.sync_calls >= before.sync_calls;
            assert!(grown, "{cause}: {before:?} became {after:?}");
        }
        last = now;
    }
    Ok(())
}

fn stats_count_what_users_do(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    let before = db.stats().user;
    fill(&*db, 0, 250)?;
    db.delete(&key(0), LEVEL)?;
    let after = db.stats().user;
    assert_eq!(after.ops_written - before.ops_written, 251);
    assert_eq!(after.commits - before.commits, 4);
    assert_eq!(after.written_bytes - before.written_bytes, 250 * (8 + 17) + 8);
    if lab.engine.is_stored() {
        db.get(&key(1))?;
        db.get(b"absent")?;
        let user = db.stats().user;
        assert_eq!((user.gets - after.gets, user.hits - after.hits), (2, 1));
        check::contents(&*db)?;
        let scanned = db.stats().user;
        assert_eq!(scanned.scans - user.scans, 1);
        assert_eq!(scanned.scanned_entries - user.scanned_entries, 249);
    }
    Ok(())
}

fn stats_name_who_holds_memory(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 250)?;
    assert!(db.stats().memory_bytes() > 0);
    Ok(())
}

fn shape_counts_the_entries(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 1000)?;
    db.flush()?;
    let entries = match db.shape()? {
        Shape::Tree(tree) => {
            assert!(tree.height >= 2 && tree.leaf_pages > 1 && tree.inner_pages > 0, "{tree:?}");
            assert_eq!(tree.leaf_fill_tenths.iter().sum::<u64>(), tree.leaf_pages, "{tree:?}");
            tree.entries
        }
        Shape::Levels(levels) => {
            let tables = levels.levels.iter().flat_map(|level| &level.tables);
            let memtables = levels.memtables.iter().map(|memtable| memtable.entries);
            tables.map(|table| table.entries).sum::<u64>() + memtables.sum::<u64>()
        }
        Shape::Memory { entries } => entries,
        other => panic!("a shape that this test does not know: {other:?}"),
    };
    assert_eq!(entries, 1000);
    Ok(())
}

fn settled_means_nothing_is_owed(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    for _ in 0..5 {
        fill(&*db, 0, 1000)?;
    }
    assert_eq!(db.settle(PATIENCE)?.debt_bytes, 0);
    assert_eq!(db.stats().debt_bytes, 0);
    Ok(())
}

fn compact_takes_what_is_deleted_off_the_disk(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    fill(&*db, 0, 5000)?;
    db.flush()?;
    db.delete_range(KeyRange::ALL, LEVEL)?;
    if kind_of(db.compact(KeyRange::ALL)) == Some(ErrorKind::Unsupported) {
        return Ok(());
    }
    let stats = db.stats();
    let live = stats.file_bytes(false).saturating_sub(stats.free_bytes);
    assert!(live < 40_000, "{live} bytes are left of nothing: {:?}", stats.files);
    Ok(())
}
