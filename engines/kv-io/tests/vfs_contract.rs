//! Every promise of the file layer, kept by real, simulated and metered files alike.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kv_api::{Cause, Error, ErrorKind, Result};
use kv_io::aligned::AlignedBuf;
use kv_io::vfs::{DIRECT_ALIGN, DirEntry, OpenOptions, ReadRequest, read_exact_at, read_range};
use kv_io::{MeteredVfs, RealVfs, SimVfs, Vfs, VfsFile};

const C: Cause = Cause::Page;

/// Runs `check` on every kind of file system, in an empty directory of each.
fn everywhere(check: impl Fn(&dyn Vfs, &Path)) {
    let temp = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for (name, real) in [("plain", RealVfs::new()), ("metered", MeteredVfs::new(RealVfs::new()).0)] {
        let dir = temp.path().join(name);
        real.create_dir(&dir, C).unwrap();
        check(&*real, &dir);
    }
    let sims: [Arc<dyn Vfs>; 2] = [SimVfs::new(1), MeteredVfs::new(SimVfs::new(1)).0];
    for sim in sims {
        sim.create_dir(Path::new("/db"), C).unwrap();
        check(&*sim, Path::new("/db"));
    }
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

fn io_kind<T>(result: Result<T>) -> Option<std::io::ErrorKind> {
    match result.err()? {
        Error::Io { source, .. } => Some(source.kind()),
        _ => None,
    }
}

fn put(file: &dyn VfsFile, offset: u64, bytes: &[u8]) {
    file.write_at(offset, &[IoSlice::new(bytes)], C).unwrap();
}

fn all(file: &dyn VfsFile) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    assert_eq!(file.read_at(0, &mut bytes, C).unwrap(), bytes.len());
    bytes
}

fn names(vfs: &dyn Vfs, dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = vfs.list(dir, C).unwrap().into_iter().map(|entry| entry.name).collect();
    names.sort();
    names
}

#[test]
fn bytes_written_are_bytes_read() {
    everywhere(|vfs, dir| {
        let file = vfs.open(&dir.join("a"), OpenOptions::NEW, C).unwrap();
        assert!(file.is_empty().unwrap());
        assert_eq!((file.path(), file.align()), (&*dir.join("a"), 1));
        file.write_at(3, &[IoSlice::new(b"one"), IoSlice::new(b""), IoSlice::new(b"two")], C).unwrap();
        assert_eq!(all(&*file), b"\0\0\0onetwo");
        put(&*file, 1, b"xy");
        assert_eq!(all(&*file), b"\0xyonetwo");
        file.write_at(50, &[], C).unwrap();
        assert_eq!(file.len().unwrap(), 9);

        let mut buffer = [9; 6];
        assert_eq!(file.read_at(6, &mut buffer, C).unwrap(), 3);
        assert_eq!(&buffer, b"two\x09\x09\x09");
        assert_eq!(file.read_at(9, &mut buffer, C).unwrap(), 0);
        assert_eq!(file.read_at(1 << 30, &mut buffer, C).unwrap(), 0);
        assert_eq!(kind(read_exact_at(&*file, 6, &mut buffer, C)), Some(ErrorKind::Corruption));
        assert_eq!(&read_range(&*file, 2, 4, C).unwrap()[..], b"yone");
        assert_eq!(kind(read_range(&*file, 2, 8, C)), Some(ErrorKind::Corruption));
        assert_eq!(file.map().unwrap().bytes(), b"\0xyonetwo");
    });
}

#[test]
fn many_parts_and_many_reads_in_one_call() {
    everywhere(|vfs, dir| {
        let file = vfs.open(&dir.join("a"), OpenOptions::NEW, C).unwrap();
        // More parts than one system call takes.
        let bytes: Vec<u8> = (0..3000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let parts: Vec<_> = bytes.chunks(1).map(IoSlice::new).collect();
        file.write_at(7, &parts, C).unwrap();
        assert_eq!(all(&*file)[7..], bytes);
        let (mut one, mut two) = ([0; 4], [0; 4]);
        let mut requests = [
            ReadRequest { offset: 8, buffer: &mut one, filled: 0 },
            ReadRequest { offset: 3005, buffer: &mut two, filled: 0 },
        ];
        file.read_many(&mut requests, C).unwrap();
        assert_eq!(requests.map(|request| request.filled), [4, 2]);
        assert_eq!(one, [1, 2, 3, 4]);
    });
}

#[test]
fn lengths_are_set_cut_and_reserved() {
    everywhere(|vfs, dir| {
        let file = vfs.open(&dir.join("a"), OpenOptions::NEW, C).unwrap();
        put(&*file, 0, b"0123456789");
        file.set_len(4, C).unwrap();
        file.set_len(6, C).unwrap();
        assert_eq!(all(&*file), b"0123\0\0");
        file.allocate(3, C).unwrap();
        file.allocate(0, C).unwrap();
        assert_eq!(file.len().unwrap(), 6);
        file.allocate(100_000, C).unwrap();
        assert_eq!(file.len().unwrap(), 100_000);
        assert!(all(&*file)[6..].iter().all(|byte| *byte == 0));
        file.sync_data(C).unwrap();
        file.sync_all(C).unwrap();
    });
}

#[test]
fn names_come_and_go() {
    everywhere(|vfs, dir| {
        let (a, b, c) = (dir.join("a"), dir.join("b"), dir.join("c"));
        let file = vfs.open(&a, OpenOptions::NEW, C).unwrap();
        put(&*file, 0, b"first");
        assert_eq!(io_kind(vfs.open(&a, OpenOptions::NEW, C)), Some(std::io::ErrorKind::AlreadyExists));
        assert_eq!(io_kind(vfs.open(&b, OpenOptions::WRITE, C)), Some(std::io::ErrorKind::NotFound));
        put(&*vfs.open(&b, OpenOptions::NEW, C).unwrap(), 0, b"second");

        vfs.rename(&a, &b, C).unwrap();
        assert_eq!(names(vfs, dir), ["b"]);
        assert_eq!(all(&*vfs.open(&b, OpenOptions::READ, C).unwrap()), b"first");
        vfs.hard_link(&b, &c, C).unwrap();
        assert_eq!(io_kind(vfs.hard_link(&b, &c, C)), Some(std::io::ErrorKind::AlreadyExists));
        vfs.remove(&b, C).unwrap();
        assert_eq!(io_kind(vfs.remove(&b, C)), Some(std::io::ErrorKind::NotFound));
        assert_eq!(io_kind(vfs.rename(&b, &a, C)), Some(std::io::ErrorKind::NotFound));
        assert_eq!(all(&*vfs.open(&c, OpenOptions::READ, C).unwrap()), b"first");
        // A handle outlives the names.
        vfs.remove(&c, C).unwrap();
        put(&*file, 0, b"F");
        assert_eq!(all(&*file), b"First");
        vfs.sync_dir(dir, C).unwrap();
        assert!(names(vfs, dir).is_empty());
    });
}

#[test]
fn directories_are_made_listed_and_never_opened_as_files() {
    everywhere(|vfs, dir| {
        let deep = dir.join("x/y");
        assert_eq!(io_kind(vfs.list(&deep, C)), Some(std::io::ErrorKind::NotFound));
        assert!(vfs.sync_dir(&deep, C).is_err());
        vfs.create_dir(&deep, C).unwrap();
        vfs.create_dir(&deep, C).unwrap();
        vfs.open(&deep.join("f"), OpenOptions::NEW, C).unwrap();
        assert_eq!(names(vfs, &deep), ["f"]);
        assert_eq!(vfs.list(dir, C).unwrap(), [DirEntry { name: "x".to_owned(), is_file: false }]);
        assert_eq!(kind(vfs.open(&dir.join("x"), OpenOptions::READ, C)), Some(ErrorKind::Io));
        assert_eq!(kind(vfs.open(&dir.join("x"), OpenOptions::WRITE, C)), Some(ErrorKind::Io));
        assert_eq!(kind(vfs.remove(&dir.join("x"), C)), Some(ErrorKind::Io));
        assert_eq!(kind(vfs.create_dir(&deep.join("f"), C)), Some(ErrorKind::Io));
        assert!(vfs.free_space(dir).unwrap() > 0);
    });
}

#[test]
fn a_handle_for_reading_writes_nothing() {
    everywhere(|vfs, dir| {
        put(&*vfs.open(&dir.join("a"), OpenOptions::NEW, C).unwrap(), 0, b"bytes");
        let file = vfs.open(&dir.join("a"), OpenOptions::READ, C).unwrap();
        assert_eq!(kind(file.write_at(0, &[IoSlice::new(b"x")], C)), Some(ErrorKind::Io));
        assert_eq!(kind(file.set_len(1, C)), Some(ErrorKind::Io));
        assert_eq!(all(&*file), b"bytes");
    });
}

#[test]
fn direct_io_is_aligned_or_refused() {
    everywhere(|vfs, dir| {
        let file = vfs.open(&dir.join("a"), OpenOptions::NEW.with_direct(true), C).unwrap();
        if file.align() == 1 {
            return; // This file system has no direct I/O; the simulated one always has.
        }
        assert_eq!(file.align(), DIRECT_ALIGN);
        let mut page = AlignedBuf::zeroed(2 * DIRECT_ALIGN);
        page.fill(7);
        let halves = [IoSlice::new(&page[..DIRECT_ALIGN]), IoSlice::new(&page[DIRECT_ALIGN..])];
        file.write_at(DIRECT_ALIGN as u64, &halves, C).unwrap();
        for (offset, from, to) in [(1, 0, DIRECT_ALIGN), (0, 1, DIRECT_ALIGN + 1), (0, 0, 100)] {
            let part = IoSlice::new(&page[from..to]);
            assert_eq!(io_kind(file.write_at(offset, &[part], C)), Some(std::io::ErrorKind::InvalidInput));
        }
        // The end of the file need not be aligned; what comes back then is short.
        file.set_len(3 * DIRECT_ALIGN as u64 - 10, C).unwrap();
        let mut back = AlignedBuf::zeroed(8 * DIRECT_ALIGN);
        assert_eq!(file.read_at(0, &mut back, C).unwrap(), 3 * DIRECT_ALIGN - 10);
        assert!(back[DIRECT_ALIGN..3 * DIRECT_ALIGN - 10].iter().all(|byte| *byte == 7));
        let misaligned = file.read_at(100, &mut back, C);
        assert_eq!(io_kind(misaligned), Some(std::io::ErrorKind::InvalidInput));
        assert_eq!(kind(file.read_at(0, &mut back[..100], C)), Some(ErrorKind::Io));
        assert_eq!(&read_range(&*file, 4090, 10, C).unwrap()[..], b"\0\0\0\0\0\0\x07\x07\x07\x07");
    });
}

#[test]
fn a_lock_excludes_every_other_handle_and_its_file_stays() {
    everywhere(|vfs, dir| {
        let path = dir.join("LOCK");
        let held = vfs.try_lock(&path, C).unwrap();
        match vfs.try_lock(&path, C) {
            Err(Error::Locked { path }) => assert_eq!(path, dir),
            other => panic!("{other:?}"),
        }
        // Closing another handle of the same file must not drop the lock.
        drop(vfs.open(&path, OpenOptions::READ, C).unwrap());
        let other_spelling: PathBuf = dir.join(".").join("LOCK");
        assert_eq!(kind(vfs.try_lock(&other_spelling, C)), Some(ErrorKind::Locked));
        assert!(vfs.try_lock(&dir.join("LOCK2"), C).is_ok());
        drop(held);
        assert!(vfs.try_lock(&path, C).is_ok());
        assert_eq!(names(vfs, dir), ["LOCK", "LOCK2"]);
    });
}
