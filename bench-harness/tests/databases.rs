//! The tools and the runs on every engine of the binary that keeps files: round trips, wrong engines, damage,
//! kill -9, determinism.

mod binary;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use binary::{assert_fails, kvlab, run};

/// The engines of the binary that keep files.
fn engines(dir: &Path) -> Vec<String> {
    let list: serde_json::Value = serde_json::from_slice(&run(dir, &["list", "--json"]).stdout).unwrap();
    let names = list["engines"].as_array().unwrap().iter().filter_map(|engine| engine["name"].as_str());
    names.filter(|name| ["btree", "lsm"].contains(name)).map(str::to_owned).collect()
}

/// Runs and wants success; gives standard output.
fn ok(dir: &Path, args: &[&str]) -> String {
    let output = run(dir, args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_is_put_is_got_scanned_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    for engine in engines(dir.path()) {
        ok(dir.path(), &["put", &engine, "apple", "red\\x00\\n", "--create", &engine]);
        ok(dir.path(), &["put", &engine, "plum", "blue"]);
        ok(dir.path(), &["put", &engine, "", ""]);
        assert_eq!(ok(dir.path(), &["get", &engine, "apple"]), "red\\x00\\n\n");
        assert_eq!(ok(dir.path(), &["get", &engine, "706c756d", "--hex"]), "626c7565\n");
        assert_eq!(
            ok(dir.path(), &["scan", &engine, "--reverse", "--limit", "2"]),
            "plum\tblue\napple\tred\\x00\\n\n"
        );
        assert_eq!(ok(dir.path(), &["scan", &engine, "--from", "62", "--hex"]), "706c756d\t626c7565\n");
        ok(dir.path(), &["delete", &engine, "apple"]);
        assert_fails(&run(dir.path(), &["get", &engine, "apple"]), 1, "no key `apple`");
        assert_eq!(ok(dir.path(), &["get", &engine, ""]), "\n");
        ok(dir.path(), &["verify", &engine]);
    }
}

#[test]
fn a_dump_loaded_into_any_engine_dumps_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let engines = engines(dir.path());
    let mut dump = "# kvlab-dump 1 text\n\t\n\\x00\\xff\t\n#not a comment\tx\n".replace("\n#n", "\n\\x23n");
    for number in 0..3000 {
        dump.push_str(&format!("key{number:05}\tvalue {number}\n"));
    }
    dump.push_str("# end 3003\n");
    fs::write(dir.path().join("dump"), &dump).unwrap();
    for (from, to) in engines.iter().flat_map(|from| engines.iter().map(move |to| (from, to))) {
        let (a, b) = (format!("{from}-{to}-a"), format!("{from}-{to}-b"));
        ok(dir.path(), &["load", &a, "dump", "--create", from]);
        let hex = ok(dir.path(), &["dump", &a, "--hex"]);
        fs::write(dir.path().join("hex"), &hex).unwrap();
        ok(dir.path(), &["load", &b, "hex", "--create", to]);
        let mut sorted: Vec<_> = dump.lines().filter(|line| !line.starts_with("# ")).collect();
        let back = ok(dir.path(), &["dump", &b]);
        let mut found: Vec<_> = back.lines().filter(|line| !line.starts_with("# ")).collect();
        sorted.sort_unstable();
        found.sort_unstable();
        assert_eq!(sorted, found);
    }
    if let Some(engine) = engines.first() {
        fs::write(dir.path().join("cut"), &dump[..dump.len() - 11]).unwrap();
        assert_fails(&run(dir.path(), &["load", "c", "cut", "--create", engine]), 2, "cut short");
        fs::write(dir.path().join("odd"), "what is this\n").unwrap();
        assert_fails(&run(dir.path(), &["load", "d", "odd", "--create", engine]), 2, "odd:1: the first line");
    }
}

#[test]
fn a_directory_of_another_engine_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let engines = engines(dir.path());
    for (mine, other) in engines.iter().zip(engines.iter().skip(1)) {
        ok(dir.path(), &["put", "db", "k", "v", "--create", mine]);
        assert_fails(&run(dir.path(), &["put", "db", "k", "v", "--create", other]), 2, "was made by engine");
    }
}

#[test]
fn flipped_bytes_are_damage() {
    let dir = tempfile::tempdir().unwrap();
    for engine in engines(dir.path()) {
        let mut dump = String::from("# kvlab-dump 1 text\n");
        (0..20_000).for_each(|n| dump.push_str(&format!("key{n:06}\tvalue of {n}\n")));
        dump.push_str("# end 20000\n");
        fs::write(dir.path().join("dump"), dump).unwrap();
        ok(dir.path(), &["load", &engine, "dump", "--create", &engine, "--memory", "256KiB"]);
        let files = fs::read_dir(dir.path().join(&engine)).unwrap().map(|entry| entry.unwrap().path());
        let data = files.filter(|path| path.extension().is_some_and(|e| e == "tbl" || e == "pages"));
        let largest = data.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
        let mut bytes = fs::read(&largest).unwrap();
        // Away from the two places a B+tree keeps its meta pages and an LSM table its footer.
        for at in (16_384..bytes.len() - 16_384).step_by(4096) {
            bytes[at + 100] ^= 0x40;
        }
        fs::write(&largest, bytes).unwrap();
        let output = run(dir.path(), &["verify", &engine]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{engine}: {stderr}");
    }
}

#[test]
fn the_main_job_holds_all_its_checks() {
    let dir = tempfile::tempdir().unwrap();
    if engines(dir.path()).len() < 2 {
        return;
    }
    let output = run(dir.path(), &["--scale", "smoke", "--json", "--out", "o"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for cell in result["cells"].as_array().unwrap() {
        for check in cell["checks"].as_array().unwrap() {
            let id = check["id"].as_str().unwrap();
            // These need a calibrated device or seconds of CPU time, which a test has not.
            let may_not_tell = ["X3", "X4", "X5 device", "X8 cpu"].contains(&id);
            let verdict = check["verdict"].as_str().unwrap();
            assert!(verdict == "pass" || may_not_tell && verdict.starts_with("not_"), "{check}");
        }
    }
    assert_eq!(result["between"][0][1]["verdict"], "pass");
    assert_eq!(result["stamps"], serde_json::json!([]));
}

#[test]
fn inline_runs_with_one_seed_are_the_same_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    for engine in engines(dir.path()) {
        let bytes_by_cause = || {
            let args = ["run", "write-heavy", "--scale", "smoke", "--engine", &engine];
            let inline = ["--background", "inline", "--json", "--out", "o"];
            let json = ok(dir.path(), &[&args[..], &inline].concat());
            let result: serde_json::Value = serde_json::from_str(&json).unwrap();
            let cell = &result["cells"][0];
            let io = cell["phases"].as_array().unwrap().iter().map(|phase| phase["moved"]["io"].clone());
            assert!(cell["phases"][0]["moved"]["io"]["wal"]["write_bytes"].as_u64() > Some(0));
            (cell["op_digest"].clone(), cell["contents"].clone(), io.collect::<Vec<_>>())
        };
        assert_eq!(bytes_by_cause(), bytes_by_cause(), "{engine}");
    }
}

const LONG: &str = "schema = 1\nname = \"long\"\npurpose = \"to be killed\"\n[data]\nrecords = 20000\n\
    key = { kind = \"int8\" }\nvalue = { size = 64 }\n[run]\nmemory_budget = \"1MiB\"\ndurability = \"os\"\n\
    threads = 2\nseed = 1\n[[phase]]\nkind = \"load\"\nbatch = 100\nuntil = { records = \"all\" }\n\
    [[phase]]\nkind = \"measure\"\nops = { update = 0.6, insert = 0.2, delete = 0.1, get = 0.1 }\n\
    dist = { kind = \"uniform\" }\nuntil = { s = 60 }\n";

#[test]
fn acknowledged_writes_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("long.toml"), LONG).unwrap();
    for (engine, durability) in engines(dir.path()).iter().flat_map(|e| ["os", "disk"].map(|d| (e, d))) {
        for (round, after_ms) in [20, 150, 700].into_iter().enumerate() {
            let (data, acks) =
                (format!("{engine}-{durability}-{round}"), format!("{engine}-{durability}-{round}.acks"));
            let args = ["run", "long.toml", "--engine", engine, "--durability", durability];
            let args = [&args[..], &["--keep", "--dir", &data, "--ack-log", &acks, "--out", "o"]].concat();
            let mut child =
                kvlab(dir.path()).args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let start = Instant::now();
            while !dir.path().join(&acks).exists() && start.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(2));
            }
            std::thread::sleep(Duration::from_millis(after_ms));
            child.kill().unwrap();
            child.wait().unwrap();
            let db = format!("{data}/long-{engine}");
            if !dir.path().join(&db).join("KVLAB").exists() {
                continue; // Killed before the database existed: nothing was acknowledged.
            }
            let output = run(dir.path(), &["verify", &db, "--acks", &acks]);
            let (out, err) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert_eq!(
                output.status.code(),
                Some(0),
                "{engine} {durability} after {after_ms} ms: {out}{err}"
            );
            if after_ms < 700 {
                continue;
            }
            // A record that goes missing behind the log's back is found.
            let first = ok(dir.path(), &["scan", &db, "--limit", "3", "--hex"]);
            let key = first.lines().next_back().unwrap().split('\t').next().unwrap();
            ok(dir.path(), &["delete", &db, key, "--hex"]);
            let output = run(dir.path(), &["verify", &db, "--acks", &acks]);
            assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stdout));
        }
    }
}
