//! The leveled LSM tree: an entry is written once when its memtable is flushed, and again each time a merge takes it, or
//! a table above it, one level down.
//!
//! WA = log + u0 (1 + (n0 B + S1) / (n0 B) + sum over the lower levels of alpha T), with u0 the share of a memtable's
//! entries that are different records, n0 the tables of level 0 that start a merge, B their bytes and S1 those of the
//! level that takes them. alpha is the share of the next level that an average merge drags along: 1 would be the simple
//! estimate, and a level on its way from empty to full is dragged along by less.

use super::{Load, Predicted};

/// Settings of an LSM tree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LsmSettings {
    /// Bytes of a memtable.
    pub memtable_bytes: u64,
    /// Memory for blocks, filters and indexes.
    pub cache_bytes: u64,
    /// Bytes of a data block.
    pub block_bytes: u64,
    /// T.
    pub size_ratio: u64,
    /// Tables of level 0 that start a merge: n0.
    pub l0_trigger: u64,
    /// Bytes that the first level below 0 may hold.
    pub base_bytes: u64,
    /// Bits of filter for each key, 0 without filters.
    pub filter_bits: u32,
}

/// What an entry takes in a memtable and in a table beside key and value: kind, sequence number, lengths, pointers; in a
/// table its share of block heads, the index and the filter.
const MEMTABLE_ENTRY_BYTES: f64 = 64.0;
const TABLE_ENTRY_BYTES: f64 = 14.0;
/// alpha, from RocksDB's published level dumps (7.6 and 8.0 at T = 10).
const DRAGGED_SHARE: f64 = 0.78;

/// What the tree must cost under `load`.
pub fn predict(load: &Load, settings: &LsmSettings) -> Predicted {
    let entry = load.record_bytes() + TABLE_ENTRY_BYTES;
    let ratio = settings.size_ratio.max(2) as f64;
    let bottom = load.records as f64 * entry;
    let buffered = settings.memtable_bytes as f64 / (load.record_bytes() + MEMTABLE_ENTRY_BYTES);
    let distinct = load.popularity.distinct(load.records, buffered).max(1.0);
    let kept = (distinct / buffered.max(1.0)).min(1.0);
    let flushed = distinct * entry;
    // Levels a ratio apart from the deepest up, until one is small enough to take level 0.
    let base = (settings.base_bytes as f64).max(flushed);
    let below = ((bottom / base).ln() / ratio.ln()).ceil().max(0.0);
    let step = if below > 0.0 { (bottom / base).powf(1.0 / below).max(1.0) } else { 1.0 };
    let first = if below > 0.0 { base } else { bottom };
    let merged = settings.l0_trigger as f64 * flushed;
    let wa = (load.writes > 0.0).then(|| {
        // A merge of level 0 rewrites the level that takes it; each level below costs a share of its ratio.
        let into_first = (merged + first) / merged;
        let lower = below * (1.0 + DRAGGED_SHARE * step);
        let per_entry = entry / load.record_bytes();
        load.log_write_amplification() + kept * per_entry * (1.0 + into_first + lower)
    });
    let levels = 1.0 + below;
    let false_positive = false_positive(settings.filter_bits);
    // The deepest level holds nearly all; above it half of level 0 and the levels between are asked first.
    let above = settings.l0_trigger as f64 / 2.0 + below;
    let probes_per_get = 1.0 + above * false_positive;
    let metadata = load.records as f64 * (f64::from(settings.filter_bits) / 8.0 + 1.0);
    let blocks = (settings.cache_bytes as f64 - metadata).max(0.0) / settings.block_bytes as f64;
    let per_block = settings.block_bytes as f64 / entry;
    let hit = load.popularity.hit_ratio(load.records, per_block, blocks);
    // Stale versions wait in every level but the last, half full on average while writes go on.
    let upper: f64 = (1..=below as u32).map(|level| step.powi(-(level as i32))).sum();
    let stale = if load.writes > 0.0 { upper + merged / 2.0 / bottom } else { 0.0 };
    let sa = entry / load.record_bytes() * (1.0 + stale);
    let misses_per_get = probes_per_get * (1.0 - hit);
    Predicted { wa, probes_per_get, misses_per_get, sa, levels: levels as u32 }
}

/// The share of absent keys that a filter of so many bits a key lets through, with ln 2 times as many hashes: 0.6185^bits
/// (Bloom, 1970). 1 without a filter.
pub fn false_positive(bits: u32) -> f64 {
    0.6185_f64.powi(i32::try_from(bits).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::Popularity;
    use super::*;

    fn load(records: u64) -> Load {
        let popularity = Popularity::Uniform;
        Load { records, key_bytes: 16, value_bytes: 100, popularity, batch: 1, writes: 1.0 }
    }

    fn settings(memtable_bytes: u64) -> LsmSettings {
        LsmSettings {
            memtable_bytes,
            cache_bytes: 4 * memtable_bytes,
            block_bytes: 4096,
            size_ratio: 10,
            l0_trigger: 4,
            base_bytes: 4 * memtable_bytes,
            filter_bits: 10,
        }
    }

    #[test]
    fn ten_gib_on_three_levels_write_what_the_literature_says() {
        // 10 GiB, 64 MiB memtable, first level 256 MiB: two levels below it, about 14.5 with the log at r large.
        let mut big = load(10 << 20);
        (big.key_bytes, big.value_bytes, big.batch) = (24, 1000, 1000);
        let found = predict(&big, &settings(64 << 20));
        let wa = found.wa.unwrap();
        assert!((13.0..22.0).contains(&wa) && found.levels == 3, "{wa} {found:?}");
    }

    #[test]
    fn skew_and_a_larger_memtable_write_less() {
        let wa = |memtable: u64, popularity| {
            predict(&Load { popularity, ..load(10_000_000) }, &settings(memtable)).wa.unwrap()
        };
        assert!(wa(16 << 20, Popularity::Uniform) < wa(1 << 20, Popularity::Uniform));
        assert!(wa(16 << 20, Popularity::Zipf { theta: 0.99 }) < 0.6 * wa(16 << 20, Popularity::Uniform));
    }

    #[test]
    fn filters_have_their_known_rates_and_save_probes() {
        assert!((false_positive(10) - 0.0082).abs() < 1e-4);
        assert!((false_positive(5) - 0.091).abs() < 1e-3);
        assert_eq!(false_positive(0), 1.0);
        let without = LsmSettings { filter_bits: 0, ..settings(1 << 20) };
        let with = predict(&load(1_000_000), &settings(1 << 20)).probes_per_get;
        assert!(with < 1.1 && predict(&load(1_000_000), &without).probes_per_get > 3.0, "{with}");
    }
}
