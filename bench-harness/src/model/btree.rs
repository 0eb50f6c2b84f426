//! The copy-on-write B+tree: each changed page is written once between two checkpoints.
//!
//! WA = log + P (m + i + f) / r, with m the leaves, i the inner pages and f the pages of free map and meta that are written
//! for each update. Between two checkpoints U updates touch D(U) leaves and, since the path above each is copied, what
//! those leaves touch of every level of inner pages; so m = D(U) / U. A get asks for one page of each level; inner pages
//! stay in memory, leaves as the popularity of pages and the room for them allow.
//!
//! SA = P (leaves + inner + map + waiting) / (N r): a page that is replaced waits for the checkpoint after the next one,
//! and the file keeps the length of the worst moment. That is a slow sync behind another one: twice as many pages as the
//! engine lets die in one checkpoint, and an average interval on top.

use kv_btree::page::HEADER_LEN;
use kv_btree::page::slotted::SLOT_LEN;
use kv_btree::pressure::dead_max;

use super::{Load, Predicted};

/// Settings of a B+tree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BTreeSettings {
    /// Bytes of a page: P.
    pub page_bytes: u64,
    /// Pages that the pool holds.
    pub frames: u64,
    /// Share of the pages in memory that are dirty when a checkpoint begins.
    pub dirty_start: f64,
    /// Bytes of log at which a checkpoint begins.
    pub log_bytes_max: u64,
    /// Updates that are taken while a checkpoint syncs: [`SYNC_UPDATES`] with threads, none where the caller waits.
    pub sync_updates: f64,
}

/// Updates that writers go on with while a checkpoint syncs what it wrote. Fitted on `bench-harness/model/fit.toml`: 1,838
/// updates an interval, of which 320 make the pool dirty.
pub const SYNC_UPDATES: f64 = 1_500.0;

/// Bytes of a page's header, and what an entry and a separator take beside key and value or child: two lengths or a
/// length and a child, and the slot.
const PAGE_HEADER_BYTES: f64 = HEADER_LEN as f64;
const LEAF_ENTRY_BYTES: f64 = 4.0 + SLOT_LEN as f64;
const SEPARATOR_BYTES: f64 = 6.0 + SLOT_LEN as f64;
/// Bytes of a separator's key after truncation, for random keys, behind what all keys begin with: what neighbours share,
/// and half a byte more on average to tell them apart.
fn separator_key_bytes(load: &Load) -> f64 {
    (load.records.max(2) as f64).log2() / load.bits_per_key_byte + 0.5
}
/// Fill of leaves after random inserts: ln 2 (Yao, "On random 2-3 trees", 1978).
const RANDOM_FILL: f64 = std::f64::consts::LN_2;
/// Bytes of the meta page that a checkpoint writes.
const META_BYTES: f64 = 4096.0;

/// What the pages of a tree come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pages {
    page: f64,
    /// Records in a leaf.
    pub per_leaf: f64,
    fan: f64,
    /// Leaves.
    pub leaves: f64,
    inner: f64,
    height: f64,
}

/// Longest value that lies in its leaf, in bytes.
pub fn value_bytes_max(page_bytes: u64) -> u64 {
    page_bytes / 4
}

impl Pages {
    pub(super) fn of(load: &Load, page_bytes: u64) -> Pages {
        let page = page_bytes as f64;
        let body = page - PAGE_HEADER_BYTES;
        let separator = separator_key_bytes(load) + SEPARATOR_BYTES;
        let fan = (body / separator * RANDOM_FILL).max(2.0);
        // A root has no neighbours, so it does not know what all keys begin with.
        let full = body / (separator + load.shared_key_bytes as f64);
        // Random keys of a leaf share as many bytes as it takes to number the leaves, and the page holds them once.
        let roughly = load.records as f64 * load.record_bytes() / page;
        let shared =
            (roughly.max(1.0).log2() / load.bits_per_key_byte).floor() + load.shared_key_bytes as f64;
        let per_leaf = body / (load.record_bytes() + LEAF_ENTRY_BYTES - shared) * RANDOM_FILL;
        let leaves = (load.records as f64 / per_leaf).max(1.0);
        let inner = if leaves > 1.0 { (leaves / (fan - 1.0)).max(1.0) } else { 0.0 };
        let (mut height, mut nodes) = (1.0, leaves);
        while nodes > 1.0 {
            // A root is divided when it is full, all other pages are as full as random inserts leave them.
            nodes = if nodes <= full { 1.0 } else { nodes / fan };
            height += 1.0;
        }
        Pages { page, per_leaf, fan, leaves, inner, height }
    }

    /// Pages reachable from the root.
    fn live(&self) -> f64 {
        self.leaves + self.inner
    }

    /// Leaves and inner pages that `updates` touch.
    fn touched(&self, load: &Load, updates: f64) -> f64 {
        let leaves = load.popularity.distinct_pages(load.records, self.per_leaf, updates).min(self.leaves);
        let mut all = leaves;
        let mut level = self.leaves;
        let mut below = leaves;
        for _ in 1..self.height as u32 {
            level = (level / self.fan).max(1.0);
            below = level * -(-below / level).exp_m1();
            all += below;
        }
        all
    }

    /// Bytes of free map and meta that a checkpoint writes.
    fn named_by_checkpoint(&self) -> f64 {
        (self.live() / 8.0 / (self.page - PAGE_HEADER_BYTES)).ceil() * self.page + META_BYTES
    }
}

/// What the tree must cost under `load`, whose values lie in leaves.
pub fn predict(load: &Load, settings: &BTreeSettings) -> Predicted {
    let pages = Pages::of(load, settings.page_bytes);
    let frames = settings.frames as f64;
    let hit =
        load.popularity.hit_ratio(load.records, pages.per_leaf, (frames - pages.inner).clamp(0.0, frames));
    let written = (load.writes > 0.0).then(|| {
        let updates = updates_per_checkpoint(load, settings, &pages);
        let touched = pages.touched(load, updates);
        let bytes = touched * pages.page + pages.named_by_checkpoint();
        (load.log_write_amplification() + bytes / (updates * load.write_bytes()), touched)
    });
    let waiting = written.map_or(0.0, |(_, touched)| touched + 2.0 * dead_pages_max(&pages, settings));
    let sa = pages.page * (pages.live() + waiting) / (load.records as f64 * load.record_bytes());
    Predicted {
        wa: written.map(|(wa, _)| wa),
        probes_per_get: pages.height,
        misses_per_get: 1.0 - hit,
        sa,
        levels: pages.height as u32,
        block_bytes: pages.page,
        entries_per_block: pages.per_leaf,
        miss_share: 1.0 - hit,
        misses_per_write: 1.0 - hit,
        scan_runs: 1.0,
        merge_reads: 0.0,
    }
}

fn dead_pages_max(pages: &Pages, settings: &BTreeSettings) -> f64 {
    let frames = usize::try_from(settings.frames).unwrap_or(usize::MAX);
    dead_max(pages.live() as u64, frames) as f64
}

/// Updates between two checkpoints: until the share of dirty pages, the length of the log or the number of dead pages is
/// reached, and those taken meanwhile.
fn updates_per_checkpoint(load: &Load, settings: &BTreeSettings, pages: &Pages) -> f64 {
    let by_log = settings.log_bytes_max as f64 / (load.log_write_amplification() * load.write_bytes());
    let dead = dead_pages_max(pages, settings);
    let until = |limit: f64| {
        let (mut low, mut high) = (1.0, by_log.max(2.0));
        if pages.touched(load, high) <= limit {
            return high;
        }
        for _ in 0..40 {
            let middle = f64::midpoint(low, high);
            if pages.touched(load, middle) < limit { low = middle } else { high = middle }
        }
        low
    };
    let due = until((settings.dirty_start * settings.frames as f64).min(dead));
    // Writers wait once as many pages have died as the engine lets.
    (due + settings.sync_updates).min(until(dead).max(due))
}

#[cfg(test)]
mod tests {
    use super::super::Popularity;
    use super::*;

    fn load(records: u64) -> Load {
        Load { records, value_bytes: 100, ..Load::overwrites(Popularity::Uniform) }
    }

    fn settings(memory_bytes: u64) -> BTreeSettings {
        BTreeSettings {
            page_bytes: 4096,
            frames: memory_bytes / 4200,
            dirty_start: 0.4,
            log_bytes_max: memory_bytes,
            sync_updates: 0.0,
        }
    }

    #[test]
    fn far_beyond_memory_every_update_writes_its_page() {
        // r = 116, P = 4096: about a page for each update, and a share of the inner pages above it.
        let settings = BTreeSettings { sync_updates: 1e6, ..settings(32 << 20) };
        let found = predict(&load(100_000_000), &settings);
        let page_per_record = 4096.0 / 116.0;
        let wa = found.wa.unwrap();
        assert!((page_per_record..page_per_record * 1.15 + 1.4).contains(&wa), "{wa}");
        assert!(found.misses_per_get > 0.99 && found.levels == 4, "{found:?}");
    }

    #[test]
    fn a_root_grows_full_before_the_tree_grows_higher() {
        // Trees whose heights were measured: 1,000,000 and 8,000,000 records of 16 + 100 and 16 + 112 bytes.
        assert_eq!(predict(&load(1_000_000), &settings(32 << 20)).levels, 3);
        assert_eq!(predict(&Load { value_bytes: 112, ..load(8_000_000) }, &settings(64 << 20)).levels, 4);
        assert_eq!(predict(&load(10), &settings(1 << 20)).levels, 1);
        // And one of "user" and twenty digits: a digit tells less than a byte, so separators are longer.
        let text = Load {
            key_bytes: 24,
            shared_key_bytes: 4,
            bits_per_key_byte: std::f64::consts::LOG2_10,
            ..load(1_000_000)
        };
        assert_eq!(predict(&text, &settings(512 << 20)).levels, 4);
    }

    #[test]
    fn short_intervals_write_inner_pages_over_and_over() {
        let wa = |sync_updates| {
            let settings = BTreeSettings { sync_updates, ..settings(6 << 20) };
            predict(&load(500_000), &settings).wa.unwrap()
        };
        assert!(wa(0.0) > 1.15 * wa(10_000.0), "{} {}", wa(0.0), wa(10_000.0));
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
        assert!(wa(8192) > 1.4 * wa(4096), "{} {}", wa(8192), wa(4096));
    }
}
