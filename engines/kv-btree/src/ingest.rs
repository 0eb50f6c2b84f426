//! Ingest: sorted entries become pages without the log.

use kv_api::{Cause, EntryRef, ErrorKind, IngestReport, Result, SeqNo, SortedSource};
use kv_io::commit::Apply;
use kv_io::ingest::CheckedSource;
use kv_io::sync::lock;

use crate::checkpoint;
use crate::core::Core;
use crate::page::slotted::Slots;
use crate::pager::Reader;
use crate::tree::Writer;
use crate::tree::load::Loader;

/// Adds sorted entries without the log: into an empty tree as full pages from the bottom up, into any other by
/// sorted puts. The commit lock is held all the while, so that no commit that comes later is durable earlier. They get
/// the next number, which no log frame has: a meta that was written before them cannot pass for the newest one.
///
/// # Errors
/// `InvalidOptions` for keys out of order, limits, `NoSpace`: the contents are as they were. `Io` poisons.
pub fn run(core: &Core, sorted: &mut dyn SortedSource) -> Result<IngestReport> {
    let log = core.log()?;
    let mut entries = CheckedSource::new(core.limits, sorted);
    let mut durable = lock(&core.store.durable);
    let added = log.advance(core, |seq| {
        let mut writer = core.store.writer();
        writer.begin_abandonable();
        writer.room_cause = Cause::Ingest;
        let taken = take(core, &mut writer, &mut entries);
        writer.room_cause = Cause::Page;
        if taken.is_err() || entries.report.entries == 0 {
            writer.abandon();
            return taken.map(|()| false);
        }
        writer.stage(seq);
        drop(writer);
        make_durable(core, &mut durable, seq).map(|()| true)
    });
    drop(durable);
    // The entries are durable and visible: a log that cannot let go stops what comes later, not this.
    if let Some(seq) = added?
        && let Err(error) = log.release(seq + 1)
    {
        core.poison(&error);
    }
    Ok(entries.report)
}

/// Checkpoints the staged state, which nobody sees yet: entries without a log must be durable before anyone learns
/// of them. After an error the contents are, for this handle, as they were. After `NoSpace` they are so for good.
fn make_durable(core: &Core, durable: &mut checkpoint::Durable, seq: SeqNo) -> Result<()> {
    let store = &core.store;
    let frozen = match checkpoint::freeze_staged(store, durable, seq) {
        Ok(frozen) => frozen,
        Err(error) => {
            store.writer().abandon();
            return Err(error);
        }
    };
    match checkpoint::write(store, durable, frozen, Cause::Ingest, &mut || ()) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NoSpace => {
            // No meta was touched, and the pages written belong to no state.
            store.writer().abandon();
            Err(error)
        }
        Err(error) => {
            // The meta may have reached the disk: only reopening tells. Until then nothing may be written.
            core.poison(&error);
            store.writer().abandon();
            Err(error.to_poisoned())
        }
    }
}

fn take(core: &Core, writer: &mut Writer, entries: &mut CheckedSource<'_>) -> Result<()> {
    if is_empty(core, writer)? {
        let mut loader = Loader::new(writer);
        while let Some(EntryRef { key, value }) = entries.next()? {
            loader.push(key, value)?;
        }
        loader.finish()?;
    } else {
        while let Some(EntryRef { key, value }) = entries.next()? {
            writer.put(key, value)?;
        }
    }
    Ok(())
}

fn is_empty(core: &Core, writer: &Writer) -> Result<bool> {
    let root = writer.root();
    if root.height > 1 {
        return Ok(false);
    }
    let leaf = core.store.pager.page(root.page, 0, Reader::Update)?;
    Ok(Slots::new(&leaf).count() == 0)
}
