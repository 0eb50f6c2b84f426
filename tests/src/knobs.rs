//! Settings of the engines under test, in one place for both: small, so that few operations reach every part.

use kv_api::{Background, CommonOptions, IoMode};
use kv_btree::BTreeOptions;
use kv_lsm::LsmOptions;
use kv_lsm::sstable::bloom::FilterKind;

use crate::rng::Rng;

/// Settings of either engine; each reads those it has.
#[derive(Debug, Clone)]
pub struct Knobs {
    /// What all engines share.
    pub common: CommonOptions,
    /// B+tree: bytes of a page.
    pub page_bytes: usize,
    /// LSM: bytes of a memtable.
    pub memtable_bytes: u64,
    /// LSM: bytes of a data block.
    pub block_bytes: u64,
    /// LSM: bytes of a table.
    pub table_bytes: u64,
    /// LSM: how much larger a level is than the one above it.
    pub size_ratio: u64,
    /// LSM: tables in level 0 that start a compaction.
    pub l0_trigger: u64,
    /// LSM: bits of filter per key; 0 for none.
    pub filter_bits: u32,
    /// B+tree: per cent of the pool that is dirty when a checkpoint begins.
    pub dirty_start: u8,
}

impl Knobs {
    /// Small but sane: 4 KiB pages, 16 KiB memtables.
    pub fn small() -> Knobs {
        Knobs {
            common: CommonOptions {
                memory_budget: 1 << 20,
                io: IoMode::Buffered,
                background: Background::Inline,
                ..CommonOptions::default()
            },
            page_bytes: 4096,
            memtable_bytes: 16 << 10,
            block_bytes: 4096,
            table_bytes: 32 << 10,
            size_ratio: 4,
            l0_trigger: 4,
            filter_bits: 10,
            dirty_start: 40,
        }
    }

    /// The least the engines take: splits, merges, flushes and compactions every few dozen operations.
    pub fn hostile() -> Knobs {
        let mut knobs = Knobs::small();
        knobs.common.memory_budget = CommonOptions::MEMORY_BUDGET_MIN;
        Knobs {
            page_bytes: 512,
            memtable_bytes: 4 << 10,
            block_bytes: 512,
            table_bytes: 4 << 10,
            size_ratio: 2,
            ..knobs
        }
    }

    /// Settings drawn at random between hostile and sane.
    pub fn random(rng: &mut Rng) -> Knobs {
        let mut knobs = Knobs::hostile();
        knobs.common.memory_budget = *rng.pick(&[64 << 10, 256 << 10, 1 << 20]);
        knobs.common.wal_bytes_max = *rng.pick(&[None, Some(64 << 10)]);
        knobs.page_bytes = *rng.pick(&[512, 1024, 4096, 16384]);
        knobs.memtable_bytes = *rng.pick(&[1 << 10, 4 << 10, 32 << 10]);
        knobs.block_bytes = *rng.pick(&[512, 4096]);
        knobs.table_bytes = *rng.pick(&[4 << 10, 8 << 10, 64 << 10]);
        knobs.size_ratio = *rng.pick(&[2, 3, 10]);
        knobs.filter_bits = *rng.pick(&[0, 1, 10]);
        knobs.l0_trigger = *rng.pick(&[1, 4, 12]);
        knobs.dirty_start = *rng.pick(&[1, 40, 50]);
        knobs.common.io = *rng.pick(&[IoMode::Buffered, IoMode::Direct]);
        knobs
    }

    /// As options of the B+tree.
    pub fn btree(&self) -> BTreeOptions {
        BTreeOptions {
            common: self.common.clone(),
            page_size: self.page_bytes,
            dirty_start: self.dirty_start,
        }
    }

    /// As options of the LSM tree.
    pub fn lsm(&self) -> LsmOptions {
        LsmOptions {
            common: self.common.clone(),
            memtable: Some(self.memtable_bytes),
            block_size: self.block_bytes,
            table_size: Some(self.table_bytes),
            size_ratio: self.size_ratio,
            l0_trigger: self.l0_trigger,
            filter: if self.filter_bits == 0 { FilterKind::None } else { FilterKind::Classic },
            filter_bits: self.filter_bits.max(1),
            ..LsmOptions::default()
        }
    }

    /// The same with the upkeep on this many threads.
    pub fn with_threads(mut self, count: usize) -> Knobs {
        self.common.background = Background::Threads(count);
        self
    }
}
