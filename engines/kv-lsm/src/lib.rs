//! A leveled log-structured merge tree.
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

pub mod block_cache;
pub mod compaction;
pub mod cursor;
pub mod entry;
pub mod memtable;
pub mod merge;
pub mod num;
pub mod range_tombstone;
pub mod sstable;
pub mod version;
