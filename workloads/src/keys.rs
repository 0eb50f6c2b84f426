//! Record numbers to key bytes and back. No two numbers share a key, and every kind keeps a second set of keys
//! that no record ever has, lying between those that exist: what `get_absent` asks for.
//!
//! A number and whether it is absent make one code, `2 * record + absent`, so records stay below 2^63:
//!
//! ```text
//! int8      | code: u64 big-endian                      |   8 bytes, in record order
//! hash16    | mix(code): u64 BE | mix(that + c): u64 BE |  16 bytes, in random order
//! text24    | "user" | mix(code): 20 decimal digits     |  24 bytes, in random order, one prefix
//! ordered24 | "user" | code: 20 decimal digits          |  24 bytes, in record order, one prefix
//! series16  | series: u64 BE | code of time: u64 BE     |  16 bytes, by series and then by time
//! 0                   4 or 8                           end
//! ```

//! A file calls ordered24 `text24` with `order = "ordered"`. For series16 with s series, record r is the point of
//! series r mod s at time r / s, so that record numbers grow with time, and its code of time is 2 * time + absent.

use crate::rng::{mix64, unmix64};

const PREFIX: &[u8; 4] = b"user";
const SECOND_HALF: u64 = 0xD6E8_FEB8_6659_FD93;
const DIGITS: usize = 20;
/// One more than the greatest number of half the digits.
const HALF_END: u64 = 10_u64.pow(DIGITS as u32 / 2);
const _: () = assert!(PREFIX.len() + DIGITS == Key::LEN_MAX);

/// The kinds of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Eight bytes, an integer in big-endian order: keys sort as records were numbered.
    Int8,
    /// Sixteen bytes without order.
    Hash16,
    /// "user" and twenty digits without order, as YCSB has them.
    Text24,
    /// "user" and twenty digits: keys sort as records were numbered.
    Ordered24,
    /// A series and a time: one point of each series, then the next point of each.
    Series16 {
        /// How many series, at least 1.
        series: u32,
    },
}

/// What a key says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId {
    /// The record number.
    pub record: u64,
    /// Whether the key is one that no record ever has.
    pub absent: bool,
}

/// An encoded key on the stack. Dereferences to its bytes.
#[derive(Clone, Copy)]
pub struct Key {
    bytes: [u8; Key::LEN_MAX],
    len: u8,
}

impl Key {
    /// The longest key of any kind, in bytes.
    pub const LEN_MAX: usize = 24;
}

impl std::ops::Deref for Key {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.escape_ascii())
    }
}

impl KeyKind {
    /// The word of the file format.
    pub fn name(self) -> &'static str {
        match self {
            KeyKind::Int8 => "int8",
            KeyKind::Hash16 => "hash16",
            KeyKind::Text24 | KeyKind::Ordered24 => "text24",
            KeyKind::Series16 { .. } => "series16",
        }
    }

    /// Whether records with neighbouring numbers have neighbouring keys, for series16 within a series.
    pub fn is_ordered(self) -> bool {
        matches!(self, KeyKind::Int8 | KeyKind::Ordered24 | KeyKind::Series16 { .. })
    }

    /// The length of every key of this kind, in bytes.
    pub const fn len_bytes(self) -> usize {
        match self {
            KeyKind::Int8 => 8,
            KeyKind::Hash16 | KeyKind::Series16 { .. } => 16,
            KeyKind::Text24 | KeyKind::Ordered24 => Key::LEN_MAX,
        }
    }

    /// Bytes that all keys of this kind begin with.
    pub const fn shared_bytes(self) -> usize {
        match self {
            KeyKind::Text24 | KeyKind::Ordered24 => PREFIX.len(),
            KeyKind::Int8 | KeyKind::Hash16 | KeyKind::Series16 { .. } => 0,
        }
    }

    /// Bits by which a byte behind those tells keys apart: a digit tells less than a byte can.
    pub fn bits_per_byte(self) -> f64 {
        match self {
            KeyKind::Text24 | KeyKind::Ordered24 => std::f64::consts::LOG2_10,
            KeyKind::Int8 | KeyKind::Hash16 | KeyKind::Series16 { .. } => 8.0,
        }
    }

    /// The key of a record.
    ///
    /// ```
    /// use workloads::keys::KeyKind;
    /// assert_eq!(*KeyKind::Int8.encode(1), [0, 0, 0, 0, 0, 0, 0, 2]);
    /// assert_eq!(KeyKind::Text24.encode(1).len(), 24);
    /// ```
    #[inline]
    pub fn encode(self, record: u64) -> Key {
        self.encode_id(KeyId { record, absent: false })
    }

    /// A key that no record has. Where keys are ordered it follows that of `record`; elsewhere it lies anywhere.
    #[inline]
    pub fn absent(self, record: u64) -> Key {
        self.encode_id(KeyId { record, absent: true })
    }

    #[inline]
    fn encode_id(self, id: KeyId) -> Key {
        debug_assert!(id.record < 1 << 63, "record numbers stay below 2^63");
        let code = (id.record << 1) | u64::from(id.absent);
        let mut bytes = [0; Key::LEN_MAX];
        match self {
            KeyKind::Int8 => bytes[..8].copy_from_slice(&code.to_be_bytes()),
            KeyKind::Hash16 => {
                let first = mix64(code);
                bytes[..8].copy_from_slice(&first.to_be_bytes());
                bytes[8..16].copy_from_slice(&second_half(first).to_be_bytes());
            }
            KeyKind::Text24 => text(&mut bytes, mix64(code)),
            KeyKind::Ordered24 => text(&mut bytes, code),
            KeyKind::Series16 { series } => {
                let series = u64::from(series.max(1));
                let time = (id.record / series) << 1 | u64::from(id.absent);
                bytes[..8].copy_from_slice(&(id.record % series).to_be_bytes());
                bytes[8..16].copy_from_slice(&time.to_be_bytes());
            }
        }
        Key { bytes, len: self.len_bytes() as u8 }
    }

    /// The record a key belongs to, or `None` for bytes that are no key of this kind.
    #[inline]
    pub fn decode(self, key: &[u8]) -> Option<KeyId> {
        let code = match self {
            KeyKind::Int8 => u64::from_be_bytes(key.try_into().ok()?),
            KeyKind::Hash16 => {
                let (first, second) = key.split_at_checked(8)?;
                let first = u64::from_be_bytes(first.try_into().ok()?);
                let second = u64::from_be_bytes(second.try_into().ok()?);
                (second == second_half(first)).then(|| unmix64(first))?
            }
            KeyKind::Text24 => unmix64(number(key)?),
            KeyKind::Ordered24 => number(key)?,
            KeyKind::Series16 { series } => {
                let (of, code) = key.split_at_checked(8)?;
                let of = u64::from_be_bytes(of.try_into().ok()?);
                let code = u64::from_be_bytes(code.try_into().ok()?);
                let series = u64::from(series.max(1));
                let record = (code >> 1).checked_mul(series)?.checked_add(of)?;
                let is_known = of < series && record < 1 << 63;
                return is_known.then_some(KeyId { record, absent: code & 1 == 1 });
            }
        };
        Some(KeyId { record: code >> 1, absent: code & 1 == 1 })
    }
}

/// The prefix and twenty digits, ten at a time: the two halves do not wait for each other's divisions.
#[inline]
fn text(bytes: &mut [u8; Key::LEN_MAX], number: u64) {
    let (prefix, digits) = bytes.split_at_mut(PREFIX.len());
    prefix.copy_from_slice(PREFIX);
    let (high, low) = digits.split_at_mut(DIGITS / 2);
    let (mut high_rest, mut low_rest) = (number / HALF_END, number % HALF_END);
    for (high, low) in high.iter_mut().zip(low).rev() {
        (*high, *low) = (b'0' + (high_rest % 10) as u8, b'0' + (low_rest % 10) as u8);
        (high_rest, low_rest) = (high_rest / 10, low_rest / 10);
    }
}

/// The number in a key that [`text`] made.
fn number(key: &[u8]) -> Option<u64> {
    let digits = key.strip_prefix(PREFIX).filter(|digits| digits.len() == DIGITS)?;
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[inline]
fn second_half(first: u64) -> u64 {
    mix64(first.wrapping_add(SECOND_HALF))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KINDS: [KeyKind; 5] = [
        KeyKind::Int8,
        KeyKind::Hash16,
        KeyKind::Text24,
        KeyKind::Ordered24,
        KeyKind::Series16 { series: 10 },
    ];

    #[test]
    fn golden_keys() {
        assert_eq!(*KeyKind::Int8.encode(0x0102_0304), [0, 0, 0, 0, 2, 4, 6, 8]);
        assert_eq!(*KeyKind::Int8.absent(0x0102_0304), [0, 0, 0, 0, 2, 4, 6, 9]);
        assert_eq!(format!("{:?}", KeyKind::Text24.encode(1)), "user15839785061582574730");
        assert_eq!(KeyKind::Hash16.encode(1).to_vec(), 0xdbd238973a2b148aa907e09f5177c36c_u128.to_be_bytes());
        assert_eq!(format!("{:?}", KeyKind::Ordered24.encode(21)), "user00000000000000000042");
        let last = KeyKind::Ordered24.encode((1 << 63) - 1);
        assert_eq!(format!("{last:?}"), "user18446744073709551614");
        let point = KeyKind::Series16 { series: 10 }.encode(0x0305);
        assert_eq!(*point, [0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 154]);
    }

    #[test]
    fn absent_keys_lie_between_neighbours_where_keys_are_ordered() {
        for kind in KINDS.into_iter().filter(|kind| kind.is_ordered()) {
            let step = if let KeyKind::Series16 { series } = kind { u64::from(series) } else { 1 };
            let keys = [kind.encode(7), kind.absent(7), kind.encode(7 + step), kind.absent(7 + step)];
            assert!(keys.is_sorted_by(|a, b| **a < **b), "{keys:?}");
        }
        let kind = KeyKind::Series16 { series: 10 };
        assert!(*kind.encode(1_000_007) < *kind.encode(8), "series 7 lies before series 8 at any time");
    }

    #[test]
    fn foreign_bytes_are_no_keys() {
        for kind in KINDS {
            assert_eq!(kind.decode(b""), None);
            assert_eq!(kind.decode(b"user0000000000000000000"), None);
        }
        assert_eq!(KeyKind::Text24.decode(b"user99999999999999999999"), None);
        assert_eq!(KeyKind::Text24.decode(b"user0000000000000000000x"), None);
        assert_eq!(KeyKind::Hash16.decode(&[7; 16]), None);
        assert_eq!(KeyKind::Series16 { series: 10 }.decode(&[7; 16]), None);
        assert_eq!(KeyKind::Series16 { series: 10 }.decode(&[0xFF; 16]), None);
    }

    proptest! {
        #[test]
        fn encode_is_undone_by_decode(record in 0u64..1 << 63) {
            for kind in KINDS {
                prop_assert_eq!(kind.encode(record).len(), kind.len_bytes());
                prop_assert_eq!(kind.decode(&kind.encode(record)), Some(KeyId { record, absent: false }));
                prop_assert_eq!(kind.decode(&kind.absent(record)), Some(KeyId { record, absent: true }));
            }
        }
    }
}
