//! What goes wrong on a simulated disk, and when: I/O errors, failed syncs, no space, no power.

use std::sync::Mutex;

use crate::sync::lock;

/// A kind of call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultOp {
    /// Reading from a file.
    Read,
    /// Writing to a file: the first half of the bytes arrives.
    Write,
    /// Setting a length or reserving space.
    Resize,
    /// Syncing a file: any part of what was pending becomes durable, and no later sync brings the rest.
    Sync,
    /// Syncing a directory.
    SyncDir,
    /// Creating a file or a second name.
    Create,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
}

/// How often something fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Once, then all is well.
    Once,
    /// From then on, until [`Faults::heal`].
    Forever,
}

/// The faults of one simulated disk. All calls take effect at once.
#[derive(Debug, Default)]
pub struct Faults {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    space: Option<(u64, Repeat)>,
    steps: u64,
    power_off_at: Option<u64>,
}

impl State {
    fn has_power(&self) -> bool {
        self.power_off_at.is_none_or(|off| self.steps < off)
    }
}

#[derive(Debug)]
struct Rule {
    op: FaultOp,
    calls_left: u64,
    repeat: Repeat,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    Fails,
    NoPower,
}

impl Faults {
    /// Makes the `nth` call of that kind from now fail with EIO, counted from 0.
    pub fn fail(&self, op: FaultOp, nth: u64, repeat: Repeat) {
        lock(&self.state).rules.push(Rule { op, calls_left: nth, repeat });
    }

    /// Lets files take up `bytes` in all, names that were removed but are still open or not yet durable included.
    /// The call that would need more fails with "no space", after writing what fits.
    pub fn limit_space(&self, bytes: u64, repeat: Repeat) {
        lock(&self.state).space = Some((bytes, repeat));
    }

    /// Takes every fault back, lack of space included. Power that is gone stays gone.
    pub fn heal(&self) {
        let mut state = lock(&self.state);
        state.rules.clear();
        state.space = None;
    }

    pub(super) fn steps(&self) -> u64 {
        lock(&self.state).steps
    }

    pub(super) fn power_off_at(&self, step: u64) {
        lock(&self.state).power_off_at = Some(step);
    }

    pub(super) fn has_power(&self) -> bool {
        lock(&self.state).has_power()
    }

    /// Decides about one call. Calls that change the disk are steps; reads are not.
    pub(super) fn decide(&self, op: FaultOp) -> Verdict {
        let mut state = lock(&self.state);
        if !state.has_power() {
            return Verdict::NoPower;
        }
        if op != FaultOp::Read {
            state.steps += 1;
        }
        let mut verdict = Verdict::Done;
        state.rules.retain_mut(|rule| {
            if rule.op != op {
                return true;
            }
            if rule.calls_left > 0 {
                rule.calls_left -= 1;
                return true;
            }
            verdict = Verdict::Fails;
            rule.repeat == Repeat::Forever
        });
        verdict
    }

    /// Bytes that can still be taken on a disk that has `used`; `None` if there is no limit.
    pub(super) fn room(&self, used: u64) -> Option<u64> {
        lock(&self.state).space.map(|(limit, _)| limit.saturating_sub(used))
    }

    /// Notes that a call met the limit.
    pub(super) fn met_limit(&self) {
        let mut state = lock(&self.state);
        if let Some((_, Repeat::Once)) = state.space {
            state.space = None;
        }
    }
}
