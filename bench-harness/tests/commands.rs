//! The binary as a user meets it: exit codes, help, one-line errors, pipes and signals.

mod binary;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use binary::{assert_fails, kvlab, run};

#[test]
fn help_has_examples_and_goes_to_standard_output() {
    let dir = tempfile::tempdir().unwrap();
    for args in [vec!["--help"], vec!["run", "--help"], vec!["dump", "--help"]] {
        let output = run(dir.path(), &args);
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("Example"), "{text}");
    }
}

#[test]
fn wrong_arguments_are_exit_code_2_and_one_line() {
    let dir = tempfile::tempdir().unwrap();
    for (args, says) in [
        (vec!["--nonsense"], "--nonsense"),
        (vec!["run"], "required"),
        (vec!["run", "read-hevy"], "did you mean `read-heavy`"),
        (vec!["run", "fill", "--engine", "memry"], "did you mean `memory`"),
        (vec!["run", "fill", "--engine", "memory:x=1"], "no option `x`"),
        (vec!["run", "fill", "--memory", "lots"], "lots"),
        (vec!["run", "fill", "--memory", "1KiB"], "memory_budget"),
        (vec!["run", "fill", "--durability", "never"], "memory, os, disk"),
        (vec!["run", "fill", "--background", "0"], "1 to 64"),
        (vec!["run", "fill", "--scale", "huge"], "smoke, lab, full"),
        (
            vec!["run", "fill", "ycsb-a", "--engine", "memory", "--ack-log", "acks"],
            "one workload on one engine",
        ),
        (vec!["get", "nowhere", "key"], "there is no database in nowhere"),
        (vec!["put", "db", "key", "value", "--create", "memory"], "keeps nothing on disk"),
        (vec!["verify", ".", "--acks", "nothing"], "cannot read the ack log nothing"),
    ] {
        assert_fails(&run(dir.path(), &args), 2, says);
    }
    assert!(!dir.path().join("kvlab-data").exists(), "nothing was made");
}

#[test]
fn numbers_and_places_that_cannot_be_used_are_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let smoke = ["run", "balanced", "--engine", "memory", "--scale", "smoke"];
    let run_with = |more: &[&str]| run(dir.path(), &[&smoke[..], more].concat());
    for (more, says) in [
        (vec!["--out", "file"], "a file is in the way"),
        (vec!["--out", "file/below"], "a file is in the way"),
        (vec!["--dir", "file"], "a file is in the way"),
        (vec!["--resume", "--out", "file"], "file/result.json"),
        (vec!["--ack-log", "no/acks"], "make the directory"),
        (vec!["--memory", "900000GiB"], "give less with --memory"),
        (vec!["--memory", "900000GiB", "--dry-run"], "give less with --memory"),
        (vec!["--memory", "-5"], "invalid value '-5' for '--memory"),
        (vec!["--threads", "-1"], "invalid value '-1' for '--threads"),
        (vec!["--seed", "-1"], "not a whole number"),
        (vec!["--seed", "many"], "not a whole number"),
        (vec!["--background", "-1"], "1 to 64"),
    ] {
        assert_fails(&run_with(&more), 2, says);
    }
    for (args, says) in [
        (vec!["run", "balanced", "--engine", "lsm:memtable="], "not a size"),
        (vec!["run", "balanced", "--engine", "btree:page_size=3"], "power of two"),
        (vec!["run", "balanced", "--engine", ""], "known engines"),
        (vec!["run", "."], "name a file in it"),
        (vec!["load", "db", "."], "name a file in it"),
        (vec!["load", "db", "nothing"], "check the path"),
        (vec!["scan", "db", "--from", "b", "--to", "a"], "swap them"),
        (vec!["scan", "db", "--limit", "-1"], "not a whole number"),
        (vec!["get", "file", "key"], "kvlab put DIR KEY VALUE --create ENGINE"),
    ] {
        assert_fails(&run(dir.path(), &args), 2, says);
    }
}

#[test]
fn a_run_that_cannot_begin_leaves_the_earlier_result_alone() {
    let dir = tempfile::tempdir().unwrap();
    let smoke = ["run", "balanced", "--engine", "memory", "--scale", "smoke", "--out", "o"];
    assert_eq!(run(dir.path(), &smoke).status.code(), Some(0));
    let first = fs::read(dir.path().join("o/result.json")).unwrap();
    fs::write(dir.path().join("acks"), "").unwrap();
    assert_fails(&run(dir.path(), &[&smoke[..], &["--ack-log", "acks"]].concat()), 2, "exists");
    assert_eq!(fs::read(dir.path().join("o/result.json")).unwrap(), first);
}

#[test]
fn names_that_are_no_utf_8_are_names() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let odd = OsStr::from_bytes(b"odd-\xff");
    let smoke = ["run", "balanced", "--engine", "memory", "--scale", "smoke", "--dir"];
    let output = kvlab(dir.path()).args(smoke).arg(odd).arg("--out").arg(odd).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(dir.path().join(odd).join("report.html").exists());
    let output = kvlab(dir.path()).arg("get").arg("db").arg(odd).output().unwrap();
    assert_fails(&output, 2, "UTF-8");
}

#[test]
fn a_result_says_what_it_was_built_from_and_where_it_ran() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["run", "balanced", "--engine", "memory", "--scale", "smoke", "--json", "--out", "o"];
    let result: serde_json::Value = serde_json::from_slice(&run(dir.path(), &args).stdout).unwrap();
    for path in [
        "/build/rustc",
        "/build/target",
        "/build/opt_level",
        "/started",
        "/ended",
        "/host/kernel",
        "/host/cpu",
        "/host/mount/source",
        "/host/unseen/0",
    ] {
        let told = result.pointer(path).and_then(serde_json::Value::as_str).unwrap_or_default();
        assert!(!told.is_empty(), "{path}");
    }
    assert_eq!(result["command"].as_array().unwrap()[1..], args.map(|word| serde_json::json!(word)));
    assert!(result["host"]["load_before"].is_array() && result["host"]["load_after"].is_array());
    let ops = result.pointer("/cells/0/phases").unwrap().as_array().unwrap().iter();
    let ops: Vec<_> = ops.flat_map(|phase| phase["ops"].as_array().unwrap()).collect();
    assert!(!ops.is_empty());
    for op in ops {
        let histogram = bench_harness::metrics::latency::decode(op["histogram"].as_str().unwrap()).unwrap();
        assert_eq!(op["latency"]["count"].as_u64(), Some(histogram.len()), "{op}");
        let p50 = op["latency"]["p50_ns"].as_u64();
        assert!(p50.is_none_or(|ns| ns == histogram.value_at_quantile(0.5)), "{op}");
    }
}

#[test]
fn engines_that_did_different_work_are_stamped() {
    let dir = tempfile::tempdir().unwrap();
    let workload = "schema = 1\nname = \"timed\"\npurpose = \"a time alone ends it\"\n[data]\nrecords = 1000\n\
                    key = { kind = \"int8\" }\nvalue = { size = 16 }\n[run]\nmemory_budget = \"1MiB\"\n\
                    durability = \"memory\"\n[[phase]]\nkind = \"load\"\n[[phase]]\nkind = \"measure\"\n\
                    ops = { OPS = 1.0 }\ndist = { kind = \"uniform\" }\nuntil = { s = 0.2 }\n";
    for (op, is_equal) in [("update", false), ("get", true)] {
        fs::write(dir.path().join("timed.toml"), workload.replace("OPS", op)).unwrap();
        let output = run(dir.path(), &["run", "timed.toml", "--engine", "memory,memory", "--out", "o"]);
        assert_eq!(output.status.code(), Some(0));
        let terminal = String::from_utf8_lossy(&output.stdout).into_owned();
        for text in [terminal, read(dir.path(), "o/report.html"), read(dir.path(), "o/result.json")] {
            assert_eq!(text.contains("NOT EQUAL"), !is_equal, "{op}: {text}");
        }
    }
}

fn read(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap()
}

#[test]
fn a_bad_workload_file_names_file_line_and_key() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("bad.toml"), "schema = 1\nname = \"bad\"\nrecods = 5\n").unwrap();
    assert_fails(&run(dir.path(), &["run", "bad.toml"]), 2, "bad.toml:3");
    assert_fails(&run(dir.path(), &["run", "missing.toml"]), 2, "missing.toml");
}

#[test]
fn a_dry_run_says_what_would_happen_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["run", "read-heavy", "--engine", "memory", "--dry-run"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1,000,000 records") && text.contains("nothing was written"), "{text}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn results_are_json_on_request_and_complete_cells_are_not_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["run", "balanced", "--engine", "memory", "--scale", "smoke", "--json", "--out", "o"];
    let output = run(dir.path(), &args);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let first: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let digest = first.pointer("/cells/0/op_digest").unwrap();
    assert!(first.pointer("/cells/0/spec/phase/0/kind").is_some(), "the workload is written out");
    let again = run(dir.path(), &[&args[..], &["--resume"]].concat());
    assert!(String::from_utf8_lossy(&again.stderr).contains("taken from the earlier result"));
    let second: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(first.pointer("/cells/0"), second.pointer("/cells/0"));
    let other = run(dir.path(), &[&args[..], &["--seed", "7"]].concat());
    let other: serde_json::Value = serde_json::from_slice(&other.stdout).unwrap();
    assert_ne!(other.pointer("/cells/0/op_digest").unwrap(), digest, "another seed is another stream");
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    for args in [vec!["list"], vec!["--help"], vec!["list", "--json"]] {
        let mut child =
            kvlab(dir.path()).args(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn an_interrupted_run_keeps_what_was_done_and_removes_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let workload = "schema = 1\nname = \"long\"\npurpose = \"to be interrupted\"\n[data]\nrecords = 1000\n\
                    key = { kind = \"int8\" }\nvalue = { size = 16 }\n[run]\nmemory_budget = \"1MiB\"\n\
                    durability = \"memory\"\nthreads = 1\nseed = 1\n[[phase]]\nkind = \"load\"\n\
                    until = { records = \"all\" }\n[[phase]]\nkind = \"measure\"\nops = { get = 1.0 }\n\
                    dist = { kind = \"uniform\" }\nuntil = { s = 60 }\n";
    fs::write(dir.path().join("long.toml"), workload).unwrap();
    let args = ["run", "long.toml", "--engine", "memory", "--out", "o"];
    let child = kvlab(dir.path()).args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    let cell = dir.path().join("kvlab-data").join("long-memory");
    while !cell.exists() && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(300));
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(30), "it stops soon");
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("INTERRUPTED"));
    let result = fs::read_to_string(dir.path().join("o/result.json")).unwrap();
    assert!(result.contains("INTERRUPTED") && result.contains("\"load\""));
    assert!(!dir.path().join("kvlab-data").exists());
}

#[test]
fn leftovers_are_named_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("kvlab-data/old-btree")).unwrap();
    let output =
        run(dir.path(), &["run", "balanced", "--engine", "memory", "--scale", "smoke", "--out", "o"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("holds old-btree from an earlier run"));
    assert!(dir.path().join("kvlab-data/old-btree").exists(), "what is not ours stays");
}

#[test]
fn every_cell_of_a_matrix_is_run_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    // The options of the LSM are an axis: the B+tree has one cell, the LSM four.
    let args = ["run", "read-missing", "--scale", "smoke", "--io", "buffered", "--json", "--out", "o"];
    let output = run(dir.path(), &args);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let cells = result.pointer("/cells").and_then(serde_json::Value::as_array).unwrap();
    let names: Vec<_> = cells
        .iter()
        .map(|cell| {
            let text =
                |path: &str| cell.pointer(path).and_then(serde_json::Value::as_str).unwrap_or_default();
            format!("{} on {}", text("/workload"), text("/engine/name"))
        })
        .collect();
    assert_eq!(
        names,
        [
            "read-missing engine.lsm=filter=none on btree",
            "read-missing engine.lsm=filter=none on lsm",
            "read-missing engine.lsm=filter_bits=5 on lsm",
            "read-missing engine.lsm=filter_bits=10 on lsm",
            "read-missing engine.lsm=filter_bits=16 on lsm",
        ]
    );
    let settings = cells[2].pointer("/info/settings").unwrap().to_string();
    assert!(settings.contains("[\"filter_bits\",\"5\"]"), "{settings}");
}

#[test]
fn range_deletes_of_several_clients_are_exact_on_both_engines() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["run", "time-series", "--scale", "smoke", "--io", "buffered", "--threads", "4", "--out", "o"];
    let output = run(dir.path(), &args);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let refused = [&args[..6], &["--threads", "3"]].concat();
    assert_fails(&run(dir.path(), &refused), 2, "a number of threads that divides 1000 series, not 3");
}
