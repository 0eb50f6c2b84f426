//! One phase: read every counter, let the clients work, read every counter again.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kv_api::{Durability, IoStats, Kv, Stats};
use workloads::spec::ReadsFrom;
use workloads::{OpDigest, OpKind, OpStream, Oracle, PhaseKind, Spec};

use super::client::{Client, Progress, Shared, Tally};
use super::verify::{Scanned, full_scan, read_sample};
use super::watch::{Watch, Watched};
use crate::metrics::record::since;
use crate::metrics::{Latencies, Moved, OpRecord, PhaseRecord};
use crate::sys::ack::AckLog;
use crate::sys::disk;
use crate::sys::interrupt::Interrupt;
use crate::sys::proc::{self, Cpu, ProcIo};

/// A settle without a time of its own ends after this long.
const SETTLE_MAX: Duration = Duration::from_secs(600);
/// Settling is asked for in slices, so that Ctrl-C is heard.
const SETTLE_SLICE: Duration = Duration::from_secs(1);

/// Where phases run.
pub struct Stage<'a, E: ?Sized> {
    /// The engine.
    pub engine: &'a E,
    /// What to call it on the progress line.
    pub label: &'a str,
    /// Its directory.
    pub dir: &'a Path,
    /// The workload.
    pub spec: &'a Spec,
    /// The level of every write.
    pub durability: Durability,
    /// Set by the user.
    pub interrupt: &'a Interrupt,
    /// Whether progress lines are wanted.
    pub draw: bool,
    /// Where acknowledged operations are noted, if they are.
    pub acks: Option<&'a AckLog>,
}

/// What a phase gives.
pub struct Outcome {
    /// What is kept.
    pub record: PhaseRecord,
    /// One digest per client.
    pub digests: Vec<OpDigest>,
    /// The first wrong answers, word for word.
    pub wrong: Vec<String>,
    /// The error that ended it.
    pub error: Option<kv_api::Error>,
    /// What a verify phase found by full scan.
    pub scanned: Option<Scanned>,
    /// What the engine had moved when it ended.
    pub io_after: Option<IoStats>,
}

/// Every counter at one moment.
struct Reading {
    stats: Stats,
    cpu: Cpu,
    proc: Option<ProcIo>,
    at: Instant,
}

impl Reading {
    fn take<E: Kv + ?Sized>(engine: &E) -> Reading {
        Reading { stats: engine.stats(), cpu: proc::cpu(), proc: proc::io(), at: Instant::now() }
    }
}

/// What the work of a phase gave, whatever kind it is.
#[derive(Default)]
struct Worked {
    tallies: Vec<Tally>,
    digests: Vec<OpDigest>,
    scanned: Option<Scanned>,
    capped: Option<String>,
    error: Option<kv_api::Error>,
}

impl<E: Kv + ?Sized> Stage<'_, E> {
    /// Runs phase `index` of the workload on `oracles`, one per client. `io_before` is what the engine had moved
    /// when the phase before it ended.
    pub fn run(&self, index: usize, oracles: &mut [Oracle], io_before: Option<IoStats>) -> Outcome {
        let phase = &self.spec.phases[index];
        let mut streams: Vec<_> =
            oracles.iter().map(|oracle| OpStream::new(self.spec, index, oracle)).collect();
        let ops_max: Option<u64> = streams.iter().map(OpStream::ops_max).sum();
        let progress: Vec<Progress> = oracles.iter().map(|_| Progress::default()).collect();
        let over = AtomicBool::new(false);
        let watch = Watch {
            engine: self.engine,
            dir: self.dir,
            progress: &progress,
            ops_max: ops_max.filter(|_| phase.kind.has_ops()),
            title: format!("{} {}", self.label, phase.name),
            draw: self.draw,
            over: &over,
        };
        if let Some(acks) = self.acks {
            acks.begin_phase(index);
        }
        // Phases abut: what background threads moved since the last phase ended belongs to this one.
        let mut before = Reading::take(self.engine);
        before.stats.io = before.stats.io.and(io_before);
        let (worked, watched) = thread::scope(|scope| {
            let watcher = scope.spawn(|| watch.run());
            let worked = match phase.kind {
                PhaseKind::Settle | PhaseKind::Drain => self.settle(index),
                PhaseKind::Verify => self.verify(oracles),
                _ => self.clients(index, oracles, &mut streams, &progress),
            };
            over.store(true, Ordering::Release);
            watcher.thread().unpark();
            // The watcher does not panic: it only samples. If it did, its samples are missing, nothing else.
            (worked, watcher.join().unwrap_or_default())
        });
        let after = Reading::take(self.engine);
        self.outcome(index, &before, after, worked, watched, oracles)
    }

    fn clients(
        &self,
        index: usize,
        oracles: &mut [Oracle],
        streams: &mut [OpStream],
        progress: &[Progress],
    ) -> Worked {
        let phase = &self.spec.phases[index];
        let failed = AtomicBool::new(false);
        let held = match phase.snapshot {
            ReadsFrom::Newest => None,
            ReadsFrom::Held => match self.engine.snapshot() {
                Ok(snapshot) => Some(snapshot),
                Err(error) => return Worked { error: Some(error), ..Worked::default() },
            },
        };
        let shared = Shared {
            engine: self.engine,
            snapshot: held.as_deref(),
            durability: self.durability,
            batch: phase.batch.max(1) as usize,
            time_max: phase.until.s.map(Duration::from_secs_f64),
            interrupt: self.interrupt,
            failed: &failed,
        };
        let mut tallies: Vec<Tally> = thread::scope(|scope| {
            let parts = oracles.iter_mut().zip(streams.iter_mut()).zip(progress).enumerate();
            let clients: Vec<_> = parts
                .map(|(thread, ((oracle, stream), progress))| {
                    let slot = self.acks.map(|acks| acks.slot(thread, index));
                    let client = Client::new(&shared, oracle, stream, progress, slot);
                    scope.spawn(move || client.run())
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap_or_else(|_| panicked())).collect()
        });
        let error = tallies.iter_mut().find_map(|tally| tally.error.take());
        let capped = tallies.iter().any(|tally| tally.capped).then(|| {
            let done: u64 = tallies.iter().map(|tally| tally.completed).sum();
            let planned = streams.iter().map(OpStream::ops_max).sum::<Option<u64>>();
            let of = planned.map_or(String::new(), |planned| format!(" of {}", crate::units::count(planned)));
            format!(
                "stopped after {} s with {}{of} operations",
                phase.until.s.unwrap_or(0.0),
                crate::units::count(done)
            )
        });
        let digests = streams.iter().map(OpStream::digest).collect();
        Worked { tallies, digests, capped, error, scanned: None }
    }

    fn settle(&self, index: usize) -> Worked {
        let until = &self.spec.phases[index].until;
        let limit = until.s.map_or(SETTLE_MAX, Duration::from_secs_f64);
        let debt_max = until.debt_below.map_or(0, |amount| self.spec.count(amount));
        let start = Instant::now();
        let mut worked = Worked::default();
        loop {
            let left = limit.saturating_sub(start.elapsed());
            match self.engine.settle(left.min(SETTLE_SLICE)) {
                Ok(report) if report.debt_bytes <= debt_max => break,
                Ok(_) if self.interrupt.is_set() => break,
                Ok(report) if start.elapsed() >= limit => {
                    let debt = crate::units::bytes(report.debt_bytes);
                    worked.capped =
                        Some(format!("stopped after {:.1} s with {debt} of debt left", limit.as_secs_f64()));
                    break;
                }
                Ok(_) => {}
                Err(error) => {
                    worked.error = Some(error);
                    break;
                }
            }
        }
        worked
    }

    fn verify(&self, oracles: &[Oracle]) -> Worked {
        let mut worked = Worked::default();
        let wanted = self.spec.verify;
        let mut tally = Tally::default();
        if let Err(error) = read_sample(self.engine, oracles, wanted.read_sample, self.interrupt, &mut tally)
        {
            worked.error = Some(error);
        } else if wanted.final_scan {
            match full_scan(self.engine, oracles, self.interrupt, &mut tally) {
                Ok(scanned) => worked.scanned = scanned,
                Err(error) => worked.error = Some(error),
            }
        }
        worked.tallies.push(tally);
        worked
    }

    fn outcome(
        &self,
        index: usize,
        before: &Reading,
        after: Reading,
        mut worked: Worked,
        watched: Watched,
        oracles: &[Oracle],
    ) -> Outcome {
        let phase = &self.spec.phases[index];
        let mut latencies = Latencies::default();
        worked.tallies.iter().for_each(|tally| latencies.merge(&tally.latencies));
        let ops = OpKind::ALL.into_iter().filter_map(|kind| {
            let count: u64 = worked.tallies.iter().map(|tally| tally.by_kind[kind as usize]).sum();
            let record = OpRecord {
                op: kind.name().to_owned(),
                count,
                latency: latencies.summary(kind),
                histogram: latencies.encoded(kind),
            };
            (count > 0).then_some(record)
        });
        let record = PhaseRecord {
            name: phase.name.clone(),
            kind: phase.kind.name().to_owned(),
            capped: worked.capped.take(),
            ops: ops.collect(),
            reads: latencies.summary_of(|kind| !kind.writes()),
            writes: latencies.summary_of(OpKind::writes),
            live_bytes: oracles.iter().map(Oracle::live_bytes).sum(),
            debt_bytes: after.stats.debt_bytes,
            memory: after.stats.memory.clone(),
            memory_peak_bytes: watched.memory_peak_bytes.max(after.stats.memory_bytes()),
            rss_anon_peak_bytes: watched.rss_anon_peak_bytes,
            allocated_peak_bytes: watched.allocated_peak_bytes,
            space: Some(disk::size(self.dir)).filter(|size| size.files > 0),
            space_without_log_bytes: after.stats.file_bytes(false),
            free_bytes: after.stats.free_bytes,
            samples: watched.samples,
            moved: moved(before, &after, &worked.tallies),
        };
        let wrong =
            worked.tallies.iter_mut().flat_map(|tally| std::mem::take(&mut tally.wrong_kept)).collect();
        let (error, scanned) = (worked.error, worked.scanned);
        Outcome { record, digests: worked.digests, wrong, error, scanned, io_after: after.stats.io }
    }
}

fn moved(before: &Reading, after: &Reading, tallies: &[Tally]) -> Moved {
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
    let (new, old) = (&after.stats, &before.stats);
    Moved {
        wall_ns: u64::try_from((after.at - before.at).as_nanos()).unwrap_or(u64::MAX),
        issued: sum(|tally| tally.issued),
        completed: sum(|tally| tally.completed),
        errors: sum(|tally| tally.errors),
        wrong_answers: sum(|tally| tally.wrong),
        user_bytes: sum(|tally| tally.user_bytes),
        returned_bytes: sum(|tally| tally.returned_bytes),
        gets: sum(|tally| tally.gets),
        scans: sum(|tally| tally.scans),
        scanned_entries: sum(|tally| tally.scanned_entries),
        io: new.io.as_ref().map(|io| io.since(&old.io.unwrap_or_default())),
        blocks: since::blocks(&new.blocks, &old.blocks),
        filter: since::filter(new.filter, old.filter),
        stalls: since::stalls(&new.stalls, &old.stalls),
        counters: since::counters(&new.counters, &old.counters),
        cpu: after.cpu.since(before.cpu),
        client_wall_ns: sum(|tally| tally.wall_ns),
        service_ns: sum(|tally| tally.service_ns),
        client_cpu_ns: sum(|tally| tally.cpu_ns),
        proc: after.proc.zip(before.proc).map(|(new, old)| new.since(old)),
    }
}

/// What stands for the tally of a client that panicked: an engine's panic, since clients do not.
fn panicked() -> Tally {
    let error = kv_api::Error::Unsupported {
        action: "this operation: the engine panicked; its message is on standard error",
    };
    Tally { issued: 1, errors: 1, error: Some(error), ..Tally::default() }
}
