//! What a device does, from a calibration. What was not measured is unknown, and binds nothing.

use crate::calibrate::probes::{Probes, Rate};

/// Bytes of the blocks that a calibration reads and writes anywhere.
const BLOCK_BYTES: f64 = 4096.0;
/// Requests under way in the probes of a calibration: few and many.
const DEPTH_FEW: f64 = 1.0;

/// Rates of a device; `None`: unknown.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Device {
    /// Bytes a second written front to back, the better of few and many requests under way.
    pub write_bytes_per_s: Option<f64>,
    /// Bytes a second written in blocks of 4 KiB anywhere, many under way.
    pub random_write_bytes_per_s: Option<f64>,
    /// Bytes a second read front to back.
    pub read_bytes_per_s: Option<f64>,
    /// Blocks of 4 KiB a second read from anywhere: one, and many under way.
    pub read_iops: [Option<f64>; 2],
    /// Syncs a second of a log that grows.
    pub syncs_per_s: Option<f64>,
}

impl Device {
    /// What `probes` saw.
    pub fn of(probes: &Probes) -> Device {
        let rates = |writes: bool, sequential: bool| {
            let own = probes
                .rates
                .iter()
                .filter(move |rate| (rate.writes, rate.sequential) == (writes, sequential));
            own.filter(|rate| rate.per_second > 0.0)
        };
        let most = |writes: bool, sequential: bool| {
            rates(writes, sequential).map(Rate::bytes_per_s).max_by(f64::total_cmp)
        };
        let reads = |is_few: bool| {
            let found = rates(false, false).find(|rate| (rate.depth as f64 <= DEPTH_FEW) == is_few);
            found.map(|rate| rate.per_second)
        };
        Device {
            write_bytes_per_s: most(true, true),
            random_write_bytes_per_s: most(true, false),
            read_bytes_per_s: most(false, true),
            read_iops: [reads(true), reads(false)],
            syncs_per_s: (probes.sync_p50_ns > 0).then(|| 1e9 / probes.sync_p50_ns as f64),
        }
    }

    /// Bytes a second that the device takes front to back, or in blocks of `block_bytes` anywhere. Larger blocks come
    /// closer to the rate of bytes in order: the time of a block is that of a small one and of the bytes beyond.
    pub fn write_bytes_per_s(&self, is_ordered: bool, block_bytes: f64) -> Option<f64> {
        if is_ordered {
            return self.write_bytes_per_s;
        }
        let small = self.random_write_bytes_per_s? / BLOCK_BYTES;
        Some(block_bytes * blocks_per_s(small, self.write_bytes_per_s, block_bytes))
    }

    /// Blocks of `block_bytes` a second that the device gives from anywhere to so many threads.
    pub fn reads_per_s(&self, block_bytes: f64, threads: f64) -> Option<f64> {
        let [few, many] = self.read_iops;
        let few = few?;
        // Threads are served side by side until the device has no more.
        let small = (few * threads.max(1.0)).min(many.unwrap_or(few).max(few));
        Some(blocks_per_s(small, self.read_bytes_per_s, block_bytes))
    }
}

/// Blocks a second when a small one takes 1 / `small` seconds and the bytes beyond it come in order.
fn blocks_per_s(small: f64, bytes_per_s: Option<f64>, block_bytes: f64) -> f64 {
    let beyond = (block_bytes - BLOCK_BYTES).max(0.0);
    1.0 / (1.0 / small + bytes_per_s.map_or(0.0, |rate| beyond / rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_come_from_the_probes_and_larger_blocks_take_longer() {
        let rate = |writes, sequential, request_bytes, depth, per_second| Rate {
            writes,
            sequential,
            request_bytes,
            depth,
            per_second,
        };
        let probes = Probes {
            sync_p50_ns: 2_000_000,
            rates: vec![
                rate(false, false, 4096, 1, 10_000.0),
                rate(false, false, 4096, 32, 100_000.0),
                rate(false, true, 1 << 20, 1, 400.0),
                rate(true, true, 1 << 20, 1, 200.0),
                rate(true, false, 4096, 32, 30_000.0),
            ],
            ..Probes::default()
        };
        let device = Device::of(&probes);
        assert_eq!(device.read_iops, [Some(10_000.0), Some(100_000.0)]);
        let blocks = |threads: f64| device.reads_per_s(4096.0, threads).unwrap().round();
        assert_eq!((blocks(1.0), blocks(4.0), blocks(64.0)), (1e4, 4e4, 1e5));
        let large = device.reads_per_s(16_384.0, 1.0).unwrap();
        assert!(large < 1e4 && large > 0.7e4, "{large}");
        assert_eq!(device.write_bytes_per_s(true, 4096.0), Some(200.0 * f64::from(1 << 20)));
        assert_eq!(device.write_bytes_per_s(false, 4096.0).map(f64::round), Some(30_000.0 * 4096.0));
        assert_eq!(device.syncs_per_s, Some(500.0));
        assert_eq!(Device::of(&Probes::default()), Device::default());
    }
}
