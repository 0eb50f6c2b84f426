//! Pages in memory: a sharded map from number to page, with CLOCK eviction (Corbato, "A paging experiment with the
//! Multics system", 1968) under one budget.
//!
//! A frame is clean (the file has the same bytes) or dirty. Only clean frames are evicted: a reader that misses
//! never waits for a write. A reader keeps what it looks at alive through its `Arc`, so eviction needs no pins.
//!
//! The memory of a page that is gone, evicted or dead, is kept for the next one: a spare. An allocator has a heap for
//! each thread, so pages that one thread allocates and another frees would make every heap grow in turn, up to
//! the whole budget each. With spares the frames are allocated once.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::PoisonError;

use kv_io::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use kv_io::sync::lock;
use kv_io::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::page::{Page, PageId};

/// Bytes that a frame takes besides its page: map entry, slot, `Arc` and allocator headers.
pub const FRAME_OVERHEAD: usize = 96;
const SHARDS_MAX: usize = 64;
/// Spares that a full pool has room for, so that threads that read at the same time each find one.
const SPARES_MIN: usize = 32;
/// Spares that are looked at before a page gets memory of its own.
const SPARE_LOOKS_MAX: usize = 4;
/// Rounds of the hand that an inner page outlives without being used; a leaf outlives one.
const INNER_USES: u8 = 3;

/// Spreads page numbers: multiplication by an odd constant (Knuth, "Sorting and Searching", section 6.4).
#[derive(Debug, Default)]
pub struct PageHasher(u64);

impl Hasher for PageHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        let mixed = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// A map keyed by page number.
pub type PageMap<V> = HashMap<u32, V, BuildHasherDefault<PageHasher>>;

#[derive(Debug)]
struct Frame {
    page: Page,
    /// Its place in the ring.
    at: u32,
    dirty: bool,
    is_leaf: bool,
    uses: AtomicU8,
}

#[derive(Debug, Default)]
struct Shard {
    frames: PageMap<Frame>,
    /// The numbers of all frames, in the order that the hand goes round.
    ring: Vec<u32>,
    hand: usize,
}

impl Shard {
    fn frame(&self, id: PageId) -> Option<&Frame> {
        self.frames.get(&id.0)
    }

    fn frame_mut(&mut self, id: PageId) -> Option<&mut Frame> {
        self.frames.get_mut(&id.0)
    }

    fn push(&mut self, page: Page, dirty: bool) {
        let (id, at, is_leaf) = (page.id().0, self.ring.len() as u32, page.level() == 0);
        self.ring.push(id);
        self.frames.insert(id, Frame { page, at, dirty, is_leaf, uses: AtomicU8::new(1) });
    }

    fn remove(&mut self, id: PageId) -> Option<Frame> {
        let frame = self.frames.remove(&id.0)?;
        self.ring.swap_remove(frame.at as usize);
        if let Some(moved) = self.ring.get(frame.at as usize)
            && let Some(moved) = self.frames.get_mut(moved)
        {
            moved.at = frame.at;
        }
        Some(frame)
    }

    /// Evicts one clean frame that was not used since the hand last passed.
    fn evict(&mut self) -> Option<Page> {
        for _ in 0..(usize::from(INNER_USES) + 1) * self.ring.len() {
            self.hand = if self.hand + 1 < self.ring.len() { self.hand + 1 } else { 0 };
            let id = self.ring.get(self.hand).copied()?;
            let frame = self.frames.get_mut(&id)?;
            if frame.dirty {
                continue;
            }
            match frame.uses.get_mut() {
                0 => return self.remove(PageId(id)).map(|frame| frame.page),
                uses => *uses -= 1,
            }
        }
        None
    }
}

/// The pages in memory.
#[derive(Debug)]
pub struct BufferPool {
    shards: Box<[RwLock<Shard>]>,
    pages_max: usize,
    /// Pages in memory above which one is evicted: a few less, which are spares.
    resident_max: usize,
    resident: AtomicUsize,
    dirty: AtomicUsize,
    next_victim: AtomicUsize,
    evictions: AtomicU64,
    spares: Mutex<VecDeque<Page>>,
}

impl BufferPool {
    /// Room for `pages_max` pages, spares among them.
    pub fn new(pages_max: usize) -> BufferPool {
        let shards = (pages_max / 32).clamp(1, SHARDS_MAX).next_power_of_two();
        BufferPool {
            shards: (0..shards).map(|_| RwLock::default()).collect(),
            pages_max,
            resident_max: pages_max - (pages_max / 64).clamp(1, SPARES_MIN).min(pages_max),
            resident: AtomicUsize::new(0),
            dirty: AtomicUsize::new(0),
            next_victim: AtomicUsize::new(0),
            evictions: AtomicU64::new(0),
            spares: Mutex::default(),
        }
    }

    /// Memory for a page: that of one which is gone and that nobody looks at any more, or of one that is evicted for
    /// it. `None` while the pool is filling: then the page gets memory of its own.
    pub fn take_spare(&self) -> Option<Page> {
        self.oldest_spare().or_else(|| {
            // An eighth is left for the pages of a running commit, which are in no shard yet.
            let is_full = self.resident() >= self.resident_max - self.resident_max / 8;
            let mut page = if is_full { self.evict_from_next()? } else { return None };
            if page.is_unshared() {
                return Some(page);
            }
            self.keep_spare(page);
            None
        })
    }

    fn oldest_spare(&self) -> Option<Page> {
        let mut spares = lock(&self.spares);
        for _ in 0..SPARE_LOOKS_MAX.min(spares.len()) {
            let mut spare = spares.pop_front()?;
            if spare.is_unshared() {
                return Some(spare);
            }
            spares.push_back(spare);
        }
        None
    }

    /// Keeps the memory of a page that is gone, unless there is enough. Whoever still looks at it, a reader or a
    /// checkpoint that writes it, will soon have done: spares are taken oldest first.
    pub fn keep_spare(&self, page: Page) {
        let mut spares = lock(&self.spares);
        if spares.len() + self.resident() < self.pages_max {
            spares.push_back(page);
        }
    }

    /// Frames that wait for a page.
    pub fn spares(&self) -> usize {
        lock(&self.spares).len()
    }

    /// Moves a page that was made from others into a frame that waits for one.
    pub fn framed(&self, page: Page) -> Page {
        match self.take_spare() {
            Some(spare) => page.copy_as(page.id(), page.birth(), Some(spare)),
            None => page,
        }
    }

    /// Takes a page out for good, dirty or not.
    pub fn discard(&self, id: PageId) {
        if let Some(page) = self.remove(id) {
            self.keep_spare(page);
        }
    }

    fn shard(&self, id: PageId) -> &RwLock<Shard> {
        // The number of shards is a power of two, at least one.
        &self.shards[id.index() & (self.shards.len() - 1)]
    }

    fn read(&self, id: PageId) -> RwLockReadGuard<'_, Shard> {
        self.shard(id).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, id: PageId) -> RwLockWriteGuard<'_, Shard> {
        self.shard(id).write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page, if it is in memory. About 20 ns.
    pub fn get(&self, id: PageId) -> Option<Page> {
        self.look(id, Page::clone)
    }

    /// What `look` finds in the page, if it is in memory. The shard is locked meanwhile, for reading: `look` must be
    /// short and must not come back here. Against [`BufferPool::get`] it spares the two changes of the page's
    /// reference count, and with them threads that pass each other the cache line of every page near the root.
    pub fn look<R>(&self, id: PageId, look: impl FnOnce(&Page) -> R) -> Option<R> {
        let shard = self.read(id);
        let frame = shard.frame(id)?;
        let uses = if frame.is_leaf { 1 } else { INNER_USES };
        if frame.uses.load(Ordering::Relaxed) != uses {
            frame.uses.store(uses, Ordering::Relaxed);
        }
        Some(look(&frame.page))
    }

    /// Adds a page that was read from the file; one that is there already stays.
    pub fn add_clean(&self, page: &Page) {
        let mut shard = self.write(page.id());
        if shard.frame(page.id()).is_none() {
            shard.push(page.clone(), false);
            drop(shard);
            self.resident.fetch_add(1, Ordering::Relaxed);
            self.make_room();
        }
    }

    /// Adds or replaces a page that the file does not have.
    pub fn add_dirty(&self, page: Page) {
        let mut shard = self.write(page.id());
        match shard.frame_mut(page.id()) {
            Some(frame) => {
                frame.page = page;
                if !std::mem::replace(&mut frame.dirty, true) {
                    self.dirty.fetch_add(1, Ordering::Relaxed);
                }
                return;
            }
            None => shard.push(page, true),
        }
        drop(shard);
        self.dirty.fetch_add(1, Ordering::Relaxed);
        self.resident.fetch_add(1, Ordering::Relaxed);
        self.make_room();
    }

    /// Takes a page out, dirty or not.
    pub fn remove(&self, id: PageId) -> Option<Page> {
        let frame = self.write(id).remove(id)?;
        self.resident.fetch_sub(1, Ordering::Relaxed);
        if frame.dirty {
            self.dirty.fetch_sub(1, Ordering::Relaxed);
        }
        Some(frame.page)
    }

    /// The page, if it is in memory and dirty; it does not count as a use.
    pub fn get_dirty(&self, id: PageId) -> Option<Page> {
        self.read(id).frame(id).filter(|frame| frame.dirty).map(|frame| frame.page.clone())
    }

    /// The file now has `page`, if that is still what the frame holds.
    pub fn mark_clean(&self, page: &Page) {
        let mut shard = self.write(page.id());
        let frame = shard.frame_mut(page.id()).filter(|frame| frame.page.is_same(page));
        if frame.is_some_and(|frame| std::mem::replace(&mut frame.dirty, false)) {
            self.dirty.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The numbers of all dirty pages, ascending; without inner pages if `leaves_only`.
    pub fn dirty_ids(&self, leaves_only: bool) -> Vec<PageId> {
        let mut ids = Vec::with_capacity(self.dirty());
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            ids.extend(
                shard
                    .frames
                    .iter()
                    .filter(|(_, frame)| frame.dirty && (frame.is_leaf || !leaves_only))
                    .map(|(id, _)| PageId(*id)),
            );
        }
        ids.sort_unstable();
        ids
    }

    /// Evicts until the budget holds, or nothing more can go.
    fn make_room(&self) {
        let mut failed = 0;
        while self.resident.load(Ordering::Relaxed) > self.resident_max && failed < self.shards.len() {
            match self.evict_from_next() {
                Some(page) => {
                    self.keep_spare(page);
                    failed = 0;
                }
                None => failed += 1,
            }
        }
    }

    /// Evicts a clean page from the shard whose turn it is; `None` if it has none.
    fn evict_from_next(&self) -> Option<Page> {
        let victim = self.next_victim.fetch_add(1, Ordering::Relaxed) & (self.shards.len() - 1);
        let page = self.shards[victim].write().unwrap_or_else(PoisonError::into_inner).evict()?;
        self.resident.fetch_sub(1, Ordering::Relaxed);
        self.evictions.fetch_add(1, Ordering::Relaxed);
        Some(page)
    }

    /// Most pages that may be in memory.
    pub fn pages_max(&self) -> usize {
        self.pages_max
    }

    /// Pages in memory.
    pub fn resident(&self) -> usize {
        self.resident.load(Ordering::Relaxed)
    }

    /// Bytes that the pages in memory take besides their own.
    pub fn overhead_bytes(&self) -> u64 {
        (self.resident() * FRAME_OVERHEAD) as u64
    }

    /// Pages in memory that the file does not have.
    pub fn dirty(&self) -> usize {
        self.dirty.load(Ordering::Relaxed)
    }

    /// Pages evicted since opening.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::Kind;

    fn page(id: u32) -> Page {
        Page::blank(512, PageId(id), 1, Kind::Leaf, 0)
    }

    #[test]
    fn the_budget_holds_and_dirty_pages_stay() {
        let pool = BufferPool::new(100);
        (0..30).for_each(|id| pool.add_dirty(page(id)));
        (30..1000).for_each(|id| pool.add_clean(&page(id)));
        assert_eq!((pool.resident(), pool.dirty()), (99, 30));
        assert!((0..30).all(|id| pool.get(PageId(id)).is_some()));
        assert_eq!(pool.dirty_ids(true).len(), 30);
        for id in 0..30 {
            let page = pool.get_dirty(PageId(id)).unwrap();
            pool.mark_clean(&page);
        }
        (1000..2000).for_each(|id| pool.add_clean(&page(id)));
        assert_eq!((pool.resident(), pool.dirty()), (99, 0));
        assert!((0..30).all(|id| pool.get(PageId(id)).is_none()));
    }

    #[test]
    fn the_memory_of_an_evicted_page_is_used_again_unless_somebody_looks_at_it() {
        let pool = BufferPool::new(2);
        let held = [page(1), page(2)];
        held.iter().for_each(|page| pool.add_clean(page));
        assert_eq!((pool.evictions(), pool.resident(), pool.spares()), (1, 1, 1));
        assert!(pool.take_spare().is_none(), "both are held");
        drop(held);
        assert_eq!((pool.resident(), pool.spares()), (0, 2));
        let framed = pool.framed(page(3));
        assert_eq!((framed.id(), pool.spares()), (PageId(3), 1));
    }

    #[test]
    fn a_full_pool_gives_up_a_page_for_a_frame() {
        let pool = BufferPool::new(64);
        (0..100).for_each(|id| pool.add_clean(&page(id)));
        assert_eq!((pool.resident(), pool.spares()), (63, 1));
        let taken: Vec<_> = std::iter::from_fn(|| pool.take_spare()).collect();
        // An eighth of 63 for the pages of a running commit, and the spare; what is left stays in memory.
        assert_eq!((taken.len(), pool.resident()), (1 + 8, 55));
    }

    #[test]
    fn pages_and_spares_together_stay_within_the_budget() {
        let pool = BufferPool::new(640);
        (0..2000).for_each(|id| pool.add_clean(&page(id)));
        assert_eq!((pool.resident(), pool.spares()), (630, 10));
        (0..2000).for_each(|id| pool.discard(PageId(id)));
        assert_eq!((pool.resident(), pool.spares()), (0, 640));
    }

    #[test]
    fn a_page_in_use_outlives_one_that_is_not() {
        let pool = BufferPool::new(32);
        (0..32).for_each(|id| pool.add_clean(&page(id)));
        for id in 32..512 {
            pool.get(PageId(7));
            pool.add_clean(&page(id));
        }
        assert!(pool.get(PageId(7)).is_some());
    }

    #[test]
    fn a_replaced_page_is_not_marked_clean_by_the_write_of_the_old_one() {
        let pool = BufferPool::new(8);
        let old = page(1);
        pool.add_dirty(old.clone());
        pool.add_dirty(page(1));
        pool.mark_clean(&old);
        assert_eq!(pool.dirty(), 1);
        assert!(pool.remove(PageId(1)).is_some());
        assert_eq!((pool.resident(), pool.dirty()), (0, 0));
    }
}
