//! Files as read-only memory. One of the few modules with `unsafe` code; nothing is ever written through a map.

use std::fmt;
use std::fs::File;
use std::io;

use memmap2::Mmap;

use crate::vfs::Map;

/// The bytes a file had when it was mapped.
pub(crate) struct MappedFile {
    bytes: Mmap,
}

impl MappedFile {
    /// Maps the whole of `file`.
    pub(crate) fn of(file: &File) -> io::Result<MappedFile> {
        // SAFETY: the map is read-only, and only files that are never changed again are mapped: an engine maps a
        // table after it was sealed (written whole, synced, installed) and never writes, cuts or recycles it
        // afterwards; removing it leaves the mapped pages in place. The directory lock keeps other handles of
        // this crate out. A foreign process that cuts the file raises SIGBUS in ours: that is why mapped reads
        // are an option that has to be asked for and never the default.
        #[expect(unsafe_code, reason = "mapping a file is unsafe by nature; the argument stands above")]
        let bytes = unsafe { Mmap::map(file) }?;
        Ok(MappedFile { bytes })
    }
}

impl Map for MappedFile {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MappedFile({} bytes)", self.bytes.len())
    }
}
