//! A seeded bijection of 0..n onto itself in constant memory: a Feistel network over the next power of two,
//! walked along its cycle until it falls below n (Black and Rogaway, "Ciphers with Arbitrary Finite
//! Domains", CT-RSA 2002). Fewer than two walks on average, since n is over half the power of two.

use crate::rng::mix64;

const ROUNDS: usize = 6;

/// A bijection of 0..n, given by a seed.
///
/// ```
/// let order = workloads::dist::Permutation::new(10, 7);
/// let mut seen: Vec<u64> = (0..10).map(|i| order.apply(i)).collect();
/// seen.sort();
/// assert_eq!(seen, (0..10).collect::<Vec<u64>>());
/// ```
#[derive(Clone, Debug)]
pub struct Permutation {
    n: u64,
    left_bits: u32,
    right_bits: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    /// The bijection of 0..`n` that `seed` names; `n` of 0 counts as 1.
    pub fn new(n: u64, seed: u64) -> Permutation {
        let n = n.max(1);
        let bits = (64 - (n - 1).leading_zeros()).max(2);
        let mut keys = [0; ROUNDS];
        for (key, round) in keys.iter_mut().zip(1u64..) {
            *key = mix64(seed ^ round.wrapping_mul(0xA076_1D64_78BD_642F));
        }
        Permutation { n, left_bits: bits / 2, right_bits: bits - bits / 2, keys }
    }

    /// The size of the domain, at least 1.
    pub fn len(&self) -> u64 {
        self.n
    }

    /// Never: the domain holds one number at least.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Where `i` goes. Numbers beyond the domain are taken modulo n.
    #[inline]
    pub fn apply(&self, i: u64) -> u64 {
        let mut x = if i < self.n { i } else { i % self.n };
        loop {
            x = self.network(x);
            // The walk returns at the latest to where it started, which is below n.
            if x < self.n {
                return x;
            }
        }
    }

    #[inline]
    fn network(&self, x: u64) -> u64 {
        // The top bits of a product depend on all bits below them, hence multiply and take the top.
        let half = |x: u64, key: u64, bits: u32| (x ^ key).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - bits);
        let mut left = x >> self.right_bits;
        let mut right = x & ((1 << self.right_bits) - 1);
        for pair in self.keys.chunks_exact(2) {
            left ^= half(right, pair[0], self.left_bits);
            right ^= half(left, pair[1], self.right_bits);
        }
        (left << self.right_bits) | right
    }
}
