//! Upkeep: which job is due, and how jobs keep out of each other's way.
//!
//! At most one flush and one merge run at a time. A flush goes first; a merge that runs looks for one between slices
//! of its work, so a single thread does both and no writer waits for a long merge. The merge that runs reserves its
//! keys: what is flushed meanwhile and shares some of them stays in level 0.

use std::sync::Arc;

use kv_api::{Background, Error, Result};
use kv_io::commit::Apply;
use kv_io::executor::Upkeep;
use kv_io::sync::atomic::Ordering;
use kv_io::sync::lock;

use crate::compaction::CompactionTask;
use crate::compaction::picker::{self, Rounds};
use crate::core::Core;
use crate::jobs::Merging;
use crate::memtable::Memtable;
use crate::sstable::reader::Table;
use crate::version::Version;
use crate::{compaction, flush};

/// One piece of upkeep.
pub enum Job {
    /// Write the oldest sealed memtable to a table.
    Flush,
    /// Merge tables.
    Compact(CompactionTask<Arc<Table>>),
    /// Remove files and memtables that nobody uses any more.
    Reap,
}

impl Core {
    /// Writes out the oldest sealed memtable if no one else does: called between the outputs of a long merge, so
    /// that writers never wait for it to end.
    ///
    /// # Errors
    /// Those of [`flush::run`].
    pub fn flush_if_due(&self) -> Result<()> {
        if self.state().immutables.is_empty() || !self.try_claim_flush() {
            return Ok(());
        }
        let done = flush::run(self);
        self.release_flush();
        self.reap();
        done
    }

    /// The level for a new table over `start..end`: as deep as nothing older lies on the way, unless a merge that
    /// runs may put something there. A merge lists its tables before it is off the books, so the version is looked at
    /// while those are held: an older one would not know what the merge put there.
    pub fn level_for(&self, start: &[u8], end: Option<&[u8]>) -> usize {
        let jobs = lock(&self.jobs);
        if jobs.merging.as_ref().is_some_and(|merging| !merging.is_apart(start, end)) {
            return 0;
        }
        let version = Arc::clone(&self.state().version);
        let base = picker::targets(&version, &self.pick_options()).base;
        version.deepest_free(start, end, base)
    }

    /// Marks `choose`'s task as the merge that runs, if none runs and no flush is choosing its level.
    pub fn begin_merge(
        &self,
        choose: impl FnOnce(&Version, &Rounds) -> Option<CompactionTask<Arc<Table>>>,
    ) -> Option<CompactionTask<Arc<Table>>> {
        let mut jobs = lock(&self.jobs);
        if jobs.merging.is_some() || jobs.flushing {
            return None;
        }
        let task = choose(&self.state().version, &jobs.rounds)?;
        let (mut start, mut end) = picker::span(&task.upper);
        if !task.lower.is_empty() {
            let (lower_start, lower_end) = picker::span(&task.lower);
            start = start.min(lower_start);
            end = end.zip(lower_end).map(|(a, b)| a.max(b));
        }
        if let (Some(round), Some(first)) = (jobs.rounds.get_mut(task.from), task.upper.first()) {
            *round = first.meta().smallest.clone();
        }
        jobs.merging = Some(Merging { start, end });
        Some(task)
    }

    /// Runs a task begun with [`Core::begin_merge`].
    ///
    /// # Errors
    /// Those of [`compaction::job::run`].
    pub fn merge(&self, task: &CompactionTask<Arc<Table>>) -> Result<()> {
        let done = compaction::job::run(self, task);
        lock(&self.jobs).merging = None;
        self.executor.announce();
        done
    }

    /// Waits until no one else flushes, and keeps others from it until [`Core::release_flush`]; no merge begins
    /// either.
    ///
    /// # Errors
    /// `Closed`, `Poisoned`, `NoSpace`.
    pub fn claim_flush(&self) -> Result<()> {
        let claimed = self.executor.wait_until(self, None, &mut || {
            self.latch.check_writable()?;
            Ok(self.try_claim_flush())
        });
        claimed.map(drop)
    }

    fn try_claim_flush(&self) -> bool {
        !std::mem::replace(&mut lock(&self.jobs).flushing, true)
    }

    /// Lets others flush again.
    pub fn release_flush(&self) {
        lock(&self.jobs).flushing = false;
        self.executor.announce();
    }

    /// True if no memtable waits, no job runs and no level is full.
    pub fn is_settled(&self) -> bool {
        let state = self.state();
        let options = self.pick_options();
        let is_full = picker::scores(&state.version, &options).iter().any(|score| score.fill >= 1.0);
        state.immutables.is_empty() && !is_full && !self.is_busy()
    }

    /// Bytes that upkeep still has to rewrite.
    pub fn debt_bytes(&self) -> u64 {
        picker::debt_bytes(&self.state().version, &self.pick_options())
    }

    /// If callers do the upkeep themselves and some may be due, does it. A commit that is acknowledged already ends
    /// with this: a job that fails tells the next caller.
    pub fn run_inline(&self) {
        let inline = self.options.common.background == Background::Inline;
        if inline && self.due.swap(false, Ordering::Relaxed) && self.executor.run_inline(self).is_err() {
            self.due.store(true, Ordering::Relaxed);
        }
    }

    /// True if a flush or a merge runs.
    pub fn is_busy(&self) -> bool {
        let jobs = lock(&self.jobs);
        jobs.flushing || jobs.merging.is_some()
    }

    /// Bytes of flushed memtables that readers still hold.
    pub fn retired_bytes(&self) -> u64 {
        lock(&self.jobs).retired.iter().map(|memtable| memtable.bytes()).sum()
    }

    /// Removes what nobody uses any more.
    pub fn reap(&self) {
        let unused: Vec<Arc<Memtable>> = {
            let mut jobs = lock(&self.jobs);
            let (unused, used) = std::mem::take(&mut jobs.retired)
                .into_iter()
                .partition(|memtable| Arc::strong_count(memtable) == 1);
            jobs.retired = used;
            unused
        };
        if !unused.is_empty() {
            drop(unused);
            self.resize_cache();
        }
        self.counters.tables_removed.add(self.space.remove_dead());
    }

    fn has_waste(&self) -> bool {
        let unused = |memtable: &Arc<Memtable>| Arc::strong_count(memtable) == 1;
        self.space.has_dead() || lock(&self.jobs).retired.iter().any(unused)
    }
}

impl Upkeep for Core {
    type Job = Job;

    fn next_job(&self) -> Option<Job> {
        if self.latch.check_writable().is_err() {
            return None;
        }
        if !self.state().immutables.is_empty() && self.try_claim_flush() {
            return Some(Job::Flush);
        }
        let options = self.pick_options();
        if let Some(task) = self.begin_merge(|version, rounds| picker::pick(version, &options, rounds)) {
            return Some(Job::Compact(task));
        }
        self.has_waste().then_some(Job::Reap)
    }

    fn run(&self, job: Job) -> Result<()> {
        let done = match job {
            Job::Flush => {
                let done = flush::run(self);
                self.release_flush();
                done
            }
            Job::Compact(task) => self.merge(&task),
            Job::Reap => Ok(()),
        };
        // At once, not as a job of low rank: while merges are always due, memory would only grow.
        self.reap();
        self.listeners.told(done)
    }

    fn poison(&self, error: &Error) {
        Apply::poison(self, error);
        self.listeners.deliver();
    }
}
