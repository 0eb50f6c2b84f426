//! Bulk load: sorted entries become full pages from the bottom up, each written once and never copied.

use kv_api::Result;

use super::Writer;
use crate::page::leaf::{self, Value};
use crate::page::slotted::{self, Cell, SLOT_LEN, common_len};
use crate::page::{HEADER_LEN, Kind, PageId};

/// Entries that wait for their page: keys and payloads one after another in one buffer.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    /// Ends of key, fixed part and rest of each entry.
    ends: Vec<[usize; 3]>,
    /// Bytes that the entries take in a page without a prefix.
    page_bytes: usize,
}

impl Pending {
    fn push(&mut self, key: &[u8], fixed: &[u8], rest: &[u8]) {
        let mut ends = [0; 3];
        for (end, part) in ends.iter_mut().zip([key, fixed, rest]) {
            self.bytes.extend_from_slice(part);
            *end = self.bytes.len();
        }
        self.ends.push(ends);
        self.page_bytes += SLOT_LEN + 2 + key.len() + fixed.len() + rest.len();
    }

    fn cell(&self, index: usize) -> Cell<'_> {
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |ends| ends[2]);
        let [key, fixed, rest] = self.ends.get(index).copied().unwrap_or_default();
        let part = |from: usize, to: usize| self.bytes.get(from..to).unwrap_or_default();
        Cell { key: [&[], part(start, key)], fixed: part(key, fixed), rest: part(fixed, rest) }
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn clear(&mut self) {
        *self = Pending {
            bytes: std::mem::take(&mut self.bytes),
            ends: std::mem::take(&mut self.ends),
            page_bytes: 0,
        };
        self.bytes.clear();
        self.ends.clear();
    }
}

/// One level under construction.
#[derive(Debug, Default)]
struct Level {
    pending: Pending,
    /// Above a leaf: the child that the next separator will stand after.
    last_child: Option<PageId>,
    /// The separator below the page under construction.
    low: Option<Vec<u8>>,
}

/// Builds a tree from entries in ascending order, in place of the empty tree of a [`Writer`].
#[derive(Debug)]
pub struct Loader<'w> {
    writer: &'w mut Writer,
    levels: Vec<Level>,
    last_key: Vec<u8>,
}

impl<'w> Loader<'w> {
    /// Begins; the writer's tree must be empty.
    pub fn new(writer: &'w mut Writer) -> Loader<'w> {
        Loader { writer, levels: vec![Level::default()], last_key: Vec::new() }
    }

    /// Adds the next entry; its key is above all before.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let inline = value.len() <= leaf::inline_bytes_max(self.writer.pager.page_bytes());
        let value = if inline { Value::Inline(value) } else { Value::Apart(self.writer.write_value(value)?) };
        let room = self.writer.pager.page_bytes() - HEADER_LEN;
        let len = leaf::cell_len(key, value) + SLOT_LEN;
        let is_full = self
            .levels
            .first()
            .is_some_and(|leaf| leaf.pending.len() > 0 && leaf.pending.page_bytes + len > room);
        if is_full {
            let mut separator = key.to_vec();
            separator.truncate(common_len(&self.last_key, key) + 1);
            self.finish_page(0, Some(separator))?;
        }
        if let Some(leaf) = self.levels.first_mut() {
            leaf::with_cell(value, |fixed, rest| leaf.pending.push(key, fixed, rest));
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.writer.make_room()
    }

    /// Ends a page at `level`; `separator` is above all its keys, `None` at the end of the tree.
    fn finish_page(&mut self, level: usize, separator: Option<Vec<u8>>) -> Result<()> {
        let Some(building) = self.levels.get_mut(level) else { return Ok(()) };
        let kind = if level == 0 { Kind::Leaf } else { Kind::Inner };
        let mut page = self.writer.blank(kind, u8::try_from(level).unwrap_or(u8::MAX))?;
        let prefix = match (&building.low, &separator) {
            (Some(low), Some(high)) => low.get(..common_len(low, high)).unwrap_or_default(),
            _ => &[],
        };
        let pending = &building.pending;
        slotted::build(&mut page, prefix, (0..pending.len()).map(|index| pending.cell(index)));
        page.set_right_child(building.last_child.take().unwrap_or(PageId::NONE));
        building.pending.clear();
        building.low = separator.clone();
        let id = self.writer.add_private(page);
        self.add_child(level + 1, id, separator)
    }

    /// Gives `child` to the page under construction at `level`; `separator` stands above it.
    fn add_child(&mut self, level: usize, child: PageId, separator: Option<Vec<u8>>) -> Result<()> {
        if self.levels.len() == level {
            self.levels.push(Level::default());
        }
        let room = self.writer.pager.page_bytes() - HEADER_LEN;
        let Some(building) = self.levels.get_mut(level) else { return Ok(()) };
        let Some(separator) = separator else {
            building.last_child = Some(child);
            return Ok(());
        };
        if building.pending.page_bytes + SLOT_LEN + 6 + separator.len() > room {
            // This child is the last of its page, and what stands above it moves up.
            building.last_child = Some(child);
            return self.finish_page(level, Some(separator));
        }
        building.pending.push(&separator, &child.0.to_le_bytes(), &[]);
        Ok(())
    }

    /// Ends the tree and makes it the writer's.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    pub fn finish(mut self) -> Result<()> {
        if self.levels.first().is_none_or(|leaf| leaf.pending.len() == 0) {
            return Ok(());
        }
        self.writer.kill_unread(self.writer.root.page);
        let mut level = 0;
        loop {
            self.finish_page(level, None)?;
            level += 1;
            let is_top = level + 1 == self.levels.len();
            let top = self.levels.get(level);
            if let Some(root) =
                top.filter(|top| is_top && top.pending.len() == 0).and_then(|top| top.last_child)
            {
                self.writer.root.page = root;
                self.writer.root.height = u8::try_from(level).unwrap_or(u8::MAX);
                return Ok(());
            }
        }
    }
}
