//! Running: a plan (`plan.rs`) is a list of cells, one engine under one workload each. Each is run by a process of its
//! own (`child.rs`), in blocks that hold every engine once, in an order drawn for each. A cell (`cell.rs`) opens a
//! fresh directory and runs the workload's phases (`phase.rs`): client threads (`client.rs`) send operations in a
//! closed loop, or in an open one when they are due (`open.rs`), one watcher (`watch.rs`) samples, draws and judges
//! whether the phase is steady (`steady.rs`), `verify.rs` compares the store with the oracle, and
//! `checks.rs` decides whether the numbers can be trusted, with
//! what the device counted (`truth.rs`).

pub mod cell;
pub mod checks;
pub mod child;
pub mod client;
pub mod null;
pub mod open;
pub mod overhead;
pub mod phase;
pub mod plan;
pub mod progress;
pub mod steady;
pub mod truth;
pub mod verify;
pub mod watch;

pub use cell::CellRecord;
pub use checks::{Check, Verdict};
pub use plan::{Overrides, Plan, Workload};
