//! Options: each tunable by name, with its unit, its default and the values it takes.
//!
//! ```
//! let mut options = kv_lsm::LsmOptions::default();
//! options.set("memtable", "1MiB")?;
//! options.set("filter", "none")?;
//! assert!(options.set("memtabel", "1MiB").is_err());
//! # Ok::<(), kv_api::Error>(())
//! ```

use kv_api::limits::{KEY_BYTES_MAX, Limits};
use kv_api::options::parse_size;
use kv_api::{CommonOptions, Error, Result};

use crate::sstable::bloom::FilterKind;

/// How tables are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadMode {
    /// Through the block cache: every byte is metered and under the memory budget.
    Pread,
    /// Through mapped files, an option to compare with. The page cache is the cache, and the meter sees nothing.
    Mmap,
}

/// Options of an LSM engine. Sizes in bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct LsmOptions {
    /// What every engine has.
    pub common: CommonOptions,
    /// Bytes of a memtable before it is sealed; `None` means the smaller of 64 MiB and a sixth of the budget.
    pub memtable: Option<u64>,
    /// Target bytes of a data block.
    pub block_size: u64,
    /// Target bytes of a table; `None` means as much as a memtable, but at most 32 MiB.
    pub table_size: Option<u64>,
    /// Each level holds this many times the bytes of the one above it.
    pub size_ratio: u64,
    /// Tables in level 0 that start a compaction.
    pub l0_trigger: u64,
    /// Which filter new tables get.
    pub filter: FilterKind,
    /// Bits per key of the filter.
    pub filter_bits: u32,
    /// How tables are read.
    pub read_mode: ReadMode,
}

impl Default for LsmOptions {
    fn default() -> Self {
        LsmOptions {
            common: CommonOptions::default(),
            memtable: None,
            block_size: 4096,
            table_size: None,
            size_ratio: 10,
            l0_trigger: 4,
            filter: FilterKind::Classic,
            filter_bits: 10,
            read_mode: ReadMode::Pread,
        }
    }
}

/// Smallest and largest value of each size option.
const MEMTABLE_RANGE: (u64, u64) = (1 << 10, 1 << 30);
const BLOCK_RANGE: (u64, u64) = (512, 32 << 10);
const TABLE_RANGE: (u64, u64) = (4 << 10, 1 << 30);

impl LsmOptions {
    /// Every option of this engine by name, and what it means.
    pub const NAMES: &[(&'static str, &'static str)] = &[
        (
            "memtable",
            "bytes of a memtable before it is sealed, 1KiB to 1GiB; default: budget/6, at most 64MiB",
        ),
        ("block_size", "target bytes of a data block, a power of two from 512 to 32KiB; default 4KiB"),
        ("table_size", "target bytes of a table, 4KiB to 1GiB; default: as the memtable, at most 32MiB"),
        ("size_ratio", "how many times larger each level is than the one above, 2 to 100; default 10"),
        ("l0_trigger", "tables in level 0 that start a compaction, 1 to 64; default 4"),
        ("filter", "none | classic; default classic"),
        ("filter_bits", "bits per key of the filter, 1 to 64; default 10"),
        ("read_mode", "pread | mmap; mmap passes the meter and the budget by; default pread"),
    ];

    /// Sets the option `name`, one of [`LsmOptions::NAMES`], from text; sizes as in `64KiB`.
    ///
    /// # Errors
    /// `InvalidOptions`, naming the option and what would do.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let mut changed = self.clone();
        changed.set_unchecked(name, value)?;
        changed.check_own()?;
        *self = changed;
        Ok(())
    }

    fn set_unchecked(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "memtable" => self.memtable = Some(parse_size(name, value)?),
            "block_size" => self.block_size = parse_size(name, value)?,
            "table_size" => self.table_size = Some(parse_size(name, value)?),
            "size_ratio" => self.size_ratio = parse_size(name, value)?,
            "l0_trigger" => self.l0_trigger = parse_size(name, value)?,
            "filter" => {
                self.filter =
                    one_of(name, value, &[("none", FilterKind::None), ("classic", FilterKind::Classic)])?
            }
            "filter_bits" => self.filter_bits = u32::try_from(parse_size(name, value)?).unwrap_or(u32::MAX),
            "read_mode" => {
                self.read_mode = one_of(name, value, &[("pread", ReadMode::Pread), ("mmap", ReadMode::Mmap)])?
            }
            _ => {
                let known: Vec<&str> = Self::NAMES.iter().map(|(name, _)| *name).collect();
                let reason = format!("the lsm engine has no such option; it has {}", known.join(", "));
                return Err(Error::invalid(name.to_owned(), reason));
            }
        }
        Ok(())
    }

    /// Refuses values that cannot work.
    ///
    /// # Errors
    /// `InvalidOptions`, naming the option and what would do.
    pub fn check(&self) -> Result<()> {
        self.common.check()?;
        self.check_own()
    }

    fn check_own(&self) -> Result<()> {
        let within = |name: &'static str, value: u64, (least, most): (u64, u64)| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(Error::invalid(name, format!("{value} is outside {least} to {most}")))
        };
        within("memtable", self.memtable.unwrap_or(MEMTABLE_RANGE.0), MEMTABLE_RANGE)?;
        within("block_size", self.block_size, BLOCK_RANGE)?;
        within("table_size", self.table_size.unwrap_or(TABLE_RANGE.0), TABLE_RANGE)?;
        within("size_ratio", self.size_ratio, (2, 100))?;
        within("l0_trigger", self.l0_trigger, (1, 64))?;
        within("filter_bits", u64::from(self.filter_bits), (1, 64))?;
        if self.block_size.is_power_of_two() {
            return Ok(());
        }
        Err(Error::invalid("block_size", format!("{} is not a power of two", self.block_size)))
    }

    /// The sizes in force.
    pub fn sizes(&self) -> Sizes {
        let budget = self.common.memory_budget;
        let memtable = self.memtable.unwrap_or((budget / 6).min(64 << 20)).max(MEMTABLE_RANGE.0);
        let table = self.table_size.unwrap_or_else(|| memtable.clamp(64 << 10, 32 << 20));
        Sizes {
            memtable,
            table,
            compaction: (budget / 8).min(16 << 20),
            // Level 0 at its trigger and the base level are of one size: neither makes merges lopsided.
            base: memtable.saturating_mul(self.l0_trigger.max(2)),
        }
    }

    /// The largest key, value and batch.
    pub fn limits(&self) -> Limits {
        Limits::for_budget(self.common.memory_budget, KEY_BYTES_MAX)
    }

    /// Every setting in force, by name.
    pub fn settings(&self) -> Vec<(String, String)> {
        let sizes = self.sizes();
        let filter = match self.filter {
            FilterKind::None => "none",
            FilterKind::Classic => "classic",
        };
        let read_mode = match self.read_mode {
            ReadMode::Pread => "pread",
            ReadMode::Mmap => "mmap",
        };
        let own = [
            ("memory_budget", self.common.memory_budget.to_string()),
            ("wal_bytes_max", self.common.wal_bytes_max().to_string()),
            ("background", self.common.background.to_string()),
            ("memtable", sizes.memtable.to_string()),
            ("block_size", self.block_size.to_string()),
            ("table_size", sizes.table.to_string()),
            ("size_ratio", self.size_ratio.to_string()),
            ("l0_trigger", self.l0_trigger.to_string()),
            ("filter", filter.to_owned()),
            ("filter_bits", self.filter_bits.to_string()),
            ("read_mode", read_mode.to_owned()),
        ];
        own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// Sizes that follow from the options, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// A memtable.
    pub memtable: u64,
    /// A table.
    pub table: u64,
    /// All buffers of one compaction together.
    pub compaction: u64,
    /// What the base level may hold.
    pub base: u64,
}

fn one_of<T: Copy>(name: &str, text: &str, known: &[(&str, T)]) -> Result<T> {
    known.iter().find(|(own, _)| *own == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(own, _)| *own).collect();
        Error::invalid(name.to_owned(), format!("`{text}` is not one of {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_option_can_be_set_and_is_in_force() -> Result<()> {
        let mut options = LsmOptions::default();
        for (name, value) in [
            ("memtable", "1MiB"),
            ("block_size", "512"),
            ("table_size", "64KiB"),
            ("size_ratio", "2"),
            ("l0_trigger", "1"),
            ("filter", "none"),
            ("filter_bits", "16"),
            ("read_mode", "mmap"),
        ] {
            options.set(name, value)?;
            assert!(LsmOptions::NAMES.iter().any(|(known, _)| *known == name));
        }
        let settings = options.settings();
        for (name, _) in LsmOptions::NAMES {
            assert!(settings.iter().any(|(known, _)| known == name), "{name}");
        }
        assert!(settings.contains(&("memtable".to_owned(), "1048576".to_owned())));
        Ok(())
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let mut options = LsmOptions::default();
        for (name, value) in [
            ("memtable", "12"),
            ("memtable", "1 apple"),
            ("block_size", "5000"),
            ("size_ratio", "1"),
            ("filter", "ribbon"),
            ("memtabel", "1MiB"),
            ("table_size", "99999999999GiB"),
        ] {
            assert!(options.set(name, value).is_err_and(|error| error.to_string().contains(name)));
        }
    }

    #[test]
    fn sizes_follow_from_the_budget() {
        let mut options = LsmOptions::default();
        options.common.memory_budget = 96 << 20;
        assert_eq!(options.sizes().memtable, 16 << 20);
        options.common.memory_budget = 8 << 30;
        assert_eq!((options.sizes().memtable, options.sizes().table), (64 << 20, 32 << 20));
    }
}
