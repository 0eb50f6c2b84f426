//! The analytic cost model: what theory says an engine must write, read and occupy, from the workload and the settings
//! alone. Shown beside what was measured: where the two agree the number is understood, where they do not one of
//! them is wrong.
//!
//! | file | what it does |
//! |---|---|
//! | `popularity.rs` | how many different records, or pages, a number of requests touches |
//! | `btree.rs` | fill, height, pages written and read of the copy-on-write B+tree |
//! | `lsm.rs` | levels, merges, probes and space of the leveled LSM tree |
//!
//! Symbols are those of the literature: N records of r bytes, memory M, pages of P bytes, size ratio T.

pub mod btree;
pub mod lsm;
pub mod popularity;

use kv_io::wal::frame::frame_len;
pub use popularity::Popularity;

/// What the model needs to know of a workload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Records: N.
    pub records: u64,
    /// Bytes of a key: k.
    pub key_bytes: u64,
    /// Bytes of a value: v.
    pub value_bytes: u64,
    /// How requests choose records.
    pub popularity: Popularity,
    /// Operations in a commit.
    pub batch: u64,
    /// Share of operations that write.
    pub writes: f64,
}

impl Load {
    /// r = k + v.
    pub fn record_bytes(&self) -> f64 {
        (self.key_bytes + self.value_bytes) as f64
    }

    /// Bytes of log for each byte the user wrote: a frame of 32 bytes for a commit, 4 bytes for an operation, and zeros to
    /// the next multiple of 8.
    pub fn log_write_amplification(&self) -> f64 {
        let batch = self.batch.max(1);
        let body = batch * (self.key_bytes + self.value_bytes + LOG_OP_BYTES);
        let frame = frame_len(usize::try_from(body).unwrap_or(usize::MAX));
        frame as f64 / (batch as f64 * self.record_bytes())
    }
}

/// Bytes of an operation's header in the log.
const LOG_OP_BYTES: u64 = 4;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_costs_what_its_format_says() {
        let mut load = Load {
            records: 1,
            key_bytes: 16,
            value_bytes: 100,
            popularity: Popularity::Uniform,
            batch: 1,
            writes: 1.0,
        };
        assert!((load.log_write_amplification() - 152.0 / 116.0).abs() < 1e-12);
        load.batch = 1000;
        assert!((load.log_write_amplification() - 120_032.0 / 116_000.0).abs() < 1e-12);
    }
}
