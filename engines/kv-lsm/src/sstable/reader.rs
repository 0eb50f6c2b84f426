//! Reading a table: open it, ask it for a key, give out its blocks. Layout: [`crate::sstable`].

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kv_api::{Cause, Error, Result, SeqNo};
use kv_io::aligned::{AlignedBuf, with_scratch};
use kv_io::cache::BlockCache;
use kv_io::checksum::{FileSum, mismatch};
use kv_io::codec::Reader;
use kv_io::counters::Access;
use kv_io::layout::table_name;
use kv_io::sync::Mutex;
use kv_io::sync::atomic::{AtomicBool, Ordering};
use kv_io::sync::lock;
use kv_io::vfs::{DIRECT_ALIGN, Map, OpenOptions, read_exact_at, read_range};
use kv_io::{Vfs, VfsFile};

use crate::entry::{Entry, Tag};
use crate::num::{to_u64, to_usize};
use crate::range_tombstone::Fragments;
use crate::sstable::block::{Block, BlockBytes, used_len};
use crate::sstable::bloom::{Filter, FilterHash};
use crate::sstable::footer::{FOOTER_LEN, Footer, Section};
use crate::sstable::index::Index;
use crate::sstable::lookup::{Asked, Lookup, TableCounters};
use crate::sstable::spares::Spares;
use crate::sstable::{Described, TableMeta, decode_tombstones};

/// What all tables of one engine share: files, cache, counters, and the list of files to remove.
pub struct TableSpace {
    /// The files.
    pub vfs: Arc<dyn Vfs>,
    /// The directory.
    pub dir: PathBuf,
    /// Seeds every checksum.
    pub salt: u64,
    /// Ask for direct I/O.
    pub direct: bool,
    /// Read through mapped files instead of the cache.
    pub mapped: bool,
    /// Blocks in memory.
    pub cache: BlockCache<Block>,
    /// Memory of blocks that left the cache, for those that enter it.
    pub spares: Spares,
    /// What was asked of the tables.
    pub counters: TableCounters,
    obtained_direct: AtomicBool,
    /// Files whose last user is gone.
    dead: Mutex<Vec<DeadTable>>,
    /// Those whose files could not be removed: they are no reason to try at once again.
    stuck: Mutex<Vec<DeadTable>>,
}

/// A table that nothing names any more: its file is still open, so that closing it, too, is left to the job.
struct DeadTable {
    id: u64,
    _file: Arc<dyn VfsFile>,
}

impl fmt::Debug for TableSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableSpace({})", self.dir.display())
    }
}

impl TableSpace {
    /// Tables in `dir`, with a cache of `cache_bytes_max`.
    pub fn new(
        vfs: Arc<dyn Vfs>,
        dir: &Path,
        salt: u64,
        direct: bool,
        mapped: bool,
        cache_bytes_max: u64,
    ) -> Self {
        TableSpace {
            vfs,
            dir: dir.to_path_buf(),
            salt,
            direct,
            mapped,
            cache: BlockCache::new(cache_bytes_max),
            spares: Spares::default(),
            counters: TableCounters::default(),
            obtained_direct: AtomicBool::new(false),
            dead: Mutex::default(),
            stuck: Mutex::default(),
        }
    }

    /// True if table files bypass the page cache: asked for, and to be had on this file system.
    pub fn is_direct(&self) -> bool {
        self.direct && self.obtained_direct.load(Ordering::Relaxed)
    }

    /// Notes the mode that `file`, opened with the mode asked for, obtained.
    pub fn note_mode(&self, file: &dyn VfsFile) {
        self.obtained_direct.store(file.align() > 1, Ordering::Relaxed);
    }

    /// True if files wait to be removed.
    pub fn has_dead(&self) -> bool {
        !lock(&self.dead).is_empty()
    }

    /// Puts a block into the cache; the memory of those that leave for it is used again.
    fn keep(&self, table: u64, offset: u64, block: &Arc<Block>) {
        let evicted = self.cache.insert(table, offset, Arc::clone(block), block.bytes());
        for bytes in evicted.into_iter().filter_map(Arc::into_inner).filter_map(Block::into_own) {
            self.spares.give(bytes);
        }
    }

    /// Removes the files of tables whose last user is gone; returns how many. One that cannot be removed is tried again
    /// with those of the next time, and in the end by the next open, which removes what no manifest names.
    pub fn remove_dead(&self) -> u64 {
        let mut dead = std::mem::take(&mut *lock(&self.dead));
        dead.append(&mut lock(&self.stuck));
        let before = dead.len();
        dead.retain(|table| {
            self.cache.remove_file(table.id);
            self.vfs.remove(&self.dir.join(table_name(table.id)), Cause::Manifest).is_err()
        });
        let removed = to_u64(before - dead.len());
        lock(&self.stuck).append(&mut dead);
        removed
    }
}

/// An open table. Readers hold it by `Arc`; when the last one lets go of a table that was removed from the tree,
/// its file goes to the list of files to remove.
pub struct Table {
    meta: TableMeta,
    space: Arc<TableSpace>,
    file: Arc<dyn VfsFile>,
    map: Option<Arc<dyn Map>>,
    sum: FileSum,
    index: Index,
    filter: Option<Filter>,
    tombstones: Arc<Fragments>,
    obsolete: AtomicBool,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({}, {} entries)", self.meta.id, self.meta.entries)
    }
}

impl Described for Arc<Table> {
    fn meta(&self) -> &TableMeta {
        &self.meta
    }

    // By what was read: a scan must see what a get does.
    fn has_range_tombstones(&self) -> bool {
        !self.tombstones.is_empty()
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if *self.obsolete.get_mut() {
            let dead = DeadTable { id: self.meta.id, _file: Arc::clone(&self.file) };
            lock(&self.space.dead).push(dead);
        }
    }
}

/// A read as the file's alignment wants it.
struct Wide {
    start: u64,
    /// Bytes before the first one wanted.
    lead: usize,
    /// Bytes that must be there: the lead and what is wanted.
    wanted: usize,
    /// Bytes to ask for.
    len: usize,
}

impl Table {
    /// Opens the table that `meta` describes: reads footer, tombstones, index and filter, all for `cause`: they stay in
    /// memory, so no get answers for them.
    ///
    /// # Errors
    /// `Corruption` if the file is not that table; `Io`.
    pub fn open(space: &Arc<TableSpace>, meta: TableMeta, cause: Cause) -> Result<Arc<Table>> {
        let path = space.dir.join(table_name(meta.id));
        let file = space.vfs.open(&path, OpenOptions::READ.with_direct(space.direct), cause)?;
        let len = file.len()?;
        if len != meta.bytes || len < to_u64(DIRECT_ALIGN) {
            let what = format!("the file has {len} bytes, the manifest says {}", meta.bytes);
            return Err(Error::corruption(&path, len, what));
        }
        let sum = FileSum::new(space.salt, meta.id);
        let footer = read_footer(&*file, &sum, &meta, cause)?;
        let damaged = |offset, what: String| Error::corruption(&path, offset, what);
        let index_bytes = read_section(&*file, &sum, footer.index, cause)?;
        let index = Index::decode(&index_bytes, u64::from(footer.unit), footer.data_len)
            .map_err(|what| damaged(footer.index.offset, what))?;
        let tombstones = decode_tombstones(&read_section(&*file, &sum, footer.tombstones, cause)?)
            .ok_or_else(|| damaged(footer.tombstones.offset, "the range tombstones cannot be read".into()))?;
        let filter = match footer.filter.len {
            0 => None,
            _ => Some(
                Filter::decode(&read_section(&*file, &sum, footer.filter, cause)?)
                    .map_err(|what| damaged(footer.filter.offset, what))?,
            ),
        };
        let map = if space.mapped { file.map() } else { None };
        Ok(Arc::new(Table {
            meta,
            space: Arc::clone(space),
            file,
            map,
            sum,
            index,
            filter,
            tombstones: Arc::new(tombstones),
            obsolete: AtomicBool::new(false),
        }))
    }

    /// What is known of it.
    pub fn meta(&self) -> &TableMeta {
        &self.meta
    }

    /// Its range tombstones.
    pub fn tombstones(&self) -> &Arc<Fragments> {
        &self.tombstones
    }

    /// Its fence index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Bytes of memory that its filter holds.
    pub fn filter_bytes(&self) -> u64 {
        self.filter.as_ref().map_or(0, Filter::bytes)
    }

    /// Bytes of memory that its index and range tombstones hold.
    pub fn index_bytes(&self) -> u64 {
        self.index.bytes() + self.tombstones.bytes()
    }

    /// False if the filter knows that no key with this hash is here.
    pub fn may_hold(&self, hash: &FilterHash) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.may_hold(hash))
    }

    /// The table is no longer part of the tree: its file goes when its last user does.
    pub fn mark_obsolete(&self) {
        self.obsolete.store(true, Ordering::Release);
    }

    /// The tag that an entry has in this table.
    #[inline]
    pub fn tag_of(&self, stored: Tag) -> Tag {
        match self.meta.global_seq {
            0 => stored,
            seq => Tag::new(seq, stored.kind()),
        }
    }

    /// A get of `key` for a reader at `seq`, to be shown to any table of the engine.
    pub fn lookup<'a>(&'a self, key: &'a [u8], seq: SeqNo) -> Lookup<'a> {
        Lookup::new(key, seq, &self.space.counters)
    }

    /// Calls `found` with the entry that `lookup` looks for; false if it is not here.
    ///
    /// # Errors
    /// `Io`, `Corruption`.
    pub fn get(&self, lookup: &mut Lookup<'_>, found: &mut dyn FnMut(Entry<'_>)) -> Result<bool> {
        let (key, asked) = (lookup.key, &mut lookup.asked);
        if let Some(filter) = &self.filter {
            asked.filters += 1;
            if !filter.may_hold(&lookup.hash) {
                asked.filter_negatives += 1;
                return Ok(false);
            }
        }
        let Some(from) = self.search_tag(lookup.seq) else { return Ok(false) };
        asked.indexes += 1;
        let mut at = self.index.find(key);
        while at < self.index.len() {
            let block = self.block(at, asked)?;
            let place = block.lower_bound(key, from);
            if let Some(stored) = block.is_key(place, key) {
                found(Entry { key, tag: self.tag_of(stored.tag), value: stored.value });
                return Ok(true);
            }
            // The versions of one key may go on in the next block.
            if place < block.len() || !self.index.is_separator(at, key) {
                break;
            }
            at += 1;
        }
        asked.filter_false_positives += u64::from(self.filter.is_some());
        Ok(false)
    }

    /// From which stored tag a reader at `seq` looks; `None` if it sees nothing here.
    fn search_tag(&self, seq: SeqNo) -> Option<Tag> {
        match self.meta.global_seq {
            0 => Some(Tag::up_to(seq)),
            global if global <= seq => Some(Tag::NEWEST),
            _ => None,
        }
    }

    /// Block `i` for a get, from memory or from the file.
    fn block(&self, i: usize, asked: &mut Asked) -> Result<Arc<Block>> {
        let place = self.place(i)?;
        asked.blocks += 1;
        if let Some(block) = self.space.cache.get(self.meta.id, place.start) {
            return Ok(block);
        }
        asked.blocks_missed += 1;
        self.read_and_keep(place, Cause::PointRead)
    }

    /// Block `i` for a scan if it is in the cache: then this was a request for it.
    pub fn cached(&self, i: usize) -> Option<Arc<Block>> {
        let block = self.space.cache.get(self.meta.id, self.index.place(i)?.start)?;
        self.space.counters.data_reads.hit(Access::Scan);
        Some(block)
    }

    /// Block `i` from the file, for a request of a scan that [`Table::cached`] could not answer.
    ///
    /// # Errors
    /// `Io`, `Corruption`.
    pub fn fetch(&self, i: usize) -> Result<Arc<Block>> {
        let place = self.place(i)?;
        self.count_ahead();
        self.read_and_keep(place, Cause::ScanRead)
    }

    fn read_and_keep(&self, place: Range<u64>, cause: Cause) -> Result<Arc<Block>> {
        let start = place.start;
        let block = Arc::new(self.read_block(place, cause)?);
        self.space.keep(self.meta.id, start, &block);
        Ok(block)
    }

    /// True if blocks come from a mapped file.
    pub fn is_mapped(&self) -> bool {
        self.map.is_some()
    }

    /// Puts a block that was read ahead into the cache, in memory of its own, and returns it so.
    pub fn keep_detached(&self, i: usize, block: &Block) -> Arc<Block> {
        let block = Arc::new(block.detached(&self.space.spares));
        if let Some(place) = self.index.place(i) {
            self.space.keep(self.meta.id, place.start, &block);
        }
        block
    }

    /// Counts a block that a scan asked for and that had to be read, alone or ahead.
    pub fn count_ahead(&self) {
        self.space.counters.data_reads.miss(Access::Scan);
    }

    fn place(&self, i: usize) -> Result<Range<u64>> {
        let count = self.index.len();
        self.index.place(i).ok_or_else(|| self.damaged(0, format!("there is no block {i} among {count}")))
    }

    fn read_block(&self, place: Range<u64>, cause: Cause) -> Result<Block> {
        let len = to_usize(place.end - place.start);
        let bytes = match &self.map {
            Some(map) => BlockBytes::Mapped(Arc::clone(map), to_usize(place.start)..to_usize(place.end)),
            None => {
                let wide = self.widened(place.start, len);
                with_scratch(wide.len, |buffer| {
                    self.read_into(&wide, buffer, cause)?;
                    let block = buffer.get(wide.lead..wide.lead + len).unwrap_or_default();
                    let used = block.get(..used_len(block)).unwrap_or_default();
                    Ok(BlockBytes::Own(self.space.spares.copy_of(used)))
                })?
            }
        };
        Block::check(bytes, &self.sum, place.start).map_err(|what| self.damaged(place.start, what))
    }

    /// `len` bytes at `offset`, widened to what the file's alignment asks for.
    fn widened(&self, offset: u64, len: usize) -> Wide {
        let align = self.file.align();
        let lead = to_usize(offset % to_u64(align));
        Wide {
            start: offset - to_u64(lead),
            lead,
            wanted: lead + len,
            len: (lead + len).next_multiple_of(align),
        }
    }

    fn read_into(&self, wide: &Wide, buffer: &mut [u8], cause: Cause) -> Result<()> {
        let found = self.file.read_at(wide.start, buffer, cause)?;
        if found < wide.wanted {
            let missing = format!("the file ends after {found} of {} bytes", wide.wanted);
            return Err(self.damaged(wide.start, missing));
        }
        Ok(())
    }

    /// Blocks from `first` on, as many as fit `bytes_max` (at least one), in one read and past the cache.
    ///
    /// # Errors
    /// `Io`, `Corruption`.
    pub fn blocks_from(&self, first: usize, bytes_max: usize, cause: Cause) -> Result<Vec<Arc<Block>>> {
        let start = self.place(first)?.start;
        let mut places = Vec::new();
        for i in first..self.index.len() {
            let place = self.place(i)?;
            if !places.is_empty() && place.end - start > to_u64(bytes_max) {
                break;
            }
            places.push(place);
        }
        let end = places.last().map_or(start, |place| place.end);
        let wide = self.widened(start, to_usize(end - start));
        let mut buffer = AlignedBuf::zeroed(wide.len);
        self.read_into(&wide, &mut buffer, cause)?;
        let buffer = Arc::new(buffer);
        let block = |place: &Range<u64>| {
            let from = wide.lead + to_usize(place.start - start);
            let range = from..from + to_usize(place.end - place.start);
            Block::check(BlockBytes::Buffer(Arc::clone(&buffer), range), &self.sum, place.start)
                .map(Arc::new)
                .map_err(|what| self.damaged(place.start, what))
        };
        places.iter().map(block).collect()
    }

    /// Damage in this table's file.
    pub fn damaged(&self, offset: u64, what: String) -> Error {
        Error::corruption(self.file.path(), offset, what)
    }

    /// Reads every section once more and compares the props with the manifest: for a check of everything.
    ///
    /// # Errors
    /// `Corruption`, `Io`.
    pub fn check_sections(&self, cause: Cause) -> Result<()> {
        let footer = read_footer(&*self.file, &self.sum, &self.meta, cause)?;
        for section in [footer.tombstones, footer.index, footer.filter] {
            read_section(&*self.file, &self.sum, section, cause)?;
        }
        let props = read_section(&*self.file, &self.sum, footer.props, cause)?;
        let found = TableMeta::decode(&mut Reader::new(&props))
            .ok_or_else(|| self.damaged(footer.props.offset, "the props cannot be read".into()))?;
        let ingested = self.meta.global_seq > 0;
        let seqs = |meta: &TableMeta| if ingested { (0, 0) } else { (meta.seq_min, meta.seq_max) };
        let want = TableMeta {
            bytes: 0,
            global_seq: 0,
            seq_min: seqs(&self.meta).0,
            seq_max: seqs(&self.meta).1,
            ..self.meta.clone()
        };
        let (seq_min, seq_max) = seqs(&found);
        if (TableMeta { seq_min, seq_max, ..found }) == want {
            return Ok(());
        }
        Err(self.damaged(footer.props.offset, "the props differ from what the manifest says".into()))
    }
}

fn read_footer(file: &dyn VfsFile, sum: &FileSum, meta: &TableMeta, cause: Cause) -> Result<Footer> {
    let mut page = AlignedBuf::zeroed(DIRECT_ALIGN);
    let page_at = meta.bytes.saturating_sub(to_u64(DIRECT_ALIGN));
    read_exact_at(file, page_at, &mut page, cause)?;
    let offset = meta.bytes - to_u64(FOOTER_LEN);
    let bytes = page.get(DIRECT_ALIGN - FOOTER_LEN..).unwrap_or_default();
    Footer::decode(bytes, sum, offset, meta.id).map_err(|what| Error::corruption(file.path(), offset, what))
}

/// The bytes of a section, checked; empty if the table has none.
fn read_section(file: &dyn VfsFile, sum: &FileSum, section: Section, cause: Cause) -> Result<Vec<u8>> {
    if section.len == 0 {
        return Ok(Vec::new());
    }
    let bytes = read_range(file, section.offset, to_usize(section.len), cause)?;
    let found = sum.of(section.offset, &[&bytes]);
    if found != section.crc {
        return Err(Error::corruption(file.path(), section.offset, mismatch(found, section.crc)));
    }
    Ok(bytes.to_vec())
}
