//! What is kept of a phase that ends at a steady state: its windows, and what the rule said of them.

use crate::stats::Steady;

/// The verdict on a phase that was to end at a steady state.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SteadyRecord {
    /// True if everything held over the last five windows.
    pub ok: bool,
    /// What did not hold, with the trend; that everything held, otherwise.
    pub why: String,
    /// The length of a window, in seconds: ten, or one cycle of checkpoints where that is longer, or as the workload
    /// says.
    pub window_s: f64,
    /// What the rule says of each series over the last five windows; `None`: too short, or nothing to judge.
    pub series: Vec<(String, Option<Steady>)>,
    /// The windows, oldest first, the last one ending with the phase.
    pub windows: Vec<Window>,
}

/// One window of a phase.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Window {
    /// When it began, in milliseconds since the phase did.
    pub from_ms: u64,
    /// When it ended.
    pub to_ms: u64,
    /// Operations per second.
    pub ops_per_second: f64,
    /// Bytes written to files per byte the user wrote; `None`: nothing was written, or the engine does not tell.
    pub wa: Option<f64>,
    /// What the directory occupied at its end, in bytes.
    pub allocated_bytes: u64,
    /// 99 of 100 operations took at most this long, in nanoseconds, to 3 %.
    pub p99_ns: Option<u64>,
    /// Upkeep owed at its end, in bytes.
    pub debt_bytes: u64,
}

/// What an open loop offered, and what became of it.
#[derive(Debug, Default, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct OpenRecord {
    /// The kind of arrivals, in the word of the workload format.
    pub arrivals: String,
    /// The rate that the kind refers to, in requests per second; 0 for a trace, which has times of its own.
    pub rate_per_second: f64,
    /// The capacity that the rate is a share of: what the last closed loop of this engine reached. `None`: it is not.
    pub max_per_second: Option<f64>,
    /// Requests that arrived per second.
    pub offered_per_second: f64,
    /// Requests that were answered per second, until the last answer.
    pub achieved_per_second: f64,
    /// Requests that arrived.
    pub scheduled: u64,
    /// Of those, the ones that were answered. What was not answered has no response time.
    pub served: u64,
    /// Requests that were due while their client still waited for an answer.
    pub waited: u64,
    /// The most requests that waited at one moment: exact with one client, seen ten times a second with more.
    pub backlog_peak: u64,
    /// When, in milliseconds since the phase began.
    pub backlog_peak_ms: u64,
    /// How long it took from then until none waited, in nanoseconds; with several clients the longest of them.
    pub drain_ns: u64,
    /// How long after the end of the arrivals the last answer came, in nanoseconds.
    pub overrun_ns: u64,
    /// True if memory for the times ran out, and the arrivals ended early.
    pub is_cut: bool,
    /// How late the clients themselves were for requests that they waited for: time in which the system did not run them.
    /// It is part of every response and no engine's doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_late: Option<super::LatencySummary>,
}
