//! The one source of chance in the statistics: counter-based, so that a page printed twice says the same.

use workloads::rng::mix64;

/// Word `index` of the stream `seed`.
pub fn word(seed: u64, index: u64) -> u64 {
    mix64(mix64(seed) ^ index)
}

/// A number below `bound` from word `index` of the stream `seed`; `bound` must not be 0. Its bias is below
/// bound / 2^64 (Lemire, "Fast random integer generation in an interval", 2019).
pub fn below(seed: u64, index: u64, bound: usize) -> usize {
    let wide = u128::from(word(seed, index)) * bound as u128;
    usize::try_from(wide >> 64).unwrap_or(0)
}

/// 0 to `len` - 1 in an order that hangs on `seed` alone (Fisher and Yates, as in Knuth, "Seminumerical Algorithms",
/// 3.4.2, algorithm P).
pub fn permutation(seed: u64, len: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    for last in (1..len).rev() {
        order.swap(last, below(seed, last as u64, last + 1));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_has_each_place_once_and_hangs_on_its_seed() {
        let mut seen = permutation(7, 50);
        assert_eq!(seen, permutation(7, 50));
        assert_ne!(seen, permutation(8, 50));
        seen.sort_unstable();
        assert_eq!(seen, (0..50).collect::<Vec<_>>());
        assert!(permutation(1, 0).is_empty());
    }

    #[test]
    fn every_order_of_three_comes_about_equally_often() {
        let mut counts = std::collections::BTreeMap::new();
        (0..6000).for_each(|seed| *counts.entry(permutation(seed, 3)).or_insert(0_u32) += 1);
        assert_eq!(counts.len(), 6);
        // 1000 expected each; five standard deviations are 145.
        assert!(counts.values().all(|count| count.abs_diff(1000) < 145), "{counts:?}");
    }
}
