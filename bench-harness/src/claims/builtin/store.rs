//! A database that an experiment makes for itself, with keys and values that need no workload.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use kv_api::{Background, Batch, CommonOptions, Durability, IoMode, Kv};
use workloads::rng::mix64;

use super::Ground;
use crate::error::{Failure, Result};
use crate::registry::EngineSpec;

/// Bytes of a batch while loading, about: small enough for any memory budget.
const LOAD_BATCH_BYTES: usize = 16 << 10;

/// A database in a folder of its own, closed and removed in the end.
pub struct Store {
    /// The engine.
    pub db: Arc<dyn Kv>,
    dir: PathBuf,
}

impl Store {
    /// A fresh database of `engine` over direct I/O.
    ///
    /// # Errors
    /// The folder cannot be made, or the engine does not open.
    pub fn new(
        ground: &Ground<'_>,
        engine: &str,
        memory_bytes: u64,
        background: Background,
    ) -> Result<Store> {
        let spec = EngineSpec::plain(engine);
        let dir = ground.dir.join(format!("claim-{engine}-{}", std::process::id()));
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(|error| Failure::io("remove the directory", &dir, &error))?;
        }
        fs::create_dir_all(&dir).map_err(|error| Failure::io("create the directory", &dir, &error))?;
        let common = CommonOptions {
            memory_budget: memory_bytes,
            io: IoMode::Direct,
            background,
            ..CommonOptions::default()
        };
        let db = ground.registry.prepare(&spec, &common)?(&dir)?;
        Ok(Store { db, dir })
    }

    /// Writes the records from 0 to `records` in batches.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn load(&self, records: u64, key: fn(u64) -> [u8; 16], value_bytes: usize) -> Result<()> {
        let step = (LOAD_BATCH_BYTES / (16 + value_bytes)).max(1);
        for first in (0..records).step_by(step) {
            let mut batch = Batch::new();
            for record in first..records.min(first + step as u64) {
                batch.put(&key(record), &value(record, value_bytes));
            }
            self.db.write(&batch, Durability::Os)?;
        }
        Ok(())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // What an experiment leaves behind is removed either way; a database that does not close well has nobody to tell.
        let _ = self.db.close();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A key without order: records that follow each other lie anywhere.
pub fn scattered(record: u64) -> [u8; 16] {
    both(mix64(record), record)
}

/// A key in the order of records.
pub fn ordered(record: u64) -> [u8; 16] {
    both(record, record)
}

fn both(first: u64, second: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&first.to_be_bytes());
    key[8..].copy_from_slice(&second.to_be_bytes());
    key
}

/// `bytes` bytes that hang on `seed` alone and do not compress.
pub fn value(seed: u64, bytes: usize) -> Vec<u8> {
    let words = (0..).flat_map(|index: u64| mix64(mix64(seed) ^ index).to_le_bytes());
    words.take(bytes).collect()
}
