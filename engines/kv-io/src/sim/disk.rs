//! What a simulated disk holds: the state that programs see, the state that is durable, and what is pending.
//!
//! file      = durable bytes + pending writes and lengths, in order; a sync makes them durable
//! directory = durable names + pending links, renames and removals, in order; a directory sync makes them durable
//!
//! A crash image is the durable state plus what the policy lets through of the pending operations. Directories
//! themselves are durable as soon as they are made.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::CrashPolicy;
use super::content::Content;
use crate::sync::lock;

/// A torn write is torn between units of this many bytes.
const SECTOR: u64 = 512;

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
#[derive(Debug)]
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// True in `eighths` of eight cases.
    fn chance(&mut self, eighths: u64) -> bool {
        self.next() % 8 < eighths
    }
}

#[derive(Debug, Clone)]
enum FileOp {
    Write { offset: u64, bytes: Arc<[u8]> },
    SetLen(u64),
}

/// A file, whatever its names.
#[derive(Debug)]
pub(super) struct Inode {
    now: Content,
    durable: Content,
    pending: Vec<FileOp>,
    /// True once a sync failed: what was pending then never becomes durable, though readers still see it.
    lost_writes: bool,
    used: Arc<AtomicU64>,
}

pub(super) type Node = Arc<Mutex<Inode>>;

impl Inode {
    fn new(now: Content, durable: Content, used: &Arc<AtomicU64>) -> Inode {
        used.fetch_add(now.len(), Ordering::Relaxed);
        Inode { now, durable, pending: Vec::new(), lost_writes: false, used: Arc::clone(used) }
    }

    pub(super) fn empty(used: &Arc<AtomicU64>) -> Node {
        Arc::new(Mutex::new(Inode::new(Content::default(), Content::default(), used)))
    }

    pub(super) fn now(&self) -> &Content {
        &self.now
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let before = self.now.len();
        self.now.write(offset, bytes);
        self.used.fetch_add(self.now.len() - before, Ordering::Relaxed);
        self.pending.push(FileOp::Write { offset, bytes: Arc::from(bytes) });
    }

    pub(super) fn set_len(&mut self, len: u64) {
        self.used.fetch_sub(self.now.len(), Ordering::Relaxed);
        self.now.set_len(len);
        self.used.fetch_add(len, Ordering::Relaxed);
        self.pending.push(FileOp::SetLen(len));
    }

    pub(super) fn sync(&mut self) {
        if !self.lost_writes {
            self.durable = self.now.clone();
            self.pending.clear();
            return;
        }
        for op in std::mem::take(&mut self.pending) {
            match op {
                FileOp::Write { offset, bytes } => self.durable.write(offset, &bytes),
                FileOp::SetLen(len) => self.durable.set_len(len),
            }
        }
    }

    /// A sync that fails the way Linux does it: part of the writes arrived, the rest is marked clean and never
    /// written (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020).
    pub(super) fn fail_sync(&mut self, rng: &mut Rng) {
        self.durable = self.torn(rng);
        self.pending.clear();
        self.lost_writes = true;
    }

    /// The durable bytes with any subset of the pending operations, writes torn between sectors. A subset in
    /// order covers every reordering: what matters of two writes to a sector is which one, if any, is there.
    fn torn(&self, rng: &mut Rng) -> Content {
        let mut content = self.durable.clone();
        // All, none, and everything between: each file draws its own share.
        let share = rng.next() % 9;
        for op in &self.pending {
            match op {
                FileOp::SetLen(len) if rng.chance(share) => content.set_len(*len),
                FileOp::SetLen(_) => {}
                FileOp::Write { offset, bytes } => {
                    let (mut start, mut rest) = (*offset, &bytes[..]);
                    while !rest.is_empty() {
                        let in_sector = usize::try_from(SECTOR - start % SECTOR).unwrap_or(rest.len());
                        let (piece, tail) = rest.split_at(rest.len().min(in_sector));
                        if rng.chance(share) {
                            content.write(start, piece);
                        }
                        start += piece.len() as u64;
                        rest = tail;
                    }
                }
            }
        }
        content
    }

    /// What is left of the file after a crash.
    fn image(&self, policy: CrashPolicy, rng: &mut Rng, used: &Arc<AtomicU64>) -> Inode {
        let survivor = match policy {
            CrashPolicy::KeepAll => {
                let mut copy = Inode::new(self.now.clone(), self.durable.clone(), used);
                copy.pending.clone_from(&self.pending);
                copy.lost_writes = self.lost_writes;
                return copy;
            }
            CrashPolicy::DropUnsynced => self.durable.clone(),
            CrashPolicy::Tear { .. } => self.torn(rng),
        };
        Inode::new(survivor.clone(), survivor, used)
    }
}

impl Drop for Inode {
    fn drop(&mut self) {
        self.used.fetch_sub(self.now.len(), Ordering::Relaxed);
    }
}

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
}

/// A directory.
#[derive(Debug, Default)]
pub(super) struct Dir {
    now: Names,
    durable: Names,
    pending: Vec<DirOp>,
}

impl Dir {
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        self.now.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.now.keys()
    }

    fn push(&mut self, op: DirOp) {
        op.apply(&mut self.now);
        self.pending.push(op);
    }

    pub(super) fn link(&mut self, name: &str, node: &Node) {
        self.push(DirOp::Link { name: name.to_owned(), node: Arc::clone(node) });
    }

    /// False if there is no such name.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> bool {
        let Some(node) = self.now.get(from).map(Arc::clone) else { return false };
        if from != to {
            self.push(DirOp::Rename { from: from.to_owned(), to: to.to_owned(), node });
        }
        true
    }

    /// False if there is no such name.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let found = self.now.contains_key(name);
        if found {
            self.push(DirOp::Remove { name: name.to_owned() });
        }
        found
    }

    pub(super) fn sync(&mut self) {
        self.durable.clone_from(&self.now);
        self.pending.clear();
    }

    /// The durable names with any subset of the pending operations. A rename is one operation: the file is there
    /// under the old name or under the new one, and a name that was replaced holds the old file or the new one.
    fn torn(&self, rng: &mut Rng) -> Names {
        let share = rng.next() % 9;
        let mut kept: Vec<&DirOp> = Vec::new();
        for op in self.pending.iter().rev() {
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
        let mut names = self.durable.clone();
        kept.iter().rev().for_each(|op| op.apply(&mut names));
        names
    }
}

/// All directories of a disk; each holds its files by name.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) dirs: BTreeMap<PathBuf, Dir>,
    /// Bytes that files take up.
    pub(super) used: Arc<AtomicU64>,
}

impl Disk {
    /// Feeds every name and every byte that programs see into `state`.
    pub(super) fn hash_visible(&self, state: &mut impl Hasher) {
        for (path, dir) in &self.dirs {
            path.hash(state);
            dir.now.len().hash(state);
            for (name, node) in &dir.now {
                name.hash(state);
                lock(node).now.hash(state);
            }
        }
    }

    /// What a crash leaves. Files keep their second names.
    pub(super) fn image(&self, policy: CrashPolicy) -> Disk {
        let mut rng = Rng(if let CrashPolicy::Tear { seed } = policy { seed } else { 0 });
        let mut image = Disk::default();
        let mut copies: BTreeMap<usize, Node> = BTreeMap::new();
        let used = Arc::clone(&image.used);
        for (path, dir) in &self.dirs {
            let survivors = match policy {
                CrashPolicy::KeepAll => dir.now.clone(),
                CrashPolicy::DropUnsynced => dir.durable.clone(),
                CrashPolicy::Tear { .. } => dir.torn(&mut rng),
            };
            let mut copy_of = |node: &Node| {
                let fresh = || Arc::new(Mutex::new(lock(node).image(policy, &mut rng, &used)));
                Arc::clone(copies.entry(Arc::as_ptr(node).addr()).or_insert_with(fresh))
            };
            let mut names = |from: &Names| -> Names {
                from.iter().map(|(name, node)| (name.clone(), copy_of(node))).collect()
            };
            let now = names(&survivors);
            let copy = if policy == CrashPolicy::KeepAll {
                let durable = names(&dir.durable);
                Dir { now, durable, pending: copy_pending(&dir.pending, &mut copy_of) }
            } else {
                Dir { durable: now.clone(), now, pending: Vec::new() }
            };
            image.dirs.insert(path.clone(), copy);
        }
        image
    }
}

fn copy_pending(pending: &[DirOp], copy_of: &mut dyn FnMut(&Node) -> Node) -> Vec<DirOp> {
    let copy = |op: &DirOp| match op {
        DirOp::Link { name, node } => DirOp::Link { name: name.clone(), node: copy_of(node) },
        DirOp::Rename { from, to, node } => {
            DirOp::Rename { from: from.clone(), to: to.clone(), node: copy_of(node) }
        }
        DirOp::Remove { name } => DirOp::Remove { name: name.clone() },
    };
    pending.iter().map(copy).collect()
}
