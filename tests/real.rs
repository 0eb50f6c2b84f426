//! What only a real operating system does to a database: quotas, too few handles, files it may not write, a disk that is
//! full, links, second processes. The error has a type and a file, nothing acknowledged is lost, and once the cause is
//! gone the database goes on.
//!
//! The limits are those of a process of its own: this very test program, started again by a shell that sets them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use kv_api::{Durability, ErrorKind, Kv, Result};
use kv_io::Env;
use tests::share::tell;
use tests::{Engine, Knobs, Map, check, each_stored_engine};

each_stored_engine!(
    a_limit_on_the_length_of_files,
    a_limit_on_open_files,
    a_small_disk_that_is_full,
    a_file_that_may_not_be_written,
    a_link_to_the_directory_is_the_same_database,
    a_process_that_is_started_meanwhile_holds_nothing,
);

/// What tells a process what to do: engine and directory.
const ROLE: &str = "KVLAB_REAL_ROLE";
/// The exit code of a script that could not do what the test is about.
const FORBIDDEN: i32 = 77;

fn open(engine: Engine, dir: &Path) -> Result<std::sync::Arc<dyn Kv>> {
    // Tables of the least size, so that there are many.
    engine.open(&Env::os(), &dir.join("db"), &Knobs { table_bytes: 4 << 10, ..Knobs::small() })
}

fn entry(n: u64) -> (Vec<u8>, Vec<u8>) {
    (n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes().to_vec(), vec![n as u8; 200])
}

fn entries(count: u64) -> Map {
    (0..count).map(entry).collect()
}

/// Writes until something is refused. A plain test run passes it by: there it has no role.
#[test]
fn writes_until_it_is_refused() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (name, dir) = role.split_once(' ').expect("two words");
    let engine = Engine::STORED.into_iter().find(|engine| engine.name() == name).expect("an engine");
    let dir = Path::new(dir);
    let db = open(engine, dir).expect("opens");
    let mut count = 0;
    let error = loop {
        let (key, value) = entry(count);
        match db.put(&key, &value, Durability::Os) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
        assert!(count < 100_000, "nothing is ever refused");
    };
    let kinds = [ErrorKind::Io, ErrorKind::NoSpace, ErrorKind::Poisoned];
    assert!(kinds.contains(&error.kind()), "{:?}: {error}", error.kind());
    // What can be read is right, the failed write is not there.
    match check::contents(&*db) {
        Ok(found) => assert!(found == entries(count), "{} entries of {count}", found.len()),
        Err(error) => assert!(kinds.contains(&error.kind()), "{:?}: {error}", error.kind()),
    }
    println!("\nacknowledged {count}: {error}");
}

/// Starts this program in that role, by a script whose `"$@"` is the program and its arguments.
fn start(script: &str, engine: Engine, dir: &Path) -> Output {
    Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(std::env::current_exe().expect("it runs"))
        .args(["--exact", "writes_until_it_is_refused", "--nocapture"])
        .env(ROLE, format!("{} {}", engine.name(), dir.display()))
        .env("DIR", dir)
        .output()
        .expect("starts")
}

/// How many writes the process had acknowledged, and the error it ended with.
fn refused(output: &Output) -> (u64, String) {
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said.lines().find_map(|line| line.strip_prefix("acknowledged "));
    let line = line.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)));
    let (count, error) = line.split_once(": ").expect("two parts");
    (count.parse().expect("a number"), error.to_owned())
}

/// Everything acknowledged is there, the write that failed whole or not at all, and writes go on.
fn lives_on(engine: Engine, dir: &Path, count: u64) -> Result<()> {
    let db = open(engine, dir)?;
    let found = check::contents(&*db)?;
    assert!(
        found == entries(count) || found == entries(count + 1),
        "{} found of {count} acknowledged",
        found.len()
    );
    let report = db.verify()?;
    assert!(report.is_sound(), "{report:?}");
    let from = found.len() as u64;
    for n in from..from + 500 {
        let (key, value) = entry(n);
        db.put(&key, &value, Durability::Os)?;
    }
    db.settle(std::time::Duration::from_secs(60))?;
    check::holds(&*db, &entries(from + 500), "after the limit is gone")?;
    db.close()
}

/// `RLIMIT_FSIZE`: a write beyond it fails with EFBIG, once the signal is ignored.
fn a_limit_on_the_length_of_files(engine: Engine) -> Result<()> {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    // Units of 512 bytes, in some shells of 1024: more than a log segment has at first, less than it grows to.
    let script = "trap '' XFSZ; ulimit -f 160 || exit 77; exec \"$@\"";
    let output = start(script, engine, temporary.path());
    let (count, error) = refused(&output);
    assert!(count > 0 && error.contains("db/"), "{error}");
    lives_on(engine, temporary.path(), count)
}

/// `RLIMIT_NOFILE`: the LSM tree keeps its tables open and runs out of handles; the B+tree needs a handful.
fn a_limit_on_open_files(engine: Engine) -> Result<()> {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let dir = temporary.path();
    if engine == Engine::BTree {
        let output = start("ulimit -n 64; ulimit -f 4000; trap '' XFSZ; exec \"$@\"", engine, dir);
        let (count, error) = refused(&output);
        assert!(!error.contains("oo many open files"), "{error}");
        return lives_on(engine, dir, count);
    }
    let output = start("ulimit -n 64; exec \"$@\"", engine, dir);
    let (count, error) = refused(&output);
    assert!(count > 0 && error.contains("oo many open files"), "{error}");
    lives_on(engine, dir, count)
}

/// A file system of one mebibyte in memory, in a name space of its own.
fn a_small_disk_that_is_full(engine: Engine) -> Result<()> {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    // What is on the small disk goes with its name space, so it is copied out at the end.
    let inner =
        "mount -t tmpfs -o size=1m none \"$DIR\" || exit 77; \"$@\" || exit 1; cp -r \"$DIR/db\" \"$OUT/\"";
    let script = format!(
        "OUT=\"$DIR.out\"; export OUT; mkdir \"$OUT\"; exec unshare --map-root-user --mount sh -c '{inner}' sh \"$@\""
    );
    let dir = temporary.path().join("disk");
    fs::create_dir(&dir).expect("creates");
    let output = start(&script, engine, &dir);
    let says = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(FORBIDDEN)
        || says.starts_with("unshare:")
        || says.contains("unshare: not found")
    {
        tell(&format!("SKIPPED: real: no file system can be mounted here: {}", says.trim()));
        return Ok(());
    }
    let (count, error) = refused(&output);
    assert!(count > 0 && error.contains("space"), "{error}");
    lives_on(engine, &dir.with_extension("out"), count)
}

/// A file of the database with mode 0400: it opens for reading; for writing it says which file, and changes nothing.
fn a_file_that_may_not_be_written(engine: Engine) -> Result<()> {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let dir = temporary.path();
    let db = open(engine, dir)?;
    db.put(b"key", b"value", Durability::Disk)?;
    db.close()?;
    drop(db);
    let ends = if engine == Engine::BTree { ".pages" } else { "LOCK" };
    let is_it = |name: &str| name.ends_with(ends);
    let names: Vec<_> =
        fs::read_dir(dir.join("db")).expect("lists").flatten().map(|entry| entry.path()).collect();
    let path = names.iter().find(|path| is_it(&path.display().to_string())).expect("the file");
    let mode = |mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changes the mode");
    mode(0o400);
    let knobs = Knobs { table_bytes: 4 << 10, ..Knobs::small() };
    let mut reading = knobs.clone();
    (reading.common.read_only, reading.common.create) = (true, false);
    let db = engine.open(&Env::os(), &dir.join("db"), &reading)?;
    assert_eq!(db.get(b"key")?.as_deref(), Some(&b"value"[..]));
    drop(db);
    if fs::OpenOptions::new().write(true).open(path).is_ok() {
        tell("SKIPPED: real: the superuser may write to a file of mode 0400");
    } else {
        let error = open(engine, dir).map(drop).expect_err("the file may not be written");
        assert!(error.kind() == ErrorKind::Io && error.to_string().contains(ends), "{error}");
    }
    mode(0o600);
    assert_eq!(open(engine, dir)?.get(b"key")?.as_deref(), Some(&b"value"[..]));
    Ok(())
}

/// By whatever path: it is one database, and open once.
fn a_link_to_the_directory_is_the_same_database(engine: Engine) -> Result<()> {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let (dir, link) = (temporary.path().join("dir"), temporary.path().join("link"));
    fs::create_dir(&dir).expect("creates");
    symlink(&dir, &link).expect("links");
    let db = open(engine, &link)?;
    db.put(b"key", b"value", Durability::Disk)?;
    for path in [&dir, &link] {
        assert_eq!(open(engine, path).map(drop).expect_err("it is open").kind(), ErrorKind::Locked);
    }
    db.flush()?;
    drop(db);
    let db = open(engine, &dir)?;
    assert_eq!(db.get(b"key")?.as_deref(), Some(&b"value"[..]));
    assert_eq!(open(engine, &link).map(drop).expect_err("it is open").kind(), ErrorKind::Locked);
    drop(db);
    // A file that is a link is nobody's file of ours.
    let moved = temporary.path().join("moved");
    fs::rename(dir.join("db/KVLAB"), &moved).expect("renames");
    symlink(&moved, dir.join("db/KVLAB")).expect("links");
    let error = open(engine, &dir).map(drop).expect_err("its identity is a link");
    assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::Corruption), "{error}");
    Ok(())
}

/// Handles and the lock are not handed on to children: closing lets go of them, whoever was started meanwhile.
fn a_process_that_is_started_meanwhile_holds_nothing(engine: Engine) -> Result<()> {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let dir = temporary.path();
    let db = open(engine, dir)?;
    db.put(b"key", b"value", Durability::Disk)?;
    let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().expect("starts");
    let handles = fs::read_dir(format!("/proc/{}/fd", child.id())).expect("lists");
    let targets = handles.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    let inherited: Vec<_> = targets.filter(|target| target.starts_with(dir)).collect();
    drop(db);
    let again = open(engine, dir).map(drop);
    child.kill().expect("kills");
    child.wait().expect("waits");
    assert!(inherited.is_empty(), "{inherited:?}");
    again
}
