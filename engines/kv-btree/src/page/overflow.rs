//! Value index page: where the pieces of a large value lie. Header as in `mod.rs`; right_child is the next page
//! of the chain, 0 at its end. The body is an array of count extents, 12 bytes each:
//!
//! | header | first u32 | pages u32 | crc u32 | first u32 | pages u32 | crc u32 | ...
//! 0        32          36          40        44
//!
//! An extent is a run of pages without headers; the value is its extents one after another, the last padded with
//! zeros. crc covers the extent's bytes, padding included, and is seeded with the number of its first page. So a
//! value is read with one call for each extent, straight to where it is used.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use super::{Damage, HEADER_LEN, Page, PageId, put, u32_at};

/// Bytes of one extent in the index.
const EXTENT_LEN: usize = 12;

/// A run of pages that holds a piece of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The first page.
    pub first: PageId,
    /// How many pages.
    pub pages: u32,
    /// Checksum of all their bytes.
    pub crc: u32,
}

/// How many extents one index page holds.
pub fn extents_max(page_bytes: usize) -> usize {
    (page_bytes - HEADER_LEN) / EXTENT_LEN
}

/// Fills the body.
pub fn set_extents(page: &mut Page, extents: &[Extent]) {
    debug_assert!(extents.len() <= extents_max(page.bytes().len()), "extents fit their page");
    page.set_count(extents.len());
    for (index, extent) in extents.iter().enumerate() {
        let at = HEADER_LEN + index * EXTENT_LEN;
        put(page.bytes_mut(), at, extent.first.0.to_le_bytes());
        put(page.bytes_mut(), at + 4, extent.pages.to_le_bytes());
        put(page.bytes_mut(), at + 8, extent.crc.to_le_bytes());
    }
}

/// The extents in order.
pub fn extents(page: &Page) -> impl Iterator<Item = Extent> {
    let body = page.bytes().get(HEADER_LEN..).unwrap_or_default();
    body.chunks_exact(EXTENT_LEN).take(page.count()).map(|entry| Extent {
        first: PageId(u32_at(entry, 0)),
        pages: u32_at(entry, 4),
        crc: u32_at(entry, 8),
    })
}

/// Checks that the extents fit the page.
///
/// # Errors
/// What does not hold.
pub(super) fn check(page: &Page) -> Result<(), Damage> {
    match page.count() <= extents_max(page.bytes().len()) {
        true => Ok(()),
        false => Err("it lists more extents than a page holds".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::Kind;

    #[test]
    fn extents_have_the_bytes_of_the_picture_and_come_back() {
        let mut page = Page::blank(512, PageId(5), 1, Kind::ValueIndex, 0);
        let list = [
            Extent { first: PageId(0x21), pages: 2, crc: 0x0403_0201 },
            Extent { first: PageId(0x31), pages: 1, crc: 7 },
        ];
        set_extents(&mut page, &list);
        let golden = [0x21, 0, 0, 0, 2, 0, 0, 0, 1, 2, 3, 4, 0x31, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0];
        assert_eq!(&page.bytes()[32..56], golden);
        assert_eq!(extents(&page).collect::<Vec<_>>(), list);
    }
}
