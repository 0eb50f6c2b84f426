//! Slotted page: the layout that leaf and inner pages share.
//!
//! | header | prefix | head 0 .. head n-1 | offset 0 .. offset n-1 |  free  | cell n-1 .. cell 0 |
//! 0        32       32 + prefix_len      + 4n                     + 2n     page - cell_bytes    page
//!
//! prefix: what all keys of the page begin with, stored once. head: the four bytes of a key after the prefix,
//! zero-padded, as a number (u32), so that numbers compare as keys do. offset (u16): where the cell begins.
//! leaf cell  = | key_len u16 | value_len u16 | key | value |         value_len 0xFFFF: see `leaf.rs`
//! inner cell = | key_len u16 | child u32     | key |
//! Keys in cells are without the prefix. Always: keys ascend strictly; cells do not overlap; live_bytes is the
//! sum of the cells' lengths, and cell_bytes - live_bytes of them are garbage that `compact` gives back.
//!
//! Why heads lie apart from cells: a search counts the heads below the probe in one pass that the compiler turns
//! into vector instructions, and touches two or three cache lines instead of one for each comparison. Measured
//! against keys behind a pointer array it is four to five times faster in a hot page. The plain form stays here
//! as [`Slots::search_plain`], to compare with. Graefe, "Modern B-Tree Techniques" (2011), section 3.1 calls
//! heads "poor man's normalized keys".
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use std::cmp::Ordering;

use super::{CELL_BYTES, COUNT, Damage, HEADER_LEN, LIVE_BYTES, PREFIX_LEN, Page, fit_u16, put, u16_at};

/// Bytes that one entry takes besides its cell: a head and an offset.
pub const SLOT_LEN: usize = 6;
/// Above this many heads a binary search beats counting.
const LINEAR_MAX: usize = 256;
/// `value_len` of a value that is stored apart; 12 bytes tell where.
pub(super) const APART: u16 = 0xFFFF;
/// Bytes in a leaf cell for a value stored apart.
pub(super) const APART_LEN: usize = 12;

/// An entry on its way into a page: its key in two parts (so that no copy is needed to join the prefix of the
/// page it comes from with the rest), and the payload before and after the key in its cell.
#[derive(Debug, Clone, Copy)]
pub struct Cell<'a> {
    /// The key is the first part followed by the second.
    pub key: [&'a [u8]; 2],
    /// What follows key_len: value_len in a leaf, the child in an inner page.
    pub fixed: &'a [u8],
    /// What follows the key: the value in a leaf.
    pub rest: &'a [u8],
}

impl<'a> Cell<'a> {
    /// Bytes of the whole key.
    pub fn key_len(&self) -> usize {
        self.key.iter().map(|part| part.len()).sum()
    }

    /// Bytes of its cell in a page with a prefix of `prefix_len`.
    pub fn len_in(&self, prefix_len: usize) -> usize {
        2 + self.fixed.len() + self.key_len().saturating_sub(prefix_len) + self.rest.len()
    }

    /// True if its key comes before that of `other`.
    pub fn is_below(&self, other: &Cell<'_>) -> bool {
        self.key_bytes().lt(other.key_bytes())
    }

    fn key_bytes(&self) -> impl Iterator<Item = &'a u8> {
        self.key.into_iter().flatten()
    }

    /// The key, joined.
    pub fn to_key(&self) -> Vec<u8> {
        self.key.concat()
    }

    /// The key without its first `skip` bytes.
    fn key_after(&self, skip: usize) -> [&'a [u8]; 2] {
        let [first, second] = self.key;
        match first.get(skip..) {
            Some(rest) => [rest, second],
            None => [&[], second.get(skip - first.len()..).unwrap_or_default()],
        }
    }
}

/// The first four bytes, zero-padded, as a number that compares as they do.
fn head_of(key: &[u8]) -> u32 {
    match key.first_chunk::<4>() {
        Some(head) => u32::from_be_bytes(*head),
        None => {
            let mut head = [0; 4];
            head.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
            u32::from_be_bytes(head)
        }
    }
}

/// How many bytes `a` and `b` share at the front.
pub fn common_len(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// A view of a leaf or inner page.
#[derive(Clone, Copy)]
pub struct Slots<'a> {
    bytes: &'a [u8],
    count: usize,
    heads_at: usize,
    key_at: usize,
}

impl<'a> Slots<'a> {
    /// Looks at `page`.
    #[inline]
    pub fn new(page: &'a Page) -> Slots<'a> {
        let bytes = page.bytes();
        let heads_at = HEADER_LEN + usize::from(u16_at(bytes, PREFIX_LEN));
        let key_at = if page.level() == 0 { 4 } else { 6 };
        Slots { bytes, count: page.count(), heads_at, key_at }
    }

    /// Number of entries.
    pub fn count(&self) -> usize {
        self.count
    }

    /// What all keys begin with.
    #[inline]
    pub fn prefix(&self) -> &'a [u8] {
        self.bytes.get(HEADER_LEN..self.heads_at).unwrap_or_default()
    }

    /// Bytes of the cells in use.
    pub fn live_bytes(&self) -> usize {
        usize::from(u16_at(self.bytes, LIVE_BYTES))
    }

    /// Bytes that the entries and the prefix take.
    pub fn used_bytes(&self) -> usize {
        self.live_bytes() + self.count * SLOT_LEN + (self.heads_at - HEADER_LEN)
    }

    /// Bytes for entries in an empty page.
    pub fn capacity(&self) -> usize {
        self.bytes.len().saturating_sub(HEADER_LEN)
    }

    fn heads(&self) -> &'a [[u8; 4]] {
        self.bytes.get(self.heads_at..self.heads_at + 4 * self.count).unwrap_or_default().as_chunks().0
    }

    /// Cell `index` and all that lies after it.
    #[inline]
    fn cell_bytes_at(&self, index: usize) -> &'a [u8] {
        let offset = u16_at(self.bytes, self.heads_at + 4 * self.count + 2 * index);
        self.bytes.get(usize::from(offset)..).unwrap_or_default()
    }

    /// Key `index` without the prefix.
    #[inline]
    pub fn suffix(&self, index: usize) -> &'a [u8] {
        let cell = self.cell_bytes_at(index);
        let len = usize::from(u16_at(cell, 0));
        cell.get(self.key_at..self.key_at + len).unwrap_or_default()
    }

    /// The payload before the key.
    #[inline]
    pub fn fixed(&self, index: usize) -> &'a [u8] {
        self.cell_bytes_at(index).get(2..self.key_at).unwrap_or_default()
    }

    /// The payload after the key.
    #[inline]
    pub fn rest(&self, index: usize) -> &'a [u8] {
        let cell = self.cell_bytes_at(index);
        let from = self.key_at + usize::from(u16_at(cell, 0));
        cell.get(from..from + self.rest_len(cell)).unwrap_or_default()
    }

    fn rest_len(&self, cell: &[u8]) -> usize {
        match u16_at(cell, 2) {
            _ if self.key_at > 4 => 0,
            APART => APART_LEN,
            len => usize::from(len),
        }
    }

    /// Bytes of cell `index`.
    pub fn cell_len(&self, index: usize) -> usize {
        let cell = self.cell_bytes_at(index);
        self.key_at + usize::from(u16_at(cell, 0)) + self.rest_len(cell)
    }

    /// Entry `index`.
    pub fn cell(&self, index: usize) -> Cell<'a> {
        let key = [self.prefix(), self.suffix(index)];
        Cell { key, fixed: self.fixed(index), rest: self.rest(index) }
    }

    /// All entries in key order.
    pub fn cells(&self) -> impl ExactSizeIterator<Item = Cell<'a>> + use<'a> {
        let slots = *self;
        (0..self.count).map(move |index| slots.cell(index))
    }

    /// How many keys are below `key`, and whether the next one equals it.
    #[inline]
    pub fn search(&self, key: &[u8]) -> (usize, bool) {
        let prefix = self.prefix();
        let Some(suffix) = key.strip_prefix(prefix) else {
            return (if key < prefix { 0 } else { self.count }, false);
        };
        let heads = self.heads();
        let probe = head_of(suffix);
        let low = count_below(heads, probe);
        let is_probe = |head: &[u8; 4]| u32::from_le_bytes(*head) == probe;
        if !heads.get(low).is_some_and(is_probe) {
            return (low, false);
        }
        // Among equal heads the whole keys decide. Mostly there is one; in pages whose keys differ late there
        // can be many, and their end is found as their start was.
        let high = match heads.get(low + 1) {
            Some(head) if is_probe(head) => match probe.checked_add(1) {
                Some(above) => count_below(heads, above),
                None => heads.len(),
            },
            _ => low + 1,
        };
        self.search_between(suffix, low, high)
    }

    /// The same by binary search over whole keys: what a textbook does, for tests and benches to compare with.
    pub fn search_plain(&self, key: &[u8]) -> (usize, bool) {
        match key.strip_prefix(self.prefix()) {
            Some(suffix) => self.search_between(suffix, 0, self.count),
            None => (if key < self.prefix() { 0 } else { self.count }, false),
        }
    }

    fn search_between(&self, suffix: &[u8], mut low: usize, mut high: usize) -> (usize, bool) {
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.suffix(middle).cmp(suffix) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return (middle, true),
                Ordering::Greater => high = middle,
            }
        }
        (low, false)
    }

    /// Checks that every offset and length stays inside the page.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self) -> Result<(), Damage> {
        let slots_end = self.heads_at + SLOT_LEN * self.count;
        let cell_bytes = usize::from(u16_at(self.bytes, CELL_BYTES));
        let Some(cells_at) = self.bytes.len().checked_sub(cell_bytes).filter(|at| *at >= slots_end) else {
            return Err("its slots and cells overlap".into());
        };
        let mut live = 0;
        for index in 0..self.count {
            let at = self.bytes.len() - self.cell_bytes_at(index).len();
            let len = self.cell_len(index);
            if at < cells_at || at + len > self.bytes.len() {
                return Err(format!("entry {index} reaches outside the cells").into());
            }
            live += len;
        }
        if live != self.live_bytes() || live > cell_bytes {
            return Err(
                format!("its entries have {live} bytes, the header says {}", self.live_bytes()).into()
            );
        }
        Ok(())
    }
}

/// How many of `heads`, which ascend, are below `probe`.
#[inline]
fn count_below(heads: &[[u8; 4]], probe: u32) -> usize {
    if heads.len() > LINEAR_MAX {
        return heads.partition_point(|head| u32::from_le_bytes(*head) < probe);
    }
    // No branch and a sum of 32-bit lanes: this is the loop that becomes vector instructions.
    let below: u32 = heads.iter().map(|head| u32::from(u32::from_le_bytes(*head) < probe)).sum();
    usize::try_from(below).unwrap_or(0)
}

/// Fills `page`, whose header keeps its name, kind and level, with `prefix` and `cells` in key order. All keys
/// begin with the prefix and all fit: the caller has counted them.
pub fn build<'a>(page: &mut Page, prefix: &[u8], cells: impl ExactSizeIterator<Item = Cell<'a>>) {
    let page_bytes = page.bytes().len();
    let count = cells.len();
    let bytes = page.bytes_mut();
    let heads_at = HEADER_LEN + prefix.len();
    if let Some(place) = bytes.get_mut(HEADER_LEN..heads_at) {
        place.copy_from_slice(prefix);
    }
    let mut cells_at = page_bytes;
    for (index, cell) in cells.enumerate() {
        cells_at -= cell.len_in(prefix.len());
        put_cell(bytes, cells_at, &cell, prefix.len());
        let [first, second] = cell.key_after(prefix.len());
        let head = if first.is_empty() { head_of(second) } else { head_of_parts(first, second) };
        put(bytes, heads_at + 4 * index, head.to_le_bytes());
        put(bytes, heads_at + 4 * count + 2 * index, fit_u16(cells_at).to_le_bytes());
    }
    debug_assert!(heads_at + SLOT_LEN * count <= cells_at, "what is built into a page fits it");
    let used = fit_u16(page_bytes - cells_at);
    put(bytes, COUNT, fit_u16(count).to_le_bytes());
    put(bytes, CELL_BYTES, used.to_le_bytes());
    put(bytes, LIVE_BYTES, used.to_le_bytes());
    put(bytes, PREFIX_LEN, fit_u16(prefix.len()).to_le_bytes());
}

fn head_of_parts(first: &[u8], second: &[u8]) -> u32 {
    let mut head = [0; 4];
    head.iter_mut().zip(first.iter().chain(second)).for_each(|(to, from)| *to = *from);
    u32::from_be_bytes(head)
}

fn put_cell(bytes: &mut [u8], at: usize, cell: &Cell<'_>, prefix_len: usize) {
    let key = cell.key_after(prefix_len);
    let key_len = fit_u16(key.iter().map(|part| part.len()).sum());
    let mut at = at;
    for part in [&key_len.to_le_bytes()[..], cell.fixed, key[0], key[1], cell.rest] {
        if let Some(place) = bytes.get_mut(at..at + part.len()) {
            place.copy_from_slice(part);
        }
        at += part.len();
    }
}

/// True if `cell`, whose key begins with the page's prefix, fits once garbage is given back.
pub fn fits(page: &Page, cell: &Cell<'_>) -> bool {
    let slots = Slots::new(page);
    slots.used_bytes() + SLOT_LEN + cell.len_in(slots.prefix().len()) <= slots.capacity()
}

/// Puts `cell` before entry `index`. It fits, by [`fits`], and its key begins with the page's prefix.
pub fn insert(page: &mut Page, index: usize, cell: &Cell<'_>) {
    let slots = Slots::new(page);
    let (count, heads_at, prefix_len) = (slots.count, slots.heads_at, slots.prefix().len());
    let len = cell.len_in(prefix_len);
    let gap_needed = heads_at + SLOT_LEN * (count + 1) + len;
    if gap_needed + usize::from(u16_at(page.bytes(), CELL_BYTES)) > page.bytes().len() {
        compact(page);
    }
    let bytes = page.bytes_mut();
    let cell_bytes = usize::from(u16_at(bytes, CELL_BYTES)) + len;
    let live = usize::from(u16_at(bytes, LIVE_BYTES)) + len;
    let cells_at = bytes.len() - cell_bytes;
    let offsets_at = heads_at + 4 * count;
    // From the back: offsets after the new one move by a whole slot, those before it by a head, heads by a head.
    bytes.copy_within(offsets_at + 2 * index..offsets_at + 2 * count, offsets_at + 2 * index + SLOT_LEN);
    bytes.copy_within(offsets_at..offsets_at + 2 * index, offsets_at + 4);
    bytes.copy_within(heads_at + 4 * index..offsets_at, heads_at + 4 * index + 4);
    let [first, second] = cell.key_after(prefix_len);
    put(bytes, heads_at + 4 * index, head_of_parts(first, second).to_le_bytes());
    put(bytes, offsets_at + 4 + 2 * index, fit_u16(cells_at).to_le_bytes());
    put_cell(bytes, cells_at, cell, prefix_len);
    put(bytes, COUNT, fit_u16(count + 1).to_le_bytes());
    put(bytes, CELL_BYTES, fit_u16(cell_bytes).to_le_bytes());
    put(bytes, LIVE_BYTES, fit_u16(live).to_le_bytes());
}

/// Removes entries `from..to`. Their cells become garbage.
pub fn remove(page: &mut Page, from: usize, to: usize) {
    let slots = Slots::new(page);
    let (count, heads_at) = (slots.count, slots.heads_at);
    if from >= to || to > count {
        return;
    }
    let gone: usize = (from..to).map(|index| slots.cell_len(index)).sum();
    let live = slots.live_bytes().saturating_sub(gone);
    let removed = to - from;
    let offsets_at = heads_at + 4 * count;
    let offsets_new = offsets_at - 4 * removed;
    let bytes = page.bytes_mut();
    bytes.copy_within(heads_at + 4 * to..offsets_at, heads_at + 4 * from);
    bytes.copy_within(offsets_at..offsets_at + 2 * from, offsets_new);
    bytes.copy_within(offsets_at + 2 * to..offsets_at + 2 * count, offsets_new + 2 * from);
    put(bytes, COUNT, fit_u16(count - removed).to_le_bytes());
    put(bytes, LIVE_BYTES, fit_u16(live).to_le_bytes());
    if count == removed {
        put(bytes, CELL_BYTES, [0; 2]);
    }
}

/// Overwrites the payload of entry `index` where it lies; false if its length would change.
pub fn overwrite(page: &mut Page, index: usize, fixed: &[u8], rest: &[u8]) -> bool {
    let slots = Slots::new(page);
    if slots.fixed(index).len() != fixed.len() || slots.rest(index).len() != rest.len() {
        return false;
    }
    let at = page.bytes().len() - slots.cell_bytes_at(index).len();
    let rest_at = at + slots.key_at + slots.suffix(index).len();
    let bytes = page.bytes_mut();
    for (at, part) in [(at + 2, fixed), (rest_at, rest)] {
        if let Some(place) = bytes.get_mut(at..at + part.len()) {
            place.copy_from_slice(part);
        }
    }
    true
}

/// Rebuilds the page without garbage.
fn compact(page: &mut Page) {
    let old = page.scratch();
    let slots = Slots::new(&old);
    build(page, slots.prefix(), slots.cells());
}

/// Rebuilds the page under another prefix: one that its keys begin with, and that leaves them room.
pub fn reprefix(page: &mut Page, prefix: &[u8]) {
    let old = page.scratch();
    build(page, prefix, Slots::new(&old).cells());
}

/// Bytes that `cells` take in a page with a prefix of `prefix_len`, the prefix included.
pub fn bytes_of(cells: &[Cell<'_>], prefix_len: usize) -> usize {
    prefix_len + cells.iter().map(|cell| SLOT_LEN + cell.len_in(prefix_len)).sum::<usize>()
}
