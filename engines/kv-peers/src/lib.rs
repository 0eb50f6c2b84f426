//! Adapters that put engines made by others behind the contract of `kv-api`.
//!
//! The default build has none. Feature `peers` adds redb, fjall, LMDB, SQLite and canopydb; feature `rocksdb` adds
//! RocksDB, which compiles 340 files of C++ and needs libclang. An adapter is one file: it implements `peer::Peer` (what an engine does),
//! `peer::View` (one state of it) and `peer::Cursor` (a walk), and `PeerEngine` makes a [`kv_api::Kv`] of it:
//! limits, counters, sequence numbers, closing, backup and the checks that every engine owes.
//!
//! What holds for all of them:
//!
//! * **Levels.** `info().durability` lists the levels the engine has; a commit at another level goes up to the next
//!   one, and its [`kv_api::CommitInfo`] says so.
//! * **Not measured.** Peers reach files by themselves, so `stats().io` is `None`. The directory is walked for the
//!   list of files; sequence numbers count operations since opening.
//! * **Sizes.** `memory_budget` becomes the sum of the engine's caches and write buffers. What cannot be bounded
//!   (LMDB's map) is named in `info().settings`.
//! * **Snapshots.** They keep the engine's files open. After `close` they answer `Closed`, and the directory can be
//!   opened again once the last of them is gone.
//! * **Read-only** handles refuse writes; the engine below may still repair or checkpoint its own files.
//! * **What an engine lacks** is `Unsupported`, with the engine's name in the message.
//!
//! Read `peer/mod.rs` first, then `redb.rs`, the shortest adapter.
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

#[cfg(feature = "peers")]
pub mod canopydb;
#[cfg(feature = "peers")]
mod chunks;
#[cfg(any(feature = "peers", feature = "rocksdb"))]
mod counters;
#[cfg(any(feature = "peers", feature = "rocksdb"))]
mod engine;
#[cfg(feature = "peers")]
pub mod fjall;
#[cfg(any(feature = "peers", feature = "rocksdb"))]
pub mod home;
#[cfg(feature = "peers")]
pub mod lmdb;
#[cfg(any(feature = "peers", feature = "rocksdb"))]
pub mod peer;
#[cfg(any(feature = "peers", feature = "rocksdb"))]
mod ranges;
#[cfg(feature = "peers")]
pub mod redb;
#[cfg(feature = "rocksdb")]
pub mod rocksdb;
#[cfg(any(feature = "peers", feature = "rocksdb"))]
mod scan;
#[cfg(any(feature = "peers", feature = "rocksdb"))]
mod shared;
#[cfg(feature = "peers")]
pub mod sqlite;

/// Calls `$call!(Type)` for every peer that is compiled in.
#[macro_export]
macro_rules! for_every_peer {
    ($call:ident) => {
        #[cfg(feature = "peers")]
        {
            $call!($crate::redb::Redb);
            $call!($crate::fjall::Fjall);
            $call!($crate::lmdb::Lmdb);
            $call!($crate::sqlite::Sqlite);
            $call!($crate::canopydb::Canopy);
        }
        #[cfg(feature = "rocksdb")]
        {
            $call!($crate::rocksdb::Rocks);
        }
    };
}

#[cfg(any(feature = "peers", feature = "rocksdb"))]
pub use engine::PeerEngine;
#[cfg(any(feature = "peers", feature = "rocksdb"))]
pub use peer::PeerOptions;
