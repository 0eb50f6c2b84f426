//! Puts: the entry goes into its leaf; a full page is divided, and what divides it goes into the page above,
//! which may be full in turn, up to a new root.

use kv_api::{Op, Result};

use super::{Writer, count};
use crate::page::leaf::{self, Apart, Value};
use crate::page::overflow::{Extent, extents_max, set_extents};
use crate::page::split::Split;
use crate::page::{Kind, PageId, inner};

/// Pages of one extent of a large value at most: what one write call takes at 4 KiB a page.
const EXTENT_PAGES_MAX: usize = 256;

impl Writer {
    /// Applies one operation of a batch to the state being made.
    ///
    /// # Errors
    /// `NoSpace`, `Io`, `Corruption`; the running state is then unusable.
    pub fn apply(&mut self, op: Op<'_>) -> Result<()> {
        match op {
            Op::Put { key, value } => self.put(key, value),
            Op::Delete { key } => self.delete(key),
            Op::DeleteRange { start, end } => self.delete_range(start, end),
        }
    }

    /// Sets `key` to `value`.
    ///
    /// # Errors
    /// `NoSpace`, `Io`, `Corruption`; the running state is then unusable.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if value.len() <= leaf::inline_bytes_max(self.pager.page_bytes()) {
            self.put_value(key, Value::Inline(value))?;
        } else {
            let apart = self.write_value(value)?;
            self.put_value(key, Value::Apart(apart))?;
        }
        self.make_room()
    }

    fn put_value(&mut self, key: &[u8], value: Value<'_>) -> Result<()> {
        self.reach(key)?;
        let depth = self.path.len() - 1;
        let (id, _) = self.step(depth);
        let put = leaf::put(self.private_mut(id, 0)?, key, value);
        if let Some(replaced) = put.replaced {
            self.kill_value(replaced)?;
        }
        if put.done {
            return Ok(());
        }
        self.lift_finger();
        let bounds = self.bounds(depth)?;
        let page = self.page(id, 0)?;
        let split = leaf::split(&page, key, value, &bounds);
        drop(page);
        self.add_split(depth, split)
    }

    /// Puts the two parts of the page at `depth` into the tree.
    fn add_split(&mut self, mut depth: usize, mut split: Split) -> Result<()> {
        loop {
            count(&self.gauges.splits, 1);
            let Split { left, right, separator } = split;
            let right = right.into_copy(self.new_id()?, self.root.generation);
            let (left_id, right_id) = (left.id(), right.id());
            for page in [left, right] {
                let page = self.pager.pool.framed(page);
                self.add_private(page);
            }
            let Some(above) = depth.checked_sub(1) else {
                return self.add_root(left_id, &separator, right_id);
            };
            depth = above;
            let (parent, child) = self.step(depth);
            let level = self.level_at(depth);
            let page = self.private_mut(parent, level)?;
            inner::set_child(page, child, right_id);
            if inner::insert(page, child, &separator, left_id) {
                return Ok(());
            }
            let bounds = self.bounds(depth)?;
            let page = self.page(parent, level)?;
            split = inner::split(&page, child, &separator, left_id, &bounds);
        }
    }

    fn add_root(&mut self, left: PageId, separator: &[u8], right: PageId) -> Result<()> {
        self.deepen()?;
        let mut root = self.blank(Kind::Inner, self.root.level())?;
        root.set_right_child(right);
        let fits = inner::insert(&mut root, 0, separator, left);
        debug_assert!(fits, "an empty page has room for one separator");
        self.root.page = self.add_private(root);
        Ok(())
    }

    /// Writes a large value to pages of its own, now: the log has it already, and a value kept in memory until
    /// the checkpoint would fill the pool with bytes that are read once. A value that is replaced before the
    /// checkpoint was then written in vain.
    pub(super) fn write_value(&mut self, value: &[u8]) -> Result<Apart> {
        let page_bytes = self.pager.page_bytes();
        let extents = self.write_extents(value)?;
        let mut next = PageId::NONE;
        for piece in extents.chunks(extents_max(page_bytes)).rev() {
            let mut page = self.blank(Kind::ValueIndex, 0)?;
            set_extents(&mut page, piece);
            page.set_right_child(next);
            next = self.add_private(page);
        }
        self.root.values += 1;
        Ok(Apart { len: value.len() as u64, index: next })
    }

    fn write_extents(&mut self, value: &[u8]) -> Result<Vec<Extent>> {
        let page_bytes = self.pager.page_bytes();
        let pages_max = (EXTENT_PAGES_MAX * 4096 / page_bytes).max(1);
        let mut extents = Vec::new();
        for piece in value.chunks(pages_max * page_bytes) {
            let pages = piece.len().div_ceil(page_bytes);
            let first = self.space.allocate_run(pages, true).ok_or_else(|| self.full())?;
            // A run has at most `pages_max` pages.
            self.note_born(first, pages as u32);
            self.pager.reserve(self.space.pages())?;
            extents.push(self.pager.write_extent(first, piece, self.room_cause)?);
        }
        Ok(extents)
    }
}
