//! Where to divide the entries of a page that is full, and which prefixes the parts get: decided here for leaf
//! and inner pages alike, on a list of entries that already contains the new one.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use super::slotted::{self, Cell, SLOT_LEN, Slots, common_len};
use super::{PAGE_BYTES_MIN, Page};

/// The separators on both sides of a page in its parents; `None` at the edge of the tree. Every key of the page
/// is at or above `low` and below `high`, so all share what the two share.
#[derive(Debug, Clone, Default)]
pub struct Bounds {
    /// At or below every key.
    pub low: Option<Vec<u8>>,
    /// Above every key.
    pub high: Option<Vec<u8>>,
}

impl Bounds {
    /// True if `key` lies between the bounds.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.low.as_deref().is_none_or(|low| low <= key) && self.high.as_deref().is_none_or(|high| key < high)
    }

    /// What every key between the bounds begins with.
    pub fn prefix(&self) -> &[u8] {
        common(self.low.as_deref(), self.high.as_deref())
    }
}

fn common<'a>(low: Option<&'a [u8]>, high: Option<&'a [u8]>) -> &'a [u8] {
    match (low, high) {
        (Some(low), Some(high)) => low.get(..common_len(low, high)).unwrap_or_default(),
        _ => &[],
    }
}

/// A page in two: the left part, the right part, and what divides them.
#[derive(Debug)]
pub struct Split {
    /// Keys below the separator.
    pub left: Page,
    /// Keys at or above it.
    pub right: Page,
    /// The shortest key that divides them.
    pub separator: Vec<u8>,
}

/// The shortest key above `left` and at or below `right`.
pub fn separator(left: &Cell<'_>, right: &Cell<'_>) -> Vec<u8> {
    let (left, mut right) = (left.to_key(), right.to_key());
    right.truncate(common_len(&left, &right) + 1);
    right
}

/// How many of `cells` go to the left so that both parts fit: as even as it gets, and within a tenth of that
/// with the shortest separator. Ascending keys leave the left page full. `None` if no place would do.
fn place(cells: &[Cell<'_>], prefix_len: usize, capacity: usize, ascending: bool) -> Option<usize> {
    let total = slotted::bytes_of(cells, 0);
    let room = capacity.checked_sub(prefix_len)?;
    let saved = cells.len() * prefix_len;
    if ascending {
        return cells.len().checked_sub(1);
    }
    let total = total - saved;
    let mut left = 0;
    let mut best: Option<(usize, usize, usize)> = None;
    for (index, pair) in cells.windows(2).enumerate() {
        let [before, after] = pair else { break };
        left += SLOT_LEN + before.len_in(prefix_len);
        if left > room || total - left > room {
            continue;
        }
        let off = left.abs_diff(total / 2);
        // Within a tenth of the middle the length of the separator decides, beyond it the distance.
        let near = off <= total / 10;
        let rank = if near { common_of(before, after) } else { usize::from(u16::MAX) + off };
        if best.is_none_or(|(least, least_off, _)| (rank, off) < (least, least_off)) {
            best = Some((rank, off, index + 1));
        }
    }
    best.map(|(_, _, at)| at)
}

fn common_of(a: &Cell<'_>, b: &Cell<'_>) -> usize {
    let (a, b) = (a.key.iter().copied().flatten(), b.key.iter().copied().flatten());
    a.zip(b).take_while(|(a, b)| a == b).count()
}

/// The entries of `page` with `cell` before entry `index`, and where to divide them.
pub struct Plan<'a> {
    page: &'a Page,
    cells: Vec<Cell<'a>>,
    new: usize,
    shares_prefix: bool,
    at: usize,
}

impl<'a> Plan<'a> {
    /// Plans to put `cell` before entry `index` of `page`, which has no room for it.
    pub fn new(page: &'a Page, index: usize, cell: Cell<'a>, ascending: bool) -> Plan<'a> {
        let slots = Slots::new(page);
        let mut cells = Vec::with_capacity(slots.count() + 1);
        cells.extend(slots.cells());
        let new = index.min(cells.len());
        cells.insert(new, cell);
        let shares_prefix = cell.to_key().starts_with(slots.prefix());
        let last = cells.len() - 1;
        let at = if shares_prefix {
            place(&cells, slots.prefix().len(), slots.capacity(), ascending && new == last)
        } else {
            // A key without the prefix lies before or after all others, and gets a page of its own.
            None
        };
        // Two entries always fit a page, so there is a place; were there none, the new entry would go alone.
        let at = at.unwrap_or(if new == 0 { 1 } else { new });
        Plan { page, cells, new, shares_prefix, at }
    }

    /// The entries that stay left and those that go right.
    pub fn parts(&self) -> (&[Cell<'a>], &[Cell<'a>]) {
        self.cells.split_at_checked(self.at).unwrap_or((&self.cells, &[]))
    }

    /// Builds one part: the new entry's page takes the prefix of its bounds, others at least the one they had.
    pub fn build(&self, part: &[Cell<'a>], low: Option<&[u8]>, high: Option<&[u8]>) -> Page {
        let bound = common(low, high);
        let old = Slots::new(self.page).prefix();
        let is_left = part.len() == self.at && part.as_ptr() == self.cells.as_ptr();
        let has_new = (self.new < self.at) == is_left;
        let keep_old = old.len() > bound.len() && (self.shares_prefix || !has_new);
        let page = self.page;
        let mut out =
            Page::blank(page.bytes().len(), page.id(), page.birth(), super::Kind::Leaf, page.level());
        out.copy_kind_of(page);
        slotted::build(&mut out, if keep_old { old } else { bound }, part.iter().copied());
        out
    }
}

/// True if `page` is so empty that it should join a neighbour.
pub fn is_underfull(page: &Page) -> bool {
    let slots = Slots::new(page);
    slots.used_bytes() * 4 < slots.capacity()
}

/// True if `cells` leave a quarter of a page of `page_bytes` free, so that the next insert does not split them.
pub fn is_worth_merging(cells: &[Cell<'_>], prefix: &[u8], page_bytes: usize) -> bool {
    debug_assert!(page_bytes >= PAGE_BYTES_MIN, "pages have at least the smallest size");
    slotted::bytes_of(cells, prefix.len()) * 4 <= (page_bytes - super::HEADER_LEN) * 3
}
