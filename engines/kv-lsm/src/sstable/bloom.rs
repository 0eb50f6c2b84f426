//! Filters: "surely absent" without reading a block.
//!
//! `Classic` is the Bloom filter of the textbook (Bloom, CACM 1970), as the `bloomfilter` crate builds it: two
//! SipHash values, combined by double hashing. Its section is the crate's own encoding:
//!
//! | version u8 | bit bytes u64 | hashes u32 | seed 32 | bits |
//!
//! Blocked filters and bits that depend on the level are to come as further kinds.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use bloomfilter::Bloom;

use crate::num::to_u64;

/// Which filter new tables get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterKind {
    /// None: every table that may hold the key by its range is read.
    None,
    /// A Bloom filter over all keys of the table.
    Classic,
}

/// Filters of all databases use one seed: a filter is no defence against chosen keys, and files must be
/// reproducible.
const SEED: &[u8; 32] = b"kvlab classic filter, one seed. ";
/// More hash functions than this come from damage, not from us.
const HASHES_MAX: u32 = 64;
const BITS_AT: usize = 1 + 8 + 4 + 32;

/// A filter in memory.
#[derive(Debug)]
pub struct Filter {
    bloom: Bloom<u64>,
}

impl Filter {
    /// A filter over keys with `hashes` ([`crate::entry::hash64`]), or `None` if there are none.
    pub fn build(hashes: &[u64], bits_per_key: u32) -> Option<Filter> {
        if hashes.is_empty() {
            return None;
        }
        let bits = hashes.len().saturating_mul(usize::try_from(bits_per_key).unwrap_or(10).clamp(1, 64));
        let mut bloom = Bloom::new_with_seed(bits.div_ceil(8), hashes.len(), SEED).ok()?;
        hashes.iter().for_each(|hash| bloom.set(hash));
        Some(Filter { bloom })
    }

    /// False if no key with this hash is in the table.
    #[inline]
    pub fn may_hold(&self, hash: u64) -> bool {
        self.bloom.check(&hash)
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> u64 {
        to_u64(self.bloom.as_slice().len())
    }

    /// The section as it goes to the file.
    pub fn encoded(&self) -> &[u8] {
        self.bloom.as_slice()
    }

    /// Reads a section whose checksum was checked.
    ///
    /// # Errors
    /// What does not hold, as a sentence part.
    pub fn decode(bytes: &[u8]) -> Result<Filter, String> {
        let damaged = || "the filter's header does not fit its bits".to_owned();
        // The crate takes a remainder by the number of bits and loops over the number of hashes.
        if bytes.len() <= BITS_AT {
            return Err(damaged());
        }
        let bloom = Bloom::from_slice(bytes).map_err(|_| damaged())?;
        if bloom.number_of_hash_functions() > HASHES_MAX {
            return Err(damaged());
        }
        Ok(Filter { bloom })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::hash64;

    fn hashes(range: std::ops::Range<u32>) -> Vec<u64> {
        range.map(|n| hash64(&n.to_be_bytes())).collect()
    }

    #[test]
    fn present_keys_pass_and_few_absent_ones_do() {
        let filter = Filter::build(&hashes(0..10_000), 10).unwrap();
        let filter = Filter::decode(filter.encoded()).unwrap();
        assert!(hashes(0..10_000).iter().all(|hash| filter.may_hold(*hash)));
        let passed = hashes(10_000..20_000).iter().filter(|hash| filter.may_hold(**hash)).count();
        assert!((20..250).contains(&passed), "{passed} of 10000 at 10 bits per key, expected about 100");
    }

    #[test]
    fn the_bytes_are_fixed_by_the_format() {
        let filter = Filter::build(&[1, 2, 3], 10).unwrap();
        let mut want = vec![1, 4, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0];
        want.extend_from_slice(SEED);
        assert_eq!(filter.encoded()[..BITS_AT], want);
        assert_eq!(filter.encoded()[BITS_AT..], GOLDEN_BITS);
    }

    const GOLDEN_BITS: [u8; 4] = [3, 76, 116, 248];

    #[test]
    fn hostile_headers_are_refused() {
        let good = Filter::build(&[1, 2, 3], 10).unwrap().encoded().to_vec();
        for cut in 0..good.len() {
            assert!(Filter::decode(&good[..cut]).is_err());
        }
        let mut empty = good[..BITS_AT].to_vec();
        empty[1..9].fill(0);
        assert!(Filter::decode(&empty).is_err());
        let mut slow = good;
        slow[9..13].fill(0xff);
        assert!(Filter::decode(&slow).is_err());
    }
}
