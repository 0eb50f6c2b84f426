//! Leaf page: keys and values, in slots (`slotted.rs`).
//!
//! cell = | key_len u16 | value_len u16 | key | value |
//!
//! A value too large for a leaf lies in pages of its own; value_len is then 0xFFFF, and in place of the value
//! stands | len u64 | index_page u32 |, the first page of the chain that tells where the pieces are
//! (`overflow.rs`).
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use super::slotted::{self, APART, APART_LEN, Cell, Slots, common_len};
use super::split::{Bounds, Plan, Split, is_worth_merging, separator};
use super::{Page, PageId, fit_u16, u16_at, u32_at, u64_at};

/// A value as a leaf holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// The bytes themselves.
    Inline(&'a [u8]),
    /// Where they are.
    Apart(Apart),
}

/// A value in pages of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Apart {
    /// Its length in bytes.
    pub len: u64,
    /// The first page of its index.
    pub index: PageId,
}

/// Longest value that is stored in its leaf, in bytes.
pub fn inline_bytes_max(page_bytes: usize) -> usize {
    page_bytes / 4
}

/// Longest key, in bytes: two entries of any size fit a page.
pub fn key_bytes_max(page_bytes: usize) -> usize {
    page_bytes / 4 - 64
}

/// A value as the bytes of a cell: value_len, what follows the key.
struct Encoded<'a> {
    fixed: [u8; 2],
    apart: [u8; APART_LEN],
    inline: Option<&'a [u8]>,
}

impl<'a> Encoded<'a> {
    fn new(value: Value<'a>) -> Encoded<'a> {
        let mut apart = [0; APART_LEN];
        match value {
            Value::Inline(bytes) => {
                Encoded { fixed: fit_u16(bytes.len()).to_le_bytes(), apart, inline: Some(bytes) }
            }
            Value::Apart(place) => {
                super::put(&mut apart, 0, place.len.to_le_bytes());
                super::put(&mut apart, 8, place.index.0.to_le_bytes());
                Encoded { fixed: APART.to_le_bytes(), apart, inline: None }
            }
        }
    }

    fn rest(&self) -> &[u8] {
        self.inline.unwrap_or(&self.apart)
    }

    fn cell<'b>(&'b self, key: &'b [u8]) -> Cell<'b> {
        Cell { key: [&[], key], fixed: &self.fixed, rest: self.rest() }
    }
}

/// Bytes of the cell for `key` and `value` in a page without a prefix.
pub fn cell_len(key: &[u8], value: Value<'_>) -> usize {
    Encoded::new(value).cell(key).len_in(0)
}

/// Calls `take` with the parts of the cell for `value`: what stands before the key and what follows it.
pub fn with_cell(value: Value<'_>, take: impl FnOnce(&[u8], &[u8])) {
    let value = Encoded::new(value);
    take(&value.fixed, value.rest());
}

/// The value of entry `index`.
#[inline]
pub fn value_at<'a>(slots: &Slots<'a>, index: usize) -> Value<'a> {
    let rest = slots.rest(index);
    if u16_at(slots.fixed(index), 0) == APART {
        Value::Apart(Apart { len: u64_at(rest, 0), index: PageId(u32_at(rest, 8)) })
    } else {
        Value::Inline(rest)
    }
}

/// The value of `key`.
#[inline]
pub fn get<'a>(page: &'a Page, key: &[u8]) -> Option<Value<'a>> {
    let slots = Slots::new(page);
    let (index, found) = slots.search(key);
    found.then(|| value_at(&slots, index))
}

/// What became of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put {
    /// False if there was no room: the page must be split. The entry of the same key is gone in either case.
    pub done: bool,
    /// Where the value that was replaced lies, if apart.
    pub replaced: Option<Apart>,
}

/// Sets `key` to `value` if there is room.
pub fn put(page: &mut Page, key: &[u8], value: Value<'_>) -> Put {
    let value = Encoded::new(value);
    let slots = Slots::new(page);
    let (index, found) = slots.search(key);
    let mut replaced = None;
    if found {
        if let Value::Apart(apart) = value_at(&slots, index) {
            replaced = Some(apart);
        }
        if slotted::overwrite(page, index, &value.fixed, value.rest()) {
            return Put { done: true, replaced };
        }
        slotted::remove(page, index, index + 1);
    }
    Put { done: insert(page, index, &value.cell(key)), replaced }
}

/// Puts `cell` before entry `index`, under a shorter prefix if it needs one; false if there is no room.
pub(super) fn insert(page: &mut Page, index: usize, cell: &Cell<'_>) -> bool {
    let key = cell.to_key();
    let slots = Slots::new(page);
    let prefix = slots.prefix();
    let shared = common_len(prefix, &key);
    if shared < prefix.len() {
        let grown = (prefix.len() - shared) * slots.count().saturating_sub(1);
        if slots.used_bytes() + grown + slotted::SLOT_LEN + cell.len_in(shared) > slots.capacity() {
            return false;
        }
        let prefix = prefix.get(..shared).unwrap_or_default().to_vec();
        slotted::reprefix(page, &prefix);
    }
    let fits = slotted::fits(page, cell);
    if fits {
        slotted::insert(page, index, cell);
    }
    fits
}

/// Divides `page`, which lies between `bounds`, with `key` added. The right part still needs a number.
pub fn split(page: &Page, key: &[u8], value: Value<'_>, bounds: &Bounds) -> Split {
    let value = Encoded::new(value);
    let (index, _) = Slots::new(page).search(key);
    let plan = Plan::new(page, index, value.cell(key), bounds.high.is_none());
    let (left, right) = plan.parts();
    let separator = match (left.last(), right.first()) {
        (Some(left), Some(right)) => separator(left, right),
        _ => key.to_vec(),
    };
    let left = plan.build(left, bounds.low.as_deref(), Some(&separator));
    let right = plan.build(right, Some(&separator), bounds.high.as_deref());
    Split { left, right, separator }
}

/// Both pages in one, if that leaves room; `bounds` are those of the two together.
pub fn merge(left: &Page, right: &Page, bounds: &Bounds) -> Option<Page> {
    let cells: Vec<_> = Slots::new(left).cells().chain(Slots::new(right).cells()).collect();
    is_worth_merging(&cells, bounds.prefix(), left.bytes().len()).then(|| {
        let mut page =
            Page::blank(left.bytes().len(), left.id(), left.birth(), super::Kind::Leaf, left.level());
        slotted::build(&mut page, bounds.prefix(), cells.into_iter());
        page
    })
}
