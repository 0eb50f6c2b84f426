//! `cargo bench --bench structures`: the parts that engines are made of, each beside its plain version.
//!
//! Every group is one plot. In it stands what the engines use, and under `plain` or its textbook name what one would
//! write first; the number behind the name is what grows. Everything is hot in the processor's caches, so these
//! are times of computing, not of waiting for memory or a disk; only the log writes files.

use std::collections::BTreeMap;
use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kv_api::{Batch, Direction, Durability, Error, Result, SeqNo};
use kv_btree::page::slotted::{self, Cell, Slots};
use kv_btree::page::{Kind as PageKind, Page, PageId};
use kv_io::aligned::AlignedBuf;
use kv_io::checksum::FileSum;
use kv_io::commit::{Apply, CommitLog, Room};
use kv_io::os::RealVfs;
use kv_io::wal::reader::Expected;
use kv_io::wal::{LogPlace, WalOptions};
use kv_lsm::cursor::Cursor;
use kv_lsm::entry::{Entry, Kind, Tag, compare, hash64};
use kv_lsm::memtable::index::{MemIndex, SkipIndex};
use kv_lsm::merge::{HeapMerge, LoserTree};
use kv_lsm::sstable::block::{Block, BlockBuilder, BlockBytes};
use kv_lsm::sstable::bloom::{Filter, FilterHash};
use workloads::keys::{Key, KeyKind};

const VALUE: [u8; 100] = [0x5a; 100];
/// Questions asked in turn: so many that the processor cannot learn their answers by heart.
const PROBES: usize = 1 << 14;

/// The keys of `count` records, in key order.
fn sorted_keys(kind: KeyKind, count: usize) -> Vec<Key> {
    let mut keys: Vec<Key> = (0..count as u64).map(|record| kind.encode(record)).collect();
    keys.sort_by_cached_key(|key| key.to_vec());
    keys
}

/// Items in an order without pattern, over and over.
struct Walk<T> {
    items: Vec<T>,
    at: usize,
}

impl<T: Clone> Walk<T> {
    fn over(from: &[T]) -> Walk<T> {
        let pick = |i: usize| hash64(&(i as u64).to_le_bytes()) as usize % from.len();
        Walk { items: (0..PROBES).map(|i| from[pick(i)].clone()).collect(), at: 0 }
    }

    fn next(&mut self) -> &T {
        self.at = (self.at + 1) % PROBES;
        &self.items[self.at]
    }
}

/// A leaf with these keys, its page prefix being what they share, as in the tree.
fn leaf(keys: &[Key], prefix_len: usize) -> Page {
    let mut page = Page::blank(32 << 10, PageId(1), 1, PageKind::Leaf, 0);
    let value_len = 8_u16.to_le_bytes();
    let cells = keys.iter().map(|key| Cell { key: [&[], key], fixed: &value_len, rest: &VALUE[..8] });
    slotted::build(&mut page, &keys[0][..prefix_len], cells);
    page
}

/// Search in a page: by counting heads, and by binary search over whole keys.
fn node_search(c: &mut Criterion, name: &str, kind: KeyKind, strip_prefix: bool) {
    let mut group = c.benchmark_group(name);
    for count in [24, 64, 130, 250] {
        let keys = sorted_keys(kind, count);
        let shared = slotted::common_len(&keys[0], &keys[count - 1]);
        let page = leaf(&keys, if strip_prefix { shared } else { 0 });
        let mut walk = Walk::over(&keys);
        group.bench_function(BenchmarkId::new("heads", count), |b| {
            b.iter(|| Slots::new(black_box(&page)).search(walk.next()));
        });
        group.bench_function(BenchmarkId::new("plain", count), |b| {
            b.iter(|| Slots::new(black_box(&page)).search_plain(walk.next()));
        });
    }
    group.finish();
}

fn node(c: &mut Criterion) {
    node_search(c, "node search, random keys", KeyKind::Hash16, true);
    node_search(c, "node search, shared prefix", KeyKind::Text24, true);
    // What heads cost where they tell nothing: the prefix stays in every key, so all heads are equal.
    node_search(c, "node search, equal heads", KeyKind::Text24, false);
}

/// A block of these keys.
fn block(keys: &[Key]) -> Block {
    let (sum, mut builder, mut bytes) = (FileSum::new(1, 2), BlockBuilder::default(), Vec::new());
    keys.iter().for_each(|key| builder.add(Entry { key, tag: Tag::new(1, Kind::Put), value: &VALUE }));
    let len = builder.finish(&mut bytes, &sum, 0, 4096);
    let buffer = Arc::new(AlignedBuf::copy_of(&bytes, len));
    Block::check(BlockBytes::Buffer(buffer, 0..len), &sum, 0).expect("the block is whole")
}

/// The first entry at or after `key` by binary search over the entries as they are stored.
fn binary_search(block: &Block, key: &[u8]) -> usize {
    let Some(suffix) = key.strip_prefix(block.prefix()) else { return block.len() };
    let (mut low, mut high) = (0, block.len());
    while low < high {
        let middle = low.midpoint(high);
        let stored = block.stored(middle).expect("the index is below the length");
        if compare((stored.suffix, stored.tag), (suffix, Tag::NEWEST)).is_lt() {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// The same by looking at one entry after another, as in a block without an index of its own.
fn linear_scan(block: &Block, key: &[u8]) -> usize {
    let Some(suffix) = key.strip_prefix(block.prefix()) else { return block.len() };
    let is_before = |i: &usize| {
        let stored = block.stored(*i).expect("the index is below the length");
        compare((stored.suffix, stored.tag), (suffix, Tag::NEWEST)).is_lt()
    };
    (0..block.len()).take_while(is_before).count()
}

fn block_seek(c: &mut Criterion) {
    let mut group = c.benchmark_group("block seek");
    for count in [32, 128] {
        let keys = sorted_keys(KeyKind::Hash16, count);
        let block = block(&keys);
        let mut walk = Walk::over(&keys);
        for key in &keys {
            let found = block.lower_bound(key, Tag::NEWEST);
            assert_eq!((found, found), (binary_search(&block, key), linear_scan(&block, key)));
        }
        group.bench_function(BenchmarkId::new("heads", count), |b| {
            b.iter(|| black_box(&block).lower_bound(walk.next(), Tag::NEWEST));
        });
        group.bench_function(BenchmarkId::new("plain binary search", count), |b| {
            b.iter(|| binary_search(black_box(&block), walk.next()));
        });
        group.bench_function(BenchmarkId::new("plain scan", count), |b| {
            b.iter(|| linear_scan(black_box(&block), walk.next()));
        });
    }
    group.finish();
}

/// A key with its tag behind it, so that plain bytes have the order of entries: newer versions first.
fn versioned(key: &[u8], tag: Tag) -> Vec<u8> {
    [key, &(!tag.raw()).to_be_bytes()].concat()
}

/// One thread, so the map needs no lock; the skiplist pays for letting readers in at any time.
fn memtable(c: &mut Criterion) {
    const ENTRIES: u64 = 20_000;
    let keys: Vec<Key> = (0..ENTRIES).map(|record| KeyKind::Hash16.encode(record)).collect();
    let tag = |i: usize| Tag::new(i as u64 + 1, Kind::Put);
    let skiplist = || {
        let index = SkipIndex::default();
        keys.iter().enumerate().for_each(|(i, key)| index.insert(Entry { key, tag: tag(i), value: &VALUE }));
        index
    };
    let map = || {
        let mut map = BTreeMap::new();
        for (i, key) in keys.iter().enumerate() {
            map.insert(versioned(key, tag(i)), VALUE.to_vec());
        }
        map
    };
    let mut group = c.benchmark_group("memtable insert");
    group.throughput(Throughput::Elements(ENTRIES));
    group.bench_function("skiplist", |b| b.iter_with_large_drop(skiplist));
    group.bench_function("plain BTreeMap", |b| b.iter_with_large_drop(map));
    group.finish();

    let (skiplist, map, mut walk) = (skiplist(), map(), Walk::over(&keys));
    let mut group = c.benchmark_group("memtable get");
    group.throughput(Throughput::Elements(1));
    group.bench_function("skiplist", |b| {
        b.iter(|| {
            skiplist.get(walk.next(), Tag::NEWEST, &mut |entry| {
                black_box(entry.value);
            })
        });
    });
    group.bench_function("plain BTreeMap", |b| {
        b.iter(|| {
            let key = walk.next();
            let newest = map.range(versioned(key, Tag::NEWEST)..).next();
            newest.filter(|(found, _)| found.starts_with(key)).map(|(_, value)| black_box(value.as_slice()))
        });
    });
    group.finish();
}

/// A Bloom filter beside the exact answer: a sorted list of the keys' hashes, with 64 bits for each.
fn filter(c: &mut Criterion) {
    const KEYS: u64 = 40_000;
    let hash = |record: u64| hash64(&KeyKind::Hash16.encode(record));
    let hashes: Vec<u64> = (0..KEYS).map(hash).collect();
    let absent: Vec<u64> = (0..KEYS).map(|record| hash64(&KeyKind::Hash16.absent(record))).collect();
    let sorted = || {
        let mut sorted = hashes.clone();
        sorted.sort_unstable();
        sorted
    };
    let bloom = || Filter::build(&hashes, 10).expect("there are keys");
    let mut group = c.benchmark_group("filter build");
    group.throughput(Throughput::Elements(KEYS));
    group.bench_function("bloom, 10 bits", |b| b.iter(bloom));
    group.bench_function("plain sorted list", |b| b.iter(sorted));
    group.finish();

    let (bloom, sorted) = (bloom(), sorted());
    for (name, hashes) in [("filter probe, hit", &hashes), ("filter probe, miss", &absent)] {
        let mut walk = Walk::over(hashes);
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(1));
        group.bench_function("bloom, 10 bits", |b| {
            b.iter(|| black_box(&bloom).may_hold(&FilterHash::of(*walk.next())))
        });
        group.bench_function("plain sorted list", |b| {
            b.iter(|| black_box(&sorted).binary_search(walk.next()).is_ok());
        });
        group.finish();
    }
}

/// An engine that keeps nothing: what is left is the log.
struct NoEngine;

impl Apply for NoEngine {
    fn admit(&self, _bytes: usize, _ops: usize) -> Result<()> {
        Ok(())
    }

    fn prepare(&self, _bytes: usize, _ops: usize) -> Result<Room> {
        Ok(Room::Ready)
    }

    fn apply(&self, _first_seq: SeqNo, _batches: &[&Batch]) -> Result<()> {
        Ok(())
    }

    fn publish(&self, _last_seq: SeqNo) {}

    fn poison(&self, error: &Error) {
        panic!("the log broke: {error}");
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// The budget that the log is cut for, and the bytes after which the engine would let go of its segments.
const LOG_BUDGET: u64 = 32 << 20;

/// One commit of the log beside one bare write of the same bytes to a file, at each level.
fn wal(c: &mut Criterion) {
    for level in [Durability::Memory, Durability::Os, Durability::Disk] {
        let mut group = c.benchmark_group(format!("wal append, {level}"));
        for count in [1_u64, 100] {
            let mut batch = Batch::new();
            for record in 0..count {
                batch.put(&KeyKind::Hash16.encode(record), &VALUE);
            }
            group.throughput(Throughput::Elements(count));
            let dir = tempfile::tempdir().expect("a temporary directory");
            let place = LogPlace { vfs: RealVfs::new(), dir: dir.path().to_path_buf(), salt: 1 };
            let log = new_log(&place).expect("the log starts");
            group.bench_function(BenchmarkId::new("log", count), |b| {
                b.iter(|| {
                    let seq = log.commit(&NoEngine, &batch, level).expect("the commit succeeds").seq;
                    if log.log_bytes() > LOG_BUDGET {
                        log.release(seq + 1).expect("the log lets go");
                    }
                });
            });
            let mut file = File::create(dir.path().join("plain")).expect("the file is made");
            let mut waiting = Vec::new();
            let mut written = 0;
            group.bench_function(BenchmarkId::new("plain file", count), |b| {
                b.iter(|| {
                    written +=
                        append(&mut file, &mut waiting, batch.encoded(), level).expect("it is written");
                    if written > LOG_BUDGET {
                        written = 0;
                        file = File::create(dir.path().join("plain")).expect("the file is made");
                    }
                });
            });
        }
        group.finish();
    }
}

fn new_log(place: &LogPlace) -> Result<CommitLog> {
    let expected = Expected { is_new: true, read_only: false, replay_from: 1 };
    let replayed = CommitLog::replay(place, expected, &mut |_, _, _| Ok(()))?;
    CommitLog::start(place, replayed, WalOptions::for_budget(LOG_BUDGET))
}

/// What the levels cost at the least: a copy, a write, a write and a sync. Returns the bytes taken.
fn append(file: &mut File, waiting: &mut Vec<u8>, bytes: &[u8], level: Durability) -> std::io::Result<u64> {
    waiting.extend_from_slice(bytes);
    if level > Durability::Memory || waiting.len() > WalOptions::for_budget(LOG_BUDGET).buffer_bytes_max() {
        file.write_all(waiting)?;
        waiting.clear();
    }
    if level == Durability::Disk {
        file.sync_data()?;
    }
    Ok(bytes.len() as u64)
}

/// A source of a merge that costs next to nothing.
struct List {
    keys: Arc<[Key]>,
    at: usize,
}

impl Cursor for List {
    fn entry(&self) -> Option<Entry<'_>> {
        self.keys.get(self.at).map(|key| Entry { key, tag: Tag::new(1, Kind::Put), value: &[] })
    }

    fn next(&mut self) -> Result<()> {
        self.at += 1;
        Ok(())
    }

    fn rewind(&mut self) -> Result<()> {
        self.at = 0;
        Ok(())
    }

    fn seek(&mut self, key: &[u8], _tag: Tag) -> Result<()> {
        self.at = self.keys.partition_point(|own| **own < *key);
        Ok(())
    }
}

/// Walks `cursor` from end to end; returns how many entries it gave.
fn drain(cursor: &mut impl Cursor) -> u64 {
    let mut count = 0;
    cursor.rewind().expect("lists do not fail");
    while let Some(entry) = cursor.entry() {
        black_box(entry.key);
        count += 1;
        cursor.next().expect("lists do not fail");
    }
    count
}

fn merge(c: &mut Criterion) {
    const ENTRIES: u64 = 1 << 16;
    let mut group = c.benchmark_group("merge");
    group.throughput(Throughput::Elements(ENTRIES));
    for count in [2, 8] {
        let sources = || -> Vec<List> {
            let all: Vec<Key> = (0..ENTRIES).map(|record| KeyKind::Hash16.encode(record)).collect();
            let part = |part: &[Key]| {
                let mut keys = part.to_vec();
                keys.sort_by_cached_key(|key| key.to_vec());
                List { keys: keys.into(), at: 0 }
            };
            all.chunks(all.len() / count).map(part).collect()
        };
        let mut tree = LoserTree::new(sources(), Direction::Forward, 0);
        let mut heap = HeapMerge::new(sources());
        assert_eq!((drain(&mut tree), drain(&mut heap)), (ENTRIES, ENTRIES));
        group.bench_function(BenchmarkId::new("loser tree", count), |b| b.iter(|| drain(&mut tree)));
        group.bench_function(BenchmarkId::new("plain heap", count), |b| b.iter(|| drain(&mut heap)));
    }
    group.finish();
}

/// CRC-32 with one table lookup for each byte (Sarwate, CACM 1988).
struct PlainCrc([u32; 256]);

impl PlainCrc {
    fn new() -> PlainCrc {
        let step = |crc: u32| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
        PlainCrc(std::array::from_fn(|byte| (0..8).fold(byte as u32, |crc, _| step(crc))))
    }

    fn of(&self, bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc: u32, byte| self.0[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
    }
}

fn checksum(c: &mut Criterion) {
    let page: Vec<u8> = (0..4096_u32).map(|i| (i * i) as u8).collect();
    let (sum, plain) = (FileSum::new(1, 2), PlainCrc::new());
    assert_eq!(plain.of(b"123456789"), 0xcbf4_3926, "the check value of CRC-32");
    let mut group = c.benchmark_group("checksum of 4 KiB");
    group.throughput(Throughput::Bytes(4096));
    group.bench_function("crc32fast, seeded", |b| b.iter(|| sum.of(7, &[black_box(&page)])));
    group.bench_function("plain table", |b| b.iter(|| plain.of(black_box(&page))));
    group.finish();
}

fn configured() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! {
    name = benches;
    config = configured();
    targets = node, block_seek, memtable, filter, wal, merge, checksum
}
criterion_main!(benches);
