//! What the formulas need to know of a workload, read from one of its phases.

use kv_io::wal::frame::frame_len;
use workloads::dist::Dist;
use workloads::sizes::Sizes;
use workloads::{OpKind, Spec};

use super::Popularity;

/// Bytes of an operation's header in the log.
const LOG_OP_BYTES: f64 = 4.0;

/// What the model needs to know of a workload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Records: N.
    pub records: u64,
    /// Bytes of a key: k.
    pub key_bytes: u64,
    /// Bytes that all keys begin with.
    pub shared_key_bytes: u64,
    /// Bits by which a byte behind those tells keys apart.
    pub bits_per_key_byte: f64,
    /// Bytes of a value: v.
    pub value_bytes: u64,
    /// How requests choose records.
    pub popularity: Popularity,
    /// Operations in a commit.
    pub batch: u64,
    /// Share of operations that write.
    pub writes: f64,
    /// Share of the writes that delete.
    pub deletes: f64,
    /// Share of operations that get.
    pub gets: f64,
    /// Share of the gets whose key does not exist.
    pub absent: f64,
    /// Share of operations that scan.
    pub scans: f64,
    /// Entries of a scan on average.
    pub scan_entries: f64,
}

impl Load {
    /// Overwrites of one record of 16 bytes of key and as many of value, one in a commit: what others are made from.
    pub fn overwrites(popularity: Popularity) -> Load {
        Load {
            records: 1,
            key_bytes: 16,
            shared_key_bytes: 0,
            bits_per_key_byte: 8.0,
            value_bytes: 16,
            popularity,
            batch: 1,
            writes: 1.0,
            deletes: 0.0,
            gets: 0.0,
            absent: 0.0,
            scans: 0.0,
            scan_entries: 0.0,
        }
    }

    /// Phase `index` of `spec`.
    ///
    /// # Errors
    /// Why there is no formula for it, in words that fit behind a colon.
    pub fn of(spec: &Spec, index: usize) -> Result<Load, String> {
        let phase = spec.phases.get(index).ok_or("there is no such phase")?;
        if spec.data.key.kind.is_ordered() {
            return Err("keys sort as records are numbered, and the formulas know scattered keys".to_owned());
        }
        let Sizes::Fixed { size } = spec.data.value.sizes else {
            return Err("values vary in size, and the formulas know one size".to_owned());
        };
        let share = |kind: OpKind| phase.ops.share(kind);
        if share(OpKind::DeleteRange) > 0.0 {
            return Err("there is no formula for deletes of ranges".to_owned());
        }
        let deletes = share(OpKind::Delete);
        let rewrites =
            share(OpKind::Put) + share(OpKind::Update) + share(OpKind::Insert) + share(OpKind::Rmw);
        let writes = rewrites + deletes;
        let gets = share(OpKind::Get) + share(OpKind::GetAbsent) + share(OpKind::Rmw);
        let over = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        Ok(Load {
            records: spec.records(),
            key_bytes: spec.data.key.kind.len_bytes() as u64,
            shared_key_bytes: spec.data.key.kind.shared_bytes() as u64,
            bits_per_key_byte: spec.data.key.kind.bits_per_byte(),
            value_bytes: u64::from(size),
            popularity: popularity(phase.dist)?,
            batch: 1,
            writes,
            deletes: over(deletes, writes),
            gets,
            absent: over(share(OpKind::GetAbsent), gets),
            scans: share(OpKind::Scan),
            scan_entries: phase.scan.lengths().mean(),
        })
    }

    /// r = k + v.
    pub fn record_bytes(&self) -> f64 {
        (self.key_bytes + self.value_bytes) as f64
    }

    /// User bytes of a write on average: k + v, and k of a delete.
    pub fn write_bytes(&self) -> f64 {
        self.key_bytes as f64 + self.value_bytes as f64 * (1.0 - self.deletes)
    }

    /// Bytes of log for each byte the user wrote: a frame of 32 bytes for a commit, 4 bytes for an operation, and zeros to
    /// the next multiple of 8. The 64 bytes of a sync are left out: commits that wait together share them.
    pub fn log_write_amplification(&self) -> f64 {
        let batch = self.batch.max(1) as f64;
        let body = batch * (self.write_bytes() + LOG_OP_BYTES);
        frame_len(body.round() as usize) as f64 / (batch * self.write_bytes())
    }
}

/// The popularity that `dist` comes to.
fn popularity(dist: Dist) -> Result<Popularity, String> {
    match dist {
        Dist::Uniform => Ok(Popularity::Uniform),
        Dist::Zipf { theta } => Ok(Popularity::Zipf { theta }),
        Dist::YcsbZipf => Ok(Popularity::YcsbZipf),
        Dist::Hotspot { data, ops } => Ok(Popularity::Hotspot { data, ops }),
        other => Err(format!("there is no formula for keys chosen as {}", other.name())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_costs_what_its_format_says() {
        let mut load = Load { value_bytes: 100, ..Load::overwrites(Popularity::Uniform) };
        assert!((load.log_write_amplification() - 152.0 / 116.0).abs() < 1e-12);
        load.batch = 1000;
        assert!((load.log_write_amplification() - 120_032.0 / 116_000.0).abs() < 1e-12);
    }

    #[test]
    fn a_phase_becomes_a_load_or_says_why_not() {
        let spec = workloads::ready::find("write-heavy").unwrap();
        let measured = spec.phases.iter().position(|phase| phase.kind.name() == "measure").unwrap();
        let load = Load::of(&spec, measured).unwrap();
        assert_eq!((load.records, load.key_bytes, load.value_bytes), (1_000_000, 16, 100));
        assert!((load.writes - 0.95).abs() < 1e-9 && (load.deletes - 0.05 / 0.95).abs() < 1e-9, "{load:?}");
        let spec = workloads::ready::find("time-series").unwrap();
        let measured = spec.phases.iter().position(|phase| phase.kind.name() == "measure").unwrap();
        assert!(Load::of(&spec, measured).unwrap_err().contains("scattered keys"));
    }
}
