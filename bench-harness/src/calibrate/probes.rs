//! The probes: known bytes go to the file system, and every counter is asked what it saw of them. Together about 6 s and
//! 64 MiB. Counters are read only when what a probe moved is at the device.
//!
//! Each probe that writes ends with a sync. A sync of a file that grew makes the file system write its journal, one of a
//! page that was there already mostly does not: `append` and `in_place` tell how much of each.

use std::fs;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use kv_api::Cause;
use kv_io::aligned::AlignedBuf;
use kv_io::os::RealVfs;
use kv_io::vfs::{OpenOptions, VfsFile};

use super::source::{DeviceIo, Source};
use crate::error::{Failure, Result};
use crate::stats::{ratio::median, rng};
use crate::sys::interrupt::Interrupt;
use crate::sys::proc::{self, Charged};

const FILE_BYTES: usize = 64 << 20;
const CHUNK_BYTES: usize = 1 << 20;
const PAGE_BYTES: usize = 4096;
const SMALL_BYTES: usize = 100;
const APPENDS_MAX: u64 = 1000;
const APPENDS_TIME: Duration = Duration::from_millis(1500);
const REWRITES: u64 = 500;
const IN_PLACE_MAX: u64 = 300;
const IN_PLACE_TIME: Duration = Duration::from_millis(500);
const IDLE_TIME: Duration = Duration::from_millis(700);
const RATE_TIME: Duration = Duration::from_millis(300);
const DEPTHS: [usize; 2] = [1, 32];
/// The probes' stream of chance.
const SEED: u64 = 0x6b76_6c61_6200_0002;
/// What the probes' calls are called in the file layer, which does not count them.
const CAUSE: Cause = Cause::Verify;

/// What the probes saw.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Probes {
    /// The device while nothing ran here; `None` without a device to see.
    pub idle: Option<Idle>,
    /// 64 MiB written front to back in 1 MiB calls, one sync.
    pub sequential: Counted,
    /// 500 writes of 100 bytes to as many pages of that file, which the page cache holds in large pieces, one sync.
    pub rewrite: Counted,
    /// Appends of 100 bytes, each with a sync: what a commit costs in a file that grows.
    pub append: Counted,
    /// 100 bytes written to one page of a file that has it already, each with a sync.
    pub in_place: Counted,
    /// The 64 MiB read again in 1 MiB calls, past the page cache; `None` where there is no direct I/O.
    pub read: Option<Counted>,
    /// Time of each of those syncs: the median, in nanoseconds.
    pub sync_p50_ns: u64,
    /// Of 100 syncs, 99 were faster, in nanoseconds.
    pub sync_p99_ns: u64,
    /// What the device does past the page cache, or with it where there is no direct I/O.
    pub rates: Vec<Rate>,
    /// True if the rates were measured past the page cache.
    pub rates_are_direct: bool,
    /// Nanoseconds of a fixed piece of arithmetic, the median of five: the clock speed, to compare moments by.
    pub clock_ns: u64,
}

/// A probe that moved known bytes, and what the counters said.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counted {
    /// Bytes in whole pages that had to pass between file system and device.
    pub moved_bytes: u64,
    /// Bytes given to write or read calls.
    pub called_bytes: u64,
    /// Syncs.
    pub syncs: u64,
    /// What `write_bytes`, or `read_bytes`, of `/proc/self/io` says; `None` where the kernel does not tell.
    pub proc_bytes: Option<u64>,
    /// What the device says; `None` without a device to see.
    pub device_bytes: Option<u64>,
    /// Wall time in nanoseconds.
    pub ns: u64,
}

/// The device while nothing ran here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Idle {
    /// Bytes that it read all the same.
    pub read_bytes: u64,
    /// Bytes that it wrote.
    pub write_bytes: u64,
    /// For how long it was watched, in nanoseconds.
    pub ns: u64,
}

/// A rate of the device.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Rate {
    /// Writes or reads.
    pub writes: bool,
    /// Front to back, or anywhere.
    pub sequential: bool,
    /// Bytes of a request.
    pub request_bytes: u64,
    /// Requests under way at a time.
    pub depth: usize,
    /// Requests a second.
    pub per_second: f64,
}

impl Idle {
    /// Bytes a second, read and written.
    pub fn bytes_per_s(&self) -> f64 {
        (self.read_bytes + self.write_bytes) as f64 * 1e9 / self.ns.max(1) as f64
    }
}

impl Rate {
    /// Bytes a second.
    pub fn bytes_per_s(&self) -> f64 {
        self.per_second * self.request_bytes as f64
    }
}

/// Takes all probes in a folder below `dir`, which is removed again.
///
/// # Errors
/// The folder or a file in it cannot be written.
pub fn take(dir: &Path, source: &Source, interrupt: &Interrupt) -> Result<Probes> {
    let bench = Bench::new(dir, source)?;
    let mut probes = Probes { clock_ns: clock_ns(), idle: idle(source), ..Probes::default() };
    let file = bench.create("data")?;
    probes.sequential = bench.sequential(&*file)?;
    probes.rewrite = bench.rewrite(&*file)?;
    if interrupt.is_set() {
        return Ok(probes);
    }
    (probes.append, probes.sync_p50_ns, probes.sync_p99_ns) = bench.append()?;
    probes.in_place = bench.in_place(&*file)?;
    drop(file);
    let file = bench.reopen("data")?;
    probes.rates_are_direct = file.align() > 1;
    if probes.rates_are_direct {
        probes.read = Some(bench.read(&*file)?);
    }
    for writes in [false, true] {
        for (sequential, request_bytes) in [(true, CHUNK_BYTES), (false, PAGE_BYTES)] {
            for depth in DEPTHS {
                if !interrupt.is_set() {
                    probes.rates.push(rate(&file, writes, sequential, request_bytes, depth)?);
                }
            }
        }
    }
    Ok(probes)
}

/// The time of a fixed piece of arithmetic in nanoseconds, the median of five: 2^20 dependent steps.
pub fn clock_ns() -> u64 {
    let once = |round: u64| {
        let start = Instant::now();
        let word = (0..1_u64 << 20).fold(round, |word, _| workloads::rng::mix64(word));
        std::hint::black_box(word);
        start.elapsed().as_nanos() as f64
    };
    median(&[once(1), once(2), once(3), once(4), once(5)]).unwrap_or(0.0) as u64
}

/// Watches the device while this process does nothing.
pub fn idle(source: &Source) -> Option<Idle> {
    let before = source.io()?;
    let start = Instant::now();
    thread::sleep(IDLE_TIME);
    let moved = source.io()?.since(before);
    Some(Idle { read_bytes: moved.read_bytes, write_bytes: moved.write_bytes, ns: elapsed_ns(start) })
}

fn elapsed_ns(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// The folder of the probes.
struct Bench<'a> {
    dir: PathBuf,
    source: &'a Source,
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        // What is left behind is named as a leftover at the next start.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Every counter at one moment.
struct Seen {
    charged: Option<Charged>,
    device: Option<DeviceIo>,
    at: Instant,
}

impl<'a> Bench<'a> {
    fn new(dir: &Path, source: &'a Source) -> Result<Bench<'a>> {
        let dir = dir.join(format!("calibration-{}", std::process::id()));
        fs::create_dir_all(&dir).map_err(|error| Failure::io("create the directory", &dir, &error))?;
        Ok(Bench { dir, source })
    }

    fn create(&self, name: &str) -> Result<Arc<dyn VfsFile>> {
        Ok(RealVfs::new().open(&self.dir.join(name), OpenOptions::NEW, CAUSE)?)
    }

    fn reopen(&self, name: &str) -> Result<Arc<dyn VfsFile>> {
        Ok(RealVfs::new().open(&self.dir.join(name), OpenOptions::WRITE.with_direct(true), CAUSE)?)
    }

    fn look(&self) -> Seen {
        Seen { charged: proc::charged(), device: self.source.io(), at: Instant::now() }
    }

    /// What a probe that wrote moved since `before`.
    fn counted(&self, before: &Seen, moved_bytes: u64, called_bytes: u64, syncs: u64) -> Counted {
        let after = self.look();
        let charged = after.charged.zip(before.charged).map(|(new, old)| new.since(old).write_bytes);
        let device = after.device.zip(before.device).map(|(new, old)| new.since(old).write_bytes);
        let ns = u64::try_from((after.at - before.at).as_nanos()).unwrap_or(u64::MAX);
        Counted { moved_bytes, called_bytes, syncs, proc_bytes: charged, device_bytes: device, ns }
    }

    fn read(&self, file: &dyn VfsFile) -> Result<Counted> {
        let mut buffer = noise(3, CHUNK_BYTES);
        let before = self.look();
        for chunk in 0..FILE_BYTES / CHUNK_BYTES {
            file.read_at((chunk * CHUNK_BYTES) as u64, &mut buffer, CAUSE)?;
        }
        let after = self.look();
        let written = self.counted(&before, FILE_BYTES as u64, FILE_BYTES as u64, 0);
        let charged = after.charged.zip(before.charged).map(|(new, old)| new.since(old).read_bytes);
        let device = after.device.zip(before.device).map(|(new, old)| new.since(old).read_bytes);
        Ok(Counted { proc_bytes: charged, device_bytes: device, ..written })
    }

    fn in_place(&self, file: &dyn VfsFile) -> Result<Counted> {
        let bytes = noise(4, SMALL_BYTES);
        file.sync_all(CAUSE)?;
        let (before, start) = (self.look(), Instant::now());
        let mut syncs = 0;
        while syncs < IN_PLACE_MAX && start.elapsed() < IN_PLACE_TIME {
            file.write_at(0, &[IoSlice::new(&bytes)], CAUSE)?;
            file.sync_data(CAUSE)?;
            syncs += 1;
        }
        Ok(self.counted(&before, syncs * PAGE_BYTES as u64, syncs * SMALL_BYTES as u64, syncs))
    }

    fn sequential(&self, file: &dyn VfsFile) -> Result<Counted> {
        let before = self.look();
        for chunk in 0..FILE_BYTES / CHUNK_BYTES {
            let bytes = noise(chunk as u64, CHUNK_BYTES);
            file.write_at((chunk * CHUNK_BYTES) as u64, &[IoSlice::new(&bytes)], CAUSE)?;
        }
        file.sync_data(CAUSE)?;
        Ok(self.counted(&before, FILE_BYTES as u64, FILE_BYTES as u64, 1))
    }

    fn rewrite(&self, file: &dyn VfsFile) -> Result<Counted> {
        let bytes = noise(1, SMALL_BYTES);
        let pages = rng::permutation(SEED, FILE_BYTES / PAGE_BYTES);
        let before = self.look();
        for page in pages.iter().take(REWRITES as usize) {
            file.write_at((page * PAGE_BYTES) as u64, &[IoSlice::new(&bytes)], CAUSE)?;
        }
        file.sync_data(CAUSE)?;
        Ok(self.counted(&before, REWRITES * PAGE_BYTES as u64, REWRITES * SMALL_BYTES as u64, 1))
    }

    fn append(&self) -> Result<(Counted, u64, u64)> {
        let file = self.create("log")?;
        let bytes = noise(2, SMALL_BYTES);
        let (before, start) = (self.look(), Instant::now());
        let mut times = Vec::new();
        for index in 0..APPENDS_MAX {
            file.write_at(index * SMALL_BYTES as u64, &[IoSlice::new(&bytes)], CAUSE)?;
            let synced = Instant::now();
            file.sync_data(CAUSE)?;
            times.push(elapsed_ns(synced));
            if start.elapsed() > APPENDS_TIME {
                break;
            }
        }
        let syncs = times.len() as u64;
        let counted = self.counted(&before, syncs * PAGE_BYTES as u64, syncs * SMALL_BYTES as u64, syncs);
        times.sort_unstable();
        let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or(0);
        Ok((counted, at(0.5), at(0.99)))
    }
}

/// Bytes that no device can compress or leave out.
fn noise(stream: u64, len: usize) -> AlignedBuf {
    let mut out = AlignedBuf::zeroed(len);
    for (index, place) in out.chunks_mut(8).enumerate() {
        let word = rng::word(SEED ^ stream, index as u64).to_le_bytes();
        place.copy_from_slice(&word[..place.len()]);
    }
    out
}

/// Requests a second with `depth` threads that each wait for one request at a time. Writes end with a sync in the time.
fn rate(
    file: &Arc<dyn VfsFile>,
    writes: bool,
    sequential: bool,
    request_bytes: usize,
    depth: usize,
) -> Result<Rate> {
    let places = (FILE_BYTES / request_bytes) as u64;
    let start = Instant::now();
    let work = |worker: u64| -> kv_api::Result<u64> {
        let mut buffer = noise(worker, request_bytes);
        let mut done = 0;
        while start.elapsed() < RATE_TIME {
            // Front to back each worker has a share of its own.
            let place = if sequential {
                (worker * places / depth as u64 + done) % places
            } else {
                rng::word(SEED ^ worker, done) % places
            };
            let offset = place * request_bytes as u64;
            if writes {
                file.write_at(offset, &[IoSlice::new(&buffer)], CAUSE)?;
            } else {
                file.read_at(offset, &mut buffer, CAUSE)?;
            }
            done += 1;
        }
        Ok(done)
    };
    let done: kv_api::Result<u64> = thread::scope(|scope| {
        let work = &work;
        let workers: Vec<_> = (0..depth as u64).map(|worker| scope.spawn(move || work(worker))).collect();
        // A probe does not panic; one that did has done nothing.
        workers.into_iter().map(|worker| worker.join().unwrap_or(Ok(0))).sum()
    });
    let done = done?;
    if writes {
        file.sync_data(CAUSE)?;
    }
    let per_second = done as f64 / start.elapsed().as_secs_f64();
    Ok(Rate { writes, sequential, request_bytes: request_bytes as u64, depth, per_second })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::interrupt::Interrupt;

    #[test]
    fn the_probes_move_what_they_say_and_leave_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::of(dir.path());
        let probes = take(dir.path(), &source, &Interrupt::default()).unwrap();
        assert_eq!(probes.sequential.called_bytes, FILE_BYTES as u64);
        assert_eq!(probes.rewrite.called_bytes, 50_000);
        assert!(probes.in_place.syncs > 0 && probes.in_place.called_bytes == probes.in_place.syncs * 100);
        assert_eq!(probes.read.is_some(), probes.rates_are_direct);
        assert!(probes.append.syncs > 0 && probes.sync_p50_ns <= probes.sync_p99_ns);
        assert_eq!(probes.rates.len(), 8);
        assert!(probes.rates.iter().all(|rate| rate.per_second > 0.0), "{:?}", probes.rates);
        assert!(probes.clock_ns > 0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
