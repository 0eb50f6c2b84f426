//! The meter's own test: known calls give known counts, and its files are those of the directory.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use kv_api::stats::IoTotal;
use kv_api::{Cause, IoCounters};
use kv_io::sim::{FaultOp, Repeat};
use kv_io::vfs::{OpenOptions, ReadRequest, read_range};
use kv_io::{Meter, MeteredVfs, RealVfs, SimVfs, Vfs, VfsFile};

fn put(file: &dyn VfsFile, offset: u64, len: usize, cause: Cause) {
    let bytes = vec![1; len];
    let (one, two) = bytes.split_at(len / 3);
    file.write_at(offset, &[IoSlice::new(one), IoSlice::new(two)], cause).unwrap();
}

fn row(read: (u64, u64), write: (u64, u64), sync_calls: u64) -> IoCounters {
    IoCounters {
        read_calls: read.0,
        read_bytes: read.1,
        write_calls: write.0,
        write_bytes: write.1,
        contiguous_bytes: 0,
        sync_calls,
    }
}

/// The same, all bytes written one behind the other.
fn in_a_row(row: IoCounters) -> IoCounters {
    IoCounters { contiguous_bytes: row.write_bytes, ..row }
}

fn files(meter: &Meter, dir: &Path) -> Vec<(String, u64, bool)> {
    meter.files(dir).into_iter().map(|file| (file.name, file.bytes, file.is_log)).collect()
}

#[test]
fn every_call_counts_once_under_its_cause() {
    let sim = SimVfs::new(1);
    let (vfs, meter) = MeteredVfs::new(Arc::clone(&sim) as Arc<dyn Vfs>);
    let deep = Cause::Compaction { to: 3 };
    let file = vfs.open(Path::new("a"), OpenOptions::NEW, Cause::Flush).unwrap();
    put(&*file, 0, 1000, Cause::Flush);
    put(&*file, 1000, 500, Cause::Flush);
    put(&*file, 0, 7, deep);
    file.write_at(0, &[], deep).unwrap();
    file.sync_data(Cause::Flush).unwrap();
    file.sync_all(Cause::Flush).unwrap();
    vfs.sync_dir(Path::new("."), Cause::Manifest).unwrap();
    let mut buffer = [0; 100];
    file.read_at(0, &mut buffer, Cause::PointRead).unwrap();
    file.read_at(1450, &mut buffer, Cause::PointRead).unwrap();
    file.read_at(9999, &mut buffer, Cause::PointRead).unwrap();
    let (mut one, mut two) = ([0; 10], [0; 20]);
    let mut requests = [
        ReadRequest { offset: 0, buffer: &mut one, filled: 0 },
        ReadRequest { offset: 1490, buffer: &mut two, filled: 0 },
    ];
    file.read_many(&mut requests, Cause::ScanRead).unwrap();
    file.allocate(4096, Cause::Prepare).unwrap();
    file.set_len(10, Cause::Prepare).unwrap();
    assert_eq!(file.map().unwrap().bytes().len(), 10);

    let expected = [
        (Cause::Flush, in_a_row(row((0, 0), (2, 1500), 2))),
        (Cause::Manifest, row((0, 0), (0, 0), 1)),
        (Cause::PointRead, row((3, 150), (0, 0), 0)),
        (Cause::ScanRead, row((2, 20), (0, 0), 0)),
        (deep, row((0, 0), (2, 7), 0)),
    ];
    assert_eq!(meter.stats().nonzero().collect::<Vec<_>>(), expected);
    let total = IoCounters { contiguous_bytes: 1500, ..row((5, 170), (4, 1507), 3) };
    assert_eq!(meter.stats().total(), total);
    assert_eq!(sim.used_bytes(), 10);
}

#[test]
fn a_write_that_begins_where_the_last_one_ended_is_contiguous_whatever_the_cause() {
    let (vfs, meter) = MeteredVfs::new(SimVfs::new(1));
    let file = vfs.open(Path::new("a"), OpenOptions::NEW, Cause::Wal).unwrap();
    let twin = vfs.open(Path::new("a"), OpenOptions::WRITE, Cause::Wal).unwrap();
    put(&*file, 0, 100, Cause::Page);
    put(&*twin, 100, 50, Cause::Checkpoint);
    put(&*file, 100, 50, Cause::Checkpoint);
    put(&*file, 500, 10, Cause::Page);
    // Zeros ahead of a log do not break its row, nor the log theirs.
    put(&*file, 0, 1000, Cause::Prepare);
    put(&*file, 510, 10, Cause::Page);
    put(&*file, 1000, 1000, Cause::Prepare);
    let found = |cause| meter.stats().of(cause).contiguous_bytes;
    assert_eq!([Cause::Page, Cause::Checkpoint, Cause::Prepare].map(found), [110, 50, 2000]);
}

#[test]
fn a_widened_direct_read_counts_what_it_moved() {
    let (vfs, meter) = MeteredVfs::new(SimVfs::new(1));
    let file = vfs.open(Path::new("a"), OpenOptions::NEW.with_direct(true), Cause::Page).unwrap();
    file.set_len(3 * 4096, Cause::Page).unwrap();
    read_range(&*file, 4000, 200, Cause::IndexRead).unwrap();
    assert_eq!(meter.stats().of(Cause::IndexRead), row((1, 8192), (0, 0), 0));
}

#[test]
fn a_failed_call_is_a_call_and_lengths_stay_true() {
    let sim = SimVfs::new(1);
    let (vfs, meter) = MeteredVfs::new(Arc::clone(&sim) as Arc<dyn Vfs>);
    let file = vfs.open(Path::new("a"), OpenOptions::NEW, Cause::Wal).unwrap();
    for op in [FaultOp::Write, FaultOp::Read, FaultOp::Sync, FaultOp::SyncDir] {
        sim.faults().fail(op, 0, Repeat::Once);
    }
    assert!(file.write_at(0, &[IoSlice::new(&[1; 100])], Cause::Wal).is_err());
    assert!(file.read_at(0, &mut [0; 10], Cause::Wal).is_err());
    assert!(file.sync_data(Cause::Wal).is_err());
    assert!(vfs.sync_dir(Path::new("."), Cause::Wal).is_err());
    assert_eq!(meter.stats().of(Cause::Wal), in_a_row(row((1, 0), (1, 100), 2)));
    assert_eq!(files(&meter, Path::new("")), [("a".to_owned(), 50, false)]);
}

#[test]
fn the_files_are_those_a_walk_finds() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let outside = RealVfs::new();
    put(&*outside.open(&dir.join("older"), OpenOptions::NEW, Cause::Page).unwrap(), 0, 33, Cause::Page);
    let (vfs, meter) = MeteredVfs::new(Arc::clone(&outside));
    assert_eq!(files(&meter, dir), []);
    vfs.create_dir(&dir.join("sub"), Cause::Page).unwrap();
    vfs.list(dir, Cause::Recovery).unwrap();
    let one = vfs.open(&dir.join("000001.wal"), OpenOptions::NEW, Cause::Wal).unwrap();
    put(&*one, 10, 90, Cause::Wal);
    let same = vfs.open(&dir.join("000001.wal"), OpenOptions::WRITE, Cause::Wal).unwrap();
    put(&*same, 0, 150, Cause::Wal);
    vfs.rename(&dir.join("000001.wal"), &dir.join("000002.wal"), Cause::Wal).unwrap();
    put(&*one, 100, 100, Cause::Wal);
    let gone = vfs.open(&dir.join("000003.tbl"), OpenOptions::NEW, Cause::Flush).unwrap();
    put(&*gone, 0, 5, Cause::Flush);
    vfs.hard_link(&dir.join("000003.tbl"), &dir.join("000004.tbl"), Cause::Backup).unwrap();
    vfs.remove(&dir.join("000003.tbl"), Cause::Flush).unwrap();
    vfs.open(&dir.join("000005.pages"), OpenOptions::NEW, Cause::Page)
        .unwrap()
        .allocate(8192, Cause::Page)
        .unwrap();
    vfs.open(&dir.join("sub/000001.tbl"), OpenOptions::NEW, Cause::Page).unwrap();
    let lock = vfs.try_lock(&dir.join("LOCK"), Cause::Identity).unwrap();

    let found = files(&meter, dir);
    let expected = [
        ("000002.wal", 200, true),
        ("000004.tbl", 5, false),
        ("000005.pages", 8192, false),
        ("LOCK", 0, false),
        ("older", 33, false),
    ];
    assert_eq!(found, expected.map(|(name, bytes, is_log)| (name.to_owned(), bytes, is_log)));
    let mut walked: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len()))
        .collect();
    walked.sort();
    assert_eq!(walked, found.into_iter().map(|(name, bytes, _)| (name, bytes)).collect::<Vec<_>>());
    drop(lock);
}

#[test]
fn threads_lose_no_count() {
    let (vfs, meter) = MeteredVfs::new(SimVfs::new(1));
    let file = vfs.open(Path::new("a"), OpenOptions::NEW, Cause::Page).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let file = &file;
            scope.spawn(move || {
                for step in 0..500 {
                    put(&**file, (thread * 500 + step) * 10, 10, Cause::Page);
                    file.read_at(0, &mut [0; 4], Cause::PointRead).unwrap();
                }
            });
        }
    });
    // Which writes follow one another depends on the threads.
    let counted = IoCounters { contiguous_bytes: 0, ..meter.stats().of(Cause::Page) };
    assert_eq!(counted, row((0, 0), (2000, 20_000), 0));
    assert_eq!(meter.stats().of(Cause::PointRead).read_calls, 2000);
    assert_eq!(files(&meter, Path::new("")), [("a".to_owned(), 20_000, false)]);
}

#[test]
fn what_the_system_calls_moved_is_the_sum_over_the_causes_unless_a_write_went_past_the_meter() {
    let temp = tempfile::tempdir().unwrap();
    let real = RealVfs::new();
    let older = real.open(&temp.path().join("older"), OpenOptions::NEW, Cause::Page).unwrap();
    put(&*older, 0, 33, Cause::Page);
    let (vfs, meter) = MeteredVfs::new(Arc::clone(&real));
    let file = vfs.open(&temp.path().join("a"), OpenOptions::NEW, Cause::Flush).unwrap();
    put(&*file, 0, 1000, Cause::Flush);
    put(&*file, 10, 7, Cause::Wal);
    file.read_at(990, &mut [0; 100], Cause::PointRead).unwrap();
    let expected = IoTotal { read_bytes: 10, write_bytes: 1007, write_page_bytes: 4096 };
    assert_eq!(meter.moved(), Some(expected));
    let sum = meter.stats().total();
    assert_eq!((sum.read_bytes, sum.write_bytes), (expected.read_bytes, expected.write_bytes));
    put(&*older, 0, 5, Cause::Page);
    assert_eq!(meter.moved(), Some(IoTotal { write_bytes: 1012, ..expected }));
    assert_eq!(meter.stats().total().write_bytes, 1007);
    assert_eq!(MeteredVfs::new(SimVfs::new(1)).1.moved(), None);
}
