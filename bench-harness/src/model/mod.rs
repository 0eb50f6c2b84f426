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
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
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
}
