//! Checkpoint: dirty pages to the file, a new free map, and then the meta that names them. Commits go on
//! meanwhile, on copies.
//!
//! 1. Freeze, under the commit lock, for microseconds: pin the newest state, copy the map of its pages.
//! 2. Write those of its pages that are dirty, in the order of the file, neighbours together; write the free map.
//! 3. Sync. Only now is it safe to name them:
//! 4. write the meta that the last checkpoint did not, and sync.
//! 5. Let go of the state before: its dead pages may be used again. Cut off the end of the file if it is free. The
//!    caller then lets go of the log.
//!
//! No page that the durable meta reaches is ever overwritten, since its pin is only dropped in step 5. So a crash
//! at any point, with any part of the writes done, leaves the old state or the new one whole.

use std::io::IoSlice;
use std::sync::Arc;

use kv_api::{Cause, Error, ErrorKind, Result, SeqNo};
use kv_io::aligned::AlignedBuf;
use kv_io::seeded::{self, Bug};
use kv_io::sync::atomic::Ordering;
use kv_io::sync::lock;
use kv_io::sync::{Mutex, MutexGuard};

use crate::page::meta::{META_LEN, Meta};
use crate::page::{PageId, free_map};
use crate::pager::Pager;
use crate::pager::free_list::Bits;
use crate::reclaim::{HeldPins, Pinned, Reclaim, Root};
use crate::tree::{Writer, WriterGauges};

/// The tree with its pages, pins and file: everything but the log. Lock order: `durable`, the commit lock,
/// `writer`, then those inside [`Reclaim`] and the pool.
#[derive(Debug)]
pub struct Store {
    /// Pages by number.
    pub pager: Arc<Pager>,
    /// The newest state and the pins.
    pub reclaim: Arc<Reclaim>,
    /// The one writer.
    pub writer: Mutex<Writer>,
    /// What it counted.
    pub gauges: Arc<WriterGauges>,
    /// What a crash would come back to; held during a checkpoint, so there is one at a time.
    pub durable: Mutex<Durable>,
}

/// The last checkpoint.
#[derive(Debug)]
pub struct Durable {
    /// Its meta.
    pub meta: Meta,
    /// What keeps its pages; `None` before the first checkpoint.
    pub pin: Option<Pinned>,
    /// What keeps the pages of a state whose meta could not be written or synced: it may be the one that rules at the
    /// next opening, and a commit that was under way may still look for free pages.
    pub unsure: Option<Pinned>,
}

impl Store {
    /// The writer.
    pub fn writer(&self) -> MutexGuard<'_, Writer> {
        lock(&self.writer)
    }
}

/// A state about to be written.
#[derive(Debug)]
pub struct Frozen {
    pin: Pinned,
    /// Snapshots may see pages that this state no longer has; they are written too, and must not go meanwhile.
    held: HeldPins,
    pinned: Vec<PageId>,
    live: Bits,
    meta: Meta,
}

/// What a checkpoint did.
#[derive(Debug, Clone, Copy)]
pub struct Checkpointed {
    /// Pages written.
    pub pages: u64,
    /// The first operation that is not in the pages.
    pub replay_from: SeqNo,
}

/// Takes the newest state, which ends with operation `last_seq`. Under the commit lock: no commit is half done.
///
/// # Errors
/// `NoSpace` if page numbers have run out.
pub fn freeze(store: &Store, durable: &Durable, last_seq: SeqNo) -> Result<Frozen> {
    freeze_root(store, durable, last_seq, |_| Root::clone(&store.reclaim.newest()))
}

/// Takes the state that the writer has staged, see [`Writer::stage`]: it becomes durable before it becomes visible.
///
/// # Errors
/// Those of [`freeze`].
pub fn freeze_staged(store: &Store, durable: &Durable, last_seq: SeqNo) -> Result<Frozen> {
    freeze_root(store, durable, last_seq, |writer| writer.root().clone())
}

fn freeze_root(
    store: &Store,
    durable: &Durable,
    last_seq: SeqNo,
    root: impl FnOnce(&Writer) -> Root,
) -> Result<Frozen> {
    let mut writer = store.writer();
    writer.take_back();
    writer.space.tighten();
    writer.space.cut();
    let bits_per_page = free_map::bits_per_page(store.pager.page_bytes());
    // The run itself may make the file longer, and the map with it.
    let (map_first, map_pages) = loop {
        let map_pages = writer.space.pages().div_ceil(bits_per_page);
        let first = writer.allocate_map(map_pages)?;
        if writer.space.pages().div_ceil(bits_per_page) == map_pages {
            break (first, map_pages);
        }
        writer.release_map(first, map_pages);
    };
    let pin = store.reclaim.pin_checkpoint(root(&writer));
    let held = store.reclaim.hold_pins();
    let mut pinned = store.reclaim.pinned_since(durable.meta.generation);
    // Those that a staged state replaced die only when it is shown; snapshots may keep them.
    pinned.extend(writer.dying());
    pinned.sort_unstable();
    writer.checkpointed = pin.root.generation;
    let meta = Meta {
        page_bytes: store.pager.page_bytes(),
        checkpoint: durable.meta.checkpoint + 1,
        generation: pin.root.generation,
        replay_from: last_seq + 1,
        root: pin.root.page,
        height: pin.root.height,
        file_pages: u32::try_from(writer.space.pages()).unwrap_or(u32::MAX),
        map_first,
        map_pages: u32::try_from(map_pages).unwrap_or(u32::MAX),
        values: pin.root.values,
    };
    let live = writer.space.live().clone();
    store.gauges.live_pages.store(live.count() as u64, Ordering::Relaxed);
    Ok(Frozen { pin, held, pinned, live, meta })
}

/// Writes a frozen state and makes it the durable one.
///
/// # Errors
/// `NoSpace` before anything was named: the old state stays durable and the job may be tried again. `Io`: the
/// outcome is unknown.
///
/// Calls `written` once the dirty pages are in the file, if not yet on disk: from then on there is room in memory.
pub fn write(
    store: &Store,
    durable: &mut Durable,
    frozen: Frozen,
    cause: Cause,
    written: &mut dyn FnMut(),
) -> Result<Checkpointed> {
    let Frozen { pin, held, pinned, live, meta } = frozen;
    let map = (meta.map_first, meta.map_pages);
    let outcome = write_pages(store, &live, &pinned, &meta, cause, written);
    drop(held);
    let pages = match outcome {
        Ok(pages) => pages,
        Err(error) => {
            free_map_pages(store, map);
            return Err(error);
        }
    };
    if let Err(error) = write_meta(&store.pager, &meta, cause) {
        durable.unsure = Some(pin);
        return Err(past_return(error));
    }
    let pin = Some(pin).filter(|_| !seeded::is(Bug::CheckpointUnpinned));
    let old = std::mem::replace(durable, Durable { meta, pin, unsure: None });
    free_map_pages(store, (old.meta.map_first, old.meta.map_pages));
    drop(old);
    // No meta that counts on more is the newest any more. The writer is held, or it might grow the file meanwhile.
    let writer = store.writer();
    store.pager.shrink(writer.space.pages(), cause).map_err(past_return)?;
    drop(writer);
    Ok(Checkpointed { pages, replay_from: meta.replay_from })
}

/// Writes a meta to its place and syncs it.
///
/// # Errors
/// `Io`: whether it is on disk is unknown.
pub fn write_meta(pager: &Pager, meta: &Meta, cause: Cause) -> Result<()> {
    let mut block = AlignedBuf::zeroed(META_LEN);
    block.copy_from_slice(&meta.encode(pager.sum()));
    pager.file().write_at(Meta::offset(meta.checkpoint), &[IoSlice::new(&block)], cause)?;
    pager.file().sync_data(cause)
}

/// A failure after the first byte of a meta: whether the new state is durable is unknown, so it must not read as
/// `NoSpace`, which promises that nothing happened.
fn past_return(error: Error) -> Error {
    if error.kind() == ErrorKind::NoSpace { error.to_poisoned() } else { error }
}

/// The pages of a map that no meta names go back.
fn free_map_pages(store: &Store, (first, pages): (PageId, u32)) {
    store.reclaim.give_back((first.0..first.0 + pages).map(PageId));
}

/// Writes the pages and the map, and syncs them.
fn write_pages(
    store: &Store,
    live: &Bits,
    pinned: &[PageId],
    meta: &Meta,
    cause: Cause,
    done: &mut dyn FnMut(),
) -> Result<u64> {
    let pager = &store.pager;
    pager.reserve(meta.file_pages as usize)?;
    // A number that is live in this state cannot have been given to a younger page: the pin holds it.
    let mut ids: Vec<PageId> = pager.pool.dirty_ids(false);
    ids.retain(|id| live.get(id.index()) || pinned.binary_search(id).is_ok());
    let written = pager.write_dirty(&ids, cause)?;
    done();
    let words_per_page = free_map::words_per_page(pager.page_bytes());
    let map: Vec<_> = live
        .words()
        .chunks(words_per_page)
        .zip(meta.map_first.0..)
        .map(|(words, id)| free_map::build(pager.page_bytes(), PageId(id), meta.generation, words))
        .collect();
    let map_cause = if cause == Cause::Checkpoint { Cause::FreeMap } else { cause };
    pager.write_pages(&map, map_cause)?;
    if !seeded::is(Bug::PagesUnsyncedBeforeMeta) {
        pager.file().sync_data(cause)?;
    }
    Ok(written as u64)
}
