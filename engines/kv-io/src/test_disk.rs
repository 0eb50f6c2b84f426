//! A simulated disk with a meter, for the unit tests of the log: damage to files, counts of calls.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use kv_api::Cause;
use kv_api::stats::IoCounters;

use crate::meter::{Meter, MeteredVfs};
use crate::sim::{CrashPolicy, SimVfs};
use crate::vfs::{OpenOptions, Vfs, read_exact_at};
use crate::wal::LogPlace;

/// The directory of the log.
const DIR: &str = "db";

pub struct TestDisk {
    pub sim: Arc<SimVfs>,
    pub place: LogPlace,
    meter: Arc<Meter>,
}

impl TestDisk {
    pub fn new() -> TestDisk {
        TestDisk::over(SimVfs::new(1))
    }

    pub fn over(sim: Arc<SimVfs>) -> TestDisk {
        let (vfs, meter) = MeteredVfs::new(Arc::clone(&sim) as _);
        vfs.create_dir(Path::new(DIR), Cause::Identity).unwrap();
        vfs.sync_dir(Path::new("."), Cause::Identity).unwrap();
        TestDisk { sim, place: LogPlace { vfs, dir: DIR.into(), salt: 42 }, meter }
    }

    /// The same files with nothing shared.
    pub fn copy(&self) -> TestDisk {
        TestDisk::over(self.sim.crash(CrashPolicy::KeepAll))
    }

    /// What was counted for `cause`.
    pub fn counted(&self, cause: Cause) -> IoCounters {
        self.meter.stats().of(cause)
    }

    pub fn names(&self) -> Vec<String> {
        let entries = self.sim.list(Path::new(DIR), Cause::Verify).unwrap();
        let mut names: Vec<_> = entries.into_iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        names
    }

    pub fn len_of(&self, name: &str) -> u64 {
        self.sim.open(&Path::new(DIR).join(name), OpenOptions::READ, Cause::Verify).unwrap().len().unwrap()
    }

    /// Changes the bytes of a file.
    pub fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let file = self.sim.open(&Path::new(DIR).join(name), OpenOptions::WRITE, Cause::Verify).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        read_exact_at(&*file, 0, &mut bytes, Cause::Verify).unwrap();
        edit(&mut bytes);
        file.set_len(bytes.len() as u64, Cause::Verify).unwrap();
        file.write_at(0, &[IoSlice::new(&bytes)], Cause::Verify).unwrap();
    }

    pub fn remove(&self, name: &str) {
        self.sim.remove(&Path::new(DIR).join(name), Cause::Verify).unwrap();
    }

    /// No file may grow any more.
    pub fn fill(&self) {
        self.sim.faults().limit_space(self.sim.used_bytes(), crate::sim::Repeat::Forever);
    }
}
