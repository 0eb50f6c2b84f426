//! The contract: what every storage engine of the laboratory promises.
//!
//! An engine is anything that implements [`Kv`]. The trait is object safe and synchronous, and every method
//! takes `&self`: a harness holds an `Arc<dyn Kv>` and does not know which engine is behind it.
//!
//! # Promises
//!
//! * **Order.** Keys compare as unsigned bytes. The empty key and the empty value are legal. An inverted range
//!   is empty; the prefix of all `0xFF` has no upper bound.
//! * **Atomic batches.** A [`Batch`] takes effect whole and in order, or not at all. When [`Kv::write`] returns
//!   `Ok`, every later read sees it. Visibility order is log order.
//! * **Durability.** Each commit names its [`Durability`]. After a crash the state is a prefix of the commit
//!   order that holds every write acknowledged at a level that survives that crash. A `Disk` commit is never
//!   visible before it is durable.
//! * **Point in time.** Scans and snapshots are owned (`'static + Send`) and see the state of one moment,
//!   whatever is written, flushed or compacted meanwhile.
//! * **Refusals come first.** Whatever can be refused (sizes, limits, a closed or poisoned handle) is refused
//!   before the log is touched. A failed write is never visible through this handle; after reopening it is
//!   there whole or not at all.
//! * **No panic.** No input, file or fault makes an engine panic. Each [`Error`] names the action, the file,
//!   the place, and what to do next.
//!
//! # Read the source in this order
//!
//! `engine.rs` (the traits), `batch.rs` (what is written), `error.rs`, `stats.rs` (what is counted), and
//! `memory.rs`: the smallest correct engine, the oracle of the tests and the template for yours.
//!
//! ```
//! use kv_api::{Batch, Durability, Kv, KvExt, KvRead, MemoryEngine};
//!
//! let db = MemoryEngine::new();
//! let mut batch = Batch::new();
//! batch.put(b"apple", b"red").put(b"plum", b"blue").delete(b"apple");
//! db.write(&batch, Durability::Disk)?;
//! assert_eq!(db.get(b"apple")?, None);
//! assert_eq!(db.get(b"plum")?.as_deref(), Some(&b"blue"[..]));
//! assert_eq!(db.range(b"a".as_slice()..)?.count(), 1);
//! # Ok::<(), kv_api::Error>(())
//! ```
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::print_stdout,
        clippy::print_stderr
    )
)]

pub mod batch;
pub mod cause;
pub mod engine;
pub mod error;
pub mod event;
pub mod ext;
pub mod limits;
pub mod memory;
pub mod options;
pub mod range;
pub mod report;
pub mod shape;
pub mod stats;
pub mod tables;
pub mod varint;

pub use batch::{Batch, Op, Ops};
pub use cause::Cause;
pub use engine::{EngineInfo, EntryRef, Kv, KvRead, Scan, Snapshot, SortedSource, Value};
pub use error::{Error, ErrorKind, Result};
pub use event::{Event, EventListener};
pub use ext::KvExt;
pub use limits::Limits;
pub use memory::MemoryEngine;
pub use options::{Background, CommonOptions, Durability, IoMode, Keyspace};
pub use range::{Direction, KeyRange, OwnedRange, ScanOptions};
pub use report::{
    BackupReport, CommitInfo, CompactReport, IngestReport, Problem, RecoveryReport, SettleReport,
    VerifyReport,
};
pub use shape::Shape;
pub use stats::{IoCounters, IoStats, Stats};
pub use tables::{TableId, Tables};

/// The age of an entry: the number of the operation that wrote it, counted from 1 in commit order.
///
/// Both engines count operations, not batches: a batch of `n` operations takes `n` numbers in a row. Zero means
/// "before the first write".
pub type SeqNo = u64;
