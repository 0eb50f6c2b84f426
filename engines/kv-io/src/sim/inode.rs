//! A file of a simulated disk: the bytes that programs see, the durable ones, and what is pending between them.

use std::sync::Arc;

use super::content::Content;
use super::policy::Bytes;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

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
    pub(super) fn chance(&mut self, eighths: u64) -> bool {
        self.next() % 8 < eighths
    }

    /// A place among `len`, 0 if there is none.
    pub(super) fn below(&mut self, len: usize) -> usize {
        usize::try_from(self.next() % (len as u64).max(1)).unwrap_or(0)
    }
}

#[derive(Debug, Clone)]
enum FileOp {
    Write { offset: u64, bytes: Arc<[u8]> },
    SetLen(u64),
}

impl FileOp {
    fn apply(&self, content: &mut Content) {
        match self {
            FileOp::Write { offset, bytes } => content.write(*offset, bytes),
            FileOp::SetLen(len) => content.set_len(*len),
        }
    }
}

/// A file, whatever its names.
#[derive(Debug)]
pub(super) struct Inode {
    now: Content,
    durable: Content,
    /// What was durable before the last sync: what a stale read gives.
    stale: Content,
    /// What waits for a sync, with the stamp of each.
    pending: Vec<(u64, FileOp)>,
    /// True once a sync failed: what was pending then never becomes durable, though readers still see it.
    lost_writes: bool,
    /// How many names it has.
    pub(super) names: usize,
    used: Arc<AtomicU64>,
}

pub(super) type Node = Arc<Mutex<Inode>>;

impl Inode {
    fn new(now: Content, durable: Content, used: &Arc<AtomicU64>) -> Inode {
        used.fetch_add(now.len(), Ordering::Relaxed);
        let used = Arc::clone(used);
        let stale = Content::default();
        Inode { now, durable, stale, pending: Vec::new(), lost_writes: false, names: 0, used }
    }

    pub(super) fn empty(used: &Arc<AtomicU64>) -> Node {
        Arc::new(Mutex::new(Inode::new(Content::default(), Content::default(), used)))
    }

    pub(super) fn now(&self) -> &Content {
        &self.now
    }

    /// Fills `buffer` as if the last sync had never been; zeros where there was nothing.
    pub(super) fn read_stale(&self, offset: u64, buffer: &mut [u8]) {
        let found = self.stale.read(offset, buffer);
        buffer.get_mut(found..).unwrap_or_default().fill(0);
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(super) fn stamps(&self) -> impl Iterator<Item = u64> {
        self.pending.iter().map(|(stamp, _)| *stamp)
    }

    pub(super) fn write(&mut self, stamp: u64, offset: u64, bytes: &[u8]) {
        let before = self.now.len();
        self.now.write(offset, bytes);
        self.used.fetch_add(self.now.len() - before, Ordering::Relaxed);
        self.pending.push((stamp, FileOp::Write { offset, bytes: Arc::from(bytes) }));
    }

    pub(super) fn set_len(&mut self, stamp: u64, len: u64) {
        self.used.fetch_sub(self.now.len(), Ordering::Relaxed);
        self.now.set_len(len);
        self.used.fetch_add(len, Ordering::Relaxed);
        self.pending.push((stamp, FileOp::SetLen(len)));
    }

    pub(super) fn sync(&mut self) {
        if !self.has_pending() {
            return;
        }
        if !self.lost_writes {
            self.stale = std::mem::replace(&mut self.durable, self.now.clone());
            self.pending.clear();
            return;
        }
        self.stale = self.durable.clone();
        for (_, op) in std::mem::take(&mut self.pending) {
            op.apply(&mut self.durable);
        }
    }

    /// A sync that fails: part of the writes arrived, the rest is marked clean and never written.
    pub(super) fn fail_sync(&mut self, rng: &mut Rng) {
        self.durable = self.torn(512, rng);
        self.pending.clear();
        self.lost_writes = true;
    }

    /// A sync that fails, after which readers see what the disk has.
    pub(super) fn revert(&mut self) {
        self.used.fetch_sub(self.now.len(), Ordering::Relaxed);
        self.now = self.durable.clone();
        self.used.fetch_add(self.now.len(), Ordering::Relaxed);
        self.pending.clear();
        self.lost_writes = false;
    }

    /// The durable bytes with any subset of the pending operations, writes torn between units of so many bytes. A
    /// subset in order covers every reordering: what matters of two writes to a unit is which one, if any, is there.
    fn torn(&self, unit: u64, rng: &mut Rng) -> Content {
        let mut content = self.durable.clone();
        // All, none, and everything between: each file draws its own share.
        let share = rng.next() % 9;
        for (_, op) in &self.pending {
            match op {
                FileOp::SetLen(len) if rng.chance(share) => content.set_len(*len),
                FileOp::SetLen(_) => {}
                FileOp::Write { offset, bytes } if unit == 1 => {
                    tear_bytes(&mut content, *offset, bytes, share, rng);
                }
                FileOp::Write { offset, bytes } => {
                    let (mut start, mut rest) = (*offset, &bytes[..]);
                    while !rest.is_empty() {
                        let in_unit = usize::try_from(unit - start % unit).unwrap_or(rest.len());
                        let (piece, tail) = rest.split_at(rest.len().min(in_unit));
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

    /// The durable bytes in a file as long as the pending operations made it.
    fn longer(&self, garbage: bool, rng: &mut Rng) -> Content {
        let mut content = self.durable.clone();
        let from = content.len();
        let len = self.now.len();
        if len <= from || rng.chance(2) {
            return content;
        }
        content.set_len(len);
        let mut bytes = vec![0; usize::try_from(len - from).unwrap_or(0)];
        if garbage {
            for piece in bytes.chunks_mut(8) {
                let draw = rng.next().to_le_bytes();
                piece.iter_mut().zip(draw).for_each(|(byte, drawn)| *byte = drawn);
            }
            content.write(from, &bytes);
        }
        content
    }

    /// The pending writes as far as they fit into the durable length.
    fn without_length(&self) -> Content {
        let mut content = self.durable.clone();
        let len = content.len();
        for (_, op) in &self.pending {
            if let FileOp::Write { offset, bytes } = op {
                content.write(*offset, bytes);
            }
        }
        content.set_len(len);
        content
    }

    /// What is left of the file after a crash.
    pub(super) fn image(&self, left: Bytes, rng: &mut Rng, used: &Arc<AtomicU64>) -> Inode {
        let survivor = match left {
            Bytes::Now => self.now.clone(),
            Bytes::Durable => self.durable.clone(),
            Bytes::Torn(unit) => self.torn(unit, rng),
            Bytes::Length { garbage } => self.longer(garbage, rng),
            Bytes::WithoutLength => self.without_length(),
            Bytes::Before(end) => {
                let mut content = self.durable.clone();
                let kept = self.pending.iter().take_while(|(stamp, _)| *stamp < end);
                kept.for_each(|(_, op)| op.apply(&mut content));
                content
            }
        };
        Inode::new(survivor.clone(), survivor, used)
    }

    /// The same file on the disk of a machine that did not fail: what is pending stays pending.
    pub(super) fn copy(&self, used: &Arc<AtomicU64>) -> Inode {
        let mut copy = Inode::new(self.now.clone(), self.durable.clone(), used);
        copy.stale = self.stale.clone();
        copy.pending.clone_from(&self.pending);
        copy.lost_writes = self.lost_writes;
        copy
    }
}

/// A write of which bytes are missing: the end of it, or any, or all.
fn tear_bytes(content: &mut Content, offset: u64, bytes: &[u8], share: u64, rng: &mut Rng) {
    if rng.chance(4) {
        let there = rng.below(bytes.len() + 1);
        content.write(offset, bytes.get(..there).unwrap_or_default());
        return;
    }
    let mut mixed = vec![0; bytes.len()];
    content.read(offset, &mut mixed);
    let mut len = 0;
    for (at, (to, from)) in mixed.iter_mut().zip(bytes).enumerate() {
        if rng.chance(share) {
            *to = *from;
            len = at + 1;
        }
    }
    content.write(offset, mixed.get(..len).unwrap_or_default());
}

impl Drop for Inode {
    fn drop(&mut self) {
        self.used.fetch_sub(self.now.len(), Ordering::Relaxed);
    }
}
