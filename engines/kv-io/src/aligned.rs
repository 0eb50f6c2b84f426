//! Byte buffers at addresses that direct I/O accepts. One of the few modules with `unsafe` code.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Direct I/O happens in units of this many bytes: offsets, lengths and buffers are multiples of it.
pub const DIRECT_ALIGN: usize = 4096;

/// A thread keeps a buffer of this many bytes at most from one read to the next.
const SCRATCH_BYTES_MAX: usize = 64 << 10;

thread_local! {
    static SCRATCH: RefCell<AlignedBuf> = RefCell::new(AlignedBuf::zeroed(0));
}

/// Lends `work` a buffer of `len` bytes for a read whose outcome is copied elsewhere. Its content is whatever the last
/// read of this thread left. A thread uses one buffer again and again: aligned memory taken and given back for each
/// read leaves holes that an allocator cannot use, besides the time for taking and zeroing it.
pub fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [u8]) -> R) -> R {
    if len > SCRATCH_BYTES_MAX {
        return work(&mut AlignedBuf::zeroed(len));
    }
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut kept) => {
            if kept.len() < len {
                *kept = AlignedBuf::zeroed(len.next_power_of_two());
            }
            work(kept.get_mut(..len).unwrap_or_default())
        }
        // Asked for within `work`: rare, and still right.
        Err(_) => work(&mut AlignedBuf::zeroed(len)),
    })
}

/// A buffer of fixed length whose address is a multiple of [`DIRECT_ALIGN`].
pub struct AlignedBuf {
    start: NonNull<u8>,
    len: usize,
}

impl AlignedBuf {
    /// `len` zero bytes.
    pub fn zeroed(len: usize) -> AlignedBuf {
        if len == 0 {
            return AlignedBuf { start: NonNull::dangling(), len };
        }
        let layout = Self::layout(len);
        // SAFETY: the layout has a size above zero.
        #[expect(unsafe_code, reason = "std has no safe way to allocate at a given alignment")]
        let start = unsafe { alloc_zeroed(layout) };
        match NonNull::new(start) {
            Some(start) => AlignedBuf { start, len },
            None => handle_alloc_error(layout),
        }
    }

    /// A copy of `bytes`, zero-padded to `len`.
    pub fn copy_of(bytes: &[u8], len: usize) -> AlignedBuf {
        let mut buffer = AlignedBuf::zeroed(len.max(bytes.len()));
        if let Some(head) = buffer.get_mut(..bytes.len()) {
            head.copy_from_slice(bytes);
        }
        buffer
    }

    fn layout(len: usize) -> Layout {
        match Layout::from_size_align(len, DIRECT_ALIGN) {
            Ok(layout) => layout,
            // Only a length near isize::MAX gets here, and no machine could serve it.
            Err(_) => handle_alloc_error(Layout::new::<u8>()),
        }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: `start` came from `alloc_zeroed` with this same layout and is freed once, here.
            #[expect(unsafe_code, reason = "the counterpart of the allocation above")]
            unsafe {
                dealloc(self.start.as_ptr(), Self::layout(self.len));
            }
        }
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` points to `len` bytes that were zeroed at allocation and belong to `self` (or `len` is
        // 0 and `start` dangles, which a slice of length 0 allows).
        #[expect(unsafe_code, reason = "the buffer is held by pointer")]
        unsafe {
            std::slice::from_raw_parts(self.start.as_ptr(), self.len)
        }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`; `&mut self` rules out any other reference.
        #[expect(unsafe_code, reason = "the buffer is held by pointer")]
        unsafe {
            std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len)
        }
    }
}

impl Clone for AlignedBuf {
    fn clone(&self) -> Self {
        AlignedBuf::copy_of(self, self.len)
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.len)
    }
}

// SAFETY: the buffer owns its bytes and shares them only through `&self` and `&mut self`.
#[expect(unsafe_code, reason = "a pointer is neither Send nor Sync by itself; this one is owned")]
unsafe impl Send for AlignedBuf {}
// SAFETY: as above; `&AlignedBuf` gives read access only.
#[expect(unsafe_code, reason = "a pointer is neither Send nor Sync by itself; this one is owned")]
unsafe impl Sync for AlignedBuf {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_has_the_length_asked_for_at_every_depth() {
        for len in [0, 1, 4096, 5000, SCRATCH_BYTES_MAX, SCRATCH_BYTES_MAX + 1] {
            with_scratch(len, |outer| {
                outer.fill(1);
                with_scratch(4096, |inner| inner.fill(2));
                assert!(outer.len() == len && outer.iter().all(|byte| *byte == 1));
                assert_eq!(outer.as_ptr().align_offset(DIRECT_ALIGN).min(len), 0);
            });
        }
    }

    #[test]
    fn buffers_are_zero_aligned_and_their_own() {
        for len in [0, 1, 511, 4096, 10_000] {
            let mut buffer = AlignedBuf::zeroed(len);
            assert_eq!(buffer.len(), len);
            assert!(buffer.iter().all(|byte| *byte == 0));
            assert!(len == 0 || buffer.as_ptr().addr().is_multiple_of(DIRECT_ALIGN));
            buffer.fill(7);
            let copy = buffer.clone();
            buffer.fill(9);
            assert!(copy.iter().all(|byte| *byte == 7));
        }
        assert_eq!(&AlignedBuf::copy_of(b"ab", 4)[..], b"ab\0\0");
    }
}
