//! Makes the checksums of changed files right again. What a checksum cannot be found for stays as it is.

use std::ops::Range;

use kv_btree::page::overflow::extents;
use kv_btree::page::{Kind, Page, PageId};
use kv_io::checksum::FileSum;
use kv_io::layout::{FileKind, IDENTITY_FILE, parse_name};
use kv_lsm::sstable::footer::{FOOTER_LEN, Footer};
use kv_lsm::sstable::index::Index;

/// Seals file `name` of a database with `salt`, which may have changed from `before`. B+trees have pages of
/// `page_bytes`.
pub fn file(name: &str, bytes: &mut [u8], before: &[u8], salt: u64, page_bytes: usize) {
    if name == IDENTITY_FILE {
        return identity(bytes);
    }
    let Some((kind, id)) = parse_name(name) else { return };
    let sum = FileSum::new(salt, id);
    match kind {
        FileKind::Wal => segment(bytes, before, id, &sum),
        FileKind::Table => table(bytes, &sum),
        FileKind::Pages => pages(bytes, before, page_bytes, &sum),
        FileKind::Manifest => manifest(bytes, &sum),
    }
}

/// The salt that an identity holds: 16 bytes of head and 16 of uuid come before it.
pub fn salt_of(identity: &[u8]) -> u64 {
    u64_at(identity, 32).unwrap_or(0)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|field| u32::from_le_bytes(*field))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|field| u64::from_le_bytes(*field))
}

/// Puts `crc` at `at`, if it fits.
fn set(bytes: &mut [u8], at: usize, crc: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
}

/// Puts the checksum of `covered`, as of `position`, at `at`.
fn seal(bytes: &mut [u8], at: usize, covered: Range<usize>, position: u64, sum: &FileSum) {
    if let Some(covered) = bytes.get(covered) {
        let crc = sum.of(position, &[covered]);
        set(bytes, at, crc);
    }
}

/// The identity; its checksum stands behind the body.
fn identity(bytes: &mut [u8]) {
    let Some(len) = u32_at(bytes, 12) else { return };
    let end = 16 + len as usize;
    seal(bytes, end, 0..end, 0, &FileSum::new(0, 0));
}

/// A segment of the log: its header, both witnesses, and every frame as far as lengths lead. Behind the last one a
/// recycled segment has bytes of its earlier life, which stay what they are.
fn segment(bytes: &mut [u8], before: &[u8], id: u64, sum: &FileSum) {
    let is_changed = bytes.get(..40) != before.get(..40);
    if let (true, Some(head), Some(tail)) = (is_changed, bytes.get(..12), bytes.get(16..40)) {
        let crc = sum.of(0, &[head, tail]);
        set(bytes, 12, crc);
    }
    for at in [992, 1024] {
        if bytes.get(at..at + 32) != before.get(at..at + 32) {
            seal(bytes, at, at + 4..at + 32, at as u64, sum);
        }
    }
    let mut at = 4096;
    while let (Some(len), Some(head)) = (u32_at(bytes, at + 8), bytes.get(at..at + 32)) {
        let body_end = (at + 32 + len as usize).next_multiple_of(8);
        let was_frame = u32_at(before, at)
            .zip(before.get(at + 4..at + 32))
            .is_some_and(|(crc, covered)| crc == sum.of(at as u64, &[covered]));
        if body_end > bytes.len() || !was_frame && before.get(at..at + 32) == Some(head) {
            break;
        }
        seal(bytes, at + 4, at + 32..body_end, at as u64 + 32, sum);
        bytes[at + 16..at + 20].copy_from_slice(&(id as u32).to_le_bytes());
        seal(bytes, at, at + 4..at + 32, at as u64, sum);
        at = body_end;
    }
}

/// A manifest: its header and every edit as far as lengths lead.
pub fn manifest(bytes: &mut [u8], sum: &FileSum) {
    seal(bytes, 12, 0..12, 0, sum);
    let mut at = 16;
    while let Some(len) = u32_at(bytes, at + 4) {
        let end = at + 8 + len as usize;
        seal(bytes, at, at + 4..end, at as u64, sum);
        at = end;
    }
}

/// A table: every block that the index names, then every section, then the footer.
pub fn table(bytes: &mut [u8], sum: &FileSum) {
    let Some(at) = bytes.len().checked_sub(FOOTER_LEN) else { return };
    let section = |bytes: &[u8], n: usize| {
        let field = at + 32 + 20 * n;
        Some((field + 16, usize::try_from(u64_at(bytes, field)?).ok()?, u64_at(bytes, field + 8)? as usize))
    };
    for n in 0..4 {
        if let Some((crc_at, offset, len)) = section(bytes, n)
            && len > 0
        {
            seal(bytes, crc_at, offset..offset.saturating_add(len), offset as u64, sum);
        }
    }
    seal(bytes, at + FOOTER_LEN - 4, at..at + FOOTER_LEN - 4, at as u64, sum);
    let id = u64_at(bytes, at + 16).unwrap_or(0);
    let Ok(footer) = Footer::decode(&bytes[at..], sum, at as u64, id) else { return };
    let range = footer.index.offset as usize..(footer.index.offset + footer.index.len) as usize;
    let index = bytes.get(range).map(|bytes| Index::decode(bytes, u64::from(footer.unit), footer.data_len));
    let Some(Ok(index)) = index else { return };
    for place in (0..index.len()).filter_map(|i| index.place(i)) {
        let start = place.start as usize;
        if let Some(used) = u32_at(bytes, start + 4).filter(|used| *used >= 4) {
            seal(bytes, start, start + 4..start.saturating_add(used as usize), place.start, sum);
        }
    }
}

/// A file of pages: both metas and every page that was one before it was changed. What the pages of large values hold
/// has its checksum in another page.
fn pages(bytes: &mut [u8], before: &[u8], page_bytes: usize, sum: &FileSum) {
    for at in [0, 4096] {
        seal(bytes, at + 68, at..at + 68, at as u64, sum);
    }
    for id in 8192 / page_bytes..bytes.len() / page_bytes {
        let range = id * page_bytes..(id + 1) * page_bytes;
        let was = before.get(range.clone()).unwrap_or_default();
        let id = PageId(id as u32);
        if Page::from_disk(was, id, sum, None).is_err() {
            continue;
        }
        if bytes[range.start + 16] == 3 {
            values(bytes, range.clone(), page_bytes, sum);
        }
        page(&mut bytes[range], id, sum);
    }
}

/// One page that lies at `id`.
pub fn page(bytes: &mut [u8], id: PageId, sum: &FileSum) {
    let len = bytes.len();
    seal(bytes, 0, 4..len, u64::from(id.0), sum);
}

/// The checksums that the index page at `index` holds.
fn values(bytes: &mut [u8], index: Range<usize>, page_bytes: usize, sum: &FileSum) {
    let mut page = Page::blank(page_bytes, PageId(0), 0, Kind::ValueIndex, 0);
    page.bytes_mut().copy_from_slice(&bytes[index.clone()]);
    for (n, extent) in extents(&page).enumerate() {
        let at = extent.first.index().saturating_mul(page_bytes);
        let end = at.saturating_add(extent.pages as usize * page_bytes);
        seal(bytes, index.start + 32 + 12 * n + 8, at..end, u64::from(extent.first.0), sum);
    }
}
