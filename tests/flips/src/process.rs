//! A process for each case: what it does to itself, it does to nobody else.

use crate::largest;

/// Bytes of address space that a case may ask for.
const ADDRESS_SPACE: u64 = 8 << 30;
/// Seconds of processor time that a case may take; more is a signal.
const CPU_SECONDS: u64 = 10;

/// Seconds after which a case that only waits gets a signal.
const WAIT_SECONDS: u32 = 20;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With an exit code.
    Code(i32),
    /// By a signal: an abort, a fault, a limit.
    Signal(i32),
}

/// Runs `f` in a process of its own, under limits; its result is the exit code. Returns that and the largest request
/// for memory in bytes.
///
/// The caller must have no other threads.
#[expect(unsafe_code, reason = "fork, pipe and wait: starting a program anew would cost ten times as much")]
pub fn apart(f: impl FnOnce() -> i32) -> (End, u64) {
    let mut ends = [0_i32; 2];
    // SAFETY: this process has one thread, so the child may go on as if nothing had happened; the pointers live
    // through their calls.
    unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0, "a pipe");
        match libc::fork() {
            -1 => panic!("fork fails: {}", std::io::Error::last_os_error()),
            0 => {
                libc::close(ends[0]);
                limit(libc::RLIMIT_AS, ADDRESS_SPACE);
                limit(libc::RLIMIT_CPU, CPU_SECONDS);
                limit(libc::RLIMIT_CORE, 0);
                libc::alarm(WAIT_SECONDS);
                largest::tell_to(ends[1]);
                let code = f();
                libc::_exit(code);
            }
            child => {
                libc::close(ends[1]);
                let (mut largest, mut told) = (0, [0_u8; 8]);
                while libc::read(ends[0], told.as_mut_ptr().cast(), 8) == 8 {
                    largest = largest.max(u64::from_le_bytes(told));
                }
                libc::close(ends[0]);
                let mut status = 0;
                assert_eq!(libc::waitpid(child, &raw mut status, 0), child, "a child to wait for");
                let end = match libc::WIFEXITED(status) {
                    true => End::Code(libc::WEXITSTATUS(status)),
                    false => End::Signal(libc::WTERMSIG(status)),
                };
                (end, largest)
            }
        }
    }
}

#[expect(unsafe_code, reason = "setrlimit")]
fn limit(what: libc::__rlimit_resource_t, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: the limit lives through the call.
    unsafe { libc::setrlimit(what, &raw const limit) };
}

/// Ends this process at once, as `kill -9` does.
#[expect(unsafe_code, reason = "kill")]
pub fn die() -> ! {
    // SAFETY: it takes nothing.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    std::process::abort()
}
