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
    /// `read_bytes` of `/proc/PID/io`.
    pub proc_read: Worth,
    /// The device's own count of bytes written.
    pub device: Worth,
    /// The device's own count of bytes read.
    pub device_read: Worth,
    /// Bytes that a sync adds at the device beside the pages that hold the data: the file system's journal. `None` if
    /// the device cannot be believed.
    pub journal: Option<Journal>,
}

/// What a sync adds at the device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Journal {
    /// In a file that kept its length.
    pub in_place_bytes: f64,
    /// In a file that grew.
    pub growing_bytes: f64,
}

impl Trust {
    /// Decides from the probes.
    pub fn of(probes: &Probes) -> Trust {
        let noisy = probes.idle.map(|idle| idle.bytes_per_s()).filter(|rate| *rate > NOISE_MAX_BYTES_PER_S);
        let device = |probe: Option<&Counted>| match (probes.idle, probe) {
            (Some(_), Some(Counted { device_bytes: Some(counted), moved_bytes, .. })) => {
                let seen = worth(&[(*counted, *moved_bytes)]);
                noisy.map_or(seen, |bytes_per_s| Worth::Noisy { bytes_per_s })
            }
            _ => Worth::Absent,
        };
        let charged = |probes: &[&Counted]| {
            let pairs: Option<Vec<_>> =
                probes.iter().map(|probe| Some((probe.proc_bytes?, probe.moved_bytes))).collect();
            pairs.filter(|pairs| !pairs.is_empty()).map_or(Worth::Absent, |pairs| worth(&pairs))
        };
        let beyond = |probe: &Counted| {
            let beyond = probe.device_bytes?.saturating_sub(probe.moved_bytes);
            (probe.syncs > 0).then(|| beyond as f64 / probe.syncs as f64)
        };
        let written = device(Some(&probes.sequential));
        let journal = beyond(&probes.in_place).zip(beyond(&probes.append)).filter(|_| written.is_ok());
        Trust {
            // Each small write dirties one page of 4 KiB: what a counter says beyond that comes of large folios.
            proc_write: charged(&[&probes.sequential, &probes.rewrite]),
            proc_read: charged(&probes.read.iter().collect::<Vec<_>>()),
            device: written,
            device_read: device(probes.read.as_ref()),
            journal: journal.map(|(in_place_bytes, growing_bytes)| Journal { in_place_bytes, growing_bytes }),
        }
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
            idle: Some(Idle { read_bytes: 0, write_bytes: idle_bytes, ns: 1_000_000_000 }),
            sequential: Counted::of(64 << 20, Some(64 << 20), Some(64 << 20), 1),
            rewrite: Counted::of(500 * 4096, Some(500 * 4096), Some(500 * 4096), 1),
            append: Counted::of(1000 * 4096, Some(1000 * 4096), Some(2000 * 4096), 1000),
            in_place: Counted::of(100 * 4096, Some(100 * 4096), Some(101 * 4096), 100),
            read: Some(Counted::of(64 << 20, Some(64 << 20), Some(64 << 20), 0)),
            ..Probes::default()
        }
    }

    #[test]
    fn honest_counters_are_believed_and_the_journal_is_what_a_sync_adds() {
        let trust = Trust::of(&probes(0));
        assert!(
            [trust.proc_write, trust.proc_read, trust.device, trust.device_read].iter().all(Worth::is_ok)
        );
        assert_eq!(trust.journal, Some(Journal { in_place_bytes: 40.96, growing_bytes: 4096.0 }));
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
        assert_eq!(Trust::of(&probes(5_000_000)).journal, None);
        let mut seen = probes(0);
        seen.idle = None;
        seen.sequential.proc_bytes = None;
        seen.read = None;
        let trust = Trust::of(&seen);
        assert_eq!((trust.proc_read, trust.device_read), (Worth::Absent, Worth::Absent));
        assert_eq!((trust.device, trust.proc_write), (Worth::Absent, Worth::Absent));
        seen = probes(0);
        seen.sequential.device_bytes = Some(32 << 20);
        assert_eq!(Trust::of(&seen).device, Worth::Blind { times: 0.5 });
    }
}
