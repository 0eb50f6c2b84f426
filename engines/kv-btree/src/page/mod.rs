//! Pages: the unit of reading, writing and sharing. The header that every page begins with, little-endian:
//!
//! | crc u32 | page u32 | birth u64 | kind u8 | level u8 | count u16 | cell_bytes u16 | live_bytes u16 |
//! 0         4          8           16        17         18          20               22
//! | prefix_len u16 | zero u16 | right_child u32 | body ...
//! 24               26         28                32
//!
//! crc covers bytes 4.. and is seeded with the database's salt, the file's id and the page number, so a page in
//! the wrong place is damage. birth is the generation of the commit that made the page: a page belongs to every
//! tree from that generation on, until one that replaced it. What the other fields mean is told by each kind.
//!
//! | file | kind | what it holds |
//! |---|---|---|
//! | `slotted.rs` | | heads, offsets and cells: what leaf and inner pages share |
//! | `leaf.rs` | 1 | keys and values |
//! | `inner.rs` | 2 | separators and child pages |
//! | `overflow.rs` | 3 | where the pieces of a large value lie |
//! | `split.rs` | | where a full page is divided |
//! | `free_map.rs` | 4 | one bit for each page in use |
//! | `meta.rs` | | not a page: the two roots of trust at bytes 0 and 4096 |
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

pub mod free_map;
pub mod inner;
pub mod leaf;
pub mod meta;
pub mod overflow;
pub mod slotted;
pub mod split;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use kv_io::checksum::{FileSum, mismatch};
use kv_io::seeded::{self, Bug};

/// Smallest page, in bytes. Only tests want it this small.
pub const PAGE_BYTES_MIN: usize = 512;
/// Largest page, in bytes: offsets inside a page are u16.
pub const PAGE_BYTES_MAX: usize = 65_536;
/// Most levels a tree may have; a descent that goes deeper found damage.
pub const LEVELS_MAX: u8 = 32;
/// Bytes of the header.
pub const HEADER_LEN: usize = 32;

const CRC: usize = 0;
const PAGE: usize = 4;
const BIRTH: usize = 8;
const KIND: usize = 16;
const LEVEL: usize = 17;
const COUNT: usize = 18;
const CELL_BYTES: usize = 20;
const LIVE_BYTES: usize = 22;
const PREFIX_LEN: usize = 24;
const RIGHT_CHILD: usize = 28;
const _: () = assert!(RIGHT_CHILD + 4 == HEADER_LEN, "the fields fill the header");
const _: () = assert!(PAGE_BYTES_MAX - HEADER_LEN <= 65_535, "cell_bytes is u16");

/// The number of a page: its byte offset in the file is `number * page_bytes`. The numbers that the two metas
/// cover are never handed out, so 0 stands for "none".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PageId(pub u32);

impl PageId {
    /// No page.
    pub const NONE: PageId = PageId(0);

    /// Where the page begins in its file, in bytes.
    pub fn offset(self, page_bytes: usize) -> u64 {
        u64::from(self.0).saturating_mul(u64::try_from(page_bytes).unwrap_or(u64::MAX))
    }

    /// The number as an index.
    pub fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Keys and values.
    Leaf,
    /// Separators and child pages.
    Inner,
    /// Where the pieces of a large value lie.
    ValueIndex,
    /// One bit for each page in use.
    FreeMap,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Kind::Leaf => 1,
            Kind::Inner => 2,
            Kind::ValueIndex => 3,
            Kind::FreeMap => 4,
        }
    }

    fn from_code(code: u8) -> Option<Kind> {
        [Kind::Leaf, Kind::Inner, Kind::ValueIndex, Kind::FreeMap]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// Why bytes are not a page: the end of the sentence in [`kv_api::Error::Corruption`].
pub type Damage = Cow<'static, str>;

/// One page in memory. A clone shares its bytes, and whoever changes a page that is shared changes a copy: so
/// pages that readers can reach never change. One allocation holds bytes and reference count, so that a lookup
/// touches no other memory than the page itself.
#[derive(Clone)]
pub struct Page {
    bytes: Arc<[u8]>,
}

impl Page {
    /// An empty page of `page_bytes`.
    pub fn blank(page_bytes: usize, id: PageId, birth: u64, kind: Kind, level: u8) -> Page {
        let mut page = Page { bytes: std::iter::repeat_n(0, page_bytes).collect() };
        page.name(id, birth);
        let bytes = page.bytes_mut();
        put(bytes, KIND, [kind.code()]);
        put(bytes, LEVEL, [level]);
        page
    }

    /// A copy of this page under another number, of another generation; in place, if nobody else holds this page.
    pub fn into_copy(mut self, id: PageId, birth: u64) -> Page {
        self.name(id, birth);
        self
    }

    /// The same, into other memory: that of `spare`, if nobody else holds it.
    pub fn copy_as(&self, id: PageId, birth: u64, spare: Option<Page>) -> Page {
        let mut page = Page::of(&self.bytes, spare);
        page.name(id, birth);
        page
    }

    /// A copy to read while this page is rebuilt. A clone would share the bytes, and the rebuilt page would then get
    /// memory of its own instead of keeping its frame.
    pub fn scratch(&self) -> Page {
        Page::of(&self.bytes, None)
    }

    /// True if both are the same memory.
    pub fn is_same(&self, other: &Page) -> bool {
        Arc::ptr_eq(&self.bytes, &other.bytes)
    }

    /// True if nobody else holds this memory.
    pub fn is_unshared(&mut self) -> bool {
        Arc::get_mut(&mut self.bytes).is_some()
    }

    fn name(&mut self, id: PageId, birth: u64) {
        let bytes = self.bytes_mut();
        put(bytes, PAGE, id.0.to_le_bytes());
        put(bytes, BIRTH, birth.to_le_bytes());
    }

    /// A page of `bytes`, in the memory of `spare` if it fits and nobody else holds it.
    fn of(bytes: &[u8], spare: Option<Page>) -> Page {
        if let Some(mut spare) = spare
            && let Some(place) = Arc::get_mut(&mut spare.bytes).filter(|place| place.len() == bytes.len())
        {
            place.copy_from_slice(bytes);
            return spare;
        }
        Page { bytes: bytes.into() }
    }

    /// The page that `bytes` hold, if they are undamaged and belong at `id`, in the memory of `spare` where there
    /// is one. O(entries): every offset and length is checked here, once, so that later accesses stay inside.
    ///
    /// # Errors
    /// What does not hold.
    pub fn from_disk(bytes: &[u8], id: PageId, sum: &FileSum, spare: Option<Page>) -> Result<Page, Damage> {
        let expected = u32_at(bytes, CRC);
        let found = sum.of(u64::from(id.0), &[bytes.get(PAGE..).unwrap_or_default()]);
        if found != expected && !seeded::is(Bug::PageUnchecked) {
            return Err(mismatch(found, expected).into());
        }
        let page = Page::of(bytes, spare);
        if page.id() != id {
            return Err(format!("it says to be page {}, not page {id}", page.id()).into());
        }
        match page.kind() {
            None => Err("its kind is unknown".into()),
            Some(Kind::Leaf | Kind::Inner) => slotted::Slots::new(&page).check().map(|()| page),
            Some(Kind::ValueIndex) => overflow::check(&page).map(|()| page),
            Some(Kind::FreeMap) => Ok(page),
        }
    }

    /// Copies the page into `out` with its checksum set.
    pub fn to_disk(&self, out: &mut [u8], sum: &FileSum) {
        if let Some(out) = out.get_mut(..self.bytes.len()) {
            out.copy_from_slice(&self.bytes);
        }
        let crc = sum.of(u64::from(self.id().0), &[self.bytes.get(PAGE..).unwrap_or_default()]);
        put(out, CRC, crc.to_le_bytes());
    }

    /// All bytes, header included.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All bytes, to change: first copied, if others share them.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        Arc::make_mut(&mut self.bytes)
    }

    /// Its own number.
    pub fn id(&self) -> PageId {
        PageId(u32_at(&self.bytes, PAGE))
    }

    /// The generation that made it.
    pub fn birth(&self) -> u64 {
        u64_at(&self.bytes, BIRTH)
    }

    /// What it is; `None` only for bytes that were never checked.
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_code(u8_at(&self.bytes, KIND))
    }

    /// Levels below it: 0 for a leaf.
    pub fn level(&self) -> u8 {
        u8_at(&self.bytes, LEVEL)
    }

    /// Entries, separators or extents it holds.
    pub fn count(&self) -> usize {
        usize::from(u16_at(&self.bytes, COUNT))
    }

    /// The child for keys at or above the last separator (inner), or the next page of a chain (value index).
    pub fn right_child(&self) -> PageId {
        PageId(u32_at(&self.bytes, RIGHT_CHILD))
    }

    /// Sets [`Page::right_child`].
    pub fn set_right_child(&mut self, child: PageId) {
        put(self.bytes_mut(), RIGHT_CHILD, child.0.to_le_bytes());
    }

    /// Takes kind and level from `other`.
    pub fn copy_kind_of(&mut self, other: &Page) {
        put(self.bytes_mut(), KIND, [u8_at(&other.bytes, KIND), other.level()]);
    }

    /// Sets the count; only for kinds without slots.
    pub fn set_count(&mut self, count: usize) {
        put(self.bytes_mut(), COUNT, fit_u16(count).to_le_bytes());
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, kind, count) = (self.id(), self.kind(), self.count());
        f.debug_struct("Page").field("id", &id).field("kind", &kind).field("count", &count).finish()
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
}

/// The byte at `at`, 0 beyond the end.
pub(crate) fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// The number in the two bytes at `at`, 0 beyond the end.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

/// The number in the four bytes at `at`, 0 beyond the end.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

/// The number in the eight bytes at `at`, 0 beyond the end.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// Writes `field` at `at`; beyond the end it writes nothing.
pub(crate) fn put<const N: usize>(bytes: &mut [u8], at: usize, field: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<N>()) {
        *place = field;
    }
}

/// A length inside a page as u16. Pages end at 65,536 bytes and start with a header, so it always fits.
pub(crate) fn fit_u16(value: usize) -> u16 {
    debug_assert!(value <= usize::from(u16::MAX), "a length inside a page fits u16");
    u16::try_from(value).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_comes_back_from_disk_and_any_flipped_bit_is_damage() {
        let sum = FileSum::new(7, 1);
        let mut page = Page::blank(512, PageId(9), 0x0102_0304, Kind::Leaf, 0);
        leaf::put(&mut page, b"key", leaf::Value::Inline(b"value"));
        let mut disk = vec![0; 512];
        page.to_disk(&mut disk, &sum);
        let back = Page::from_disk(&disk, PageId(9), &sum, None).expect("undamaged");
        assert_eq!((back.id(), back.birth(), back.kind()), (PageId(9), 0x0102_0304, Some(Kind::Leaf)));
        for at in 0..disk.len() {
            disk[at] ^= 0x40;
            assert!(Page::from_disk(&disk, PageId(9), &sum, None).is_err(), "byte {at}");
            disk[at] ^= 0x40;
        }
        assert!(Page::from_disk(&disk, PageId(8), &sum, None).is_err());
        assert!(Page::from_disk(&disk[..100], PageId(9), &sum, None).is_err());
        assert!(Page::from_disk(&[], PageId(9), &sum, None).is_err());
    }

    #[test]
    fn pages_beyond_four_tebibytes_have_places_of_their_own() {
        assert_eq!(PageId(1 << 20).offset(4096), 1 << 32);
        assert_eq!(PageId(1 << 30).offset(4096), 1 << 42);
        assert_eq!(PageId(u32::MAX).offset(PAGE_BYTES_MAX), (u64::from(u32::MAX)) << 16);
        let (sum, far) = (FileSum::new(7, 1), PageId(1 << 30));
        let mut disk = vec![0; 512];
        Page::blank(512, far, 3, Kind::Leaf, 0).to_disk(&mut disk, &sum);
        assert!(Page::from_disk(&disk, far, &sum, None).is_ok());
        assert!(Page::from_disk(&disk, PageId(0), &sum, None).is_err());
    }

    #[test]
    fn a_rebuilt_page_keeps_its_memory() {
        let mut page = Page::blank(512, PageId(1), 1, Kind::Leaf, 0);
        let place = page.bytes().as_ptr();
        for round in 0..200_u32 {
            // Values that grow leave dead cells behind, until the page is rebuilt to have room again.
            let value = vec![7; 8 + (round % 13) as usize];
            leaf::put(&mut page, b"key", leaf::Value::Inline(&value));
        }
        slotted::reprefix(&mut page, b"k");
        assert_eq!(page.bytes().as_ptr(), place);
    }

    #[test]
    fn the_header_has_the_bytes_of_the_picture() {
        let mut page = Page::blank(512, PageId(0x0a0b), 0x11, Kind::Inner, 3);
        page.set_right_child(PageId(0x0c0d));
        let mut golden = [0_u8; HEADER_LEN];
        golden[4..6].copy_from_slice(&[0x0b, 0x0a]);
        golden[8] = 0x11;
        golden[16] = 2;
        golden[17] = 3;
        golden[28..30].copy_from_slice(&[0x0d, 0x0c]);
        assert_eq!(&page.bytes()[..HEADER_LEN], golden);
    }

    #[test]
    fn a_leaf_has_the_bytes_of_the_picture() {
        let mut page = Page::blank(512, PageId(1), 2, Kind::Leaf, 0);
        let low = Some(b"key-a".to_vec());
        let bounds = split::Bounds { low, high: Some(b"key-z".to_vec()) };
        slotted::reprefix(&mut page, bounds.prefix());
        leaf::put(&mut page, b"key-b", leaf::Value::Inline(b"one"));
        leaf::put(&mut page, b"key-abcde", leaf::Value::Apart(leaf::Apart { len: 9, index: PageId(7) }));
        let bytes = page.bytes();
        assert_eq!(bytes[18..26], [2, 0, 29, 0, 29, 0, 4, 0]);
        assert_eq!(&bytes[32..36], b"key-");
        // Heads are numbers, little-endian: "abcd" and "b", zero-padded.
        assert_eq!(&bytes[36..44], b"dcba\0\0\0b");
        assert_eq!(bytes[44..48], [227, 1, 248, 1]);
        assert_eq!(&bytes[483..504], b"\x05\0\xff\xffabcde\x09\0\0\0\0\0\0\0\x07\0\0\0");
        assert_eq!(&bytes[504..], b"\x01\0\x03\0bone");
    }

    #[test]
    fn an_inner_page_has_the_bytes_of_the_picture() {
        let mut page = Page::blank(512, PageId(1), 2, Kind::Inner, 1);
        page.set_right_child(PageId(5));
        assert!(inner::insert(&mut page, 0, b"m", PageId(0x0304)));
        let bytes = page.bytes();
        assert_eq!(bytes[16..28], [2, 1, 1, 0, 7, 0, 7, 0, 0, 0, 0, 0]);
        assert_eq!(&bytes[32..38], b"\0\0\0m\xf9\x01");
        assert_eq!(&bytes[505..], b"\x01\0\x04\x03\0\0m");
        assert_eq!(inner::children(&page).collect::<Vec<_>>(), [PageId(0x0304), PageId(5)]);
    }
}
