//! What is asked: deterministic operation streams and the workload file format. This crate knows no engine.
//!
//! A workload file ([`toml_file`]) becomes a [`Spec`]. For each phase and thread an [`OpStream`] draws
//! operations, an [`Oracle`] knows what every read must find, and [`values::Values`] makes and checks the bytes:
//!
//! ```
//! use std::collections::BTreeMap;
//! use workloads::{Op, OpStream, Oracle, Scale, ready};
//!
//! let spec = ready::find("read-heavy").unwrap().scaled(Scale::Smoke).resolved();
//! let mut oracle = Oracle::new(&spec.data, 0, 1);
//! let (values, mut value) = (oracle.values(), Vec::new());
//! let mut store: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
//!
//! for phase in 0..spec.phases.len() {
//!     let mut stream = OpStream::new(&spec, phase, &oracle);
//!     while let Some(op) = stream.next(&oracle) {
//!         let key = oracle.key(op);
//!         if let Op::Get { record } = op {
//!             oracle.check_get(record, store.get(&*key).map(Vec::as_slice)).unwrap();
//!         } else if let Some(version) = op.version_written() {
//!             values.fill(&key, version, &mut value);
//!             store.insert(key.to_vec(), value.clone());
//!         }
//!         oracle.acknowledge(op);
//!     }
//! }
//! assert_eq!(oracle.live_count(), store.len() as u64);
//! ```
//!
//! Read the source in this order: `rng.rs` (draws without state), `dist/` (which record), `keys.rs`,
//! `sizes.rs` and `values.rs` (bytes), `op.rs`, `spec.rs` (what a file says), `scale.rs`, `oracle.rs`, `generator.rs`, `arrivals.rs` (when),
//! `trace.rs`; then
//! `toml_file/`, `error.rs`, `units.rs` and `ready.rs`. Without the feature `serde` the file format is left out and
//! the crate needs `std` alone.

pub mod arrivals;
pub mod dist;
pub mod error;
pub mod generator;
pub mod keys;
pub mod op;
pub mod oracle;
#[cfg(feature = "serde")]
pub mod ready;
pub mod rng;
pub mod scale;
pub mod sizes;
pub mod spec;
#[cfg(feature = "serde")]
pub mod toml_file;
pub mod trace;
pub mod units;
pub mod values;

pub use arrivals::{Arrivals, Schedule};
pub use error::SpecError;
pub use generator::{OpDigest, OpStream};
pub use keys::KeyKind;
pub use op::{Op, OpKind};
pub use oracle::{ContentDigest, Oracle};
pub use scale::Scale;
pub use sizes::Sizes;
pub use spec::{Durability, PhaseKind, PhaseSpec, Spec};
pub use values::{Mismatch, Values};
