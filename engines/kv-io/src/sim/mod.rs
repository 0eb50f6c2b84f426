//! A disk in memory that remembers what was synced: crash images, injected faults, power cut at any call.
//!
//! Nothing becomes durable except by a sync: bytes by a sync of their file, names by a sync of their directory.
//! [`SimVfs::crash`] gives the disk that a crash would leave, as often as asked and under any policy, while the
//! original lives on. Two kinds of tests come from that: take an image after any operation and open it; or set
//! [`SimVfs::crash_at`] to one step after another, run, and open what is left.
//!
//! The model is that of ALICE (Pillai et al., OSDI 2014), down to single bytes.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher as _};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use kv_api::{Cause, Error, Result};

use self::content::Content;
use self::disk::{Dir, Disk};
use self::faults::Verdict;
use self::file::SimFile;
use self::inode::{Inode, Node, Rng};
use self::rules::Rules;
use crate::sync::Mutex;
use crate::sync::atomic::Ordering;
use crate::sync::lock;
use crate::vfs::{Create, DirEntry, LockGuard, OpenOptions, Vfs, VfsFile, parent_of};

mod content;
mod disk;
mod faults;
mod file;
mod inode;
mod policy;
mod rules;

pub use faults::{Effect, FaultOp, Faults, Repeat};
pub use policy::CrashPolicy;

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
    rules: Rules,
}

impl SimVfs {
    /// An empty disk. `seed` decides what a failed sync leaves behind.
    pub fn new(seed: u64) -> Arc<SimVfs> {
        SimVfs::with_disk(Disk::default(), seed)
    }

    fn with_disk(mut disk: Disk, seed: u64) -> Arc<SimVfs> {
        for root in ["", "/"] {
            disk.add_root(root);
        }
        let world = World {
            disk: Mutex::new(disk),
            locks: Mutex::default(),
            rng: Mutex::new(Rng(seed)),
            faults: Faults::default(),
            rules: Rules::default(),
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

    /// What was asked of this disk that no engine should ask: a write to a file without a name, a read for a get, a
    /// scan, a flush or a merge of bytes that were never written. The first few; a crash image begins with none.
    pub fn broken_rules(&self) -> Vec<String> {
        self.world.rules.broken()
    }

    /// Syncs so far of files and directories that had nothing to sync: a waste.
    pub fn idle_syncs(&self) -> u64 {
        self.world.rules.idle_syncs()
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

/// How a call fails that can only fail.
fn error_of(effect: Effect) -> io::Error {
    match effect {
        Effect::NoSpace => failure(io::ErrorKind::StorageFull),
        _ => eio(),
    }
}

impl World {
    /// Decides about a call that can only happen or not.
    fn pass(&self, op: FaultOp, action: &'static str, path: &Path) -> Result<()> {
        match self.faults.decide(op, None) {
            Verdict::Done => Ok(()),
            Verdict::Hit(effect) => Err(Error::io(action, path, error_of(effect))),
            Verdict::NoPower => Err(Error::io(action, path, eio())),
        }
    }

    /// Fails without power; asking costs no step.
    fn powered(&self, action: &'static str, path: &Path) -> Result<()> {
        if self.faults.has_power() { Ok(()) } else { Err(Error::io(action, path, eio())) }
    }
}

/// Runs `f` on the directory of `path`, the name in it, and a stamp for the change.
fn in_dir<R>(
    disk: &mut Disk,
    action: &'static str,
    path: &Path,
    f: impl FnOnce(&mut Dir, &str, u64) -> Result<R>,
) -> Result<R> {
    let fail = |kind| Error::io(action, path, failure(kind));
    let name = path.file_name().and_then(|name| name.to_str()).ok_or(fail(io::ErrorKind::InvalidInput))?;
    if disk.dir(&normal(path)).is_some() {
        return Err(fail(io::ErrorKind::IsADirectory));
    }
    let stamp = disk.stamp();
    let dir = disk.dir_mut(&normal(&parent_of(path))).ok_or(fail(io::ErrorKind::NotFound))?;
    f(dir, name, stamp)
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
                self.world.pass(FaultOp::Open, "open", path)?;
                in_dir(&mut disk, "open", path, |dir, name, _| found(dir, name, "open", path).cloned())?
            }
            Create::New => {
                self.world.pass(FaultOp::Create, "create", path)?;
                in_dir(&mut disk, "create", path, |dir, name, stamp| {
                    if dir.get(name).is_some() {
                        return Err(Error::io("create", path, failure(io::ErrorKind::AlreadyExists)));
                    }
                    let node = Inode::empty(&used);
                    dir.link(stamp, name, &node);
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
        in_dir(&mut disk, "rename", from, |dir, name, stamp| {
            if dir.rename(stamp, name, to) { Ok(()) } else { Err(fail(io::ErrorKind::NotFound)) }
        })
    }

    fn remove(&self, path: &Path, _cause: Cause) -> Result<()> {
        let mut disk = lock(&self.world.disk);
        self.world.pass(FaultOp::Remove, "remove", path)?;
        in_dir(&mut disk, "remove", path, |dir, name, stamp| {
            let missing = || Error::io("remove", path, failure(io::ErrorKind::NotFound));
            if dir.remove(stamp, name) { Ok(()) } else { Err(missing()) }
        })
    }

    fn list(&self, dir: &Path, _cause: Cause) -> Result<Vec<DirEntry>> {
        let disk = lock(&self.world.disk);
        self.world.pass(FaultOp::List, "list", dir)?;
        let place = normal(dir);
        let Some(found) = disk.dir(&place) else {
            return Err(Error::io("list", dir, failure(io::ErrorKind::NotFound)));
        };
        let files = found.names().map(|name| DirEntry { name: name.clone(), is_file: true });
        let dirs = disk.dirs_in(&place).map(|name| DirEntry { name: name.to_owned(), is_file: false });
        Ok(files.chain(dirs).collect())
    }

    fn create_dir(&self, dir: &Path, _cause: Cause) -> Result<()> {
        let mut disk = lock(&self.world.disk);
        self.world.pass(FaultOp::Create, "make the directory", dir)?;
        for path in normal(dir).ancestors() {
            let parent = normal(&parent_of(path));
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if disk.dir(&parent).is_some_and(|found| found.get(name).is_some()) {
                return Err(Error::io("make the directory", dir, failure(io::ErrorKind::AlreadyExists)));
            }
        }
        normal(dir).ancestors().for_each(|path| disk.make_dir(path));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path, _cause: Cause) -> Result<()> {
        self.world.faults.wait_if_slow(FaultOp::SyncDir);
        let mut disk = lock(&self.world.disk);
        match self.world.faults.decide(FaultOp::SyncDir, None) {
            Verdict::Done => {}
            // Never "no space": a sync that failed has lost something, whatever the reason.
            _ => return Err(Error::io("sync the directory", dir, eio())),
        }
        let Some(had_work) = disk.sync_dir(&normal(dir)) else {
            return Err(Error::io("sync the directory", dir, failure(io::ErrorKind::NotFound)));
        };
        if !had_work {
            self.world.rules.idle_sync();
        }
        Ok(())
    }

    fn try_lock(&self, path: &Path, _cause: Cause) -> Result<Box<dyn LockGuard>> {
        let mut disk = lock(&self.world.disk);
        self.world.powered("lock", path)?;
        let used = Arc::clone(&disk.used);
        in_dir(&mut disk, "lock", path, |dir, name, stamp| {
            if dir.get(name).is_none() {
                self.world.pass(FaultOp::Create, "create", path)?;
                dir.link(stamp, name, &Inode::empty(&used));
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
        let node = in_dir(&mut disk, "link", from, |dir, name, _| found(dir, name, "link", from).cloned())?;
        in_dir(&mut disk, "link", to, |dir, name, stamp| {
            if dir.get(name).is_some() {
                return Err(Error::io("link", to, failure(io::ErrorKind::AlreadyExists)));
            }
            dir.link(stamp, name, &node);
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
