//! Deletes: an entry leaves its leaf; a page that is less than a quarter full joins a neighbour if both fit in
//! three quarters, an empty one leaves its parent; and so up the path. Range deletes drop whole subtrees: only
//! the pages at the two edges change, and the leaves between them are not even read.

use kv_api::Result;

use super::{Writer, count};
use crate::page::leaf::{self, Value};
use crate::page::slotted::{self, Slots};
use crate::page::split::{Bounds, is_underfull};
use crate::page::{Page, PageId, inner};

impl Writer {
    /// Removes `key`, if it is there. A key that is not costs no copy.
    ///
    /// # Errors
    /// `NoSpace`, `Io`, `Corruption`; the running state is then unusable.
    pub fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.lift_finger();
        self.descend(key)?;
        let depth = self.path.len() - 1;
        let leaf = self.page(self.step(depth).0, 0)?;
        let slots = Slots::new(&leaf);
        let (index, found) = slots.search(key);
        if !found {
            return Ok(());
        }
        if let Value::Apart(apart) = leaf::value_at(&slots, index) {
            self.kill_value(apart)?;
        }
        drop(leaf);
        self.own_path()?;
        let id = self.step(depth).0;
        slotted::remove(self.private_mut(id, 0)?, index, index + 1);
        self.rebalance()?;
        self.make_room()
    }

    /// Removes every key in `start..end`.
    ///
    /// # Errors
    /// `NoSpace`, `Io`, `Corruption`; the running state is then unusable.
    pub fn delete_range(&mut self, start: &[u8], end: Option<&[u8]>) -> Result<()> {
        if end.is_some_and(|end| end <= start) {
            return Ok(());
        }
        self.lift_finger();
        match self.prune(self.root.page, self.root.level(), start, end)? {
            Some(root) => self.root.page = root,
            None => self.plant()?,
        }
        self.collapse_root()?;
        // What the cut left on its two sides may be small.
        for edge in [Some(start), end].into_iter().flatten() {
            self.descend(edge)?;
            if self.path_is_underfull()? {
                self.own_path()?;
                self.rebalance()?;
            }
        }
        self.make_room()
    }

    fn path_is_underfull(&self) -> Result<bool> {
        for depth in 1..self.path.len() {
            if is_underfull(&self.page(self.step(depth).0, self.level_at(depth))?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes `start..end` below page `id`; returns the page's number now, or `None` if nothing is left of it.
    /// Recursion ends: levels fall by one at every step, and there are at most 32.
    fn prune(&mut self, id: PageId, level: u8, start: &[u8], end: Option<&[u8]>) -> Result<Option<PageId>> {
        let page = self.page(id, level)?;
        if level == 0 {
            return self.prune_leaf(&page, start, end);
        }
        let first = inner::child_index(&page, start);
        // The last child with a key below `end`.
        let last = end.map_or(page.count(), |end| Slots::new(&page).search(end).0).max(first);
        let first_was = inner::child(&page, first);
        let first_is = self.prune(first_was, level - 1, start, end)?;
        for index in first + 1..last {
            self.kill_subtree(inner::child(&page, index), level - 1)?;
        }
        let last_was = inner::child(&page, last);
        let last_is = if last > first { self.prune(last_was, level - 1, start, end)? } else { first_is };
        let is_same = first_is == Some(first_was) && last_is == Some(last_was);
        if is_same && last <= first + 1 {
            return Ok(Some(id));
        }
        let keeps = page.count() + 1 - (last - first + 1);
        drop(page);
        let id = self.own(id, level)?;
        let page = self.private_mut(id, level)?;
        if keeps == 0 && first_is.is_none() && last_is.is_none() {
            let birth = page.birth();
            self.kill(id, birth);
            return Ok(None);
        }
        replace_children(page, first, last, first_is, last_is);
        Ok(Some(id))
    }

    fn prune_leaf(&mut self, page: &Page, start: &[u8], end: Option<&[u8]>) -> Result<Option<PageId>> {
        let slots = Slots::new(page);
        let from = slots.search(start).0;
        let to = end.map_or(slots.count(), |end| slots.search(end).0);
        if from >= to {
            return Ok(Some(page.id()));
        }
        for index in from..to {
            if let Value::Apart(apart) = leaf::value_at(&slots, index) {
                self.kill_value(apart)?;
            }
        }
        if to - from == slots.count() {
            self.kill(page.id(), page.birth());
            return Ok(None);
        }
        let id = self.own(page.id(), 0)?;
        slotted::remove(self.private_mut(id, 0)?, from, to);
        Ok(Some(id))
    }

    /// Page `id` and all below it leave the tree. Leaves are read only if there may be large values in them.
    fn kill_subtree(&mut self, id: PageId, level: u8) -> Result<()> {
        self.check_live(id)?;
        if level == 0 && self.root.values == 0 {
            self.kill_unread(id);
            return Ok(());
        }
        let page = self.page(id, level)?;
        if level == 0 {
            let slots = Slots::new(&page);
            for index in 0..slots.count() {
                if let Value::Apart(apart) = leaf::value_at(&slots, index) {
                    self.kill_value(apart)?;
                }
            }
        } else {
            for child in inner::children(&page) {
                self.kill_subtree(child, level - 1)?;
            }
        }
        self.kill(id, page.birth());
        Ok(())
    }

    /// Joins or drops the pages of the path that are too empty, from the leaf up. The path belongs to the commit.
    fn rebalance(&mut self) -> Result<()> {
        for depth in (1..self.path.len()).rev() {
            let (id, _) = self.step(depth);
            let page = self.page(id, self.level_at(depth))?;
            let is_empty = page.count() == 0 && (page.level() == 0 || page.right_child() == PageId::NONE);
            if is_empty {
                drop(page);
                self.drop_child(depth - 1, id)?;
            } else if is_underfull(&page) {
                drop(page);
                self.join(depth)?;
            }
        }
        let root = self.page(self.root.page, self.root.level())?;
        if self.root.height > 1 && root.count() == 0 && root.right_child() == PageId::NONE {
            self.kill(root.id(), root.birth());
            return self.plant();
        }
        drop(root);
        self.collapse_root()
    }

    /// Removes the child that the path goes through from the page at `depth`. A parent that loses its last child
    /// is left with none, and goes next.
    fn drop_child(&mut self, depth: usize, child: PageId) -> Result<()> {
        let generation = self.root.generation;
        self.kill(child, generation);
        let (parent, place) = self.step(depth);
        let level = self.level_at(depth);
        let page = self.private_mut(parent, level)?;
        if page.count() == 0 {
            page.set_right_child(PageId::NONE);
        } else {
            inner::remove(page, place);
        }
        Ok(())
    }

    /// Joins the page at `depth` of the path with a neighbour under the same parent, if both fit.
    fn join(&mut self, depth: usize) -> Result<()> {
        let level = self.level_at(depth);
        let (parent_id, child) = self.step(depth - 1);
        let parent = self.page(parent_id, level + 1)?;
        // The left of the two that may become one: first with the right neighbour, then with the left one.
        for left in [Some(child), child.checked_sub(1)].into_iter().flatten() {
            let Some(separator) = inner::separator(&parent, left) else { continue };
            let (left_id, right_id) = (inner::child(&parent, left), inner::child(&parent, left + 1));
            let (left_page, right_page) = (self.page(left_id, level)?, self.page(right_id, level)?);
            let around = self.bounds(depth - 1)?;
            let low = if left > 0 { inner::separator(&parent, left - 1) } else { around.low };
            let bounds = Bounds { low, high: inner::separator(&parent, left + 1).or(around.high) };
            let merged = if level == 0 {
                leaf::merge(&left_page, &right_page, &bounds)
            } else {
                inner::merge(&left_page, &separator, &right_page, &bounds)
            };
            let Some(merged) = merged else { continue };
            count(&self.gauges.merges, 1);
            let merged = merged.into_copy(self.new_id()?, self.root.generation);
            self.kill(left_id, left_page.birth());
            self.kill(right_id, right_page.birth());
            let merged = self.add_private(self.pager.pool.framed(merged));
            drop(parent);
            let page = self.private_mut(parent_id, level + 1)?;
            // The left child and the separator go; the right child's place is taken by the two in one.
            inner::set_child(page, left + 1, merged);
            inner::remove(page, left);
            return Ok(());
        }
        Ok(())
    }
}

/// In `page`, children `first..=last` become what is left of the two at the edges.
fn replace_children(
    page: &mut Page,
    first: usize,
    last: usize,
    first_is: Option<PageId>,
    last_is: Option<PageId>,
) {
    if last > first {
        match last_is {
            Some(child) => inner::set_child(page, last, child),
            None => inner::remove(page, last),
        }
        (first + 1..last).rev().for_each(|index| inner::remove(page, index));
    }
    match first_is {
        Some(child) => inner::set_child(page, first, child),
        None => inner::remove(page, first),
    }
}
