//! Calibration: what this machine's counters are worth, and what its device can do. A few seconds of probes on the file
//! system that will hold the data, once a day, because a counter that was right on another machine may be wrong
//! by 150 times here (large folios, neighbours on a shared device, file systems without a device).
//!
//! | file | what it does |
//! |---|---|
//! | `source.rs` | where the data lies, and the counters of its device |
//! | `probes.rs` | writes, syncs and reads with known bytes, and what each counter said of them |
//! | `trust.rs` | decides from the probes which counter may be believed |
//! | `cache.rs` | keeps the outcome for the rest of the day |

pub mod cache;
pub mod probes;
pub mod source;
pub mod trust;

use std::path::Path;

use crate::error::Result;
use crate::sys::interrupt::Interrupt;

use probes::Probes;
use source::Source;
use trust::Trust;

/// What was found out about a machine and one of its file systems.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Calibration {
    /// Where the data lies.
    pub source: Source,
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
    let source = Source::of(dir);
    if let Some(known) = cache::read(&source) {
        return Ok(Calibration { cached: true, ..known });
    }
    let probes = probes::take(dir, &source, interrupt)?;
    let trust = Trust::of(&probes);
    let found = Calibration { source, probes, trust, cached: false };
    if !interrupt.is_set() {
        cache::write(&found);
    }
    Ok(found)
}
