//! Files in memory for the tests of this crate's log: counts calls, fails a chosen one, copies itself.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use kv_api::{Cause, Error, Result};

use crate::sync::lock;
use crate::vfs::{Create, DirEntry, LockGuard, Map, OpenOptions, Vfs, VfsFile};

type Bytes = Arc<Mutex<Vec<u8>>>;

/// What to fail: the n-th next call of a kind.
#[derive(Debug, Default)]
pub struct Fault {
    pub write: AtomicU64,
    pub sync: AtomicU64,
    pub prepare: AtomicU64,
    pub full: std::sync::atomic::AtomicBool,
}

#[derive(Debug, Default)]
pub struct MemFs {
    files: Mutex<BTreeMap<PathBuf, Bytes>>,
    pub fault: Arc<Fault>,
    pub calls: Arc<Mutex<Vec<String>>>,
}

impl MemFs {
    pub fn new() -> Arc<MemFs> {
        Arc::new(MemFs::default())
    }

    /// The same files with nothing shared.
    pub fn copy(&self) -> Arc<MemFs> {
        let copy = MemFs::new();
        for (path, bytes) in lock(&self.files).iter() {
            lock(&copy.files).insert(path.clone(), Arc::new(Mutex::new(lock(bytes).clone())));
        }
        copy
    }

    pub fn names(&self) -> Vec<String> {
        lock(&self.files).keys().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    /// Changes the bytes of a file.
    pub fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let files = lock(&self.files);
        let (_, bytes) = files.iter().find(|(path, _)| path.ends_with(name)).unwrap();
        edit(&mut lock(bytes));
    }

    pub fn remove_name(&self, name: &str) {
        lock(&self.files).retain(|path, _| !path.ends_with(name));
    }

    /// How many calls of a kind and cause there were, as in "sync wal".
    pub fn count(&self, what: &str) -> usize {
        lock(&self.calls).iter().filter(|call| *call == what).count()
    }

    fn note(&self, what: &str, cause: Cause) {
        lock(&self.calls).push(format!("{what} {cause}"));
    }
}

/// True for the n-th call after the counter was set to n.
fn strikes(counter: &AtomicU64) -> bool {
    let before = counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
    before == Ok(1)
}

fn broken(action: &'static str, path: &Path) -> Error {
    Error::io(action, path, io::Error::from_raw_os_error(5))
}

impl Vfs for MemFs {
    fn open(&self, path: &Path, options: OpenOptions, cause: Cause) -> Result<Arc<dyn VfsFile>> {
        self.note("open", cause);
        let mut files = lock(&self.files);
        let bytes = match (files.get(path), options.create) {
            (Some(bytes), Create::Never) => Arc::clone(bytes),
            (None, Create::New) => {
                let bytes = Bytes::default();
                files.insert(path.to_path_buf(), Arc::clone(&bytes));
                bytes
            }
            (Some(_), Create::New) => {
                return Err(Error::io("create", path, io::ErrorKind::AlreadyExists.into()));
            }
            (None, Create::Never) => return Err(Error::io("open", path, io::ErrorKind::NotFound.into())),
        };
        let (fault, calls) = (Arc::clone(&self.fault), Arc::clone(&self.calls));
        Ok(Arc::new(MemFile { path: path.to_path_buf(), bytes, fault, calls }))
    }

    fn rename(&self, from: &Path, to: &Path, cause: Cause) -> Result<()> {
        self.note("rename", cause);
        let mut files = lock(&self.files);
        let bytes = files.remove(from).ok_or_else(|| broken("rename", from))?;
        files.insert(to.to_path_buf(), bytes);
        Ok(())
    }

    fn remove(&self, path: &Path, cause: Cause) -> Result<()> {
        self.note("remove", cause);
        lock(&self.files).remove(path).map(drop).ok_or_else(|| broken("remove", path))
    }

    fn list(&self, _dir: &Path, _cause: Cause) -> Result<Vec<DirEntry>> {
        Ok(self.names().into_iter().map(|name| DirEntry { name, is_file: true }).collect())
    }

    fn create_dir(&self, _dir: &Path, _cause: Cause) -> Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path, cause: Cause) -> Result<()> {
        self.note("sync_dir", cause);
        Ok(())
    }

    fn try_lock(&self, path: &Path, _cause: Cause) -> Result<Box<dyn LockGuard>> {
        Err(broken("lock", path))
    }

    fn hard_link(&self, from: &Path, _to: &Path, _cause: Cause) -> Result<()> {
        Err(broken("link", from))
    }

    fn free_space(&self, _dir: &Path) -> Result<u64> {
        Ok(u64::MAX)
    }
}

#[derive(Debug)]
struct MemFile {
    path: PathBuf,
    bytes: Bytes,
    fault: Arc<Fault>,
    calls: Arc<Mutex<Vec<String>>>,
}

impl VfsFile for MemFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8], _cause: Cause) -> Result<usize> {
        let bytes = lock(&self.bytes);
        let rest = bytes.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, offset: u64, parts: &[IoSlice<'_>], cause: Cause) -> Result<()> {
        lock(&self.calls).push(format!("write {cause}"));
        if cause == Cause::Prepare && self.fault.full.load(Ordering::SeqCst) {
            return Err(Error::NoSpace { action: "prepare", path: self.path.clone() });
        }
        let counter = if cause == Cause::Prepare { &self.fault.prepare } else { &self.fault.write };
        if strikes(counter) {
            return Err(broken("write", &self.path));
        }
        let mut bytes = lock(&self.bytes);
        let mut at = usize::try_from(offset).unwrap();
        for part in parts {
            let end = at + part.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[at..end].copy_from_slice(part);
            at = end;
        }
        Ok(())
    }

    fn allocate(&self, len: u64, cause: Cause) -> Result<()> {
        if cause == Cause::Prepare && self.fault.full.load(Ordering::SeqCst) {
            return Err(Error::NoSpace { action: "prepare", path: self.path.clone() });
        }
        let mut bytes = lock(&self.bytes);
        let len = usize::try_from(len).unwrap().max(bytes.len());
        bytes.resize(len, 0);
        Ok(())
    }

    fn set_len(&self, len: u64, _cause: Cause) -> Result<()> {
        lock(&self.bytes).resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self, cause: Cause) -> Result<()> {
        lock(&self.calls).push(format!("sync {cause}"));
        if strikes(&self.fault.sync) { Err(broken("sync", &self.path)) } else { Ok(()) }
    }

    fn sync_all(&self, cause: Cause) -> Result<()> {
        self.sync_data(cause)
    }

    fn len(&self) -> Result<u64> {
        Ok(lock(&self.bytes).len() as u64)
    }

    fn align(&self) -> usize {
        1
    }

    fn map(&self) -> Option<Arc<dyn Map>> {
        None
    }
}
