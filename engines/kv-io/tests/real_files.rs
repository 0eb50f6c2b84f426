//! What only real files can show: modes, links and pipes, other processes, directories nobody may write.
#![expect(clippy::disallowed_methods, reason = "the tests look at the real files behind the file layer")]

use std::fs;
use std::io::{BufRead, BufReader, IoSlice};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use kv_api::{Cause, CommonOptions, ErrorKind, Result};
use kv_io::vfs::OpenOptions;
use kv_io::{Env, Home, RealVfs};

const C: Cause = Cause::Page;

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn files_and_directories_belong_to_their_owner_alone() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("a/b");
    let vfs = RealVfs::new();
    vfs.create_dir(&dir, C).unwrap();
    vfs.open(&dir.join("file"), OpenOptions::NEW, C).unwrap();
    vfs.try_lock(&dir.join("LOCK"), C).unwrap();
    assert_eq!((mode(&dir), mode(&temp.path().join("a"))), (0o700, 0o700));
    assert_eq!((mode(&dir.join("file")), mode(&dir.join("LOCK"))), (0o600, 0o600));
}

#[test]
fn links_and_pipes_are_refused_without_waiting() {
    let temp = tempfile::tempdir().unwrap();
    let vfs = RealVfs::new();
    let (target, link, pipe) = (temp.path().join("t"), temp.path().join("l"), temp.path().join("p"));
    fs::write(&target, b"not ours").unwrap();
    symlink(&target, &link).unwrap();
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    for path in [&link, &pipe] {
        for options in [OpenOptions::READ, OpenOptions::WRITE, OpenOptions::NEW] {
            assert_eq!(kind(vfs.open(path, options, C)), Some(ErrorKind::Io), "{}", path.display());
        }
        assert_eq!(kind(vfs.try_lock(path, C)), Some(ErrorKind::Io));
    }
    let files: Vec<_> = vfs.list(temp.path(), C).unwrap().into_iter().filter(|entry| entry.is_file).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(fs::read(&target).unwrap(), b"not ours");
}

#[test]
fn a_copy_of_a_handle_sees_the_same_bytes_direct_mapped_and_buffered() {
    let temp = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (vfs, path) = (RealVfs::new(), temp.path().join("f"));
    let direct = vfs.open(&path, OpenOptions::NEW.with_direct(true), C).unwrap();
    let page = kv_io::aligned::AlignedBuf::copy_of(b"page", 4096);
    direct.write_at(4096, &[IoSlice::new(&page)], C).unwrap();
    let mut found = [0; 4];
    let buffered = vfs.open(&path, OpenOptions::READ, C).unwrap();
    assert_eq!(buffered.read_at(4096, &mut found, C).unwrap(), 4);
    assert_eq!(&found, b"page");
    assert_eq!(&direct.map().unwrap().bytes()[4096..4100], b"page");
}

/// Runs in the test and, told by a variable of the environment, in the process that the test starts.
#[test]
fn a_lock_excludes_another_process_and_dies_with_it() {
    const DIR: &str = "KVLAB_TEST_LOCK_DIR";
    let vfs = RealVfs::new();
    if let Some(dir) = std::env::var_os(DIR) {
        let _guard = vfs.try_lock(&Path::new(&dir).join("LOCK"), C).unwrap();
        println!("\nheld");
        // Until the test kills this process.
        std::io::stdin().read_line(&mut String::new()).unwrap();
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let lock = temp.path().join("LOCK");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_lock_excludes_another_process_and_dies_with_it", "--nocapture"])
        .env(DIR, temp.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "held"));
    assert_eq!(kind(vfs.try_lock(&lock, C)), Some(ErrorKind::Locked));
    assert_eq!(kind(vfs.try_lock(&lock, C)), Some(ErrorKind::Locked), "a failed try leaves nothing behind");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(vfs.try_lock(&lock, C).is_ok());
    assert!(lock.exists());
}

#[test]
fn a_directory_that_may_not_be_written_opens_for_reading_or_fails_in_one_line() {
    let temp = tempfile::tempdir().unwrap();
    let env = Env::os();
    let (dir, empty) = (temp.path().join("db"), temp.path().join("empty"));
    let writing = CommonOptions::default();
    let reading = CommonOptions { read_only: true, create: false, ..CommonOptions::default() };
    let open = |dir: &Path, options: &CommonOptions| Home::open(&env, dir, "lsm", 1, options, Vec::new());
    open(&dir, &writing).unwrap().commit_identity().unwrap();
    fs::create_dir(&empty).unwrap();
    for path in [&dir.join("LOCK"), &dir.join("KVLAB")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o400)).unwrap();
    }
    for path in [&dir, &empty] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o500)).unwrap();
    }
    let home = open(&dir, &reading).unwrap();
    assert_eq!(kind(open(&dir, &reading)), Some(ErrorKind::Locked), "a lock without writing is a lock");
    drop(home);
    // The superuser may write anyway.
    if fs::write(empty.join("probe"), b"").is_err() {
        let error = open(&empty, &writing).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    assert_eq!(kind(open(&empty, &reading)), Some(ErrorKind::NoDatabase));
    for path in [&dir, &empty] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
    }
}
