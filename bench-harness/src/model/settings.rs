//! What the formulas need to know of an engine, from the settings that it says are in force.

use kv_api::{CommonOptions, EngineInfo};
use kv_btree::BTreeOptions;
use kv_io::wal::WalOptions;
use kv_lsm::LsmOptions;

use super::btree::{BTreeSettings, SYNC_UPDATES};
use super::lsm::{CLOSED_LOOP_LAG, LsmSettings, NO_LAG};
use super::{Load, Predicted, btree, lsm};

/// An engine as the model sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Settings {
    /// The copy-on-write B+tree.
    BTree(BTreeSettings),
    /// The leveled LSM tree.
    Lsm(LsmSettings),
}

impl Settings {
    /// What `info` tells. `None`: an engine that the model has no formulas for.
    pub fn of(info: &EngineInfo) -> Option<Settings> {
        Settings::read(&info.name, &info.settings)
    }

    /// The same from the name of an engine and its settings by name.
    pub fn read(engine: &str, settings: &[(String, String)]) -> Option<Settings> {
        let text =
            |name: &str| settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let number = |name: &str| text(name)?.parse::<u64>().ok();
        let common = CommonOptions { memory_budget: number("memory_budget")?, ..CommonOptions::default() };
        let is_inline = text("background") == Some("inline");
        match engine {
            "btree" => {
                let options = BTreeOptions {
                    common,
                    page_size: usize::try_from(number("page_size")?).ok()?,
                    dirty_start: u8::try_from(number("dirty_start")?).ok()?,
                };
                Some(Settings::BTree(BTreeSettings {
                    page_bytes: number("page_size")?,
                    frames: options.pool_pages() as u64,
                    dirty_start: f64::from(options.dirty_start) / 100.0,
                    log_bytes_max: number("wal_bytes_max")?,
                    sync_updates: if is_inline { 0.0 } else { SYNC_UPDATES },
                }))
            }
            "lsm" => {
                let memtable = number("memtable")?;
                let options = LsmOptions {
                    common,
                    memtable: Some(memtable),
                    l0_trigger: number("l0_trigger")?,
                    ..LsmOptions::default()
                };
                let budget = options.common.memory_budget;
                let buffer = WalOptions::for_budget(budget).buffer_bytes_max() as u64;
                let taken = memtable + options.sizes().compaction + buffer;
                Some(Settings::Lsm(LsmSettings {
                    memtable_bytes: memtable,
                    cache_bytes: budget.saturating_sub(taken).max(budget / 16),
                    block_bytes: number("block_size")?,
                    table_bytes: number("table_size")?,
                    size_ratio: number("size_ratio")?,
                    l0_trigger: options.l0_trigger,
                    base_bytes: options.sizes().base,
                    filter_bits: if text("filter") == Some("none") {
                        0
                    } else {
                        u32::try_from(number("filter_bits")?).ok()?
                    },
                    lag: if is_inline { NO_LAG } else { CLOSED_LOOP_LAG },
                }))
            }
            _ => None,
        }
    }

    /// What the engine must cost under `load`.
    ///
    /// # Errors
    /// Why there is no formula, in words that fit behind a colon.
    pub fn predict(&self, load: &Load) -> Result<Predicted, String> {
        match self {
            Settings::BTree(settings) if load.value_bytes > btree::value_bytes_max(settings.page_bytes) => {
                Err(format!(
                    "values of {} B lie in pages of their own behind {} B pages, and the formulas know leaves alone",
                    load.value_bytes, settings.page_bytes
                ))
            }
            Settings::BTree(settings) => Ok(btree::predict(load, settings)),
            Settings::Lsm(settings) => Ok(lsm::predict(load, settings)),
        }
    }

    /// Which of the engine's blocks its probes are: pages of the tree, or data blocks. Filters and fences are asked in
    /// memory.
    pub fn probed(&self) -> &'static [&'static str] {
        match self {
            Settings::BTree(_) => &["leaf", "inner"],
            Settings::Lsm(_) => &["data"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Popularity;
    use super::*;

    #[test]
    fn what_an_engine_says_is_what_the_model_takes() {
        let info = |name: &str, settings: Vec<(String, String)>| EngineInfo {
            name: name.to_owned(),
            version: String::new(),
            durability: Vec::new(),
            io: None,
            keyspace: kv_api::Keyspace::Raw,
            settings,
        };
        let Some(Settings::BTree(tree)) = Settings::of(&info("btree", BTreeOptions::default().settings()))
        else {
            panic!("the B+tree says all that the model needs")
        };
        assert_eq!((tree.page_bytes, tree.dirty_start), (4096, 0.4));
        let Some(Settings::Lsm(lsm)) = Settings::of(&info("lsm", LsmOptions::default().settings())) else {
            panic!("the LSM tree says all that the model needs")
        };
        assert_eq!((lsm.size_ratio, lsm.filter_bits, lsm.lag), (10, 10, CLOSED_LOOP_LAG));
        assert_eq!(lsm.base_bytes, 4 * lsm.memtable_bytes);
        assert_eq!(Settings::of(&info("redb", Vec::new())), None);
        let large = Load { value_bytes: 5000, ..Load::overwrites(Popularity::Uniform) };
        assert!(Settings::BTree(tree).predict(&large).is_err());
        assert!(Settings::Lsm(lsm).predict(&large).is_ok());
    }
}
