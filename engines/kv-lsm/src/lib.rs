//! A leveled log-structured merge tree: the shape of LevelDB and RocksDB, small enough to read.
//!
//! # Files on disk
//!
//! | name | holds | format |
//! |---|---|---|
//! | `KVLAB`, `LOCK` | what the directory is; who has it open | `kv_io::identity`, `kv_io::home` |
//! | `000017.wal` | commits that are in no table yet | `kv_io::wal` |
//! | `000018.tbl` | sorted entries, never changed | [`sstable`] |
//! | `000019.manifest` | which tables are live, and on which level | [`version::manifest`] |
//!
//! # A put, downward
//!
//! 1. [`engine`]: `write` checks sizes and hands the batch to the log.
//! 2. `kv_io::commit`: takes the commit lock; `kv_io::wal::writer` appends the batch: durable once synced.
//! 3. [`apply`](mod@apply): before that, `admit` waits for room ([`pressure`]) and `prepare` seals a full memtable;
//!    after it, `apply` fills the active one, and `publish` shows the batch to readers.
//! 4. The [`memtable`] inserts.
//!
//! Later [`upkeep`] finds that a sealed memtable waits, [`flush`] writes it to a table, and [`compaction`] merges
//! tables downward.
//!
//! # A get, downward
//!
//! 1. [`engine`]: `get_with` takes the state, then the newest visible number.
//! 2. [`state`]: asks from new to old; the first source that knows the key decides.
//! 3. Each [`memtable`], the active one first.
//! 4. [`version`]: the one table of each level that may hold the key.
//! 5. [`sstable::reader`]: filter, fence index, block from the cache or the file.
//! 6. [`sstable::block`]: search in the block.
//!
//! # A restart
//!
//! [`recovery`]: identity, newest manifest, tables, replay of the log, a new manifest; only then old files go.
//!
//! Modules are public so that their documentation reads as a textbook and benches can reach the parts; only
//! [`LsmEngine`] and [`LsmOptions`] are meant to stay as they are.
//!
//! ```
//! use kv_api::{Durability, Kv, KvRead};
//! use kv_lsm::{LsmEngine, LsmOptions};
//!
//! let dir = tempfile::tempdir()?;
//! let db = LsmEngine::open(&dir.path().join("db"), LsmOptions::default())?;
//! db.put(b"plum", b"blue", Durability::Disk)?;
//! assert_eq!(db.get(b"plum")?.as_deref(), Some(&b"blue"[..]));
//! db.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::print_stdout,
        clippy::print_stderr
    )
)]

pub mod apply;
pub mod backup;
pub mod check;
pub mod compaction;
pub mod core;
pub mod counters;
pub mod cursor;
pub mod engine;
pub mod entry;
pub mod flush;
pub mod ingest;
pub mod jobs;
pub mod memtable;
pub mod merge;
pub mod num;
pub mod options;
pub mod output;
pub mod pressure;
pub mod range_tombstone;
pub mod recovery;
pub mod report;
pub mod scan;
pub mod sstable;
pub mod state;
pub mod upkeep;
pub mod version;

pub use engine::LsmEngine;
pub use options::{LsmOptions, ReadMode};
pub use sstable::bloom::FilterKind;
