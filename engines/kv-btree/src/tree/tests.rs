//! The tree against a `BTreeMap`: small pages, hostile keys, a pool of a few pages.

use std::collections::BTreeMap;
use std::ops::Bound;

use kv_api::{Direction, KeyRange};
use kv_io::checksum::FileSum;
use kv_io::os::RealVfs;
use kv_io::vfs::OpenOptions;
use proptest::prelude::*;

use super::*;
use crate::page::inner;
use crate::page::meta::Meta;
use crate::page::slotted::Slots;
use crate::pager::free_list::Bits;
use crate::tree::cursor::Cursor;
use crate::tree::load::Loader;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

struct Bed {
    writer: Writer,
    pager: Arc<Pager>,
    reclaim: Arc<Reclaim>,
    _dir: tempfile::TempDir,
}

impl Bed {
    fn new(page_bytes: usize, pages_max: usize) -> Bed {
        let dir = tempfile::tempdir().unwrap();
        let file = RealVfs::new().open(&dir.path().join("p"), OpenOptions::NEW, Cause::Page).unwrap();
        let pager = Arc::new(Pager::new(file, FileSum::new(1, 1), page_bytes, pages_max, true).unwrap());
        let reserved = Meta::reserved_pages(page_bytes) as usize;
        let space = FreeList::new(page_bytes, 0, Bits::default(), reserved);
        let root = Root { page: PageId::NONE, height: 1, generation: 0, seq: 0, values: 0 };
        let reclaim = Arc::new(Reclaim::new(root));
        let mut writer = Writer::new(Arc::clone(&pager), Arc::clone(&reclaim), space);
        writer.begin();
        writer.plant().unwrap();
        writer.publish(0);
        Bed { writer, pager, reclaim, _dir: dir }
    }

    fn commit(&mut self, change: impl FnOnce(&mut Writer) -> Result<()>) {
        self.writer.begin();
        change(&mut self.writer).unwrap();
        self.writer.publish(0);
    }

    fn contents(&self, root: &Root, direction: Direction) -> Vec<(Vec<u8>, Vec<u8>)> {
        let range = KeyRange::ALL.to_owned_range();
        let pager = Arc::clone(&self.pager);
        let mut cursor = Cursor::new(pager, root.clone(), range, direction, Reader::Scan);
        let mut out = Vec::new();
        while let Some(entry) = cursor.next().unwrap() {
            out.push((entry.key.to_vec(), entry.value.to_vec()));
        }
        out
    }

    /// The contents are those of `model`, and every page number is accounted for.
    fn check(&mut self, model: &Model) {
        let root = Root::clone(&self.reclaim.newest());
        let expected: Vec<_> = model.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        assert!(self.contents(&root, Direction::Forward) == expected);
        let mut backward = self.contents(&root, Direction::Reverse);
        backward.reverse();
        assert!(backward == expected);
        for (key, value) in model {
            let mut found = Vec::new();
            assert!(get(&self.pager, &root, key, Reader::Get, &mut |v| found.extend_from_slice(v)).unwrap());
            assert_eq!(&found, value);
        }
        let live = self.pages_below(root.page, root.level());
        assert_eq!(live, self.writer.space.live().count());
        self.writer.take_back();
        let waiting = self.reclaim.dead_pages().len();
        let reserved = Meta::reserved_pages(self.pager.page_bytes()) as usize;
        assert_eq!(live + waiting + reserved + self.writer.space.free(), self.writer.space.pages());
    }

    fn pages_below(&self, id: PageId, level: u8) -> usize {
        let page = self.pager.page(id, level, Reader::Update).unwrap();
        assert!(Slots::new(&page).check().is_ok());
        if level > 0 {
            return 1 + inner::children(&page).map(|child| self.pages_below(child, level - 1)).sum::<usize>();
        }
        let slots = Slots::new(&page);
        let values = (0..slots.count()).filter_map(|index| match leaf::value_at(&slots, index) {
            Value::Apart(apart) => Some(apart),
            Value::Inline(_) => None,
        });
        1 + values
            .map(|apart| {
                let index = self.pager.value_index(apart, Reader::Update).unwrap();
                let pages = index.iter().flat_map(extents).map(|e| e.pages as usize);
                index.len() + pages.sum::<usize>()
            })
            .sum::<usize>()
    }
}

#[derive(Debug, Clone)]
enum Change {
    Put(Vec<u8>, usize),
    Delete(Vec<u8>),
    DeleteRange(Vec<u8>, Option<Vec<u8>>),
}

/// Keys that share prefixes of several lengths, end in zeros or 0xFF, or differ late.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let letters = prop::sample::select(vec![0_u8, b'a', b'b', 0xff]);
    let short = prop::collection::vec(letters.clone(), 0..5);
    let late = (0..300_u32).prop_map(|n| format!("user00000000{n:04}").into_bytes());
    let long = (prop::collection::vec(letters, 0..4), 30..60_usize).prop_map(|(tail, len)| {
        let mut key = vec![b'k'; len];
        key.extend(tail);
        key
    });
    prop_oneof![short, late.clone(), late, long, any::<u32>().prop_map(|n| n.to_be_bytes().to_vec())]
}

fn change() -> impl Strategy<Value = Change> {
    let len = prop_oneof![6 => 0..20_usize, 3 => 100..129_usize, 1 => 129..3000_usize];
    prop_oneof![
        12 => (key(), len).prop_map(|(key, len)| Change::Put(key, len)),
        4 => key().prop_map(Change::Delete),
        1 => (key(), prop::option::of(key())).prop_map(|(start, end)| Change::DeleteRange(start, end)),
    ]
}

fn value(key: &[u8], len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + key.len() + len) as u8).collect()
}

fn apply(writer: &mut Writer, model: &mut Model, change: &Change) -> Result<()> {
    match change {
        Change::Put(key, len) => {
            model.insert(key.clone(), value(key, *len));
            writer.put(key, &value(key, *len))
        }
        Change::Delete(key) => {
            model.remove(key);
            writer.delete(key)
        }
        Change::DeleteRange(start, end) => {
            model.retain(|key, _| key < start || end.as_ref().is_some_and(|end| key >= end));
            writer.delete_range(start, end.as_deref())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_tree_does_what_a_map_does(
        commits in prop::collection::vec(prop::collection::vec(change(), 1..40), 1..25),
        pages_max in prop::sample::select(vec![16_usize, 64, 4096]),
    ) {
        let mut bed = Bed::new(512, pages_max);
        let mut model = Model::new();
        let mut held: Vec<(crate::reclaim::Pinned, Model)> = Vec::new();
        for (index, changes) in commits.iter().enumerate() {
            if index % 3 == 1 {
                held.push((bed.reclaim.pin(), model.clone()));
            }
            bed.commit(|writer| changes.iter().try_for_each(|change| apply(writer, &mut model, change)));
            if index % 7 == 6 {
                held.remove(0);
            }
        }
        for (pin, old) in &held {
            let expected: Vec<_> = old.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
            prop_assert!(bed.contents(&pin.root, Direction::Forward) == expected);
        }
        bed.check(&model);
        drop(held);
        bed.check(&model);
        prop_assert_eq!(bed.reclaim.dead_pages().len(), 0);
    }

    #[test]
    fn a_search_by_heads_agrees_with_the_plain_one(
        keys in prop::collection::btree_set(key(), 1..40), probes in prop::collection::vec(key(), 20),
    ) {
        let mut page = Page::blank(4096, PageId(1), 1, Kind::Leaf, 0);
        for key in &keys {
            leaf::put(&mut page, key, Value::Inline(b"v"));
        }
        let slots = Slots::new(&page);
        for probe in keys.iter().chain(&probes) {
            prop_assert_eq!(slots.search(probe), slots.search_plain(probe));
        }
    }
}

#[test]
fn ascending_keys_fill_their_pages_and_deleting_all_leaves_one() {
    let mut bed = Bed::new(4096, 4096);
    let mut model = Model::new();
    for start in (0..20_000_u32).step_by(100) {
        bed.commit(|writer| {
            (start..start + 100).try_for_each(|n| {
                model.insert(n.to_be_bytes().to_vec(), vec![7; 100]);
                writer.put(&n.to_be_bytes(), &[7; 100])
            })
        });
    }
    bed.check(&model);
    // 114 bytes an entry: 35 to a page.
    assert!(bed.writer.space.live().count() < 20_000 / 34, "{}", bed.writer.space.live().count());
    for start in (0..20_000_u32).step_by(100) {
        bed.commit(|writer| (start..start + 100).try_for_each(|n| writer.delete(&n.to_be_bytes())));
    }
    bed.check(&Model::new());
    assert_eq!(bed.writer.space.live().count(), 1);
}

#[test]
fn random_keys_fill_two_thirds_and_an_abandoned_commit_leaves_no_trace() {
    let mut bed = Bed::new(4096, 256);
    let mut model = Model::new();
    let mut seed = 1_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 20).to_be_bytes()
    };
    for _ in 0..200 {
        bed.commit(|writer| {
            (0..100).try_for_each(|_| {
                let key = next();
                model.insert(key.to_vec(), vec![1; 100]);
                writer.put(&key, &[1; 100])
            })
        });
    }
    bed.check(&model);
    let bytes = bed.writer.space.live().count() * 4096;
    assert!(bytes < 20_000 * 118 * 100 / 62, "fill is {} %", 20_000 * 118 * 100 / bytes);
    bed.writer.begin_abandonable();
    for _ in 0..5000 {
        bed.writer.put(&next(), &[2; 300]).unwrap();
    }
    bed.writer.delete_range(&[0; 3], Some(&[0, 0, 7])).unwrap();
    bed.writer.abandon();
    bed.check(&model);
}

#[test]
fn a_bulk_load_is_full_and_holds_what_was_loaded() {
    for (page_bytes, count) in [(512, 0_u32), (512, 1), (512, 3000), (4096, 30_000)] {
        let mut bed = Bed::new(page_bytes, 64);
        let model: Model = (0..count)
            .map(|n| {
                (
                    format!("key{n:08}").into_bytes(),
                    value(&[], n as usize % 50 + usize::from(n % 500 == 0) * 1000),
                )
            })
            .collect();
        bed.writer.begin_abandonable();
        let mut loader = Loader::new(&mut bed.writer);
        for (key, value) in &model {
            loader.push(key, value).unwrap();
        }
        loader.finish().unwrap();
        bed.writer.publish(0);
        bed.check(&model);
        let mut model = model;
        bed.commit(|writer| {
            (0..200).try_for_each(|n: u32| {
                apply(writer, &mut model, &Change::Put(format!("key{:08}x", n * 37).into_bytes(), 40))
            })
        });
        bed.check(&model);
    }
}

#[test]
fn a_range_delete_reads_only_the_edges() {
    let mut bed = Bed::new(512, 64);
    let mut model = Model::new();
    for start in (0..10_000_u32).step_by(50) {
        bed.commit(|w| {
            (start..start + 50)
                .try_for_each(|n| apply(w, &mut model, &Change::Put(n.to_be_bytes().to_vec(), 30)))
        });
    }
    let change = Change::DeleteRange(500_u32.to_be_bytes().to_vec(), Some(9500_u32.to_be_bytes().to_vec()));
    bed.commit(|writer| apply(writer, &mut model, &change));
    assert_eq!(model.len(), 1000);
    bed.check(&model);
    let cursor_range = kv_api::OwnedRange {
        start: Bound::Excluded(499_u32.to_be_bytes().to_vec()),
        end: Bound::Included(9500_u32.to_be_bytes().to_vec()),
    };
    let root = Root::clone(&bed.reclaim.newest());
    for direction in [Direction::Forward, Direction::Reverse] {
        let mut cursor =
            Cursor::new(Arc::clone(&bed.pager), root.clone(), cursor_range.clone(), direction, Reader::Scan);
        let entry = cursor.next().unwrap().unwrap();
        assert_eq!(entry.key, 9500_u32.to_be_bytes());
        assert!(cursor.next().unwrap().is_none());
        cursor.seek(&[0xff]).unwrap();
        assert_eq!(cursor.next().unwrap().is_some(), direction == Direction::Reverse);
    }
}
