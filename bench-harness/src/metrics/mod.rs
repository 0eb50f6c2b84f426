//! What is kept of a phase (`record.rs`, `windows.rs`), how latencies are summed up (`latency.rs`), and what is computed from
//! both (`formulas.rs`, `derived.rs`).

pub mod derived;
pub mod formulas;
pub mod latency;
pub mod record;
pub mod windows;

pub use derived::Derived;
pub use latency::{Latencies, LatencySummary};
pub use record::{Moved, OpRecord, PhaseRecord, Sample, drain_behind};
pub use windows::{OpenRecord, SteadyRecord, Window};
