//! The bytes of a simulated file: chunks shared between copies until one of them is written.
//!
//! A copy costs one reference per 4 KiB, so a crash image of a small disk costs about as much as listing it.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

const CHUNK: usize = 4096;

/// Bytes of a chunk whose writing is told apart.
const SECTOR: usize = CHUNK / u8::BITS as usize;

/// Bytes of a file; a chunk that was never written is zeros and takes no memory.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    len: u64,
    /// Up to the last one that was written: what lies behind is zeros however long the file is.
    chunks: Vec<Option<Chunk>>,
}

#[derive(Debug, Clone)]
struct Chunk {
    bytes: Arc<[u8; CHUNK]>,
    /// A bit for each sector that was written to, in part or whole.
    written: u8,
}

const ZEROS: [u8; CHUNK] = [0; CHUNK];

/// The one chunk of zeros that all files share: a database of gigabytes of zeros takes hardly any memory.
fn zeros() -> Arc<[u8; CHUNK]> {
    static SHARED: OnceLock<Arc<[u8; CHUNK]>> = OnceLock::new();
    Arc::clone(SHARED.get_or_init(|| Arc::new(ZEROS)))
}

/// The bits of the sectors that `from..to` of a chunk touches.
fn sectors(from: usize, to: usize) -> u8 {
    let bit = |sector: usize| 1_u32.checked_shl(sector as u32).unwrap_or(0);
    let below = bit(to.div_ceil(SECTOR)).wrapping_sub(1);
    (below & !bit(from / SECTOR).wrapping_sub(1)) as u8
}

/// The chunk that `offset` is in, and the place in it.
fn place(offset: u64) -> (usize, usize) {
    let chunk = offset / CHUNK as u64;
    let within = offset % CHUNK as u64;
    // A simulated file is far smaller than the address space: `set_len` saw to that.
    (usize::try_from(chunk).unwrap_or(usize::MAX), usize::try_from(within).unwrap_or(0))
}

impl Content {
    /// The longest simulated file, in bytes.
    pub(super) const LEN_MAX: u64 = 1 << 36;

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `buffer` from `offset`; returns how many bytes there were.
    pub(super) fn read(&self, mut offset: u64, buffer: &mut [u8]) -> usize {
        let found = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(buffer.len());
        let mut rest = buffer.get_mut(..found).unwrap_or_default();
        while !rest.is_empty() {
            let (chunk, within) = place(offset);
            let (head, tail) = rest.split_at_mut(rest.len().min(CHUNK - within));
            match self.chunk(chunk).and_then(|chunk| chunk.bytes.get(within..)) {
                Some(bytes) => head.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from),
                None => head.fill(0),
            }
            offset += head.len() as u64;
            rest = tail;
        }
        found
    }

    fn chunk(&self, number: usize) -> Option<&Chunk> {
        self.chunks.get(number).and_then(Option::as_ref)
    }

    /// True if some sector of these bytes, as far as the file goes, was never written to.
    pub(super) fn has_hole(&self, mut offset: u64, len: usize) -> bool {
        let end = self.len.min(offset.saturating_add(len as u64));
        while offset < end {
            let (chunk, within) = place(offset);
            let here = usize::try_from(end - offset).unwrap_or(CHUNK).min(CHUNK - within);
            let touched = sectors(within, within + here);
            if self.chunk(chunk).is_none_or(|chunk| chunk.written & touched != touched) {
                return true;
            }
            offset += here as u64;
        }
        false
    }

    /// Writes `bytes` at `offset`, growing the file if they end behind it.
    pub(super) fn write(&mut self, mut offset: u64, mut bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.set_len(self.len.max(offset + bytes.len() as u64));
        while !bytes.is_empty() {
            let (chunk, within) = place(offset);
            let (head, tail) = bytes.split_at(bytes.len().min(CHUNK - within));
            if self.chunks.len() <= chunk {
                self.chunks.resize(chunk.saturating_add(1), None);
            }
            if let Some(slot) = self.chunks.get_mut(chunk) {
                if *head == ZEROS {
                    *slot = Some(Chunk { bytes: zeros(), written: u8::MAX });
                    (offset, bytes) = (offset + head.len() as u64, tail);
                    continue;
                }
                let fresh = || Chunk { bytes: Arc::new([0; CHUNK]), written: 0 };
                let target = slot.get_or_insert_with(fresh);
                target.written |= sectors(within, within + head.len());
                if let Some(target) = Arc::make_mut(&mut target.bytes).get_mut(within..within + head.len()) {
                    target.copy_from_slice(head);
                }
            }
            offset += head.len() as u64;
            bytes = tail;
        }
    }

    /// Cuts the file or extends it with zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        let (last, within) = place(len);
        self.chunks.truncate(last.saturating_add(usize::from(within > 0)));
        if len < self.len
            && let Some(Some(chunk)) = self.chunks.get_mut(last)
        {
            chunk.written &= sectors(0, within);
            if let Some(cut) = Arc::make_mut(&mut chunk.bytes).get_mut(within..) {
                cut.fill(0);
            }
        }
        self.len = len;
    }
}

/// Equal bytes hash alike: a chunk of written zeros like one that was never written.
impl Hash for Content {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len.hash(state);
        for (index, chunk) in self.chunks.iter().enumerate() {
            if let Some(chunk) = chunk.as_ref().filter(|chunk| chunk.bytes.iter().any(|byte| *byte != 0)) {
                index.hash(state);
                state.write(&chunk.bytes[..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_behaves_like_a_vector() {
        let mut model: Vec<u8> = Vec::new();
        let mut content = Content::default();
        let mut state = 1_u64;
        for round in 0..2000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let offset = (state >> 40) as usize % 20_000;
            let len = (state >> 20) as usize % 9000;
            if round % 5 == 0 {
                model.resize(offset, 0);
                content.set_len(offset as u64);
            } else {
                let bytes = vec![round as u8; len];
                if len > 0 {
                    model.resize(model.len().max(offset + len), 0);
                    model[offset..offset + len].copy_from_slice(&bytes);
                }
                content.write(offset as u64, &bytes);
            }
            let mut all = vec![7; 40_000];
            let found = content.read(0, &mut all);
            assert_eq!(found, model.len());
            assert!(all[..found] == model, "round {round}");
            assert_eq!(content.read(model.len() as u64 + 1, &mut all), 0);
        }
    }

    #[test]
    fn a_hole_is_what_was_never_written() {
        let mut content = Content::default();
        content.set_len(10_000);
        assert!(content.has_hole(0, 1) && !content.has_hole(10_000, 5));
        content.write(600, &[0; 5000]);
        assert!(content.has_hole(0, 600) && content.has_hole(511, 2));
        assert!(!content.has_hole(512, 5120), "whole sectors, as far as a write touched them");
        assert!(content.has_hole(512, 5121));
        content.set_len(4096 + 512);
        content.set_len(10_000);
        assert!(!content.has_hole(512, 4096) && content.has_hole(512, 4097), "what was cut is gone");
        assert_eq!((sectors(0, 0), sectors(0, 1), sectors(511, 513), sectors(0, CHUNK)), (0, 1, 3, 255));
    }
}
