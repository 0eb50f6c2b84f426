//! The binary as a user meets it: exit codes, help, one-line errors, pipes and signals.

mod binary;

use std::fs;
use std::io::Read;
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

#[test]
fn what_no_run_does_yet_is_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    for (name, says) in [("overwrite-steady", "an end at a steady state"), ("bursty-ingest", "an open loop")]
    {
        assert_fails(&run(dir.path(), &["run", name, "--scale", "smoke"]), 2, says);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
