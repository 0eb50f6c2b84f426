//! Which versions a merge keeps: for each reader that still exists, and for those of the future, the newest one.
//!
//! ```text
//! versions of one key   @9   @7   @4   @2          snapshots at 5 and 8
//! seen by               now   8    5    -          so @2 goes
//! ```
//!
//! A version goes too if a range delete hides it from all who could see it. A tombstone goes if every reader sees
//! it and nothing older lies below: dropped earlier, it would let an older version come back.

use kv_api::SeqNo;

use crate::entry::{Entry, Kind};
use crate::range_tombstone::newest_at;

/// Decides entry by entry, in merge order.
#[derive(Debug)]
pub struct Gc {
    snapshots: Vec<SeqNo>,
    key: Vec<u8>,
    any: bool,
    /// The oldest reader that sees the last version of `key`.
    reader: SeqNo,
    /// Tombstones that went.
    pub tombstones_dropped: u64,
}

impl Gc {
    /// For readers at `snapshots` (ascending) and those to come.
    pub fn new(snapshots: Vec<SeqNo>) -> Gc {
        Gc { snapshots, key: Vec::new(), any: false, reader: 0, tombstones_dropped: 0 }
    }

    /// The readers.
    pub fn snapshots(&self) -> &[SeqNo] {
        &self.snapshots
    }

    /// The oldest reader that sees operation `seq`; those to come are at the end of time.
    fn reader_of(&self, seq: SeqNo) -> SeqNo {
        let next = self.snapshots.partition_point(|snapshot| *snapshot < seq);
        self.snapshots.get(next).copied().unwrap_or(SeqNo::MAX)
    }

    /// True if `entry` must be kept. `deletes` are the ages of the range deletes over its key, newest first;
    /// `is_bottom` tells whether nothing older than the merge's inputs lies below the key.
    pub fn keep(&mut self, entry: Entry<'_>, deletes: &[SeqNo], is_bottom: impl FnOnce() -> bool) -> bool {
        let seq = entry.tag.seq();
        let reader = self.reader_of(seq);
        let same_key = self.any && self.key == entry.key;
        if same_key && self.reader == reader {
            // A newer version is seen by the same readers.
            self.tombstones_dropped += u64::from(entry.tag.kind() == Kind::Delete);
            return false;
        }
        if !same_key {
            self.key.clear();
            self.key.extend_from_slice(entry.key);
            self.any = true;
        }
        self.reader = reader;
        if newest_at(deletes, reader) > seq {
            return false;
        }
        let oldest = self.snapshots.first().copied().unwrap_or(SeqNo::MAX);
        let drop = entry.tag.kind() == Kind::Delete && seq <= oldest && is_bottom();
        self.tombstones_dropped += u64::from(drop);
        !drop
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Tag;

    fn kept(snapshots: &[SeqNo], versions: &[(SeqNo, Kind)], deletes: &[SeqNo], bottom: bool) -> Vec<SeqNo> {
        let mut gc = Gc::new(snapshots.to_vec());
        let mut keep = |seq, kind| {
            let entry = Entry { key: b"k", tag: Tag::new(seq, kind), value: &[] };
            gc.keep(entry, deletes, || bottom)
        };
        versions.iter().filter(|(seq, kind)| keep(*seq, *kind)).map(|(seq, _)| *seq).collect()
    }

    const PUTS: [(SeqNo, Kind); 4] = [(9, Kind::Put), (7, Kind::Put), (4, Kind::Put), (2, Kind::Put)];

    #[test]
    fn each_reader_keeps_its_version() {
        assert_eq!(kept(&[5, 8], &PUTS, &[], true), [9, 7, 4]);
        assert_eq!(kept(&[], &PUTS, &[], true), [9]);
        assert_eq!(kept(&[2, 3, 9], &PUTS, &[], true), [9, 2]);
        assert_eq!(kept(&[1], &PUTS, &[], true), [9]);
    }

    #[test]
    fn a_range_delete_hides_only_from_those_who_see_it() {
        assert_eq!(kept(&[], &PUTS, &[10], false), Vec::<SeqNo>::new());
        assert_eq!(kept(&[9], &PUTS, &[10], false), [9]);
        assert_eq!(kept(&[5, 8], &PUTS, &[8], false), [9, 4]);
        assert_eq!(kept(&[5], &PUTS, &[3], false), [9, 4]);
        assert_eq!(kept(&[3], &PUTS, &[3], false), [9]);
    }

    #[test]
    fn a_tombstone_goes_at_the_bottom_once_every_reader_sees_it() {
        let versions = [(9, Kind::Delete), (4, Kind::Put)];
        assert_eq!(kept(&[], &versions, &[], false), [9]);
        assert_eq!(kept(&[], &versions, &[], true), Vec::<SeqNo>::new());
        assert_eq!(kept(&[5], &versions, &[], true), [9, 4]);
        assert_eq!(kept(&[9], &versions, &[], true), Vec::<SeqNo>::new());
        assert_eq!(kept(&[3], &versions, &[], true), [9], "the reader at 3 sees neither version");
    }
}
