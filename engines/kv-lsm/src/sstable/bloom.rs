//! Filters: "surely absent" without reading a block.
//!
//! `Classic` is the Bloom filter of the textbook (Bloom, CACM 1970), as the `bloomfilter` crate builds it: two
//! SipHash values, combined by double hashing. Its section is the crate's own encoding:
//!
//! | version u8 | bit bytes u64 | hashes u32 | seed 32 | bits |
//!
//! Blocked filters and bits that depend on the level are to come as further kinds.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use std::cell::OnceCell;
use std::hash::Hasher;

use bloomfilter::Bloom;
use bloomfilter::reexports::siphasher::sip::SipHasher13;

use crate::num::{to_u64, to_usize};

/// Which filter new tables get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterKind {
    /// None: every table that may hold the key by its range is read.
    None,
    /// A Bloom filter over all keys of the table.
    Classic,
}

/// Filters of all databases use one seed, a half for each value: a filter is no defence against chosen keys, and files
/// must be reproducible.
const SEED: [[u8; 16]; 2] = [*b"kvlab classic fi", *b"lter, one seed. "];
/// More hash functions than this come from damage, not from us.
const HASHES_MAX: u32 = 64;
const BITS_AT: usize = 1 + 8 + 4 + 32;
const SEED_AT: usize = BITS_AT - 32;

/// The two values that filters combine for a key. They take longer to make than a filter takes to ask, and all filters
/// share a seed: a get makes them at most once for all tables, and the second only if some filter has the first's bit.
#[derive(Debug)]
pub struct FilterHash {
    hash: u64,
    first: u64,
    second: OnceCell<u64>,
}

impl FilterHash {
    /// Of a key with `hash` ([`crate::entry::hash64`]).
    #[inline]
    pub fn of(hash: u64) -> FilterHash {
        let [half, _] = SEED;
        FilterHash { hash, first: sip(half, hash), second: OnceCell::new() }
    }

    /// Value `i`, as the crate combines them: the first two are the values themselves.
    #[inline]
    fn value(&self, i: u32) -> u64 {
        if i == 0 {
            return self.first;
        }
        let [_, half] = SEED;
        let second = *self.second.get_or_init(|| sip(half, self.hash));
        match i {
            1 => second,
            _ => {
                let sum = self.first.wrapping_add(u64::from(i).wrapping_mul(second));
                // The remainder of a division by the prime, which goes into it once at most.
                if sum < LARGEST_PRIME { sum } else { sum - LARGEST_PRIME }
            }
        }
    }
}

#[inline]
fn sip(half: [u8; 16], hash: u64) -> u64 {
    let mut sip = SipHasher13::new_with_key(&half);
    sip.write_u64(hash);
    sip.finish()
}

/// The largest prime below 2^64.
const LARGEST_PRIME: u64 = 0xffff_ffff_ffff_ffc5;

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
        let seed = SEED.as_flattened().first_chunk()?;
        let mut bloom = Bloom::new_with_seed(bits.div_ceil(8), hashes.len(), seed).ok()?;
        hashes.iter().for_each(|hash| bloom.set(hash));
        Some(Filter { bloom })
    }

    /// False if no key with this hash is in the table.
    #[inline]
    pub fn may_hold(&self, hash: &FilterHash) -> bool {
        let bits = self.encoded().get(BITS_AT..).unwrap_or_default();
        let count = to_u64(bits.len()) * 8;
        (0..self.bloom.number_of_hash_functions()).all(|i| {
            let bit = hash.value(i) % count;
            bits.get(to_usize(bit / 8)).is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
        })
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
        // With another seed the values of a key would be others.
        if bytes.get(SEED_AT..BITS_AT) != Some(SEED.as_flattened()) {
            return Err("the filter's seed is not that of the format".to_owned());
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
    use proptest::prelude::*;

    use super::*;
    use crate::entry::hash64;

    fn may_hold(filter: &Filter, hash: u64) -> bool {
        filter.may_hold(&FilterHash::of(hash))
    }

    fn hashes(range: std::ops::Range<u32>) -> Vec<u64> {
        range.map(|n| hash64(&n.to_be_bytes())).collect()
    }

    #[test]
    fn present_keys_pass_and_few_absent_ones_do() {
        let filter = Filter::build(&hashes(0..10_000), 10).unwrap();
        let filter = Filter::decode(filter.encoded()).unwrap();
        assert!(hashes(0..10_000).iter().all(|hash| may_hold(&filter, *hash)));
        let passed = hashes(10_000..20_000).iter().filter(|hash| may_hold(&filter, **hash)).count();
        assert!((20..250).contains(&passed), "{passed} of 10000 at 10 bits per key, expected about 100");
    }

    #[test]
    fn the_bytes_are_fixed_by_the_format() {
        let filter = Filter::build(&[1, 2, 3], 10).unwrap();
        let mut want = vec![1, 4, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0];
        want.extend_from_slice(b"kvlab classic filter, one seed. ");
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
        let mut foreign = good.clone();
        foreign[SEED_AT] ^= 1;
        assert!(Filter::decode(&foreign).is_err());
        let mut slow = good;
        slow[9..13].fill(0xff);
        assert!(Filter::decode(&slow).is_err());
    }

    proptest! {
        #[test]
        fn the_probe_answers_as_the_crate_does(
            present in proptest::collection::vec(any::<u64>(), 1..80),
            absent in proptest::collection::vec(any::<u64>(), 80),
            bits_per_key in 1_u32..=64,
        ) {
            let built = Filter::build(&present, bits_per_key).unwrap();
            let read = Filter::decode(built.encoded()).unwrap();
            for hash in present.iter().chain(&absent) {
                let want = built.bloom.check(hash);
                prop_assert_eq!(may_hold(&built, *hash), want);
                prop_assert_eq!(may_hold(&read, *hash), want);
            }
            prop_assert!(present.iter().all(|hash| may_hold(&read, *hash)));
        }
    }
}
