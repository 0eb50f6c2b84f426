//! Requests recorded on any engine (`record.rs`) and sent to any other (`replay.rs`). The file is that of
//! [`workloads::trace`].

use std::io::BufReader;
use std::path::Path;

use workloads::trace::{TraceError, TraceReader};

use crate::sys::proc::OwnInput;

pub mod record;
pub mod replay;

pub use record::RecordingKv;
pub use replay::{Model, ReplayError, Replayed, replay};

/// A trace in a file.
pub type TraceFile = TraceReader<BufReader<OwnInput>>;

/// Opens the trace at `path`.
///
/// # Errors
/// The file cannot be read, or is no trace.
pub fn open(path: &Path) -> Result<TraceFile, TraceError> {
    TraceReader::new(BufReader::new(OwnInput::open(path).map_err(TraceError::Io)?))
}

/// The times at which the requests of the trace at `path` were sent, in nanoseconds since the first of them, ascending.
/// Reads the trace to its end, so that any damage is found.
///
/// # Errors
/// The trace cannot be read or is damaged.
pub fn times_ns(path: &Path) -> Result<Vec<u64>, TraceError> {
    let times: Vec<u64> =
        open(path)?.map(|request| request.map(|request| request.at_ns)).collect::<Result<_, _>>()?;
    let first = times.first().copied().unwrap_or(0);
    Ok(times.into_iter().map(|ns| ns - first).collect())
}

#[cfg(test)]
mod tests;
