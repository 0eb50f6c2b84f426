//! A disk in memory that remembers what was synced: crash images, injected faults, power cut at any call.
//!
//! Nothing becomes durable except by a sync: bytes by a sync of their file, names by a sync of their directory.
//! [`SimVfs::crash`] gives the disk that a crash would leave, as often as asked and under any policy, while the
//! original lives on. Two kinds of tests come from that: take an image after any operation and open it; or set
//! [`SimVfs::crash_at`] to one step after another, run, and open what is left.
//!
//! The model is that of ALICE (Pillai et al., OSDI 2014) at the size of 512-byte sectors.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{self, IoSlice};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use kv_api::{Cause, Error, Result};

use self::content::Content;
use self::disk::{Dir, Disk, Inode, Node, Rng};
use self::faults::Verdict;
use crate::sync::lock;
use crate::vfs::{
    Create, DIRECT_ALIGN, DirEntry, LockGuard, Map, OpenOptions, Vfs, VfsFile, check_aligned, parent_of,
};

mod content;
mod disk;
mod faults;

pub use faults::{FaultOp, Faults, Repeat};

/// What a crash leaves of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPolicy {
    /// Nothing: the files and names of their last sync (P0).
    DropUnsynced,
    /// Everything: the process died, the machine did not. What was not synced is pending still (P1).
    KeepAll,
    /// Any part: each 512-byte sector, each length and each directory operation for itself (P3).
    Tear {
        /// Selects the part.
        seed: u64,
    },
}

/// A simulated disk.
#[derive(Debug)]
pub struct SimVfs {
    world: Arc<World>,
}

/// What the disk and its open files share. One lock spans every call, so a crash image is of one moment.
#[derive(Debug)]
struct World {
    disk: Mutex<Disk>,
    locks: Mutex<BTreeSet<PathBuf>>,
    rng: Mutex<Rng>,
    faults: Faults,
}

impl SimVfs {
    /// An empty disk. `seed` decides what a failed sync leaves behind.
    pub fn new(seed: u64) -> Arc<SimVfs> {
        SimVfs::with_disk(Disk::default(), seed)
    }

    fn with_disk(mut disk: Disk, seed: u64) -> Arc<SimVfs> {
        for root in ["", "/"] {
            disk.dirs.entry(PathBuf::from(root)).or_default();
        }
        let world = World {
            disk: Mutex::new(disk),
            locks: Mutex::default(),
            rng: Mutex::new(Rng(seed)),
            faults: Faults::default(),
        };
        Arc::new(SimVfs { world: Arc::new(world) })
    }

    /// The disk that a crash at this moment would leave: no locks, no faults, power on. This one stays as it is.
    pub fn crash(&self, policy: CrashPolicy) -> Arc<SimVfs> {
        let image = lock(&self.world.disk).image(policy);
        let seed = lock(&self.world.rng).0;
        SimVfs::with_disk(image, seed)
    }

    /// A number that follows from all that programs see, names and bytes: two disks with the same one look alike,
    /// whatever of it is durable. Costs one pass over all bytes that are not zero.
    pub fn fingerprint(&self) -> u64 {
        let mut state = DefaultHasher::new();
        lock(&self.world.disk).hash_visible(&mut state);
        state.finish()
    }

    /// What goes wrong here.
    pub fn faults(&self) -> &Faults {
        &self.world.faults
    }

    /// How many calls so far tried to change the disk: writes, lengths, syncs, names.
    pub fn steps(&self) -> u64 {
        self.world.faults.steps()
    }

    /// Cuts the power as soon as [`SimVfs::steps`] is `step`: the call that would have been that step, counted from
    /// 0, and every later one, reads included, fails and reaches nothing.
    pub fn crash_at(&self, step: u64) {
        self.world.faults.power_off_at(step);
    }

    /// Bytes that files take up.
    pub fn used_bytes(&self) -> u64 {
        lock(&self.world.disk).used.load(Ordering::Relaxed)
    }
}

/// The same path for every spelling of it that names no parent.
fn normal(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

fn failure(kind: io::ErrorKind) -> io::Error {
    io::Error::from(kind)
}

fn eio() -> io::Error {
    rustix::io::Errno::IO.into()
}

impl World {
    /// Decides about a call that can only happen or not.
    fn pass(&self, op: FaultOp, action: &'static str, path: &Path) -> Result<()> {
        match self.faults.decide(op) {
            Verdict::Done => Ok(()),
            Verdict::Fails | Verdict::NoPower => Err(Error::io(action, path, eio())),
        }
    }

    /// Fails without power; asking costs no step.
    fn powered(&self, action: &'static str, path: &Path) -> Result<()> {
        if self.faults.has_power() { Ok(()) } else { Err(Error::io(action, path, eio())) }
    }
}

/// Runs `f` on the directory of `path` and the name in it.
fn in_dir<R>(
    disk: &mut Disk,
    action: &'static str,
    path: &Path,
    f: impl FnOnce(&mut Dir, &str) -> Result<R>,
) -> Result<R> {
    let fail = |kind| Error::io(action, path, failure(kind));
    let name = path.file_name().and_then(|name| name.to_str()).ok_or(fail(io::ErrorKind::InvalidInput))?;
    if disk.dirs.contains_key(&normal(path)) {
        return Err(fail(io::ErrorKind::IsADirectory));
    }
    let dir = disk.dirs.get_mut(&normal(&parent_of(path))).ok_or(fail(io::ErrorKind::NotFound))?;
    f(dir, name)
}

fn found<'a>(dir: &'a Dir, name: &str, action: &'static str, path: &Path) -> Result<&'a Node> {
    dir.get(name).ok_or_else(|| Error::io(action, path, failure(io::ErrorKind::NotFound)))
}

impl Vfs for SimVfs {
    fn open(&self, path: &Path, options: OpenOptions, _cause: Cause) -> Result<Arc<dyn VfsFile>> {
        let mut disk = lock(&self.world.disk);
        let used = Arc::clone(&disk.used);
        let node = match options.create {
            Create::Never => {
                self.world.powered("open", path)?;
                in_dir(&mut disk, "open", path, |dir, name| found(dir, name, "open", path).cloned())?
            }
            Create::New => {
                self.world.pass(FaultOp::Create, "create", path)?;
                in_dir(&mut disk, "create", path, |dir, name| {
                    if dir.get(name).is_some() {
                        return Err(Error::io("create", path, failure(io::ErrorKind::AlreadyExists)));
                    }
                    let node = Inode::empty(&used);
                    dir.link(name, &node);
                    Ok(node)
                })?
            }
        };
        let world = Arc::clone(&self.world);
        Ok(Arc::new(SimFile { world, path: path.to_path_buf(), node, options }))
    }

    fn rename(&self, from: &Path, to: &Path, _cause: Cause) -> Result<()> {
        let mut disk = lock(&self.world.disk);
        self.world.pass(FaultOp::Rename, "rename", from)?;
        let fail = |kind| Error::io("rename", from, failure(kind));
        if normal(&parent_of(from)) != normal(&parent_of(to)) {
            // A rename between directories would be two pending operations here, and atomic in name only.
            return Err(fail(io::ErrorKind::CrossesDevices));
        }
        let to = to.file_name().and_then(|name| name.to_str()).ok_or(fail(io::ErrorKind::InvalidInput))?;
        in_dir(&mut disk, "rename", from, |dir, name| {
            if dir.rename(name, to) { Ok(()) } else { Err(fail(io::ErrorKind::NotFound)) }
        })
    }

    fn remove(&self, path: &Path, _cause: Cause) -> Result<()> {
        let mut disk = lock(&self.world.disk);
        self.world.pass(FaultOp::Remove, "remove", path)?;
        in_dir(&mut disk, "remove", path, |dir, name| {
            let missing = || Error::io("remove", path, failure(io::ErrorKind::NotFound));
            if dir.remove(name) { Ok(()) } else { Err(missing()) }
        })
    }

    fn list(&self, dir: &Path, _cause: Cause) -> Result<Vec<DirEntry>> {
        let disk = lock(&self.world.disk);
        self.world.powered("list", dir)?;
        let place = normal(dir);
        let Some(found) = disk.dirs.get(&place) else {
            return Err(Error::io("list", dir, failure(io::ErrorKind::NotFound)));
        };
        let files = found.names().map(|name| DirEntry { name: name.clone(), is_file: true });
        let inner = disk.dirs.keys().filter(|path| path.parent() == Some(&place));
        let inner = inner.filter_map(|path| path.file_name()?.to_str());
        let dirs = inner.map(|name| DirEntry { name: name.to_owned(), is_file: false });
        Ok(files.chain(dirs).collect())
    }

    fn create_dir(&self, dir: &Path, _cause: Cause) -> Result<()> {
        let mut disk = lock(&self.world.disk);
        self.world.pass(FaultOp::Create, "make the directory", dir)?;
        for path in normal(dir).ancestors() {
            let parent = normal(&parent_of(path));
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if disk.dirs.get(&parent).is_some_and(|found| found.get(name).is_some()) {
                return Err(Error::io("make the directory", dir, failure(io::ErrorKind::AlreadyExists)));
            }
            disk.dirs.entry(path.to_path_buf()).or_default();
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path, _cause: Cause) -> Result<()> {
        let mut disk = lock(&self.world.disk);
        self.world.pass(FaultOp::SyncDir, "sync the directory", dir)?;
        let Some(found) = disk.dirs.get_mut(&normal(dir)) else {
            return Err(Error::io("sync the directory", dir, failure(io::ErrorKind::NotFound)));
        };
        found.sync();
        Ok(())
    }

    fn try_lock(&self, path: &Path, _cause: Cause) -> Result<Box<dyn LockGuard>> {
        let mut disk = lock(&self.world.disk);
        self.world.powered("lock", path)?;
        let used = Arc::clone(&disk.used);
        in_dir(&mut disk, "lock", path, |dir, name| {
            if dir.get(name).is_none() {
                self.world.pass(FaultOp::Create, "create", path)?;
                dir.link(name, &Inode::empty(&used));
            }
            Ok(())
        })?;
        let place = normal(path);
        if !lock(&self.world.locks).insert(place.clone()) {
            return Err(Error::Locked { path: parent_of(path) });
        }
        Ok(Box::new(SimLock { world: Arc::clone(&self.world), place }))
    }

    fn hard_link(&self, from: &Path, to: &Path, _cause: Cause) -> Result<()> {
        let mut disk = lock(&self.world.disk);
        self.world.pass(FaultOp::Create, "link", from)?;
        let node = in_dir(&mut disk, "link", from, |dir, name| found(dir, name, "link", from).cloned())?;
        in_dir(&mut disk, "link", to, |dir, name| {
            if dir.get(name).is_some() {
                return Err(Error::io("link", to, failure(io::ErrorKind::AlreadyExists)));
            }
            dir.link(name, &node);
            Ok(())
        })
    }

    fn free_space(&self, dir: &Path) -> Result<u64> {
        self.world.powered("ask for the free space of", dir)?;
        Ok(self.world.faults.room(self.used_bytes()).unwrap_or(Content::LEN_MAX))
    }
}

#[derive(Debug)]
struct SimLock {
    world: Arc<World>,
    place: PathBuf,
}

impl LockGuard for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        lock(&self.world.locks).remove(&self.place);
    }
}

#[derive(Debug)]
struct SimFile {
    world: Arc<World>,
    path: PathBuf,
    node: Node,
    options: OpenOptions,
}

impl SimFile {
    fn fail(&self, action: &'static str, kind: io::ErrorKind) -> Error {
        Error::io(action, &self.path, failure(kind))
    }

    fn check_writable(&self, action: &'static str) -> Result<()> {
        if self.options.write { Ok(()) } else { Err(self.fail(action, io::ErrorKind::PermissionDenied)) }
    }

    /// The length that growing from `len` to `wanted` reaches, given the space.
    fn reach(&self, disk: &Disk, len: u64, wanted: u64) -> u64 {
        let grown = wanted.max(len);
        if grown > Content::LEN_MAX {
            return len;
        }
        let room = self.world.faults.room(disk.used.load(Ordering::Relaxed));
        room.map_or(grown, |room| grown.min(len.saturating_add(room)))
    }

    fn resize(&self, action: &'static str, wanted: impl FnOnce(u64) -> u64) -> Result<()> {
        let disk = lock(&self.world.disk);
        self.world.pass(FaultOp::Resize, action, &self.path)?;
        self.check_writable(action)?;
        let mut node = lock(&self.node);
        let len = node.now().len();
        let wanted = wanted(len);
        if self.reach(&disk, len, wanted) < wanted {
            self.world.faults.met_limit();
            return Err(self.fail(action, io::ErrorKind::StorageFull));
        }
        if wanted != len {
            node.set_len(wanted);
        }
        Ok(())
    }
}

impl VfsFile for SimFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8], _cause: Cause) -> Result<usize> {
        let _world = lock(&self.world.disk);
        self.world.pass(FaultOp::Read, "read", &self.path)?;
        if self.options.direct {
            check_aligned(&self.path, "read", offset, buffer)?;
        }
        Ok(lock(&self.node).now().read(offset, buffer))
    }

    fn write_at(&self, offset: u64, parts: &[IoSlice<'_>], _cause: Cause) -> Result<()> {
        let disk = lock(&self.world.disk);
        let verdict = self.world.faults.decide(FaultOp::Write);
        if verdict == Verdict::NoPower {
            return Err(Error::io("write", &self.path, eio()));
        }
        self.check_writable("write")?;
        let mut bytes = Vec::new();
        for part in parts {
            if self.options.direct {
                check_aligned(&self.path, "write", offset + bytes.len() as u64, part)?;
            }
            bytes.extend_from_slice(part);
        }
        let mut node = lock(&self.node);
        let end = offset.saturating_add(bytes.len() as u64);
        let reached = self.reach(&disk, node.now().len(), end);
        let full = !bytes.is_empty() && reached < end;
        if full {
            bytes.truncate(usize::try_from(reached.saturating_sub(offset)).unwrap_or(0));
        }
        if verdict == Verdict::Fails {
            bytes.truncate(bytes.len() / 2);
        }
        if !bytes.is_empty() {
            node.write(offset, &bytes);
        }
        if verdict == Verdict::Fails {
            return Err(Error::io("write", &self.path, eio()));
        }
        if full {
            self.world.faults.met_limit();
            return Err(self.fail("write", io::ErrorKind::StorageFull));
        }
        Ok(())
    }

    fn allocate(&self, len: u64, _cause: Cause) -> Result<()> {
        self.resize("allocate space for", |found| found.max(len))
    }

    fn set_len(&self, len: u64, _cause: Cause) -> Result<()> {
        self.resize("set the length of", |_| len)
    }

    fn sync_data(&self, _cause: Cause) -> Result<()> {
        let _world = lock(&self.world.disk);
        match self.world.faults.decide(FaultOp::Sync) {
            Verdict::Done => lock(&self.node).sync(),
            Verdict::NoPower => return Err(Error::io("sync", &self.path, eio())),
            Verdict::Fails => {
                lock(&self.node).fail_sync(&mut lock(&self.world.rng));
                return Err(Error::io("sync", &self.path, eio()));
            }
        }
        Ok(())
    }

    fn sync_all(&self, cause: Cause) -> Result<()> {
        self.sync_data(cause)
    }

    fn len(&self) -> Result<u64> {
        self.world.powered("ask for the length of", &self.path)?;
        Ok(lock(&self.node).now().len())
    }

    fn align(&self) -> usize {
        if self.options.direct { DIRECT_ALIGN } else { 1 }
    }

    fn map(&self) -> Option<Arc<dyn Map>> {
        let node = lock(&self.node);
        let mut bytes = vec![0; usize::try_from(node.now().len()).ok()?];
        node.now().read(0, &mut bytes);
        Some(Arc::new(SimMap { bytes }))
    }
}

/// A copy stands in for a map: mapped files do not change.
#[derive(Debug)]
struct SimMap {
    bytes: Vec<u8>,
}

impl Map for SimMap {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
