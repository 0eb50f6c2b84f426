//! The kernel's own counters of this process, read without disturbing them: every byte that the harness reads
//! to learn a counter is itself counted, and taken off again.
//!
//! `rchar` and `wchar` of `/proc/self/io` count the bytes of read and write calls exactly, direct I/O included;
//! mapped files are invisible to them.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};

/// Bytes that the harness itself read from files so far.
static OWN_READ_BYTES: AtomicU64 = AtomicU64::new(0);
/// Bytes that the harness itself wrote: progress lines of finished helper threads, traces.
static OWN_WRITE_BYTES: AtomicU64 = AtomicU64::new(0);

/// Bytes through read and write calls of this process, the harness's own taken off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProcIo {
    /// Bytes that read calls returned.
    pub read_bytes: u64,
    /// Bytes given to write calls.
    pub write_bytes: u64,
}

impl ProcIo {
    /// What moved since `earlier`.
    pub fn since(self, earlier: ProcIo) -> ProcIo {
        ProcIo {
            read_bytes: self.read_bytes.saturating_sub(earlier.read_bytes),
            write_bytes: self.write_bytes.saturating_sub(earlier.write_bytes),
        }
    }
}

/// CPU time of this process, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cpu {
    /// Outside the kernel.
    pub user_ns: u64,
    /// In the kernel.
    pub sys_ns: u64,
}

impl Cpu {
    /// Both together.
    pub fn total_ns(self) -> u64 {
        self.user_ns + self.sys_ns
    }

    /// What was used since `earlier`.
    pub fn since(self, earlier: Cpu) -> Cpu {
        Cpu {
            user_ns: self.user_ns.saturating_sub(earlier.user_ns),
            sys_ns: self.sys_ns.saturating_sub(earlier.sys_ns),
        }
    }
}

/// Reads a small file and notes its bytes as the harness's own.
pub fn read_own(path: &str) -> Option<String> {
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text));
    OWN_READ_BYTES.fetch_add(text.len() as u64, Ordering::Relaxed);
    read.ok().map(|_| text)
}

/// The number behind `name:` in a file of such lines.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The counters of this process now, `None` where the kernel has none.
pub fn io() -> Option<ProcIo> {
    let (own_read, own_write) =
        (OWN_READ_BYTES.load(Ordering::Relaxed), OWN_WRITE_BYTES.load(Ordering::Relaxed));
    let text = read_own("/proc/self/io")?;
    Some(ProcIo {
        read_bytes: field(&text, "rchar")?.saturating_sub(own_read),
        write_bytes: field(&text, "wchar")?.saturating_sub(own_write),
    })
}

/// What the kernel charged this process for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Charged {
    /// Bytes of requests to devices that read, readahead and metadata included.
    pub read_bytes: u64,
    /// Bytes of dirtied pages and direct writes, less those of files that were gone before they were written. By the
    /// folio, so that a small write into a large one counts whole: calibration tells by how much.
    pub write_bytes: u64,
}

impl Charged {
    /// What was charged since `earlier`.
    pub fn since(self, earlier: Charged) -> Charged {
        Charged {
            read_bytes: self.read_bytes.saturating_sub(earlier.read_bytes),
            write_bytes: self.write_bytes.saturating_sub(earlier.write_bytes),
        }
    }
}

/// `read_bytes`, and `write_bytes` less `cancelled_write_bytes`, of `/proc/self/io`; `None` where the kernel does not
/// tell.
pub fn charged() -> Option<Charged> {
    let text = read_own("/proc/self/io")?;
    let cancelled = field(&text, "cancelled_write_bytes")?;
    Some(Charged {
        read_bytes: field(&text, "read_bytes")?,
        write_bytes: field(&text, "write_bytes")?.saturating_sub(cancelled),
    })
}

/// Called by a helper thread of the harness when it ends: notes what it wrote, so that progress lines do not
/// pass for writes of an engine.
pub fn note_own_writes_of_this_thread() {
    let written = read_own("/proc/thread-self/io").and_then(|text| field(&text, "wchar"));
    OWN_WRITE_BYTES.fetch_add(written.unwrap_or(0), Ordering::Relaxed);
}

/// A file that the harness writes while a phase runs: what goes into it does not pass for writes of an engine.
#[derive(Debug)]
pub struct OwnFile(std::io::BufWriter<Counted>);

#[derive(Debug)]
struct Counted(std::fs::File);

impl OwnFile {
    /// Makes the file at `path`, or empties it.
    ///
    /// # Errors
    /// The system refuses.
    pub fn create(path: &std::path::Path) -> std::io::Result<OwnFile> {
        Ok(OwnFile(std::io::BufWriter::with_capacity(1 << 20, Counted(std::fs::File::create(path)?))))
    }
}

/// A file that the harness reads while a phase runs: what comes out of it does not pass for reads of an engine.
#[derive(Debug)]
pub struct OwnInput(std::fs::File);

impl OwnInput {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// The system refuses.
    pub fn open(path: &std::path::Path) -> std::io::Result<OwnInput> {
        std::fs::File::open(path).map(OwnInput)
    }
}

impl Read for OwnInput {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read(bytes)?;
        OWN_READ_BYTES.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Write for OwnFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.0.write(bytes)?;
        OWN_WRITE_BYTES.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Anonymous memory in RAM, in bytes.
pub fn rss_anon_bytes() -> Option<u64> {
    field(&read_own("/proc/self/status")?, "RssAnon").map(|kib| kib << 10)
}

/// CPU time used so far. The sum is exact; its parts come from the kernel's clock ticks.
pub fn cpu() -> Cpu {
    let total_ns = clock_ns(ClockId::ProcessCPUTime);
    let ticks = read_own("/proc/self/stat").and_then(|text| {
        // The second field is a name in parentheses that may hold spaces; user time is 12 fields behind it.
        let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
        Some((fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?))
    });
    let (user, sys) = ticks.unwrap_or((1, 0));
    let user_share = if user + sys == 0 { 1.0 } else { user as f64 / (user + sys) as f64 };
    let user_ns = (total_ns as f64 * user_share) as u64;
    Cpu { user_ns, sys_ns: total_ns.saturating_sub(user_ns) }
}

/// CPU time of the calling thread, in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    clock_ns(ClockId::ThreadCPUTime)
}

fn clock_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_reads_are_taken_off_and_writes_are_seen() {
        let Some(before) = io() else { return };
        rss_anon_bytes();
        cpu();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 12_345]).unwrap();
        let moved = io().unwrap().since(before);
        // Other tests of this process may move bytes meanwhile, so these are lower bounds.
        assert!(moved.write_bytes >= 12_345, "{moved:?}");
        assert_eq!(field("a: 1\nrchar: 22 kB\n", "rchar"), Some(22));
    }
}
