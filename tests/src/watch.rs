//! A file system that calls back before every operation that can change the disk: where a crash may happen.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kv_api::{Cause, Result};
use kv_io::vfs::{DirEntry, LockGuard, Map, OpenOptions, ReadRequest, Vfs, VfsFile};

/// What is about to happen.
#[derive(Debug, Clone, Copy)]
pub enum Moment<'a> {
    /// A sync of a file or directory.
    Sync,
    /// A write to a file.
    Write {
        /// The file.
        path: &'a Path,
        /// Where in it, in bytes.
        offset: u64,
        /// What.
        parts: &'a [IoSlice<'a>],
    },
    /// Anything else that changes a file or a name.
    Change,
}

impl Moment<'_> {
    /// Where a write is about to go and the first half of it, in whole sectors: what is there if the process dies in the
    /// middle. `None` if it is no write, or too short to have a middle.
    pub fn first_half(&self) -> Option<(PathBuf, u64, Vec<u8>)> {
        let Moment::Write { path, offset, parts } = *self else { return None };
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let half = (bytes.len() / 2).next_multiple_of(SECTOR);
        bytes.truncate(half.min(bytes.len().saturating_sub(1) / SECTOR * SECTOR));
        (!bytes.is_empty()).then(|| (path.to_path_buf(), offset, bytes))
    }
}

const SECTOR: usize = 512;

/// Called before every change.
pub type Before = Arc<dyn Fn(Moment<'_>) + Send + Sync>;

/// Wraps files so that `before` is called before every change.
pub fn watched(inner: Arc<dyn Vfs>, before: Before) -> Arc<dyn Vfs> {
    Arc::new(WatchedVfs { inner, before, lies: false })
}

/// The same over a disk that says it synced and did nothing: what a forgotten sync looks like.
pub fn lying(inner: Arc<dyn Vfs>, before: Before) -> Arc<dyn Vfs> {
    Arc::new(WatchedVfs { inner, before, lies: true })
}

struct WatchedVfs {
    inner: Arc<dyn Vfs>,
    before: Before,
    lies: bool,
}

impl std::fmt::Debug for WatchedVfs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl Vfs for WatchedVfs {
    fn open(&self, path: &Path, options: OpenOptions, cause: Cause) -> Result<Arc<dyn VfsFile>> {
        (self.before)(Moment::Change);
        let inner = self.inner.open(path, options, cause)?;
        Ok(Arc::new(WatchedFile { inner, before: Arc::clone(&self.before), lies: self.lies }))
    }

    fn rename(&self, from: &Path, to: &Path, cause: Cause) -> Result<()> {
        (self.before)(Moment::Change);
        self.inner.rename(from, to, cause)
    }

    fn remove(&self, path: &Path, cause: Cause) -> Result<()> {
        (self.before)(Moment::Change);
        self.inner.remove(path, cause)
    }

    fn list(&self, dir: &Path, cause: Cause) -> Result<Vec<DirEntry>> {
        self.inner.list(dir, cause)
    }

    fn create_dir(&self, dir: &Path, cause: Cause) -> Result<()> {
        (self.before)(Moment::Change);
        self.inner.create_dir(dir, cause)
    }

    fn sync_dir(&self, dir: &Path, cause: Cause) -> Result<()> {
        (self.before)(Moment::Sync);
        if self.lies { Ok(()) } else { self.inner.sync_dir(dir, cause) }
    }

    fn try_lock(&self, path: &Path, cause: Cause) -> Result<Box<dyn LockGuard>> {
        self.inner.try_lock(path, cause)
    }

    fn hard_link(&self, from: &Path, to: &Path, cause: Cause) -> Result<()> {
        (self.before)(Moment::Change);
        self.inner.hard_link(from, to, cause)
    }

    fn free_space(&self, dir: &Path) -> Result<u64> {
        self.inner.free_space(dir)
    }
}

struct WatchedFile {
    inner: Arc<dyn VfsFile>,
    before: Before,
    lies: bool,
}

impl std::fmt::Debug for WatchedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl VfsFile for WatchedFile {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8], cause: Cause) -> Result<usize> {
        self.inner.read_at(offset, buffer, cause)
    }

    fn read_many(&self, requests: &mut [ReadRequest<'_>], cause: Cause) -> Result<()> {
        self.inner.read_many(requests, cause)
    }

    fn write_at(&self, offset: u64, parts: &[IoSlice<'_>], cause: Cause) -> Result<()> {
        (self.before)(Moment::Write { path: self.inner.path(), offset, parts });
        self.inner.write_at(offset, parts, cause)
    }

    fn allocate(&self, len: u64, cause: Cause) -> Result<()> {
        (self.before)(Moment::Change);
        self.inner.allocate(len, cause)
    }

    fn set_len(&self, len: u64, cause: Cause) -> Result<()> {
        (self.before)(Moment::Change);
        self.inner.set_len(len, cause)
    }

    fn sync_data(&self, cause: Cause) -> Result<()> {
        (self.before)(Moment::Sync);
        if self.lies { Ok(()) } else { self.inner.sync_data(cause) }
    }

    fn sync_all(&self, cause: Cause) -> Result<()> {
        (self.before)(Moment::Sync);
        if self.lies { Ok(()) } else { self.inner.sync_all(cause) }
    }

    fn len(&self) -> Result<u64> {
        self.inner.len()
    }

    fn align(&self) -> usize {
        self.inner.align()
    }

    fn map(&self) -> Option<Arc<dyn Map>> {
        self.inner.map()
    }
}
