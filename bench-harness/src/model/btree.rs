//! The copy-on-write B+tree: each changed leaf is written once between two checkpoints.
//!
//! WA = log + P m (1 + 1/fan) / r, with m the leaves written for each update: what the U updates between two checkpoints
//! touch, over U. SA = P leaves (1 + 1/fan) / (N r) and the pages that wait for a checkpoint. A get asks for one page of
//! each level; inner pages stay in memory, leaves as the popularity of pages and the room for them allow.

use kv_btree::page::HEADER_LEN;
use kv_btree::pager::buffer_pool::FRAME_OVERHEAD;

use super::{Load, Predicted};

/// Settings of a B+tree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BTreeSettings {
    /// Bytes of a page: P.
    pub page_bytes: u64,
    /// Memory for pages: M.
    pub memory_bytes: u64,
    /// Share of the pages in memory that are dirty when a checkpoint begins.
    pub dirty_start: f64,
    /// Bytes of log at which a checkpoint begins.
    pub log_bytes_max: u64,
}

/// Bytes of a page's header, and what an entry and a separator take beside key and value or child.
const PAGE_HEADER_BYTES: f64 = HEADER_LEN as f64;
const LEAF_ENTRY_BYTES: f64 = 9.0;
const SEPARATOR_BYTES: f64 = 12.0;
/// Bytes of a separator's key after truncation, for random keys.
const SEPARATOR_KEY_BYTES: f64 = 4.0;
/// Fill of leaves after random inserts: ln 2 (Yao, "On random 2-3 trees", 1978).
const RANDOM_FILL: f64 = std::f64::consts::LN_2;
/// Memory that a page takes beside its bytes.
const FRAME_OVERHEAD_BYTES: f64 = FRAME_OVERHEAD as f64;

/// What the tree must cost under `load`.
pub fn predict(load: &Load, settings: &BTreeSettings) -> Predicted {
    let page = settings.page_bytes as f64;
    let body = page - PAGE_HEADER_BYTES;
    let per_leaf = body / (load.record_bytes() + LEAF_ENTRY_BYTES) * RANDOM_FILL;
    let fan = (body / (SEPARATOR_KEY_BYTES + SEPARATOR_BYTES) * RANDOM_FILL).max(2.0);
    let leaves = (load.records as f64 / per_leaf).max(1.0);
    let levels = 1.0 + (leaves.ln() / fan.ln()).ceil().max(0.0);
    let inner = leaves / fan;
    let frames = settings.memory_bytes as f64 / (page + FRAME_OVERHEAD_BYTES);
    let for_leaves = (frames - inner).max(0.0);
    let hit = load.popularity.hit_ratio(load.records, per_leaf, for_leaves);
    let wa = (load.writes > 0.0).then(|| {
        let updates = updates_per_checkpoint(load, settings, per_leaf, frames);
        let touched = load.popularity.distinct_pages(load.records, per_leaf, updates);
        let written = touched * page * (1.0 + 1.0 / fan);
        load.log_write_amplification() + written / (updates * load.record_bytes())
    });
    // Between checkpoints every dirty page has a twin in the file, and so have those of the checkpoint before.
    let waiting = 2.0 * (settings.dirty_start * frames).min(leaves) * load.writes.min(1.0).ceil();
    let sa = page * (leaves + inner + waiting) / (load.records as f64 * load.record_bytes());
    Predicted { wa, probes_per_get: levels, misses_per_get: 1.0 - hit, sa, levels: levels as u32 }
}

/// Updates between two checkpoints: until the share of dirty pages, or the length of the log, is reached.
fn updates_per_checkpoint(load: &Load, settings: &BTreeSettings, per_leaf: f64, frames: f64) -> f64 {
    let by_log = settings.log_bytes_max as f64 / (load.log_write_amplification() * load.record_bytes());
    let dirty = settings.dirty_start * frames;
    let touched = |updates: f64| load.popularity.distinct_pages(load.records, per_leaf, updates);
    if touched(by_log) <= dirty {
        return by_log.max(1.0);
    }
    let (mut low, mut high) = (1.0, by_log.max(2.0));
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if touched(middle) < dirty { low = middle } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::super::Popularity;
    use super::*;

    fn load(records: u64) -> Load {
        let popularity = Popularity::Uniform;
        Load { records, key_bytes: 16, value_bytes: 100, popularity, batch: 1, writes: 1.0 }
    }

    fn settings(memory_bytes: u64) -> BTreeSettings {
        BTreeSettings { page_bytes: 4096, memory_bytes, dirty_start: 0.4, log_bytes_max: memory_bytes }
    }

    #[test]
    fn far_beyond_memory_every_update_writes_its_page() {
        // r = 116, P = 4096: about a page for each update, and a fanth of one above it.
        let found = predict(&load(100_000_000), &settings(32 << 20));
        let page_per_record = 4096.0 / 116.0;
        let wa = found.wa.unwrap();
        assert!((page_per_record..page_per_record * 1.05 + 1.4).contains(&wa), "{wa}");
        assert!(found.misses_per_get > 0.99 && found.levels == 4, "{found:?}");
    }

    #[test]
    fn in_memory_the_log_decides_and_updates_of_a_leaf_share_its_write() {
        let found = predict(&load(50_000), &settings(256 << 20));
        // 256 MiB of log hold 1.77 M updates of 2,200 leaves: they cost nearly nothing beside the log.
        assert!((found.wa.unwrap() - 152.0 / 116.0).abs() < 0.1, "{found:?}");
        assert!(found.misses_per_get.abs() < 1e-9);
        let none = predict(&Load { writes: 0.0, ..load(50_000) }, &settings(256 << 20));
        assert_eq!(none.wa, None);
        assert!(none.sa > 1.4 && none.sa < 1.7, "{none:?}");
    }

    #[test]
    fn larger_pages_write_more() {
        let wa = |page_bytes| {
            let settings = BTreeSettings { page_bytes, ..settings(64 << 20) };
            predict(&load(10_000_000), &settings).wa.unwrap()
        };
        assert!(wa(8192) > 1.8 * wa(4096), "{} {}", wa(8192), wa(4096));
    }
}
