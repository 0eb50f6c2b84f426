//! Ranges as peers can take them: no bound shorter or longer than a key may be, and the rest of a walk after a seek.

use std::ops::Bound;

use kv_api::{Direction, KeyRange};

/// The same keys, among those of `shortest` to `longest` bytes, with bounds in those limits. `shortest` is 0 or 1.
/// `None` if no key can lie in it.
pub fn clamped<'a>(range: KeyRange<'a>, shortest: usize, longest: usize) -> Option<KeyRange<'a>> {
    let cut = |key: &'a [u8]| key.split_at_checked(longest).map(|(head, rest)| (head, !rest.is_empty()));
    // A bound too long for a key lies directly behind its first `longest` bytes, as no key has more.
    let start = match range.start {
        Bound::Included(key) | Bound::Excluded(key) => match cut(key) {
            _ if key.len() < shortest => Bound::Unbounded,
            Some((head, true)) => Bound::Excluded(head),
            _ => range.start,
        },
        Bound::Unbounded => Bound::Unbounded,
    };
    let end = match range.end {
        Bound::Included(key) | Bound::Excluded(key) => match cut(key) {
            _ if key.len() < shortest => return None,
            Some((head, true)) => Bound::Included(head),
            _ => range.end,
        },
        Bound::Unbounded => Bound::Unbounded,
    };
    let clamped = KeyRange { start, end };
    (!clamped.is_empty()).then_some(clamped)
}

/// What is left of `range` for a walk that goes on at `key`.
pub fn from_key<'a>(range: KeyRange<'a>, direction: Direction, key: &'a [u8]) -> KeyRange<'a> {
    match direction {
        Direction::Forward if range.is_at_or_after_start(key) => {
            KeyRange { start: Bound::Included(key), ..range }
        }
        Direction::Reverse if range.is_at_or_before_end(key) => {
            KeyRange { end: Bound::Included(key), ..range }
        }
        _ => range,
    }
}

/// What is left of `range` for a walk that has just returned `key`.
#[cfg(feature = "peers")]
pub fn behind_key<'a>(range: KeyRange<'a>, direction: Direction, key: &'a [u8]) -> KeyRange<'a> {
    match direction {
        Direction::Forward => KeyRange { start: Bound::Excluded(key), ..range },
        Direction::Reverse => KeyRange { end: Bound::Excluded(key), ..range },
    }
}

/// The range of a range delete of `P`, `None` if no key can lie in it.
#[cfg(feature = "peers")]
pub fn of_delete<'a, P: crate::peer::Peer>(start: &'a [u8], end: Option<&'a [u8]>) -> Option<KeyRange<'a>> {
    let range =
        KeyRange { start: Bound::Included(start), end: end.map_or(Bound::Unbounded, Bound::Excluded) };
    clamped(range, P::KEY_BYTES_MIN, P::KEY_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key of up to three bytes over a small alphabet.
    fn keys(longest: usize) -> Vec<Vec<u8>> {
        let mut keys = vec![Vec::new()];
        let mut last = keys.clone();
        for _ in 0..longest {
            last = last
                .iter()
                .flat_map(|key| [0, 7, 255].map(|byte| [key.as_slice(), &[byte]].concat()))
                .collect();
            keys.extend(last.clone());
        }
        keys
    }

    #[test]
    fn a_clamped_range_holds_the_same_legal_keys() {
        let bounds = keys(4);
        let legal: Vec<_> = keys(2).into_iter().filter(|key| !key.is_empty()).collect();
        for start in &bounds {
            for end in &bounds {
                for range in [
                    KeyRange { start: Bound::Included(start), end: Bound::Excluded(end) },
                    KeyRange { start: Bound::Excluded(start), end: Bound::Included(end) },
                    KeyRange { start: Bound::Unbounded, end: Bound::Included(end) },
                    KeyRange { start: Bound::Included(start), end: Bound::Unbounded },
                ] {
                    let clamped = clamped(range, 1, 2);
                    for key in &legal {
                        let holds = clamped.is_some_and(|clamped| clamped.contains(key));
                        assert_eq!(holds, range.contains(key), "{key:?} in {range:?}, clamped {clamped:?}");
                    }
                    let inside = |key: &[u8]| (1..=2).contains(&key.len());
                    let fits = |bound: Bound<&[u8]>| match bound {
                        Bound::Included(key) | Bound::Excluded(key) => inside(key),
                        Bound::Unbounded => true,
                    };
                    assert!(clamped.is_none_or(|range| fits(range.start) && fits(range.end)));
                }
            }
        }
    }

    #[test]
    fn a_seek_stays_in_the_range() {
        let range = KeyRange::from(b"c".as_slice()..b"f".as_slice());
        let start = |key: &'static [u8]| from_key(range, Direction::Forward, key).start;
        assert_eq!((start(b"a"), start(b"d")), (Bound::Included(&b"c"[..]), Bound::Included(&b"d"[..])));
        assert!(from_key(range, Direction::Forward, b"f").is_empty());
        let end = |key: &'static [u8]| from_key(range, Direction::Reverse, key).end;
        assert_eq!((end(b"z"), end(b"d")), (Bound::Excluded(&b"f"[..]), Bound::Included(&b"d"[..])));
        assert!(from_key(range, Direction::Reverse, b"a").is_empty());
    }
}
