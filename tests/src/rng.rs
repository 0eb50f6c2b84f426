//! Random choices of the tests: a stream of draws that follows from its seed.

use workloads::rng::{Draws, Stream};

/// Draws that follow from a seed.
#[derive(Debug, Clone)]
pub struct Rng(Draws);

impl Rng {
    /// The draws of `seed`.
    pub fn new(seed: u64) -> Rng {
        Rng(Stream::new(seed, 0).draws(0))
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.0.below(n as u64)).expect("below a usize")
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// A number for use as another seed.
    pub fn seed(&mut self) -> u64 {
        self.0.bits()
    }

    /// One of `choices`.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// `len` bytes: random ones, or one byte over and over, so that compressible values occur too.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![self.0.bits() as u8; len];
        if !self.one_in(4) {
            bytes.iter_mut().for_each(|byte| *byte = self.0.bits() as u8);
        }
        bytes
    }
}
