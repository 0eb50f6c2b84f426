//! VersionEdit: one change of what is live. The manifest is a list of them.
//!
//! ```text
//! field = | kind u8 | ... |
//! 1 add      | level u8 | table, as TableMeta |      2 remove   | level u8 | table id u64 |
//! 3 replay   | replay_from u64 |  first operation that no table holds: the log is needed from here
//! 4 next id  | u64 |              above every number given to a file so far
//! ```
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use kv_api::SeqNo;
use kv_io::codec::{Put, Reader};

use crate::sstable::TableMeta;
use crate::version::LEVELS;

const ADD: u8 = 1;
const REMOVE: u8 = 2;
const REPLAY: u8 = 3;
const NEXT_ID: u8 = 4;

/// One atomic change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionEdit {
    /// Tables that leave, by level.
    pub removed: Vec<(usize, u64)>,
    /// Tables that come, by level.
    pub added: Vec<(usize, TableMeta)>,
    /// The first operation that is in no table from now on.
    pub replay_from: Option<SeqNo>,
    /// A number above that of every file so far.
    pub next_id: Option<u64>,
}

impl VersionEdit {
    /// Appends it to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let level = |level: usize| u8::try_from(level).unwrap_or(u8::MAX);
        for (number, id) in &self.removed {
            out.put_u8(REMOVE).put_u8(level(*number)).put_u64(*id);
        }
        for (number, meta) in &self.added {
            out.put_u8(ADD).put_u8(level(*number));
            meta.encode(out);
        }
        if let Some(seq) = self.replay_from {
            out.put_u8(REPLAY).put_u64(seq);
        }
        if let Some(id) = self.next_id {
            out.put_u8(NEXT_ID).put_u64(id);
        }
    }

    /// Reads one; `None` if `bytes` are not one.
    pub fn decode(bytes: &[u8]) -> Option<VersionEdit> {
        VersionEdit::decode_from(&mut Reader::new(bytes))
    }

    /// Reads one that takes up all that `reader` has; where it stands after a `None` tells how far there was sense in it.
    pub fn decode_from(reader: &mut Reader<'_>) -> Option<VersionEdit> {
        let mut edit = VersionEdit::default();
        while !reader.is_empty() {
            match reader.u8()? {
                ADD => {
                    let level = level(reader)?;
                    edit.added.push((level, TableMeta::decode(reader)?));
                }
                REMOVE => {
                    let level = level(reader)?;
                    edit.removed.push((level, reader.u64()?));
                }
                REPLAY => edit.replay_from = Some(reader.u64()?),
                NEXT_ID => edit.next_id = Some(reader.u64()?),
                _ => return None,
            }
        }
        Some(edit)
    }
}

fn level(reader: &mut Reader<'_>) -> Option<usize> {
    Some(usize::from(reader.u8()?)).filter(|level| *level < LEVELS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_picture() {
        let meta = TableMeta { id: 5, smallest: b"a".to_vec(), ..TableMeta::default() };
        let edit = VersionEdit {
            removed: vec![(0, 3)],
            added: vec![(6, meta.clone())],
            replay_from: Some(17),
            next_id: Some(6),
        };
        let mut bytes = Vec::new();
        edit.encode(&mut bytes);
        let mut want = vec![2, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 6];
        meta.encode(&mut want);
        want.put_u8(3).put_u64(17).put_u8(4).put_u64(6);
        assert_eq!(bytes, want);
        assert_eq!(VersionEdit::decode(&bytes), Some(edit));
        let fields = [0, 10, 10 + 2 + 76, bytes.len() - 9, bytes.len()];
        for cut in 0..bytes.len() {
            assert_eq!(VersionEdit::decode(&bytes[..cut]).is_some(), fields.contains(&cut), "cut at {cut}");
        }
    }

    #[test]
    fn unknown_fields_and_levels_are_refused() {
        assert_eq!(VersionEdit::decode(&[9]), None);
        assert_eq!(VersionEdit::decode(&[2, 7, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
