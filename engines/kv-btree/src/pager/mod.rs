//! Pages by number: from memory or from the file, checked when they come in; and pages to the file, sorted and
//! gathered. Numbers come from `free_list.rs`, memory from `buffer_pool.rs`.
//!
//! [`PageRef`] is the seam where pages in a huge-page arena come in later: nothing else knows how one is kept.

pub mod buffer_pool;
pub mod free_list;

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::Arc;

use kv_api::limits::VALUE_BYTES_MAX;
use kv_api::{Cause, Error, Result};
use kv_io::VfsFile;
use kv_io::aligned::AlignedBuf;
use kv_io::checksum::{FileSum, mismatch};
use kv_io::counters::{Access, ReadCounters};
use kv_io::sync::Mutex;
use kv_io::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use kv_io::sync::lock;
use kv_io::vfs::read_exact_at;

use crate::page::leaf::Apart;
use crate::page::overflow::{Extent, extents};
use crate::page::{Kind, Page, PageId, inner};
use buffer_pool::BufferPool;

/// A page that readers may hold; it never changes.
pub type PageRef = Page;

/// Bytes that a gathered write takes at most.
const WRITE_BYTES_MAX: usize = 1 << 20;
const LOADERS_MAX: usize = 16;

/// On whose behalf a page is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A get.
    Get,
    /// A scan.
    Scan,
    /// A write that will change what is below the page.
    Update,
    /// A write that replaces the page by a changed copy: it is not kept in memory for that.
    Copy,
    /// Opening the database.
    Recovery,
    /// A backup: pages are not kept in memory for that.
    Backup,
    /// A walk over the whole tree, to check it or to tell its shape: nor for that.
    Verify,
}

impl Reader {
    fn cause(self, kind: Kind) -> Cause {
        match self {
            Reader::Update | Reader::Copy => Cause::UpdateRead,
            Reader::Recovery => Cause::Recovery,
            Reader::Backup => Cause::Backup,
            Reader::Verify => Cause::Verify,
            _ if kind == Kind::Inner => Cause::IndexRead,
            Reader::Get => Cause::PointRead,
            Reader::Scan => Cause::ScanRead,
        }
    }

    /// False for one that reads each page once: what it keeps would push out what others need.
    fn keeps(self) -> bool {
        !matches!(self, Reader::Copy | Reader::Backup | Reader::Verify)
    }

    fn access(self) -> Option<Access> {
        match self {
            Reader::Get => Some(Access::Point),
            Reader::Scan => Some(Access::Scan),
            _ => None,
        }
    }
}

/// Pages that reads asked for.
#[derive(Debug, Default)]
pub struct PageCounters {
    /// Leaves.
    pub leaf: ReadCounters,
    /// Inner pages.
    pub inner: ReadCounters,
    /// Large values: the pages of their indexes, and their pieces, each read with one call and never kept.
    pub value: ReadCounters,
}

/// The pages of one file.
#[derive(Debug)]
pub struct Pager {
    file: Arc<dyn VfsFile>,
    sum: FileSum,
    page_bytes: usize,
    writable: bool,
    /// The pages in memory.
    pub pool: BufferPool,
    /// Pages that reads asked for.
    pub counters: PageCounters,
    /// Each stops two threads from reading the same page, and holds what direct I/O reads into.
    loaders: Box<[Mutex<AlignedBuf>]>,
    file_bytes: Mutex<u64>,
    /// What a read-only handle replayed from the log and may not write: pieces of large values by first page.
    unwritten: Mutex<BTreeMap<PageId, Arc<[u8]>>>,
    written_pages: AtomicU64,
    /// True once the lock on the directory may be gone: whoever has it now may be writing these pages.
    is_left: AtomicBool,
}

impl Pager {
    /// The pages of `file`, of which `pages_max` may be in memory.
    ///
    /// # Errors
    /// `Io`.
    pub fn new(
        file: Arc<dyn VfsFile>,
        sum: FileSum,
        page_bytes: usize,
        pages_max: usize,
        writable: bool,
    ) -> Result<Pager> {
        let loaders = (pages_max / 64).clamp(1, LOADERS_MAX);
        let file_bytes = Mutex::new(file.len()?);
        Ok(Pager {
            file,
            sum,
            page_bytes,
            writable,
            pool: BufferPool::new(pages_max),
            counters: PageCounters::default(),
            loaders: (0..loaders).map(|_| Mutex::new(AlignedBuf::zeroed(page_bytes))).collect(),
            file_bytes,
            unwritten: Mutex::default(),
            written_pages: AtomicU64::new(0),
            is_left: AtomicBool::new(false),
        })
    }

    /// From now on nothing that is read from the file counts: call it before the lock on the directory is let go of. A
    /// read that a slow disk answers only then must not give the page of another handle for its own.
    pub fn leave(&self) {
        self.is_left.store(true, Ordering::Release);
    }

    /// Fills `buffer` from the file.
    fn read_file(&self, offset: u64, buffer: &mut [u8], cause: Cause) -> Result<()> {
        read_exact_at(&*self.file, offset, buffer, cause)?;
        if self.is_left.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    /// Bytes of a page.
    pub fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// The file.
    pub fn file(&self) -> &dyn VfsFile {
        &*self.file
    }

    /// The file's checksums.
    pub fn sum(&self) -> &FileSum {
        &self.sum
    }

    /// False for a handle that may not change the file.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Pages written since opening.
    pub fn written_pages(&self) -> u64 {
        self.written_pages.load(Ordering::Relaxed)
    }

    /// Page `id`, a leaf if `level` is 0.
    ///
    /// # Errors
    /// `Io`; `Corruption` if it is damaged, or not a page of that level.
    #[inline]
    pub fn page(&self, id: PageId, level: u8, reader: Reader) -> Result<PageRef> {
        self.page_of(id, if level == 0 { Kind::Leaf } else { Kind::Inner }, level, reader)
    }

    fn page_of(&self, id: PageId, kind: Kind, level: u8, reader: Reader) -> Result<PageRef> {
        let found = self.pool.get(id);
        if let Some(access) = reader.access() {
            let counters = match kind {
                Kind::Leaf => &self.counters.leaf,
                Kind::Inner => &self.counters.inner,
                _ => &self.counters.value,
            };
            if found.is_some() { counters.hit(access) } else { counters.miss(access) }
        }
        let page = match found {
            Some(page) => page,
            None => self.load(id, kind, reader)?,
        };
        self.check_place(&page, id, kind, level)?;
        Ok(page)
    }

    /// Levels fall by one at every step, so no damaged child number can make a descent go round.
    fn check_place(&self, page: &Page, id: PageId, kind: Kind, level: u8) -> Result<()> {
        if page.kind() == Some(kind) && page.level() == level {
            return Ok(());
        }
        let what = format!("a {kind:?} of level {level} must be here, found {:?}", page.kind());
        Err(Error::corruption(self.file.path(), id.offset(self.page_bytes), what))
    }

    /// The child of inner page `id` that a get goes on to, and whether the page was in memory. A descent needs no more
    /// of an inner page than this, so it does not hold it.
    ///
    /// # Errors
    /// Those of [`Pager::page`].
    #[inline]
    pub fn child(&self, id: PageId, level: u8, key: &[u8], reader: Reader) -> Result<(PageId, bool)> {
        let step = |page: &Page| {
            self.check_place(page, id, Kind::Inner, level)?;
            Ok(inner::child(page, inner::child_index(page, key)))
        };
        match self.pool.look(id, step) {
            Some(child) => Ok((child?, true)),
            None => Ok((step(&self.load(id, Kind::Inner, reader)?)?, false)),
        }
    }

    /// Takes note of the `pages` inner pages that a descent asked for, `misses` of which were not in memory.
    pub fn count_descent(&self, pages: u64, misses: u64, reader: Reader) {
        if let Some(access) = reader.access() {
            self.counters.inner.add(access, pages, misses);
        }
    }

    fn load(&self, id: PageId, kind: Kind, reader: Reader) -> Result<PageRef> {
        // The number of loaders is at least one.
        let mut buffer = lock(&self.loaders[id.index() % self.loaders.len()]);
        if let Some(page) = self.pool.get(id) {
            return Ok(page);
        }
        // A copy goes on as a page of the writer; a walk drops what it read, and would drop the frame with it.
        let frame = if reader == Reader::Backup { None } else { self.pool.take_spare() };
        let page = self.read_page(id, &mut buffer, frame, reader.cause(kind))?;
        if reader.keeps() {
            self.pool.add_clean(&page);
        }
        Ok(page)
    }

    fn read_page(
        &self,
        id: PageId,
        buffer: &mut AlignedBuf,
        frame: Option<Page>,
        cause: Cause,
    ) -> Result<PageRef> {
        let offset = id.offset(self.page_bytes);
        self.read_file(offset, buffer, cause)?;
        let page = Page::from_disk(buffer, id, &self.sum, frame);
        page.map_err(|what| Error::corruption(self.file.path(), offset, what))
    }

    /// Page `id` as the file has it, past memory: for checks and the free map.
    ///
    /// # Errors
    /// `Io`, `Corruption`.
    pub fn page_from_file(&self, id: PageId, cause: Cause) -> Result<PageRef> {
        let mut buffer = lock(&self.loaders[id.index() % self.loaders.len()]);
        self.read_page(id, &mut buffer, None, cause)
    }

    /// Makes the file long enough for `pages` pages.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    pub fn reserve(&self, pages: usize) -> Result<()> {
        let wanted = pages as u64 * self.page_bytes as u64;
        let mut file_bytes = lock(&self.file_bytes);
        if self.writable && *file_bytes < wanted {
            self.file.allocate(wanted, Cause::Prepare)?;
            *file_bytes = wanted;
        }
        Ok(())
    }

    /// Cuts the file after `pages` pages, if it is longer. No durable meta may count more.
    ///
    /// # Errors
    /// `Io`.
    pub fn shrink(&self, pages: usize, cause: Cause) -> Result<()> {
        let wanted = pages as u64 * self.page_bytes as u64;
        let mut file_bytes = lock(&self.file_bytes);
        if *file_bytes > wanted {
            self.file.set_len(wanted, cause)?;
            *file_bytes = wanted;
        }
        Ok(())
    }

    /// Writes those of the pages `ids`, ascending, that are dirty: neighbours with one call. Returns how many.
    ///
    /// # Errors
    /// `NoSpace`, `Io`. Pages not yet written stay dirty.
    pub fn write_dirty(&self, ids: &[PageId], cause: Cause) -> Result<usize> {
        let batch_max =
            (WRITE_BYTES_MAX.min(self.pool.pages_max() * self.page_bytes / 16) / self.page_bytes).max(1);
        let mut buffer = AlignedBuf::zeroed(batch_max * self.page_bytes);
        let mut batch: Vec<PageRef> = Vec::with_capacity(batch_max);
        let mut written = 0;
        for id in ids {
            let Some(page) = self.pool.get_dirty(*id) else { continue };
            let follows = batch.last().is_some_and(|last| last.id().0 + 1 == id.0);
            if !batch.is_empty() && (!follows || batch.len() == batch_max) {
                written += self.write_batch(&mut batch, &mut buffer, cause)?;
            }
            batch.push(page);
        }
        Ok(written + self.write_batch(&mut batch, &mut buffer, cause)?)
    }

    fn write_batch(&self, batch: &mut Vec<PageRef>, buffer: &mut AlignedBuf, cause: Cause) -> Result<usize> {
        let Some(first) = batch.first().map(|page| page.id()) else { return Ok(0) };
        for (page, out) in batch.iter().zip(buffer.chunks_exact_mut(self.page_bytes)) {
            page.to_disk(out, &self.sum);
        }
        let bytes = buffer.get(..batch.len() * self.page_bytes).unwrap_or_default();
        self.file.write_at(first.offset(self.page_bytes), &[IoSlice::new(bytes)], cause)?;
        self.written_pages.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let written = batch.len();
        batch.drain(..).for_each(|page| self.pool.mark_clean(&page));
        Ok(written)
    }

    /// Writes pages that are not in the pool.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    pub fn write_pages(&self, pages: &[Page], cause: Cause) -> Result<()> {
        let mut buffer = AlignedBuf::zeroed(self.page_bytes);
        for page in pages {
            page.to_disk(&mut buffer, &self.sum);
            let offset = page.id().offset(self.page_bytes);
            self.file.write_at(offset, &[IoSlice::new(&buffer)], cause)?;
        }
        Ok(())
    }

    /// Writes a piece of a large value to a run of pages; returns the extent.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    pub fn write_extent(&self, first: PageId, bytes: &[u8], cause: Cause) -> Result<Extent> {
        let len = bytes.len().next_multiple_of(self.page_bytes);
        let padding = vec![0; len - bytes.len()];
        let crc = self.sum.of(u64::from(first.0), &[bytes, &padding]);
        if self.writable {
            let mut buffer = AlignedBuf::zeroed(len.min(WRITE_BYTES_MAX.next_multiple_of(self.page_bytes)));
            for (index, piece) in bytes.chunks(buffer.len().max(1)).enumerate() {
                let padded = piece.len().next_multiple_of(self.page_bytes);
                if let Some((head, tail)) =
                    buffer.get_mut(..padded).and_then(|out| out.split_at_mut_checked(piece.len()))
                {
                    head.copy_from_slice(piece);
                    tail.fill(0);
                }
                let offset = first.offset(self.page_bytes) + (index * buffer.len()) as u64;
                let out = buffer.get(..padded).unwrap_or_default();
                self.file.write_at(offset, &[IoSlice::new(out)], cause)?;
            }
        } else {
            let whole = bytes.iter().chain(&padding).copied().collect();
            lock(&self.unwritten).insert(first, whole);
        }
        Ok(Extent { first, pages: (len / self.page_bytes) as u32, crc })
    }

    /// The pages of the index of a large value, first to last. Bounded by the value's length, so a damaged chain
    /// cannot go round.
    ///
    /// # Errors
    /// `Io`, `Corruption`.
    pub fn value_index(&self, value: Apart, reader: Reader) -> Result<Vec<PageRef>> {
        self.check_value(value)?;
        let mut pages = Vec::new();
        let mut next = value.index;
        let mut left = value.len.div_ceil(self.page_bytes as u64);
        while next != PageId::NONE {
            let page = self.page_of(next, Kind::ValueIndex, 0, reader)?;
            let covered: u64 = extents(&page).map(|extent| u64::from(extent.pages)).sum();
            next = page.right_child();
            if covered == 0 || covered > left {
                return Err(self.value_damage(value, "its index covers more pages than it has"));
            }
            left -= covered;
            pages.push(page);
        }
        if left > 0 {
            return Err(self.value_damage(value, "its index covers fewer pages than it has"));
        }
        Ok(pages)
    }

    /// A page of a value's index.
    ///
    /// # Errors
    /// `Io`, `Corruption`.
    pub fn value_page(&self, id: PageId, reader: Reader) -> Result<PageRef> {
        self.page_of(id, Kind::ValueIndex, 0, reader)
    }

    /// Damage found in page `id`.
    pub fn damaged(&self, id: PageId, what: &'static str) -> Error {
        Error::corruption(self.file.path(), id.offset(self.page_bytes), what)
    }

    /// Refuses a length that no value has: it bounds how much is walked, read and held.
    ///
    /// # Errors
    /// `Corruption`.
    pub fn check_value(&self, value: Apart) -> Result<()> {
        if value.len > VALUE_BYTES_MAX as u64 {
            return Err(
                self.value_damage(value, "the value whose index this is has more bytes than any can have")
            );
        }
        Ok(())
    }

    fn value_damage(&self, value: Apart, what: &'static str) -> Error {
        self.damaged(value.index, what)
    }

    /// A large value. Its bytes are the first `value.len` of the buffer. Costs one read call for each extent.
    ///
    /// # Errors
    /// `Io`, `Corruption`.
    pub fn value(&self, value: Apart, reader: Reader) -> Result<AlignedBuf> {
        let index = self.value_index(value, reader)?;
        let pages = value.len.div_ceil(self.page_bytes as u64);
        let file_bytes = *lock(&self.file_bytes);
        let len = usize::try_from(pages).ok().and_then(|pages| pages.checked_mul(self.page_bytes));
        let Some(len) = len.filter(|len| *len as u64 <= file_bytes || !self.writable) else {
            return Err(self.value_damage(value, "it is longer than the file"));
        };
        let mut buffer = AlignedBuf::zeroed(len);
        let mut rest = &mut buffer[..];
        for extent in index.iter().flat_map(extents) {
            let Some((piece, after)) = rest.split_at_mut_checked(extent.pages as usize * self.page_bytes)
            else {
                return Err(self.value_damage(value, "its pieces are longer than it is"));
            };
            if let Some(access) = reader.access() {
                self.counters.value.miss(access);
            }
            self.read_extent(extent, piece, reader.cause(Kind::ValueIndex))?;
            rest = after;
        }
        Ok(buffer)
    }

    fn read_extent(&self, extent: Extent, piece: &mut [u8], cause: Cause) -> Result<()> {
        let offset = extent.first.offset(self.page_bytes);
        let unwritten = if self.writable { None } else { lock(&self.unwritten).get(&extent.first).cloned() };
        match unwritten {
            Some(bytes) if bytes.len() == piece.len() => piece.copy_from_slice(&bytes),
            _ => self.read_file(offset, piece, cause)?,
        }
        let found = self.sum.of(u64::from(extent.first.0), &[piece]);
        if found != extent.crc {
            return Err(Error::corruption(self.file.path(), offset, mismatch(found, extent.crc)));
        }
        Ok(())
    }
}
