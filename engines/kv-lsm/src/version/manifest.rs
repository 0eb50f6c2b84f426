//! Manifest: the log of edits; replaying it gives the live tables.
//!
//! ```text
//! | magic 8 | format u32 | crc u32 | frame | frame | ...        frame = | crc u32 | len u32 | edit |
//! ```
//!
//! The first frame describes everything that was live when the file was begun. Checksums are seeded with database,
//! file and offset. An edit is appended and synced before anyone relies on it. The file is made under the name
//! `MANIFEST.new` and renamed when it is synced, so under its own name it is whole; the highest number rules. Every
//! open for writing begins a new one, and nothing is ever appended behind a tail that could not be read.
//! A bad frame with a good one behind it is damage; at the very end it is an edit that nobody relied on.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kv_api::{Cause, Error, Result, SeqNo};
use kv_io::checksum::{FileSum, mismatch};
use kv_io::codec::{Put, Reader};
use kv_io::layout::{ID_MAX, manifest_name};
use kv_io::seeded::{self, Bug};
use kv_io::vfs::{OpenOptions, read_range};
use kv_io::{Vfs, VfsFile};

use crate::num::{to_u32, to_u64, to_usize, wide};
use crate::sstable::TableMeta;
use crate::version::edit::VersionEdit;

/// A manifest under construction.
pub const NEW_NAME: &str = "MANIFEST.new";
/// A manifest longer than this is begun anew.
pub const REWRITE_BYTES: u64 = 4 << 20;
/// No manifest is longer: a million tables take less than half of it, and one edit ends at [`REWRITE_BYTES`].
const BYTES_MAX: u64 = 1 << 30;
/// So much of a manifest is read in the search for an edit behind a bad one, and 16 times its length.
const SEARCH_BYTES_LEAST: usize = 64 << 20;
const MAGIC: &[u8; 8] = b"KVLABMAN";
const FORMAT: u32 = 1;
const HEADER_LEN: usize = 16;
const FRAME_HEADER_LEN: usize = 8;
const _: () = assert!(MAGIC.len() + 4 + 4 == HEADER_LEN, "the picture and the header disagree");

/// What a manifest adds up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    /// Live tables by number, with their level.
    pub tables: BTreeMap<u64, (usize, TableMeta)>,
    /// The first operation that is in no table.
    pub replay_from: SeqNo,
    /// A number above that of every file named so far.
    pub next_id: u64,
}

impl Live {
    /// Applies one edit; false if it removes what is not there, adds what is, or has a number that cannot be.
    pub fn apply(&mut self, edit: &VersionEdit) -> bool {
        let mut fits = true;
        for (level, id) in &edit.removed {
            fits &= self.tables.remove(id).is_some_and(|(own, _)| own == *level);
        }
        for (level, meta) in &edit.added {
            fits &= self.tables.insert(meta.id, (*level, meta.clone())).is_none();
            self.next_id = self.next_id.max(meta.id.saturating_add(1));
        }
        self.replay_from = edit.replay_from.unwrap_or(self.replay_from);
        self.next_id = self.next_id.max(edit.next_id.unwrap_or(0));
        fits && self.next_id <= ID_MAX && edit.replay_from != Some(0)
    }

    /// The edit that makes this out of nothing.
    pub fn as_edit(&self) -> VersionEdit {
        VersionEdit {
            removed: Vec::new(),
            added: self.tables.values().cloned().collect(),
            replay_from: Some(self.replay_from),
            next_id: Some(self.next_id),
        }
    }
}

/// Reads manifest `id`: what is live, and how many bytes at its end could not be read.
///
/// # Errors
/// `Corruption` if anything but the last edit is damaged; `FormatVersion`; `Io`.
pub fn load(vfs: &dyn Vfs, dir: &Path, salt: u64, id: u64) -> Result<(Live, u64)> {
    let path = dir.join(manifest_name(id));
    let file = vfs.open(&path, OpenOptions::READ, Cause::Recovery)?;
    let len = file.len()?;
    if len > BYTES_MAX {
        let what = format!("the file has {len} bytes, a manifest has at most {BYTES_MAX}");
        return Err(Error::corruption(&path, BYTES_MAX, what));
    }
    let bytes = read_range(&*file, 0, to_usize(len), Cause::Recovery)?;
    let sum = FileSum::new(salt, id);
    check_header(&path, &sum, &bytes)?;
    let mut live = Live::default();
    let mut at = HEADER_LEN;
    while at < bytes.len() {
        let Some((payload, next)) = frame(&sum, &bytes, at) else {
            if at == HEADER_LEN || has_frame_behind(&sum, &bytes, at) {
                return Err(Error::corruption(
                    &path,
                    to_u64(at),
                    "an edit of the manifest fails its checksum",
                ));
            }
            return Ok((live, to_u64(bytes.len() - at)));
        };
        let edit = VersionEdit::decode(payload)
            .ok_or_else(|| Error::corruption(&path, to_u64(at), "an edit of the manifest cannot be read"))?;
        if !live.apply(&edit) || live.replay_from == 0 {
            let what = "an edit of the manifest does not fit those before it";
            return Err(Error::corruption(&path, to_u64(at), what));
        }
        at = next;
    }
    if at == HEADER_LEN {
        return Err(Error::corruption(&path, to_u64(at), "the manifest has no edit"));
    }
    Ok((live, 0))
}

fn check_header(path: &Path, sum: &FileSum, bytes: &[u8]) -> Result<()> {
    let mut reader = Reader::new(bytes);
    let damaged = |what: String| Error::corruption(path, 0, what);
    let (magic, format, crc) = (reader.array::<8>(), reader.u32(), reader.u32());
    let (Some(magic), Some(format), Some(crc)) = (magic, format, crc) else {
        return Err(damaged("the manifest's header is cut short".to_owned()));
    };
    let found = sum.of(0, &[&magic, &format.to_le_bytes()]);
    if &magic != MAGIC || found != crc {
        return Err(damaged(mismatch(found, crc)));
    }
    if format != FORMAT {
        return Err(Error::FormatVersion { path: path.to_path_buf(), found: format, supported: FORMAT });
    }
    Ok(())
}

/// Whether a whole frame may lie behind `at`. In what a crash tears hardly any place reads like an edit for more than a
/// few bytes; a hostile file can do so everywhere, and what would take long to tell from damage counts as damage.
fn has_frame_behind(sum: &FileSum, bytes: &[u8], at: usize) -> bool {
    let mut work_left = bytes.len().saturating_mul(16).saturating_add(SEARCH_BYTES_LEAST);
    (at + 1..bytes.len()).any(|later| {
        let Some((_, payload)) = frame_parts(bytes, later) else { return false };
        let mut reader = Reader::new(payload);
        let is_edit = VersionEdit::decode_from(&mut reader).is_some();
        let read = payload.len() - reader.rest().len();
        let is_spent = read > work_left;
        work_left = work_left.saturating_sub(read);
        is_spent || is_edit && frame(sum, bytes, later).is_some()
    })
}

/// Checksum and edit of what may be a frame at `at`. Zeros are none: an edit always says something.
fn frame_parts(bytes: &[u8], at: usize) -> Option<(u32, &[u8])> {
    let mut reader = Reader::new(bytes.get(at..)?);
    let (crc, len) = (reader.u32()?, reader.u32().filter(|len| *len > 0)?);
    Some((crc, reader.bytes(wide(len))?))
}

/// The frame at `at`: its edit and where the next one begins.
fn frame<'a>(sum: &FileSum, bytes: &'a [u8], at: usize) -> Option<(&'a [u8], usize)> {
    let (crc, payload) = frame_parts(bytes, at)?;
    let len = to_u32(payload.len());
    let found = sum.of(to_u64(at), &[&len.to_le_bytes(), payload]);
    (found == crc).then_some((payload, at + FRAME_HEADER_LEN + payload.len()))
}

fn encode_frame(sum: &FileSum, at: u64, edit: &VersionEdit) -> Vec<u8> {
    let mut payload = Vec::new();
    edit.encode(&mut payload);
    let len = to_u32(payload.len());
    let mut out = Vec::with_capacity(payload.len() + FRAME_HEADER_LEN);
    out.put_u32(sum.of(at, &[&len.to_le_bytes(), &payload])).put_u32(len).put_bytes(&payload);
    out
}

/// The manifest in use, open for appending.
#[derive(Debug)]
pub struct Manifest {
    id: u64,
    file: Arc<dyn VfsFile>,
    sum: FileSum,
    len: u64,
    live: Live,
}

impl Manifest {
    /// Begins manifest `id` with everything in `live`, durably, and makes it the one that rules.
    ///
    /// # Errors
    /// `Io`, `NoSpace`: the older manifest still rules.
    pub fn create(
        vfs: &dyn Vfs,
        dir: &Path,
        salt: u64,
        id: u64,
        live: Live,
        cause: Cause,
    ) -> Result<Manifest> {
        let sum = FileSum::new(salt, id);
        let mut bytes = Vec::new();
        let crc = sum.of(0, &[MAGIC, &FORMAT.to_le_bytes()]);
        bytes.put_bytes(MAGIC).put_u32(FORMAT).put_u32(crc);
        bytes.put_bytes(&encode_frame(&sum, to_u64(HEADER_LEN), &live.as_edit()));
        let (new, path) = (dir.join(NEW_NAME), dir.join(manifest_name(id)));
        let file = vfs.open(&new, OpenOptions::NEW, cause)?;
        let written = file
            .write_at(0, &[IoSlice::new(&bytes)], cause)
            .and_then(|()| file.sync_all(cause))
            .and_then(|()| vfs.rename(&new, &path, cause));
        if let Err(error) = written {
            // Nobody relies on it yet; what cannot be removed now is removed at the next open.
            let _ = vfs.remove(&new, cause);
            return Err(error);
        }
        vfs.sync_dir(dir, cause)?;
        // Open it under its own name, so that messages name the file that is there.
        let file = vfs.open(&path, OpenOptions::WRITE, cause)?;
        Ok(Manifest { id, file, sum, len: to_u64(bytes.len()), live })
    }

    /// Its number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its path.
    pub fn path(&self) -> PathBuf {
        self.file.path().to_path_buf()
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Never true: it is begun with an edit.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What is live.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Appends one edit and syncs it.
    ///
    /// # Errors
    /// `Io`, `NoSpace`: whether the edit is there is unknown; the caller must poison the handle and delete nothing.
    pub fn append(&mut self, edit: &VersionEdit, cause: Cause) -> Result<()> {
        let bytes = encode_frame(&self.sum, self.len, edit);
        self.file.write_at(self.len, &[IoSlice::new(&bytes)], cause)?;
        if !seeded::is(Bug::EditUnsynced) {
            self.file.sync_all(cause)?;
        }
        self.len += to_u64(bytes.len());
        self.live.apply(edit);
        Ok(())
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
