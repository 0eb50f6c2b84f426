//! Disks and directories that are not as they should be: full, read-only, in use, of the wrong kind, missing,
//! damaged. Each is one line on standard error with its exit code, and nothing that was written is lost.
//!
//! Full and read-only disks are small file systems in memory, mounted in a name space of their own by `unshare`;
//! where the machine forbids that, the test says SKIPPED, and the simulated disk in `tests/faults.rs` is what is left.

mod binary;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use binary::{assert_fails, kvlab, run};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const ENGINES: [&str; 2] = ["btree", "lsm"];
const ENTRIES: usize = 40_000;

fn entries() -> impl Iterator<Item = String> {
    (0..ENTRIES).map(|n| format!("key{n:08}\tvalue {n} {:0100}", 0))
}

/// A directory with a dump of all entries in it.
fn with_dump() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let body: Vec<String> = entries().collect();
    let dump = format!("# kvlab-dump 1 text\n{}\n# end {ENTRIES}\n", body.join("\n"));
    fs::write(dir.path().join("dump"), dump).unwrap();
    dir
}

fn ok(dir: &Path, args: &[&str]) -> String {
    let output = run(dir, args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// The entries of a dump.
fn entries_of(dump: &str) -> Vec<&str> {
    dump.lines().filter(|line| !line.starts_with("# ")).collect()
}

/// Runs a shell script in `dir` with a file system of `bytes` mounted at `disk`; `None` if that is forbidden.
/// `$KVLAB` is the binary. Every step is to end with `|| exit n`, n from 10 on, so that the code names the step.
fn on_small_disk(dir: &Path, bytes: &str, engine: &str, script: &str) -> Option<Output> {
    fs::create_dir_all(dir.join("disk")).unwrap();
    let script = format!("mount -t tmpfs -o size={bytes} none disk || exit 77\n{script}");
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", &script])
        .env("KVLAB", env!("CARGO_BIN_EXE_kvlab"))
        .env("ENGINE", engine)
        .current_dir(dir)
        .output();
    let forbidden = match &output {
        Err(error) => error.to_string(),
        Ok(output) => {
            let says = String::from_utf8_lossy(&output.stderr).into_owned();
            let is_unshare = says.starts_with("unshare:") || output.status.code() == Some(77);
            if is_unshare { says } else { String::new() }
        }
    };
    if !forbidden.is_empty() {
        eprintln!("SKIPPED: no file system can be mounted here: {}", forbidden.trim());
        return None;
    }
    output.ok()
}

/// Asserts that what a script noted of a failing command is one line and `code`.
fn assert_noted(dir: &Path, name: &str, code: &str, says: &str) {
    let stderr = fs::read_to_string(dir.join(format!("{name}.err"))).unwrap();
    assert_eq!(
        fs::read_to_string(dir.join(format!("{name}.code"))).unwrap().trim(),
        code,
        "{name}: {stderr}"
    );
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.contains("warning:")).collect();
    assert_eq!(lines.len(), 1, "{name}: one line: {stderr}");
    assert!(lines[0].starts_with("kvlab: ") && lines[0].contains(says), "{name}: `{says}` in {stderr}");
}

fn assert_script(output: &Output, engine: &str) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{engine}: the code names the step that failed: {said}");
}

#[test]
fn a_full_disk_is_one_line_and_what_was_written_stays() {
    const SCRIPT: &str = "
        $KVLAB put disk/db apple red --create $ENGINE || exit 10
        $KVLAB load disk/db dump --memory 1MiB 2> load.err; echo $? > load.code
        $KVLAB verify disk/db || exit 11
        test \"$($KVLAB get disk/db apple)\" = red || exit 12
        $KVLAB dump disk/db > partial || exit 13
        mount -o remount,size=64m disk || exit 14
        $KVLAB load disk/db dump --memory 1MiB || exit 15
        $KVLAB verify disk/db || exit 16
        $KVLAB dump disk/db > whole || exit 17
    ";
    for engine in ENGINES {
        let dir = with_dump();
        let Some(output) = on_small_disk(dir.path(), "3m", engine, SCRIPT) else { return };
        assert_script(&output, engine);
        assert_noted(dir.path(), "load", "1", "space");
        let expected: Vec<String> = std::iter::once("apple\tred".to_owned()).chain(entries()).collect();
        let partial = fs::read_to_string(dir.path().join("partial")).unwrap();
        let partial = entries_of(&partial);
        assert!(expected.iter().zip(&partial).all(|(a, b)| a == b), "{engine}: a prefix of what was put");
        assert!(partial.len() > 1000 && partial.len() < expected.len(), "{engine}: {}", partial.len());
        let whole = fs::read_to_string(dir.path().join("whole")).unwrap();
        assert_eq!(entries_of(&whole), expected, "{engine}");
    }
}

#[test]
fn a_run_on_a_disk_that_is_too_small_does_not_begin() {
    const SCRIPT: &str = "$KVLAB run write-heavy --engine $ENGINE --scale smoke --dir disk/data --out out \
         2> run.err; echo $? > run.code";
    for engine in ENGINES {
        let dir = with_dump();
        let Some(output) = on_small_disk(dir.path(), "1m", engine, SCRIPT) else { return };
        assert_script(&output, engine);
        assert_noted(dir.path(), "run", "1", "free");
    }
}

#[test]
fn a_read_only_mount_can_be_read_and_refuses_writes() {
    const SCRIPT: &str = "
        $KVLAB load disk/db dump --create $ENGINE --memory 1MiB || exit 10
        mount -o remount,ro disk || exit 11
        $KVLAB put disk/db apple red 2> put.err; echo $? > put.code
        $KVLAB put disk/new apple red --create $ENGINE 2> create.err; echo $? > create.code
        $KVLAB dump disk/db > whole 2> dump.err || exit 12
        $KVLAB verify disk/db || exit 13
        mount -o remount,rw disk || exit 14
        $KVLAB put disk/db apple red || exit 15
        $KVLAB verify disk/db || exit 16
    ";
    for engine in ENGINES {
        let dir = with_dump();
        let Some(output) = on_small_disk(dir.path(), "64m", engine, SCRIPT) else { return };
        let dump_says = fs::read_to_string(dir.path().join("dump.err")).unwrap_or_default();
        assert!(dump_says.is_empty(), "{engine}: {dump_says}");
        assert_script(&output, engine);
        assert_noted(dir.path(), "put", "1", "ead-only");
        assert_noted(dir.path(), "create", "1", "ead-only");
        let whole = fs::read_to_string(dir.path().join("whole")).unwrap();
        assert_eq!(entries_of(&whole), entries().collect::<Vec<_>>(), "{engine}");
    }
}

const LONG: &str = "schema = 1\nname = \"long\"\npurpose = \"to be met by others\"\n[data]\nrecords = 1000\n\
                    key = { kind = \"int8\" }\nvalue = { size = 16 }\n[run]\nmemory_budget = \"1MiB\"\n\
                    durability = \"os\"\nthreads = 1\nseed = 1\n[[phase]]\nkind = \"load\"\n\
                    until = { records = \"all\" }\n[[phase]]\nkind = \"measure\"\nops = { get = 1.0 }\n\
                    dist = { kind = \"uniform\" }\nuntil = { s = 60 }\n";

#[test]
fn a_directory_that_a_run_holds_is_locked() {
    for engine in ENGINES {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("long.toml"), LONG).unwrap();
        let args = ["run", "long.toml", "--engine", engine, "--dir", "data", "--out", "out"];
        let child =
            kvlab(dir.path()).args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let db = format!("data/long-{engine}");
        let start = Instant::now();
        while !dir.path().join(&db).join("KVLAB").exists() && start.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(5));
        }
        for args in [vec!["verify", &db], vec!["put", &db, "k", "v"], vec!["dump", &db]] {
            assert_fails(&run(dir.path(), &args), 1, "is open in another handle or process");
        }
        kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(!dir.path().join("data").exists(), "the run removes what it made");
    }
}

#[test]
fn the_wrong_kind_of_directory_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    fs::write(path.join("file"), "not a database").unwrap();
    fs::create_dir(path.join("empty")).unwrap();
    for command in ["verify", "dump", "scan"] {
        for place in ["missing", "empty", "file"] {
            assert_fails(&run(path, &[command, place]), 2, place);
        }
    }
    for engine in ENGINES {
        let output = run(path, &["put", "file", "k", "v", "--create", engine]);
        assert_fails(&output, 2, "a file is in the way");
        let args = ["run", "balanced", "--scale", "smoke", "--engine", engine, "--dir", "file", "--out", "o"];
        assert_fails(&run(path, &args), 2, "a file is in the way");
        let args = ["run", "balanced", "--scale", "smoke", "--engine", "memory", "--out", "file"];
        assert_fails(&run(path, &args), 2, "a file is in the way");
    }
    assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "not a database");
    assert_eq!(fs::read_dir(path.join("empty")).unwrap().count(), 0);
    assert!(!path.join("missing").exists());
    ok(path, &["put", "tree", "apple", "red", "--create", "btree"]);
    let before = files(&path.join("tree"));
    assert_fails(&run(path, &["put", "tree", "apple", "green", "--create", "lsm"]), 2, "btree");
    assert_eq!(files(&path.join("tree")), before, "nothing was written");
    assert_eq!(ok(path, &["get", "tree", "apple"]), "red\n");
}

/// Every file of a directory and its bytes.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn one_flipped_byte_is_found_or_does_no_harm() {
    for engine in ENGINES {
        let dir = with_dump();
        let path = dir.path();
        ok(path, &["load", "db", "dump", "--create", engine, "--memory", "1MiB"]);
        let whole = ok(path, &["dump", "db"]);
        let mut found = 0;
        for (file, bytes) in files(&path.join("db")).into_iter().filter(|(_, bytes)| !bytes.is_empty()) {
            for at in [0, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x10;
                fs::write(&file, damaged).unwrap();
                let what = format!("{engine}: byte {at} of {}", file.display());
                let output = run(path, &["verify", "db"]);
                let says = String::from_utf8_lossy(&output.stderr);
                match output.status.code() {
                    Some(0) => assert!(ok(path, &["dump", "db"]) == whole, "{what}: verify was content"),
                    // Whoever looks at the first bytes may see another version or no database at all.
                    Some(2 | 4) => found += 1,
                    code => panic!("{what}: {code:?}: {says}"),
                }
                assert!(says.lines().count() <= 1, "{what}: one line: {says}");
            }
            fs::write(&file, &bytes).unwrap();
        }
        assert!(found > 3, "{engine}: {found} flips were found");
        assert!(ok(path, &["dump", "db"]) == whole, "{engine}: the files were put back");
    }
}
