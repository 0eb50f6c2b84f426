//! Inner page: separators and child pages, in slots (`slotted.rs`).
//!
//! cell = | key_len u16 | child u32 | separator |          header: right_child u32
//!
//! Child i, of cell i, holds the keys below separator i and at or above separator i - 1; the right child holds
//! the keys at or above the last separator. So n separators divide n + 1 children, and n may be 0.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use super::slotted::{self, Cell, Slots};
use super::split::{Bounds, Plan, Split, is_worth_merging};
use super::{Kind, Page, PageId, u32_at};

/// Which child holds `key`.
#[inline]
pub fn child_index(page: &Page, key: &[u8]) -> usize {
    let (below, found) = Slots::new(page).search(key);
    below + usize::from(found)
}

/// Child `index`, of `count + 1`.
#[inline]
pub fn child(page: &Page, index: usize) -> PageId {
    let slots = Slots::new(page);
    if index < slots.count() { PageId(u32_at(slots.fixed(index), 0)) } else { page.right_child() }
}

/// All children in key order.
pub fn children(page: &Page) -> impl Iterator<Item = PageId> {
    (0..=page.count()).map(|index| child(page, index))
}

/// Separator `index`, of `count`.
pub fn separator(page: &Page, index: usize) -> Option<Vec<u8>> {
    let slots = Slots::new(page);
    (index < slots.count()).then(|| slots.cell(index).to_key())
}

/// Makes child `index` another page.
pub fn set_child(page: &mut Page, index: usize, child: PageId) {
    if index < page.count() {
        slotted::overwrite(page, index, &child.0.to_le_bytes(), &[]);
    } else {
        page.set_right_child(child);
    }
}

/// Puts `left` with the `separator` above it before child `index`; false if there is no room.
pub fn insert(page: &mut Page, index: usize, separator: &[u8], left: PageId) -> bool {
    let fixed = left.0.to_le_bytes();
    super::leaf::insert(page, index, &Cell { key: [&[], separator], fixed: &fixed, rest: &[] })
}

/// Removes child `index` and the separator above it, or below it for the last child. The neighbour's range grows
/// over the gap. A page with one child only cannot lose it.
pub fn remove(page: &mut Page, index: usize) {
    let count = page.count();
    if index < count {
        slotted::remove(page, index, index + 1);
    } else if let Some(last) = count.checked_sub(1) {
        let child = child(page, last);
        page.set_right_child(child);
        slotted::remove(page, last, count);
    }
}

/// Divides `page`, which lies between `bounds`, with (`separator`, `left`) put before child `index`. One separator
/// moves up.
pub fn split(page: &Page, index: usize, separator: &[u8], left: PageId, bounds: &Bounds) -> Split {
    let fixed = left.0.to_le_bytes();
    let new = Cell { key: [&[], separator], fixed: &fixed, rest: &[] };
    let plan = Plan::new(page, index, new, bounds.high.is_none());
    let (left, right) = plan.parts();
    // The first separator of the right part moves up; its child becomes the last of the left part.
    let (up, rest) = match right.split_first() {
        Some((up, rest)) => (up, rest),
        None => (&new, right),
    };
    let separator = up.to_key();
    let mut left = plan.build(left, bounds.low.as_deref(), Some(&separator));
    left.set_right_child(PageId(u32_at(up.fixed, 0)));
    let mut right = plan.build(rest, Some(&separator), bounds.high.as_deref());
    right.set_right_child(page.right_child());
    Split { left, right, separator }
}

/// Both pages and the separator between them in one page, if that leaves room; `bounds` are those of the two
/// together.
pub fn merge(left: &Page, separator: &[u8], right: &Page, bounds: &Bounds) -> Option<Page> {
    let fixed = left.right_child().0.to_le_bytes();
    let between = Cell { key: [&[], separator], fixed: &fixed, rest: &[] };
    let cells: Vec<_> = Slots::new(left).cells().chain([between]).chain(Slots::new(right).cells()).collect();
    is_worth_merging(&cells, bounds.prefix(), left.bytes().len()).then(|| {
        let mut page = Page::blank(left.bytes().len(), left.id(), left.birth(), Kind::Inner, left.level());
        slotted::build(&mut page, bounds.prefix(), cells.into_iter());
        page.set_right_child(right.right_child());
        page
    })
}
