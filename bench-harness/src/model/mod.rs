//! The analytic cost model: what theory says an engine must write, read and occupy, from the workload and the settings
//! alone. Shown beside what was measured: where the two agree the number is understood, where they do not one of
//! them is wrong.
//!
//! | file | what it does |
//! |---|---|
//! | `popularity.rs` | how many different records, or pages, a number of requests touches |
//! | `btree.rs` | fill, height, pages written and read of the copy-on-write B+tree |
//! | `lsm.rs` | levels, merges, probes and space of the leveled LSM tree |
//! | `settings.rs` | what the formulas need to know of an engine, from what it says of itself |
//! | `load.rs` | what they need to know of a workload, from its file, and whether they speak of it at all |
//! | `beside.rs` | the prediction for a measured phase, beside what was measured |
//!
//! Symbols are those of the literature: N records of r bytes, memory M, pages of P bytes, size ratio T.

pub mod beside;
pub mod btree;
pub mod load;
pub mod lsm;
pub mod popularity;
pub mod settings;

pub use beside::{Beside, Compared};
pub use load::Load;
pub use popularity::Popularity;
pub use settings::Settings;

/// What the model says of an engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Predicted {
    /// Write amplification, debt paid; `None` for a load without writes.
    pub wa: Option<f64>,
    /// Pages or data blocks asked for by a get of a record that exists.
    pub probes_per_get: f64,
    /// Of those, how many are not in memory.
    pub misses_per_get: f64,
    /// Space amplification, without log.
    pub sa: f64,
    /// Levels of the tree.
    pub levels: u32,
    /// Bytes of a page or data block.
    pub block_bytes: f64,
    /// Records in a leaf or data block.
    pub entries_per_block: f64,
    /// Share of the requests for leaves or data blocks that are not in memory.
    pub miss_share: f64,
    /// Blocks that a write reads from files.
    pub misses_per_write: f64,
    /// Sorted runs that a scan merges.
    pub scan_runs: f64,
    /// Bytes read in order by upkeep for each byte the user wrote.
    pub merge_reads: f64,
}

impl Predicted {
    /// Leaves or data blocks that a scan of so many entries asks for: one in each run, and those that it walks through.
    pub fn scan_blocks(&self, entries: f64) -> f64 {
        self.scan_runs + entries / self.entries_per_block.max(1.0)
    }
}
