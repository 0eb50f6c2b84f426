//! Calibration: what this machine's counters are worth, and what its device can do. A few seconds of probes on the file
//! system that will hold the data, once a day, because a counter that was right on another machine may be wrong
//! by 150 times here (large folios, neighbours on a shared device, file systems without a device).
//!
//! | file | what it does |
//! |---|---|
//! | `device.rs` | the block device behind a directory and its counters |
//! | `probes.rs` | writes, syncs and reads with known bytes, and what each counter said of them |
//! | `trust.rs` | decides from the probes which counter may be believed |
//! | `cache.rs` | keeps the outcome for the rest of the day |

pub mod cache;
pub mod device;
pub mod probes;
pub mod trust;

use std::path::Path;

use crate::error::Result;
use crate::sys::interrupt::Interrupt;

use device::Device;
use probes::Probes;
use trust::Trust;

/// What was found out about a machine and one of its file systems.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Calibration {
    /// The device, or why there is none to see.
    pub device: Device,
    /// What was measured.
    pub probes: Probes,
    /// What follows from it.
    pub trust: Trust,
    /// True if taken earlier the same day.
    #[serde(default)]
    pub cached: bool,
}

/// Calibrates the file system of `dir`, or takes what the same day's calibration of it found. Writes at most 100 MiB to
/// a folder of its own below `dir`, removed again; about 5 s.
///
/// # Errors
/// The folder cannot be written.
pub fn calibrate(dir: &Path, interrupt: &Interrupt) -> Result<Calibration> {
    let device = Device::of(dir);
    if let Some(known) = cache::read(&device) {
        return Ok(Calibration { cached: true, ..known });
    }
    let probes = probes::take(dir, &device, interrupt)?;
    let trust = Trust::of(&probes);
    let found = Calibration { device, probes, trust, cached: false };
    if !interrupt.is_set() {
        cache::write(&found);
    }
    Ok(found)
}
