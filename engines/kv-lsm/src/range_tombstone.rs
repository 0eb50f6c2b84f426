//! Range tombstones: "every key in `start..end` that is older than `seq` is gone".
//!
//! Overlapping tombstones are cut into fragments that do not overlap, so that one binary search answers for a key:
//!
//! ```text
//! given      a......m @5          fragments   a..f @5    f..m @9,5    m..z @9
//!                f......z @9
//! ```
//!
//! A reader at `seq` takes the newest number at or below its own; an entry older than that is gone for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use kv_api::SeqNo;

/// One range delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeTombstone {
    /// The first key it removes.
    pub start: Arc<[u8]>,
    /// The first key it keeps, or `None` if it removes to the end of the keyspace.
    pub end: Option<Arc<[u8]>>,
    /// Its age: it removes what is older.
    pub seq: SeqNo,
}

/// A piece of the keyspace and the ages of all range deletes over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// The first key in it.
    pub start: Arc<[u8]>,
    /// The first key behind it; `None` for no upper bound.
    pub end: Option<Arc<[u8]>>,
    /// Ages of the deletes, newest first; never empty.
    pub seqs: Vec<SeqNo>,
}

/// Where a key lies: between which keys the answer stays the same, and the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area<'a> {
    /// First key with this answer.
    pub start: &'a [u8],
    /// First key with another answer; `None` if there is none.
    pub end: Option<&'a [u8]>,
    /// Ages of the deletes over it, newest first; empty between fragments.
    pub seqs: &'a [SeqNo],
}

/// Fragments in key order. Immutable: readers hold it while a newer one takes its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fragments {
    list: Vec<Fragment>,
}

impl Fragments {
    /// Cuts `tombstones`, in any order, into fragments. O(n log n + fragments x ages).
    pub fn build(tombstones: impl IntoIterator<Item = RangeTombstone>) -> Fragments {
        sweep(tombstones.into_iter().collect(), usize::MAX)
    }

    /// This set with the range deletes of one batch added. A batch becomes visible whole, so where several of its
    /// deletes overlap only the newest can ever matter.
    pub fn with_batch(&self, batch: Vec<RangeTombstone>) -> Fragments {
        let newest = sweep(batch, 1);
        Fragments::build(self.tombstones().chain(newest.tombstones()))
    }

    /// Adds the next of [`Fragments::tombstones`]; `None` if it cannot be the next one.
    pub fn push_in_order(&mut self, next: RangeTombstone) -> Option<()> {
        if next.end.as_ref().is_some_and(|end| *end <= next.start) {
            return None;
        }
        match self.list.last_mut() {
            Some(last) if last.start == next.start => {
                let is_older = last.end == next.end && last.seqs.last() > Some(&next.seq);
                is_older.then(|| last.seqs.push(next.seq))
            }
            Some(last) if last.end.as_ref().is_none_or(|end| *end > next.start) => None,
            _ => {
                self.list.push(Fragment { start: next.start, end: next.end, seqs: vec![next.seq] });
                Some(())
            }
        }
    }

    /// The fragments, in key order.
    pub fn list(&self) -> &[Fragment] {
        &self.list
    }

    /// True if nothing is deleted.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Number of (fragment, age) pairs: what a table counts as its range tombstones.
    pub fn count(&self) -> u64 {
        self.list.iter().map(|fragment| crate::num::to_u64(fragment.seqs.len())).sum()
    }

    /// The most ages of one fragment.
    pub fn ages_max(&self) -> u64 {
        self.list.iter().map(|fragment| crate::num::to_u64(fragment.seqs.len())).max().unwrap_or(0)
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> u64 {
        let bytes = |f: &Fragment| 96 + f.start.len() + f.seqs.len() * 8;
        self.list.iter().map(|fragment| crate::num::to_u64(bytes(fragment))).sum()
    }

    /// One tombstone per fragment and age: start ascending, then newest first.
    pub fn tombstones(&self) -> impl Iterator<Item = RangeTombstone> + '_ {
        self.list.iter().flat_map(|f| {
            f.seqs.iter().map(|&seq| RangeTombstone { start: f.start.clone(), end: f.end.clone(), seq })
        })
    }

    /// Where `key` lies. O(log fragments).
    pub fn area(&self, key: &[u8]) -> Area<'_> {
        let next = self.list.partition_point(|fragment| *fragment.start <= *key);
        let before = next.checked_sub(1).and_then(|i| self.list.get(i));
        let after = self.list.get(next).map(|fragment| &*fragment.start);
        match before {
            Some(f) if f.end.as_ref().is_none_or(|end| key < &**end) => {
                Area { start: &f.start, end: f.end.as_deref(), seqs: &f.seqs }
            }
            Some(f) => Area { start: f.end.as_deref().unwrap_or_default(), end: after, seqs: &[] },
            None => Area { start: &[], end: after, seqs: &[] },
        }
    }

    /// Age of the newest delete over `key` that a reader at `seq` sees; 0 if there is none.
    #[inline]
    pub fn covering(&self, key: &[u8], seq: SeqNo) -> SeqNo {
        if self.list.is_empty() {
            return 0;
        }
        newest_at(self.area(key).seqs, seq)
    }

    /// The part that lies in `start..end`.
    pub fn clip(&self, start: &[u8], end: Option<&[u8]>) -> Fragments {
        let mut list = Vec::new();
        for fragment in &self.list {
            let begins =
                if *fragment.start < *start { Arc::from(start) } else { Arc::clone(&fragment.start) };
            let ends = match (fragment.end.as_deref(), end) {
                (Some(own), Some(limit)) if limit < own => Some(Arc::from(limit)),
                (None, Some(limit)) => Some(Arc::from(limit)),
                _ => fragment.end.clone(),
            };
            if ends.as_ref().is_none_or(|ends| begins < *ends) {
                list.push(Fragment { start: begins, end: ends, seqs: fragment.seqs.clone() });
            }
        }
        Fragments { list }
    }

    /// What must be kept when the reachable readers are `snapshots` (ascending) and those of the future: per
    /// fragment the newest delete for each of them. `is_bottom` tells that nothing older lies below a fragment;
    /// then a delete that every reader sees has done its work and goes.
    pub fn pruned(&self, snapshots: &[SeqNo], is_bottom: impl Fn(&[u8], Option<&[u8]>) -> bool) -> Fragments {
        let oldest_reader = snapshots.first().copied().unwrap_or(SeqNo::MAX);
        let mut list = Vec::new();
        for fragment in &self.list {
            let bottom = is_bottom(&fragment.start, fragment.end.as_deref());
            let mut seqs: Vec<SeqNo> = Vec::new();
            let readers = snapshots.iter().rev().copied();
            for reader in std::iter::once(SeqNo::MAX).chain(readers) {
                let newest = newest_at(&fragment.seqs, reader);
                if newest > 0 && seqs.last() != Some(&newest) && !(bottom && newest <= oldest_reader) {
                    seqs.push(newest);
                }
            }
            if !seqs.is_empty() {
                push_fragment(&mut list, Fragment { seqs, ..fragment.clone() });
            }
        }
        Fragments { list }
    }
}

/// The newest of `seqs` (newest first) at or below `seq`; 0 if there is none.
pub fn newest_at(seqs: &[SeqNo], seq: SeqNo) -> SeqNo {
    seqs.iter().copied().find(|&own| own <= seq).unwrap_or(0)
}

/// Walks over all bounds from left to right with the set of open tombstones; keeps the newest `ages_max` of it.
fn sweep(mut tombstones: Vec<RangeTombstone>, ages_max: usize) -> Fragments {
    tombstones.retain(|t| t.end.as_ref().is_none_or(|end| t.start < *end));
    let mut bounds: Vec<Arc<[u8]>> = tombstones.iter().map(|t| Arc::clone(&t.start)).collect();
    bounds.extend(tombstones.iter().filter_map(|t| t.end.clone()));
    bounds.sort_unstable();
    bounds.dedup();
    tombstones.sort_unstable_by(|a, b| a.start.cmp(&b.start));
    let mut closing: Vec<(Arc<[u8]>, SeqNo)> =
        tombstones.iter().filter_map(|t| Some((t.end.clone()?, t.seq))).collect();
    closing.sort_unstable();
    let (mut opens, mut closes) = (tombstones.iter().peekable(), closing.iter().peekable());
    let mut open: BTreeMap<SeqNo, usize> = BTreeMap::new();
    let mut list: Vec<Fragment> = Vec::new();
    for (i, bound) in bounds.iter().enumerate() {
        while let Some((_, seq)) = closes.next_if(|(end, _)| end <= bound) {
            if let Some(count) = open.get_mut(seq) {
                *count -= 1;
                if *count == 0 {
                    open.remove(seq);
                }
            }
        }
        while let Some(tombstone) = opens.next_if(|t| t.start <= *bound) {
            *open.entry(tombstone.seq).or_default() += 1;
        }
        if !open.is_empty() {
            let seqs = open.keys().rev().take(ages_max).copied().collect();
            push_fragment(
                &mut list,
                Fragment { start: Arc::clone(bound), end: bounds.get(i + 1).cloned(), seqs },
            );
        }
    }
    Fragments { list }
}

/// Appends `fragment`, or widens the last one if it says the same right up to it.
fn push_fragment(list: &mut Vec<Fragment>, fragment: Fragment) {
    match list.last_mut() {
        Some(last) if last.seqs == fragment.seqs && last.end.as_ref() == Some(&fragment.start) => {
            last.end = fragment.end;
        }
        _ => list.push(fragment),
    }
}

/// Several sets seen as one, for a walk: while the walk stays between two bounds the answer needs no search.
#[derive(Debug, Default)]
pub struct Skyline {
    sets: Vec<Arc<Fragments>>,
    start: Vec<u8>,
    end: Option<Vec<u8>>,
    seqs: Vec<SeqNo>,
    known: bool,
}

impl Skyline {
    /// Over `sets`; empty ones cost nothing.
    pub fn new(sets: impl IntoIterator<Item = Arc<Fragments>>) -> Skyline {
        Skyline { sets: sets.into_iter().filter(|set| !set.is_empty()).collect(), ..Skyline::default() }
    }

    /// True if nothing is deleted.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// Ages of all deletes over `key`, newest first.
    pub fn seqs_at(&mut self, key: &[u8]) -> &[SeqNo] {
        if self.sets.is_empty() {
            return &[];
        }
        let inside = self.known && *self.start <= *key && self.end.as_deref().is_none_or(|end| key < end);
        if !inside {
            self.look_up(key);
        }
        &self.seqs
    }

    fn look_up(&mut self, key: &[u8]) {
        let mut start: &[u8] = &[];
        let mut end: Option<&[u8]> = None;
        self.seqs.clear();
        for set in &self.sets {
            let area = set.area(key);
            start = start.max(area.start);
            end = match (end, area.end) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            self.seqs.extend_from_slice(area.seqs);
        }
        self.seqs.sort_unstable_by(|a, b| b.cmp(a));
        self.seqs.dedup();
        self.start.clear();
        self.start.extend_from_slice(start);
        self.end = end.map(<[u8]>::to_vec);
        self.known = true;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tombstone(start: &str, end: &str, seq: SeqNo) -> RangeTombstone {
        let end = (end != "-").then(|| Arc::from(end.as_bytes()));
        RangeTombstone { start: Arc::from(start.as_bytes()), end, seq }
    }

    fn text(fragments: &Fragments) -> String {
        let end = |f: &Fragment| f.end.as_ref().map_or("-".into(), |end| String::from_utf8_lossy(end).into());
        let one = |f: &Fragment| -> String {
            let end: String = end(f);
            format!("{}..{end}@{:?}", String::from_utf8_lossy(&f.start), f.seqs)
        };
        fragments.list().iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn overlaps_are_cut_as_in_the_picture() {
        let set = Fragments::build([tombstone("a", "m", 5), tombstone("f", "z", 9)]);
        assert_eq!(text(&set), "a..f@[5] f..m@[9, 5] m..z@[9]");
        assert_eq!((set.covering(b"g", 20), set.covering(b"g", 8), set.covering(b"g", 4)), (9, 5, 0));
        assert_eq!((set.covering(b"m", 20), set.covering(b"z", 20)), (9, 0));
        assert_eq!(text(&set.clip(b"c", Some(b"g"))), "c..f@[5] f..g@[9, 5]");
    }

    #[test]
    fn a_delete_without_an_end_covers_everything_above() {
        let set = Fragments::build([tombstone("m", "-", 3), tombstone("", "b", 2)]);
        assert_eq!(text(&set), "..b@[2] m..-@[3]");
        assert_eq!((set.covering(b"\xff\xff", 9), set.covering(b"", 9), set.covering(b"c", 9)), (3, 2, 0));
    }

    #[test]
    fn one_batch_keeps_only_its_newest_delete() {
        let set = Fragments::default().with_batch(vec![tombstone("a", "z", 1), tombstone("c", "d", 2)]);
        assert_eq!(text(&set), "a..c@[1] c..d@[2] d..z@[1]");
        let set = set.with_batch(vec![tombstone("b", "e", 7)]);
        assert_eq!(text(&set), "a..b@[1] b..c@[7, 1] c..d@[7, 2] d..e@[7, 1] e..z@[1]");
    }

    #[test]
    fn pruning_keeps_one_delete_per_reader_and_none_at_the_bottom() {
        let set = Fragments::build([3, 5, 8].map(|seq| tombstone("a", "c", seq)));
        let keep = |snapshots: &[SeqNo], bottom| text(&set.pruned(snapshots, |_, _| bottom));
        assert_eq!(keep(&[], false), "a..c@[8]");
        assert_eq!(keep(&[5, 6], false), "a..c@[8, 5]");
        assert_eq!(keep(&[2], true), "a..c@[8]");
        assert_eq!(keep(&[5], true), "a..c@[8]");
        assert_eq!(keep(&[], true), "");
        assert_eq!(keep(&[9], true), "");
    }

    proptest! {
        #[test]
        fn fragments_answer_like_a_list(
            raw in proptest::collection::vec((0_u8..20, 0_u8..22, 1_u64..30), 0..12),
            cut in 0_usize..12,
            seq in 0_u64..32,
        ) {
            let list: Vec<RangeTombstone> = raw
                .iter()
                .map(|&(start, end, seq)| RangeTombstone {
                    start: Arc::from([start].as_slice()),
                    end: (end < 20).then(|| Arc::from([end].as_slice())),
                    seq,
                })
                .collect();
            let cut = cut.min(list.len());
            let sets = [Fragments::build(list[..cut].to_vec()), Fragments::build(list[cut..].to_vec())];
            let all = Fragments::build(list.clone());
            for pair in all.list().windows(2) {
                prop_assert!(pair[0].end.as_ref().is_some_and(|end| *end <= pair[1].start));
            }
            let mut skyline = Skyline::new(sets.map(Arc::new));
            for key in (0_u8..24).chain((0..24).rev()) {
                let over = |t: &&RangeTombstone| {
                    *t.start <= [key][..] && t.end.as_ref().is_none_or(|end| [key][..] < **end)
                };
                let want = list.iter().filter(over).map(|t| t.seq).filter(|&s| s <= seq).max().unwrap_or(0);
                prop_assert_eq!(all.covering(&[key], seq), want);
                prop_assert_eq!(newest_at(skyline.seqs_at(&[key]), seq), want);
            }
        }
    }
}
