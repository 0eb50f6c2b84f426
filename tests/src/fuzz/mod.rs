//! Fuzz targets as plain functions of bytes: `fuzz/` drives them by coverage, `corpus` replays what that found.
//!
//! | target | bytes mean | question |
//! |---|---|---|
//! | `open_dir_image` | edits of the files of a database | does opening, reading and working on it end in answers or typed errors? |
//! | `table`, `page`, `manifest` | a file, or a page | the same for one format |
//! | `wal` | segments and frames, some of them damaged | is what is replayed a prefix, twice the same? |
//! | `ops_vs_model` | settings and steps | do both engines hold what a `BTreeMap` holds? |
//! | `ops_and_faults` | the same, with failing calls and a crash | is a state left that was allowed? |
//!
//! Checksums are made right after the bytes were changed ([`seal`]), so that the code behind them is reached. One bit
//! of each input leaves them wrong.

pub mod faults;
pub mod image;
pub mod input;
pub mod ops;
pub mod parts;
pub mod seal;

use std::path::{Path, PathBuf};

/// One target: takes any bytes, and panics if a promise is broken.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: that of its folder in `fuzz/corpus`.
    pub name: &'static str,
    /// What it does.
    pub run: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 7] = [
    Target { name: "open_dir_image", run: image::open_dir_image, seeds: image::seeds },
    Target { name: "table", run: parts::table, seeds: parts::table_seeds },
    Target { name: "page", run: parts::page, seeds: parts::page_seeds },
    Target { name: "wal", run: parts::wal, seeds: parts::wal_seeds },
    Target { name: "manifest", run: parts::manifest, seeds: parts::manifest_seeds },
    Target { name: "ops_vs_model", run: ops::ops_vs_model, seeds: ops::seeds },
    Target { name: "ops_and_faults", run: faults::ops_and_faults, seeds: ops::seeds },
];

/// Where the committed inputs of a target are.
pub fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}
