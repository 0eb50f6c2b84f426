//! An open file of a simulated disk, and what goes wrong with its bytes.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kv_api::{Cause, Error, Result};

use super::content::Content;
use super::disk::Disk;
use super::faults::{Effect, FaultOp, Reach, Verdict};
use super::inode::{Node, Rng};
use super::{World, eio, error_of, failure, rules};
use crate::sync::atomic::Ordering;
use crate::sync::lock;
use crate::vfs::{DIRECT_ALIGN, Map, OpenOptions, VfsFile, check_aligned};

/// How far from its place a misdirected write arrives.
const MISDIRECTED_BY: u64 = 4096;

/// Changes one bit.
fn flip(bytes: &mut [u8], rng: &mut Rng) {
    let at = rng.below(bytes.len());
    let bit = 1 << rng.below(8);
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= bit;
    }
}

/// A handle.
#[derive(Debug)]
pub(super) struct SimFile {
    pub(super) world: Arc<World>,
    pub(super) path: PathBuf,
    pub(super) node: Node,
    pub(super) options: OpenOptions,
}

impl SimFile {
    fn fail(&self, action: &'static str, kind: io::ErrorKind) -> Error {
        Error::io(action, &self.path, failure(kind))
    }

    fn check_writable(&self, action: &'static str) -> Result<()> {
        if self.options.write { Ok(()) } else { Err(self.fail(action, io::ErrorKind::PermissionDenied)) }
    }

    /// The length that growing from `len` to `wanted` reaches, given the space.
    fn reach_of(&self, disk: &Disk, len: u64, wanted: u64) -> u64 {
        let grown = wanted.max(len);
        if grown > Content::LEN_MAX {
            return len;
        }
        let room = self.world.faults.room(disk.used.load(Ordering::Relaxed));
        room.map_or(grown, |room| grown.min(len.saturating_add(room)))
    }

    fn reach(&self, offset: u64, len: usize) -> Reach<'_> {
        Reach { path: &self.path, bytes: offset..offset.saturating_add(len as u64) }
    }

    /// What goes wrong with a write: changes its bytes, and returns where they go and the error, if it has one.
    fn go_wrong(&self, verdict: Verdict, offset: u64, bytes: &mut Vec<u8>) -> (u64, Option<io::Error>) {
        let mut rng = lock(&self.world.rng);
        match verdict {
            Verdict::Done => (offset, None),
            Verdict::Hit(Effect::Flip) => {
                flip(bytes, &mut rng);
                (offset, None)
            }
            Verdict::Hit(Effect::Misdirect) => {
                let before = offset.checked_sub(MISDIRECTED_BY).filter(|_| rng.chance(4));
                (before.unwrap_or_else(|| offset.saturating_add(MISDIRECTED_BY)), None)
            }
            Verdict::Hit(effect) => {
                bytes.truncate(bytes.len() / 2);
                (offset, Some(error_of(effect)))
            }
            Verdict::NoPower => (offset, Some(eio())),
        }
    }

    fn resize(&self, action: &'static str, wanted: impl FnOnce(u64) -> u64) -> Result<()> {
        let mut disk = lock(&self.world.disk);
        self.world.pass(FaultOp::Resize, action, &self.path)?;
        self.check_writable(action)?;
        let mut node = lock(&self.node);
        let len = node.now().len();
        let wanted = wanted(len);
        if self.reach_of(&disk, len, wanted) < wanted {
            self.world.faults.met_limit();
            return Err(self.fail(action, io::ErrorKind::StorageFull));
        }
        if wanted != len {
            node.set_len(disk.stamp(), wanted);
        }
        Ok(())
    }
}

impl VfsFile for SimFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8], cause: Cause) -> Result<usize> {
        self.world.faults.wait_if_slow(FaultOp::Read);
        let _world = lock(&self.world.disk);
        let verdict = self.world.faults.decide(FaultOp::Read, Some(&self.reach(offset, buffer.len())));
        if self.options.direct {
            check_aligned(&self.path, "read", offset, buffer)?;
        }
        let node = lock(&self.node);
        let found = node.now().read(offset, buffer);
        if rules::knows_its_place(cause) && node.now().has_hole(offset, found) {
            self.world.rules.note("bytes were read that were never written, of", &self.path, cause);
        }
        let bytes = buffer.get_mut(..found).unwrap_or_default();
        match verdict {
            Verdict::Done => {}
            Verdict::Hit(Effect::Flip) => flip(bytes, &mut lock(&self.world.rng)),
            Verdict::Hit(Effect::Stale) => node.read_stale(offset, bytes),
            Verdict::Hit(_) | Verdict::NoPower => return Err(Error::io("read", &self.path, eio())),
        }
        Ok(found)
    }

    fn write_at(&self, offset: u64, parts: &[IoSlice<'_>], cause: Cause) -> Result<()> {
        self.world.faults.wait_if_slow(FaultOp::Write);
        let mut disk = lock(&self.world.disk);
        let len = parts.iter().map(|part| part.len()).sum();
        let verdict = self.world.faults.decide(FaultOp::Write, Some(&self.reach(offset, len)));
        if verdict == Verdict::NoPower {
            return Err(Error::io("write", &self.path, eio()));
        }
        self.check_writable("write")?;
        let mut bytes = Vec::with_capacity(len);
        for part in parts {
            if self.options.direct {
                check_aligned(&self.path, "write", offset + bytes.len() as u64, part)?;
            }
            bytes.extend_from_slice(part);
        }
        let (offset, failed) = self.go_wrong(verdict, offset, &mut bytes);
        let mut node = lock(&self.node);
        if node.names == 0 {
            self.world.rules.note("bytes were written to a file without a name,", &self.path, cause);
        }
        let end = offset.saturating_add(bytes.len() as u64);
        let reached = self.reach_of(&disk, node.now().len(), end);
        let full = !bytes.is_empty() && reached < end;
        if full {
            bytes.truncate(usize::try_from(reached.saturating_sub(offset)).unwrap_or(0));
        }
        if !bytes.is_empty() {
            node.write(disk.stamp(), offset, &bytes);
        }
        if let Some(error) = failed {
            return Err(Error::io("write", &self.path, error));
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
        self.world.faults.wait_if_slow(FaultOp::Sync);
        let _world = lock(&self.world.disk);
        let mut node = lock(&self.node);
        match self.world.faults.decide(FaultOp::Sync, None) {
            Verdict::Done => {
                if !node.has_pending() {
                    self.world.rules.idle_sync();
                }
                node.sync();
                return Ok(());
            }
            Verdict::NoPower => {}
            Verdict::Hit(Effect::Revert) => node.revert(),
            Verdict::Hit(_) => node.fail_sync(&mut lock(&self.world.rng)),
        }
        Err(Error::io("sync", &self.path, eio()))
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
