//! Options that every engine shares: how durable, how much memory, which way to the disk, who does the upkeep.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// What an acknowledged write survives. Levels are ordered: a higher one survives all that a lower one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum Durability {
    /// May be lost with the process.
    Memory,
    /// Survives the end of the process, `kill -9` included.
    Os,
    /// Survives power loss.
    #[default]
    Disk,
}

/// Which way page files and tables reach the disk. The log always goes through the page cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum IoMode {
    /// `O_DIRECT` where the file system allows it, else through the page cache; the mode obtained is reported.
    #[default]
    Direct,
    /// Through the operating system's page cache.
    Buffered,
}

/// Who does flushes, compactions and checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum Background {
    /// This many threads beside the callers.
    Threads(usize),
    /// The caller, at fixed points: the end of a commit, flush, settle. One seed is one schedule.
    Inline,
}

impl Default for Background {
    fn default() -> Self {
        Background::Threads(1)
    }
}

/// What the keys of a directory are. Fixed when it is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum Keyspace {
    /// The caller's own keys.
    #[default]
    Raw,
    /// Keys of the [`crate::Tables`] layer, each behind its table's number.
    Tables,
}

/// Options that mean the same in every engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommonOptions {
    /// Bytes of memory for all that grows with the data: buffers, caches, filters, indexes.
    pub memory_budget: u64,
    /// Which way page files and tables reach the disk.
    pub io: IoMode,
    /// Who does the upkeep.
    pub background: Background,
    /// Bytes of log that force a flush or checkpoint. `None` means the memory budget.
    pub wal_bytes_max: Option<u64>,
    /// Refuse every write, and leave every file as it is.
    pub read_only: bool,
    /// Create the database if the directory has none.
    pub create: bool,
    /// What the keys are.
    pub keyspace: Keyspace,
}

impl CommonOptions {
    /// The smallest memory budget, in bytes.
    pub const MEMORY_BUDGET_MIN: u64 = 64 << 10;

    /// The log limit in force, in bytes.
    pub fn wal_bytes_max(&self) -> u64 {
        self.wal_bytes_max.unwrap_or(self.memory_budget)
    }

    /// Refuses values that no engine could use.
    ///
    /// # Errors
    /// [`Error::InvalidOptions`], naming the option and the values that would do.
    pub fn check(&self) -> Result<(), Error> {
        if self.memory_budget < Self::MEMORY_BUDGET_MIN {
            let least = Self::MEMORY_BUDGET_MIN;
            return Err(Error::invalid(
                "memory_budget",
                format!("{} bytes is too little; give at least {least}", self.memory_budget),
            ));
        }
        if self.background == Background::Threads(0) {
            return Err(Error::invalid("background", "0 threads never flush; give at least 1, or `inline`"));
        }
        if self.wal_bytes_max() < Self::MEMORY_BUDGET_MIN {
            let least = Self::MEMORY_BUDGET_MIN;
            return Err(Error::invalid("wal_bytes_max", format!("too little; give at least {least} bytes")));
        }
        if self.read_only && self.create {
            return Err(Error::invalid("create", "a read-only handle cannot create a database"));
        }
        Ok(())
    }
}

impl Default for CommonOptions {
    fn default() -> Self {
        CommonOptions {
            memory_budget: 256 << 20,
            io: IoMode::default(),
            background: Background::default(),
            wal_bytes_max: None,
            read_only: false,
            create: true,
            keyspace: Keyspace::Raw,
        }
    }
}

/// The units of a size, and how many bytes each has.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
];

/// Reads a size in bytes, with an optional unit in upper or lower case and perhaps a fraction: `4096`, `8KiB`,
/// `1.5 GiB`, `5MB`. `option` is named in the error. Workload files write sizes the same way.
///
/// # Errors
/// `InvalidOptions` for anything else, and for more than 64 bits.
pub fn parse_size(option: &str, text: &str) -> Result<u64, Error> {
    let parse = || {
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(end)?;
        let unit = unit.trim().to_ascii_lowercase();
        let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(*factor);
        }
        let bytes = number.parse::<f64>().ok()? * *factor as f64;
        (bytes < u64::MAX as f64).then_some(bytes.round() as u64)
    };
    parse().ok_or_else(|| {
        Error::invalid(
            option.to_owned(),
            format!("`{text}` is not a size; write it as 4096, 4KiB, 1MiB or 1GiB"),
        )
    })
}

macro_rules! names {
    ($type:ident, $option:literal, $($name:literal => $value:ident),+) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($type::$value => $name),+ })
            }
        }

        impl FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                match text {
                    $($name => Ok($type::$value),)+
                    _ => Err(Error::invalid($option, format!(
                        "`{text}` is not one of {}", [$($name),+].join(", ")
                    ))),
                }
            }
        }
    };
}

names!(Durability, "durability", "memory" => Memory, "os" => Os, "disk" => Disk);
names!(IoMode, "io", "direct" => Direct, "buffered" => Buffered);
names!(Keyspace, "keyspace", "raw" => Raw, "tables" => Tables);

impl fmt::Display for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Background::Inline => f.write_str("inline"),
            Background::Threads(count) => write!(f, "{count}"),
        }
    }
}

impl FromStr for Background {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "inline" {
            return Ok(Background::Inline);
        }
        match text.parse() {
            Ok(count @ 1..=64) => Ok(Background::Threads(count)),
            _ => Err(Error::invalid(
                "background",
                format!("`{text}` is neither `inline` nor a number of threads from 1 to 64"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_ordered_and_named() {
        assert!(Durability::Memory < Durability::Os && Durability::Os < Durability::Disk);
        for level in [Durability::Memory, Durability::Os, Durability::Disk] {
            assert_eq!(level.to_string().parse::<Durability>().ok(), Some(level));
        }
        assert!("fsync".parse::<Durability>().is_err_and(|e| e.to_string().contains("memory, os, disk")));
    }

    #[test]
    fn sizes_have_a_unit_or_none() {
        for (text, bytes) in
            [("4096", 4096), ("8KiB", 8192), ("1MiB", 1 << 20), ("2 GiB", 2 << 30), ("1.5kib", 1536)]
        {
            assert_eq!(parse_size("memtable", text).ok(), Some(bytes), "{text}");
        }
        for text in ["", "KiB", "-1", "1TB", "1_000", "99999999999GiB"] {
            assert!(
                parse_size("memtable", text).is_err_and(|e| e.to_string().contains("memtable")),
                "{text}"
            );
        }
    }

    #[test]
    fn options_that_cannot_work_are_refused_by_name() {
        let tiny = CommonOptions { memory_budget: 1, ..CommonOptions::default() };
        assert!(tiny.check().is_err_and(|e| e.to_string().contains("memory_budget")));
        let idle = CommonOptions { background: Background::Threads(0), ..CommonOptions::default() };
        assert!(idle.check().is_err());
        assert!("0".parse::<Background>().is_err());
    }
}
