//! One operation of a workload, as a descriptor of 16 bytes: keys and values are made from it when needed.

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[repr(u8)]
pub enum OpKind {
    /// Reads a record that exists.
    Get,
    /// Reads a key that no record ever has.
    GetAbsent,
    /// Writes a record whether it exists or not; what a load does.
    Put,
    /// Writes a record anew; one that was deleted is created again.
    Update,
    /// Writes a record with a number never used before.
    Insert,
    /// Deletes a record that exists.
    Delete,
    /// Reads up to `limit` entries in key order, from the key of a record that exists.
    Scan,
    /// Reads a record that exists, then writes it anew.
    Rmw,
    /// Deletes the oldest records by one range of keys.
    DeleteRange,
}

impl OpKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [OpKind; 9] = [
        OpKind::Get,
        OpKind::GetAbsent,
        OpKind::Put,
        OpKind::Update,
        OpKind::Insert,
        OpKind::Delete,
        OpKind::Scan,
        OpKind::Rmw,
        OpKind::DeleteRange,
    ];

    /// The word of the file format.
    pub const fn name(self) -> &'static str {
        match self {
            OpKind::Get => "get",
            OpKind::GetAbsent => "get_absent",
            OpKind::Put => "put",
            OpKind::Update => "update",
            OpKind::Insert => "insert",
            OpKind::Delete => "delete",
            OpKind::Scan => "scan",
            OpKind::Rmw => "rmw",
            OpKind::DeleteRange => "delete_range",
        }
    }

    /// Whether the operation changes the data.
    pub const fn writes(self) -> bool {
        !matches!(self, OpKind::Get | OpKind::GetAbsent | OpKind::Scan)
    }
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Reads `record`; [`crate::oracle::Oracle::version`] knows what must be found.
    Get {
        /// The record number.
        record: u64,
    },
    /// Reads the absent key of `record`; nothing must be found.
    GetAbsent {
        /// The number the absent key is made from.
        record: u64,
    },
    /// Writes `version` of `record`.
    Put {
        /// The record number.
        record: u64,
        /// The version to write.
        version: u32,
    },
    /// Writes `version` of `record`.
    Update {
        /// The record number.
        record: u64,
        /// The version to write.
        version: u32,
    },
    /// Writes the first version of `record`.
    Insert {
        /// The record number, never used before.
        record: u64,
        /// The version to write.
        version: u32,
    },
    /// Deletes `record`, which has `version`.
    Delete {
        /// The record number.
        record: u64,
        /// The version that the delete removes.
        version: u32,
    },
    /// Reads up to `limit` entries from the key of `record` on.
    Scan {
        /// The record number.
        record: u64,
        /// How many entries to read at most.
        limit: u32,
    },
    /// Reads `record`, which has the version before `version`, then writes `version`.
    Rmw {
        /// The record number.
        record: u64,
        /// The version to write.
        version: u32,
    },
    /// Deletes `record` and those after it in key order, all of this thread;
    /// [`crate::oracle::Oracle::range`] knows the keys.
    DeleteRange {
        /// The first record number.
        record: u64,
        /// How many.
        count: u32,
    },
}

const _: () = assert!(size_of::<Op>() == 16, "an operation is a small descriptor");

impl Op {
    /// What the operation does.
    #[inline]
    pub const fn kind(self) -> OpKind {
        match self {
            Op::Get { .. } => OpKind::Get,
            Op::GetAbsent { .. } => OpKind::GetAbsent,
            Op::Put { .. } => OpKind::Put,
            Op::Update { .. } => OpKind::Update,
            Op::Insert { .. } => OpKind::Insert,
            Op::Delete { .. } => OpKind::Delete,
            Op::Scan { .. } => OpKind::Scan,
            Op::Rmw { .. } => OpKind::Rmw,
            Op::DeleteRange { .. } => OpKind::DeleteRange,
        }
    }

    /// The record number.
    #[inline]
    pub const fn record(self) -> u64 {
        match self {
            Op::Get { record }
            | Op::GetAbsent { record }
            | Op::Put { record, .. }
            | Op::Update { record, .. }
            | Op::Insert { record, .. }
            | Op::Delete { record, .. }
            | Op::Scan { record, .. }
            | Op::Rmw { record, .. }
            | Op::DeleteRange { record, .. } => record,
        }
    }

    /// The version written, `None` for reads and deletes.
    #[inline]
    pub const fn version_written(self) -> Option<u32> {
        match self {
            Op::Put { version, .. }
            | Op::Update { version, .. }
            | Op::Insert { version, .. }
            | Op::Rmw { version, .. } => Some(version),
            Op::Get { .. }
            | Op::GetAbsent { .. }
            | Op::Delete { .. }
            | Op::Scan { .. }
            | Op::DeleteRange { .. } => None,
        }
    }

    /// The operation as two words, for digests.
    #[inline]
    pub(crate) const fn words(self) -> [u64; 2] {
        let argument = match self {
            Op::Get { .. } | Op::GetAbsent { .. } => 0,
            Op::Scan { limit, .. } => limit,
            Op::DeleteRange { count, .. } => count,
            Op::Put { version, .. }
            | Op::Update { version, .. }
            | Op::Insert { version, .. }
            | Op::Delete { version, .. }
            | Op::Rmw { version, .. } => version,
        };
        [self.record(), (self.kind() as u64) << 32 | argument as u64]
    }
}
