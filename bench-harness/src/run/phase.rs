//! One phase: read every counter, let the clients work, read every counter again.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kv_api::{Durability, IoStats, KeyRange, Kv, Stats};
use workloads::spec::{Loop, ReadsFrom};
use workloads::values::key_hash;
use workloads::{Arrivals, OpDigest, OpKind, OpStream, Oracle, PhaseKind, Spec};

use super::client::{Client, Shared, Tally, batch_bytes_max};
use super::open::{Kept, Timetable};
use super::progress::Progress;
use super::steady::WINDOW;
use super::verify::{Scanned, full_scan, read_sample, read_sample_of_replay};
use super::watch::{SteadyEnd, Watch, Watched};
use crate::metrics::record::since;
use crate::metrics::{Latencies, Moved, OpRecord, PhaseRecord};
use crate::sys::ack::AckLog;
use crate::sys::disk;
use crate::sys::interrupt::Interrupt;
use crate::sys::page_cache;
use crate::sys::proc::{self, Cpu, ProcIo};
use crate::sys::threads::ThreadTimes;
use crate::trace::replay::send;
use crate::trace::{self, Model, ReplayError, TraceFile};

/// A settle without a time of its own ends after this long.
const SETTLE_MAX: Duration = Duration::from_secs(600);
/// Settling is asked for in slices, so that Ctrl-C is heard.
const SETTLE_SLICE: Duration = Duration::from_secs(1);

/// Where phases run.
pub struct Stage<'a, E: ?Sized> {
    /// The engine.
    pub engine: &'a E,
    /// What clients ask: the engine, or what writes down their requests and passes them on.
    pub asked: &'a E,
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
    /// CPU time by thread: each thread that a phase starts notes its end.
    pub threads: &'a ThreadTimes,
}

/// What must be in the store.
pub struct Expected {
    /// One oracle per client.
    pub oracles: Vec<Oracle>,
    /// What a replay left: from then on nothing else is in the store.
    pub replayed: Option<Model>,
}

impl Expected {
    fn live_bytes(&self) -> u64 {
        let drawn = || self.oracles.iter().map(Oracle::live_bytes).sum();
        self.replayed.as_ref().map_or_else(drawn, Model::live_bytes)
    }
}

/// What the phases before left behind for the next one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Carried {
    /// What the engine had moved when the last phase ended.
    pub io: Option<IoStats>,
    /// What the last measured closed loop reached, in operations per second.
    pub max_per_second: Option<f64>,
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
    by_clock: bool,
    error: Option<kv_api::Error>,
}

impl<E: Kv + ?Sized> Stage<'_, E> {
    /// Runs phase `index` of the workload, and keeps `expected` up to date.
    pub fn run(&self, index: usize, expected: &mut Expected, carried: Carried) -> Outcome {
        let phase = &self.spec.phases[index];
        let mut streams: Vec<_> =
            expected.oracles.iter().map(|oracle| OpStream::new(self.spec, index, oracle)).collect();
        let ops_max: Option<u64> = streams.iter().map(OpStream::ops_max).sum();
        let until = &phase.until;
        let progress: Vec<Progress> = streams.iter().map(|_| Progress::default()).collect();
        let made = self.timetable(index, &streams, carried.max_per_second);
        let (mut timetable, refused) = made.map_or_else(|why| (None, Some(why)), |made| (made, None));
        let (over, reached) = (AtomicBool::new(false), AtomicBool::new(false));
        let dropped = (self.spec.run.drop_caches && index > 0).then(|| page_cache::drop_files(self.dir));
        // The clock starts when the last arrival is drawn.
        timetable.iter_mut().for_each(Timetable::begin);
        let watch = Watch {
            engine: self.engine,
            dir: self.dir,
            progress: &progress,
            ops_max: ops_max.filter(|_| phase.kind.has_ops()),
            title: format!("{} {}", self.label, phase.name),
            draw: self.draw,
            timetable: timetable.as_ref(),
            steady: until.steady.then(|| SteadyEnd {
                window: until.window_s.map_or(WINDOW, Duration::from_secs_f64),
                time_min: Duration::from_secs_f64(until.min_s.unwrap_or(0.0)),
                reached: &reached,
            }),
            over: &over,
            threads: self.threads,
        };
        if let Some(acks) = self.acks {
            acks.begin_phase(index);
        }
        // Phases abut: what background threads moved since the last phase ended belongs to this one.
        let mut before = Reading::take(self.engine);
        before.stats.io = before.stats.io.and(carried.io);
        let (worked, watched) = thread::scope(|scope| {
            let watcher = scope.spawn(|| watch.run());
            let worked = match phase.kind {
                _ if refused.is_some() => Worked { error: refused, ..Worked::default() },
                PhaseKind::Settle | PhaseKind::Drain => self.settle(index),
                PhaseKind::Verify => self.verify(expected),
                PhaseKind::Replay => self.replay(index, expected, &progress),
                _ => self.clients(
                    index,
                    &mut expected.oracles,
                    &mut streams,
                    &progress,
                    (timetable.as_ref(), &reached),
                ),
            };
            over.store(true, Ordering::Release);
            watcher.thread().unpark();
            // The watcher does not panic: it only samples. If it did, its samples are missing, nothing else.
            (worked, watcher.join().unwrap_or_default())
        });
        let after = Reading::take(self.engine);
        let kept: Vec<Kept> = worked.tallies.iter().filter_map(|tally| tally.kept.clone()).collect();
        let open = timetable.as_ref().map(|timetable| timetable.record(&kept, watched.backlog_peak));
        let mut outcome = self.outcome(index, &before, after, worked, watched, expected);
        (outcome.record.open, outcome.record.dropped_bytes) = (open, dropped);
        outcome
    }

    fn clients(
        &self,
        index: usize,
        oracles: &mut [Oracle],
        streams: &mut [OpStream],
        progress: &[Progress],
        (timetable, steady): (Option<&Timetable>, &AtomicBool),
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
            engine: self.asked,
            snapshot: held.as_deref(),
            durability: self.durability,
            batch: phase.batch.max(1) as usize,
            batch_bytes_max: batch_bytes_max(self.spec),
            time_max: timetable
                .map(Timetable::time_max)
                .or_else(|| phase.until.cap_s().map(Duration::from_secs_f64)),
            interrupt: self.interrupt,
            failed: &failed,
            steady,
        };
        let mut tallies: Vec<Tally> = thread::scope(|scope| {
            let parts = oracles.iter_mut().zip(streams.iter_mut()).zip(progress).enumerate();
            let clients: Vec<_> = parts
                .map(|(thread, ((oracle, stream), progress))| {
                    let slot = self.acks.map(|acks| acks.slot(thread, index));
                    let client = Client::new(&shared, oracle, stream, progress, slot)
                        .paced(timetable.map(|timetable| timetable.pacer(thread)));
                    scope.spawn(move || noting_end(self.threads, || client.run()))
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap_or_else(|_| panicked())).collect()
        });
        let error = tallies.iter_mut().find_map(|tally| tally.error.take());
        // A timetable that does not follow the engine asks all engines for the same.
        let is_told = timetable.is_some_and(|timetable| !timetable.follows_the_engine());
        let by_clock = !is_told && streams.iter().any(|stream| !stream.is_done());
        // A phase that is to end when it is steady has its own word for one that did not become so.
        let is_cut = !phase.until.steady && tallies.iter().any(|tally| tally.capped);
        let capped = is_cut.then(|| {
            let done: u64 = tallies.iter().map(|tally| tally.completed).sum();
            let planned = match timetable {
                Some(timetable) => Some(timetable.scheduled()),
                None => streams.iter().map(OpStream::ops_max).sum::<Option<u64>>(),
            };
            let of = planned.map_or(String::new(), |planned| format!(" of {}", crate::units::count(planned)));
            format!(
                "stopped after {} s with {}{of} operations",
                shared.time_max.map_or(0.0, |time| time.as_secs_f64()),
                crate::units::count(done)
            )
        });
        let digests = streams.iter().map(OpStream::digest).collect();
        Worked { tallies, digests, capped, by_clock, error, scanned: None }
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

    /// The timetable of phase `index`, if it is an open loop.
    fn timetable(
        &self,
        index: usize,
        streams: &[OpStream],
        max_per_second: Option<f64>,
    ) -> kv_api::Result<Option<Timetable>> {
        let trace_ns = match &self.spec.phases[index].arrival {
            Loop::Open(Arrivals::Trace { file }) => {
                trace::times_ns(Path::new(file)).map_err(|error| unreadable(file, error))?
            }
            _ => Vec::new(),
        };
        let made = Timetable::of(self.spec, index, streams, max_per_second, &trace_ns);
        made.transpose().map_err(|action| kv_api::Error::Unsupported { action })
    }

    /// Removes what the phases before left, so that every answer can be checked, and sends the trace.
    fn replay(&self, index: usize, expected: &mut Expected, progress: &[Progress]) -> Worked {
        let file = self.spec.phases[index].trace.as_deref().unwrap_or_default();
        let mut worked = Worked::default();
        let trace = match trace::open(Path::new(file)) {
            Ok(trace) => trace,
            Err(error) => return Worked { error: Some(unreadable(file, error)), ..worked },
        };
        if expected.live_bytes() > 0
            && let Err(error) = self.engine.delete_range(KeyRange::ALL, self.durability)
        {
            return Worked { error: Some(error), ..worked };
        }
        let mut model = Model::default();
        let (mut tally, mut digest) = (Tally::default(), OpDigest::default());
        let error = self.send_all(trace, file, &mut model, (&mut tally, &mut digest), progress);
        tally.errors = tally.issued - tally.completed;
        worked.error = error.err();
        worked.tallies.push(tally);
        worked.digests.push(digest);
        expected.replayed = Some(model);
        worked
    }

    fn send_all(
        &self,
        trace: TraceFile,
        file: &str,
        model: &mut Model,
        (tally, digest): (&mut Tally, &mut OpDigest),
        progress: &[Progress],
    ) -> kv_api::Result<()> {
        let (cpu, start) = (proc::thread_cpu_ns(), Instant::now());
        for request in trace.take_while(|_| !self.interrupt.is_set()) {
            let request = request.map_err(|error| unreadable(file, error))?;
            tally.issued += 1;
            let sent = match send(self.asked, &request, self.durability, model) {
                Ok(sent) => sent,
                Err(ReplayError::Engine(error)) => return Err(error),
                Err(other) => return Err(unreadable(file, other)),
            };
            digest.add_word(key_hash(&request.key) ^ sent.kind as u64);
            tally.answered(&sent);
            progress.first().inspect(|progress| progress.add(1));
            if let Some(mismatch) = sent.wrong {
                tally.note_wrong(format!(
                    "{} of key {}: {mismatch}",
                    sent.kind.name(),
                    request.key.escape_ascii()
                ));
            }
        }
        tally.wall_ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        tally.cpu_ns = proc::thread_cpu_ns().saturating_sub(cpu);
        Ok(())
    }

    fn verify(&self, expected: &Expected) -> Worked {
        let mut worked = Worked::default();
        let wanted = self.spec.verify;
        let mut tally = Tally::default();
        let (engine, share, oracles) = (self.engine, wanted.read_sample, &expected.oracles);
        let sampled = match &expected.replayed {
            Some(model) => read_sample_of_replay(engine, model, share, self.interrupt, &mut tally),
            None => read_sample(engine, oracles, share, self.interrupt, &mut tally),
        };
        if let Err(error) = sampled {
            worked.error = Some(error);
        } else if wanted.final_scan {
            let scanned = match &expected.replayed {
                Some(model) => full_scan(engine, model, self.interrupt, &mut tally),
                None => full_scan(engine, oracles.as_slice(), self.interrupt, &mut tally),
            };
            match scanned {
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
        expected: &Expected,
    ) -> Outcome {
        let phase = &self.spec.phases[index];
        let mut latencies = Latencies::default();
        let mut responses = Latencies::default();
        for tally in &worked.tallies {
            latencies.merge(&tally.latencies);
            responses.merge(&tally.responses);
        }
        let ops = OpKind::ALL.into_iter().filter_map(|kind| {
            let count: u64 = worked.tallies.iter().map(|tally| tally.by_kind[kind as usize]).sum();
            let record = OpRecord {
                op: kind.name().to_owned(),
                count,
                latency: latencies.summary(kind),
                histogram: latencies.encoded(kind),
                response: responses.summary(kind),
                response_histogram: responses.encoded(kind),
            };
            (count > 0).then_some(record)
        });
        let record = PhaseRecord {
            name: phase.name.clone(),
            kind: phase.kind.name().to_owned(),
            capped: worked.capped.take(),
            by_clock: worked.by_clock,
            steady: watched.steady,
            ops: ops.collect(),
            reads: latencies.summary_of(|kind| !kind.writes()),
            writes: latencies.summary_of(OpKind::writes),
            read_responses: responses.summary_of(|kind| !kind.writes()),
            write_responses: responses.summary_of(OpKind::writes),
            open: None,
            dropped_bytes: None,
            live_bytes: expected.live_bytes(),
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
        waiting_cpu_ns: sum(|tally| tally.waiting_cpu_ns),
        proc: after.proc.zip(before.proc).map(|(new, old)| new.since(old)),
    }
}

/// A trace that could be read when the run was planned, and cannot now.
fn unreadable(file: &str, error: impl std::error::Error + Send + Sync + 'static) -> kv_api::Error {
    kv_api::Error::io("read the trace", file, std::io::Error::other(error))
}

/// What stands for the tally of a client that panicked: an engine's panic, since clients do not.
fn panicked() -> Tally {
    let error = kv_api::Error::Unsupported {
        action: "this operation: the engine panicked; its message is on standard error",
    };
    Tally { issued: 1, errors: 1, error: Some(error), ..Tally::default() }
}

/// Does `work`, and takes note of the thread's CPU time when it is done.
fn noting_end<T>(threads: &ThreadTimes, work: impl FnOnce() -> T) -> T {
    let done = work();
    threads.note_end();
    done
}
