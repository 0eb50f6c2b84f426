//! Bugs planted on purpose: does the test suite find what it is there for?
//!
//! The code says at twenty places what it would do wrong if [`is`] said so. A build without the cargo feature `seeded`
//! has none of it: there [`is`] is a constant, and the machine code is that of a source without the questions. Only the
//! package `tests` has the feature, and only its example `seeded_bugs` turns it on: it picks one bug per run and notes
//! which of the general suites finds it. Each bug is of a class that has lost data in engines people trust.

#[cfg(feature = "seeded")]
use std::sync::atomic::{AtomicU8, Ordering};

/// Declares the bugs, each with its class and what goes wrong.
macro_rules! bugs {
    ($($bug:ident, $class:literal, $name:literal, $what:literal;)+) => {
        /// What can be planted. The classes are those of RELIABILITY.md.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Bug {
            $(#[doc = concat!($class, ": ", $what, ".")] $bug,)+
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Bug] = &[$(Bug::$bug),+];

            /// What it is called on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Bug::$bug => $name,)+ }
            }

            /// The class of failure it belongs to.
            pub fn class(self) -> &'static str {
                match self { $(Bug::$bug => $class,)+ }
            }

            /// What goes wrong, without a full stop.
            pub fn what(self) -> &'static str {
                match self { $(Bug::$bug => $what,)+ }
            }
        }
    };
}

bugs! {
    LogBodyUnchecked, "F1", "log-body-unchecked", "log: a frame's body is taken without its checksum";
    PageUnchecked, "F1", "page-unchecked", "B+tree: a page is taken without its checksum";
    SegmentNameUnsynced, "F2", "segment-name-unsynced", "log: a new segment is used before its name is on disk";
    TableNamesUnsynced, "F2", "table-names-unsynced", "LSM: tables are named in the manifest before their names are on disk";
    SegmentLeftUnsynced, "F4", "segment-left-unsynced", "log: a segment is followed by the next one without a sync";
    ClosedBeforeSync, "F4", "closed-before-sync", "log: the mark of a closed log is written before what it vouches for is on disk";
    DamageTakenForTail, "F5", "damage-taken-for-tail", "log: any frame that cannot be read counts as a torn tail";
    ReadErrorTakenForEnd, "F5", "read-error-taken-for-end", "log: a read that fails counts as the end of the log";
    EditUnsynced, "F6", "edit-unsynced", "LSM: an edit of the manifest is relied on before it is on disk";
    PagesUnsyncedBeforeMeta, "F6", "pages-unsynced-before-meta", "B+tree: the meta is written before the pages it names are on disk";
    OldestSnapshotForgotten, "F11", "oldest-snapshot-forgotten", "LSM: a merge does not know the oldest snapshot";
    PinAtBirthIgnored, "F11", "pin-at-birth-ignored", "B+tree: a page is reused although a snapshot of the commit that made it is open";
    NumbersOnDiskIgnored, "F12", "numbers-on-disk-ignored", "LSM: numbers of files that the manifest does not name are given out again";
    CheckpointUnpinned, "F12", "checkpoint-unpinned", "B+tree: pages of the last checkpoint are reused before the next one";
    ManifestsClearedFirst, "F15", "manifests-cleared-first", "LSM: recovery removes old manifests before the new one rules";
    LogReleasedFirst, "F15", "log-released-first", "B+tree: recovery lets go of the log before its checkpoint";
    TombstoneDroppedEarly, "F18", "tombstone-dropped-early", "LSM: a merge drops a tombstone although the next level has the key";
    RangeDeleteDroppedEarly, "F18", "range-delete-dropped-early", "LSM: a merge drops range deletes above the bottom level";
    FailedSyncRetried, "F3", "failed-sync-retried", "log: a sync that failed is tried again and believed";
    OutputsLeftBehind, "F14", "outputs-left-behind", "LSM: an abandoned flush or merge leaves its files";
}

impl Bug {
    /// The bug of that name.
    pub fn named(name: &str) -> Option<Bug> {
        Bug::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}

/// One more than the place of the bug in [`Bug::ALL`]; 0 for none.
#[cfg(feature = "seeded")]
static PLANTED: AtomicU8 = AtomicU8::new(0);

/// Plants `bug` in this process, in place of any other. `None` takes it out again.
#[cfg(feature = "seeded")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(bug.map_or(0, |bug| bug as u8 + 1), Ordering::Relaxed);
}

/// True if `bug` is planted: one relaxed load.
#[cfg(feature = "seeded")]
#[inline(always)]
pub fn is(bug: Bug) -> bool {
    PLANTED.load(Ordering::Relaxed) == bug as u8 + 1
}

/// True if `bug` is planted: never, in this build.
#[cfg(not(feature = "seeded"))]
#[inline(always)]
pub const fn is(_bug: Bug) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_bugs_apart() {
        assert_eq!(Bug::ALL.len(), 20);
        for bug in Bug::ALL {
            assert_eq!(Bug::named(bug.name()), Some(*bug));
        }
        assert_eq!(Bug::named("none"), None);
    }

    #[cfg(not(feature = "seeded"))]
    #[test]
    fn nothing_is_planted_here() {
        const { assert!(!is(Bug::PageUnchecked)) };
    }
}
