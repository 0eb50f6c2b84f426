//! A walk over one state in key order, either way: a stack of (page, index), since pages that are copied when
//! they change cannot be linked to their neighbours.

use std::sync::Arc;

use kv_api::{Direction, EntryRef, OwnedRange, Result};
use kv_io::aligned::AlignedBuf;

use crate::page::inner;
use crate::page::leaf::{Value, value_at};
use crate::page::slotted::Slots;
use crate::pager::{PageRef, Pager, Reader};
use crate::reclaim::Root;

/// A position in a state that is held by whoever owns the cursor.
#[derive(Debug)]
pub struct Cursor {
    pager: Arc<Pager>,
    root: Root,
    range: OwnedRange,
    direction: Direction,
    reader: Reader,
    /// Inner pages from the root down, each with the child the walk is in.
    stack: Vec<(PageRef, usize)>,
    leaf: Option<PageRef>,
    /// The entry to give next: in reverse, one above it.
    index: usize,
    /// What the keys of the leaf begin with, then the rest of the current key.
    key: Vec<u8>,
    prefix_len: usize,
    value: AlignedBuf,
    is_placed: bool,
}

impl Cursor {
    /// A cursor before the first entry of `range` in the state `root`, or after the last one in reverse.
    pub fn new(
        pager: Arc<Pager>,
        root: Root,
        range: OwnedRange,
        direction: Direction,
        reader: Reader,
    ) -> Cursor {
        Cursor {
            pager,
            root,
            range,
            direction,
            reader,
            stack: Vec::new(),
            leaf: None,
            index: 0,
            key: Vec::new(),
            prefix_len: 0,
            value: AlignedBuf::zeroed(0),
            is_placed: false,
        }
    }

    /// Moves so that `next` gives the first entry at or after `key` (at or before it in reverse), within the range.
    ///
    /// # Errors
    /// `Io`, `Corruption`.
    pub fn seek(&mut self, key: &[u8]) -> Result<()> {
        use std::ops::Bound;
        let range = self.range.as_range();
        let (inside, edge) = match self.direction {
            Direction::Forward => (range.is_at_or_after_start(key), range.start),
            Direction::Reverse => (range.is_at_or_before_end(key), range.end),
        };
        let target = if inside { Bound::Included(key.to_vec()) } else { edge.map(<[u8]>::to_vec) };
        self.place(target.as_ref().map(Vec::as_slice))
    }

    fn place(&mut self, target: std::ops::Bound<&[u8]>) -> Result<()> {
        use std::ops::Bound;
        self.is_placed = true;
        self.stack.clear();
        let mut id = self.root.page;
        for level in (1..self.root.height).rev() {
            let page = self.pager.page(id, level, self.reader)?;
            let child = match (target, self.direction) {
                (Bound::Included(key) | Bound::Excluded(key), _) => inner::child_index(&page, key),
                (Bound::Unbounded, Direction::Forward) => 0,
                (Bound::Unbounded, Direction::Reverse) => page.count(),
            };
            id = inner::child(&page, child);
            self.stack.push((page, child));
        }
        let page = self.pager.page(id, 0, self.reader)?;
        let slots = Slots::new(&page);
        let past = |key: &[u8], with_equal: bool| {
            let (index, found) = slots.search(key);
            index + usize::from(found && with_equal)
        };
        self.index = match (target, self.direction) {
            (Bound::Included(key), Direction::Forward) => past(key, false),
            (Bound::Excluded(key), Direction::Forward) => past(key, true),
            (Bound::Unbounded, Direction::Forward) => 0,
            (Bound::Included(key), Direction::Reverse) => past(key, true),
            (Bound::Excluded(key), Direction::Reverse) => past(key, false),
            (Bound::Unbounded, Direction::Reverse) => slots.count(),
        };
        self.enter(page);
        Ok(())
    }

    fn enter(&mut self, leaf: PageRef) {
        let prefix = Slots::new(&leaf).prefix();
        self.key.clear();
        self.key.extend_from_slice(prefix);
        self.prefix_len = prefix.len();
        self.leaf = Some(leaf);
    }

    /// Goes to the neighbouring leaf; false at the edge of the tree.
    fn turn(&mut self) -> Result<bool> {
        let forward = self.direction == Direction::Forward;
        while let Some((page, child)) = self.stack.last_mut() {
            let next = if forward {
                Some(*child + 1).filter(|next| *next <= page.count())
            } else {
                child.checked_sub(1)
            };
            let Some(next) = next else {
                self.stack.pop();
                continue;
            };
            *child = next;
            let (mut id, top) = (inner::child(page, next), page.level());
            for level in (1..top).rev() {
                let page = self.pager.page(id, level, self.reader)?;
                let child = if forward { 0 } else { page.count() };
                id = inner::child(&page, child);
                self.stack.push((page, child));
            }
            let leaf = self.pager.page(id, 0, self.reader)?;
            self.check_follows(&leaf)?;
            self.index = if forward { 0 } else { leaf.count() };
            self.enter(leaf);
            return Ok(true);
        }
        self.leaf = None;
        Ok(false)
    }

    /// Refuses a leaf whose keys do not follow those of the one before: a page that two parents name would give its
    /// entries again and again.
    fn check_follows(&self, leaf: &PageRef) -> Result<()> {
        let Some(old) = &self.leaf else { return Ok(()) };
        let (low, high) = if self.direction == Direction::Forward { (old, leaf) } else { (leaf, old) };
        let follows = match (low.count().checked_sub(1), high.count()) {
            (None, _) | (_, 0) => true,
            (Some(last), _) => Slots::new(low).cell(last).is_below(&Slots::new(high).cell(0)),
        };
        if follows {
            return Ok(());
        }
        Err(self.pager.damaged(leaf.id(), "the keys of the leaf do not follow those of the one before it"))
    }

    /// The next entry of the range, or `None` at its end.
    ///
    /// # Errors
    /// `Io`, `Corruption`.
    #[inline]
    #[expect(
        clippy::should_implement_trait,
        reason = "the entry borrows from the cursor; an Iterator cannot say so"
    )]
    pub fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
        if !self.is_placed {
            let edge = match self.direction {
                Direction::Forward => self.range.start.clone(),
                Direction::Reverse => self.range.end.clone(),
            };
            self.place(edge.as_ref().map(Vec::as_slice))?;
        }
        let index = loop {
            let Some(leaf) = &self.leaf else { return Ok(None) };
            let at = match self.direction {
                Direction::Forward => Some(self.index).filter(|at| *at < leaf.count()),
                Direction::Reverse => self.index.checked_sub(1),
            };
            match at {
                Some(at) => break at,
                None if self.turn()? => {}
                None => return Ok(None),
            }
        };
        let Some(leaf) = &self.leaf else { return Ok(None) };
        let slots = Slots::new(leaf);
        self.key.truncate(self.prefix_len);
        self.key.extend_from_slice(slots.suffix(index));
        let range = self.range.as_range();
        let inside = match self.direction {
            Direction::Forward => range.is_at_or_before_end(&self.key),
            Direction::Reverse => range.is_at_or_after_start(&self.key),
        };
        if !inside {
            return Ok(None);
        }
        self.index = if self.direction == Direction::Forward { index + 1 } else { index };
        let value = match value_at(&slots, index) {
            Value::Inline(value) => value,
            Value::Apart(apart) => {
                self.value = self.pager.value(apart, self.reader)?;
                self.value.get(..usize::try_from(apart.len).unwrap_or(usize::MAX)).unwrap_or_default()
            }
        };
        Ok(Some(EntryRef { key: &self.key, value }))
    }
}
