//! The meter: every byte, call and sync that passes between an engine and its files, counted by cause.
//!
//! This is the only place where physical bytes are counted by cause; the file system of the machine counts what its
//! system calls moved, to check it. [`MeteredVfs`] wraps any file system; its files share
//! one [`Meter`]. It also keeps the names and lengths of the files it has seen, so an engine can tell how much
//! space it takes without a walk through the directory. Mapped reads pass it by.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use kv_api::stats::{FileUse, IoTotal};
use kv_api::{Cause, IoCounters, IoStats, Result};

use crate::layout::{FileKind, parse_name};
use crate::sync::{Mutex, MutexGuard, lock};
use crate::vfs::{Create, DirEntry, LockGuard, Map, OpenOptions, ReadRequest, Vfs, VfsFile};

/// What moved for one cause. Relaxed counters: each is exact, and no order between them is promised.
#[derive(Debug, Default)]
struct Row {
    read_bytes: AtomicU64,
    read_calls: AtomicU64,
    write_bytes: AtomicU64,
    write_calls: AtomicU64,
    contiguous_bytes: AtomicU64,
    sync_calls: AtomicU64,
}

impl Row {
    fn get(&self) -> IoCounters {
        IoCounters {
            read_bytes: self.read_bytes.load(Ordering::Relaxed),
            read_calls: self.read_calls.load(Ordering::Relaxed),
            write_bytes: self.write_bytes.load(Ordering::Relaxed),
            write_calls: self.write_calls.load(Ordering::Relaxed),
            contiguous_bytes: self.contiguous_bytes.load(Ordering::Relaxed),
            sync_calls: self.sync_calls.load(Ordering::Relaxed),
        }
    }
}

/// What is known of a file: its handles share it.
#[derive(Debug, Default)]
struct Known {
    len: AtomicU64,
    /// Where the last write ended. Zeros that run ahead of a log are a stream beside the log's own.
    end: AtomicU64,
    end_of_zeros: AtomicU64,
}

impl Known {
    /// Takes note of a write, and says whether it began where the one before it had ended. Of writes to one file at the
    /// same time one order is taken.
    fn follows(&self, cause: Cause, offset: u64, bytes: u64) -> bool {
        let end = if cause == Cause::Prepare { &self.end_of_zeros } else { &self.end };
        end.swap(offset + bytes, Ordering::Relaxed) == offset
    }
}

/// The counts of one engine, and the files it has.
#[derive(Debug)]
pub struct Meter {
    rows: [CachePadded<Row>; Cause::COUNT],
    /// Files by path. The handles of a file share what is known of it, so a write costs two atomics.
    files: Mutex<BTreeMap<PathBuf, Arc<Known>>>,
    /// What is metered, and what it had moved when the meter began.
    inner: Arc<dyn Vfs>,
    moved_before: Option<IoTotal>,
}

impl Meter {
    fn new(inner: Arc<dyn Vfs>) -> Meter {
        Meter {
            rows: std::array::from_fn(|_| CachePadded::default()),
            files: Mutex::new(BTreeMap::new()),
            moved_before: inner.moved(),
            inner,
        }
    }

    /// Bytes that system calls moved since the meter began, counted below it by what the calls returned: with all
    /// files at rest and no call failed, the sum over the causes of [`Meter::stats`]. Engines that share one file
    /// system share this. `None` where no system calls are made.
    pub fn moved(&self) -> Option<IoTotal> {
        let (now, before) = (self.inner.moved()?, self.moved_before?);
        Some(IoTotal {
            read_bytes: now.read_bytes.saturating_sub(before.read_bytes),
            write_bytes: now.write_bytes.saturating_sub(before.write_bytes),
            write_page_bytes: now.write_page_bytes.saturating_sub(before.write_page_bytes),
        })
    }

    /// What moved so far, by cause. Counters only grow; a call that failed counts as a call.
    pub fn stats(&self) -> IoStats {
        let mut stats = IoStats::default();
        for cause in Cause::all() {
            *stats.of_mut(cause) = self.row(cause).get();
        }
        stats
    }

    /// Names and lengths of the files directly in `dir`, sorted by name: as a walk through it would find them.
    pub fn files(&self, dir: &Path) -> Vec<FileUse> {
        let files = self.registry();
        let here = files.iter().filter(|(path, _)| path.parent() == Some(dir));
        here.filter_map(|(path, known)| {
            let name = path.file_name()?.to_str()?.to_owned();
            let is_log = parse_name(&name).is_some_and(|(kind, _)| kind == FileKind::Wal);
            Some(FileUse { name, bytes: known.len.load(Ordering::Relaxed), is_log })
        })
        .collect()
    }

    fn row(&self, cause: Cause) -> &Row {
        // `index` is below `COUNT` for every cause: asserted by the test beside it.
        &self.rows[cause.index()]
    }

    fn registry(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Arc<Known>>> {
        lock(&self.files)
    }

    /// What is known of the file at `path`, its length brought up to date.
    fn register(&self, path: &Path, len: u64) -> Arc<Known> {
        let shared = Arc::clone(self.registry().entry(path.to_path_buf()).or_default());
        shared.len.store(len, Ordering::Relaxed);
        shared
    }

    fn count_read(&self, cause: Cause, calls: u64, bytes: usize) {
        let row = self.row(cause);
        row.read_calls.fetch_add(calls, Ordering::Relaxed);
        row.read_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn count_write(&self, cause: Cause, bytes: u64, follows: bool) {
        let row = self.row(cause);
        row.write_calls.fetch_add(1, Ordering::Relaxed);
        row.write_bytes.fetch_add(bytes, Ordering::Relaxed);
        if follows {
            row.contiguous_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn count_sync(&self, cause: Cause) {
        self.row(cause).sync_calls.fetch_add(1, Ordering::Relaxed);
    }
}

/// A file system that counts.
#[derive(Debug)]
pub struct MeteredVfs {
    inner: Arc<dyn Vfs>,
    meter: Arc<Meter>,
}

impl MeteredVfs {
    /// Wraps `inner`; the meter starts at zero and knows no file.
    #[expect(clippy::new_ret_no_self, reason = "a file system is only ever used behind the trait")]
    pub fn new(inner: Arc<dyn Vfs>) -> (Arc<dyn Vfs>, Arc<Meter>) {
        let meter = Arc::new(Meter::new(Arc::clone(&inner)));
        (Arc::new(MeteredVfs { inner, meter: Arc::clone(&meter) }), meter)
    }
}

impl Vfs for MeteredVfs {
    fn open(&self, path: &Path, options: OpenOptions, cause: Cause) -> Result<Arc<dyn VfsFile>> {
        let inner = self.inner.open(path, options, cause)?;
        if options.create == Create::New {
            self.meter.registry().remove(path);
        }
        let known = self.meter.register(path, inner.len()?);
        Ok(Arc::new(MeteredFile { inner, meter: Arc::clone(&self.meter), known }))
    }

    fn rename(&self, from: &Path, to: &Path, cause: Cause) -> Result<()> {
        self.inner.rename(from, to, cause)?;
        let mut files = self.meter.registry();
        if let Some(len) = files.remove(from) {
            files.insert(to.to_path_buf(), len);
        }
        Ok(())
    }

    fn remove(&self, path: &Path, cause: Cause) -> Result<()> {
        self.inner.remove(path, cause)?;
        self.meter.registry().remove(path);
        Ok(())
    }

    fn list(&self, dir: &Path, cause: Cause) -> Result<Vec<DirEntry>> {
        let entries = self.inner.list(dir, cause)?;
        for entry in entries.iter().filter(|entry| entry.is_file) {
            let path = dir.join(&entry.name);
            if self.meter.registry().contains_key(&path) {
                continue;
            }
            // A foreign file that may not be read still is no reason to fail: its length stays unknown.
            if let Ok(len) = self.inner.open(&path, OpenOptions::READ, cause).and_then(|file| file.len()) {
                self.meter.register(&path, len);
            }
        }
        Ok(entries)
    }

    fn create_dir(&self, dir: &Path, cause: Cause) -> Result<()> {
        self.inner.create_dir(dir, cause)
    }

    fn sync_dir(&self, dir: &Path, cause: Cause) -> Result<()> {
        self.meter.count_sync(cause);
        self.inner.sync_dir(dir, cause)
    }

    fn try_lock(&self, path: &Path, cause: Cause) -> Result<Box<dyn LockGuard>> {
        let guard = self.inner.try_lock(path, cause)?;
        self.meter.registry().entry(path.to_path_buf()).or_default();
        Ok(guard)
    }

    fn hard_link(&self, from: &Path, to: &Path, cause: Cause) -> Result<()> {
        self.inner.hard_link(from, to, cause)?;
        let mut files = self.meter.registry();
        if let Some(len) = files.get(from).cloned() {
            files.insert(to.to_path_buf(), len);
        }
        Ok(())
    }

    fn free_space(&self, dir: &Path) -> Result<u64> {
        self.inner.free_space(dir)
    }

    fn moved(&self) -> Option<IoTotal> {
        self.inner.moved()
    }
}

#[derive(Debug)]
struct MeteredFile {
    inner: Arc<dyn VfsFile>,
    meter: Arc<Meter>,
    known: Arc<Known>,
}

impl MeteredFile {
    /// After a call that may have changed the length, also if it failed half way.
    fn ask_len(&self) {
        if let Ok(len) = self.inner.len() {
            self.known.len.store(len, Ordering::Relaxed);
        }
    }
}

impl VfsFile for MeteredFile {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8], cause: Cause) -> Result<usize> {
        let found = self.inner.read_at(offset, buffer, cause);
        self.meter.count_read(cause, 1, *found.as_ref().unwrap_or(&0));
        found
    }

    fn read_many(&self, requests: &mut [ReadRequest<'_>], cause: Cause) -> Result<()> {
        let done = self.inner.read_many(requests, cause);
        let bytes = if done.is_ok() { requests.iter().map(|request| request.filled).sum() } else { 0 };
        self.meter.count_read(cause, requests.len() as u64, bytes);
        done
    }

    fn write_at(&self, offset: u64, parts: &[IoSlice<'_>], cause: Cause) -> Result<()> {
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        self.meter.count_write(cause, bytes, self.known.follows(cause, offset, bytes));
        let done = self.inner.write_at(offset, parts, cause);
        match &done {
            Ok(()) if bytes > 0 => {
                self.known.len.fetch_max(offset + bytes, Ordering::Relaxed);
            }
            Ok(()) => {}
            Err(_) => self.ask_len(),
        }
        done
    }

    fn allocate(&self, len: u64, cause: Cause) -> Result<()> {
        let done = self.inner.allocate(len, cause);
        self.ask_len();
        done
    }

    fn set_len(&self, len: u64, cause: Cause) -> Result<()> {
        let done = self.inner.set_len(len, cause);
        self.ask_len();
        done
    }

    fn sync_data(&self, cause: Cause) -> Result<()> {
        self.meter.count_sync(cause);
        self.inner.sync_data(cause)
    }

    fn sync_all(&self, cause: Cause) -> Result<()> {
        self.meter.count_sync(cause);
        self.inner.sync_all(cause)
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
