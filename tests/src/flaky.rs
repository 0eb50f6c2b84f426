//! Files whose calls fail for a while, over real files or any others: once with an I/O error, or for want of space until
//! the disk heals.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use kv_api::stats::IoTotal;
use kv_api::{Cause, Error, Result};
use kv_io::vfs::{Create, DirEntry, LockGuard, Map, OpenOptions, ReadRequest};
use kv_io::{Vfs, VfsFile};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// One read fails.
    Read,
    /// One write fails, and nothing of it arrives.
    Write,
    /// One sync of a file fails after it was done.
    Sync,
    /// One change of names fails.
    Names,
    /// Nothing can be written any more.
    Full,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Trouble; 5] =
        [Trouble::Read, Trouble::Write, Trouble::Sync, Trouble::Names, Trouble::Full];
}

/// Decides which calls fail.
#[derive(Debug, Default)]
pub struct Fuse {
    /// What is about to fail, if anything.
    trouble: Mutex<Option<Trouble>>,
    calls_left: AtomicU64,
    is_armed: AtomicBool,
    met: AtomicU64,
}

impl Fuse {
    /// Lets the `nth` call that `trouble` speaks of fail, counted from 0, and those after it if the disk is full.
    pub fn arm(&self, trouble: Trouble, nth: u64) {
        *self.trouble.lock().expect("no panic while it was held") = Some(trouble);
        self.calls_left.store(nth, Ordering::SeqCst);
        self.is_armed.store(true, Ordering::SeqCst);
    }

    /// All is well again.
    pub fn heal(&self) {
        self.is_armed.store(false, Ordering::SeqCst);
    }

    /// Calls that have failed so far.
    pub fn met(&self) -> u64 {
        self.met.load(Ordering::SeqCst)
    }

    /// The outcome of one call that any of `troubles` would make fail.
    fn decide(&self, troubles: &[Trouble], action: &'static str, path: &Path) -> Result<()> {
        if !self.is_armed.load(Ordering::SeqCst) {
            return Ok(());
        }
        let trouble = *self.trouble.lock().expect("no panic while it was held");
        let Some(trouble) = trouble.filter(|trouble| troubles.contains(trouble)) else { return Ok(()) };
        let next = |left: u64| left.checked_sub(1);
        if self.calls_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).is_ok() {
            return Ok(());
        }
        self.met.fetch_add(1, Ordering::SeqCst);
        if trouble == Trouble::Full {
            return Err(Error::io(action, path, io::ErrorKind::StorageFull.into()));
        }
        self.heal();
        Err(Error::io(action, path, io::Error::other("this call was made to fail")))
    }
}

/// A file system with a fuse.
#[derive(Debug)]
pub struct FlakyVfs {
    inner: Arc<dyn Vfs>,
    fuse: Arc<Fuse>,
}

impl FlakyVfs {
    /// The files of `inner`; `fuse` decides which calls fail.
    pub fn new(inner: Arc<dyn Vfs>, fuse: Arc<Fuse>) -> Arc<FlakyVfs> {
        Arc::new(FlakyVfs { inner, fuse })
    }
}

impl Vfs for FlakyVfs {
    fn open(&self, path: &Path, options: OpenOptions, cause: Cause) -> Result<Arc<dyn VfsFile>> {
        if options.create == Create::New {
            self.fuse.decide(&[Trouble::Names, Trouble::Full], "create", path)?;
        }
        let inner = self.inner.open(path, options, cause)?;
        Ok(Arc::new(FlakyFile { inner, fuse: Arc::clone(&self.fuse) }))
    }

    fn rename(&self, from: &Path, to: &Path, cause: Cause) -> Result<()> {
        self.fuse.decide(&[Trouble::Names], "rename", from)?;
        self.inner.rename(from, to, cause)
    }

    fn remove(&self, path: &Path, cause: Cause) -> Result<()> {
        self.fuse.decide(&[Trouble::Names], "remove", path)?;
        self.inner.remove(path, cause)
    }

    fn list(&self, dir: &Path, cause: Cause) -> Result<Vec<DirEntry>> {
        self.inner.list(dir, cause)
    }

    fn create_dir(&self, dir: &Path, cause: Cause) -> Result<()> {
        self.inner.create_dir(dir, cause)
    }

    fn sync_dir(&self, dir: &Path, cause: Cause) -> Result<()> {
        self.fuse.decide(&[Trouble::Names], "sync", dir)?;
        self.inner.sync_dir(dir, cause)
    }

    fn try_lock(&self, path: &Path, cause: Cause) -> Result<Box<dyn LockGuard>> {
        self.inner.try_lock(path, cause)
    }

    fn hard_link(&self, from: &Path, to: &Path, cause: Cause) -> Result<()> {
        self.fuse.decide(&[Trouble::Names, Trouble::Full], "link", from)?;
        self.inner.hard_link(from, to, cause)
    }

    fn free_space(&self, dir: &Path) -> Result<u64> {
        self.inner.free_space(dir)
    }

    fn moved(&self) -> Option<IoTotal> {
        self.inner.moved()
    }
}

#[derive(Debug)]
struct FlakyFile {
    inner: Arc<dyn VfsFile>,
    fuse: Arc<Fuse>,
}

impl VfsFile for FlakyFile {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8], cause: Cause) -> Result<usize> {
        self.fuse.decide(&[Trouble::Read], "read", self.path())?;
        self.inner.read_at(offset, buffer, cause)
    }

    fn read_many(&self, requests: &mut [ReadRequest<'_>], cause: Cause) -> Result<()> {
        self.fuse.decide(&[Trouble::Read], "read", self.path())?;
        self.inner.read_many(requests, cause)
    }

    fn write_at(&self, offset: u64, parts: &[IoSlice<'_>], cause: Cause) -> Result<()> {
        self.fuse.decide(&[Trouble::Write, Trouble::Full], "write", self.path())?;
        self.inner.write_at(offset, parts, cause)
    }

    fn allocate(&self, len: u64, cause: Cause) -> Result<()> {
        self.fuse.decide(&[Trouble::Write, Trouble::Full], "allocate", self.path())?;
        self.inner.allocate(len, cause)
    }

    fn set_len(&self, len: u64, cause: Cause) -> Result<()> {
        self.fuse.decide(&[Trouble::Write], "set the length", self.path())?;
        self.inner.set_len(len, cause)
    }

    fn sync_data(&self, cause: Cause) -> Result<()> {
        self.inner.sync_data(cause)?;
        self.fuse.decide(&[Trouble::Sync], "sync", self.path())
    }

    fn sync_all(&self, cause: Cause) -> Result<()> {
        self.inner.sync_all(cause)?;
        self.fuse.decide(&[Trouble::Sync], "sync", self.path())
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
