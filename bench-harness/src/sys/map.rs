//! Words in a file, shared with the kernel: what was stored is in the page cache at once and so survives the
//! end of the process, `kill -9` included. The only unsafe code of the harness.

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicU64;

use memmap2::MmapMut;

/// A mapped file as a slice of 64-bit words.
#[derive(Debug)]
pub struct SharedWords {
    map: MmapMut,
}

impl SharedWords {
    /// Maps the whole of `file`, whose length must be a multiple of 8 bytes and must not shrink while mapped.
    ///
    /// # Errors
    /// A length that does not fit, or the system refuses.
    pub fn new(file: &File) -> io::Result<SharedWords> {
        let len = file.metadata()?.len();
        if len == 0 || !len.is_multiple_of(8) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the length is not a multiple of 8 bytes",
            ));
        }
        #[expect(
            unsafe_code,
            reason = "a shared map is what survives kill -9 without a write call per operation"
        )]
        // SAFETY: the map is only ever read and written through the atomics of `words`, so another process that
        // writes the file gives a stale or foreign number, never a torn or invalid one. A process that cuts the
        // file shorter would end this one with SIGBUS; nothing else could go wrong, and nobody but the user,
        // who named the file for this run, has a reason to touch it.
        let map = unsafe { MmapMut::map_mut(file)? };
        Ok(SharedWords { map })
    }

    /// The words.
    pub fn words(&self) -> &[AtomicU64] {
        let (start, len) = (self.map.as_ptr(), self.map.len() / 8);
        #[expect(unsafe_code, reason = "plain mapped bytes become words that threads may share")]
        // SAFETY: `start` is the start of a map of at least `len * 8` bytes that lives as long as `self`; maps
        // begin at a page boundary, so it is aligned for `AtomicU64`, and every bit pattern is a valid one. The
        // map was made writable, and no `&mut [u8]` of it is ever handed out, so shared atomics are its only
        // users.
        unsafe {
            std::slice::from_raw_parts(start.cast::<AtomicU64>(), len)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_stored_word_is_in_the_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.as_file_mut().set_len(24).unwrap();
        let map = SharedWords::new(file.as_file()).unwrap();
        assert_eq!(map.words().len(), 3);
        map.words()[1].store(0x0102, Ordering::Release);
        let bytes = std::fs::read(file.path()).unwrap();
        assert_eq!(bytes[8..10], [2, 1]);
        assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 2);
        file.as_file_mut().set_len(20).unwrap();
        assert!(SharedWords::new(file.as_file()).is_err());
    }
}
