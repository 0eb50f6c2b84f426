//! Which counter may be believed on this machine. Pure: decided from what the probes saw.

use super::probes::{Counted, Probes};

/// A counter within this of the bytes that are known to have moved is right.
const RIGHT: (f64, f64) = (0.9, 1.2);
/// Bytes per second on an idle device above which it has neighbours.
const NOISE_MAX_BYTES_PER_S: f64 = 1_000_000.0;

/// What a counter is worth.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Worth {
    /// It says what moved.
    Ok,
    /// It says so many times what moved, at worst.
    Inflated {
        /// Counted over moved.
        times: f64,
    },
    /// It says less than what moved: so many times, at worst.
    Blind {
        /// Counted over moved.
        times: f64,
    },
    /// Others move bytes too: so many a second while nothing ran here.
    Noisy {
        /// Bytes per second.
        bytes_per_s: f64,
    },
    /// There is none.
    Absent,
}

impl Worth {
    /// The word for tables, with its figure.
    pub fn words(&self) -> String {
        match self {
            Worth::Ok => "ok".to_owned(),
            Worth::Inflated { times } => format!("inflated x{times:.1}"),
            Worth::Blind { times } => format!("sees x{times:.2}"),
            Worth::Noisy { bytes_per_s } => {
                format!("noisy, {}/s idle", crate::units::bytes(*bytes_per_s as u64))
            }
            Worth::Absent => "absent".to_owned(),
        }
    }

    /// True if numbers from it may be compared with exact ones.
    pub fn is_ok(&self) -> bool {
        *self == Worth::Ok
    }
}

/// What the counters of a machine are worth.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Trust {
    /// `write_bytes` of `/proc/PID/io`.
    pub proc_write: Worth,
    /// The device's own counters.
    pub device: Worth,
    /// Bytes that a sync adds at the device beside the page that holds the data: the file system's journal. `None` if the
    /// device cannot be believed.
    pub journal_bytes_per_sync: Option<f64>,
}

impl Trust {
    /// Decides from the probes.
    pub fn of(probes: &Probes) -> Trust {
        let device = match (&probes.idle, probes.sequential.device_bytes) {
            (None, _) | (_, None) => Worth::Absent,
            (Some(idle), _) if idle.bytes_per_s() > NOISE_MAX_BYTES_PER_S => {
                Worth::Noisy { bytes_per_s: idle.bytes_per_s() }
            }
            (_, Some(counted)) => worth(&[(counted, probes.sequential.moved_bytes)]),
        };
        // Each small write dirties one page of 4 KiB: what a counter says beyond that comes of large folios.
        let charged = [&probes.sequential, &probes.rewrite];
        let pairs: Option<Vec<_>> =
            charged.iter().map(|probe| Some((probe.proc_bytes?, probe.moved_bytes))).collect();
        let proc_write = pairs.map_or(Worth::Absent, |pairs| worth(&pairs));
        let journal_bytes_per_sync = probes.append.device_bytes.filter(|_| device.is_ok()).map(|counted| {
            let beyond = counted.saturating_sub(probes.append.moved_bytes);
            beyond as f64 / probes.append.syncs.max(1) as f64
        });
        Trust { proc_write, device, journal_bytes_per_sync }
    }
}

/// Judges a counter by the probe that it got most wrong.
fn worth(pairs: &[(u64, u64)]) -> Worth {
    let times = pairs.iter().map(|(counted, moved)| *counted as f64 / (*moved).max(1) as f64);
    let (low, high) = times.fold((f64::INFINITY, 0.0_f64), |(low, high), at| (low.min(at), high.max(at)));
    if high > RIGHT.1 {
        Worth::Inflated { times: high }
    } else if low < RIGHT.0 {
        Worth::Blind { times: low }
    } else {
        Worth::Ok
    }
}

impl Counted {
    /// A probe that moved `moved_bytes`, for tests.
    #[cfg(test)]
    pub fn of(moved_bytes: u64, proc_bytes: Option<u64>, device_bytes: Option<u64>, syncs: u64) -> Counted {
        Counted { moved_bytes, proc_bytes, device_bytes, syncs, ..Counted::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::probes::Idle;
    use super::*;

    fn probes(idle_bytes: u64) -> Probes {
        Probes {
            idle: Some(Idle { bytes: idle_bytes, ns: 1_000_000_000 }),
            sequential: Counted::of(64 << 20, Some(64 << 20), Some(64 << 20), 1),
            rewrite: Counted::of(500 * 4096, Some(500 * 4096), Some(500 * 4096), 1),
            append: Counted::of(1000 * 4096, Some(1000 * 4096), Some(2000 * 4096), 1000),
            ..Probes::default()
        }
    }

    #[test]
    fn honest_counters_are_believed_and_the_journal_is_what_a_sync_adds() {
        let trust = Trust::of(&probes(0));
        assert!(trust.proc_write.is_ok() && trust.device.is_ok());
        assert_eq!(trust.journal_bytes_per_sync, Some(4096.0));
    }

    #[test]
    fn large_folios_inflate_and_are_found_by_the_rewrite() {
        let mut seen = probes(0);
        seen.rewrite.proc_bytes = Some(64 << 20);
        let Worth::Inflated { times } = Trust::of(&seen).proc_write else { panic!("inflated") };
        assert!((times - 32.768).abs() < 1e-3);
    }

    #[test]
    fn neighbours_and_missing_counters_are_told() {
        assert_eq!(Trust::of(&probes(5_000_000)).device, Worth::Noisy { bytes_per_s: 5_000_000.0 });
        assert_eq!(Trust::of(&probes(5_000_000)).journal_bytes_per_sync, None);
        let mut seen = probes(0);
        seen.idle = None;
        seen.sequential.proc_bytes = None;
        let trust = Trust::of(&seen);
        assert_eq!((trust.device, trust.proc_write), (Worth::Absent, Worth::Absent));
        seen = probes(0);
        seen.sequential.device_bytes = Some(32 << 20);
        assert_eq!(Trust::of(&seen).device, Worth::Blind { times: 0.5 });
    }
}
