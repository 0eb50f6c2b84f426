//! The largest request for memory, told while it is made: the process may not live to tell it later.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

static LARGEST: AtomicUsize = AtomicUsize::new(1 << 12);
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// The system's allocator; each request larger than all before goes to the pipe of [`tell_to`] as eight bytes.
pub struct Telling;

/// From now on tells requests to this file descriptor.
pub fn tell_to(pipe: i32) {
    LARGEST.store(1 << 12, Ordering::Relaxed);
    PIPE.store(pipe, Ordering::Relaxed);
}

#[expect(unsafe_code, reason = "writes to a pipe without asking for memory")]
fn note(bytes: usize) {
    let pipe = PIPE.load(Ordering::Relaxed);
    // A quarter more each time, so that a pipe holds all that is told.
    let largest = LARGEST.load(Ordering::Relaxed);
    if pipe >= 0 && bytes > largest + largest / 4 {
        LARGEST.store(bytes, Ordering::Relaxed);
        let told = (bytes as u64).to_le_bytes();
        // SAFETY: the buffer lives through the call; a closed pipe is an error that nobody needs to know of.
        unsafe { libc::write(pipe, told.as_ptr().cast(), told.len()) };
    }
}

// SAFETY: every call goes to the system's allocator as it came.
#[expect(unsafe_code, reason = "the trait is unsafe; each call is handed on")]
unsafe impl GlobalAlloc for Telling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note(bytes);
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, bytes) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}
