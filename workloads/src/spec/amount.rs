//! Counts in a workload file: a number, or a multiple of something that is known once the run is.

/// A count, or a multiple of something that is known once the run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// A plain number.
    Count(u64),
    /// Written as in "10x_memory".
    Times {
        /// How many times.
        factor: f64,
        /// What.
        of: Base,
    },
}

/// What an [`Amount`] may be a multiple of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// The memory budget, in bytes; for records, as many as fill it.
    Memory,
    /// The number of records.
    Records,
    /// Key and value bytes of all records.
    Data,
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Amount::Count(count) => write!(f, "{count}"),
            Amount::Times { factor, of: Base::Memory } => write!(f, "{factor}x_memory"),
            Amount::Times { factor, of: Base::Records } => write!(f, "{factor}x_records"),
            Amount::Times { factor, of: Base::Data } => write!(f, "{factor}x_data"),
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Amount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Amount::Count(count) => serializer.serialize_u64(*count),
            Amount::Times { .. } => serializer.collect_str(self),
        }
    }
}
