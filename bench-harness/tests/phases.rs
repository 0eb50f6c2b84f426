//! Phases as a user runs them: recorded on one engine and replayed on others, ended by a steady state, bound by a
//! control group, and from a cold page cache.

mod binary;

use std::fs;
use std::path::Path;

use binary::{assert_fails, kvlab, run};
use serde_json::Value;

fn result(dir: &Path, out: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(dir.join(out).join("result.json")).unwrap()).unwrap()
}

/// Runs `args` and gives the result; the run must succeed.
fn measured(dir: &Path, args: &[&str], out: &str) -> (Value, String) {
    let output = kvlab(dir).arg("run").args(args).args(["--io", "buffered", "--out", out]).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{errors}\n{text}");
    (result(dir, out), text.into_owned())
}

#[test]
fn a_batch_ends_before_it_is_more_than_any_engine_takes() {
    let dir = tempfile::tempdir().unwrap();
    // A thousand of these are a mebibyte, four times what an engine takes at once under so small a budget.
    let large = "schema = 1\nname = \"large\"\nrun = { durability = \"os\", memory_budget = \"1MiB\" }\n\
        data = { records = 2000, value = { size = 1024 } }\nphase = [{ kind = \"load\", batch = 1000 }, { kind = \"verify\" }]";
    fs::write(dir.path().join("large.toml"), large).unwrap();
    let (found, _) = measured(dir.path(), &["large.toml", "--engine", "btree,lsm"], "large");
    for cell in found["cells"].as_array().unwrap() {
        assert_eq!(cell["phases"][0]["moved"]["completed"], 2000);
    }
}

/// Every kind of operation on keys of variable length values.
const MIXED: &str = "schema = 1\nname = \"mixed\"\nrun = { durability = \"os\", memory_budget = \"4MiB\" }\n\
    data = { records = 3000, key = { kind = \"series16\", series = 10 }, value = { dist = \"pareto\" } }\n\
    phase = [{ kind = \"load\", batch = 10 }, { kind = \"measure\", until = { ops = 3000 }, scan = { limit = 5 },\n\
    ops = { get = 0.2, get_absent = 0.1, update = 0.2, insert = 0.3, delete = 0.05, scan = 0.1, delete_range = 0.05 } },\n\
    { kind = \"verify\" }]";

#[test]
fn what_was_recorded_on_one_engine_leaves_the_same_contents_on_others() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mixed.toml"), MIXED).unwrap();
    let (recorded, text) =
        measured(dir.path(), &["mixed.toml", "--engine", "btree", "--record", "mixed.trace"], "recorded");
    assert!(text.contains("written down in mixed.trace"), "{text}");
    // Something is in the store before the replay, and must be gone after it.
    fs::create_dir(dir.path().join("below")).unwrap();
    fs::rename(dir.path().join("mixed.trace"), dir.path().join("below/mixed.trace")).unwrap();
    let replay = "schema = 1\nname = \"again\"\nrun = { durability = \"os\", memory_budget = \"4MiB\" }\n\
        data = { records = 500 }\n\
        phase = [{ kind = \"load\" }, { kind = \"replay\", trace = \"mixed.trace\" }, { kind = \"drain\" }, \
        { kind = \"verify\" }]";
    fs::write(dir.path().join("below/again.toml"), replay).unwrap();
    let (again, text) = measured(dir.path(), &["below/again.toml", "--engine", "lsm,memory,btree"], "again");
    let contents = recorded["cells"][0]["contents"].as_str().unwrap();
    assert!(contents.contains("entries, digest"), "{contents}");
    for cell in again["cells"].as_array().unwrap() {
        assert_eq!(cell["contents"].as_str(), Some(contents), "{}", cell["engine"]["label"]);
        let replayed = &cell["phases"][1];
        assert_eq!(
            (replayed["kind"].as_str(), replayed["moved"]["completed"].as_u64()),
            (Some("replay"), Some(6000))
        );
        let kinds: Vec<_> =
            replayed["ops"].as_array().unwrap().iter().filter_map(|op| op["op"].as_str()).collect();
        assert_eq!(kinds, ["get", "get_absent", "put", "delete", "scan", "delete_range"]);
        assert!(replayed["ops"][0]["latency"]["p50_ns"].is_u64());
    }
    assert!(text.contains("ops/s"), "a replay is reported: {text}");
}

#[test]
fn a_damaged_a_missing_and_a_misplaced_trace_are_one_line_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mixed.toml"), MIXED).unwrap();
    measured(dir.path(), &["mixed.toml", "--engine", "memory", "--record", "whole.trace"], "recorded");
    let whole = fs::read(dir.path().join("whole.trace")).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    for (name, bytes) in
        [("cut.trace", &whole[..whole.len() / 2]), ("bad.trace", &damaged), ("no.trace", b"text")]
    {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let phase = |text: &str| {
        let file = format!(
            "schema = 1\nname = \"w\"\ndata = {{ records = 9 }}\nphase = [{{ kind = \"load\" }}, {text}]"
        );
        fs::write(dir.path().join("w.toml"), file).unwrap();
    };
    for (name, says) in [
        ("cut.trace", "the trace was cut"),
        ("bad.trace", "the trace is damaged in the frame at byte"),
        ("no.trace", "this is no trace"),
        ("none.trace", "none.trace: cannot read the trace"),
    ] {
        phase(&format!("{{ kind = \"replay\", trace = \"{name}\" }}"));
        assert_fails(&run(dir.path(), &["run", "w.toml", "--out", "o", "--dir", "d"]), 2, says);
        phase(&format!(
            "{{ kind = \"measure\", ops = {{ get = 1.0 }}, loop = \"open\", until = {{ s = 1 }}, arrivals = {{ kind = \
             \"trace\", file = \"{name}\" }} }}"
        ));
        assert_fails(&run(dir.path(), &["run", "w.toml", "--out", "o", "--dir", "d"]), 2, says);
    }
    phase(
        "{ kind = \"replay\", trace = \"whole.trace\" }, { kind = \"measure\", ops = { get = 1.0 }, until = { s = 1 } }",
    );
    assert_fails(&run(dir.path(), &["run", "w.toml", "--out", "o", "--dir", "d"]), 2, "follows a replay");
    assert!(!dir.path().join("o").exists() && !dir.path().join("d").exists());
}

#[test]
fn a_phase_ends_when_it_is_steady_and_one_that_does_not_become_so_is_stamped() {
    let dir = tempfile::tempdir().unwrap();
    let text = |window_s: f64, max_s: f64| {
        format!(
            "schema = 1\nname = \"s\"\ndata = {{ records = 100 }}\nrun = {{ durability = \"memory\" }}\n\
             phase = [{{ kind = \"load\" }}, {{ kind = \"measure\", ops = {{ get = 1.0 }}, \
             until = {{ steady = true, window_s = {window_s}, max_s = {max_s} }} }}]"
        )
    };
    fs::write(dir.path().join("s.toml"), text(10.0, 0.5)).unwrap();
    let (short, shown) = measured(dir.path(), &["s.toml", "--engine", "memory"], "short");
    assert!(short["stamps"].as_array().unwrap().contains(&"NOT STEADY".into()), "{}", short["stamps"]);
    let phase = &short["cells"][0]["phases"][1];
    assert_eq!((phase["steady"]["ok"].as_bool(), phase["by_clock"].as_bool()), (Some(false), Some(true)));
    assert!(phase["capped"].is_null() && shown.contains("NOT STEADY: too short to judge"), "{shown}");
    let page = fs::read_to_string(dir.path().join("short/report.html")).unwrap();
    assert!(page.contains("Steady state") && page.contains("too short to judge"));
    // Whether it becomes steady hangs on the machine; that it is judged, and ends at once when it is, does not.
    fs::write(dir.path().join("s.toml"), text(0.4, 6.0)).unwrap();
    let (long, _) = measured(dir.path(), &["s.toml", "--engine", "memory"], "long");
    let phase = &long["cells"][0]["phases"][1];
    let (steady, seconds) = (&phase["steady"], phase["moved"]["wall_ns"].as_f64().unwrap() / 1e9);
    assert!(steady["windows"].as_array().unwrap().len() >= 5 && seconds >= 1.9, "{steady}");
    assert!(steady["series"][0][1]["spread"].is_f64(), "{steady}");
    assert_eq!(steady["ok"].as_bool(), Some(seconds < 5.9), "{seconds} s: {steady}");
}

#[test]
fn caches_are_dropped_between_phases_on_request_and_the_result_says_so() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mixed.toml"), MIXED).unwrap();
    let (result, text) = measured(dir.path(), &["mixed.toml", "--engine", "lsm", "--drop-caches"], "cold");
    let phases = &result["cells"][0]["phases"];
    assert!(phases[0]["dropped_bytes"].is_null(), "nothing to drop before the first");
    assert!(phases[1]["dropped_bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    assert!(text.replace('\n', " ").contains("page cache dropped between phases"), "{text}");
}

#[test]
fn a_run_is_bound_by_a_control_group_where_one_may_be_made() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mixed.toml"), MIXED).unwrap();
    let run_with = |limit: &str| {
        let args =
            ["run", "mixed.toml", "--engine", "lsm", "--io", "buffered", "--cgroup", limit, "--out", "o"];
        run(dir.path(), &args)
    };
    assert_fails(&run_with("5MiB"), 2, "leaves no room");
    let output = run_with("128MiB");
    if output.status.code() == Some(1) {
        assert_fails(&output, 1, "leave --cgroup out");
        eprintln!("SKIPPED: {}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let text = String::from_utf8_lossy(&output.stdout).replace('\n', " ");
    assert_eq!(output.status.code(), Some(0), "{text}");
    let group = &result(dir.path(), "o")["cells"][0]["cgroup"];
    assert_eq!(group["limit_bytes"].as_u64(), Some(128 << 20));
    assert!(group["peak_bytes"].as_u64().is_none_or(|peak| peak > 0 && peak <= 128 << 20), "{group}");
    assert!(text.contains("all in a control group (v"), "{text}");
}
