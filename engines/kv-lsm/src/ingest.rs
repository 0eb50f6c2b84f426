//! Ingest: sorted entries become tables without the log.
//!
//! The tables are written first, without an age. Then, under the commit lock, everything in memory is flushed, so
//! that nothing older lies above the new tables; they get the next number, which no log frame has, and one edit of
//! the manifest names them and moves `replay_from` past it. Only then does the log go on, in a fresh segment.

use kv_api::{Cause, EntryRef, IngestReport, Result, SeqNo, SortedSource};
use kv_io::ingest::CheckedSource;

use crate::core::Core;
use crate::entry::{Entry, Kind, Tag};
use crate::flush;
use crate::num::to_u64;
use crate::output::Output;
use crate::range_tombstone::Fragments;
use crate::sstable::TableMeta;

/// Takes all of `sorted`. `flush` empties the memtables while writers go on, so that little is left to do under the
/// lock.
///
/// # Errors
/// Those of the source; `InvalidOptions` for keys out of order; limits; `NoSpace`, `Io`. Nothing is added then.
pub fn run(
    core: &Core,
    sorted: &mut dyn SortedSource,
    flush: impl FnOnce() -> Result<()>,
) -> Result<IngestReport> {
    let mut entries = CheckedSource::new(core.limits, sorted);
    let next_id = || core.next_id();
    let mut output = Output::new(&core.space, &core.write_options, Cause::Ingest, &next_id);
    let none = Fragments::default();
    while let Some(EntryRef { key, value }) = entries.next()? {
        core.latch.check_writable()?;
        if output.bytes() >= core.sizes.table {
            output.cut(&none, Some(key))?;
        }
        output.add(Entry { key, tag: Tag::new(0, Kind::Put), value })?;
    }
    let report = entries.report;
    if report.entries == 0 {
        return Ok(report);
    }
    output.cut(&none, None)?;
    flush()?;
    install(core, output)?;
    Ok(report)
}

/// Adds the tables under the next number.
fn install(core: &Core, output: Output<'_>) -> Result<()> {
    let log = core.log()?;
    let mut claimed = false;
    let added = log.advance(core, |seq| {
        core.seal(seq - 1);
        core.claim_flush()?;
        claimed = true;
        place(core, output, seq).map(|()| true)
    });
    // Only now are the new entries visible. A merge that met them earlier could drop what they replace although a
    // snapshot was still to be taken below them.
    if claimed {
        core.release_flush();
    }
    let Some(seq) = added? else { return Ok(()) };
    // The entries are durable and visible: a log that cannot let go stops what comes later, not this.
    if let Err(error) = log.release(seq + 1) {
        core.fail(&error);
    }
    Ok(())
}

/// Empties the memtables and lists the tables, each as deep as nothing older lies on the way.
fn place(core: &Core, output: Output<'_>, seq: SeqNo) -> Result<()> {
    while !core.state().immutables.is_empty() {
        flush::run(core).map_err(|error| core.fail_unless_refused(error))?;
    }
    let tables = output.open_all(|meta: &mut TableMeta| {
        (meta.seq_min, meta.seq_max, meta.global_seq) = (seq, seq, seq);
    })?;
    let level = |meta: &TableMeta| core.level_for(&meta.smallest, meta.end.as_deref());
    core.counters.tables_created.add(to_u64(tables.len()));
    let placed = tables.into_iter().map(|table| (level(table.meta()), table)).collect();
    core.install(&[], placed, Some(seq + 1), None)
}
