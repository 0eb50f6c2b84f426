//! A copy-on-write B+tree behind a logical write-ahead log.
//!
//! Only [`BTreeEngine`] and [`BTreeOptions`] are stable; the other modules are public to be read and measured.
//!
//! # Files on disk
//!
//! ```text
//! KVLAB           what the directory is; written last when it is created   kv-io: identity.rs
//! LOCK            held while it is open                                    kv-io: home.rs
//! 000001.pages    | meta A | meta B | pages ... |                          page/meta.rs, page/mod.rs
//! 00000n.wal      commits since the last checkpoint                        kv-io: wal/
//! ```
//!
//! # A get
//!
//! 1. `engine.rs` takes the newest root: its pages stay as they are for the length of the call.
//! 2. `tree/mod.rs` goes down from it: each inner page names the child to go on with (`page/inner.rs`),
//! 3. `pager/mod.rs` gives the page of that number, from memory (`pager/buffer_pool.rs`) or from the file, checked;
//! 4. `page/leaf.rs` finds the key among the slots of the leaf (`page/slotted.rs`), and the caller gets its value.
//!
//! # A put
//!
//! 1. `engine.rs` refuses what is too large; the commit queue of `kv-io` writes the batch to the log   <- durable
//! 2. `apply.rs` takes it: `tree/mod.rs` goes down and copies the pages of the path under new numbers,
//! 3. `tree/insert.rs` puts the entry into the leaf's copy (`page/leaf.rs`), or divides it (`page/split.rs`),
//! 4. `reclaim.rs` shows the new root to readers   <- readable, and keeps what it replaced until nobody looks at it.
//! 5. Later `checkpoint.rs` writes the copies to pages no durable root reaches, then the meta   <- log superfluous
//!
//! # A restart
//!
//! `recovery.rs` takes the newest valid meta and its free map, replays the log from where the meta ends, writes a
//! checkpoint and starts a fresh log. `check.rs` walks everything and lists what does not hold.
//!
//! # Imports go downward only
//!
//! ```text
//! engine > backup ingest report upkeep > apply scan > core > recovery > check > checkpoint > tree > reclaim
//!        > options > pager > page
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
pub mod checkpoint;
pub mod core;
pub mod engine;
pub mod ingest;
pub mod jobs;
pub mod options;
pub mod page;
pub mod pager;
pub mod pressure;
pub mod reclaim;
pub mod recovery;
pub mod report;
pub mod scan;
pub mod tree;
pub mod upkeep;

pub use engine::BTreeEngine;
pub use options::BTreeOptions;
