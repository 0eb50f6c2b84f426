//! A copy-on-write B+tree behind a logical write-ahead log.
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

pub mod bulk;
pub mod check;
pub mod checkpoint;
pub mod core;
pub mod engine;
pub mod options;
pub mod page;
pub mod pager;
pub mod reclaim;
pub mod recovery;
pub mod scan;
pub mod tree;

pub use engine::BTreeEngine;
pub use options::BTreeOptions;
