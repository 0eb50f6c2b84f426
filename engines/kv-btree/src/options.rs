//! Options: each tunable by name, with its unit, its default and the values it takes.
//!
//! ```
//! let mut options = kv_btree::BTreeOptions::default();
//! options.set("page_size", "8KiB")?;
//! assert!(options.set("page_size", "5000").is_err());
//! # Ok::<(), kv_api::Error>(())
//! ```

use kv_api::limits::Limits;
use kv_api::options::parse_size;
use kv_api::{CommonOptions, Error, IoMode, Result};
use kv_io::vfs::DIRECT_ALIGN;

use crate::page::leaf::key_bytes_max;
use crate::page::meta::is_page_size;
use crate::pager::buffer_pool::FRAME_OVERHEAD;

/// Fewest pages that a pool holds, whatever the budget.
const POOL_PAGES_MIN: usize = 16;
/// Most bytes set aside for the log's buffer and for gathered writes.
const BUFFERS_BYTES_MAX: u64 = 2 << 20;
/// One byte of the budget in this many is for bitmaps and dead lists: enough for a file of 16 times the budget.
const LISTS_SHARE: u64 = 32;

/// Options of a B+tree engine. Sizes in bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct BTreeOptions {
    /// What every engine has.
    pub common: CommonOptions,
    /// Bytes of a page; fixed when the database is created.
    pub page_size: usize,
    /// Per cent of the pool that may be dirty before a checkpoint begins.
    pub dirty_start: u8,
}

impl Default for BTreeOptions {
    fn default() -> Self {
        BTreeOptions { common: CommonOptions::default(), page_size: 4096, dirty_start: 40 }
    }
}

impl BTreeOptions {
    /// Every option of this engine by name, and what it means.
    pub const NAMES: &[(&'static str, &'static str)] = &[
        (
            "page_size",
            "bytes of a page, a power of two from 512 to 64KiB, fixed when the database is created; default 4KiB",
        ),
        ("dirty_start", "per cent of the pool that is dirty when a checkpoint begins, 1 to 50; default 40"),
    ];

    /// Sets the option `name`, one of [`BTreeOptions::NAMES`], from text; sizes as in `8KiB`.
    ///
    /// # Errors
    /// `InvalidOptions`, naming the option and what would do.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let number = parse_size(name, value)?;
        match name {
            "page_size" => self.page_size = usize::try_from(number).unwrap_or(usize::MAX),
            "dirty_start" => self.dirty_start = u8::try_from(number).unwrap_or(u8::MAX),
            _ => {
                let known: Vec<&str> = Self::NAMES.iter().map(|(name, _)| *name).collect();
                let reason = format!("the btree engine has no such option; it has {}", known.join(", "));
                return Err(Error::invalid(name.to_owned(), reason));
            }
        }
        self.check_own()
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
        if !is_page_size(self.page_size) {
            let reason = format!("{} is not a power of two from 512 to 65536", self.page_size);
            return Err(Error::invalid("page_size", reason));
        }
        if !(1..=50).contains(&self.dirty_start) {
            return Err(Error::invalid("dirty_start", format!("{} is not from 1 to 50", self.dirty_start)));
        }
        Ok(())
    }

    /// Pages that the pool may hold: the budget without the buffers, and without a share for bitmaps and dead lists,
    /// which grow with the file, frame by frame.
    pub fn pool_pages(&self) -> usize {
        let budget = self.common.memory_budget;
        let bytes = budget - (budget / 4).min(BUFFERS_BYTES_MAX) - budget / LISTS_SHARE;
        let pages = usize::try_from(bytes).unwrap_or(usize::MAX) / (self.page_size + FRAME_OVERHEAD);
        pages.max(POOL_PAGES_MIN)
    }

    /// The largest key, value and batch.
    pub fn limits(&self) -> Limits {
        Limits::for_budget(self.common.memory_budget, key_bytes_max(self.page_size))
    }

    /// Every setting in force, by name.
    pub fn settings(&self) -> Vec<(String, String)> {
        let own = [
            ("memory_budget", self.common.memory_budget.to_string()),
            ("wal_bytes_max", self.common.wal_bytes_max().to_string()),
            ("background", self.common.background.to_string()),
            ("page_size", self.page_size.to_string()),
            ("dirty_start", self.dirty_start.to_string()),
        ];
        own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Whether to ask for direct I/O: it moves whole blocks of 4 KiB.
    pub fn wants_direct(&self) -> bool {
        self.common.io == IoMode::Direct && self.page_size >= DIRECT_ALIGN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_set_by_name_and_refused_by_name() {
        let mut options = BTreeOptions::default();
        options.set("page_size", "8KiB").unwrap();
        options.set("dirty_start", "50").unwrap();
        assert_eq!((options.page_size, options.dirty_start), (8192, 50));
        for (name, value) in [("page_size", "256"), ("page_size", "x"), ("dirty_start", "51"), ("pages", "1")]
        {
            assert!(options.clone().set(name, value).is_err_and(|e| e.to_string().contains(name)), "{name}");
        }
        for (name, _) in BTreeOptions::NAMES {
            assert!(options.set(name, "2KiB").is_ok() || options.set(name, "2").is_ok());
        }
    }

    #[test]
    fn the_pool_takes_most_of_the_budget_and_never_more() {
        for (budget, page_size) in [(64 << 10, 512), (1 << 20, 4096), (64 << 20, 4096), (1 << 30, 65_536)] {
            let common = CommonOptions { memory_budget: budget, ..CommonOptions::default() };
            let options = BTreeOptions { common, page_size, ..BTreeOptions::default() };
            let bytes = (options.pool_pages() * page_size) as u64;
            assert!(bytes <= budget && bytes * 2 > budget, "{bytes} of {budget}");
        }
    }
}
