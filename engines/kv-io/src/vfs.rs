//! The file layer: [`Vfs`] (a file system) and [`VfsFile`] (an open file). Real, simulated and metered files
//! stand behind these two object-safe traits, so no engine type carries a parameter for them.
//!
//! There is no seek position, no append mode, and no error hidden in a drop. Every call names its [`Cause`].
//! One virtual call per I/O is noise beside the system call behind it.

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kv_api::stats::IoTotal;
use kv_api::{Cause, Error, Result};

use crate::aligned::AlignedBuf;
pub use crate::aligned::DIRECT_ALIGN;

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOptions {
    /// Open for writing too.
    pub write: bool,
    /// What to do about a file that is or is not there.
    pub create: Create,
    /// Ask for direct I/O. Where the file system has none the file is buffered; [`VfsFile::align`] tells.
    pub direct: bool,
}

/// Whether opening makes a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Create {
    /// The file must exist.
    Never,
    /// The file must not exist.
    New,
}

impl OpenOptions {
    /// An existing file, buffered, for reading.
    pub const READ: OpenOptions = OpenOptions { write: false, create: Create::Never, direct: false };
    /// An existing file, buffered, for reading and writing.
    pub const WRITE: OpenOptions = OpenOptions { write: true, create: Create::Never, direct: false };
    /// A new file, buffered, for reading and writing.
    pub const NEW: OpenOptions = OpenOptions { write: true, create: Create::New, direct: false };

    /// The same with direct I/O asked for or not.
    pub const fn with_direct(self, direct: bool) -> OpenOptions {
        OpenOptions { direct, ..self }
    }
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name; names that are not UTF-8 are not ours and are left out.
    pub name: String,
    /// True for a regular file; links, directories and devices are not.
    pub is_file: bool,
}

/// Holds a lock until dropped.
pub trait LockGuard: Send + Sync + Debug {}

/// Read-only bytes of a mapped file.
pub trait Map: Send + Sync + Debug {
    /// The mapped bytes.
    fn bytes(&self) -> &[u8];
}

/// A file system.
pub trait Vfs: Send + Sync + Debug {
    /// Opens a regular file; never follows a link in the last component.
    ///
    /// # Errors
    /// `Io` or `NoSpace` naming the file.
    fn open(&self, path: &Path, options: OpenOptions, cause: Cause) -> Result<Arc<dyn VfsFile>>;

    /// Renames a file, replacing `to`. Durable after [`Vfs::sync_dir`].
    ///
    /// # Errors
    /// `Io` or `NoSpace` naming the file.
    fn rename(&self, from: &Path, to: &Path, cause: Cause) -> Result<()>;

    /// Removes a file. Durable after [`Vfs::sync_dir`].
    ///
    /// # Errors
    /// `Io` naming the file.
    fn remove(&self, path: &Path, cause: Cause) -> Result<()>;

    /// The names in a directory, in no order.
    ///
    /// # Errors
    /// `Io` naming the directory.
    fn list(&self, dir: &Path, cause: Cause) -> Result<Vec<DirEntry>>;

    /// Makes a directory and its parents, mode 0700; one that exists is fine.
    ///
    /// # Errors
    /// `Io` or `NoSpace` naming the directory.
    fn create_dir(&self, dir: &Path, cause: Cause) -> Result<()>;

    /// Makes creations, renames and removals in `dir` durable.
    ///
    /// # Errors
    /// `Io` naming the directory.
    fn sync_dir(&self, dir: &Path, cause: Cause) -> Result<()>;

    /// Takes the lock file at `path`, making the file if needed, or fails at once. The file is never removed.
    ///
    /// # Errors
    /// `Locked` if any handle of any process holds it; `Io`.
    fn try_lock(&self, path: &Path, cause: Cause) -> Result<Box<dyn LockGuard>>;

    /// Gives a file a second name, or copies it where the file system cannot.
    ///
    /// # Errors
    /// `Io` or `NoSpace` naming the file.
    fn hard_link(&self, from: &Path, to: &Path, cause: Cause) -> Result<()>;

    /// Bytes that can still be written below `dir`.
    ///
    /// # Errors
    /// `Io` naming the directory.
    fn free_space(&self, dir: &Path) -> Result<u64>;

    /// Bytes that system calls moved for all files opened here, whatever their cause. `None` where no system calls
    /// are made.
    fn moved(&self) -> Option<IoTotal> {
        None
    }
}

/// One read of several that may go to the device together.
#[derive(Debug)]
pub struct ReadRequest<'a> {
    /// Where to read.
    pub offset: u64,
    /// What to fill; its length is how much to read.
    pub buffer: &'a mut [u8],
    /// Bytes read, set by the call: less than asked for only at the end of the file.
    pub filled: usize,
}

/// An open file.
pub trait VfsFile: Send + Sync + Debug {
    /// Its path, for messages.
    fn path(&self) -> &Path;

    /// Fills `buffer` from `offset`; returns fewer bytes only at the end of the file.
    ///
    /// # Errors
    /// `Io` naming the file; misaligned direct I/O is an error.
    fn read_at(&self, offset: u64, buffer: &mut [u8], cause: Cause) -> Result<usize>;

    /// Several reads; parallel reads have their one home behind this call. The default does them in turn.
    ///
    /// # Errors
    /// Those of [`VfsFile::read_at`].
    fn read_many(&self, requests: &mut [ReadRequest<'_>], cause: Cause) -> Result<()> {
        for request in requests {
            request.filled = self.read_at(request.offset, request.buffer, cause)?;
        }
        Ok(())
    }

    /// Writes all of `parts`, one after another, from `offset`.
    ///
    /// # Errors
    /// `Io` or `NoSpace` naming the file; part of the bytes may have been written.
    fn write_at(&self, offset: u64, parts: &[IoSlice<'_>], cause: Cause) -> Result<()>;

    /// Reserves space for the first `len` bytes and makes the file at least that long. Where the file system
    /// cannot reserve, it only sets the length.
    ///
    /// # Errors
    /// `NoSpace` or `Io` naming the file.
    fn allocate(&self, len: u64, cause: Cause) -> Result<()>;

    /// Cuts or extends (with zeros) the file.
    ///
    /// # Errors
    /// `NoSpace` or `Io` naming the file.
    fn set_len(&self, len: u64, cause: Cause) -> Result<()>;

    /// Makes written bytes durable, and the length as far as reading them needs it.
    ///
    /// # Errors
    /// `Io` naming the file, also on a full disk. Never call it again after an error: the kernel may have dropped
    /// the bytes.
    fn sync_data(&self, cause: Cause) -> Result<()>;

    /// Makes bytes, length and metadata durable.
    ///
    /// # Errors
    /// As for [`VfsFile::sync_data`].
    fn sync_all(&self, cause: Cause) -> Result<()>;

    /// Its length in bytes.
    ///
    /// # Errors
    /// `Io` naming the file.
    fn len(&self) -> Result<u64>;

    /// True if it holds nothing.
    ///
    /// # Errors
    /// `Io` naming the file.
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Offsets, lengths and buffers must be multiples of this: [`DIRECT_ALIGN`] for direct I/O, 1 if buffered.
    fn align(&self) -> usize;

    /// The file as mapped memory for reading, where that exists. Mapped reads pass the meter by.
    fn map(&self) -> Option<Arc<dyn Map>>;
}

/// Refuses direct I/O at an offset, of a length or from an address that is no multiple of [`DIRECT_ALIGN`].
pub(crate) fn check_aligned(path: &Path, action: &'static str, offset: u64, bytes: &[u8]) -> Result<()> {
    let offset_fits = offset.is_multiple_of(DIRECT_ALIGN as u64);
    let address = bytes.as_ptr().addr();
    if offset_fits && bytes.len().is_multiple_of(DIRECT_ALIGN) && address.is_multiple_of(DIRECT_ALIGN) {
        return Ok(());
    }
    let what = format!(
        "direct I/O of {} bytes at offset {offset} from address {address:#x} is misaligned; all three must be \
         multiples of {DIRECT_ALIGN}",
        bytes.len()
    );
    Err(Error::io(action, path, io::Error::new(io::ErrorKind::InvalidInput, what)))
}

/// The directory that `path` is a name in.
pub(crate) fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Reads exactly `buffer.len()` bytes.
///
/// # Errors
/// Those of [`VfsFile::read_at`]; `Corruption` if the file ends before them.
pub fn read_exact_at(file: &dyn VfsFile, offset: u64, buffer: &mut [u8], cause: Cause) -> Result<()> {
    let wanted = buffer.len();
    let found = file.read_at(offset, buffer, cause)?;
    if found < wanted {
        let what = format!("the file ends after {found} of {wanted} bytes that must be here");
        return Err(Error::corruption(file.path(), offset, what));
    }
    Ok(())
}

/// Reads `len` bytes from `offset`, whatever the file's alignment: widens the read where direct I/O asks for it,
/// and returns the buffer with the place of the wanted bytes in it.
///
/// # Errors
/// Those of [`read_exact_at`].
pub fn read_range(file: &dyn VfsFile, offset: u64, len: usize, cause: Cause) -> Result<RangeBuf> {
    let align = file.align() as u64;
    let start = offset - offset % align;
    let lead = usize::try_from(offset - start).unwrap_or(0);
    let wanted = lead + len;
    let mut buffer = AlignedBuf::zeroed(wanted.next_multiple_of(file.align()));
    let found = file.read_at(start, &mut buffer, cause)?;
    if found < wanted {
        let what =
            format!("the file ends {} bytes before the end of a section that must be here", wanted - found);
        return Err(Error::corruption(file.path(), offset, what));
    }
    Ok(RangeBuf { buffer, lead, len })
}

/// Bytes of a file, in a buffer that may begin before them.
#[derive(Debug)]
pub struct RangeBuf {
    buffer: AlignedBuf,
    lead: usize,
    len: usize,
}

impl std::ops::Deref for RangeBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer.get(self.lead..self.lead + self.len).unwrap_or_default()
    }
}
