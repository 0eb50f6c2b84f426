//! Checks: walks everything and lists what does not hold; the same walk tells the shape of the tree. Locks are held
//! for the moment in which a state is taken, none while it is walked.

use std::collections::HashSet;

use kv_api::shape::TreeShape;
use kv_api::{Cause, Error, Result, VerifyReport};

use crate::checkpoint::{Durable, Store};
use crate::page::leaf::{self, Value};
use crate::page::meta::Meta;
use crate::page::overflow::extents;
use crate::page::slotted::Slots;
use crate::page::split::Bounds;
use crate::page::{Kind, PageId, inner};
use crate::pager::free_list::Bits;
use crate::pager::{PageRef, Pager, Reader};
use crate::reclaim::{Pinned, Root};

/// Every page below `root` was born no later than `root`: else a younger checkpoint has reused one. Looks at each page
/// once, whatever the pages say.
///
/// # Errors
/// `Corruption` naming the first page that is too young, damaged, or the child of two; `Io`.
pub fn is_older(pager: &Pager, root: &Root) -> Result<()> {
    let mut todo = vec![(root.page, root.level())];
    let mut seen = HashSet::new();
    while let Some((id, level)) = todo.pop() {
        if !seen.insert(id) {
            return Err(pager.damaged(id, "the page is the child of two"));
        }
        let page = pager.page(id, level, Reader::Recovery)?;
        if page.birth() > root.generation {
            return Err(
                pager.damaged(id, "the page is younger than the only readable meta; the newer meta is lost")
            );
        }
        if level > 0 {
            todo.extend(inner::children(&page).map(|child| (child, level - 1)));
        }
    }
    Ok(())
}

/// One state, held like a snapshot, and what the writer said at that moment of every page of the file. The walk is
/// then done without a lock: commits and checkpoints go on, and the pages of the state stay as they are.
pub struct View<'s> {
    store: &'s Store,
    pin: Pinned,
    pages: usize,
    live: Bits,
    in_use: Bits,
    /// Dead pages, and those of the free map.
    waiting: Vec<PageId>,
    /// What is known without a walk.
    shape: TreeShape,
}

impl<'s> View<'s> {
    /// The newest state. The caller holds the commit lock, so that no commit is half done, and `durable`, so that no
    /// checkpoint has taken pages that no meta names yet. Costs two bits for each page and a number for each dead
    /// one: for a file of 1 GiB a copy of 64 KiB.
    pub fn new(store: &'s Store, durable: &Durable) -> View<'s> {
        let mut writer = store.writer();
        writer.take_back();
        let pin = store.reclaim.pin();
        let mut waiting = store.reclaim.dead_pages();
        waiting.extend(
            (durable.meta.map_first.0..durable.meta.map_first.0 + durable.meta.map_pages).map(PageId),
        );
        let shape = TreeShape {
            page_bytes: store.pager.page_bytes() as u64,
            height: u64::from(pin.root.height),
            free_pages: writer.space.free() as u64,
            pinned_pages: waiting.len() as u64,
            dirty_pages: store.pager.pool.dirty() as u64,
            ..TreeShape::default()
        };
        View {
            pages: writer.space.pages(),
            live: writer.space.live().clone(),
            in_use: writer.space.in_use().clone(),
            store,
            pin,
            waiting,
            shape,
        }
    }
}

/// A walk over one state.
struct Walk<'s> {
    store: &'s Store,
    root: &'s Root,
    /// One bit for each page that was reached.
    seen: Vec<u64>,
    report: VerifyReport,
    shape: TreeShape,
    /// Read clean pages from the file again, so that their checksums are computed.
    from_file: bool,
    is_open: &'s dyn Fn() -> Result<()>,
}

impl Walk<'_> {
    fn problem(&mut self, id: PageId, what: impl Into<String>) {
        let pager = &self.store.pager;
        self.report.add(pager.file().path(), id.offset(pager.page_bytes()), what);
    }

    /// Notes that `id` was reached; false if it was before, or cannot be a page of the tree.
    fn reach(&mut self, id: PageId) -> bool {
        let word = id.index() / 64;
        let bit = 1_u64 << (id.index() % 64);
        let Some(word) = self.seen.get_mut(word) else {
            self.problem(id, "the page lies beyond the end of the file");
            return false;
        };
        if *word & bit != 0 {
            self.problem(id, "the page is reached twice");
            return false;
        }
        *word |= bit;
        true
    }

    fn read(&mut self, id: PageId, kind: Kind, level: u8) -> Option<PageRef> {
        let pager = &self.store.pager;
        // A dirty page is only in memory, and was checked when it came there.
        let page = match pager.pool.get_dirty(id) {
            Some(page) => Ok(page),
            None if self.from_file => pager.page_from_file(id, Cause::Verify),
            None if kind == Kind::ValueIndex => pager.value_page(id, Reader::Verify),
            None => pager.page(id, level, Reader::Verify),
        };
        self.report.blocks += 1;
        self.report.bytes += pager.page_bytes() as u64;
        match page {
            Ok(page) if page.kind() == Some(kind) && page.level() == level => {
                if page.birth() > self.root.generation {
                    self.problem(id, "the page is younger than the tree");
                }
                Some(page)
            }
            Ok(page) => {
                self.problem(
                    id,
                    format!("a {kind:?} of level {level} must be here, found {:?}", page.kind()),
                );
                None
            }
            Err(error) => {
                self.problem(id, error.to_string());
                None
            }
        }
    }

    /// Walks the tree from the top, one level after another. Separators become the bounds of what is below them.
    fn tree(&mut self) -> Result<()> {
        let mut todo = vec![(self.root.page, self.root.level(), Bounds::default())];
        while let Some((id, level, bounds)) = todo.pop() {
            (self.is_open)()?;
            if !self.reach(id) {
                continue;
            }
            let kind = if level == 0 { Kind::Leaf } else { Kind::Inner };
            let Some(page) = self.read(id, kind, level) else { continue };
            self.order(&page, &bounds);
            if level == 0 {
                self.leaf(&page);
                continue;
            }
            self.shape.inner_pages += 1;
            for index in 0..=page.count() {
                let low = index.checked_sub(1).and_then(|below| inner::separator(&page, below));
                let high = inner::separator(&page, index);
                let bounds = Bounds {
                    low: low.or_else(|| bounds.low.clone()),
                    high: high.or_else(|| bounds.high.clone()),
                };
                todo.push((inner::child(&page, index), level - 1, bounds));
            }
        }
        Ok(())
    }

    fn order(&mut self, page: &PageRef, bounds: &Bounds) {
        let keys: Vec<_> = Slots::new(page).cells().map(|cell| cell.to_key()).collect();
        if keys.windows(2).any(|pair| pair[0] >= pair[1]) {
            self.problem(page.id(), "its keys do not ascend");
        }
        let low = bounds.low.as_ref().zip(keys.first()).is_some_and(|(low, first)| first < low);
        let high = bounds.high.as_ref().zip(keys.last()).is_some_and(|(high, last)| last >= high);
        if low || high {
            self.problem(page.id(), "it has keys outside the separators around it");
        }
        let slots = Slots::new(page);
        if keys.iter().enumerate().any(|(index, key)| slots.search(key) != (index, true)) {
            self.problem(page.id(), "a search does not find one of its keys");
        }
    }

    fn leaf(&mut self, page: &PageRef) {
        let slots = Slots::new(page);
        self.shape.leaf_pages += 1;
        self.report.entries += slots.count() as u64;
        let tenth = (slots.used_bytes() * 10 / slots.capacity().max(1)).min(9);
        if let Some(count) = self.shape.leaf_fill_tenths.get_mut(tenth) {
            *count += 1;
        }
        for index in 0..slots.count() {
            if let Value::Apart(apart) = leaf::value_at(&slots, index) {
                self.value(apart);
            }
        }
    }

    fn value(&mut self, value: leaf::Apart) {
        let mut next = value.index;
        while next != PageId::NONE && self.reach(next) {
            let Some(page) = self.read(next, Kind::ValueIndex, 0) else { return };
            self.shape.value_pages += 1;
            for extent in extents(&page) {
                for id in extent.first.0..extent.first.0.saturating_add(extent.pages) {
                    self.shape.value_pages += 1;
                    if !self.reach(PageId(id)) {
                        return;
                    }
                }
            }
            next = page.right_child();
        }
        if self.from_file {
            self.report.bytes += value.len;
            if let Err(error) = self.store.pager.value(value, Reader::Verify) {
                self.problem(value.index, error.to_string());
            }
        }
    }
}

/// Walks everything below the root of `view`.
fn walk<'s>(view: &'s View<'_>, from_file: bool, is_open: &'s dyn Fn() -> Result<()>) -> Result<Walk<'s>> {
    let mut walk = Walk {
        store: view.store,
        root: &view.pin.root,
        seen: vec![0; view.pages.div_ceil(64)],
        report: VerifyReport::default(),
        shape: view.shape.clone(),
        from_file,
        is_open,
    };
    walk.tree()?;
    // Whoever opened the files after a close may have changed what was read last.
    is_open()?;
    walk.shape.entries = walk.report.entries;
    Ok(walk)
}

/// Space identity: every page is reached, waiting (dead, or the free map's), a meta's or free, and only one of these.
fn space(walk: &mut Walk<'_>, view: &View<'_>) {
    let reserved = Meta::reserved_pages(view.store.pager.page_bytes());
    let mut waiting = vec![false; view.pages];
    for id in view.waiting.iter().copied().chain((0..reserved).map(PageId)) {
        match waiting.get_mut(id.index()) {
            Some(place) if !*place => *place = true,
            _ => walk.problem(id, "the page waits to be freed twice"),
        }
    }
    for (page, waits) in waiting.into_iter().enumerate() {
        let id = PageId(page as u32);
        let reached = walk.seen.get(page / 64).is_some_and(|word| word >> (page % 64) & 1 == 1);
        let (live, in_use) = (view.live.get(page), view.in_use.get(page));
        if reached != live {
            walk.problem(
                id,
                if live { "the page is lost: no page names it" } else { "the page is used but not taken" },
            );
        }
        if in_use != (reached || waits) || (reached && waits) {
            walk.problem(id, "the page is both used and free, or neither");
        }
    }
}

/// Reads everything and checks every invariant. Unless `is_settled`, a commit failed half way: the numbers that it
/// took belong to no state and come back by reopening, so only the tree is checked. `is_open` is asked at every page.
///
/// # Errors
/// That of `is_open`.
pub fn verify(view: &View<'_>, is_settled: bool, is_open: &dyn Fn() -> Result<()>) -> Result<VerifyReport> {
    let mut walk = walk(view, true, is_open)?;
    if is_settled {
        space(&mut walk, view);
    }
    Ok(walk.report)
}

/// The structure of the tree. `is_open` is asked at every page.
///
/// # Errors
/// That of `is_open`; `Io`, `Corruption`: the walk met a page it could not read.
pub fn shape(view: &View<'_>, is_open: &dyn Fn() -> Result<()>) -> Result<TreeShape> {
    let walk = walk(view, false, is_open)?;
    match walk.report.problems.into_iter().next() {
        None => Ok(walk.shape),
        Some(problem) => Err(Error::corruption(problem.path, problem.offset, problem.what)),
    }
}
