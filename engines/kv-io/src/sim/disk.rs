//! What a simulated disk holds: the state that programs see, the state that is durable, and what is pending.
//!
//! file      = durable bytes + pending writes and lengths, in order; a sync makes them durable
//! directory = durable names + pending links, renames, removals and directories, in order; a sync makes them durable
//!
//! A crash image is the durable state plus what the policy lets through of the pending operations. A directory is
//! there after a crash only if its name in its parent is.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::inode::{Node, Rng};
use super::policy::{CrashPolicy, Names as Left};
use crate::sync::Mutex;
use crate::sync::atomic::AtomicU64;
use crate::sync::lock;

type Names = BTreeMap<String, Node>;

#[derive(Debug, Clone)]
enum DirOp {
    Link { name: String, node: Node },
    Rename { from: String, to: String, node: Node },
    Remove { name: String },
}

impl DirOp {
    fn apply(&self, names: &mut Names) {
        match self {
            DirOp::Link { name, node } => {
                names.insert(name.clone(), Arc::clone(node));
            }
            DirOp::Rename { from, to, node } => {
                if names.get(from).is_some_and(|found| Arc::ptr_eq(found, node)) {
                    names.remove(from);
                }
                names.insert(to.clone(), Arc::clone(node));
            }
            DirOp::Remove { name } => {
                names.remove(name);
            }
        }
    }

    /// The name and file this operation leaves in the directory.
    fn leaves(&self) -> Option<(&String, &Node)> {
        match self {
            DirOp::Link { name, node } => Some((name, node)),
            DirOp::Rename { to, node, .. } => Some((to, node)),
            DirOp::Remove { .. } => None,
        }
    }

    fn node(&self) -> Option<&Node> {
        self.leaves().map(|(_, node)| node)
    }
}

/// A directory.
#[derive(Debug, Default)]
pub(super) struct Dir {
    now: Names,
    durable: Names,
    /// What waits for a sync, with the stamp of each.
    pending: Vec<(u64, DirOp)>,
    /// The stamp of its making, while its name in its parent waits for a sync.
    made: Option<u64>,
}

impl Dir {
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        self.now.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.now.keys()
    }

    fn push(&mut self, stamp: u64, op: DirOp) {
        op.apply(&mut self.now);
        self.pending.push((stamp, op));
    }

    pub(super) fn link(&mut self, stamp: u64, name: &str, node: &Node) {
        lock(node).names += 1;
        self.push(stamp, DirOp::Link { name: name.to_owned(), node: Arc::clone(node) });
    }

    /// False if there is no such name.
    pub(super) fn rename(&mut self, stamp: u64, from: &str, to: &str) -> bool {
        let Some(node) = self.now.get(from).map(Arc::clone) else { return false };
        if from != to {
            if let Some(replaced) = self.now.get(to) {
                lock(replaced).names -= 1;
            }
            self.push(stamp, DirOp::Rename { from: from.to_owned(), to: to.to_owned(), node });
        }
        true
    }

    /// False if there is no such name.
    pub(super) fn remove(&mut self, stamp: u64, name: &str) -> bool {
        let Some(node) = self.now.get(name) else { return false };
        lock(node).names -= 1;
        self.push(stamp, DirOp::Remove { name: name.to_owned() });
        true
    }

    fn sync(&mut self) {
        self.durable.clone_from(&self.now);
        self.pending.clear();
    }

    /// The durable names with any subset of the pending operations. A rename is one operation: the file is there
    /// under the old name or under the new one, and a name that was replaced holds the old file or the new one.
    fn torn(&self, rng: &mut Rng) -> Names {
        let share = rng.next() % 9;
        let mut kept: Vec<&DirOp> = Vec::new();
        for (_, op) in self.pending.iter().rev() {
            // A later rename that is kept moved what this operation left, so this one has happened too.
            let needed = op.leaves().is_some_and(|(name, node)| {
                kept.iter().any(|later| {
                    matches!(later, DirOp::Rename { from, node: moved, .. }
                        if from == name && Arc::ptr_eq(moved, node))
                })
            });
            if needed || rng.chance(share) {
                kept.push(op);
            }
        }
        self.with(kept.into_iter().rev())
    }

    fn with<'a>(&self, ops: impl Iterator<Item = &'a DirOp>) -> Names {
        let mut names = self.durable.clone();
        ops.for_each(|op| op.apply(&mut names));
        names
    }

    /// The names that a crash leaves.
    fn left(&self, left: Left, rng: &mut Rng) -> Names {
        match left {
            Left::Now => self.now.clone(),
            Left::Durable => self.durable.clone(),
            Left::Torn => self.torn(rng),
            Left::Before(end) => {
                self.with(self.pending.iter().take_while(|(stamp, _)| *stamp < end).map(|(_, op)| op))
            }
            Left::Removals => {
                let removals = self.pending.iter().filter(|(_, op)| matches!(op, DirOp::Remove { .. }));
                self.with(removals.map(|(_, op)| op))
            }
        }
    }

    /// True if a crash leaves the directory itself, as far as its own name goes.
    fn is_left(&self, left: Left, rng: &mut Rng) -> bool {
        let Some(made) = self.made else { return true };
        match left {
            Left::Now => true,
            Left::Durable | Left::Removals => false,
            Left::Before(end) => made < end,
            Left::Torn => rng.chance(4),
        }
    }
}

/// All directories of a disk; each holds its files by name.
#[derive(Debug, Default)]
pub(super) struct Disk {
    dirs: BTreeMap<PathBuf, Dir>,
    /// Bytes that files take up.
    pub(super) used: Arc<AtomicU64>,
    /// Changes so far: the stamp of the last one.
    stamps: u64,
}

impl Disk {
    /// A stamp for the change that is about to happen.
    pub(super) fn stamp(&mut self) -> u64 {
        self.stamps += 1;
        self.stamps
    }

    pub(super) fn dir(&self, path: &Path) -> Option<&Dir> {
        self.dirs.get(path)
    }

    pub(super) fn dir_mut(&mut self, path: &Path) -> Option<&mut Dir> {
        self.dirs.get_mut(path)
    }

    /// The names of the directories in the one at `path`.
    pub(super) fn dirs_in<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a str> {
        let inner = self.dirs.keys().filter(move |inner| inner.parent() == Some(path));
        inner.filter_map(|inner| inner.file_name()?.to_str())
    }

    /// A directory that was always there.
    pub(super) fn add_root(&mut self, path: &str) {
        self.dirs.entry(PathBuf::from(path)).or_default();
    }

    /// Makes a directory if it is not there.
    pub(super) fn make_dir(&mut self, path: &Path) {
        if !self.dirs.contains_key(path) {
            let made = Some(self.stamp());
            self.dirs.insert(path.to_path_buf(), Dir { made, ..Dir::default() });
        }
    }

    /// Makes the names in a directory durable, those of directories too. `None` if it is not there; else whether
    /// there was anything to do.
    pub(super) fn sync_dir(&mut self, path: &Path) -> Option<bool> {
        let dir = self.dirs.get_mut(path)?;
        let mut had_work = !dir.pending.is_empty();
        dir.sync();
        for (inner, dir) in &mut self.dirs {
            if inner.parent() == Some(path) {
                had_work |= dir.made.take().is_some();
            }
        }
        Some(had_work)
    }

    /// Feeds every name and every byte that programs see into `state`.
    pub(super) fn hash_visible(&self, state: &mut impl Hasher) {
        use std::hash::Hash as _;
        for (path, dir) in &self.dirs {
            path.hash(state);
            dir.now.len().hash(state);
            for (name, node) in &dir.now {
                name.hash(state);
                lock(node).now().hash(state);
            }
        }
    }

    /// The stamps of all that is pending, in order.
    fn pending_stamps(&self) -> Vec<u64> {
        let mut stamps = BTreeSet::new();
        for dir in self.dirs.values() {
            stamps.extend(dir.made);
            stamps.extend(dir.pending.iter().map(|(stamp, _)| *stamp));
            let pending = dir.pending.iter().filter_map(|(_, op)| op.node());
            for node in dir.now.values().chain(dir.durable.values()).chain(pending) {
                stamps.extend(lock(node).stamps());
            }
        }
        stamps.into_iter().collect()
    }

    /// What a crash leaves. Files keep their second names.
    pub(super) fn image(&self, policy: CrashPolicy) -> Disk {
        let mut rng = Rng(policy.seed());
        let (bytes, left) = policy.effect(|| self.pending_stamps());
        let mut image = Disk { stamps: self.stamps, ..Disk::default() };
        let mut copies: BTreeMap<usize, Node> = BTreeMap::new();
        let used = Arc::clone(&image.used);
        let lives_on = policy.is_process_death();
        for (path, dir) in &self.dirs {
            let has_parent = path.parent().is_none_or(|parent| image.dirs.contains_key(parent));
            if !has_parent || !dir.is_left(left, &mut rng) {
                continue;
            }
            let survivors = dir.left(left, &mut rng);
            let mut copy_of = |node: &Node| {
                let fresh = || {
                    let node = lock(node);
                    let copy = if lives_on { node.copy(&used) } else { node.image(bytes, &mut rng, &used) };
                    Arc::new(Mutex::new(copy))
                };
                Arc::clone(copies.entry(Arc::as_ptr(node).addr()).or_insert_with(fresh))
            };
            let mut names = |from: &Names| -> Names {
                from.iter().map(|(name, node)| (name.clone(), copy_of(node))).collect()
            };
            let now = names(&survivors);
            now.values().for_each(|node| lock(node).names += 1);
            let copy = if lives_on {
                let durable = names(&dir.durable);
                Dir { now, durable, pending: copy_pending(&dir.pending, &mut copy_of), made: dir.made }
            } else {
                Dir { durable: now.clone(), now, pending: Vec::new(), made: None }
            };
            image.dirs.insert(path.clone(), copy);
        }
        image
    }
}

fn copy_pending(pending: &[(u64, DirOp)], copy_of: &mut dyn FnMut(&Node) -> Node) -> Vec<(u64, DirOp)> {
    let mut copy = |op: &DirOp| match op {
        DirOp::Link { name, node } => DirOp::Link { name: name.clone(), node: copy_of(node) },
        DirOp::Rename { from, to, node } => {
            DirOp::Rename { from: from.clone(), to: to.clone(), node: copy_of(node) }
        }
        DirOp::Remove { name } => DirOp::Remove { name: name.clone() },
    };
    pending.iter().map(|(stamp, op)| (*stamp, copy(op))).collect()
}
