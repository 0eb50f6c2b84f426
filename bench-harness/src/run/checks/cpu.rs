//! The other half of X8: the CPU time of the threads against that of the process.

use super::{Check, Verdict};
use crate::sys::threads::ThreadCpu;
use crate::units::three;

/// The sum may differ by this share.
const TOLERANCE: f64 = 0.02;
/// The kernel brings the time of a running thread up to date at its clock tick: at most so late, in nanoseconds.
const TICK_NS: u64 = 10_000_000;
/// With less CPU time than this the ticks are all there is to see, in nanoseconds.
const LEAST_NS: u64 = 500_000_000;

/// X8, CPU: what the threads used adds up to what the process used. 2 %, and a clock tick for each thread. It fails when
/// the harness blames its threads for more or less than was used. `None`: the kernel does not tell, or other runs share
/// the process.
pub fn x8_cpu(seen: Option<&ThreadCpu>) -> Check {
    let (id, what) = ("X8 cpu", "CPU time of the threads adds up to that of the process");
    let Some(seen) = seen else {
        return Check::not_measured(id, what, "the kernel does not tell, or other runs share the process");
    };
    let seconds = |ns: u64| three(ns as f64 / 1e9);
    let detail = format!(
        "{} threads {} s, process {} s",
        seen.threads,
        seconds(seen.threads_ns),
        seconds(seen.process_ns)
    );
    if seen.process_ns < LEAST_NS {
        return Check::not_applicable(id, what, &format!("{detail}: too little to tell"));
    }
    let tolerated = (seen.process_ns as f64 * TOLERANCE) as u64 + TICK_NS * seen.threads;
    let apart = seen.process_ns.abs_diff(seen.threads_ns);
    let short = seen.process_ns.saturating_sub(seen.threads_ns);
    let mut check = Check::new(id, what, Some(apart <= tolerated), detail);
    // Threads that ended between two looks can explain what is missing, never what is too much.
    if check.verdict == Verdict::Fail && short > 0 && short <= tolerated + seen.unseen_max_ns {
        check.verdict = Verdict::NotMeasured;
        check.detail += ": some ended unseen, and what is missing may be theirs";
    }
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_that_no_thread_answers_for_fails_unless_one_ended_unseen() {
        let seen = |threads_ns, unseen_max_ns| ThreadCpu {
            process_ns: 10_000_000_000,
            threads_ns,
            unseen_max_ns,
            threads: 4,
        };
        let verdict = |seen: ThreadCpu| x8_cpu(Some(&seen)).verdict;
        assert_eq!(verdict(seen(9_800_000_000, 0)), Verdict::Pass);
        assert_eq!(verdict(seen(9_700_000_000, 0)), Verdict::Fail);
        assert_eq!(verdict(seen(10_300_000_000, 0)), Verdict::Fail);
        assert_eq!(verdict(seen(9_700_000_000, 100_000_000)), Verdict::NotMeasured);
        assert_eq!(
            verdict(seen(10_300_000_000, 100_000_000)),
            Verdict::Fail,
            "nobody runs less than nothing"
        );
        assert_eq!(verdict(ThreadCpu { process_ns: 1, ..seen(0, 0) }), Verdict::NotApplicable);
        assert_eq!(x8_cpu(None).verdict, Verdict::NotMeasured);
    }
}
