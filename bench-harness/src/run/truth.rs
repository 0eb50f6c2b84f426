//! What the device and the kernel counted while a cell ran, to set against the engine's own count. Everything is synced
//! before a counter is read: a dirty page in memory has not reached the device.

use std::path::Path;
use std::time::Instant;

use kv_api::Kv;
use kv_api::stats::IoTotal;
use workloads::Spec;

use crate::calibrate::probes::{Idle, idle};
use crate::calibrate::source::{DeviceIo, Source};
use crate::calibrate::trust::Trust;
use crate::sys::disk;
use crate::sys::proc::{self, Charged};

/// A workload that gives less to the engine, in bytes, does not make it write what it takes to tell: the device is not
/// watched then, which takes time.
const PLANNED_LEAST_BYTES: u64 = 32 << 20;
/// A phase without a count that lasts so long, in seconds, may write any amount.
const LONG_S: f64 = 10.0;
/// How often the counters are read again while the engine still writes.
const LOOKS_MAX: u32 = 5;

/// What moved while a cell ran, by everybody who counted it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeviceSeen {
    /// The device: everything that moved, whoever moved it.
    pub device: DeviceIo,
    /// What the kernel charged this process for.
    pub charged: Option<Charged>,
    /// The engine's count; `None` if it has none.
    pub metered: Option<IoTotal>,
    /// Syncs that the engine asked for; `None` if it does not count them.
    pub syncs: Option<u64>,
    /// The device before the run.
    pub idle_before: Idle,
    /// The device after it.
    pub idle_after: Idle,
    /// From the first reading to the last, in nanoseconds.
    pub ns: u64,
}

/// Why the device was not watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotSeen {
    /// There is nothing to see.
    Nothing(String),
    /// There may be, and nobody can see it here.
    Blind(String),
}

/// The device, being watched.
#[derive(Debug)]
pub struct DeviceWatch {
    source: Source,
    device: DeviceIo,
    charged: Option<Charged>,
    idle: Idle,
    at: Instant,
}

impl DeviceWatch {
    /// Syncs the file system of `dir`, watches the device for a moment, and reads every counter.
    ///
    /// # Errors
    /// Why that would be of no use.
    pub fn begin(dir: &Path, spec: &Spec, trust: Option<&Trust>) -> Result<DeviceWatch, NotSeen> {
        if trust.is_none() {
            return Err(NotSeen::Blind("not calibrated".to_owned()));
        }
        if !may_write_enough(spec) {
            return Err(NotSeen::Nothing("the workload writes too little to tell".to_owned()));
        }
        let source = Source::of(dir);
        let blind = || NotSeen::Blind("the counters of the device cannot be seen".to_owned());
        sync(dir)?;
        let idle = idle(&source).ok_or_else(blind)?;
        let device = source.io().ok_or_else(blind)?;
        Ok(DeviceWatch { source, device, charged: proc::charged(), idle, at: Instant::now() })
    }

    /// Syncs again, reads every counter, and watches the device for another moment.
    ///
    /// # Errors
    /// Why the numbers are of no use.
    pub fn end(self, dir: &Path, engine: &dyn Kv) -> Result<DeviceSeen, NotSeen> {
        let blind = |why: &str| NotSeen::Blind(why.to_owned());
        if disk::size(dir).files == 0 {
            return Err(NotSeen::Nothing("the engine has no files".to_owned()));
        }
        engine.sync().map_err(|error| blind(&format!("no final sync: {error}")))?;
        for _ in 0..LOOKS_MAX {
            let before = engine.stats();
            sync(dir)?;
            let (device, charged, at) = (self.source.io(), proc::charged(), Instant::now());
            let idle_after = idle(&self.source);
            // What a background thread wrote meanwhile is in one count and not in the other.
            if engine.stats().io_total != before.io_total {
                continue;
            }
            let (Some(device), Some(idle_after)) = (device, idle_after) else {
                return Err(blind("the counters of the device cannot be seen any more"));
            };
            return Ok(DeviceSeen {
                device: device.since(self.device),
                charged: charged.zip(self.charged).map(|(new, old)| new.since(old)),
                metered: before.io_total,
                syncs: before.io.map(|io| io.total().sync_calls),
                idle_before: self.idle,
                idle_after,
                ns: u64::try_from((at - self.at).as_nanos()).unwrap_or(u64::MAX),
            });
        }
        Err(blind("the engine did not come to rest"))
    }
}

/// Every dirty page of the file system that holds `dir` goes to the device, and its journal.
fn sync(dir: &Path) -> Result<(), NotSeen> {
    let synced = std::fs::File::open(dir).and_then(|dir| Ok(rustix::fs::syncfs(dir)?));
    synced.map_err(|error| NotSeen::Blind(format!("the file system cannot be synced: {error}")))
}

fn may_write_enough(spec: &Spec) -> bool {
    let ops = |until: &workloads::spec::Until| until.ops.map_or(0, |ops| spec.count(ops));
    let planned: u64 = spec.phases.iter().map(|phase| ops(&phase.until)).sum();
    let planned = spec.data_bytes().saturating_add(planned.saturating_mul(spec.data.entry_bytes()));
    let is_long = spec.phases.iter().any(|phase| {
        phase.kind.has_ops() && phase.until.ops.is_none() && phase.until.s.is_some_and(|s| s >= LONG_S)
    });
    planned >= PLANNED_LEAST_BYTES || is_long
}
