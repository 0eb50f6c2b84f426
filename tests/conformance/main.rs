//! Every promise of `kv-api`, one small test each, on every engine: the name says both, `lsm::last_write_wins`.

mod concurrency;
mod copies;
mod limits;
mod opening;
#[cfg(any(feature = "peers", feature = "rocksdb"))]
mod peers;
mod range_delete;
mod reads;
mod scans;
mod snapshots;
mod tables;
mod upkeep;
mod writes;

use kv_api::{Durability, ErrorKind, Kv, Result};

/// The level of writes where it does not matter: none of these tests loses its process.
const LEVEL: Durability = Durability::Memory;

/// Puts every key with a value made from it.
fn put_all<'k>(db: &dyn Kv, keys: impl IntoIterator<Item = &'k [u8]>) -> Result<()> {
    for key in keys {
        db.put(key, &value_of(key), LEVEL)?;
    }
    Ok(())
}

/// The value that belongs to a key.
fn value_of(key: &[u8]) -> Vec<u8> {
    [b"value of ", key].concat()
}

/// Numbered keys of the same length.
fn key(n: usize) -> Vec<u8> {
    format!("key{n:05}").into_bytes()
}

/// Puts keys `from..to`, in batches of a hundred.
fn fill(db: &dyn Kv, from: usize, to: usize) -> Result<()> {
    let numbers: Vec<_> = (from..to).collect();
    for chunk in numbers.chunks(100) {
        let mut batch = kv_api::Batch::new();
        for n in chunk {
            batch.put(&key(*n), &value_of(&key(*n)));
        }
        db.write(&batch, LEVEL)?;
    }
    Ok(())
}

/// Stops the test unless the result is an error of this kind, whose message says something.
#[track_caller]
fn refused<T>(result: Result<T>, kind: ErrorKind) -> String {
    match result {
        Ok(_) => panic!("expected {kind:?}, got Ok"),
        Err(error) => {
            let message = error.to_string();
            assert_eq!(error.kind(), kind, "{message}");
            assert!(!message.contains('\n') && message.len() > 20, "one line that helps: {message}");
            message
        }
    }
}
