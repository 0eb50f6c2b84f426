//! Engines made by others: which there are, and which promises of the contract each cannot keep, with the reason.

use crate::Engine;

/// Every peer that is compiled in.
pub const ALL: &[Engine] = &[
    #[cfg(feature = "peers")]
    Engine::Redb,
    #[cfg(feature = "peers")]
    Engine::Fjall,
    #[cfg(feature = "peers")]
    Engine::Lmdb,
    #[cfg(feature = "peers")]
    Engine::Sqlite,
    #[cfg(feature = "peers")]
    Engine::Canopy,
    #[cfg(feature = "rocksdb")]
    Engine::Rocks,
];

/// What peers lack: names of engines, the test that asks for it, and why it is not asked.
const SKIPPED: &[(&[&str], &str, &str)] = &[
    (NO_EMPTY_KEY, "every_kind_of_bound", EMPTY_KEY),
    (NO_EMPTY_KEY, "to_the_end_and_from_the_start", EMPTY_KEY),
    (NO_EMPTY_KEY, "empty_key_and_empty_value_are_legal", EMPTY_KEY),
    (NO_EMPTY_KEY, "keys_that_differ_by_a_zero_byte_are_two", EMPTY_KEY),
    (NO_EMPTY_KEY, "every_kind_of_bound_both_ways", EMPTY_KEY),
    (
        &["redb", "fjall", "lmdb", "canopydb", "rocksdb"],
        "read_only_reads_and_refuses_writes",
        "a read-only handle refuses writes, but opening it lets the engine change its own files",
    ),
    (&["redb", "fjall", "canopydb"], "a_new_database_is_small", "it allocates its first file in large steps"),
    (&["redb", "lmdb"], "stats_name_the_files_there_are", "it has no log"),
    (
        &["redb", "lmdb", "sqlite", "canopydb"],
        "stats_name_who_holds_memory",
        "it does not tell how much memory it uses; not measured is not zero",
    ),
    (&["redb", "lmdb"], "shape_counts_the_entries", "it does not tell how full its leaves are"),
    (&["fjall", "sqlite", "canopydb"], "shape_counts_the_entries", "it does not tell its shape"),
    (
        &["redb", "fjall", "lmdb", "sqlite", "canopydb", "rocksdb"],
        "events_tell_of_upkeep",
        "engines made by others do not tell what happens inside them",
    ),
    (
        &["fjall"],
        "compact_takes_what_is_deleted_off_the_disk",
        "a compaction keeps what is above fjall's own watermark, which lags behind the newest delete",
    ),
    (
        &["canopydb"],
        "compact_takes_what_is_deleted_off_the_disk",
        "it keeps free space in its file and does not tell how much",
    ),
    (
        &["rocksdb"],
        "compact_takes_what_is_deleted_off_the_disk",
        "its data files go; manifest, options and its log of events stay, 119 KB of them",
    ),
];

const NO_EMPTY_KEY: &[&str] = &["fjall", "lmdb"];
const EMPTY_KEY: &str = "it takes no empty key, and the adapter does not change keys";

/// Why `test` is not asked of `engine`, if so.
pub fn skipped(engine: Engine, test: &str) -> Option<&'static str> {
    let asked =
        |(engines, name, _): &&(&[&str], &str, &str)| *name == test && engines.contains(&engine.name());
    SKIPPED.iter().find(asked).map(|(_, _, reason)| *reason)
}
