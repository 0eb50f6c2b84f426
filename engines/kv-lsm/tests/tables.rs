//! Tables from writer to reader: every kind of key and value, both directions, every block size, direct and
//! buffered files, many versions of one key.

use std::path::Path;
use std::sync::Arc;

use kv_api::{Cause, Direction, Result};
use kv_io::RealVfs;
use kv_lsm::FilterKind;
use kv_lsm::cursor::Cursor;
use kv_lsm::entry::{Entry, Kind, Tag};
use kv_lsm::range_tombstone::{Fragments, RangeTombstone};
use kv_lsm::sstable::cursor::{Fetch, TableCursor};
use kv_lsm::sstable::reader::{Table, TableSpace};
use kv_lsm::sstable::writer::{TableWriter, WriteOptions};

type Owned = (Vec<u8>, Tag, Vec<u8>);

fn entries() -> Vec<Owned> {
    let mut list: Vec<Owned> = vec![(Vec::new(), Tag::new(1, Kind::Put), b"empty key".to_vec())];
    for n in 0..400_u32 {
        let key = format!("prefix/{:05}", n * 3).into_bytes();
        // Every 50th key has so many versions that they fill several blocks.
        let versions = if n % 50 == 7 { 120 } else { 1 + n % 3 };
        for version in (0..versions).rev() {
            let kind = if version % 5 == 4 { Kind::Delete } else { Kind::Put };
            let len = match n % 40 {
                0 => 5000,
                13 if version == 0 => 100_000,
                _ => n % 90,
            };
            let value = if kind == Kind::Put { vec![n as u8; len as usize] } else { Vec::new() };
            list.push((key.clone(), Tag::new(u64::from(10 + version), kind), value));
        }
    }
    list.push((vec![0xff; 65_535], Tag::new(3, Kind::Put), vec![1; 9]));
    list
}

fn build(
    dir: &Path,
    direct: bool,
    mapped: bool,
    block_size: usize,
    filter: FilterKind,
) -> Result<Arc<Table>> {
    let vfs = RealVfs::new();
    let options = WriteOptions { block_size, filter, filter_bits: 10, buffer: 8192, direct };
    let mut writer = TableWriter::create(&*vfs, dir, 3, 99, &options, Cause::Flush)?;
    for (key, tag, value) in entries() {
        writer.add(Entry { key: &key, tag, value: &value })?;
    }
    let deleted = RangeTombstone { start: Arc::from(&b"x"[..]), end: None, seq: 500 };
    let meta = writer.finish(&Fragments::build([deleted]))?;
    assert_eq!((meta.smallest.as_slice(), &meta.end, meta.seq_max), (&b""[..], &None, 500));
    let space = Arc::new(TableSpace::new(vfs, dir, 99, direct, mapped, 1 << 20));
    Table::open(&space, meta, Cause::Recovery)
}

fn drain(cursor: &mut TableCursor) -> Result<Vec<Owned>> {
    let mut out = Vec::new();
    while let Some(entry) = cursor.entry() {
        out.push((entry.key.to_vec(), entry.tag, entry.value.to_vec()));
        cursor.next()?;
    }
    Ok(out)
}

fn check(table: &Arc<Table>) -> Result<()> {
    let list = entries();
    for fetch in [Fetch::Cached, Fetch::Chunks { bytes_max: 20_000, cause: Cause::Verify }] {
        let mut cursor = TableCursor::new(Arc::clone(table), Direction::Forward, fetch);
        cursor.rewind()?;
        assert!(drain(&mut cursor)? == list);
    }
    let mut reverse = TableCursor::new(Arc::clone(table), Direction::Reverse, Fetch::Cached);
    reverse.rewind()?;
    let mut backward = drain(&mut reverse)?;
    backward.reverse();
    assert!(backward == list);
    for at in (0..list.len()).step_by(17) {
        let (key, tag, _) = &list[at];
        let mut forward = TableCursor::new(Arc::clone(table), Direction::Forward, Fetch::Cached);
        forward.seek(key, *tag)?;
        assert!(forward.entry().is_some_and(|entry| entry.key == key && entry.tag == *tag), "{at}");
        reverse.seek(key, *tag)?;
        let before = at.checked_sub(1).map(|at| (&list[at].0[..], list[at].1));
        assert_eq!(reverse.entry().map(|entry| (entry.key, entry.tag)), before, "{at}");
    }
    for seq in [0, 2, 10, 15, 60, 1000] {
        for n in 0..1300_u32 {
            let key = format!("prefix/{n:05}").into_bytes();
            let want = list.iter().find(|(own, tag, _)| *own == key && tag.seq() <= seq);
            let mut found = None;
            table.get(&mut table.lookup(&key, seq), &mut |entry| {
                found = Some((entry.tag, entry.value.to_vec()))
            })?;
            assert!(
                found.as_ref() == want.map(|(_, tag, value)| (*tag, value.clone())).as_ref(),
                "{n} at {seq}"
            );
        }
    }
    table.check_sections(Cause::Verify)?;
    assert_eq!(table.tombstones().covering(b"xyz", 1000), 500);
    Ok(())
}

#[test]
fn every_block_size_and_way_to_read() -> Result<()> {
    for block_size in [512, 4096, 16_384, 32_768] {
        for (direct, mapped) in [(false, false), (true, false), (false, true)] {
            for filter in [FilterKind::None, FilterKind::Classic] {
                let dir = tempfile::tempdir().unwrap();
                check(&build(dir.path(), direct, mapped, block_size, filter)?)?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_table_under_another_number_is_damage() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let table = build(dir.path(), false, false, 4096, FilterKind::Classic)?;
    std::fs::copy(dir.path().join("000003.tbl"), dir.path().join("000004.tbl")).unwrap();
    let space = Arc::new(TableSpace::new(RealVfs::new(), dir.path(), 99, false, false, 0));
    let meta = kv_lsm::sstable::TableMeta { id: 4, ..table.meta().clone() };
    assert!(Table::open(&space, meta, Cause::Recovery).is_err());
    Ok(())
}
