//! Commits: how batches get into the log and then into an engine, in one order for both.
//!
//! * `Memory` and `Os` commits take the commit lock, append, apply, publish.
//! * `Disk` commits queue. The first caller leads: under the commit lock it appends the whole group, syncs once,
//!   applies, publishes; then it hands the lead to the next waiting caller and wakes its own group alone.
//!
//! So log order is visibility order, and a `Disk` commit is never visible before it is durable. What can be refused
//! is refused before a frame is appended. From there on any failure latches: the outcome is unknown, the engine is
//! poisoned, and every queued caller gets an error. No sync is ever tried twice.
//!
//! Lock order: commit lock, then those of the engine's `prepare`, `apply` and `publish`; the queue lock is a leaf
//! and never held over I/O. `admit` is called with no lock held.

use std::fmt;
use std::sync::{Arc, OnceLock};

use kv_api::limits::{BATCH_BYTES_MAX, BATCH_OPS_MAX};
use kv_api::{Batch, CommitInfo, Durability, Error, ErrorKind, Result, SeqNo};

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::lock;
use crate::wal::reader::{self, Expected, ReplayInto};
use crate::wal::segment::Segments;
use crate::wal::writer::{Failure, Writer};
use crate::wal::{LogPlace, WalOptions};

pub use crate::wal::reader::Replayed;

mod queue;

#[cfg(test)]
mod tests;

use queue::{Queue, Role};

/// What an engine does about a batch.
pub trait Apply: Send + Sync {
    /// Waits until a batch of `bytes` encoded bytes and `ops` operations may be logged: write delay, memtable slot,
    /// dirty limit, log limit. No lock is held; it waits through [`crate::executor::Executor::wait_until`], and for
    /// nothing less than what [`Apply::prepare`] asks for, or the two would send the caller to and fro.
    ///
    /// # Errors
    /// `NoSpace` while upkeep is blocked, `Closed`, `Poisoned`: the batch is refused.
    fn admit(&self, bytes: usize, ops: usize) -> Result<()>;

    /// Makes room for a group of `bytes` encoded bytes and `ops` operations: seals a memtable, checks the dirty
    /// limit. The commit lock is held and the log untouched.
    ///
    /// # Errors
    /// Whatever refuses the group.
    fn prepare(&self, bytes: usize, ops: usize) -> Result<Room>;

    /// Takes `batches`, whose operations are numbered from `first_seq` on, without showing them to readers. The
    /// commit lock is held; the frames are in the log, and on disk if this is a `Disk` commit.
    ///
    /// # Errors
    /// Any error poisons the engine.
    fn apply(&self, first_seq: SeqNo, batches: &[&Batch]) -> Result<()>;

    /// Shows everything up to `last_seq` to readers. The commit lock is held.
    fn publish(&self, last_seq: SeqNo);

    /// Takes no more writes. May be called with the commit lock held, so it tells nobody: whoever has no lock does.
    fn poison(&self, error: &Error);

    /// Whether writes are taken at all.
    ///
    /// # Errors
    /// `Closed`, `Poisoned`, `ReadOnly`.
    fn check(&self) -> Result<()>;
}

/// What [`Apply::prepare`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// There is room now.
    Ready,
    /// The caller must let go of the commit lock and be admitted again.
    Wait,
}

/// The log of one engine, with the lock that orders commits.
pub struct CommitLog {
    commit: Mutex<Tail>,
    queue: Queue,
    segments: Arc<Segments>,
    /// The first failure after which the log's contents were unknown.
    broken: OnceLock<Error>,
    last_seq: AtomicU64,
    group_bytes_max: usize,
}

/// What the commit lock guards.
struct Tail {
    writer: Writer,
    /// True between the first touch of the log and the publication; a panic leaves it so.
    in_flight: bool,
    closed: bool,
}

impl CommitLog {
    /// Reads the log of `place`; see [`reader::replay`]. The engine then flushes what it was given, and only then
    /// calls [`CommitLog::start`].
    ///
    /// # Errors
    /// Those of [`reader::replay`].
    pub fn replay(place: &LogPlace, expected: Expected, into: ReplayInto<'_>) -> Result<Replayed> {
        reader::replay(place, expected, into)
    }

    /// Starts a fresh segment after what was replayed. All of that must be durable in the data files. The
    /// replayed segments go at the first [`CommitLog::release`].
    ///
    /// # Errors
    /// `NoSpace` or `Io` naming the file.
    pub fn start(place: &LogPlace, replayed: Replayed, options: WalOptions) -> Result<CommitLog> {
        let Replayed { next_seq, live, garbage, id_max, .. } = replayed;
        let segments = Arc::new(Segments::new(place.clone(), options, live, garbage, id_max));
        let writer = Writer::start(Arc::clone(&segments), next_seq)?;
        Ok(CommitLog {
            commit: Mutex::new(Tail { writer, in_flight: false, closed: false }),
            queue: Queue::default(),
            segments,
            broken: OnceLock::new(),
            last_seq: AtomicU64::new(next_seq.saturating_sub(1)),
            group_bytes_max: options.buffer_bytes_max(),
        })
    }

    /// Logs `batch`, applies it and shows it to readers, at the level asked for. An empty batch does nothing.
    ///
    /// Cost: `Memory` a copy of the batch, `Os` one write call, `Disk` a share of one write and one sync.
    ///
    /// # Errors
    /// What [`Apply::check`], [`Apply::admit`] and [`Apply::prepare`] refuse with, `BatchTooLarge`, and `NoSpace`
    /// if the log cannot grow: nothing happened. Anything else poisons the engine; whether the batch is there
    /// after reopening is unknown.
    pub fn commit<A: Apply>(&self, engine: &A, batch: &Batch, durability: Durability) -> Result<CommitInfo> {
        self.check(engine)?;
        if batch.is_empty() {
            return Ok(CommitInfo { seq: self.last_seq.load(Ordering::Acquire), durability });
        }
        let bytes = batch.encoded().len();
        if bytes > BATCH_BYTES_MAX || batch.len() > BATCH_OPS_MAX {
            let limit = if bytes > BATCH_BYTES_MAX { BATCH_BYTES_MAX } else { BATCH_OPS_MAX };
            return Err(Error::BatchTooLarge { bytes: bytes as u64, limit: limit as u64 });
        }
        engine.admit(bytes, batch.len())?;
        let seq = match durability {
            Durability::Memory | Durability::Os => self.commit_now(engine, batch, durability)?,
            Durability::Disk => self.commit_in_group(engine, batch)?,
        };
        Ok(CommitInfo { seq, durability })
    }

    /// A `Memory` or `Os` commit, already admitted.
    fn commit_now<A: Apply>(&self, engine: &A, batch: &Batch, durability: Durability) -> Result<SeqNo> {
        let bytes = batch.encoded().len();
        let mut tail = self.ready_tail(engine, bytes, batch.len())?;
        self.reserve(engine, &mut tail, bytes)?;
        let write = durability == Durability::Os;
        let appended = tail.writer.append(batch.encoded(), ops_u32(batch), write);
        let done = appended.and_then(|first_seq| engine.apply(first_seq, &[batch]));
        self.finish(engine, &mut tail, done)
    }

    /// A `Disk` commit, already admitted: leads a group or waits for the caller that does.
    fn commit_in_group<A: Apply>(&self, engine: &A, batch: &Batch) -> Result<SeqNo> {
        match self.queue.join(batch) {
            Role::Done(outcome) => outcome,
            Role::Leader => {
                let mut lead = self.queue.lead();
                let outcome = self.lead(engine, batch, &mut lead);
                let (own, others) = match outcome {
                    Ok(seqs) => seqs,
                    Err(error) => (Err(error.clone()), lead.fail_with(&error)),
                };
                lead.finish(others);
                own
            }
        }
    }

    /// Commits `own` with all that queued. Returns the outcome of each; an `Err` is the outcome of all.
    fn lead<A: Apply>(&self, engine: &A, own: &Batch, lead: &mut queue::Lead<'_>) -> Result<Outcomes> {
        let mut tail = loop {
            let tail = self.locked(engine)?;
            let (bytes, ops) = lead.gather(own, self.group_bytes_max);
            match engine.prepare(bytes, ops)? {
                Room::Ready => break tail,
                Room::Wait => drop(tail),
            }
            engine.admit(bytes, ops)?;
        };
        let batches: Vec<&Batch> = std::iter::once(own).chain(lead.batches()).collect();
        let mut seqs = Vec::with_capacity(batches.len());
        let mut refusal = None;
        let logged = self.log_group(&mut tail, &batches, &mut seqs, &mut refusal);
        let taken = batches.get(..seqs.len()).unwrap_or_default();
        if taken.is_empty() && logged.is_ok() {
            // Not even the first batch found room.
            return Err(refusal.unwrap_or(Error::Closed));
        }
        let first_seq = tail.writer.next_seq() - taken.iter().map(|batch| batch.len() as u64).sum::<u64>();
        let done = logged.and_then(|()| engine.apply(first_seq, taken));
        self.finish(engine, &mut tail, done)?;
        drop(tail);
        let mut outcomes = seqs.into_iter().map(Ok);
        let own = outcomes.next().unwrap_or(Err(Error::Closed));
        let mut others: Vec<Result<SeqNo>> = outcomes.collect();
        others.resize_with(lead.len(), || Err(refusal.clone().unwrap_or(Error::Closed)));
        Ok((own, others))
    }

    /// Appends `batches` and syncs, noting the last operation of each in `seqs`. A batch for which the log cannot
    /// grow ends the group early, with its reason in `refusal`.
    fn log_group(
        &self,
        tail: &mut Tail,
        batches: &[&Batch],
        seqs: &mut Vec<SeqNo>,
        refusal: &mut Option<Error>,
    ) -> Result<()> {
        for (index, batch) in batches.iter().enumerate() {
            tail.in_flight = true;
            match tail.writer.reserve(batch.encoded().len()) {
                Ok(()) => {}
                Err(Failure::Broken(error)) => return Err(error),
                Err(Failure::Refused(error)) => {
                    // Those before it are in the log.
                    tail.in_flight = index > 0;
                    *refusal = Some(error);
                    break;
                }
            }
            // The last frame takes those before it along in one write.
            let write = index + 1 == batches.len();
            let first_seq = tail.writer.append(batch.encoded(), ops_u32(batch), write)?;
            seqs.push(first_seq + batch.len() as u64 - 1);
        }
        if seqs.is_empty() { Ok(()) } else { tail.writer.sync() }
    }

    /// Takes the commit lock when the engine has room for `bytes` and `ops`.
    fn ready_tail<A: Apply>(
        &self,
        engine: &A,
        bytes: usize,
        ops: usize,
    ) -> Result<crate::sync::MutexGuard<'_, Tail>> {
        loop {
            let tail = self.locked(engine)?;
            match engine.prepare(bytes, ops)? {
                Room::Ready => return Ok(tail),
                Room::Wait => drop(tail),
            }
            engine.admit(bytes, ops)?;
        }
    }

    /// The commit lock, if the log may still be written.
    fn locked<A: Apply>(&self, engine: &A) -> Result<crate::sync::MutexGuard<'_, Tail>> {
        let tail = lock(&self.commit);
        self.latch_if_half_done(engine, &tail);
        self.check(engine)?;
        if tail.closed {
            return Err(Error::Closed);
        }
        Ok(tail)
    }

    /// A commit that neither published nor failed has panicked: nobody knows what the engine holds.
    fn latch_if_half_done<A: Apply>(&self, engine: &A, tail: &Tail) {
        if tail.in_flight && self.broken.get().is_none() {
            self.latch(engine, &Error::Poisoned { cause: Arc::from("a commit panicked half way") });
        }
    }

    fn check<A: Apply>(&self, engine: &A) -> Result<()> {
        match self.broken.get() {
            Some(error) => Err(error.to_poisoned()),
            None => engine.check(),
        }
    }

    /// Makes room for one frame; the commit is in flight from there on, unless it is refused.
    fn reserve<A: Apply>(&self, engine: &A, tail: &mut Tail, bytes: usize) -> Result<()> {
        tail.in_flight = true;
        match tail.writer.reserve(bytes) {
            Ok(()) => Ok(()),
            Err(Failure::Refused(error)) => {
                tail.in_flight = false;
                Err(error)
            }
            Err(Failure::Broken(error)) => Err(self.latch(engine, &error)),
        }
    }

    /// Does `work` on the end of the log: an error or a panic in it poisons.
    fn touch<A: Apply>(&self, engine: &A, work: impl FnOnce(&mut Writer) -> Result<()>) -> Result<()> {
        let mut tail = self.locked(engine)?;
        tail.in_flight = true;
        work(&mut tail.writer).map_err(|error| self.latch(engine, &error))?;
        tail.in_flight = false;
        Ok(())
    }

    /// Publishes what was logged and applied, or poisons.
    fn finish<A: Apply>(&self, engine: &A, tail: &mut Tail, done: Result<()>) -> Result<SeqNo> {
        if let Err(error) = done {
            return Err(self.latch(engine, &error));
        }
        let last_seq = tail.writer.next_seq() - 1;
        engine.publish(last_seq);
        self.last_seq.store(last_seq, Ordering::Release);
        tail.in_flight = false;
        Ok(last_seq)
    }

    /// Remembers that the log is broken and poisons the engine. Returns what the caller shall get: never a plain
    /// `NoSpace`, which would promise that nothing happened.
    fn latch<A: Apply>(&self, engine: &A, error: &Error) -> Error {
        let error = if error.kind() == ErrorKind::NoSpace { error.to_poisoned() } else { error.clone() };
        // A second failure is a consequence of the first.
        let _ = self.broken.set(error.clone());
        engine.poison(&error);
        error
    }

    /// Makes every earlier commit durable.
    ///
    /// # Errors
    /// `Closed`, `Poisoned`; any other error poisons the engine.
    pub fn sync<A: Apply>(&self, engine: &A) -> Result<()> {
        self.touch(engine, Writer::sync)
    }

    /// Makes the log durable through operation `seq`. Costs nothing if it is.
    ///
    /// # Errors
    /// Those of [`CommitLog::sync`].
    pub fn make_durable<A: Apply>(&self, engine: &A, seq: SeqNo) -> Result<()> {
        self.touch(engine, |writer| if writer.durable_upto() >= seq { Ok(()) } else { writer.sync() })
    }

    /// Hands the frames of `Memory` commits to the operating system.
    ///
    /// # Errors
    /// Those of [`CommitLog::sync`].
    pub fn flush_buffer<A: Apply>(&self, engine: &A) -> Result<()> {
        self.touch(engine, Writer::write_out)
    }

    /// Runs `f` under the commit lock, with the number of the last applied operation: no commit is half done, and none
    /// has failed half way, for what that left must never be made durable. `f` must not call back into the log.
    ///
    /// # Errors
    /// `Closed`, `Poisoned`, `ReadOnly`; then `f` was not run.
    pub fn frozen<A: Apply, R>(&self, engine: &A, f: impl FnOnce(SeqNo) -> R) -> Result<R> {
        let _tail = self.locked(engine)?;
        Ok(f(self.last_seq()))
    }

    /// The same in any state of the engine, for those who only look: a commit that failed may be half done.
    pub fn held<R>(&self, f: impl FnOnce() -> R) -> R {
        let _tail = lock(&self.commit);
        f()
    }

    /// Gives the next number to a change that is not in the log: `change` must make it durable, and with it a
    /// `replay_from` above that number. The log then goes on in a fresh segment, so that replay meets no gap.
    /// Returns the number; `None` if `change` says false, that there was nothing to change. `change` runs under the
    /// commit lock and must not call back into the log, except for [`CommitLog::release`].
    ///
    /// # Errors
    /// What `change` fails with, and `NoSpace` if the log cannot grow: nothing happened. Any other error poisons
    /// the engine.
    pub fn advance<A: Apply>(
        &self,
        engine: &A,
        change: impl FnOnce(SeqNo) -> Result<bool>,
    ) -> Result<Option<SeqNo>> {
        let mut tail = self.locked(engine)?;
        let next = match self.segments.obtain() {
            Ok(next) => next,
            Err(error) if error.kind() == ErrorKind::NoSpace => return Err(error),
            // As when a segment is full: after a sync that failed no later one counts.
            Err(error) => return Err(self.latch(engine, &error)),
        };
        // A source of entries that panics leaves the change half done.
        tail.in_flight = true;
        match change(tail.writer.next_seq()) {
            Ok(true) => {}
            unchanged => {
                tail.in_flight = false;
                self.segments.give_back(next);
                return unchanged.map(|_| None);
            }
        }
        let done = tail.writer.skip_to(next);
        self.finish(engine, &mut tail, done).map(Some)
    }

    /// Lets go of the part of the log that only holds operations below `replay_from`. Call it once the meta page
    /// or manifest that holds this `replay_from` is synced.
    ///
    /// # Errors
    /// `Io` naming the file or directory. Nothing that replay needs is touched.
    pub fn release(&self, replay_from: SeqNo) -> Result<()> {
        self.segments.release(replay_from)
    }

    /// Bytes of frames that a crash would have to replay: what `wal_bytes_max` bounds.
    pub fn log_bytes(&self) -> u64 {
        self.segments.log_bytes()
    }

    /// The number of the last operation that is visible.
    pub fn last_seq(&self) -> SeqNo {
        self.last_seq.load(Ordering::Acquire)
    }

    /// Makes everything durable, marks the log as closed, and takes no more commits. A second call does nothing.
    ///
    /// # Errors
    /// `Poisoned`; any other error poisons the engine.
    pub fn close<A: Apply>(&self, engine: &A) -> Result<()> {
        let mut tail = lock(&self.commit);
        self.latch_if_half_done(engine, &tail);
        if let Some(error) = self.broken.get() {
            return Err(error.to_poisoned());
        }
        if std::mem::replace(&mut tail.closed, true) {
            return Ok(());
        }
        tail.writer.close().map_err(|error| self.latch(engine, &error))
    }
}

/// The outcome of a leader's own batch and those of its group.
type Outcomes = (Result<SeqNo>, Vec<Result<SeqNo>>);

fn ops_u32(batch: &Batch) -> u32 {
    // The limit on operations was checked, and a batch counts in u32 itself.
    u32::try_from(batch.len()).unwrap_or(u32::MAX)
}

impl fmt::Debug for CommitLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitLog")
            .field("last_seq", &self.last_seq())
            .field("log_bytes", &self.log_bytes())
            .finish()
    }
}
