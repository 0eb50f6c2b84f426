//! Report: what the engine says of itself: settings, counters and gauges.

use kv_api::engine::EngineInfo;
use kv_api::stats::MemoryUse;
use kv_api::{Durability, IoMode, Stats};
use kv_io::sync::atomic::{AtomicU64, Ordering};
use kv_io::wal::WalOptions;

use crate::core::Core;
use crate::pressure::Wait;

/// What this engine is and how it was opened.
pub fn info(core: &Core) -> EngineInfo {
    let direct = core.store.pager.file().align() > 1;
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
    let pager = &core.store.pager;
    let gauges = core.store.reclaim.gauges();
    let writer = &core.store.gauges;
    let of = |gauge: &AtomicU64| gauge.load(Ordering::Relaxed);
    let seq = core.store.reclaim.newest().seq;
    let count = |name: &str, value| (name.to_owned(), value);
    Stats {
        user: core.user.stats(),
        io: Some(core.meter.stats()),
        io_total: core.meter.moved(),
        blocks: vec![
            pager.counters.leaf.get("leaf"),
            pager.counters.inner.get("inner"),
            pager.counters.value.get("value"),
        ],
        memory: memory(core),
        stalls: Wait::ALL.iter().zip(&core.stalls).map(|(wait, stall)| stall.get(wait.name())).collect(),
        files: core.meter.files(&core.dir),
        free_bytes: of(&writer.free_pages) * core.options.page_size as u64,
        debt_bytes: (pager.pool.dirty() * core.options.page_size) as u64,
        counters: vec![
            count("checkpoints", core.checkpoints()),
            count("splits", of(&writer.splits)),
            count("merges", of(&writer.merges)),
            count("page copies", of(&writer.page_copies)),
            count("evictions", pager.pool.evictions()),
            count("frames stolen", of(&writer.frames_stolen)),
            count("pages written", pager.written_pages()),
        ],
        snapshots_open: gauges.snapshots,
        snapshot_age_ops: gauges.oldest_seq.map_or(0, |oldest| seq.saturating_sub(oldest)),
        seq,
        ..Stats::default()
    }
}

fn memory(core: &Core) -> Vec<MemoryUse> {
    let pool = &core.store.pager.pool;
    let log_buffer = WalOptions::for_budget(core.options.common.memory_budget).buffer_bytes_max() as u64;
    let owners = [
        ("frames", ((pool.resident() + pool.spares()) * core.options.page_size) as u64),
        ("resident map", pool.overhead_bytes()),
        ("bitmaps", core.store.gauges.bitmap_bytes.load(Ordering::Relaxed)),
        ("dead lists", core.store.reclaim.gauges().dead_bytes),
        ("wal buffer", if core.log.is_some() { log_buffer } else { 0 }),
    ];
    owners.into_iter().map(|(owner, bytes)| MemoryUse { owner: owner.to_owned(), bytes }).collect()
}
