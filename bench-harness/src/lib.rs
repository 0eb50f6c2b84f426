//! What is measured: runs workloads on engines and accounts for every byte.
//!
//! `kvlab` is a thin binary around [`main_with`]: give it a [`Registry`] with one more engine and every command
//! works on that engine too (`examples/my_engine.rs`).
//!
//! Read the source in this order: `registry.rs` (names to engines), `run/` (how a measurement is made), `metrics/`
//! (what is computed from it), `stats/` and `compare/` (what may be said of several runs), `report/` (how it is shown),
//! `cli/` and `tool/` (the commands). Beside them: `calibrate/` (what this machine's counters are worth), `model/` (what
//! theory predicts), `advise/` (what to choose by it), `claims/` (what people say of engines, and what settles it),
//! `trace/` (requests recorded and sent again), `sys/` (what the operating system tells).

pub mod advise;
pub mod calibrate;
pub mod claims;
pub mod cli;
pub mod compare;
pub mod error;
pub mod metrics;
pub mod model;
pub mod output;
pub mod registry;
pub mod report;
pub mod run;
pub mod stats;
pub mod sys;
pub mod tool;
pub mod trace;

pub mod units;

pub use cli::{main_with, run_with};
pub use registry::{EngineSpec, Registry};
