//! What the suites of this crate share.

use kv_api::{Background, CommonOptions, IoMode};
use kv_lsm::LsmOptions;

/// Settings so small that flushes and merges happen all the time.
pub fn hostile() -> LsmOptions {
    LsmOptions {
        common: CommonOptions {
            memory_budget: 256 << 10,
            background: Background::Inline,
            io: IoMode::Buffered,
            ..CommonOptions::default()
        },
        memtable: Some(1 << 10),
        block_size: 512,
        table_size: Some(4 << 10),
        size_ratio: 2,
        l0_trigger: 2,
        ..LsmOptions::default()
    }
}
