//! Randomness by counting: every draw is a pure function of (seed, stream, index, position), so no thread
//! shares state, any operation can be computed again alone, and a run can be repeated from its seed.
//!
//! The mixer is the finalizer of SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number
//! Generators", OOPSLA 2014, with Stafford's variant 13 constants). It is a bijection on 64 bits, which
//! `keys.rs` relies on as well.

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
const MUL_1: u64 = 0xBF58_476D_1CE4_E5B9;
const MUL_2: u64 = 0x94D0_49BB_1331_11EB;
// The inverses of the two odd multipliers modulo 2^64.
const INV_1: u64 = 0x96DE_1B17_3F11_9089;
const INV_2: u64 = 0x3196_42B2_D24D_8EC3;
const _: () = assert!(MUL_1.wrapping_mul(INV_1) == 1 && MUL_2.wrapping_mul(INV_2) == 1);

/// Scatters the bits of `x`. A bijection: two inputs never give the same output.
#[inline]
pub const fn mix64(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(MUL_1);
    let x = (x ^ (x >> 27)).wrapping_mul(MUL_2);
    x ^ (x >> 31)
}

/// The inverse of [`mix64`].
///
/// ```
/// use workloads::rng::{mix64, unmix64};
/// assert_eq!(unmix64(mix64(42)), 42);
/// ```
#[inline]
pub const fn unmix64(x: u64) -> u64 {
    let x = (x ^ (x >> 31) ^ (x >> 62)).wrapping_mul(INV_2);
    let x = (x ^ (x >> 27) ^ (x >> 54)).wrapping_mul(INV_1);
    x ^ (x >> 30) ^ (x >> 60)
}

/// One of many independent streams that share a seed. It holds no position: [`Stream::draws`] starts anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    key: u64,
}

impl Stream {
    /// The stream number `stream` of `seed`.
    pub const fn new(seed: u64, stream: u64) -> Stream {
        Stream { key: mix64(mix64(seed.wrapping_add(GOLDEN)) ^ stream.wrapping_mul(GOLDEN)) }
    }

    /// The draws that belong to operation `index`: as many as it asks for, the same ones every time.
    #[inline]
    pub const fn draws(self, index: u64) -> Draws {
        Draws { state: mix64(self.key.wrapping_add(index.wrapping_mul(GOLDEN))) }
    }
}

/// The draws of one operation, taken one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Draws {
    state: u64,
}

impl Draws {
    /// The next 64 random bits.
    #[inline]
    pub const fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix64(self.state)
    }

    /// The next number in [0, 1), with 53 random bits.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// The next number below `n`, by multiplication: the bias is under n / 2^64. For `n` = 0 it is 0.
    #[inline]
    pub const fn below(&mut self, n: u64) -> u64 {
        ((self.bits() as u128 * n as u128) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mix_is_undone_by_unmix() {
        for x in (0..10_000u64).chain((0..64).map(|bit| 1 << bit)).chain([u64::MAX]) {
            assert_eq!(unmix64(mix64(x)), x);
        }
    }

    #[test]
    fn draws_depend_on_seed_stream_and_index() {
        let first = |seed, stream, index| Stream::new(seed, stream).draws(index).bits();
        let base = first(1, 2, 3);
        assert_eq!(base, first(1, 2, 3));
        assert!(base != first(2, 2, 3) && base != first(1, 3, 3) && base != first(1, 2, 4));
    }

    #[test]
    fn the_sixteen_shares_of_a_million_first_draws_are_even() {
        let stream = Stream::new(42, 0);
        let mut counts = [0u32; 16];
        for index in 0..1_000_000 {
            counts[stream.draws(index).below(16) as usize] += 1;
        }
        // 62,500 expected, standard deviation 242: six of them.
        assert!(counts.iter().all(|&count| count.abs_diff(62_500) < 1_452), "{counts:?}");
    }
}
