//! What goes wrong on a simulated disk, and when: I/O errors, failed syncs, no space, no power, bytes that are not
//! the right ones.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
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
    /// Creating a file, a directory or a second name.
    Create,
    /// Opening a file that exists.
    Open,
    /// Listing a directory.
    List,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
}

impl FaultOp {
    /// Every kind.
    pub const ALL: [FaultOp; 10] = [
        FaultOp::Read,
        FaultOp::Write,
        FaultOp::Resize,
        FaultOp::Sync,
        FaultOp::SyncDir,
        FaultOp::Create,
        FaultOp::Open,
        FaultOp::List,
        FaultOp::Rename,
        FaultOp::Remove,
    ];

    /// True if such a call may change the disk.
    fn is_step(self) -> bool {
        !matches!(self, FaultOp::Read | FaultOp::Open | FaultOp::List)
    }
}

/// How often something fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Once, then all is well.
    Once,
    /// From then on, until [`Faults::heal`].
    Forever,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It fails with EIO. A sync that does so leaves readers with the new bytes, the disk with any part of them, and
    /// the next sync with nothing to do: the first of two shapes in Rebello et al., "Can Applications Recover from
    /// fsync Failures?", ATC 2020.
    Error,
    /// It fails with "no space", having written what fits into half. A sync of this kind is an [`Effect::Error`]: it
    /// has lost bytes all the same.
    NoSpace,
    /// A sync fails and readers have the old bytes again, as the disk has: the second shape.
    Revert,
    /// One bit changes on the way, of what is read or of what is written; nobody is told.
    Flip,
    /// A read gives what was there before the last sync; nobody is told.
    Stale,
    /// A write arrives 4 KiB before or behind its place; nobody is told.
    Misdirect,
    /// The call takes this long, and then succeeds.
    Slow(Duration),
}

/// The faults of one simulated disk. All calls take effect at once.
#[derive(Debug, Default)]
pub struct Faults {
    state: Mutex<State>,
    /// True if some call is to be slow: the others need not ask.
    any_slow: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    space: Option<(u64, Repeat)>,
    steps: u64,
    calls: [u64; FaultOp::ALL.len()],
    hits: u64,
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
    /// Only calls that touch these bytes of this file.
    place: Option<(PathBuf, Range<u64>)>,
    calls_left: u64,
    repeat: Repeat,
    effect: Effect,
}

/// Where a call reaches, for rules about a place.
#[derive(Debug)]
pub(super) struct Reach<'a> {
    pub(super) path: &'a Path,
    pub(super) bytes: Range<u64>,
}

impl Rule {
    fn is_about(&self, op: FaultOp, reach: Option<&Reach<'_>>) -> bool {
        let there = match (&self.place, reach) {
            (None, _) => true,
            (Some((path, range)), Some(reach)) => {
                path == reach.path && range.start < reach.bytes.end && reach.bytes.start < range.end
            }
            (Some(_), None) => false,
        };
        there && self.op == op
    }
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    Hit(Effect),
    NoPower,
}

/// Lets real time pass: the clock of a simulated run stands still, so only threads have slow calls.
#[cfg_attr(
    not(feature = "shuttle"),
    expect(
        clippy::disallowed_methods,
        reason = "a slow disk is what is simulated; no engine waits here by choice"
    )
)]
fn take(time: Duration) {
    crate::sync::thread::sleep(time);
}

impl Faults {
    /// Makes the `nth` call of that kind from now fail with EIO, counted from 0.
    pub fn fail(&self, op: FaultOp, nth: u64, repeat: Repeat) {
        self.inject(op, nth, repeat, Effect::Error);
    }

    /// Makes something go wrong with the `nth` call of that kind from now, counted from 0. An effect that such a call
    /// cannot have makes it fail with EIO.
    pub fn inject(&self, op: FaultOp, nth: u64, repeat: Repeat, effect: Effect) {
        self.any_slow.fetch_or(matches!(effect, Effect::Slow(_)), Ordering::Relaxed);
        lock(&self.state).rules.push(Rule { op, place: None, calls_left: nth, repeat, effect });
    }

    /// Makes every call of that kind fail with EIO that touches these bytes of the file at `path`: sectors gone bad.
    pub fn fail_range(&self, op: FaultOp, path: &Path, bytes: Range<u64>) {
        let place = Some((path.to_path_buf(), bytes));
        let rule = Rule { op, place, calls_left: 0, repeat: Repeat::Forever, effect: Effect::Error };
        lock(&self.state).rules.push(rule);
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

    /// How many calls of that kind were made so far, failed ones included.
    pub fn calls(&self, op: FaultOp) -> u64 {
        let state = lock(&self.state);
        FaultOp::ALL.iter().zip(state.calls).find(|(known, _)| **known == op).map_or(0, |(_, calls)| calls)
    }

    /// How many calls something went wrong with so far, lack of space included.
    pub fn hits(&self) -> u64 {
        lock(&self.state).hits
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

    /// Waits if the next call of this kind is to be slow. Ask before taking a lock that others wait for.
    pub(super) fn wait_if_slow(&self, op: FaultOp) {
        if !self.any_slow.load(Ordering::Relaxed) {
            return;
        }
        let slow = |rule: &Rule| match rule.effect {
            Effect::Slow(time) if rule.op == op && rule.calls_left == 0 => Some(time),
            _ => None,
        };
        let time = lock(&self.state).rules.iter().find_map(slow);
        time.into_iter().for_each(take);
    }

    /// Decides about one call. Calls that change the disk are steps; reads are not.
    pub(super) fn decide(&self, op: FaultOp, reach: Option<&Reach<'_>>) -> Verdict {
        let mut state = lock(&self.state);
        if !state.has_power() {
            return Verdict::NoPower;
        }
        if op.is_step() {
            state.steps += 1;
        }
        if let Some(at) = FaultOp::ALL.iter().position(|known| *known == op)
            && let Some(calls) = state.calls.get_mut(at)
        {
            *calls += 1;
        }
        let mut verdict = Verdict::Done;
        state.rules.retain_mut(|rule| {
            if !rule.is_about(op, reach) {
                return true;
            }
            if rule.calls_left > 0 {
                rule.calls_left -= 1;
                return true;
            }
            if !matches!(rule.effect, Effect::Slow(_)) {
                verdict = Verdict::Hit(rule.effect);
            }
            rule.repeat == Repeat::Forever
        });
        state.hits += u64::from(verdict != Verdict::Done);
        verdict
    }

    /// Bytes that can still be taken on a disk that has `used`; `None` if there is no limit.
    pub(super) fn room(&self, used: u64) -> Option<u64> {
        lock(&self.state).space.map(|(limit, _)| limit.saturating_sub(used))
    }

    /// Notes that a call met the limit.
    pub(super) fn met_limit(&self) {
        let mut state = lock(&self.state);
        state.hits += 1;
        if let Some((_, Repeat::Once)) = state.space {
            state.space = None;
        }
    }
}
