//! Writing a table: sorted entries in, a synced file out. Layout: [`crate::sstable`].
//!
//! create -> write -> sync the file; the caller then syncs the directory and publishes the table in the manifest.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kv_api::{Cause, Error, Result, SeqNo};
use kv_io::aligned::AlignedBuf;
use kv_io::checksum::FileSum;
use kv_io::layout::table_name;
use kv_io::vfs::{DIRECT_ALIGN, OpenOptions};
use kv_io::{Vfs, VfsFile};

use crate::entry::{Entry, Kind, Tag, hash64, successor};
use crate::num::{round_up, to_u64, wide};
use crate::range_tombstone::Fragments;
use crate::sstable::block::{BlockBuilder, HEADER_LEN, SHARED_LEN_MAX, entry_len};
use crate::sstable::bloom::{Filter, FilterKind};
use crate::sstable::footer::{FOOTER_LEN, Footer, Section};
use crate::sstable::index::IndexBuilder;
use crate::sstable::{TableMeta, encode_tombstones};

/// An entry above this has a block of its own.
const JUMBO_LEN: usize = 32 << 10;
/// A block may grow to this if that saves padding.
const GROWN_LEN_MAX: usize = 32 << 10;
const _: () = assert!(GROWN_LEN_MAX <= SHARED_LEN_MAX, "offsets in a block are two bytes");

/// How tables are written; the same for all tables of one engine.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// Target length of a data block in bytes.
    pub block_size: usize,
    /// Which filter to build.
    pub filter: FilterKind,
    /// Bits per key of the filter.
    pub filter_bits: u32,
    /// Bytes collected before they are written.
    pub buffer: usize,
    /// Ask for direct I/O.
    pub direct: bool,
}

impl WriteOptions {
    /// Blocks begin at multiples of this and are padded to it.
    fn unit(&self) -> usize {
        self.block_size.clamp(512, DIRECT_ALIGN)
    }
}

/// Collects bytes and writes them in large aligned pieces.
struct Sink {
    file: Arc<dyn VfsFile>,
    cause: Cause,
    buffer: AlignedBuf,
    filled: usize,
    written: u64,
}

impl Sink {
    fn position(&self) -> u64 {
        self.written + to_u64(self.filled)
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = self.buffer.get_mut(self.filled..).unwrap_or_default();
            let take = room.len().min(bytes.len());
            let (now, later) = bytes.split_at(take);
            room.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
            self.filled += take;
            bytes = later;
            if self.filled == self.buffer.len() {
                self.write_out()?;
            }
        }
        Ok(())
    }

    fn pad_to(&mut self, unit: u64) -> Result<()> {
        let gap = round_up(self.position(), unit) - self.position();
        (0..gap).try_for_each(|_| self.append(&[0]))
    }

    fn write_out(&mut self) -> Result<()> {
        let filled = self.buffer.get(..self.filled).unwrap_or_default();
        self.file.write_at(self.written, &[IoSlice::new(filled)], self.cause)?;
        self.written += to_u64(self.filled);
        self.filled = 0;
        Ok(())
    }
}

/// A table being written.
pub struct TableWriter {
    path: PathBuf,
    sink: Sink,
    options: WriteOptions,
    sum: FileSum,
    builder: BlockBuilder,
    scratch: Vec<u8>,
    index: IndexBuilder,
    /// Offset and last key of the block that was finished last: its separator needs the next key.
    pending: Option<(u64, Vec<u8>)>,
    hashes: Vec<u64>,
    meta: TableMeta,
    last_key: Vec<u8>,
    last_tag: Tag,
    any: bool,
}

impl TableWriter {
    /// Creates table `id` in `dir`.
    ///
    /// # Errors
    /// `Io` or `NoSpace`.
    pub fn create(
        vfs: &dyn Vfs,
        dir: &Path,
        id: u64,
        salt: u64,
        options: &WriteOptions,
        cause: Cause,
    ) -> Result<TableWriter> {
        let path = dir.join(table_name(id));
        let file = vfs.open(&path, OpenOptions::NEW.with_direct(options.direct), cause)?;
        let buffer = options.buffer.clamp(DIRECT_ALIGN, 1 << 20).next_multiple_of(DIRECT_ALIGN);
        let sink = Sink { file, cause, buffer: AlignedBuf::zeroed(buffer), filled: 0, written: 0 };
        Ok(TableWriter {
            path,
            sink,
            options: options.clone(),
            sum: FileSum::new(salt, id),
            builder: BlockBuilder::default(),
            scratch: Vec::new(),
            index: IndexBuilder::default(),
            pending: None,
            hashes: Vec::new(),
            meta: TableMeta { id, seq_min: SeqNo::MAX, ..TableMeta::default() },
            last_key: Vec::new(),
            last_tag: Tag::NEWEST,
            any: false,
        })
    }

    /// The file, for removing it if the table is abandoned.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that the file would have by now, nearly.
    pub fn bytes(&self) -> u64 {
        let filter = self.hashes.len() * wide(self.options.filter_bits) / 8;
        self.sink.position() + to_u64(self.builder.len() + self.index.len() + filter)
    }

    /// True if no entry was added.
    pub fn is_empty(&self) -> bool {
        !self.any
    }

    /// Adds an entry, which must lie after the last one.
    ///
    /// # Errors
    /// `Io` or `NoSpace`: the table is to be abandoned. `Corruption` if the entry does not lie there: what it comes from
    /// is damaged behind a checksum that is right.
    pub fn add(&mut self, entry: Entry<'_>) -> Result<()> {
        let order = self.last_key.as_slice().cmp(entry.key);
        if self.any && order.then_with(|| entry.tag.cmp(&self.last_tag)).is_ge() {
            let what = "an entry that a table is written from is out of order";
            return Err(Error::corruption(&self.path, self.sink.position(), what));
        }
        if !self.builder.is_empty() && self.is_block_full(entry) {
            self.finish_block()?;
        }
        if let Some((offset, last_key)) = self.pending.take() {
            self.index.add(offset, to_u64(self.options.unit()), &last_key, Some(entry.key));
        }
        if !self.any {
            self.meta.smallest = entry.key.to_vec();
        }
        if self.options.filter == FilterKind::Classic && (!self.any || order.is_ne()) {
            self.hashes.push(hash64(entry.key));
        }
        self.any = true;
        self.last_key.clear();
        self.last_key.extend_from_slice(entry.key);
        self.last_tag = entry.tag;
        self.meta.entries += 1;
        self.meta.tombstones += u64::from(entry.tag.kind() == Kind::Delete);
        self.meta.user_bytes += to_u64(entry.key.len() + entry.value.len());
        self.meta.seq_min = self.meta.seq_min.min(entry.tag.seq());
        self.meta.seq_max = self.meta.seq_max.max(entry.tag.seq());
        self.builder.add(entry);
        if entry_len(entry) > JUMBO_LEN {
            self.finish_block()?;
        }
        Ok(())
    }

    /// True if `entry` belongs into the next block. A block keeps growing, unit by unit, while ending it now would
    /// waste more than an eighth of it.
    fn is_block_full(&self, entry: Entry<'_>) -> bool {
        let with = self.builder.len_with(entry);
        if entry_len(entry) > JUMBO_LEN || with > SHARED_LEN_MAX {
            return true;
        }
        if with <= self.options.block_size {
            return false;
        }
        let len = self.builder.len();
        let padding = len.next_multiple_of(self.options.unit()) - len;
        let fits_padding = with <= len.next_multiple_of(self.options.unit());
        let wasteful = padding * 8 > len + padding && with <= GROWN_LEN_MAX;
        !(fits_padding || wasteful)
    }

    fn finish_block(&mut self) -> Result<()> {
        let offset = self.sink.position();
        let last_key = self.builder.last_key().to_vec();
        self.scratch.clear();
        self.builder.finish(&mut self.scratch, &self.sum, offset, self.options.unit());
        self.sink.append(&self.scratch)?;
        self.scratch.shrink_to(SHARED_LEN_MAX + HEADER_LEN);
        self.pending = Some((offset, last_key));
        Ok(())
    }

    /// Ends the table: the last block, the sections, the footer, a sync. `tombstones` must lie in what the table
    /// may speak of: the caller has clipped them.
    ///
    /// # Errors
    /// `Io` or `NoSpace`: the table is to be abandoned.
    pub fn finish(mut self, tombstones: &Fragments) -> Result<TableMeta> {
        if !self.builder.is_empty() {
            self.finish_block()?;
        }
        let unit = to_u64(self.options.unit());
        if let Some((offset, last_key)) = self.pending.take() {
            self.index.add(offset, unit, &last_key, None);
        }
        let data_len = self.sink.position();
        self.sink.pad_to(to_u64(DIRECT_ALIGN))?;
        let mut footer = Footer {
            unit: u32::try_from(unit).unwrap_or(u32::MAX),
            table_id: self.meta.id,
            data_len,
            ..Footer::default()
        };
        footer.tombstones = self.section(&encode_tombstones(tombstones))?;
        let mut index = Vec::new();
        std::mem::take(&mut self.index).finish(&mut index, data_len, unit);
        footer.index = self.section(&index)?;
        drop(index);
        if self.options.filter == FilterKind::Classic
            && let Some(filter) = Filter::build(&std::mem::take(&mut self.hashes), self.options.filter_bits)
        {
            footer.filter = self.section(filter.encoded())?;
        }
        self.widen(tombstones);
        let mut props = Vec::new();
        self.meta.encode(&mut props);
        footer.props = self.section(&props)?;
        let end = round_up(self.sink.position() + to_u64(FOOTER_LEN), to_u64(DIRECT_ALIGN));
        let footer_at = end - to_u64(FOOTER_LEN);
        let gap = vec![0; usize::try_from(footer_at - self.sink.position()).unwrap_or(0)];
        self.sink.append(&gap)?;
        self.sink.append(&footer.encode(&self.sum, footer_at))?;
        if self.sink.filled > 0 {
            self.sink.write_out()?;
        }
        self.sink.file.sync_all(self.sink.cause)?;
        self.meta.bytes = end;
        Ok(self.meta)
    }

    /// Gives the table its bounds, entries and range tombstones taken together.
    fn widen(&mut self, tombstones: &Fragments) {
        let meta = &mut self.meta;
        meta.range_tombstones = tombstones.count();
        meta.end = Some(successor(&self.last_key));
        let (Some(first), Some(last)) = (tombstones.list().first(), tombstones.list().last()) else { return };
        if !self.any || *first.start < *meta.smallest {
            meta.smallest = first.start.to_vec();
        }
        let own = meta.end.take().filter(|_| self.any);
        meta.end = match (own, &last.end) {
            (Some(own), Some(end)) => Some(own.max(end.to_vec())),
            (None, Some(end)) => Some(end.to_vec()),
            (_, None) => None,
        };
        for seq in tombstones.list().iter().flat_map(|fragment| fragment.seqs.iter().copied()) {
            meta.seq_min = meta.seq_min.min(seq);
            meta.seq_max = meta.seq_max.max(seq);
        }
    }

    fn section(&mut self, bytes: &[u8]) -> Result<Section> {
        let offset = self.sink.position();
        let crc = self.sum.of(offset, &[bytes]);
        self.sink.append(bytes)?;
        Ok(Section { offset, len: to_u64(bytes.len()), crc })
    }
}

/// Removes a table that nothing names: the output of an abandoned job. What cannot be removed now is removed as
/// an orphan at the next open.
pub fn discard(vfs: &dyn Vfs, path: &Path, cause: Cause) -> Option<Error> {
    vfs.remove(path, cause).err()
}
