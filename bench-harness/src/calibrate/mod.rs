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

/// When a run calibrates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum When {
    /// Once a day for each file system.
    #[default]
    Daily,
    /// At the start of this run, whatever is known.
    Now,
    /// Not at all: nothing is checked against the device.
    Never,
}

/// Calibrates the file system of `dir`, or takes what the same day's calibration of it found. Writes at most 100 MiB to
/// a folder of its own below `dir`, removed again; about 6 s. `None` if it shall not, or the user interrupted.
///
/// # Errors
/// The folder cannot be written.
pub fn calibrate(dir: &Path, when: When, interrupt: &Interrupt) -> Result<Option<Calibration>> {
    if when == When::Never {
        return Ok(None);
    }
    let source = Source::of(dir);
    if let Some(known) = cache::read(&source).filter(|_| when == When::Daily) {
        return Ok(Some(Calibration { cached: true, ..known }));
    }
    let probes = probes::take(dir, &source, interrupt)?;
    if interrupt.is_set() {
        return Ok(None);
    }
    let trust = Trust::of(&probes);
    let found = Calibration { source, probes, trust, cached: false };
    cache::write(&found);
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_want_it_or_stops_it_gets_none() {
        let dir = tempfile::tempdir().unwrap();
        let none = Interrupt::default();
        assert_eq!(calibrate(dir.path(), When::Never, &none).unwrap(), None);
        assert_eq!(calibrate(dir.path(), When::Now, &Interrupt::asked()).unwrap(), None);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
    }
}
