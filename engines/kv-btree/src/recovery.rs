//! Opening: the newest valid meta, its free map, and then the log from where the meta ends.

use std::sync::Arc;

use kv_api::{Cause, Error, Op, Ops, RecoveryReport, Result, SeqNo};
use kv_io::VfsFile;
use kv_io::aligned::AlignedBuf;
use kv_io::checksum::FileSum;
use kv_io::commit::CommitLog;
use kv_io::home::Home;
use kv_io::layout::pages_name;
use kv_io::seeded::{self, Bug};
use kv_io::sync::Mutex;
use kv_io::sync::lock;
use kv_io::vfs::{OpenOptions, read_exact_at};
use kv_io::wal::reader::Expected;
use kv_io::wal::{LogPlace, WalOptions};

use crate::check;
use crate::checkpoint::{self, Durable, Store};
use crate::options::BTreeOptions;
use crate::page::leaf::key_bytes_max;
use crate::page::meta::{META_LEN, Meta};
use crate::page::{Kind, PageId, free_map};
use crate::pager::Pager;
use crate::pager::free_list::{Bits, FreeList};
use crate::reclaim::{Reclaim, Root};
use crate::tree::Writer;

/// The engine's name in the identity.
pub const ENGINE: &str = "btree";
/// The number in the name of the pages file, which there is one of.
const PAGES_FILE: u64 = 1;

/// An open database.
pub struct Opened {
    /// The tree.
    pub store: Store,
    /// The log; `None` if read-only.
    pub log: Option<CommitLog>,
    /// What was found.
    pub report: RecoveryReport,
}

/// Opens the database in `home`, or finishes the creation of a new one.
///
/// # Errors
/// `Corruption`, `Io`, `NoSpace`.
pub fn open(home: &mut Home, options: &BTreeOptions) -> Result<Opened> {
    let place = LogPlace::of(home);
    let read_only = options.common.read_only;
    let is_new = home.is_new;
    let store = if is_new { create(home, options)? } else { load(home, options)? };
    let replay_from = lock(&store.durable).meta.replay_from;
    let expected = Expected { is_new, read_only, replay_from };
    let mut last_seq = replay_from.saturating_sub(1);
    let replayed = CommitLog::replay(&place, expected, &mut |first, ops, count| {
        last_seq = first + count.saturating_sub(1);
        replay(&store, home, first, ops, last_seq)
    })?;
    let report = replayed.report;
    if read_only {
        return Ok(Opened { store, log: None, report });
    }
    let is_late = seeded::is(Bug::LogReleasedFirst);
    if report.ops_replayed > 0 && !is_late {
        keep_replayed(&store, last_seq)?;
    }
    store.writer().room_cause = Cause::Page;
    let log = CommitLog::start(&place, replayed, WalOptions::for_budget(options.common.memory_budget))?;
    log.release(last_seq + 1)?;
    if is_late {
        keep_replayed(&store, last_seq)?;
    }
    if is_new {
        home.vfs.sync_dir(&home.dir, Cause::Recovery)?;
        home.commit_identity()?;
    }
    Ok(Opened { store, log: Some(log), report })
}

/// Checkpoints what was replayed: only then may the log let go of it.
fn keep_replayed(store: &Store, last_seq: SeqNo) -> Result<()> {
    let mut durable = lock(&store.durable);
    let frozen = checkpoint::freeze(store, &durable, last_seq)?;
    checkpoint::write(store, &mut durable, frozen, Cause::Recovery, &mut || ()).map(drop)
}

fn replay(store: &Store, home: &Home, first: SeqNo, ops: Ops<'_>, last_seq: SeqNo) -> Result<()> {
    let mut writer = store.writer();
    writer.begin();
    for op in ops {
        // The frame's checksum was right, so this is not what was written.
        let corrupt = |what: &str| Error::corruption(&home.dir, 0, format!("operation {first}: {what}"));
        let op = op.map_err(corrupt)?;
        if let Op::Put { key, .. } | Op::Delete { key } = op
            && key.len() > key_bytes_max(store.pager.page_bytes())
        {
            return Err(corrupt("its key is longer than any that was taken"));
        }
        writer.apply(op)?;
    }
    writer.publish(last_seq);
    Ok(())
}

fn store_of(pager: Pager, root: Root, space: FreeList, meta: Meta) -> Store {
    let (pager, reclaim) = (Arc::new(pager), Arc::new(Reclaim::new(root)));
    let mut writer = Writer::new(Arc::clone(&pager), Arc::clone(&reclaim), space);
    writer.room_cause = Cause::Recovery;
    let durable = Mutex::new(Durable { meta, pin: None, unsure: None });
    let gauges = Arc::clone(&writer.gauges);
    Store { gauges, pager, reclaim, writer: Mutex::new(writer), durable }
}

/// A new database: one empty leaf, one checkpoint.
fn create(home: &Home, options: &BTreeOptions) -> Result<Store> {
    let direct = options.wants_direct();
    let path = home.path(&pages_name(PAGES_FILE));
    let file = home.vfs.open(&path, OpenOptions::NEW.with_direct(direct), Cause::Recovery)?;
    let page_bytes = options.page_size;
    let sum = FileSum::new(home.identity.salt, PAGES_FILE);
    let pager = Pager::new(file, sum, page_bytes, options.pool_pages(), true)?;
    let reserved = Meta::reserved_pages(page_bytes) as usize;
    let space = FreeList::new(page_bytes, 0, Bits::default(), reserved);
    let root = Root { page: PageId::NONE, height: 1, generation: 0, seq: 0, values: 0 };
    let meta = Meta {
        page_bytes,
        checkpoint: 0,
        generation: 0,
        replay_from: 1,
        root: PageId::NONE,
        height: 1,
        file_pages: 0,
        map_first: PageId::NONE,
        map_pages: 0,
        values: 0,
    };
    let store = store_of(pager, root, space, meta);
    {
        let mut writer = store.writer();
        writer.begin();
        writer.plant()?;
        writer.publish(0);
    }
    let mut durable = lock(&store.durable);
    let frozen = checkpoint::freeze(&store, &durable, 0)?;
    checkpoint::write(&store, &mut durable, frozen, Cause::Recovery, &mut || ())?;
    drop(durable);
    Ok(store)
}

/// A database that exists, as of its last checkpoint.
fn load(home: &Home, options: &BTreeOptions) -> Result<Store> {
    let read_only = options.common.read_only;
    let path = home.path(&pages_name(PAGES_FILE));
    let how = if read_only { OpenOptions::READ } else { OpenOptions::WRITE };
    let file = home.vfs.open(&path, how.with_direct(options.wants_direct()), Cause::Recovery)?;
    if !read_only {
        // What a crashed process wrote may still be in the page cache only; what is read here must be on disk.
        file.sync_data(Cause::Recovery)?;
    }
    let sum = FileSum::new(home.identity.salt, PAGES_FILE);
    let (meta, other_is_damaged) = newest_meta(&*file, &sum)?;
    if meta.page_bytes != options.page_size {
        let what = format!("the meta has pages of {} bytes, the identity says otherwise", meta.page_bytes);
        return Err(Error::corruption(&path, Meta::offset(meta.checkpoint), what));
    }
    if file.len()? < PageId(meta.file_pages).offset(meta.page_bytes) {
        return Err(Error::corruption(&path, file.len()?, "the file is shorter than its meta says"));
    }
    let pager = Pager::new(file, sum, meta.page_bytes, options.pool_pages(), !read_only)?;
    if !read_only {
        // The process before may have written this meta and failed to sync it. Then it is in the page cache alone, and
        // that a sync succeeds now says nothing: the kernel reports such a failure once. Nothing may rest on a meta
        // that is not on disk, so the same bytes are written again.
        checkpoint::write_meta(&pager, &meta, Cause::Recovery)?;
    }
    let live = read_map(&pager, &meta)?;
    let reserved = Meta::reserved_pages(meta.page_bytes) as usize;
    let mut space = FreeList::new(meta.page_bytes, meta.file_pages as usize, live, reserved);
    space.hold_run(meta.map_first, meta.map_pages as usize);
    let root = Root {
        page: meta.root,
        height: meta.height,
        generation: meta.generation,
        seq: meta.replay_from.saturating_sub(1),
        values: meta.values,
    };
    let store = store_of(pager, root, space, meta);
    let pin = store.reclaim.pin_checkpoint(Root::clone(&store.reclaim.newest()));
    if other_is_damaged {
        // The damaged meta may have been the newer one, whose checkpoint could reuse pages of this one.
        check::is_older(&store.pager, &pin.root)?;
    }
    lock(&store.durable).pin = Some(pin);
    Ok(store)
}

/// The valid meta of the latest checkpoint, and whether the other one is damaged rather than not yet written: only
/// the first checkpoint leaves it blank.
fn newest_meta(file: &dyn VfsFile, sum: &FileSum) -> Result<(Meta, bool)> {
    let mut metas = Vec::new();
    let mut damage = Vec::new();
    let mut is_blank = false;
    for offset in [Meta::offset(0), Meta::offset(1)] {
        let mut block = AlignedBuf::zeroed(META_LEN);
        read_exact_at(file, offset, &mut block, Cause::Recovery)?;
        match Meta::decode(&block, offset, sum) {
            Ok(meta) => metas.push(meta),
            Err(_) if block.iter().all(|byte| *byte == 0) => is_blank = true,
            Err(what) => damage.push(what),
        }
    }
    match metas.into_iter().max_by_key(|meta| meta.checkpoint) {
        Some(meta) => Ok((meta, !damage.is_empty() || is_blank && meta.checkpoint > 1)),
        None => {
            let what = damage.into_iter().next().unwrap_or("both metas are empty".into());
            Err(Error::corruption(file.path(), 0, what))
        }
    }
}

/// The pages of the tree of `meta`.
fn read_map(pager: &Pager, meta: &Meta) -> Result<Bits> {
    let mut words = Vec::new();
    for id in meta.map_first.0..meta.map_first.0 + meta.map_pages {
        let page = pager.page_from_file(PageId(id), Cause::Recovery)?;
        if page.kind() != Some(Kind::FreeMap) || page.birth() != meta.generation {
            return Err(
                pager.damaged(PageId(id), "a page of the free map of the last checkpoint must be here")
            );
        }
        words.extend(free_map::words(&page));
    }
    let pages = meta.file_pages as usize;
    words.truncate(pages.div_ceil(64));
    let live = Bits::from_words(words);
    let reserved = Meta::reserved_pages(meta.page_bytes) as usize;
    let beyond = (0..reserved).chain(pages..pages.next_multiple_of(64)).any(|page| live.get(page));
    if beyond || !live.get(meta.root.index()) {
        return Err(pager.damaged(meta.map_first, "the free map does not fit its meta"));
    }
    Ok(live)
}
