//! The tree: descend and get for readers, and the one writer that makes the next state by copying.
//!
//! A page that readers can reach never changes. The first time a commit touches a page it makes a copy under a
//! new number, and of every page above it, since each names its child; from then on the copies belong to the
//! running commit and change in place. When the commit is published the copies become ordinary dirty pages.

pub mod cursor;
pub mod delete;
pub mod insert;
pub mod load;
mod path;

use std::collections::BTreeSet;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use kv_api::{Cause, Error, Result, SeqNo};
use kv_io::sync::atomic::{AtomicU64, Ordering};

use crate::page::leaf::{self, Apart, Value};
use crate::page::overflow::extents;
use crate::page::split::Bounds;
use crate::page::{Kind, LEVELS_MAX, Page, PageId};
use crate::pager::buffer_pool::PageMap;
use crate::pager::free_list::FreeList;
use crate::pager::{PageRef, Pager, Reader};
use crate::reclaim::{Dead, Reclaim, Root};
use path::Step;

/// Finds `key` in the state `root` and calls `found` with its value. The pages of `root` must be held.
///
/// # Errors
/// `Io`, `Corruption`.
pub fn get(
    pager: &Pager,
    root: &Root,
    key: &[u8],
    reader: Reader,
    found: &mut dyn FnMut(&[u8]),
) -> Result<bool> {
    let (mut id, mut misses) = (root.page, 0);
    for level in (1..root.height).rev() {
        let (child, is_hit) = pager.child(id, level, key, reader)?;
        misses += u64::from(!is_hit);
        id = child;
    }
    pager.count_descent(u64::from(root.level()), misses, reader);
    let page = pager.page(id, 0, reader)?;
    match leaf::get(&page, key) {
        None => return Ok(false),
        Some(Value::Inline(value)) => found(value),
        Some(Value::Apart(apart)) => with_apart(pager, apart, reader, found)?,
    }
    Ok(true)
}

/// Calls `found` with a value that is stored apart.
///
/// # Errors
/// `Io`, `Corruption`.
pub fn with_apart(pager: &Pager, apart: Apart, reader: Reader, found: &mut dyn FnMut(&[u8])) -> Result<()> {
    let bytes = pager.value(apart, reader)?;
    // The buffer holds at least as many bytes: it was sized by this length.
    found(bytes.get(..usize::try_from(apart.len).unwrap_or(usize::MAX)).unwrap_or_default());
    Ok(())
}

/// What the writer counted, and how full the file is: read by anyone, without waiting for the writer.
#[derive(Debug, Default)]
pub struct WriterGauges {
    /// Pages divided.
    pub splits: AtomicU64,
    /// Pages joined.
    pub merges: AtomicU64,
    /// Pages copied because readers could reach them.
    pub page_copies: AtomicU64,
    /// Pages written before their checkpoint, to make room.
    pub frames_stolen: AtomicU64,
    /// Pages that could be handed out now.
    pub free_pages: AtomicU64,
    /// Pages of the newest tree when a checkpoint last began.
    pub live_pages: AtomicU64,
    /// Bytes of memory that the free list takes.
    pub bitmap_bytes: AtomicU64,
}

/// Adds to a counter that only the writer changes.
fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}

/// The one writer. Between [`Writer::begin`] and [`Writer::publish`] it makes the next state.
#[derive(Debug)]
pub struct Writer {
    pager: Arc<Pager>,
    reclaim: Arc<Reclaim>,
    /// Which page numbers are taken.
    pub space: FreeList,
    /// Pages of the running commit that only it can reach.
    private: PageMap<Page>,
    private_max: usize,
    dead: Vec<Dead>,
    /// Numbers handed out by the running commit, kept only while it may be given up.
    born: Option<Vec<PageId>>,
    ready: Vec<Dead>,
    path: Vec<Step>,
    /// What the leaf at the end of the path may hold, while puts keep going there: then no descent is needed.
    finger: Option<Bounds>,
    last_leaf: PageId,
    root: Root,
    /// Pages born after this generation were never seen by a checkpoint.
    pub checkpointed: u64,
    /// Dirty pages above which the running commit writes some out itself.
    pub dirty_max: usize,
    /// Why pages are written before their checkpoint.
    pub room_cause: Cause,
    /// What was counted.
    pub gauges: Arc<WriterGauges>,
}

impl Writer {
    /// Goes on from the newest state of `reclaim`.
    pub fn new(pager: Arc<Pager>, reclaim: Arc<Reclaim>, space: FreeList) -> Writer {
        let root = Root::clone(&reclaim.newest());
        let pages_max = pager.pool.pages_max();
        Writer {
            pager,
            reclaim,
            space,
            private: PageMap::default(),
            private_max: (pages_max / 8).max(4),
            dead: Vec::new(),
            born: None,
            ready: Vec::new(),
            path: Vec::new(),
            finger: None,
            last_leaf: PageId::NONE,
            checkpointed: root.generation,
            root,
            dirty_max: (pages_max / 2).max(4),
            room_cause: Cause::Page,
            gauges: Arc::default(),
        }
    }

    /// The state being made.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Pages that the running state replaced and readers still see.
    pub fn dying(&self) -> impl Iterator<Item = PageId> {
        self.dead.iter().map(|dead| dead.page)
    }

    /// Begins the next state.
    pub fn begin(&mut self) {
        self.lift_finger();
        self.take_back();
        self.root.generation = self.reclaim.newest().generation + 1;
    }

    /// Begins a state that may be given up with [`Writer::abandon`].
    pub fn begin_abandonable(&mut self) {
        self.begin();
        self.born = Some(Vec::new());
    }

    /// Takes the numbers that became free.
    pub fn take_back(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        self.reclaim.take_ready(&mut ready);
        for dead in ready.drain(..) {
            self.pager.pool.discard(dead.page);
            self.space.release(dead.page, dead.birth > self.checkpointed);
        }
        self.ready = ready;
    }

    /// Shows the state to readers; `seq` is the last operation in it.
    pub fn publish(&mut self, seq: SeqNo) {
        self.stage(seq);
        self.born = None;
        let dead = std::mem::take(&mut self.dead);
        self.reclaim.publish(self.root.clone(), dead);
        self.gauges.free_pages.store(self.space.free() as u64, Ordering::Relaxed);
        self.gauges.bitmap_bytes.store(self.space.bytes(), Ordering::Relaxed);
    }

    /// Ends the running state with operation `seq`, as far as a checkpoint needs it; no reader sees it yet.
    pub fn stage(&mut self, seq: SeqNo) {
        self.root.seq = seq;
        self.spill();
    }

    /// Gives the running state up, as if [`Writer::begin_abandonable`] had not been called.
    pub fn abandon(&mut self) {
        self.lift_finger();
        self.private.clear();
        let born: BTreeSet<PageId> = self.born.take().unwrap_or_default().into_iter().collect();
        for dead in std::mem::take(&mut self.dead) {
            if !born.contains(&dead.page) {
                self.space.revive(dead.page);
            }
        }
        // Those that died within the commit were released when they did.
        for id in born.into_iter().filter(|id| self.space.in_use().get(id.index())).collect::<Vec<_>>() {
            self.pager.pool.discard(id);
            self.space.release(id, false);
        }
        self.root = Root::clone(&self.reclaim.newest());
    }

    /// Moves the private pages to the pool, where they are dirty.
    fn spill(&mut self) {
        self.private.drain().for_each(|(_, page)| self.pager.pool.add_dirty(page));
    }

    /// Keeps a large commit within memory: spills, and writes dirty pages to the file. Any page that is not
    /// reachable from the durable root may be written at any time, since nothing refers to it yet.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    fn make_room(&mut self) -> Result<()> {
        if self.private.len() > self.private_max {
            self.spill();
        }
        if self.pager.is_writable() && self.pager.pool.dirty() > self.dirty_max {
            self.spill();
            self.steal()?;
        }
        Ok(())
    }

    fn steal(&mut self) -> Result<()> {
        self.pager.reserve(self.space.pages())?;
        // Leaves first: an inner page is likely to be copied again before the checkpoint, its write in vain.
        for leaves_only in [true, false] {
            if self.pager.pool.dirty() > self.dirty_max / 2 {
                let ids = self.pager.pool.dirty_ids(leaves_only);
                count(&self.gauges.frames_stolen, self.pager.write_dirty(&ids, self.room_cause)?);
            }
        }
        Ok(())
    }

    /// A number for a new page.
    fn new_id(&mut self) -> Result<PageId> {
        let id = self.space.allocate().ok_or_else(|| self.full())?;
        self.note_born(id, 1);
        Ok(id)
    }

    /// Numbers for the pages of a free map, which belong to no tree.
    ///
    /// # Errors
    /// `NoSpace` if numbers have run out.
    pub fn allocate_map(&mut self, pages: usize) -> Result<PageId> {
        self.space.allocate_run(pages, false).ok_or_else(|| self.full())
    }

    /// Takes [`Writer::allocate_map`] back.
    pub fn release_map(&mut self, first: PageId, pages: usize) {
        (first.index()..first.index() + pages).for_each(|id| self.space.release(PageId(id as u32), false));
    }

    /// Sees that `pages` pages can be had without making the file longer.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    pub fn reserve(&mut self, pages: usize) -> Result<()> {
        self.space.ensure_free(pages).ok_or_else(|| self.full())?;
        self.pager.reserve(self.space.pages())
    }

    /// The same for pages that must lie side by side: free ones may be scattered, so the file has room behind its last
    /// page, which the next checkpoint cuts off again if nobody took it.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    pub fn reserve_runs(&mut self, pages: usize) -> Result<()> {
        self.reserve(pages)?;
        self.pager.reserve(self.space.pages() + pages)
    }

    fn note_born(&mut self, first: PageId, pages: u32) {
        if let Some(born) = &mut self.born {
            born.extend((first.0..first.0 + pages).map(PageId));
        }
    }

    fn full(&self) -> Error {
        Error::NoSpace { action: "number another page of", path: self.pager.file().path().to_path_buf() }
    }

    fn blank(&mut self, kind: Kind, level: u8) -> Result<Page> {
        let id = self.new_id()?;
        Ok(self.pager.pool.framed(Page::blank(
            self.pager.page_bytes(),
            id,
            self.root.generation,
            kind,
            level,
        )))
    }

    fn add_private(&mut self, page: Page) -> PageId {
        let id = page.id();
        if let Some(replaced) = self.private.insert(id.0, page) {
            self.pager.pool.keep_spare(replaced);
        }
        id
    }

    /// A page of the state being made.
    fn page(&self, id: PageId, level: u8) -> Result<PageRef> {
        match self.private.get(&id.0) {
            Some(page) => Ok(page.clone()),
            None => self.pager.page(id, level, Reader::Update),
        }
    }

    /// A page that belongs to the running commit, to change. `own` was called for it.
    fn private_mut(&mut self, id: PageId, level: u8) -> Result<&mut Page> {
        Ok(match self.private.entry(id.0) {
            Entry::Occupied(page) => page.into_mut(),
            Entry::Vacant(place) => {
                let page = self.pager.page(id, level, Reader::Update)?;
                self.pager.pool.remove(id);
                place.insert(page)
            }
        })
    }

    /// Makes page `id` belong to the running commit; returns the number it has there.
    fn own(&mut self, id: PageId, level: u8) -> Result<PageId> {
        if self.private.contains_key(&id.0) {
            return Ok(id);
        }
        let page = self.pager.page(id, level, Reader::Copy)?;
        self.own_page(page)
    }

    fn own_page(&mut self, mut page: Page) -> Result<PageId> {
        let id = page.id();
        if page.birth() == self.root.generation {
            // It was spilled: only this commit can reach it.
            self.pager.pool.remove(id);
            self.private.insert(id.0, page);
            return Ok(id);
        }
        let (new_id, generation) = (self.new_id()?, self.root.generation);
        self.kill(id, page.birth());
        count(&self.gauges.page_copies, 1);
        // Fresh from the file and held by nobody else, the page itself becomes the copy.
        let copy = if page.is_unshared() {
            page.into_copy(new_id, generation)
        } else {
            page.copy_as(new_id, generation, self.pager.pool.take_spare())
        };
        Ok(self.add_private(copy))
    }

    /// Page `id` leaves the tree.
    fn kill(&mut self, id: PageId, birth: u64) {
        if birth == self.root.generation {
            if let Some(page) = self.private.remove(&id.0) {
                self.pager.pool.keep_spare(page);
            }
            self.pager.pool.discard(id);
            self.space.release(id, true);
        } else {
            self.space.kill(id);
            self.dead.push(Dead { page: id, birth });
        }
    }

    /// Page `id` leaves the tree without having been looked at.
    fn kill_unread(&mut self, id: PageId) {
        let known = self.private.get(&id.0).cloned().or_else(|| self.pager.pool.get(id));
        self.kill(id, known.map_or(0, |page| page.birth()));
    }

    /// Refuses a page that is not in the tree: two parents name it, and it has left already.
    fn check_live(&self, id: PageId) -> Result<()> {
        if self.space.live().get(id.index()) {
            return Ok(());
        }
        Err(self.pager.damaged(id, "the page leaves the tree twice"))
    }

    /// The pages of a large value leave the tree.
    fn kill_value(&mut self, value: Apart) -> Result<()> {
        self.pager.check_value(value)?;
        let mut next = value.index;
        let mut left = value.len.div_ceil(self.pager.page_bytes() as u64);
        let mut index = Vec::new();
        while next != PageId::NONE {
            let page = match self.private.get(&next.0) {
                Some(page) => page.clone(),
                None => self.pager.value_page(next, Reader::Update)?,
            };
            let covered: u64 = extents(&page).map(|extent| u64::from(extent.pages)).sum();
            let Some(rest) = left.checked_sub(covered).filter(|_| covered > 0) else {
                return Err(self.pager.damaged(next, "a value's index covers more pages than the value has"));
            };
            let pages = self.space.pages() as u64;
            if extents(&page).any(|extent| u64::from(extent.first.0) + u64::from(extent.pages) > pages) {
                return Err(self.pager.damaged(next, "a piece of a value lies beyond the end of the file"));
            }
            left = rest;
            next = page.right_child();
            index.push(page);
        }
        for page in index {
            for extent in extents(&page) {
                for id in (extent.first.0..extent.first.0.saturating_add(extent.pages)).map(PageId) {
                    self.check_live(id)?;
                    self.kill(id, page.birth());
                }
            }
            self.check_live(page.id())?;
            self.kill(page.id(), page.birth());
        }
        self.root.values = self.root.values.saturating_sub(1);
        Ok(())
    }

    /// While the root has one child only, that child becomes the root.
    fn collapse_root(&mut self) -> Result<()> {
        while self.root.height > 1 {
            let page = self.page(self.root.page, self.root.level())?;
            if page.count() > 0 {
                break;
            }
            self.kill(page.id(), page.birth());
            self.root.page = page.right_child();
            self.root.height -= 1;
        }
        Ok(())
    }

    /// An empty leaf becomes the root.
    ///
    /// # Errors
    /// `NoSpace` if numbers have run out.
    pub fn plant(&mut self) -> Result<()> {
        let leaf = self.blank(Kind::Leaf, 0)?;
        self.root.page = self.add_private(leaf);
        self.root.height = 1;
        Ok(())
    }

    fn deepen(&mut self) -> Result<()> {
        if self.root.height >= LEVELS_MAX {
            return Err(self.full());
        }
        self.root.height += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
