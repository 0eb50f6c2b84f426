//! What a crash leaves of what was not synced: the policies by name, and what each does to bytes and to names.

/// What a crash leaves of what was not synced. Whatever was synced is there under each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPolicy {
    /// Nothing: the files and names of their last sync (P0).
    DropUnsynced,
    /// Everything: the process died, the machine did not. What was not synced is pending still (P1).
    KeepAll,
    /// What came first, of all files and directories in one order (P2).
    Prefix {
        /// Selects where it ends.
        seed: u64,
    },
    /// Any part: each 512-byte sector, each length and each directory operation for itself (P3).
    Tear {
        /// Selects the part.
        seed: u64,
    },
    /// The same by pages of 4 KiB, which is what a page cache writes back.
    TearPages {
        /// Selects the part.
        seed: u64,
    },
    /// The same by single bytes; a write may also be there up to any of its bytes.
    TearBytes {
        /// Selects the part.
        seed: u64,
    },
    /// Files are as long as they were made, but what they grew by is zeros (P4).
    LengthZeros {
        /// Selects the files; the others are as of their last sync.
        seed: u64,
    },
    /// The same with garbage instead of zeros.
    LengthGarbage {
        /// Selects the files and the garbage.
        seed: u64,
    },
    /// All bytes that fit into the length of the last sync; the new length is lost (P5).
    DataOnly,
    /// Any part of the directory operations, no bytes (P6).
    Names {
        /// Selects the part.
        seed: u64,
    },
    /// Every removal and no other directory operation, no bytes (P6): what was removed must not be needed by what
    /// is synced.
    Removals,
    /// All bytes, no directory operation: what was written is lost with its name (P7).
    LostNames,
    /// All directory operations, no bytes: a file that was never synced is there, and empty (P8).
    EmptyNames,
}

/// What becomes of the bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bytes {
    Durable,
    Now,
    /// Operations stamped before this.
    Before(u64),
    /// Pieces of so many bytes, each for itself.
    Torn(u64),
    Length {
        garbage: bool,
    },
    WithoutLength,
}

/// What becomes of the names in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    Durable,
    Now,
    /// Operations stamped before this.
    Before(u64),
    Torn,
    Removals,
}

impl CrashPolicy {
    /// True if only the process died: what it had written is there, synced or not.
    pub fn is_process_death(self) -> bool {
        self == CrashPolicy::KeepAll
    }

    /// The seed of its choices.
    pub(super) fn seed(self) -> u64 {
        match self {
            CrashPolicy::Prefix { seed }
            | CrashPolicy::Tear { seed }
            | CrashPolicy::TearPages { seed }
            | CrashPolicy::TearBytes { seed }
            | CrashPolicy::LengthZeros { seed }
            | CrashPolicy::LengthGarbage { seed }
            | CrashPolicy::Names { seed } => seed,
            _ => 0,
        }
    }

    /// What it does, on a disk whose pending operations have these `stamps`, in order.
    pub(super) fn effect(self, stamps: impl FnOnce() -> Vec<u64>) -> (Bytes, Names) {
        match self {
            CrashPolicy::DropUnsynced => (Bytes::Durable, Names::Durable),
            CrashPolicy::KeepAll => (Bytes::Now, Names::Now),
            CrashPolicy::Prefix { seed } => {
                let stamps = stamps();
                let kept = seed % (stamps.len() as u64 + 1);
                // None is stamped with the last of all numbers: with that one everything is kept.
                let end = usize::try_from(kept).ok().and_then(|kept| stamps.get(kept)).copied();
                let end = end.unwrap_or(u64::MAX);
                (Bytes::Before(end), Names::Before(end))
            }
            CrashPolicy::Tear { .. } => (Bytes::Torn(512), Names::Torn),
            CrashPolicy::TearPages { .. } => (Bytes::Torn(4096), Names::Torn),
            CrashPolicy::TearBytes { .. } => (Bytes::Torn(1), Names::Torn),
            CrashPolicy::LengthZeros { .. } => (Bytes::Length { garbage: false }, Names::Now),
            CrashPolicy::LengthGarbage { .. } => (Bytes::Length { garbage: true }, Names::Now),
            CrashPolicy::DataOnly => (Bytes::WithoutLength, Names::Now),
            CrashPolicy::Names { .. } => (Bytes::Durable, Names::Torn),
            CrashPolicy::Removals => (Bytes::Durable, Names::Removals),
            CrashPolicy::LostNames => (Bytes::Now, Names::Durable),
            CrashPolicy::EmptyNames => (Bytes::Durable, Names::Now),
        }
    }
}
