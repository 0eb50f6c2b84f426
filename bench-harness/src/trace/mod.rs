//! Requests recorded on any engine (`record.rs`) and sent to any other (`replay.rs`). The file is that of
//! [`workloads::trace`].

pub mod record;
pub mod replay;

pub use record::RecordingKv;
pub use replay::{ReplayError, Replayed, replay};

#[cfg(test)]
mod tests;
