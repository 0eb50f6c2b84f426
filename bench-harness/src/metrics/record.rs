//! What is kept of one phase: counts and bytes as they were read off, nothing computed from them yet.

use kv_api::IoStats;
use kv_api::stats::{BlockReads, FilterStats, MemoryUse, Stall};

use super::latency::LatencySummary;
use super::windows::{OpenRecord, SteadyRecord};
use crate::sys::disk::DirSize;
use crate::sys::proc::{Cpu, ProcIo};

/// One phase of one engine.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct PhaseRecord {
    /// Its name in the workload.
    pub name: String,
    /// What it did: load, age, settle, measure, drain, verify.
    pub kind: String,
    /// Bytes of the files that the page cache was asked to forget before the phase; `None`: it was not asked.
    #[serde(default)]
    pub dropped_bytes: Option<u64>,
    /// Why it ended before its count, if it did.
    pub capped: Option<String>,
    /// True if a clock or a verdict ended it before its counts did, so that how much was done depends on speed.
    #[serde(default)]
    pub by_clock: bool,
    /// Whether it was steady, for a phase that was to end when it is.
    #[serde(default)]
    pub steady: Option<SteadyRecord>,
    /// Operations by kind, with their latencies.
    pub ops: Vec<OpRecord>,
    /// All reads together, and all writes together.
    pub reads: Option<LatencySummary>,
    /// All writes together.
    pub writes: Option<LatencySummary>,
    /// Response times of all reads together, in an open loop.
    #[serde(default)]
    pub read_responses: Option<LatencySummary>,
    /// Response times of all writes together, in an open loop.
    #[serde(default)]
    pub write_responses: Option<LatencySummary>,
    /// What was offered and what became of it, in an open loop.
    #[serde(default)]
    pub open: Option<OpenRecord>,
    /// Everything that moved during the phase.
    pub moved: Moved,
    /// Key and value bytes alive when it ended.
    pub live_bytes: u64,
    /// Bytes of upkeep owed when it ended, in the engine's own sense of the word: dirty pages here, entries to flush
    /// and to merge there. Not to be compared between engines.
    pub debt_bytes: u64,
    /// Memory by owner when it ended, as the engine declares it.
    pub memory: Vec<MemoryUse>,
    /// The largest sum of them seen.
    pub memory_peak_bytes: u64,
    /// The largest anonymous memory of the process seen, sampled every 200 ms; harness included.
    pub rss_anon_peak_bytes: Option<u64>,
    /// The most that the directory was seen to occupy, sampled ten times a second. What lives shorter is missed.
    #[serde(default)]
    pub allocated_peak_bytes: u64,
    /// What the directory occupied when it ended. `None` for an engine without files.
    pub space: Option<DirSize>,
    /// Bytes of files that are not log when it ended, as the engine declares them.
    pub space_without_log_bytes: u64,
    /// Bytes in data files that hold nothing a reader could ask for, when it ended.
    pub free_bytes: u64,
    /// The directory and the progress over time, ten times a second at most.
    pub samples: Vec<Sample>,
}

/// Operations of one kind.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct OpRecord {
    /// The kind, in the word of the workload format.
    pub op: String,
    /// Operations done.
    pub count: u64,
    /// Service time per operation; for writes that went in batches, per batch.
    pub latency: Option<LatencySummary>,
    /// All service times of it: a histogram of HdrHistogram, format V2, deflated, in base64.
    #[serde(default)]
    pub histogram: Option<String>,
    /// Response time per operation in an open loop: from the moment it was due to its answer.
    #[serde(default)]
    pub response: Option<LatencySummary>,
    /// All response times of it, as `histogram`.
    #[serde(default)]
    pub response_histogram: Option<String>,
}

/// What moved between two moments.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct Moved {
    /// Wall time in nanoseconds.
    pub wall_ns: u64,
    /// Operations drawn from the workload.
    pub issued: u64,
    /// Operations that were answered.
    pub completed: u64,
    /// Operations that failed.
    pub errors: u64,
    /// Answers that were not what the oracle expects.
    pub wrong_answers: u64,
    /// U: key and value bytes of acknowledged puts, key bytes of deletes.
    pub user_bytes: u64,
    /// V: key and value bytes that reads returned.
    pub returned_bytes: u64,
    /// Point reads asked of the engine, those of read-modify-writes included.
    pub gets: u64,
    /// Scans asked of the engine.
    pub scans: u64,
    /// Entries that scans returned.
    pub scanned_entries: u64,
    /// What the engine moved, by cause; `None` if it cannot tell.
    pub io: Option<IoStats>,
    /// Blocks that reads asked for.
    pub blocks: Vec<BlockReads>,
    /// What filters did.
    pub filter: FilterStats,
    /// Time that writers waited.
    pub stalls: Vec<Stall>,
    /// Other counters of the engine.
    pub counters: Vec<(String, u64)>,
    /// CPU of the whole process.
    pub cpu: Cpu,
    /// Wall time of all clients together, from their first operation to their last.
    #[serde(default)]
    pub client_wall_ns: u64,
    /// Of that, inside calls of the engine.
    #[serde(default)]
    pub service_ns: u64,
    /// CPU of the client threads alone, harness work included.
    pub client_cpu_ns: u64,
    /// Of that, spent waiting for requests to be due, in an open loop.
    #[serde(default)]
    pub waiting_cpu_ns: u64,
    /// The kernel's count of bytes through read and write calls, the harness's own taken off.
    pub proc: Option<ProcIo>,
}

/// One moment of a phase.
#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
pub struct Sample {
    /// Milliseconds since the phase began.
    pub ms: u64,
    /// Operations done so far.
    pub ops: u64,
    /// File lengths, in bytes.
    pub apparent_bytes: u64,
    /// Allocated blocks, in bytes.
    pub allocated_bytes: u64,
    /// Bytes of upkeep owed.
    pub debt_bytes: u64,
    /// Requests that are due and not answered, in an open loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog: Option<u64>,
    /// 99 of 100 of the operations since the last sample that tells took at most this long: response time in an open
    /// loop, service time in a closed one. `None`: fewer than 100 of them took longer, too few to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ns: Option<u64>,
    /// Flushes, merges and checkpoints so far, since the engine was opened; `None`: it does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upkeep: Option<u64>,
    /// How long writers have waited so far, all together, since the engine was opened; `None`: it does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled_ns: Option<u64>,
}

/// The phase behind number `index` of `phases` if it paid that one's debt.
pub fn drain_behind(phases: &[PhaseRecord], index: usize) -> Option<&PhaseRecord> {
    phases.get(index + 1).filter(|next| matches!(next.kind.as_str(), "drain" | "settle"))
}

impl PhaseRecord {
    /// The most memory that the engine declared, in bytes; `None` if it does not tell, for none holds nothing.
    pub fn declared_peak_bytes(&self) -> Option<u64> {
        Some(self.memory_peak_bytes).filter(|held| *held > 0)
    }

    /// True if its operations are reported: it was measured, or a trace was replayed.
    pub fn is_reported(&self) -> bool {
        matches!(self.kind.as_str(), "measure" | "replay")
    }
}

impl Moved {
    /// Adds what moved in a later stretch.
    pub fn add(&mut self, other: &Moved) {
        for (mine, theirs) in [
            (&mut self.wall_ns, other.wall_ns),
            (&mut self.issued, other.issued),
            (&mut self.completed, other.completed),
            (&mut self.errors, other.errors),
            (&mut self.wrong_answers, other.wrong_answers),
            (&mut self.user_bytes, other.user_bytes),
            (&mut self.returned_bytes, other.returned_bytes),
            (&mut self.gets, other.gets),
            (&mut self.scans, other.scans),
            (&mut self.scanned_entries, other.scanned_entries),
            (&mut self.client_wall_ns, other.client_wall_ns),
            (&mut self.service_ns, other.service_ns),
            (&mut self.client_cpu_ns, other.client_cpu_ns),
            (&mut self.waiting_cpu_ns, other.waiting_cpu_ns),
            (&mut self.cpu.user_ns, other.cpu.user_ns),
            (&mut self.cpu.sys_ns, other.cpu.sys_ns),
        ] {
            *mine += theirs;
        }
        self.io = match (self.io, other.io) {
            (Some(mine), Some(theirs)) => Some(sum(&mine, &theirs)),
            (mine, theirs) => mine.or(theirs),
        };
    }
}

/// Row by row, the sum of two readings.
pub fn sum(a: &IoStats, b: &IoStats) -> IoStats {
    let mut out = *a;
    for (cause, row) in b.nonzero() {
        let mine = out.of_mut(cause);
        mine.read_bytes += row.read_bytes;
        mine.read_calls += row.read_calls;
        mine.write_bytes += row.write_bytes;
        mine.write_calls += row.write_calls;
        mine.contiguous_bytes += row.contiguous_bytes;
        mine.sync_calls += row.sync_calls;
    }
    out
}

/// What blocks, filters, stalls and counters gained since an earlier reading of the same engine.
pub mod since {
    use super::{BlockReads, FilterStats, Stall};

    /// Blocks by kind.
    pub fn blocks(now: &[BlockReads], before: &[BlockReads]) -> Vec<BlockReads> {
        let old = |kind: &str| before.iter().find(|row| row.kind == kind).cloned().unwrap_or_default();
        let gained = now.iter().map(|row| {
            let old = old(&row.kind);
            BlockReads {
                kind: row.kind.clone(),
                point_requests: row.point_requests.saturating_sub(old.point_requests),
                point_misses: row.point_misses.saturating_sub(old.point_misses),
                scan_requests: row.scan_requests.saturating_sub(old.scan_requests),
                scan_misses: row.scan_misses.saturating_sub(old.scan_misses),
            }
        });
        gained.collect()
    }

    /// Filters.
    pub fn filter(now: FilterStats, before: FilterStats) -> FilterStats {
        FilterStats {
            probes: now.probes.saturating_sub(before.probes),
            negatives: now.negatives.saturating_sub(before.negatives),
            false_positives: now.false_positives.saturating_sub(before.false_positives),
        }
    }

    /// Stalls by reason. Those that did not happen are kept: an engine without any does not tell.
    pub fn stalls(now: &[Stall], before: &[Stall]) -> Vec<Stall> {
        let gained = now.iter().map(|row| {
            let old = before.iter().find(|old| old.name == row.name);
            let (count, wall_ns) = old.map_or((0, 0), |old| (old.count, old.wall_ns));
            Stall {
                name: row.name.clone(),
                count: row.count.saturating_sub(count),
                wall_ns: row.wall_ns.saturating_sub(wall_ns),
            }
        });
        gained.collect()
    }

    /// Counters by name, without those that did not move.
    pub fn counters(now: &[(String, u64)], before: &[(String, u64)]) -> Vec<(String, u64)> {
        let gained = now.iter().map(|(name, value)| {
            let old = before.iter().find(|(old, _)| old == name).map_or(0, |(_, value)| *value);
            (name.clone(), value.saturating_sub(old))
        });
        gained.filter(|(_, value)| *value > 0).collect()
    }
}
