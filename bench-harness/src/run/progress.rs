//! What clients tell while they work: counters that one thread writes and the watcher reads, without a lock.

use std::array;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Buckets per doubling of a time: 3 % apart.
const STEPS: u32 = 32;
const BUCKETS: usize = 64 * STEPS as usize;

/// A counter on a cache line of its own, and the times of the operations as they come in.
#[derive(Debug)]
#[repr(align(128))]
pub struct Progress {
    ops: AtomicU64,
    times: Box<[AtomicU32; BUCKETS]>,
}

impl Default for Progress {
    fn default() -> Self {
        Progress { ops: AtomicU64::new(0), times: Box::new(array::from_fn(|_| AtomicU32::new(0))) }
    }
}

impl Progress {
    /// Operations done so far.
    pub fn get(&self) -> u64 {
        self.ops.load(Ordering::Relaxed)
    }

    /// Takes note of `ops` operations. One thread writes each counter, so a load and a store lose nothing.
    pub fn add(&self, ops: u64) {
        self.ops.store(self.ops.load(Ordering::Relaxed) + ops, Ordering::Relaxed);
    }

    /// Takes note that one operation took `ns`.
    pub fn time(&self, ns: u64) {
        if let Some(count) = self.times.get(bucket(ns)) {
            count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// Adds the times so far to `sum`, one number a bucket.
    pub fn add_times_to(&self, sum: &mut Times) {
        for (sum, count) in sum.counts.iter_mut().zip(self.times.iter()) {
            *sum = sum.wrapping_add(count.load(Ordering::Relaxed));
        }
    }
}

/// Times counted by bucket.
#[derive(Debug, Clone)]
pub struct Times {
    counts: Vec<u32>,
}

impl Default for Times {
    fn default() -> Self {
        Times { counts: vec![0; BUCKETS] }
    }
}

impl Times {
    /// The time that share `q` of those counted since `earlier` took at most, in nanoseconds; `None` if there were fewer
    /// than 100 beyond it, which is too few to tell.
    pub fn quantile_since(&self, earlier: &Times, q: f64) -> Option<u64> {
        let gained = || self.counts.iter().zip(&earlier.counts).map(|(now, old)| now.wrapping_sub(*old));
        let all: u64 = gained().map(u64::from).sum();
        let wanted = (all as f64 * q).ceil() as u64;
        if ((all - wanted.min(all)) as f64) < 100.0 {
            return None;
        }
        let mut seen = 0;
        gained()
            .position(|count| {
                seen += u64::from(count);
                seen >= wanted
            })
            .map(upper_ns)
    }
}

fn bucket(ns: u64) -> usize {
    let ns = ns.max(u64::from(STEPS));
    let power = ns.ilog2();
    let step = (ns >> (power - STEPS.ilog2())) & u64::from(STEPS - 1);
    (power * STEPS) as usize + step as usize
}

/// The longest time that falls into a bucket.
fn upper_ns(bucket: usize) -> u64 {
    let (power, step) = (bucket as u32 / STEPS, bucket as u64 % u64::from(STEPS));
    let width = 1u64 << power.saturating_sub(STEPS.ilog2());
    ((u64::from(STEPS) + step) * width).saturating_add(width - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_a_bucket_that_is_three_per_cent_wide() {
        for ns in [32, 33, 63, 64, 1_000, 123_456, 987_654_321, u64::MAX / 2] {
            let upper = upper_ns(bucket(ns));
            assert!(upper >= ns && (upper - ns) as f64 <= ns as f64 / 32.0, "{ns}: {upper}");
        }
        assert_eq!(bucket(0), bucket(31));
    }

    #[test]
    fn a_quantile_is_that_of_what_came_since() {
        let progress = Progress::default();
        (0..10_000).for_each(|_| progress.time(1_000_000));
        let (mut before, mut after) = (Times::default(), Times::default());
        progress.add_times_to(&mut before);
        (1..=20_000).for_each(|ns| progress.time(ns));
        progress.add_times_to(&mut after);
        let p99 = after.quantile_since(&before, 0.99).unwrap();
        assert!((19_700..=20_500).contains(&p99), "{p99}");
        assert_eq!(after.quantile_since(&after, 0.99), None);
        assert_eq!(after.quantile_since(&before, 0.9999), None, "two samples beyond it are too few");
    }
}
