//! Jobs: which upkeep runs at the moment, and who waits for it.

/// Checkpoints asked for and done.
#[derive(Debug, Default)]
pub struct Jobs {
    /// A checkpoint runs.
    pub running: bool,
    /// True until the pages of the running checkpoint are in the file.
    pub is_writing: bool,
    /// How often one was asked for.
    pub asked: u64,
    /// The asker up to whom all were served.
    pub done: u64,
    /// Checkpoints done.
    pub checkpoints: u64,
}
