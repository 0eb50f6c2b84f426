//! Which keys a scan or a range delete covers, and in which direction a scan walks.

use std::ops::{Bound, RangeBounds};

/// A range of keys, borrowed. Inverted bounds are legal and mean the empty range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRange<'a> {
    /// Where the range begins.
    pub start: Bound<&'a [u8]>,
    /// Where the range ends.
    pub end: Bound<&'a [u8]>,
}

impl KeyRange<'static> {
    /// Every key.
    pub const ALL: KeyRange<'static> = KeyRange { start: Bound::Unbounded, end: Bound::Unbounded };
}

impl<'a> KeyRange<'a> {
    /// True if `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.is_at_or_after_start(key) && self.is_at_or_before_end(key)
    }

    /// True if `key` is not below the range.
    pub fn is_at_or_after_start(&self, key: &[u8]) -> bool {
        match self.start {
            Bound::Unbounded => true,
            Bound::Included(start) => key >= start,
            Bound::Excluded(start) => key > start,
        }
    }

    /// True if `key` is not above the range.
    pub fn is_at_or_before_end(&self, key: &[u8]) -> bool {
        match self.end {
            Bound::Unbounded => true,
            Bound::Included(end) => key <= end,
            Bound::Excluded(end) => key < end,
        }
    }

    /// True if no key can lie in the range because its bounds are inverted or equal and exclusive.
    pub fn is_empty(&self) -> bool {
        match (self.start, self.end) {
            (Bound::Unbounded, Bound::Excluded(end)) => end.is_empty(),
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (Bound::Included(start), Bound::Excluded(end))
            | (Bound::Excluded(start), Bound::Included(end))
            | (Bound::Excluded(start), Bound::Excluded(end)) => start >= end,
        }
    }

    /// The same range with its own copies of the bounds.
    pub fn to_owned_range(&self) -> OwnedRange {
        OwnedRange { start: self.start.map(<[u8]>::to_vec), end: self.end.map(<[u8]>::to_vec) }
    }
}

impl<'a, R: RangeBounds<&'a [u8]>> From<R> for KeyRange<'a> {
    fn from(range: R) -> Self {
        KeyRange { start: range.start_bound().cloned(), end: range.end_bound().cloned() }
    }
}

/// A range of keys that owns its bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRange {
    /// Where the range begins.
    pub start: Bound<Vec<u8>>,
    /// Where the range ends.
    pub end: Bound<Vec<u8>>,
}

impl OwnedRange {
    /// The keys that begin with `prefix`. A prefix of nothing but `0xFF` has no upper bound.
    ///
    /// ```
    /// let range = kv_api::OwnedRange::prefix(b"a\xff");
    /// assert!(range.as_range().contains(b"a\xff\xff") && !range.as_range().contains(b"b"));
    /// ```
    pub fn prefix(prefix: &[u8]) -> OwnedRange {
        let mut end = prefix.to_vec();
        while let Some(last) = end.pop() {
            if let Some(next) = last.checked_add(1) {
                end.push(next);
                return OwnedRange { start: Bound::Included(prefix.to_vec()), end: Bound::Excluded(end) };
            }
        }
        OwnedRange { start: Bound::Included(prefix.to_vec()), end: Bound::Unbounded }
    }

    /// The range, borrowed.
    pub fn as_range(&self) -> KeyRange<'_> {
        KeyRange { start: self.start.as_ref().map(Vec::as_slice), end: self.end.as_ref().map(Vec::as_slice) }
    }
}

/// Which way a scan walks; fixed when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// From small keys to large ones.
    #[default]
    Forward,
    /// From large keys to small ones.
    Reverse,
}

/// How a scan walks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScanOptions {
    /// Which way.
    pub direction: Direction,
}

impl ScanOptions {
    /// From small keys to large ones.
    pub const FORWARD: ScanOptions = ScanOptions { direction: Direction::Forward };
    /// From large keys to small ones.
    pub const REVERSE: ScanOptions = ScanOptions { direction: Direction::Reverse };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_covers_what_begins_with_it_and_nothing_else() {
        let range = OwnedRange::prefix(b"ab");
        for inside in [b"ab".as_slice(), b"ab\0", b"ab\xff\xff"] {
            assert!(range.as_range().contains(inside));
        }
        for outside in [b"aa\xff".as_slice(), b"ac", b"a", b""] {
            assert!(!range.as_range().contains(outside));
        }
        assert_eq!(OwnedRange::prefix(b"\xff\xff").end, Bound::Unbounded);
        assert_eq!(OwnedRange::prefix(b"").as_range(), KeyRange::from(b"".as_slice()..));
    }

    #[test]
    fn inverted_ranges_are_empty() {
        assert!(KeyRange::from(b"b".as_slice()..b"a".as_slice()).is_empty());
        assert!(KeyRange::from(b"a".as_slice()..b"a".as_slice()).is_empty());
        assert!(!KeyRange::from(b"a".as_slice()..=b"a".as_slice()).is_empty());
        assert!(KeyRange { start: Bound::Excluded(b"a"), end: Bound::Included(b"a") }.is_empty());
    }
}
