//! Report: what the engine says of itself: settings, counters and gauges.

use kv_api::engine::EngineInfo;
use kv_api::stats::{FilterStats, MemoryUse};
use kv_api::{Durability, IoMode, Stats};

use crate::compaction::picker;
use crate::core::Core;

/// What this engine is and how it was opened.
pub fn info(core: &Core) -> EngineInfo {
    // Mapped reads go through the page cache whatever was asked for.
    let direct = core.space.is_direct() && !core.space.mapped;
    EngineInfo {
        name: crate::recovery::ENGINE.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        durability: vec![Durability::Memory, Durability::Os, Durability::Disk],
        io: Some(if direct { IoMode::Direct } else { IoMode::Buffered }),
        keyspace: core.options.common.keyspace,
        settings: core.options.settings(),
    }
}

/// Counters since opening, and gauges of this moment.
pub fn stats(core: &Core) -> Stats {
    let state = core.state();
    let seq = core.visible_seq();
    let counters = &core.counters;
    let tables = &core.space.counters;
    let filter_reads = tables.filter_reads.get("filter");
    let unflushed: u64 = state.memtables().map(|memtable| memtable.user_bytes()).sum();
    Stats {
        user: core.user.stats(),
        io: Some(core.meter.stats()),
        io_total: core.meter.moved(),
        filter: FilterStats {
            probes: filter_reads.point_requests,
            negatives: tables.filter_negatives.get(),
            false_positives: tables.filter_false_positives.get(),
        },
        blocks: vec![tables.data_reads.get("data"), tables.index_reads.get("index"), filter_reads],
        memory: memory(core),
        stalls: core.pressure.stalls(),
        files: core.meter.files(&core.space.dir),
        free_bytes: 0,
        // What only memory and the log hold is owed a flush, as the dirty pages of a B+tree are owed a checkpoint.
        debt_bytes: unflushed + picker::debt_bytes(&state.version, &core.pick_options()),
        counters: counters.named(),
        snapshots_open: core.snapshots.count() + counters.scans_open(),
        snapshot_age_ops: core.snapshots.oldest().map_or(0, |oldest| seq.saturating_sub(oldest)),
        seq,
    }
}

fn memory(core: &Core) -> Vec<MemoryUse> {
    let state = core.state();
    let memtables: u64 = state.memtables().map(|memtable| memtable.bytes()).sum();
    let tables = || state.version.all().map(|(_, table)| table);
    let owners = [
        ("memtables", memtables + core.retired_bytes()),
        ("block cache", core.space.cache.bytes()),
        ("filters", tables().map(|table| table.filter_bytes()).sum()),
        ("indexes", tables().map(|table| table.index_bytes()).sum()),
        ("compaction buffers", if core.is_busy() { core.sizes.compaction } else { 0 }),
        ("wal buffer", core.log_buffer_bytes()),
    ];
    owners.into_iter().map(|(owner, bytes)| MemoryUse { owner: owner.to_owned(), bytes }).collect()
}
