//! What engines made by others promise beside the contract: levels that go up, keys that are refused, directories.

use std::ops::Bound;

use kv_api::{Direction, Durability, ErrorKind, KeyRange, Result};
use tests::driver::keys_of;
use tests::{Engine, Knobs, Lab, peers};

use crate::{LEVEL, key, put_all, refused};

#[test]
fn a_level_that_is_not_there_goes_up_and_says_so() -> Result<()> {
    for engine in peers::ALL {
        let lab = Lab::new(*engine, Knobs::small());
        let db = lab.open()?;
        let levels = db.info().durability;
        for asked in [Durability::Memory, Durability::Os, Durability::Disk] {
            let got = db.put(b"k", b"v", asked)?.durability;
            let least = levels.iter().copied().filter(|level| *level >= asked).min();
            assert_eq!(Some(got), least, "{} asked for {asked}", engine.name());
        }
    }
    Ok(())
}

/// Engines without the empty key refuse it; bounds that name it, or that no key reaches, are only bounds.
#[test]
fn bounds_outside_the_legal_keys_are_only_bounds() -> Result<()> {
    for engine in peers::ALL {
        let lab = Lab::new(*engine, Knobs::small());
        // Room for a key of the longest length in a batch.
        let db = lab.open_with(|knobs| knobs.common.memory_budget = 16 << 20)?;
        let all = [&b"a"[..], b"b", b"b\0", b"c", b"\xff"];
        let long = vec![b'b'; db.limits().key_bytes_max + 1];
        let at = [&b""[..], b"a", b"b", b"b\0", &long, b"d", b"\xff"];
        let bounds = |key| [Bound::Included(key), Bound::Excluded(key), Bound::Unbounded];
        for start in at.iter().flat_map(|key| bounds(*key)) {
            for end in at.iter().flat_map(|key| bounds(*key)) {
                let range = KeyRange { start, end };
                let inside = |key: &&&[u8]| tests::map::contains(range, key);
                put_all(&*db, all)?;
                let mut wanted: Vec<_> = all.iter().filter(inside).map(|key| key.to_vec()).collect();
                assert_eq!(keys_of(&db, range, Direction::Forward)?, wanted, "{} {range:?}", engine.name());
                wanted.reverse();
                assert_eq!(keys_of(&db, range, Direction::Reverse)?, wanted, "{} {range:?}", engine.name());
                let exceeds =
                    |bound| matches!(bound, Bound::Included(key) | Bound::Excluded(key) if key == long);
                if exceeds(start) || exceeds(end) {
                    continue;
                }
                db.delete_range(range, LEVEL)?;
                let left: Vec<_> = all.iter().filter(|key| !inside(key)).map(|key| key.to_vec()).collect();
                assert_eq!(
                    keys_of(&db, KeyRange::ALL, Direction::Forward)?,
                    left,
                    "{} {range:?}",
                    engine.name()
                );
            }
        }
        if let Err(error) = db.put(b"", b"v", LEVEL) {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert!(db.get(b"")?.is_none());
            db.delete(b"", LEVEL)?;
        }
    }
    Ok(())
}

/// Many memtables in a row, then the end of all upkeep: workers of fjall that ask for flushes wait for each other.
#[test]
fn a_load_of_many_times_the_memory_settles() -> Result<()> {
    for engine in peers::ALL {
        let lab = Lab::new(*engine, Knobs::small());
        let db = lab.open()?;
        for n in 0..40_000 {
            db.put(&key(n * 7919 % 40_000), &[7; 100], LEVEL)?;
        }
        db.settle(std::time::Duration::from_secs(60))?;
        assert_eq!(db.verify()?.entries, 40_000, "{}", engine.name());
    }
    Ok(())
}

#[test]
fn a_directory_of_this_laboratory_is_refused() -> Result<()> {
    for own in Engine::STORED {
        let lab = Lab::new(own, Knobs::small());
        lab.open()?.put(&key(1), b"v", Durability::Os)?;
        for engine in peers::ALL {
            let opened = engine.open(&lab.env, lab.dir(), &lab.knobs);
            let message = refused(opened.map(drop), ErrorKind::WrongEngine);
            assert!(message.contains(own.name()) && message.contains(engine.name()), "{message}");
        }
        assert!(lab.open()?.get(&key(1))?.is_some());
    }
    Ok(())
}
