//! The workloads that come with kvlab, embedded from `workloads/files/` so that the binary needs no files.

use crate::spec::Spec;
use crate::toml_file;

/// A workload that comes with kvlab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Its name, that of its file without ".toml".
    pub name: &'static str,
    /// The text of its file.
    pub text: &'static str,
}

macro_rules! ready {
    ($($name:literal),* $(,)?) => {
        &[$(Ready { name: $name, text: include_str!(concat!("../files/", $name, ".toml")) }),*]
    };
}

static ALL: &[Ready] = ready![
    "read-heavy",
    "write-heavy",
    "balanced",
    "scan-heavy",
    "ycsb-a",
    "ycsb-b",
    "ycsb-c",
    "ycsb-d",
    "ycsb-e",
    "ycsb-f",
    "fill",
    "overwrite-steady",
    "read-missing",
    "ratio-sweep",
    "scan-mix",
    "time-series",
    "temperature",
    "bursty-ingest",
    "load-curve",
    "beyond-memory",
    "floor",
    "floor-disk",
];

/// The commented file that shows every key of the format.
pub static REFERENCE: &str = include_str!("../files/reference.toml");

/// All ready workloads, the two of the main job first.
pub fn all() -> &'static [Ready] {
    ALL
}

/// The ready workload with this name; of one with a matrix the first cell.
pub fn find(name: &str) -> Option<Spec> {
    ALL.iter().find(|ready| ready.name == name).map(Ready::spec)
}

/// The names of all ready workloads.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|ready| ready.name)
}

impl Ready {
    /// The workload with every default filled in; of one with a matrix the first cell.
    pub fn spec(&self) -> Spec {
        self.cells().remove(0)
    }

    /// Every cell of the workload's matrix, in order; one if it has none.
    pub fn cells(&self) -> Vec<Spec> {
        let parsed = toml_file::parse_cells(self.name, self.text);
        parsed.unwrap_or_else(|error| unreachable!("a test reads every embedded file: {error}"))
    }
}
