//! Value bytes as a pure function of (key, version, size, compressibility), so that every read can be checked
//! without keeping what was written.
//!
//! ```text
//! | version: u32 LE | seal: u32 LE | key hash: u64 LE | body ...            |
//! 0                 4              8                  16                 size
//! ```
//!
//! Where sizes are drawn, a value's size is itself a function of key and version. The seal mixes key, version and
//! size. The body is cut in groups of 128 bytes; of each group the first part
//! is random, seeded by key and version, and the last `compressibility` of it is zero. A size under 16 keeps
//! the first bytes of the header; under 8 bytes a value can be compared with an expected version but no
//! longer tells its own.

use crate::rng::{Stream, mix64};
use crate::sizes::Sizes;

/// The size of the header, in bytes.
pub const HEADER_LEN: usize = 16;
/// The smallest value that tells its own version, in bytes.
pub const SELF_DESCRIBING_LEN: usize = 8;
const WORDS_PER_GROUP: usize = 16;
const GROUP_LEN: usize = 8 * WORDS_PER_GROUP;
const LANES: usize = 4;
/// The number of the stream that draws sizes, under the key's hash as seed and the version as index.
const SIZES_STREAM: u64 = 0x517E;
const _: () =
    assert!(SELF_DESCRIBING_LEN <= HEADER_LEN && GROUP_LEN == 128 && WORDS_PER_GROUP.is_multiple_of(LANES));

/// How a value differs from what its key and version promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The value is too short to tell its version.
    TooShort {
        /// Its length, in bytes.
        len: usize,
    },
    /// The value has another length than the workload gives to values.
    Length {
        /// Its length, in bytes.
        found: usize,
        /// The length asked for, in bytes.
        expected: usize,
    },
    /// The header belongs to another key or is damaged.
    Header,
    /// The header is right and a byte behind it is not.
    Body {
        /// The offset of the first wrong byte.
        offset: usize,
    },
    /// The value is whole, but another version than the one last acknowledged.
    Version {
        /// The version found.
        found: u32,
        /// The version asked for.
        expected: u32,
    },
    /// The key is there and must not be: deleted, never written, or no key of this workload.
    Unexpected,
    /// The key must be there and is not.
    Missing {
        /// The version asked for.
        expected: u32,
    },
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Mismatch::TooShort { len } => write!(f, "the value has {len} bytes, too few to tell its version"),
            Mismatch::Length { found, expected } => {
                write!(f, "the value has {found} bytes, expected {expected}")
            }
            Mismatch::Header => write!(f, "the value's header is damaged or belongs to another key"),
            Mismatch::Body { offset } => write!(f, "the value is damaged at byte {offset}"),
            Mismatch::Version { found, expected } => {
                write!(f, "the value has version {found}, expected version {expected}")
            }
            Mismatch::Unexpected => write!(f, "the key is there and must not be"),
            Mismatch::Missing { expected } => write!(f, "the key is missing, expected version {expected}"),
        }
    }
}

impl std::error::Error for Mismatch {}

/// Makes and checks the values of one workload.
///
/// ```
/// let values = workloads::values::Values::new(100, 0.0);
/// let mut value = Vec::new();
/// values.fill(b"key", 3, &mut value);
/// assert_eq!(values.check(b"key", &value), Ok(3));
/// value[50] ^= 1;
/// assert!(values.check(b"key", &value).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Values {
    sizes: Sizes,
    random_words: usize,
}

impl Values {
    /// Values of `size` bytes of which the share `compressibility` (0 to 1) is zeros.
    pub fn new(size: u32, compressibility: f64) -> Values {
        Values::drawn(Sizes::Fixed { size }, compressibility)
    }

    /// Values whose sizes in bytes are drawn. Sizes that differ must be [`SELF_DESCRIBING_LEN`] or more.
    pub fn drawn(sizes: Sizes, compressibility: f64) -> Values {
        let random = (1.0 - compressibility.clamp(0.0, 1.0)) * WORDS_PER_GROUP as f64;
        Values { sizes, random_words: random.round() as usize }
    }

    /// The length of every value if all are alike, in bytes.
    pub fn fixed_len(&self) -> Option<usize> {
        match self.sizes {
            Sizes::Fixed { size } => Some(size as usize),
            Sizes::Uniform { .. } | Sizes::Pareto { .. } => None,
        }
    }

    /// The length of the value of `version` of `key`, in bytes.
    #[inline]
    pub fn len(&self, key: &[u8], version: u32) -> usize {
        self.fixed_len().unwrap_or_else(|| self.len_of(key_hash(key), version))
    }

    #[inline]
    fn len_of(&self, hash: u64, version: u32) -> usize {
        match self.sizes {
            Sizes::Fixed { size } => size as usize,
            sizes => sizes.draw(&mut Stream::new(hash, SIZES_STREAM).draws(u64::from(version))) as usize,
        }
    }

    /// Replaces the content of `out` by the value of `version` of `key`. Runs at about the speed of memory.
    pub fn fill(&self, key: &[u8], version: u32, out: &mut Vec<u8>) {
        let hash = key_hash(key);
        let len = self.len_of(hash, version);
        out.clear();
        let header = header(hash, version, len);
        out.extend_from_slice(&header[..len.min(HEADER_LEN)]);
        out.reserve(len.saturating_sub(HEADER_LEN));
        let mut body = Body::new(hash, version, self.random_words);
        while out.len() < len {
            let group = body.group();
            out.extend_from_slice(&group[..GROUP_LEN.min(len - out.len())]);
        }
    }

    /// Checks every byte of a value and tells its version.
    pub fn check(&self, key: &[u8], value: &[u8]) -> Result<u32, Mismatch> {
        if let Some(expected) = self.fixed_len().filter(|len| *len != value.len()) {
            return Err(Mismatch::Length { found: value.len(), expected });
        }
        let Some((version, _)) =
            value.split_first_chunk::<4>().filter(|_| value.len() >= SELF_DESCRIBING_LEN)
        else {
            return Err(Mismatch::TooShort { len: value.len() });
        };
        let version = u32::from_le_bytes(*version);
        self.compare(key, version, value)?;
        Ok(version)
    }

    /// Checks every byte of a value that must have `version`. Works for every size, though fewer than 8 bytes
    /// leave fewer bits to tell two versions apart.
    pub fn check_version(&self, key: &[u8], version: u32, value: &[u8]) -> Result<(), Mismatch> {
        if value.len() >= SELF_DESCRIBING_LEN {
            return match self.check(key, value)? {
                found if found == version => Ok(()),
                found => Err(Mismatch::Version { found, expected: version }),
            };
        }
        if let Some(expected) = self.fixed_len().filter(|len| *len != value.len()) {
            return Err(Mismatch::Length { found: value.len(), expected });
        }
        self.compare(key, version, value)
    }

    fn compare(&self, key: &[u8], version: u32, value: &[u8]) -> Result<(), Mismatch> {
        let hash = key_hash(key);
        let expected = self.len_of(hash, version);
        let header = header(hash, version, value.len());
        let (found, rest) = value.split_at(value.len().min(HEADER_LEN));
        if found != &header[..found.len()] {
            return Err(Mismatch::Header);
        }
        // The seal is right for the length found, so this is a value of this key with another law of sizes.
        if expected != value.len() {
            return Err(Mismatch::Length { found: value.len(), expected });
        }
        let mut body = Body::new(hash, version, self.random_words);
        for (i, found) in rest.chunks(GROUP_LEN).enumerate() {
            let expected = &body.group()[..found.len()];
            if found != expected {
                let same =
                    found.iter().zip(expected).take_while(|(found, expected)| found == expected).count();
                return Err(Mismatch::Body { offset: HEADER_LEN + GROUP_LEN * i + same });
            }
        }
        Ok(())
    }
}

/// A 64-bit hash of key bytes, the same on every machine.
#[inline]
pub fn key_hash(key: &[u8]) -> u64 {
    let (chunks, rest) = key.as_chunks::<8>();
    let mut hash = 0x5851_F42D_4C95_7F2D ^ key.len() as u64;
    for chunk in chunks {
        hash = mix64(hash ^ u64::from_le_bytes(*chunk));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix64(hash ^ u64::from_le_bytes(last))
}

fn header(hash: u64, version: u32, len: usize) -> [u8; HEADER_LEN] {
    let seal = mix64(hash ^ mix64(u64::from(version) << 32 | len as u64 & 0xFFFF_FFFF)) >> 32;
    let mut header = [0; HEADER_LEN];
    header[..4].copy_from_slice(&version.to_le_bytes());
    header[4..8].copy_from_slice(&(seal as u32).to_le_bytes());
    header[8..].copy_from_slice(&hash.to_le_bytes());
    header
}

/// The bytes of a value behind its header: four lanes of xorshift64 (Marsaglia, "Xorshift RNGs", 2003) side by
/// side, so that the compiler makes vectors of them, and zeros.
struct Body {
    lanes: [u64; LANES],
    random_words: usize,
}

impl Body {
    #[inline]
    fn new(hash: u64, version: u32, random_words: usize) -> Body {
        let seed = mix64(hash ^ u64::from(version));
        // An odd state is never zero, the one state that xorshift cannot leave.
        let lanes = [0, 1, 2, 3].map(|lane: u64| (seed ^ lane.wrapping_mul(0x9E37_79B9_7F4A_7C15)) | 1);
        Body { lanes, random_words }
    }

    #[inline]
    fn group(&mut self) -> [u8; GROUP_LEN] {
        let mut group = [0; GROUP_LEN];
        // Arrays rather than slices, and one step for all lanes: lengths known beforehand are what makes vectors.
        let (words, _) = group.as_chunks_mut::<8>();
        let (rows, _) = words.as_chunks_mut::<LANES>();
        for row in rows {
            self.lanes = self.lanes.map(|state| {
                let state = state ^ state << 13;
                let state = state ^ state >> 7;
                state ^ state << 17
            });
            *row = self.lanes.map(u64::to_le_bytes);
        }
        group[8 * self.random_words..].fill(0);
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn made(values: Values, key: &[u8], version: u32) -> Vec<u8> {
        let mut value = vec![0xAA; 3];
        values.fill(key, version, &mut value);
        value
    }

    #[test]
    fn golden_value() {
        let value = made(Values::new(60, 0.0), b"key", 3);
        let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "03000000a9d1fa1e2d6746bcecdd59df2d3320cc6504672bc15e5187cb737cf777a8c6db39eb51937b36f27acb99eff60b18c7393879481f3c6ca837"
        );
    }

    #[test]
    fn compressibility_is_the_share_of_zeros() {
        for share in [0.0, 0.25, 0.5, 1.0] {
            let value = made(Values::new(HEADER_LEN as u32 + 12_800, share), b"k", 1);
            let zeros = value[HEADER_LEN..].chunks(8).filter(|word| *word == [0; 8]).count();
            assert_eq!(zeros as f64 / 1_600.0, share);
        }
    }

    #[test]
    fn drawn_sizes_belong_to_key_and_version() {
        let values = Values::drawn(Sizes::Uniform { min: 8, max: 300 }, 0.0);
        let other = Values::drawn(Sizes::Uniform { min: 8, max: 400 }, 0.0);
        let mut lens = std::collections::BTreeSet::new();
        for version in 1..200 {
            let value = made(values, b"key", version);
            assert_eq!(
                (value.len(), values.check(b"key", &value)),
                (values.len(b"key", version), Ok(version))
            );
            assert_eq!(values.check_version(b"key", version, &value), Ok(()));
            let cut = values.check(b"key", &value[..value.len() - 1]);
            assert!(matches!(cut, Err(Mismatch::Header | Mismatch::TooShort { .. })), "{cut:?}");
            let foreign = made(other, b"key", version);
            if foreign.len() != value.len() {
                let expected = value.len();
                assert_eq!(
                    values.check(b"key", &foreign),
                    Err(Mismatch::Length { found: foreign.len(), expected })
                );
            }
            lens.insert(value.len());
        }
        assert!(lens.len() > 100, "{lens:?}");
    }

    #[test]
    fn short_values_check_what_they_can() {
        for size in 0..HEADER_LEN as u32 {
            let values = Values::new(size, 0.0);
            let value = made(values, b"k", 9);
            assert_eq!(value.len(), size as usize);
            assert_eq!(values.check_version(b"k", 9, &value), Ok(()));
            let told = values.check(b"k", &value);
            if size < 8 {
                assert_eq!(told, Err(Mismatch::TooShort { len: size as usize }));
            } else {
                assert_eq!(told, Ok(9));
                assert_eq!(values.check(b"other", &value), Err(Mismatch::Header));
            }
        }
    }

    proptest! {
        #[test]
        fn any_flipped_bit_wrong_key_or_wrong_version_is_found(
            key in prop::collection::vec(any::<u8>(), 0..40),
            other in prop::collection::vec(any::<u8>(), 0..40),
            version: u32,
            size in 8u32..700,
            share in 0.0f64..=1.0,
            at: prop::sample::Index,
            bit in 0u8..8,
        ) {
            let values = Values::new(size, share);
            let mut value = made(values, &key, version);
            prop_assert_eq!(values.check(&key, &value), Ok(version));
            prop_assert_eq!(
                values.check_version(&key, version ^ 1, &value),
                Err(Mismatch::Version { found: version, expected: version ^ 1 })
            );
            if key != other {
                prop_assert!(values.check(&other, &value).is_err());
            }
            value[at.index(size as usize)] ^= 1 << bit;
            prop_assert!(values.check(&key, &value).is_err());
            value.pop();
            prop_assert!(values.check(&key, &value).is_err());
        }
    }
}
