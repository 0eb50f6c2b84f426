//! The writer's path: the pages from the root down to a leaf, made its own, so that they may change in place.

use kv_api::Result;

use super::Writer;
use crate::page::split::Bounds;
use crate::page::{Page, PageId, inner};
use crate::pager::Reader;

/// One step of a descent: a page, and which child it went on to (of the leaf: nothing).
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) id: PageId,
    pub(super) child: usize,
    /// The page, if readers can reach it too: it will be copied.
    pub(super) shared: Option<Page>,
}

impl Writer {
    /// Goes to the leaf for `key` and makes the path belong to the running commit. Keys that come in order mostly
    /// find themselves there already: two puts into one leaf in a row put the finger on it.
    pub(super) fn reach(&mut self, key: &[u8]) -> Result<()> {
        if self.finger.as_ref().is_some_and(|bounds| bounds.contains(key)) {
            return Ok(());
        }
        self.finger = None;
        self.descend(key)?;
        self.own_path()?;
        let depth = self.path.len() - 1;
        let (leaf, _) = self.step(depth);
        if leaf == self.last_leaf {
            self.finger = Some(self.bounds(depth)?);
        }
        self.last_leaf = leaf;
        Ok(())
    }

    /// The path is about to change.
    pub(super) fn lift_finger(&mut self) {
        self.finger = None;
        self.last_leaf = PageId::NONE;
    }

    /// Descends to the leaf for `key`; afterwards `path` holds the pages, the leaf last.
    pub(super) fn descend(&mut self, key: &[u8]) -> Result<()> {
        self.path.clear();
        let mut id = self.root.page;
        for level in (1..self.root.height).rev() {
            let (page, is_shared) = match self.private.get(&id.0) {
                Some(page) => (page, false),
                None => (&self.pager.page(id, level, Reader::Update)?, true),
            };
            let child = inner::child_index(page, key);
            let shared = is_shared.then(|| page.clone());
            self.path.push(Step { id, child, shared });
            id = inner::child(page, child);
        }
        self.path.push(Step { id, child: 0, shared: None });
        Ok(())
    }

    /// The level of the page at `depth` of the path.
    pub(super) fn level_at(&self, depth: usize) -> u8 {
        let above = u8::try_from(depth + 1).unwrap_or(u8::MAX);
        self.root.height.saturating_sub(above)
    }

    /// The number of the page at `depth` of the path, and the child that the path goes on to.
    pub(super) fn step(&self, depth: usize) -> (PageId, usize) {
        self.path.get(depth).map_or((PageId::NONE, 0), |step| (step.id, step.child))
    }

    /// Makes every page of the path belong to the running commit.
    pub(super) fn own_path(&mut self) -> Result<()> {
        for depth in 0..self.path.len() {
            let (id, _) = self.step(depth);
            let own = match self.path.get_mut(depth).and_then(|step| step.shared.take()) {
                Some(page) => self.own_page(page)?,
                None => self.own(id, self.level_at(depth))?,
            };
            if own == id {
                continue;
            }
            if let Some(step) = self.path.get_mut(depth) {
                step.id = own;
            }
            match depth.checked_sub(1) {
                None => self.root.page = own,
                Some(above) => {
                    let (parent, child) = self.step(above);
                    let level = self.level_at(above);
                    inner::set_child(self.private_mut(parent, level)?, child, own);
                }
            }
        }
        Ok(())
    }

    /// The separators around the page at `depth` of the path.
    pub(super) fn bounds(&self, depth: usize) -> Result<Bounds> {
        let mut bounds = Bounds::default();
        for above in (0..depth).rev() {
            let (id, child) = self.step(above);
            let page = self.page(id, self.level_at(above))?;
            if bounds.low.is_none() && child > 0 {
                bounds.low = inner::separator(&page, child - 1);
            }
            if bounds.high.is_none() {
                bounds.high = inner::separator(&page, child);
            }
            if bounds.low.is_some() && bounds.high.is_some() {
                break;
            }
        }
        Ok(bounds)
    }
}
