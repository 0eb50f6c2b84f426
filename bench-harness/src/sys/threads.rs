//! CPU time of this process thread by thread, set against that of the process as a whole.
//!
//! `/proc/self/task/TID/schedstat` tells the nanoseconds that a living thread ran (kernel documentation,
//! "scheduler/sched-stats"). A thread that ends takes its number along: threads of the harness note theirs as their last
//! act, others are known up to the last look, and how much they may have run since is kept as well.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::proc;

/// CPU time by thread since [`ThreadTimes::begin`].
#[derive(Debug)]
pub struct ThreadTimes {
    process_ns: u64,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    living: HashMap<u32, Living>,
    /// Threads that noted their end, with their last time: they may still be listed for a moment.
    ended: HashMap<u32, u64>,
    ended_ns: u64,
    unseen_max_ns: u64,
    threads: u64,
    /// True once the kernel refused to tell.
    is_blind: bool,
}

#[derive(Debug)]
struct Living {
    first_ns: u64,
    last_ns: u64,
    at: Instant,
}

/// The sum over the threads, and what it should be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ThreadCpu {
    /// CPU time of the process, in nanoseconds.
    pub process_ns: u64,
    /// CPU time of all threads that were seen, in nanoseconds.
    pub threads_ns: u64,
    /// The most that threads may have used between the last look at them and their end, in nanoseconds.
    pub unseen_max_ns: u64,
    /// Threads seen.
    pub threads: u64,
}

impl ThreadTimes {
    /// Begins to count, with the threads that live now.
    pub fn begin() -> ThreadTimes {
        let times = ThreadTimes { process_ns: proc::cpu().total_ns(), known: Mutex::default() };
        times.look_at(&listed(), true);
        times
    }

    /// Looks at every living thread. Often enough, it misses little of those that end.
    pub fn look(&self) {
        self.look_at(&listed(), false);
    }

    /// The last act of a thread of the harness: notes its time to the nanosecond.
    pub fn note_end(&self) {
        let Some(tid) = rustix::thread::gettid().as_raw_nonzero().get().try_into().ok() else { return };
        self.end(tid, proc::thread_cpu_ns());
    }

    /// Everything until now; `None` where the kernel does not tell.
    pub fn total(&self) -> Option<ThreadCpu> {
        self.look();
        let process_ns = proc::cpu().total_ns().saturating_sub(self.process_ns);
        let known = self.known();
        let living: u64 = known.living.values().map(Living::ran_ns).sum();
        (!known.is_blind && known.threads > 0).then_some(ThreadCpu {
            process_ns,
            threads_ns: known.ended_ns + living,
            unseen_max_ns: known.unseen_max_ns,
            threads: known.threads,
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // What a thread that panicked noted is whole: nothing in here can stop half way.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, tid: u32, ns: u64) {
        let mut known = self.known();
        let first_ns = match known.living.remove(&tid) {
            Some(living) => living.first_ns,
            None => {
                known.threads += 1;
                0
            }
        };
        known.ended_ns += ns.saturating_sub(first_ns);
        known.ended.insert(tid, ns);
    }

    /// `now` has each living thread's time. Those of the first look ran before anything was counted.
    fn look_at(&self, now: &Option<Vec<(u32, u64)>>, is_first: bool) {
        let mut known = self.known();
        let Some(now) = now else {
            known.is_blind = true;
            return;
        };
        let at = Instant::now();
        // A number is given again after its thread is gone: the new one has run less than the old one had.
        let is_same = |tid: &u32, last_ns: u64| now.iter().any(|(other, ns)| other == tid && *ns >= last_ns);
        known.ended.retain(|tid, last_ns| is_same(tid, *last_ns));
        let gone: Vec<u32> = known
            .living
            .iter()
            .filter(|(tid, seen)| !is_same(tid, seen.last_ns))
            .map(|(tid, _)| *tid)
            .collect();
        for living in gone.iter().filter_map(|tid| known.living.remove(tid)).collect::<Vec<_>>() {
            known.ended_ns += living.ran_ns();
            known.unseen_max_ns += u64::try_from((at - living.at).as_nanos()).unwrap_or(u64::MAX);
        }
        for (tid, ns) in now {
            if known.ended.contains_key(tid) {
                continue;
            }
            if !known.living.contains_key(tid) {
                known.threads += 1;
            }
            let first_ns = if is_first { *ns } else { 0 };
            let living = known.living.entry(*tid).or_insert(Living { first_ns, last_ns: 0, at });
            (living.last_ns, living.at) = (*ns, at);
        }
    }
}

impl Living {
    fn ran_ns(&self) -> u64 {
        self.last_ns.saturating_sub(self.first_ns)
    }
}

/// Each living thread and the nanoseconds that it ran; `None` where the kernel does not tell.
fn listed() -> Option<Vec<(u32, u64)>> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        let Some(tid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that ended since it was listed is not there any more.
        let text = proc::read_own(&format!("/proc/self/task/{tid}/schedstat"));
        if let Some(ns) = text.and_then(|text| text.split_whitespace().next()?.parse().ok()) {
            out.push((tid, ns));
        }
    }
    (!out.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn times(first: &[(u32, u64)]) -> ThreadTimes {
        let times = ThreadTimes { process_ns: 0, known: Mutex::default() };
        times.look_at(&Some(first.to_vec()), true);
        times
    }

    fn sum(times: &ThreadTimes) -> (u64, u64) {
        let known = times.known();
        (known.ended_ns + known.living.values().map(Living::ran_ns).sum::<u64>(), known.threads)
    }

    #[test]
    fn threads_that_end_keep_their_time_and_a_number_given_again_is_another_thread() {
        let times = times(&[(1, 1000), (2, 500)]);
        times.look_at(&Some(vec![(1, 1100), (2, 700), (3, 40)]), false);
        assert_eq!(sum(&times), (340, 3), "what ran before does not count, what began since does");
        times.end(3, 90);
        times.look_at(&Some(vec![(1, 1100), (2, 700), (3, 90)]), false);
        assert_eq!(
            sum(&times),
            (390, 3),
            "one that noted its end is not counted again while it is still listed"
        );
        assert_eq!(times.known().unseen_max_ns, 0);
        std::thread::sleep(Duration::from_millis(2));
        times.look_at(&Some(vec![(1, 1100), (2, 5), (3, 7)]), false);
        assert_eq!(sum(&times), (402, 5), "2 and 3 are others now");
        assert!(times.known().unseen_max_ns >= 2_000_000, "2 may have run until now");
        times.look_at(&None, false);
        assert_eq!(times.total(), None);
    }

    #[test]
    fn the_threads_of_this_process_are_found() {
        let times = ThreadTimes::begin();
        let before = times.total();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let start = proc::thread_cpu_ns();
                while proc::thread_cpu_ns() - start < 50_000_000 {}
                times.note_end();
            });
        });
        let (Some(before), Some(after)) = (before, times.total()) else { return };
        assert!(after.threads_ns - before.threads_ns >= 50_000_000, "{before:?} {after:?}");
        assert!(after.threads > before.threads);
    }
}
