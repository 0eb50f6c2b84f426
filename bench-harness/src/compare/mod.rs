//! What may be said of several runs: which belong together (`group.rs`), which may be set against each other
//! (`equal.rs`), how several are shown as one (`typical.rs`), and by how much they differ: engines of one run (`ratio.rs`), or two sets of results (`sets.rs`). Pure: works on records, new or read from a file.

pub mod equal;
pub mod group;
pub mod ratio;
pub mod sets;
pub mod typical;

pub use equal::broken_rule;
pub use group::{Group, Repetition, groups};
pub use ratio::{METRICS, Metric, Paired, Ratio, ratios};
pub use typical::typical;

#[cfg(test)]
pub(crate) use group::tests;
