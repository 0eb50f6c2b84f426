//! What an engine tells while it works: the source of timelines.

use crate::SeqNo;

/// One thing that happened inside an engine.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A memtable became a table, or a log was made superfluous.
    Flush {
        /// Bytes written.
        bytes: u64,
        /// Entries written.
        entries: u64,
        /// How long it took, in nanoseconds.
        wall_ns: u64,
    },
    /// Tables were merged, or moved without being rewritten.
    Compaction {
        /// Level of the upper inputs.
        from: u8,
        /// Level of the outputs.
        to: u8,
        /// Bytes read; 0 for a move.
        read_bytes: u64,
        /// Bytes written; 0 for a move.
        written_bytes: u64,
        /// How long it took, in nanoseconds.
        wall_ns: u64,
    },
    /// Dirty pages went to disk and a new meta page names them.
    Checkpoint {
        /// Pages written.
        pages: u64,
        /// The newest operation it holds.
        seq: SeqNo,
        /// How long it took, in nanoseconds.
        wall_ns: u64,
    },
    /// A writer had to wait.
    Stall {
        /// For what, as in [`crate::stats::Stall::name`].
        name: &'static str,
        /// How long, in nanoseconds.
        wall_ns: u64,
    },
    /// The handle was poisoned.
    Poisoned {
        /// The message of the first error.
        cause: String,
    },
}

/// Takes events. Called on the engine's threads, outside all its locks; must not block.
pub trait EventListener: Send + Sync {
    /// One event.
    fn on_event(&self, event: &Event);
}
