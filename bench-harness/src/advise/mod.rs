//! Advice: which engine settings a workload should run best on, by theory, on this machine. Pure: it runs nothing.
//!
//! | file | what it does |
//! |---|---|
//! | `candidates.rs` | the settings that are weighed |
//! | `cpu.rs` | what an operation costs the processor |
//! | `device.rs` | what the device does |
//! | `bound.rs` | how fast each can be at most, and what binds it; where the two families cross |
//! | `rank.rs` | who is first, by how much, and how sure that is |
//! | `nearest.rs` | what was measured that is most like the question |

pub mod bound;
pub mod candidates;
pub mod cpu;
pub mod device;
pub mod nearest;
pub mod rank;

pub use bound::{Bound, Clients, Resource};
pub use cpu::Cpu;
pub use device::Device;
pub use nearest::Nearest;
pub use rank::{Advice, Question};

#[cfg(test)]
mod tests {
    use crate::model::btree::BTreeSettings;
    use crate::model::{Load, Popularity, Predicted, Settings};

    /// Half gets, half overwrites of 116 bytes.
    pub fn load() -> Load {
        Load {
            records: 1_000_000,
            value_bytes: 100,
            writes: 0.5,
            gets: 0.5,
            ..Load::overwrites(Popularity::Uniform)
        }
    }

    /// A B+tree of 32 MiB.
    pub fn tree() -> Settings {
        Settings::BTree(BTreeSettings {
            page_bytes: 4096,
            frames: 7000,
            dirty_start: 0.4,
            log_bytes_max: 32 << 20,
            sync_updates: 0.0,
        })
    }

    /// An amplification of 10, and every second block in memory.
    pub fn predicted() -> Predicted {
        Predicted {
            wa: Some(10.0),
            probes_per_get: 3.0,
            misses_per_get: 0.5,
            sa: 1.5,
            levels: 3,
            block_bytes: 4096.0,
            entries_per_block: 20.0,
            miss_share: 0.5,
            misses_per_write: 0.5,
            scan_runs: 1.0,
            merge_reads: 0.0,
        }
    }
}
