//! The settings that advice weighs: those of the two engines that a user would change first.

use kv_api::CommonOptions;
use kv_btree::BTreeOptions;
use kv_lsm::LsmOptions;

use crate::model::Settings;

/// Bytes of a B+tree's pages.
const PAGES: [(usize, &str); 3] = [(4096, "4KiB"), (8192, "8KiB"), (16_384, "16KiB")];
/// Size ratios of a leveled tree.
const RATIOS: std::ops::RangeInclusive<u64> = 4..=16;

/// Settings with the text that `--engine` takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// As in `--engine`.
    pub label: String,
    /// The engine's name.
    pub engine: &'static str,
    /// As the model takes them.
    pub settings: Settings,
}

/// Every setting that is weighed, under a budget of `memory_bytes`. The LSM tree of the laboratory merges by levels alone,
/// so no tiered one is among them.
pub fn all(memory_bytes: u64) -> Vec<Candidate> {
    let common = CommonOptions { memory_budget: memory_bytes, ..CommonOptions::default() };
    let trees = PAGES.into_iter().map(|(page_size, word)| {
        let options = BTreeOptions { common: common.clone(), page_size, ..BTreeOptions::default() };
        (format!("btree:page_size={word}"), "btree", options.settings())
    });
    let levels = RATIOS.map(|size_ratio| {
        let options = LsmOptions { common: common.clone(), size_ratio, ..LsmOptions::default() };
        (format!("lsm:size_ratio={size_ratio}"), "lsm", options.settings())
    });
    let known = trees.chain(levels).filter_map(|(label, engine, settings)| {
        Some(Candidate { label, engine, settings: Settings::read(engine, &settings)? })
    });
    known.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_candidate_is_one_that_an_engine_takes() {
        let found = all(32 << 20);
        assert_eq!(found.len(), 16);
        let registry = crate::Registry::standard();
        for candidate in &found {
            let spec = registry.parse_specs(&candidate.label).unwrap().remove(0);
            assert_eq!(spec.name, candidate.engine);
            assert!(registry.prepare(&spec, &CommonOptions::default()).is_ok(), "{}", candidate.label);
        }
    }
}
