//! Opening directories: creation, crashes within it, locks, and every refusal, on real files.
#![expect(clippy::disallowed_methods, reason = "the tests look at the real directory behind the engine")]

use std::fs;
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use kv_api::{Cause, CommonOptions, Error, ErrorKind, Keyspace, Result};
use kv_io::home::{check_backup_dir, clear_backup};
use kv_io::vfs::OpenOptions;
use kv_io::{Env, Home, RealVfs, SimVfs, Vfs};

fn open_with(env: &Env, dir: &Path, options: &CommonOptions) -> Result<Home> {
    Home::open(env, dir, "btree", 1, options, vec![("page_size".to_owned(), "4096".to_owned())])
}

fn open(env: &Env, dir: &Path) -> Result<Home> {
    open_with(env, dir, &CommonOptions::default())
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error: Error| error.kind())
}

fn write_file(home: &Home, name: &str) {
    let file = home.vfs.open(&home.path(name), OpenOptions::NEW, Cause::Checkpoint).unwrap();
    file.write_at(0, &[IoSlice::new(b"bytes")], Cause::Checkpoint).unwrap();
    file.sync_all(Cause::Checkpoint).unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_database_is_created_once_and_keeps_its_identity() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("a/b/db");
    let env = Env::os();
    let mut home = open(&env, &dir).unwrap();
    assert!(home.is_new);
    write_file(&home, "000001.pages");
    home.commit_identity().unwrap();
    home.commit_identity().unwrap();
    let identity = home.identity.clone();
    drop(home);
    assert_eq!(names(&dir), ["000001.pages", "KVLAB", "LOCK"]);

    let home = open(&env, &dir).unwrap();
    assert!(!home.is_new);
    assert_eq!(home.identity, identity);
    let walked: Vec<_> =
        names(&dir).into_iter().map(|name| (fs::metadata(dir.join(&name)).unwrap().len(), name)).collect();
    let metered: Vec<_> = home.meter.files(&dir).into_iter().map(|file| (file.bytes, file.name)).collect();
    assert_eq!(metered, walked);
}

#[test]
fn a_backup_goes_into_what_is_empty_and_clears_only_what_it_made() {
    let vfs = SimVfs::new(1);
    let env = Env::simulated(Arc::clone(&vfs) as Arc<dyn Vfs>, 1);
    let dir = Path::new("/backup");
    check_backup_dir(&*vfs, dir).unwrap();
    let mut home = open(&env, dir).unwrap();
    write_file(&home, "000001.pages");
    home.commit_identity().unwrap();
    let salt = home.salt_if_made_here().unwrap();
    assert_eq!(kind(check_backup_dir(&*vfs, dir)), Some(ErrorKind::InvalidOptions));
    let names =
        || vfs.list(dir, Cause::Verify).unwrap().into_iter().map(|entry| entry.name).collect::<Vec<_>>();
    let all = names();
    // Held by somebody, of another salt, or without one: it stays.
    clear_backup(&*vfs, dir, &[], Some(salt));
    assert_eq!(names(), all);
    drop(home);
    clear_backup(&*vfs, dir, &[], Some(salt ^ 1));
    clear_backup(&*vfs, dir, &[], None);
    assert_eq!(names(), all);
    assert_eq!(kind(open(&env, dir).unwrap().salt_if_made_here()), Some(ErrorKind::InvalidOptions));
    clear_backup(&*vfs, dir, &[], Some(salt));
    assert_eq!(names(), ["LOCK"]);
    check_backup_dir(&*vfs, dir).unwrap();
    // A creation that never finished is nobody's.
    let home = open(&env, dir).unwrap();
    write_file(&home, "000001.pages");
    drop(home);
    clear_backup(&*vfs, dir, &[], None);
    assert_eq!(names(), ["LOCK"]);
}

#[test]
fn every_refusal_has_its_kind() {
    let temp = tempfile::tempdir().unwrap();
    let env = Env::os();
    let dir = temp.path().join("db");
    let existing = CommonOptions { create: false, ..CommonOptions::default() };
    assert_eq!(kind(open_with(&env, &dir, &existing)), Some(ErrorKind::NoDatabase));
    assert!(!dir.exists());
    fs::create_dir(&dir).unwrap();
    assert_eq!(kind(open_with(&env, &dir, &existing)), Some(ErrorKind::NoDatabase));
    assert_eq!(names(&dir), [""; 0]);
    let tiny = CommonOptions { memory_budget: 1, ..CommonOptions::default() };
    assert_eq!(kind(open_with(&env, &dir, &tiny)), Some(ErrorKind::InvalidOptions));

    open(&env, &dir).unwrap().commit_identity().unwrap();
    let options = CommonOptions::default();
    assert_eq!(kind(Home::open(&env, &dir, "lsm", 1, &options, Vec::new())), Some(ErrorKind::WrongEngine));
    assert_eq!(
        kind(Home::open(&env, &dir, "btree", 2, &options, Vec::new())),
        Some(ErrorKind::FormatVersion)
    );
    let tables = CommonOptions { keyspace: Keyspace::Tables, ..options };
    assert_eq!(kind(open_with(&env, &dir, &tables)), Some(ErrorKind::InvalidOptions));

    let home = open(&env, &dir).unwrap();
    assert_eq!(kind(open(&env, &dir)), Some(ErrorKind::Locked));
    assert_eq!(kind(open(&Env::os(), &temp.path().join(".").join("db"))), Some(ErrorKind::Locked));
    drop(home);
    let reading = CommonOptions { read_only: true, create: false, ..CommonOptions::default() };
    assert!(open_with(&env, &dir, &reading).is_ok());

    fs::write(dir.join("KVLAB"), b"garbage").unwrap();
    assert_eq!(kind(open(&env, &dir)), Some(ErrorKind::Corruption));
}

#[test]
fn a_creation_that_never_finished_begins_again_and_touches_only_our_names() {
    let temp = tempfile::tempdir().unwrap();
    let env = Env::os();
    fs::write(temp.path().join("notes.txt"), b"mine").unwrap();
    fs::write(temp.path().join("1.wal"), b"mine").unwrap();
    let home = open(&env, temp.path()).unwrap();
    write_file(&home, "000001.wal");
    write_file(&home, "000001.tbl");
    let first = home.identity.salt;
    drop(home);
    let existing = CommonOptions { create: false, ..CommonOptions::default() };
    assert_eq!(kind(open_with(&env, temp.path(), &existing)), Some(ErrorKind::NoDatabase));

    let mut home = open(&env, temp.path()).unwrap();
    assert!(home.is_new && home.identity.salt != first);
    assert_eq!(names(temp.path()), ["1.wal", "KVLAB.new", "LOCK", "notes.txt"]);
    home.commit_identity().unwrap();
    assert_eq!(names(temp.path()), ["1.wal", "KVLAB", "LOCK", "notes.txt"]);
}

#[test]
fn a_lost_identity_is_damage_and_nothing_is_removed() {
    let temp = tempfile::tempdir().unwrap();
    let env = Env::os();
    let mut home = open(&env, temp.path()).unwrap();
    write_file(&home, "000002.tbl");
    home.commit_identity().unwrap();
    drop(home);
    fs::remove_file(temp.path().join("KVLAB")).unwrap();
    let error = open(&env, temp.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corruption);
    assert!(error.to_string().contains("000002.tbl"), "{error}");
    assert_eq!(names(temp.path()), ["000002.tbl", "LOCK"]);
}

#[test]
fn a_database_whose_identity_looks_unfinished_is_not_swept_away() {
    // A second file of a kind, or a frame in the log: no creation gets that far.
    for (name, bytes) in [("000002.tbl", 0), ("000001.wal", 5000)] {
        let temp = tempfile::tempdir().unwrap();
        let env = Env::os();
        open(&env, temp.path()).unwrap().commit_identity().unwrap();
        let mut content = b"KVLABWAL".to_vec();
        content.resize(bytes, 1);
        fs::write(temp.path().join(name), content).unwrap();
        fs::rename(temp.path().join("KVLAB"), temp.path().join("KVLAB.new")).unwrap();
        let error = open(&env, temp.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption);
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(names(temp.path()), [name, "KVLAB.new", "LOCK"]);
        fs::rename(temp.path().join("KVLAB.new"), temp.path().join("KVLAB")).unwrap();
        assert!(!open(&env, temp.path()).unwrap().is_new, "the advice helps");
    }
}

#[test]
fn a_creation_that_left_garbage_in_place_of_its_log_is_begun_anew() {
    let temp = tempfile::tempdir().unwrap();
    let env = Env::os();
    drop(open(&env, temp.path()).unwrap());
    // The file was made longer, and neither its header nor its zeros arrived.
    fs::write(temp.path().join("000001.wal"), vec![1; 5000]).unwrap();
    open(&env, temp.path()).unwrap().commit_identity().unwrap();
    assert!(!open(&env, temp.path()).unwrap().is_new);
}

#[test]
fn a_number_that_leaves_none_above_it_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let env = Env::os();
    open(&env, temp.path()).unwrap().commit_identity().unwrap();
    for id in [u64::MAX, (1 << 62) + 1] {
        let stray = temp.path().join(format!("{id}.tbl"));
        fs::write(&stray, b"").unwrap();
        let error = open(&env, temp.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption);
        assert!(error.to_string().contains(&format!("{id}.tbl")), "{error}");
        fs::remove_file(&stray).unwrap();
    }
    assert!(open(&env, temp.path()).is_ok());
}

#[test]
fn a_simulated_run_moves_exactly_the_bytes_of_a_real_one() {
    let temp = tempfile::tempdir().unwrap();
    let run = |vfs: Arc<dyn Vfs>, dir: &Path| {
        let env = Env::simulated(vfs, 7);
        let mut created = open(&env, dir).unwrap();
        write_file(&created, "000001.pages");
        created.commit_identity().unwrap();
        let first = created.meter.stats();
        drop(created);
        let opened = open(&env, dir).unwrap();
        (first, opened.meter.stats(), opened.identity.clone(), opened.meter.files(dir))
    };
    // In a directory with a name, as the temporary one has: a root needs no sync of its own.
    let disk = SimVfs::new(1);
    disk.create_dir(Path::new("/top"), Cause::Identity).unwrap();
    let sim = run(disk, Path::new("/top/db"));
    assert_eq!(run(RealVfs::new(), &temp.path().join("db")), sim);
    assert!(sim.0.of(Cause::Identity).write_bytes > 0 && sim.1.of(Cause::Identity).read_bytes > 0);
}
