//! Limits: each one itself passes, one more is refused by name; large values and long keys come back whole.

use kv_api::{Batch, Direction, ErrorKind, KeyRange, Kv, Result};
use tests::driver::keys_of;
use tests::{Lab, check, for_every_engine, for_every_stored_engine};

use crate::{LEVEL, fill, key, refused};

for_every_engine!(
    the_longest_key_and_one_more,
    the_longest_value_and_one_more,
    the_largest_batch_and_one_more,
    values_of_every_size_around_a_page,
    large_values_are_replaced_and_removed,
    range_bounds_may_be_as_long_as_a_key,
);

mod stored {
    use super::*;
    for_every_stored_engine!(large_values_survive_reopening);
}

fn the_longest_key_and_one_more(lab: &Lab) -> Result<()> {
    let db = lab.open_with(|knobs| knobs.common.memory_budget = 16 << 20)?;
    let limit = db.limits().key_bytes_max;
    let longest: Vec<_> = (0..5_u8).map(|n| [vec![b'k'; limit - 1], vec![n]].concat()).collect();
    for key in &longest {
        db.put(key, b"v", LEVEL)?;
    }
    for _ in 0..2 {
        for key in &longest {
            assert_eq!(db.get(key)?.as_deref(), Some(&b"v"[..]));
        }
        assert_eq!(keys_of(&db, KeyRange::ALL, Direction::Forward)?, longest);
        db.flush()?;
    }
    let too_long = vec![b'k'; limit + 1];
    let message = refused(db.put(&too_long, b"", LEVEL), ErrorKind::KeyTooLarge);
    assert!(message.contains(&limit.to_string()) && message.contains(&(limit + 1).to_string()), "{message}");
    refused(db.delete(&too_long, LEVEL), ErrorKind::KeyTooLarge);
    assert!(db.get(&too_long)?.is_none(), "reading a key that cannot exist finds nothing");
    db.delete(&longest[0], LEVEL)?;
    assert_eq!(db.verify()?.entries, 4);
    Ok(())
}

fn the_longest_value_and_one_more(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    // The engine without files takes 64 MiB; that much would only cost time here.
    let limit = db.limits().value_bytes_max;
    if limit <= 1 << 20 {
        let value: Vec<u8> = (0..limit).map(|n| (n % 251) as u8).collect();
        db.put(b"k", &value, LEVEL)?;
        for _ in 0..2 {
            assert!(db.get(b"k")?.as_deref() == Some(value.as_slice()));
            db.flush()?;
        }
    }
    let message = refused(db.put(b"l", &vec![0; limit + 1], LEVEL), ErrorKind::ValueTooLarge);
    assert!(message.contains(&limit.to_string()), "{message}");
    assert!(db.get(b"l")?.is_none());
    Ok(())
}

/// A batch of exactly `bytes` encoded bytes: thousands first, then one value that fills it up.
fn batch_of(bytes: usize) -> Batch {
    let mut batch = Batch::new();
    while bytes - batch.encoded().len() > 3000 {
        let n = batch.len();
        batch.put(&key(n % 100_000), &[b'v'; 1000]);
    }
    // Kind, key length, a value length of two bytes, and the key stand in front of the value.
    let frame = 1 + 1 + 2 + 8;
    let room = bytes - batch.encoded().len() - frame;
    let n = batch.len();
    batch.put(&key(n % 100_000), &vec![b'v'; room]);
    assert_eq!(batch.encoded().len(), bytes, "the test's own arithmetic");
    batch
}

fn the_largest_batch_and_one_more(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    let limit = db.limits().batch_bytes_max;
    if lab.engine.is_stored() {
        let largest = batch_of(limit);
        db.write(&largest, LEVEL)?;
        assert_eq!(db.verify()?.entries, largest.len() as u64);
    }
    refused(db.write(&batch_of(limit + 1), LEVEL), ErrorKind::BatchTooLarge);
    fill(&*db, 0, 10)
}

fn values_of_every_size_around_a_page(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    let most = db.limits().value_bytes_max.min(100_000);
    let around = [512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536];
    let sizes = around.iter().flat_map(|size| (size - 3)..(size + 3)).chain(900..1100);
    let sizes: Vec<usize> = sizes.filter(|size| *size <= most).collect();
    let value = |size: usize| -> Vec<u8> { (0..size).map(|at| (at ^ size) as u8).collect() };
    for size in &sizes {
        db.put(&key(*size), &value(*size), LEVEL)?;
    }
    for _ in 0..2 {
        for size in &sizes {
            let found = db.get(&key(*size))?;
            assert!(found.as_deref() == Some(value(*size).as_slice()), "a value of {size} bytes");
        }
        let found = check::contents(&*db)?;
        assert!(found.iter().all(|(at, found)| key(found.len()) == *at && *found == value(found.len())));
        db.flush()?;
    }
    Ok(())
}

fn large_values_are_replaced_and_removed(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    let large = db.limits().value_bytes_max.min(50_000);
    for round in 0..6_usize {
        for n in 0..8 {
            let size = if (n + round) % 3 == 0 { 10 } else { large - n };
            db.put(&key(n), &vec![round as u8; size], LEVEL)?;
        }
        db.delete(&key(round), LEVEL)?;
        if round % 2 == 1 {
            db.flush()?;
        }
        for n in 0..8 {
            let found = db.get(&key(n))?;
            assert_eq!(found.is_none(), n == round);
            assert!(found.is_none_or(|value| value.iter().all(|byte| *byte == round as u8)));
        }
    }
    db.delete_range(KeyRange::ALL, LEVEL)?;
    db.flush()?;
    assert_eq!(db.verify()?.entries, 0);
    Ok(())
}

fn range_bounds_may_be_as_long_as_a_key(lab: &Lab) -> Result<()> {
    let db = lab.open_with(|knobs| knobs.common.memory_budget = 16 << 20)?;
    let longest = vec![b'm'; db.limits().key_bytes_max];
    db.put(&longest, b"v", LEVEL)?;
    fill(&*db, 0, 10)?;
    db.flush()?;
    db.delete_range(KeyRange::from(longest.as_slice()..=longest.as_slice()), LEVEL)?;
    assert!(db.get(&longest)?.is_none());
    db.flush()?;
    assert_eq!(db.verify()?.entries, 10);
    let beyond = [longest.as_slice(), b"xx"].concat();
    refused(db.delete_range(KeyRange::from(..beyond.as_slice()), LEVEL), ErrorKind::KeyTooLarge);
    // A scan writes nothing, so a bound that no key reaches is only a bound.
    assert_eq!(keys_of(&db, KeyRange::from(..beyond.as_slice()), Direction::Reverse)?.len(), 10);
    Ok(())
}

fn large_values_survive_reopening(lab: &Lab) -> Result<()> {
    let db = lab.open()?;
    let large = db.limits().value_bytes_max;
    for n in 0..4 {
        db.put(&key(n), &vec![n as u8; large - n], kv_api::Durability::Os)?;
        if n == 1 {
            db.flush()?;
        }
    }
    drop(db);
    let db = lab.open()?;
    for n in 0..4 {
        assert!(db.get(&key(n))?.as_deref() == Some(vec![n as u8; large - n].as_slice()), "value {n}");
    }
    db.delete_range(KeyRange::ALL, LEVEL)?;
    db.flush()
}

/// The budget bounds the limits, so that no write can need more memory than there is.
#[test]
fn limits_follow_the_budget() {
    for engine in tests::Engine::STORED {
        let lab = Lab::new(engine, tests::Knobs::small());
        let db = lab.open().expect("opens");
        let budget = lab.knobs.common.memory_budget as usize;
        let limits = Kv::limits(&*db);
        assert_eq!((limits.value_bytes_max, limits.batch_bytes_max), (budget / 8, budget / 4));
    }
}
