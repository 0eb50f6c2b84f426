//! Targets `table`, `page`, `manifest` and `wal`: one format each, without an engine around it.

use std::path::Path;
use std::sync::Arc;

use kv_api::{Batch, Cause, Direction, SeqNo};
use kv_btree::page::meta::Meta;
use kv_btree::page::slotted::Slots;
use kv_btree::page::{Kind, Page, PageId, free_map, inner, leaf, overflow};
use kv_io::Vfs;
use kv_io::checksum::FileSum;
use kv_io::layout::{FileKind, manifest_name, parse_name, table_name, wal_name};
use kv_io::sim::SimVfs;
use kv_io::wal::LogPlace;
use kv_io::wal::frame::{FrameHeader, FramePlace, Mark, padding};
use kv_io::wal::reader::{Expected, replay};
use kv_io::wal::segment::SegmentHeader;
use kv_io::wal::witness::{WITNESS_OFFSET, Witness};
use kv_lsm::cursor::Cursor;
use kv_lsm::entry::Tag;
use kv_lsm::sstable::TableMeta;
use kv_lsm::sstable::cursor::{Fetch, TableCursor};
use kv_lsm::sstable::reader::{Table, TableSpace};
use kv_lsm::version::manifest as log;

use super::image::{bases, salt_of, typed};
use super::input::Input;
use super::seal;
use crate::damage::put_file;
use crate::lab::Engine;

/// The salt of every file here.
const SALT: u64 = 7;
/// The number of every file here, and of every page.
const ID: u64 = 3;
/// The first byte of an input: leave the checksums wrong.
const UNSEALED: u8 = 1;
const DIR: &str = "/db";

fn disk_with(name: &str, bytes: &[u8]) -> Arc<SimVfs> {
    let disk = SimVfs::new(1);
    disk.create_dir(Path::new(DIR), Cause::Verify).expect("a fresh disk");
    put_file(&*disk, &Path::new(DIR).join(name), bytes);
    disk
}

/// The files of one kind that real databases have, behind a byte of flags.
fn files_of(kind: FileKind) -> Vec<Vec<u8>> {
    let all = bases().iter().flat_map(|base| &base.files);
    let of_kind = all.filter(|(name, _)| parse_name(name).is_some_and(|(own, _)| own == kind));
    of_kind.map(|(_, bytes)| [&[0], bytes.as_slice()].concat()).collect()
}

/// Tables of real databases.
pub fn table_seeds() -> Vec<Vec<u8>> {
    files_of(FileKind::Table)
}

/// A table: `| flags u8 | file |`. Opens it, walks it both ways by blocks and in chunks, and asks for what was found.
pub fn table(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let flags = input.byte();
    let mut bytes = input.rest().to_vec();
    // The footer's own number is that of the name, or nothing behind it is ever looked at.
    let id = bytes
        .len()
        .checked_sub(112)
        .and_then(|at| bytes.get(at..)?.first_chunk().map(|id| u64::from_le_bytes(*id)));
    let id = id.unwrap_or(ID) % (1 << 62);
    if flags & UNSEALED == 0 {
        seal::table(&mut bytes, &FileSum::new(SALT, id));
    }
    let disk = disk_with(&table_name(id), &bytes);
    let mapped = flags & 2 != 0;
    let space = TableSpace::new(disk, Path::new(DIR), SALT, false, mapped, 1 << 20);
    let meta = TableMeta {
        id,
        bytes: bytes.len() as u64,
        entries: 1 << 20,
        seq_max: SeqNo::MAX,
        global_seq: u64::from(flags & 4),
        ..TableMeta::default()
    };
    let table = match Table::open(&Arc::new(space), meta, Cause::Recovery) {
        Ok(table) => table,
        Err(error) => return typed(&error),
    };
    let fetches = [Fetch::Cached, Fetch::Chunks { bytes_max: 4096, cause: Cause::Verify }];
    for (direction, fetch) in
        [Direction::Forward, Direction::Reverse].into_iter().flat_map(|d| fetches.map(|f| (d, f)))
    {
        if let Err(error) = walk(&table, direction, fetch) {
            typed(&error);
        }
    }
    for tombstone in table.tombstones().tombstones() {
        table.tombstones().covering(&tombstone.start, tombstone.seq);
    }
    if let Err(error) = table.check_sections(Cause::Verify) {
        typed(&error);
    }
}

/// Walks the whole table, asks for some of the keys, and seeks to them.
fn walk(table: &Arc<Table>, direction: Direction, fetch: Fetch) -> kv_api::Result<()> {
    let mut cursor = TableCursor::new(Arc::clone(table), direction, fetch);
    cursor.rewind()?;
    let mut keys = Vec::new();
    while let Some(entry) = cursor.entry() {
        if keys.len() < 8 {
            keys.push(entry.key.to_vec());
        }
        cursor.next()?;
    }
    for key in &keys {
        let mut lookup = table.lookup(key, SeqNo::MAX >> 8);
        table.get(&mut lookup, &mut |entry| assert_eq!(entry.key, key.as_slice()))?;
        cursor.seek(key, Tag::NEWEST)?;
        cursor.next()?;
    }
    Ok(())
}

/// Pages and metas of real databases.
pub fn page_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for base in bases().iter().filter(|base| base.engine == Engine::BTree).take(2) {
        let sum = FileSum::new(salt_of(base), 1);
        let file = base.files.iter().find(|(name, _)| name.ends_with(".pages"));
        let bytes = file.map_or(&[][..], |(_, bytes)| bytes);
        seeds.push([&[8], &bytes[..72]].concat());
        for (n, page) in bytes.chunks_exact(512).enumerate() {
            if Page::from_disk(page, PageId(n as u32), &sum, None).is_ok() {
                seeds.push([&[0], page].concat());
            }
        }
    }
    seeds.dedup();
    seeds
}

/// A page or a meta: `| flags u8 | bytes |`, filled up with zeros to a size that pages have.
pub fn page(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let flags = input.byte();
    let mut bytes = input.rest().to_vec();
    let sum = FileSum::new(SALT, 1);
    if flags & 8 != 0 {
        bytes.resize(4096, 0);
        if flags & UNSEALED == 0 {
            let crc = sum.of(0, &[&bytes[..68]]);
            bytes[68..72].copy_from_slice(&crc.to_le_bytes());
        }
        if let Ok(meta) = Meta::decode(&bytes, 0, &sum) {
            assert_eq!(
                meta.encode(&sum)[..45],
                bytes[..45],
                "a meta that is read is the one that was written"
            );
        }
        return;
    }
    bytes.resize(512 << (flags >> 5), 0);
    let id = PageId(ID as u32);
    if flags & UNSEALED == 0 {
        bytes[4..8].copy_from_slice(&id.0.to_le_bytes());
        seal::page(&mut bytes, id, &sum);
    }
    let Ok(mut page) = Page::from_disk(&bytes, id, &sum, None) else { return };
    match page.kind() {
        Some(Kind::Leaf | Kind::Inner) => search(&mut page),
        Some(Kind::FreeMap) => drop(free_map::words(&page).count()),
        Some(Kind::ValueIndex) => drop(overflow::extents(&page).count()),
        None => panic!("a page without a kind was let in"),
    }
}

/// Asks a page for its own keys and for others, and puts one more into it.
fn search(page: &mut Page) {
    let slots = Slots::new(page);
    let keys: Vec<_> = slots.cells().map(|cell| cell.to_key()).collect();
    let ordered = keys.is_sorted_by(|a, b| a < b);
    for key in keys.iter().take(40).chain([&Vec::new(), &vec![0xFF; 70]]) {
        let fast = slots.search(key);
        assert!(fast.0 <= slots.count(), "a search leaves the page");
        slots.search_plain(key);
        leaf::get(page, key);
        inner::child(page, inner::child_index(page, key));
    }
    inner::children(page).for_each(drop);
    (0..=page.count()).for_each(|n| drop(inner::separator(page, n)));
    if page.kind() == Some(Kind::Leaf) && page.level() == 0 && ordered {
        leaf::put(page, b"new key", leaf::Value::Inline(&[1; 20]));
    }
}

/// Manifests of real databases.
pub fn manifest_seeds() -> Vec<Vec<u8>> {
    files_of(FileKind::Manifest)
}

/// A manifest: `| flags u8 | file |`. What is read from it is what one written anew gives.
pub fn manifest(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let flags = input.byte();
    let mut bytes = input.rest().to_vec();
    if flags & UNSEALED == 0 {
        seal::manifest(&mut bytes, &FileSum::new(SALT, ID));
    }
    let disk = disk_with(&manifest_name(ID), &bytes);
    let dir = Path::new(DIR);
    match log::load(&*disk, dir, SALT, ID) {
        Ok((live, tail)) => {
            assert!(tail < bytes.len() as u64, "more was cut than there was");
            let next = ID + 1;
            log::Manifest::create(&*disk, dir, SALT, next, live.clone(), Cause::Recovery)
                .expect("a good disk");
            let (again, tail) = log::load(&*disk, dir, SALT, next).expect("what was just written");
            assert!(again == live && tail == 0, "a manifest written anew says something else");
        }
        Err(error) => typed(&error),
    }
}

/// Logs of one segment and of two, whole, closed, and torn.
pub fn wal_seeds() -> Vec<Vec<u8>> {
    let frames = [1, 3, 1, b'a', 2, b'b', 0, 3, 1, b'c', 0, 0];
    let one = [&[0, 1, 1, 1, 0, 1, 0, 3][..], &frames, &frames].concat();
    let closed = [&one[..], &[2, 1]].concat();
    let two = [&[0, 2, 1, 1, 0, 1, 0, 2][..], &frames, &[3, 2, 2, 1, 4, 0, 2], &frames].concat();
    vec![one, closed, two]
}

/// A log: `| flags u8 | replay_from u8 | segments |`, built frame by frame, some of them wrong. What is handed out goes
/// on from one number to the next, and twice the same.
pub fn wal(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (flags, replay_from) = (input.byte(), SeqNo::from(input.byte()));
    let disk = SimVfs::new(1);
    let dir = Path::new(DIR);
    disk.create_dir(dir, Cause::Verify).expect("a fresh disk");
    let mut next_seq = 1;
    for _ in 0..4 {
        if input.is_empty() {
            break;
        }
        let id = u64::from(input.byte() % 8);
        let bytes = segment(&mut input, id, &mut next_seq);
        put_file(&*disk, &dir.join(wal_name(id)), &bytes);
    }
    let place = LogPlace { vfs: disk, dir: dir.to_path_buf(), salt: SALT };
    let expected = Expected { is_new: flags & 1 != 0, read_only: flags & 2 != 0, replay_from };
    let run = || {
        let mut batches = Vec::new();
        let replayed = replay(&place, expected, &mut |first, ops, count| {
            assert_eq!(ops.filter(Result::is_ok).count() as u64, count, "a batch has what it says");
            batches.push((first, count));
            Ok(())
        });
        (replayed.map(|found| (found.next_seq, found.report)), batches)
    };
    let (outcome, batches) = run();
    for pair in batches.windows(2) {
        assert_eq!(pair[0].0 + pair[0].1, pair[1].0, "numbers go on");
    }
    match outcome {
        Ok((next, report)) => {
            assert!(
                batches.last().is_none_or(|(first, count)| first + count <= next),
                "the next number is above all"
            );
            let (again, _) = run();
            assert!(again.is_ok_and(|again| again == (next, report)), "a second replay says something else");
        }
        Err(error) => typed(&error),
    }
}

/// One segment: its header, its frames, and its witness.
fn segment(input: &mut Input<'_>, id: u64, next_seq: &mut SeqNo) -> Vec<u8> {
    let sum = FileSum::new(SALT, id);
    let mut bytes = vec![0; 64 << 10];
    let header = SegmentHeader {
        id: if input.byte() & 0xC0 == 0xC0 { id + 1 } else { id },
        previous: u64::from(input.byte() % 8),
        first_seq: if input.byte() & 1 == 0 { *next_seq } else { u64::from(input.byte()) },
    };
    let head = header.encode(&sum);
    bytes[..head.len()].copy_from_slice(&head);
    let mut at = 4096;
    for _ in 0..input.below(12) {
        let kind = input.byte();
        let place = FramePlace { sum: &sum, segment_id: id, offset: at as u64 };
        let frame = match kind & 7 {
            7 => input.prefixed().to_vec(),
            6 => Mark::Continued(u64::from(input.byte() % 8)).encode(place, *next_seq),
            5 => Mark::Closed.encode(place, *next_seq),
            _ => batch(input, place, kind, next_seq),
        };
        let end = (at + frame.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&frame[..end - at]);
        if kind & 0x40 != 0 {
            let place = at + input.below(end - at + 1);
            bytes[place.min(end - 1)] ^= input.byte();
        }
        at = end.next_multiple_of(8);
    }
    match input.byte() & 7 {
        1 | 4 => {
            let witness = Witness {
                durable_upto: next_seq.saturating_sub(u64::from(input.byte() & 7)),
                frames_end: at as u64,
                unsynced: u32::from(input.byte() & 7),
                file_len: 64 << 10,
            };
            let (front, copies) = (WITNESS_OFFSET as usize, witness.encode(&sum));
            bytes[front..front + copies.len()].copy_from_slice(&copies);
        }
        2 => bytes.truncate(usize::from(input.short())),
        3 => bytes[usize::from(input.short())] ^= input.byte(),
        _ => {}
    }
    bytes
}

/// A frame with operations, or with bytes that may be none.
fn batch(input: &mut Input<'_>, place: FramePlace<'_>, kind: u8, next_seq: &mut SeqNo) -> Vec<u8> {
    let mut batch = Batch::new();
    for _ in 0..1 + input.below(3) {
        let (key, value) = (input.prefixed(), input.byte());
        match value & 3 {
            0 => batch.delete(key),
            _ => batch.put(key, &vec![value; usize::from(value)]),
        };
    }
    let raw = input.byte();
    let (body, count) = match raw & 0xF {
        0xF => (input.prefixed().to_vec(), u32::from(raw >> 4)),
        _ => (batch.encoded().to_vec(), batch.len() as u32),
    };
    let first = if kind & 0x20 == 0 { *next_seq } else { u64::from(input.byte()) };
    let durable = first.saturating_sub(u64::from(kind >> 3 & 3) * 2 + 1);
    let header = FrameHeader::of(place, first, count, durable, &body);
    *next_seq = header.next_seq();
    [&header.encode(place)[..], &body, padding(body.len())].concat()
}
