//! One client thread: draws an operation, times it, checks the answer, takes note, and only then draws the next
//! one: at once in a closed loop, when it is due in an open one. Service time is that of the call alone; making keys and
//! checking answers stay outside the clock. Response time counts from the moment the request was due.

use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kv_api::{Batch, Durability, KeyRange, Kv, Scan, ScanOptions, Snapshot};
use workloads::keys::Key;
use workloads::{Mismatch, Op, OpKind, OpStream, Oracle, Spec};

use super::open::{Kept, Pacer};
use super::progress::Progress;
use crate::metrics::Latencies;
use crate::sys::interrupt::Interrupt;
use crate::sys::proc;
use crate::trace::replay::Sent;

/// Wrong answers that are kept word for word; the rest is counted.
const WRONG_KEPT_MAX: usize = 3;

/// What all clients of a phase share.
pub struct Shared<'a, E: ?Sized> {
    /// The engine.
    pub engine: &'a E,
    /// The state that reads see; `None`: the newest.
    pub snapshot: Option<&'a dyn Snapshot>,
    /// The level of every write.
    pub durability: Durability,
    /// Writes per batch.
    pub batch: usize,
    /// A batch ends early once it has so many bytes; see [`batch_bytes_max`].
    pub batch_bytes_max: usize,
    /// When the phase must end, whatever was done.
    pub time_max: Option<Duration>,
    /// Set by the user.
    pub interrupt: &'a Interrupt,
    /// Set by a client that failed, so that the others stop.
    pub failed: &'a AtomicBool,
    /// Set by the watcher when the phase has become steady.
    pub steady: &'a AtomicBool,
}

impl<E: Kv + ?Sized> Shared<'_, E> {
    fn get_with(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> kv_api::Result<bool> {
        match self.snapshot {
            None => self.engine.get_with(key, found),
            Some(snapshot) => snapshot.get_with(key, found),
        }
    }

    fn scan(&self, range: KeyRange<'_>) -> kv_api::Result<Box<dyn Scan>> {
        match self.snapshot {
            None => self.engine.scan(range, ScanOptions::FORWARD),
            Some(snapshot) => snapshot.scan(range, ScanOptions::FORWARD),
        }
    }
}

/// An eighth of the memory budget, the same for all engines: every engine must take so much at once, whatever its limit.
pub fn batch_bytes_max(spec: &Spec) -> usize {
    usize::try_from(spec.memory_budget() / 8).unwrap_or(usize::MAX)
}

/// What one client did.
#[derive(Debug, Default)]
pub struct Tally {
    /// Operations drawn.
    pub issued: u64,
    /// Operations answered.
    pub completed: u64,
    /// Operations that failed.
    pub errors: u64,
    /// What the first of them said.
    pub error: Option<kv_api::Error>,
    /// Wrong answers.
    pub wrong: u64,
    /// The first few of them.
    pub wrong_kept: Vec<String>,
    /// Key and value bytes acknowledged.
    pub user_bytes: u64,
    /// Key and value bytes returned.
    pub returned_bytes: u64,
    /// Point reads.
    pub gets: u64,
    /// Scans.
    pub scans: u64,
    /// Entries returned by scans.
    pub scanned_entries: u64,
    /// Operations by kind.
    pub by_kind: [u64; OpKind::ALL.len()],
    /// Service times.
    pub latencies: Latencies,
    /// Response times, in an open loop.
    pub responses: Latencies,
    /// What became of the timetable, in an open loop.
    pub kept: Option<Kept>,
    /// Wall time of the thread, from its first operation to its last.
    pub wall_ns: u64,
    /// Of that, inside calls of the engine.
    pub service_ns: u64,
    /// CPU time of the thread.
    pub cpu_ns: u64,
    /// CPU time that the thread spent waiting for requests to be due.
    pub waiting_cpu_ns: u64,
    /// True if time ran out before the operations did.
    pub capped: bool,
}

impl Tally {
    /// Takes note of a request of a trace that was answered.
    pub fn answered(&mut self, sent: &Sent) {
        let ns = nanos(sent.start, sent.end);
        self.latencies.record(sent.kind, ns);
        self.service_ns += ns;
        self.by_kind[sent.kind as usize] += 1;
        self.completed += 1;
        self.user_bytes += sent.user_bytes;
        self.returned_bytes += sent.returned_bytes;
        self.gets += u64::from(matches!(sent.kind, OpKind::Get | OpKind::GetAbsent));
        self.scans += u64::from(sent.kind == OpKind::Scan);
        self.scanned_entries += sent.entries;
    }

    /// Takes note of a wrong answer.
    pub fn note_wrong(&mut self, what: String) {
        self.wrong += 1;
        if self.wrong_kept.len() < WRONG_KEPT_MAX {
            self.wrong_kept.push(what);
        }
    }
}

/// One client at work.
pub struct Client<'a, E: ?Sized> {
    shared: &'a Shared<'a, E>,
    oracle: &'a mut Oracle,
    stream: &'a mut OpStream,
    progress: &'a Progress,
    acknowledged: Option<&'a AtomicU64>,
    pacer: Option<Pacer<'a>>,
    /// When the request being answered was due.
    due_at: Option<Instant>,
    tally: Tally,
    batch: Batch,
    batched: Vec<OpKind>,
    value: Vec<u8>,
    entries: Vec<u8>,
    lens: Vec<(usize, usize)>,
}

impl<'a, E: Kv + ?Sized> Client<'a, E> {
    /// A client that draws from `stream`. `acknowledged` is told how many operations were acknowledged.
    pub fn new(
        shared: &'a Shared<'a, E>,
        oracle: &'a mut Oracle,
        stream: &'a mut OpStream,
        progress: &'a Progress,
        acknowledged: Option<&'a AtomicU64>,
    ) -> Self {
        Client {
            shared,
            oracle,
            stream,
            progress,
            acknowledged,
            pacer: None,
            due_at: None,
            tally: Tally::default(),
            batch: Batch::new(),
            batched: Vec::new(),
            value: Vec::new(),
            entries: Vec::new(),
            lens: Vec::new(),
        }
    }

    /// The same client in an open loop.
    pub fn paced(self, pacer: Option<Pacer<'a>>) -> Self {
        Client { pacer, ..self }
    }

    /// Works until the stream ends, time runs out, the user interrupts, or an operation fails.
    pub fn run(mut self) -> Tally {
        let (cpu, start) = (proc::thread_cpu_ns(), Instant::now());
        let deadline = self.shared.time_max.map(|time| start + time);
        while let Some(op) = self.next_op() {
            let done = if self.shared.batch > 1 && op.kind().writes() && op.kind() != OpKind::Rmw {
                self.push(op)
            } else {
                self.commit_batch().and_then(|()| self.single(op))
            };
            let Ok(now) = done.map_err(|error| self.fail(error)) else { break };
            if deadline.is_some_and(|deadline| now >= deadline) {
                let is_behind = self.pacer.as_ref().map(Pacer::is_behind);
                self.tally.capped = is_behind.unwrap_or(!self.stream.is_done());
                break;
            }
        }
        if let Err(error) = self.commit_batch() {
            self.fail(error);
        }
        self.tally.wall_ns = nanos(start, Instant::now());
        self.tally.cpu_ns = proc::thread_cpu_ns().saturating_sub(cpu);
        self.tally.kept = self.pacer.map(Pacer::finish);
        self.tally.waiting_cpu_ns = self.tally.kept.as_ref().map_or(0, |kept| kept.waiting_cpu_ns);
        self.tally
    }

    fn next_op(&mut self) -> Option<Op> {
        let shared = self.shared;
        let is_over = || {
            let flags = [shared.failed, shared.steady];
            shared.interrupt.is_set() || flags.into_iter().any(|flag| flag.load(Ordering::Relaxed))
        };
        if is_over() || self.stream.is_done() {
            return None;
        }
        if let Some(pacer) = &mut self.pacer {
            self.due_at = Some(pacer.wait(is_over)?);
        }
        let op = self.stream.next(self.oracle)?;
        self.tally.issued += 1;
        Some(op)
    }

    fn fail(&mut self, error: kv_api::Error) {
        self.shared.failed.store(true, Ordering::Relaxed);
        self.tally.errors = self.tally.issued - self.tally.completed;
        self.tally.error.get_or_insert(error);
    }

    /// Takes note that one operation of `kind`, called at `start`, was answered at `end`.
    fn done(&mut self, kind: OpKind, start: Instant, end: Instant) {
        let ns = nanos(start, end);
        self.tally.latencies.record(kind, ns);
        let mut felt_ns = ns;
        if let (Some(pacer), Some(due_at)) = (&mut self.pacer, self.due_at) {
            felt_ns = nanos(due_at, end);
            self.tally.responses.record(kind, felt_ns);
            pacer.answered(end);
        }
        self.tally.service_ns += ns;
        self.tally.by_kind[kind as usize] += 1;
        self.tally.completed += 1;
        self.progress.add(1);
        self.progress.time(felt_ns);
        self.note_acknowledged();
    }

    /// A client sends one request at a time, so the operations completed are the first ones drawn.
    fn note_acknowledged(&self) {
        if let Some(slot) = self.acknowledged {
            slot.store(self.tally.completed, Ordering::Release);
        }
    }

    fn wrong(&mut self, op: Op, mismatch: Mismatch) {
        self.tally.note_wrong(format!("{} of record {}: {mismatch}", op.kind().name(), op.record()));
    }

    /// One operation on its own. Returns the moment it was answered.
    fn single(&mut self, op: Op) -> kv_api::Result<Instant> {
        match op.kind() {
            OpKind::Get | OpKind::GetAbsent => self.get(op),
            OpKind::Scan => self.scan(op),
            _ => self.write(op),
        }
    }

    fn get(&mut self, op: Op) -> kv_api::Result<Instant> {
        let key = self.oracle.key(op);
        let value = &mut self.value;
        let start = Instant::now();
        let found = self.shared.get_with(&key, &mut |bytes| copy(bytes, value))?;
        let end = Instant::now();
        self.tally.gets += 1;
        if found {
            self.tally.returned_bytes += (key.len() + self.value.len()) as u64;
        }
        let answer = found.then_some(self.value.as_slice());
        let checked = match (op, answer) {
            (Op::GetAbsent { .. }, None) => Ok(()),
            (Op::GetAbsent { .. }, Some(_)) => Err(Mismatch::Unexpected),
            (_, answer) => self.oracle.check_found(op.record(), &key, answer),
        };
        if let Err(mismatch) = checked {
            self.wrong(op, mismatch);
        }
        self.done(op.kind(), start, end);
        Ok(end)
    }

    fn scan(&mut self, op: Op) -> kv_api::Result<Instant> {
        let Op::Scan { limit, .. } = op else { return self.get(op) };
        let key = self.oracle.key(op);
        self.entries.clear();
        self.lens.clear();
        let start = Instant::now();
        let range = KeyRange { start: Bound::Included(&*key), end: Bound::Unbounded };
        let mut scan = self.shared.scan(range)?;
        for _ in 0..limit {
            let Some(entry) = scan.next()? else { break };
            self.entries.extend_from_slice(entry.key);
            self.entries.extend_from_slice(entry.value);
            self.lens.push((entry.key.len(), entry.value.len()));
        }
        drop(scan);
        let end = Instant::now();
        self.tally.scans += 1;
        self.tally.scanned_entries += self.lens.len() as u64;
        self.tally.returned_bytes += self.entries.len() as u64;
        if let Err(mismatch) = self.check_scan(&key) {
            self.wrong(op, mismatch);
        }
        self.done(OpKind::Scan, start, end);
        Ok(end)
    }

    /// The entries begin at `key`, which exists, ascend, and are those that the oracle knows.
    fn check_scan(&self, key: &[u8]) -> Result<(), Mismatch> {
        let mut rest = self.entries.as_slice();
        let mut last: Option<&[u8]> = None;
        for (key_len, value_len) in &self.lens {
            let (found, after) = rest.split_at(*key_len);
            let (value, after) = after.split_at(*value_len);
            let in_order = last.map_or(found == key, |last| last < found);
            if !in_order {
                return Err(Mismatch::Unexpected);
            }
            self.oracle.check_entry(found, value)?;
            (last, rest) = (Some(found), after);
        }
        if last.is_none() { Err(Mismatch::Missing { expected: 0 }) } else { Ok(()) }
    }

    fn write(&mut self, op: Op) -> kv_api::Result<Instant> {
        let key = self.oracle.key(op);
        let mut value = std::mem::take(&mut self.entries);
        if let Some(version) = op.version_written() {
            self.oracle.values().fill(&key, version, &mut value);
        }
        let engine = self.shared.engine;
        let is_rmw = op.kind() == OpKind::Rmw;
        let range = self.oracle.range(op);
        let read = &mut self.value;
        let start = Instant::now();
        let found = is_rmw && engine.get_with(&key, &mut |bytes| copy(bytes, read))?;
        match op {
            Op::Delete { .. } => engine.delete(&key, self.shared.durability)?,
            Op::DeleteRange { .. } => engine.delete_range(key_range(&range), self.shared.durability)?,
            _ => engine.put(&key, &value, self.shared.durability)?,
        };
        let end = Instant::now();
        let second_bytes = match op {
            Op::Delete { .. } => 0,
            Op::DeleteRange { .. } => range.1.len(),
            _ => value.len(),
        };
        self.tally.user_bytes += (key.len() + second_bytes) as u64;
        self.entries = value;
        if is_rmw {
            self.tally.gets += 1;
            self.tally.returned_bytes += if found { (key.len() + self.value.len()) as u64 } else { 0 };
            let answer = found.then_some(self.value.as_slice());
            if let Err(mismatch) = self.oracle.check_found(op.record(), &key, answer) {
                self.wrong(op, mismatch);
            }
        }
        self.oracle.acknowledge(op);
        self.done(op.kind(), start, end);
        Ok(end)
    }

    /// Puts a write into the batch, and commits it when it is full.
    fn push(&mut self, op: Op) -> kv_api::Result<Instant> {
        let key = self.oracle.key(op);
        if let Some(version) = op.version_written() {
            self.oracle.values().fill(&key, version, &mut self.value);
            self.batch.put(&key, &self.value);
        } else if op.kind() == OpKind::DeleteRange {
            self.batch.delete_range(key_range(&self.oracle.range(op)));
        } else {
            self.batch.delete(&key);
        }
        self.oracle.acknowledge(op);
        self.batched.push(op.kind());
        let is_full = self.batch.encoded().len() >= self.shared.batch_bytes_max;
        if is_full || self.batched.len() >= self.shared.batch {
            self.commit_batch()?;
        }
        Ok(Instant::now())
    }

    fn commit_batch(&mut self) -> kv_api::Result<()> {
        let Some(first) = self.batched.first().copied() else { return Ok(()) };
        let start = Instant::now();
        let written = self.shared.engine.write(&self.batch, self.shared.durability);
        let end = Instant::now();
        if written.is_ok() {
            self.tally.latencies.record(first, nanos(start, end));
            self.tally.service_ns += nanos(start, end);
            self.tally.user_bytes += self.batch.user_bytes();
            for kind in &self.batched {
                self.tally.by_kind[*kind as usize] += 1;
            }
            self.tally.completed += self.batched.len() as u64;
            self.progress.add(self.batched.len() as u64);
            self.note_acknowledged();
        }
        self.batch.clear();
        self.batched.clear();
        written.map(|_| ())
    }
}

/// The range of keys that a range delete of the oracle names.
fn key_range((from, to): &(Key, Key)) -> KeyRange<'_> {
    KeyRange { start: Bound::Included(from), end: Bound::Excluded(to) }
}

fn copy(bytes: &[u8], into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(bytes);
}

fn nanos(start: Instant, end: Instant) -> u64 {
    u64::try_from(end.saturating_duration_since(start).as_nanos()).unwrap_or(u64::MAX)
}
