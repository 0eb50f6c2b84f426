//! Real files on a Unix system: buffered or direct, whole reads and writes, locks, and no link ever followed.
//!
//! Files are opened with mode 0600 and never inherited by child processes; a name that is a link, a directory or
//! a device is refused by looking at the open handle, and a FIFO cannot block the open. Direct I/O is asked for
//! on the open handle and given up, for that file alone, when the file system refuses it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam::utils::CachePadded;
use kv_api::stats::IoTotal;
use kv_api::{Cause, Error, Result};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use self::whole::RawFile;
use crate::mapped::MappedFile;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::lock;
use crate::vfs::{
    Create, DIRECT_ALIGN, DirEntry, LockGuard, Map, OpenOptions, Vfs, VfsFile, check_aligned, parent_of,
};

mod whole;

/// The file system of the machine.
#[derive(Debug)]
pub struct RealVfs {
    moved: Arc<Moved>,
}

/// Bytes that read and write calls took, by what each call returned. The meter above counts what was asked for; that
/// both come to the same is a check of both.
#[derive(Debug, Default)]
struct Moved {
    read_bytes: CachePadded<AtomicU64>,
    written: CachePadded<Written>,
}

#[derive(Debug, Default)]
struct Written {
    bytes: AtomicU64,
    pages: AtomicU64,
}

/// The unit of the page cache, in bytes.
const PAGE_BYTES: u64 = 4096;

/// The pages of a buffered file that wait for a sync, a bit for each: a log touches its last page again and again, frames
/// go where zeros are on their way, and a page that is written over before the sync comes reaches the device once.
#[derive(Debug, Default)]
struct Waiting {
    chunks: BTreeMap<u64, [u64; CHUNK_WORDS]>,
}

const CHUNK_WORDS: usize = 64;
const CHUNK_PAGES: u64 = 64 * CHUNK_WORDS as u64;

impl Waiting {
    /// Adds a write of `len` bytes at `offset`; how many pages more must reach the device.
    fn add(&mut self, offset: u64, len: u64) -> u64 {
        let (mut page, end) = (offset / PAGE_BYTES, (offset + len).div_ceil(PAGE_BYTES));
        let mut more = 0;
        while page < end {
            let number = page / CHUNK_PAGES;
            let chunk = self.chunks.entry(number).or_insert([0; CHUNK_WORDS]);
            let first = page - number * CHUNK_PAGES;
            let last = (end - number * CHUNK_PAGES).min(CHUNK_PAGES);
            for (word, bits) in (first / 64..).zip(chunk.iter_mut().skip(first as usize / 64)) {
                let (from, to) = (first.max(word * 64), last.min(word * 64 + 64));
                if from >= to {
                    break;
                }
                let new = (u64::MAX >> (64 - (to - from))) << (from % 64) & !*bits;
                *bits |= new;
                more += u64::from(new.count_ones());
            }
            page = number * CHUNK_PAGES + last;
        }
        more
    }

    /// None waits any more. A log that stays in one chunk keeps it.
    fn clear(&mut self) {
        match self.chunks.len() {
            0 | 1 => self.chunks.values_mut().for_each(|chunk| chunk.fill(0)),
            _ => self.chunks.clear(),
        }
    }
}

impl RealVfs {
    /// The file system of the machine, ready to be shared.
    #[expect(clippy::new_ret_no_self, reason = "a file system is only ever used behind the trait")]
    pub fn new() -> Arc<dyn Vfs> {
        Arc::new(RealVfs { moved: Arc::default() })
    }
}

/// Opens without following a link in the last component and without waiting for anything.
fn open_raw(path: &Path, flags: OFlags) -> Result<File, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    loop {
        match rustix::fs::openat(CWD, path, flags, Mode::RUSR | Mode::WUSR) {
            Ok(handle) => return Ok(File::from(handle)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Asks for direct I/O on an open file. Asking after the open means that a refusal leaves nothing to clean up.
#[cfg(target_os = "linux")]
fn go_direct(file: &File) -> bool {
    let flags = rustix::fs::fcntl_getfl(file);
    flags.and_then(|flags| rustix::fs::fcntl_setfl(file, flags | OFlags::DIRECT)).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn go_direct(_: &File) -> bool {
    false
}

#[cfg(target_os = "linux")]
fn leave_direct(file: &File) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    Ok(rustix::fs::fcntl_setfl(file, flags - OFlags::DIRECT)?)
}

#[cfg(not(target_os = "linux"))]
fn leave_direct(_: &File) -> io::Result<()> {
    Ok(())
}

/// Reserves space for the first `len` bytes; `false` if the file system cannot.
#[cfg(target_os = "linux")]
fn reserve(file: &File, len: u64) -> io::Result<bool> {
    if len == 0 {
        return Ok(true);
    }
    loop {
        match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, len) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn reserve(_: &File, _: u64) -> io::Result<bool> {
    Ok(false)
}

fn not_a_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
}

impl Vfs for RealVfs {
    fn open(&self, path: &Path, options: OpenOptions, _cause: Cause) -> Result<Arc<dyn VfsFile>> {
        let access = if options.write { OFlags::RDWR } else { OFlags::RDONLY };
        let (create, action) = match options.create {
            Create::Never => (OFlags::empty(), "open"),
            Create::New => (OFlags::CREATE | OFlags::EXCL, "create"),
        };
        let fail = |error: io::Error| Error::io(action, path, error);
        let file = open_raw(path, access | create).map_err(|error| fail(error.into()))?;
        if !file.metadata().map_err(fail)?.is_file() {
            return Err(fail(not_a_file()));
        }
        let direct = AtomicBool::new(options.direct && go_direct(&file));
        let (path, moved, waiting) = (path.to_path_buf(), Arc::clone(&self.moved), Mutex::default());
        Ok(Arc::new(RealFile { path, file, direct, moved, waiting }))
    }

    fn rename(&self, from: &Path, to: &Path, _cause: Cause) -> Result<()> {
        rustix::fs::rename(from, to).map_err(|error| Error::io("rename", from, error.into()))
    }

    fn remove(&self, path: &Path, _cause: Cause) -> Result<()> {
        rustix::fs::unlink(path).map_err(|error| Error::io("remove", path, error.into()))
    }

    fn list(&self, dir: &Path, _cause: Cause) -> Result<Vec<DirEntry>> {
        let fail = |error| Error::io("list", dir, error);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // A name that vanished meanwhile is not ours: ours vanish under the directory lock only.
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            names.push(DirEntry { name, is_file });
        }
        Ok(names)
    }

    fn create_dir(&self, dir: &Path, _cause: Cause) -> Result<()> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| Error::io("make the directory", dir, error))
    }

    fn sync_dir(&self, dir: &Path, _cause: Cause) -> Result<()> {
        // Not `NoSpace`, after which callers try again: a sync that failed has lost something.
        let fail = |source| Error::Io { action: "sync the directory", path: dir.to_path_buf(), source };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(CWD, dir, flags, Mode::empty());
        File::from(handle.map_err(|error| fail(error.into()))?).sync_all().map_err(fail)
    }

    fn try_lock(&self, path: &Path, _cause: Cause) -> Result<Box<dyn LockGuard>> {
        let fail = |error: io::Error| Error::io("lock", path, error);
        let file = match open_raw(path, OFlags::RDWR | OFlags::CREATE) {
            // Where nothing may be written, a lock file that is there already will do.
            Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) => open_raw(path, OFlags::RDONLY),
            other => other,
        };
        let file = file.map_err(|error| fail(error.into()))?;
        let found = file.metadata().map_err(fail)?;
        if !found.is_file() {
            return Err(fail(not_a_file()));
        }
        let locked = || Error::Locked { path: parent_of(path) };
        let Some(guard) = RealLock::claim(file, (found.dev(), found.ino())) else { return Err(locked()) };
        match guard.file.try_lock() {
            Ok(()) => Ok(Box::new(guard)),
            Err(TryLockError::WouldBlock) => Err(locked()),
            Err(TryLockError::Error(error)) => Err(fail(error)),
        }
    }

    fn hard_link(&self, from: &Path, to: &Path, cause: Cause) -> Result<()> {
        match rustix::fs::link(from, to) {
            Ok(()) => Ok(()),
            Err(Errno::XDEV | Errno::PERM | Errno::MLINK | Errno::OPNOTSUPP | Errno::NOSYS) => {
                self.copy(from, to, cause)
            }
            Err(error) => Err(Error::io("link", from, error.into())),
        }
    }

    fn free_space(&self, dir: &Path) -> Result<u64> {
        let found = rustix::fs::statvfs(dir);
        let found = found.map_err(|error| Error::io("ask for the free space of", dir, error.into()))?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn moved(&self) -> Option<IoTotal> {
        Some(IoTotal {
            read_bytes: self.moved.read_bytes.load(Ordering::Relaxed),
            write_bytes: self.moved.written.bytes.load(Ordering::Relaxed),
            write_page_bytes: self.moved.written.pages.load(Ordering::Relaxed) * PAGE_BYTES,
        })
    }
}

impl RealVfs {
    /// A synced copy, for file systems without links.
    fn copy(&self, from: &Path, to: &Path, cause: Cause) -> Result<()> {
        let source = self.open(from, OpenOptions::READ, cause)?;
        let target = self.open(to, OpenOptions::NEW, cause)?;
        let mut buffer = vec![0; 1 << 20];
        let mut offset = 0;
        loop {
            let found = source.read_at(offset, &mut buffer, cause)?;
            let Some(bytes) = buffer.get(..found).filter(|bytes| !bytes.is_empty()) else {
                return target.sync_all(cause);
            };
            target.write_at(offset, &[IoSlice::new(bytes)], cause)?;
            offset += found as u64;
        }
    }
}

/// The lock files this process holds, by device and inode: the same directory under two paths is one.
static HELD: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());

/// An advisory lock of the whole file (`flock`) that also keeps other handles of this process out. Closing an
/// unrelated handle of the same file does not drop it, as it would with `fcntl` locks.
#[derive(Debug)]
struct RealLock {
    file: File,
    place: (u64, u64),
}

impl RealLock {
    /// Enters the file into the table of this process; `None` if it is there already.
    fn claim(file: File, place: (u64, u64)) -> Option<RealLock> {
        let mut held = lock(&HELD);
        held.insert(place).then(|| RealLock { file, place })
    }
}

impl LockGuard for RealLock {}

impl Drop for RealLock {
    fn drop(&mut self) {
        // Closing the handle unlocks as well; asking first frees the lock even if a child process shares it.
        let _ = self.file.unlock();
        lock(&HELD).remove(&self.place);
    }
}

#[derive(Debug)]
struct RealFile {
    path: PathBuf,
    file: File,
    direct: AtomicBool,
    moved: Arc<Moved>,
    waiting: Mutex<Waiting>,
}

impl RealFile {
    fn is_direct(&self) -> bool {
        self.direct.load(Ordering::Relaxed)
    }

    fn count_write(&self, offset: u64, len: u64) {
        let pages =
            if self.is_direct() { len.div_ceil(PAGE_BYTES) } else { lock(&self.waiting).add(offset, len) };
        self.moved.written.bytes.fetch_add(len, Ordering::Relaxed);
        self.moved.written.pages.fetch_add(pages, Ordering::Relaxed);
    }

    /// Whatever is written from now on may not be covered by the sync that begins.
    fn begin_sync(&self) {
        lock(&self.waiting).clear();
    }

    fn fail(&self, action: &'static str, error: impl Into<io::Error>) -> Error {
        Error::io(action, &self.path, error.into())
    }

    /// A sync that met a full disk has lost bytes all the same: it must not read as `NoSpace`, after which callers
    /// try again.
    fn fail_sync(&self, source: io::Error) -> Error {
        Error::Io { action: "sync", path: self.path.clone(), source }
    }

    /// One call to the system; how many bytes it took.
    fn write_call(&self, offset: u64, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        #[cfg(target_os = "linux")]
        if let [_, _, ..] = parts {
            // No call takes more than this many parts.
            let first = parts.get(..1024).unwrap_or(parts);
            return Ok(rustix::io::pwritev(&self.file, first, offset)?);
        }
        parts.first().map_or(Ok(0), |part| self.file.write_at(part, offset))
    }
}

impl RawFile for RealFile {
    fn read_some(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, offset)?;
        self.moved.read_bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn write_some(&self, offset: u64, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let count = self.write_call(offset, parts)?;
        self.count_write(offset, count as u64);
        Ok(count)
    }

    /// True if it was interrupted, or the file system refused direct I/O and the file is buffered from now on.
    fn try_again(&self, error: &io::Error) -> bool {
        if error.kind() == io::ErrorKind::Interrupted {
            return true;
        }
        let refused = error.raw_os_error() == Some(Errno::INVAL.raw_os_error());
        if refused && self.is_direct() && leave_direct(&self.file).is_ok() {
            self.direct.store(false, Ordering::Relaxed);
            return true;
        }
        false
    }

    fn unit(&self) -> usize {
        self.align()
    }
}

impl VfsFile for RealFile {
    fn path(&self) -> &Path {
        &self.path
    }

    // `read_many` stays the trait's loop: one thread, one read after another. Reads that overlap on the device
    // (io_uring, or a few reader threads) will be added here and nowhere else.
    fn read_at(&self, offset: u64, buffer: &mut [u8], _cause: Cause) -> Result<usize> {
        if self.is_direct() {
            check_aligned(&self.path, "read", offset, buffer)?;
        }
        whole::read(self, offset, buffer).map_err(|error| self.fail("read", error))
    }

    fn write_at(&self, offset: u64, parts: &[IoSlice<'_>], _cause: Cause) -> Result<()> {
        if self.is_direct() {
            let mut start = offset;
            for part in parts {
                check_aligned(&self.path, "write", start, part)?;
                start += part.len() as u64;
            }
        }
        whole::write(self, offset, parts).map_err(|error| self.fail("write", error))
    }

    fn allocate(&self, len: u64, cause: Cause) -> Result<()> {
        let reserved = reserve(&self.file, len).map_err(|error| self.fail("allocate space for", error))?;
        if reserved || len <= self.len()? { Ok(()) } else { self.set_len(len, cause) }
    }

    fn set_len(&self, len: u64, _cause: Cause) -> Result<()> {
        self.file.set_len(len).map_err(|error| self.fail("set the length of", error))
    }

    fn sync_data(&self, _cause: Cause) -> Result<()> {
        self.begin_sync();
        self.file.sync_data().map_err(|error| self.fail_sync(error))
    }

    fn sync_all(&self, _cause: Cause) -> Result<()> {
        self.begin_sync();
        self.file.sync_all().map_err(|error| self.fail_sync(error))
    }

    fn len(&self) -> Result<u64> {
        let found = self.file.metadata().map_err(|error| self.fail("ask for the length of", error))?;
        Ok(found.len())
    }

    fn align(&self) -> usize {
        if self.is_direct() { DIRECT_ALIGN } else { 1 }
    }

    fn map(&self) -> Option<Arc<dyn Map>> {
        MappedFile::of(&self.file).ok().map(|map| Arc::new(map) as Arc<dyn Map>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_counted_once_between_two_syncs() {
        let mut waiting = Waiting::default();
        assert_eq!(waiting.add(0, 100), 1);
        assert_eq!(waiting.add(100, 100), 0, "the same page");
        assert_eq!(waiting.add(4000, 200), 1, "one page more");
        assert_eq!(waiting.add(8192, 65_536), 16, "zeros ahead");
        assert_eq!(waiting.add(9000, 60_000), 0, "frames where the zeros are");
        assert_eq!(waiting.add(1 << 20, 8192), 2, "somewhere else");
        assert_eq!(waiting.add(0, 1), 0, "written over");
        assert_eq!(
            waiting.add((CHUNK_PAGES - 3) * PAGE_BYTES, 6 * PAGE_BYTES),
            6,
            "over the edge of a chunk"
        );
        assert_eq!(waiting.add((CHUNK_PAGES - 70) * PAGE_BYTES, 70 * PAGE_BYTES), 67, "and back");
        assert_eq!(waiting.add(0, 3 * CHUNK_PAGES * PAGE_BYTES), 3 * CHUNK_PAGES - 18 - 2 - 73, "all of it");
        waiting.clear();
        assert_eq!(waiting.add(9000, 1), 1, "a sync lies between");
        waiting.clear();
        assert_eq!((waiting.chunks.len(), waiting.add(9000, 1)), (1, 1));
    }
}
