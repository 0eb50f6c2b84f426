//! Which page numbers are taken: two bits for each page of the file, and nothing on disk but the free map that a
//! checkpoint writes from them.
//!
//! in_use: the number may not be handed out. live: the page belongs to the newest tree. A page that is in use but
//! not live waits for readers, snapshots or the last checkpoint, or belongs to a free map.

use std::ops::Range;

use super::super::page::PageId;

/// Free bits in a word of 64 that make a run worth going to: neighbours are written with one call.
const RUN_MIN: u32 = 16;
/// Pages of one word of the map.
const WORD_PAGES: usize = 64;
/// Numbers kept to be handed out again at once.
const RECYCLED_MAX: usize = 4096;
const GROWTH_BYTES_MIN: u64 = 64 << 10;
const GROWTH_BYTES_MAX: u64 = 64 << 20;
/// The file grows by one part in this many of itself.
const GROWTH_SHARE: usize = 8;

/// A bit for each page.
#[derive(Debug, Clone, Default)]
pub struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// The bits of these words.
    pub fn from_words(words: Vec<u64>) -> Bits {
        Bits { words }
    }

    /// The words, 64 pages each.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The bit of `page`.
    pub fn get(&self, page: usize) -> bool {
        self.words.get(page / 64).is_some_and(|word| word >> (page % 64) & 1 == 1)
    }

    fn set(&mut self, page: usize, value: bool) {
        if let Some(word) = self.words.get_mut(page / 64) {
            let bit = 1 << (page % 64);
            if value { *word |= bit } else { *word &= !bit }
        }
    }

    /// Set bits.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }
}

/// The allocator of page numbers.
#[derive(Debug)]
pub struct FreeList {
    in_use: Bits,
    live: Bits,
    pages: usize,
    free: usize,
    page_bytes: usize,
    /// Freed before they were ever written: handed out again first, so that they never are.
    recycled: Vec<PageId>,
    /// The word that numbers come from.
    word: usize,
    /// Set once no word has a run left; cleared when a file's worth of pages came back.
    fragmented: bool,
    released: usize,
    /// Where the last run ended.
    run_at: usize,
    /// Numbers below this one go out first, so that the end of the file empties: see [`FreeList::tighten`].
    ceiling: usize,
}

impl FreeList {
    /// A file of `pages` pages, of which `live` belong to the tree and the first `reserved` to the metas.
    pub fn new(page_bytes: usize, pages: usize, live: Bits, reserved: usize) -> FreeList {
        let mut list = FreeList {
            in_use: live.clone(),
            live,
            pages: 0,
            free: 0,
            page_bytes,
            recycled: Vec::new(),
            word: 0,
            fragmented: false,
            released: 0,
            run_at: 0,
            ceiling: usize::MAX,
        };
        list.resize(pages.max(reserved));
        (0..reserved).for_each(|page| list.in_use.set(page, true));
        list.free = list.pages - (list.in_use.count() - (list.in_use.words.len() * 64 - list.pages));
        list
    }

    fn resize(&mut self, pages: usize) {
        // Bits beyond the end count as in use, so that no search finds them.
        (self.pages..pages).for_each(|page| {
            if page / 64 == self.in_use.words.len() {
                self.in_use.words.push(u64::MAX);
            }
            let live = self.live.get(page);
            self.in_use.set(page, live);
        });
        self.in_use.words.resize(pages.div_ceil(64), 0);
        self.live.words.resize(pages.div_ceil(64), 0);
        (pages..self.in_use.words.len() * 64).for_each(|page| self.in_use.set(page, true));
        self.free += pages - self.pages;
        self.pages = pages;
    }

    /// Pages of the file, handed out or not.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Pages that can be handed out without growing the file.
    pub fn free(&self) -> usize {
        self.free
    }

    /// The pages of the newest tree.
    pub fn live(&self) -> &Bits {
        &self.live
    }

    /// The pages that may not be handed out.
    pub fn in_use(&self) -> &Bits {
        &self.in_use
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> u64 {
        ((self.in_use.words.capacity() + self.live.words.capacity()) * 8 + self.recycled.capacity() * 4)
            as u64
    }

    /// A number for a new page of the tree. `None` if the file has as many pages as numbers go.
    pub fn allocate(&mut self) -> Option<PageId> {
        let page = match self.next_recycled().or_else(|| self.next_fit()) {
            Some(page) => page,
            None => {
                self.grow(1)?;
                self.next_fit()?
            }
        };
        self.take(page, 1, true);
        Some(PageId(page as u32))
    }

    fn next_recycled(&mut self) -> Option<usize> {
        // A run may have taken a number since it was put here.
        std::iter::from_fn(|| self.recycled.pop()).map(PageId::index).find(|page| !self.in_use.get(*page))
    }

    /// Numbers for a run of `count` consecutive pages; they become live only if `live`.
    pub fn allocate_run(&mut self, count: usize, live: bool) -> Option<PageId> {
        // Where the last run ended there is likely room for the next; else anywhere, else at the end.
        let below = self.ceiling.min(self.pages);
        let found = self.find_run(count, self.run_at..below).or_else(|| self.find_run(count, 0..below));
        let first = match found.or_else(|| self.find_run(count, 0..self.pages)) {
            Some(first) => first,
            None => {
                // By no more than the run: where free pages are scattered this happens often, and growing by a
                // share of the file each time would let it grow without need.
                let end = self.pages;
                self.grow_by(count.max(GROWTH_BYTES_MIN as usize / self.page_bytes))?;
                self.find_run(count, end..self.pages)?
            }
        };
        self.run_at = first + count;
        self.take(first, count, live);
        Some(PageId(first as u32))
    }

    /// Takes a run that is known to be in use: the free map of the last checkpoint.
    pub fn hold_run(&mut self, first: PageId, count: usize) {
        let free = (first.index()..first.index() + count).filter(|page| !self.in_use.get(*page)).count();
        (first.index()..first.index() + count).for_each(|page| self.in_use.set(page, true));
        self.free -= free;
    }

    /// Grows until `pages` pages are free.
    pub fn ensure_free(&mut self, pages: usize) -> Option<()> {
        if self.free < pages { self.grow(pages - self.free) } else { Some(()) }
    }

    fn take(&mut self, first: usize, count: usize, live: bool) {
        for page in first..first + count {
            self.in_use.set(page, true);
            self.live.set(page, live);
        }
        self.free -= count;
    }

    fn next_fit(&mut self) -> Option<usize> {
        if self.free == 0 {
            return None;
        }
        loop {
            let words = self.in_use.words.len().min(self.ceiling.div_ceil(WORD_PAGES)).max(1);
            let wanted = if self.fragmented { 1 } else { RUN_MIN };
            let start = self.word % words;
            let found = (0..=words).map(|step| (start + step) % words).find(|word| {
                let least = if *word == start { 1 } else { wanted };
                self.in_use.words.get(*word).is_some_and(|bits| bits.count_zeros() >= least)
            });
            match found {
                Some(word) => {
                    self.word = word;
                    let bits = self.in_use.words.get(word)?;
                    return Some(word * 64 + bits.trailing_ones() as usize);
                }
                None if !self.fragmented => self.fragmented = true,
                None if self.ceiling < self.pages => {
                    self.ceiling = usize::MAX;
                    self.fragmented = false;
                }
                None => return None,
            }
        }
    }

    /// The first run of `count` free pages among `pages`.
    fn find_run(&self, count: usize, pages: Range<usize>) -> Option<usize> {
        if self.free < count {
            return None;
        }
        let mut run = 0;
        let mut page = pages.start;
        while page < pages.end {
            if page.is_multiple_of(64) && self.in_use.words.get(page / 64) == Some(&u64::MAX) {
                run = 0;
                page += 64;
                continue;
            }
            run = if self.in_use.get(page) { 0 } else { run + 1 };
            page += 1;
            if run == count {
                return Some(page - count);
            }
        }
        None
    }

    fn grow(&mut self, least: usize) -> Option<()> {
        let share = (self.pages / GROWTH_SHARE) as u64 * self.page_bytes as u64;
        let bytes = share.clamp(GROWTH_BYTES_MIN, GROWTH_BYTES_MAX);
        self.grow_by(least.max(usize::try_from(bytes).ok()? / self.page_bytes))
    }

    fn grow_by(&mut self, more: usize) -> Option<()> {
        let pages = self.pages + more;
        if pages >= u32::MAX as usize {
            return None;
        }
        self.resize(pages);
        Some(())
    }

    /// Leaves the end of the file to empty if more pages are free than taken. With fewer free ones new pages find no
    /// neighbours and a checkpoint takes more calls. Pages move by being changed, and nothing is copied only to make
    /// the file shorter.
    pub fn tighten(&mut self) {
        let used = self.pages - self.free;
        let wanted = 2 * used + GROWTH_BYTES_MIN as usize / self.page_bytes;
        self.ceiling = if wanted < self.pages { wanted } else { usize::MAX };
        // Else the pages that every commit copies would go round up there for ever.
        self.recycled.retain(|page| page.index() < self.ceiling);
    }

    /// Gives the free pages at the end of the file up, if they are more than the file would grow by. Nothing may
    /// be cut from the file itself while a durable meta still counts them.
    pub fn cut(&mut self) {
        let last = self.in_use.words.iter().enumerate().rev().find_map(|(word, bits)| {
            // The bits beyond the end are set, but are no pages.
            let inside = (self.pages - word * WORD_PAGES).min(WORD_PAGES);
            let bits = if inside < WORD_PAGES { bits & ((1 << inside) - 1) } else { *bits };
            (bits != 0).then(|| word * WORD_PAGES + bits.ilog2() as usize)
        });
        let end = last.map_or(0, |last| last + 1);
        let free = self.pages - end;
        if free <= (self.pages / GROWTH_SHARE).max(GROWTH_BYTES_MIN as usize / self.page_bytes) {
            return;
        }
        self.in_use.words.truncate(end.div_ceil(WORD_PAGES));
        self.live.words.truncate(end.div_ceil(WORD_PAGES));
        (end..self.in_use.words.len() * WORD_PAGES).for_each(|page| self.in_use.set(page, true));
        self.recycled.retain(|page| page.index() < end);
        self.free -= free;
        self.pages = end;
    }

    /// The page left the newest tree; its number stays taken until [`FreeList::release`].
    pub fn kill(&mut self, page: PageId) {
        self.live.set(page.index(), false);
    }

    /// Takes back [`FreeList::kill`]: the commit that replaced the page was given up.
    pub fn revive(&mut self, page: PageId) {
        self.live.set(page.index(), true);
    }

    /// Nobody needs the page any more. `recycle` if it was never written: then its number goes out first.
    pub fn release(&mut self, page: PageId, recycle: bool) {
        debug_assert!(self.in_use.get(page.index()), "page {page} is released once");
        self.live.set(page.index(), false);
        self.in_use.set(page.index(), false);
        self.free += 1;
        if recycle && self.recycled.len() < RECYCLED_MAX && page.index() < self.ceiling {
            self.recycled.push(page);
        }
        self.released += 1;
        if self.released > self.in_use.words.len() {
            self.released = 0;
            self.fragmented = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_handed_out_once_and_the_metas_never() {
        let mut list = FreeList::new(4096, 0, Bits::default(), 2);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let page = list.allocate().unwrap();
            assert!(page.0 >= 2 && seen.insert(page));
        }
        let run = list.allocate_run(40, true).unwrap();
        for page in run.0..run.0 + 40 {
            assert!(seen.insert(PageId(page)));
        }
        assert_eq!(list.live().count(), 1040);
        assert_eq!(list.free() + 1042, list.pages());
        for page in seen {
            list.release(page, true);
        }
        assert_eq!((list.live().count(), list.free() + 2), (0, list.pages()));
    }

    #[test]
    fn a_recycled_number_comes_first_and_a_run_may_take_it() {
        let mut list = FreeList::new(512, 0, Bits::default(), 16);
        let first = list.allocate().unwrap();
        list.allocate().unwrap();
        list.release(first, true);
        assert_eq!(list.allocate(), Some(first));
        list.release(first, true);
        assert_eq!(list.allocate_run(1, false), Some(first));
        assert_ne!(list.allocate(), Some(first));
    }

    #[test]
    fn a_run_among_scattered_pages_makes_the_file_longer_by_itself_only() {
        let mut list = FreeList::new(4096, 0, Bits::default(), 2);
        let pages: Vec<_> = (0..20_000).map(|_| list.allocate().unwrap()).collect();
        pages.iter().step_by(2).for_each(|page| list.release(*page, false));
        while list.find_run(20, 0..list.pages()).is_some() {
            list.allocate().unwrap();
        }
        let before = list.pages();
        list.allocate_run(20, false).unwrap();
        assert_eq!(list.pages(), before + 20);
    }

    #[test]
    fn the_end_of_the_file_empties_and_is_cut_off() {
        let mut list = FreeList::new(4096, 0, Bits::default(), 2);
        let pages: Vec<_> = (0..10_000).map(|_| list.allocate().unwrap()).collect();
        list.cut();
        assert!(list.pages() >= 10_002, "nothing that is taken goes");
        // Three of four pages go, everywhere; what is left moves once.
        pages.iter().filter(|page| page.0 % 4 != 0).for_each(|page| list.release(*page, true));
        list.tighten();
        let moved: Vec<_> = pages
            .iter()
            .filter(|page| page.0 % 4 == 0)
            .map(|page| {
                let to = list.allocate().unwrap();
                list.release(*page, false);
                to
            })
            .collect();
        list.cut();
        assert!(list.pages() < 2 * 2510 + 16, "{} pages", list.pages());
        assert_eq!(list.pages() - list.free(), moved.len() + 2);
        assert!(moved.iter().all(|page| list.in_use().get(page.index()) && list.live().get(page.index())));
        // A number that was cut off comes back only with the file's growth.
        let mut seen: std::collections::BTreeSet<_> = moved.into_iter().collect();
        for _ in 0..10_000 {
            let page = list.allocate().unwrap();
            assert!(page.0 >= 2 && page.index() < list.pages() && seen.insert(page));
        }
    }

    #[test]
    fn an_empty_file_is_cut_to_its_metas() {
        for pages in [63, 64, 65, 200] {
            let mut list = FreeList::new(4096, pages, Bits::default(), 2);
            list.cut();
            assert_eq!((list.pages(), list.free()), (2, 0));
            assert_eq!(list.allocate(), Some(PageId(2)));
        }
    }

    #[test]
    fn the_first_growth_of_a_file_is_small() {
        for page_bytes in [512, 4096, 65_536] {
            let reserved = 8192_usize.div_ceil(page_bytes);
            let mut list = FreeList::new(page_bytes, 0, Bits::default(), reserved);
            list.allocate().unwrap();
            assert!(list.pages() * page_bytes <= 256 << 10);
        }
    }
}
