//! Bars that no case may exceed, whatever the files say: memory and processor time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Bytes that a case may hold at once beside twice its largest file.
pub const BYTES_MAX: u64 = 16 << 20;
/// Processor time of a case.
pub const CPU_MAX: Duration = Duration::from_secs(1);

/// What something used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Most bytes held at once, above what was held before. So no single request was larger.
    pub bytes_max: u64,
    /// Processor time of the calling thread.
    pub cpu: Duration,
}

/// Runs `f` on this thread and tells what it used. What other threads do is not seen.
pub fn used<R>(f: impl FnOnce() -> R) -> (R, Used) {
    let mut result = None;
    let from = cpu_time();
    let memory = allocation_counter::measure(|| result = Some(f()));
    let cpu = cpu_time().saturating_sub(from);
    let result = result.expect("measure runs its closure");
    (result, Used { bytes_max: memory.bytes_max, cpu })
}

fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

impl Used {
    /// The larger of each.
    pub fn max(self, other: Used) -> Used {
        Used { bytes_max: self.bytes_max.max(other.bytes_max), cpu: self.cpu.max(other.cpu) }
    }

    /// Stops the test if a case over files of at most `file_len` bytes used more than it may.
    ///
    /// # Panics
    /// Naming `context` and what was used.
    pub fn check(&self, file_len: u64, context: &str) {
        let bytes_max = BYTES_MAX.saturating_add(file_len.saturating_mul(2));
        assert!(
            self.bytes_max <= bytes_max,
            "{context}: held {} bytes of {bytes_max} allowed",
            self.bytes_max
        );
        assert!(self.cpu <= CPU_MAX, "{context}: took {:?} of processor time", self.cpu);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_request_and_a_long_loop_are_seen() {
        let (len, memory) = used(|| std::hint::black_box(vec![0_u8; 20 << 20]).len());
        assert!(memory.bytes_max >= len as u64 && memory.bytes_max < 2 * len as u64);
        assert!(std::panic::catch_unwind(|| memory.check(1 << 20, "a case")).is_err());
        memory.check(2 << 20, "a larger file");
        let ((), time) = used(|| while cpu_time() == Duration::ZERO {});
        assert!(time.cpu < CPU_MAX);
        let long = Used { bytes_max: 0, cpu: CPU_MAX + Duration::from_nanos(1) };
        assert!(std::panic::catch_unwind(|| long.check(0, "a case")).is_err());
    }
}
