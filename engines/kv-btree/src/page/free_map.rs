//! Free-map page: one bit for each page of the file, set if the page belongs to the tree of the meta that names
//! the map. A run of consecutive pages; header as in `mod.rs`.
//!
//! | header | bits of pages 0 to 7 | bits of pages 8 to 15 | ...       bit b of byte i = page 8 * i + b
//! 0        32                     33
//!
//! Later pages of the run continue where the one before ended.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use super::{HEADER_LEN, Kind, Page, PageId};

/// Pages of the file that one page of the map covers.
pub fn bits_per_page(page_bytes: usize) -> usize {
    (page_bytes - HEADER_LEN) / 8 * 64
}

/// Words of 64 bits that one page of the map holds.
pub fn words_per_page(page_bytes: usize) -> usize {
    (page_bytes - HEADER_LEN) / 8
}

/// Page `id` of the map, with `words` (at most [`words_per_page`]).
pub fn build(page_bytes: usize, id: PageId, birth: u64, words: &[u64]) -> Page {
    let mut page = Page::blank(page_bytes, id, birth, Kind::FreeMap, 0);
    let body = page.bytes_mut().get_mut(HEADER_LEN..).unwrap_or_default();
    for (place, word) in body.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    page
}

/// The words that `page` holds.
pub fn words(page: &Page) -> impl Iterator<Item = u64> {
    let body = page.bytes().get(HEADER_LEN..).unwrap_or_default();
    body.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_lie_where_the_picture_has_them() {
        let page = build(512, PageId(4), 1, &[1 << 9 | 1, 2]);
        assert_eq!(&page.bytes()[32..34], [1, 2]);
        assert_eq!(page.bytes()[40], 2);
        assert_eq!(words(&page).take(2).collect::<Vec<_>>(), [1 << 9 | 1, 2]);
        assert_eq!(words(&page).count(), words_per_page(512));
    }
}
