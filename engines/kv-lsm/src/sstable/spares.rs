//! Memory of blocks that left the cache, kept for those that enter it.
//!
//! An allocator such as glibc's keeps a heap per thread. A block read by one thread and evicted by another goes back to
//! the first one's heap, while the next block comes from the second one's: with each new set of client threads the
//! process grew by a whole cache (measured: 27 MB more at each change of phase, at 8,000,000 records and 64 MiB). What
//! passes from block to block instead belongs to no thread.

use kv_io::sync::Mutex;
use kv_io::sync::lock;

/// Pieces kept at most: enough that threads which miss at one time each find one. No budget is charged for them.
const KEPT_MAX: usize = 32;
/// A larger piece goes back to the allocator: blocks of that size are rare.
const KEPT_BYTES_MAX: usize = 8 << 10;
/// Blocks differ in length by a few entries; rounded up, one fits where another was.
const ROUND_BYTES: usize = 512;

/// A few pieces of memory, the last one given on top.
#[derive(Debug, Default)]
pub struct Spares {
    pieces: Mutex<Vec<Vec<u8>>>,
}

impl Spares {
    /// A copy of `bytes` in a spare piece if the last one fits without wasting a quarter, else in new memory.
    pub fn copy_of(&self, bytes: &[u8]) -> Vec<u8> {
        let spare = lock(&self.pieces).pop().filter(|piece| fits(piece.capacity(), bytes.len()));
        let mut piece =
            spare.unwrap_or_else(|| Vec::with_capacity(bytes.len().next_multiple_of(ROUND_BYTES)));
        piece.extend_from_slice(bytes);
        piece
    }

    /// Takes what a block no longer needs.
    pub fn give(&self, mut piece: Vec<u8>) {
        if piece.capacity() > KEPT_BYTES_MAX {
            return;
        }
        piece.clear();
        let mut pieces = lock(&self.pieces);
        if pieces.len() < KEPT_MAX {
            pieces.push(piece);
        }
    }
}

fn fits(capacity: usize, len: usize) -> bool {
    len <= capacity && capacity - len <= capacity / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_that_fits_is_used_again_and_one_that_does_not_is_let_go() {
        let spares = Spares::default();
        let first = spares.copy_of(&[1; 4000]);
        assert_eq!((first.len(), first.capacity()), (4000, 4096));
        let place = first.as_ptr();
        spares.give(first);
        let second = spares.copy_of(&[2; 4090]);
        assert_eq!((second.as_ptr(), &second[..]), (place, &[2_u8; 4090][..]));
        spares.give(second);
        let small = spares.copy_of(&[3; 100]);
        assert_eq!((&small[..], small.capacity()), (&[3_u8; 100][..], 512));
        assert!(lock(&spares.pieces).is_empty(), "a piece eight times too large is not kept for ever");
    }

    #[test]
    fn neither_large_pieces_nor_many_are_kept() {
        let spares = Spares::default();
        spares.give(Vec::with_capacity(KEPT_BYTES_MAX + 1));
        assert!(lock(&spares.pieces).is_empty());
        (0..2 * KEPT_MAX).for_each(|_| spares.give(Vec::with_capacity(4096)));
        assert_eq!(lock(&spares.pieces).len(), KEPT_MAX);
    }
}
