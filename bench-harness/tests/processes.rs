//! Every run has a process of its own: a crash of one is reported and the others go on, and none outlives the program
//! that started it. Repetitions give results that can be compared.

mod binary;

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use binary::{assert_fails, kvlab, run};
use rustix::process::{Pid, Signal, kill_process};

/// No step takes longer; one that does is stuck.
const STEP_MAX: Duration = Duration::from_secs(60);

/// A workload that does not end by itself.
const LONG: &str = "schema = 1\nname = \"long\"\npurpose = \"to be stopped\"\n[data]\nrecords = 1000\n\
    [run]\nmemory_budget = \"1MiB\"\ndurability = \"os\"\n[[phase]]\nkind = \"load\"\n\
    [[phase]]\nkind = \"measure\"\nops = { get = 1.0 }\nuntil = { s = 300 }\n";

/// What was said, in one line.
fn unwrapped(said: &[u8]) -> String {
    String::from_utf8_lossy(said).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(start.elapsed() < STEP_MAX, "{what} takes too long");
        sleep(Duration::from_millis(10));
    }
}

/// The child that runs a cell for `parent`, once it is at work in `dir`.
fn cell_of(parent: &Child, dir: &Path) -> Pid {
    let path = format!("/proc/{0}/task/{0}/children", parent.id());
    until("the start of a run", || {
        let mut made = fs::read_dir(dir.join("kvlab-data")).ok()?.flatten();
        let at_work = made.any(|entry| entry.path().join("KVLAB").exists());
        let children = fs::read_to_string(&path).ok()?;
        let pid = children.split_whitespace().next()?.parse().ok()?;
        at_work.then(|| Pid::from_raw(pid))?
    })
}

fn start(dir: &Path, args: &[&str]) -> Child {
    fs::write(dir.join("long.toml"), LONG).unwrap();
    let (out, err) = (Stdio::piped(), Stdio::piped());
    kvlab(dir).args(args).stdout(out).stderr(err).spawn().unwrap()
}

#[test]
fn a_run_that_crashes_is_reported_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let smoke = ["run", "long.toml", "read-heavy", "--engine", "btree", "--scale", "smoke"];
    let program = start(dir.path(), &smoke);
    kill_process(cell_of(&program, dir.path()), Signal::ABORT).unwrap();
    let output = program.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let text = unwrapped(&output.stdout);
    assert!(text.contains("crashed with signal 6") && text.contains("long-btree"), "{text}");
    assert!(
        text.contains("read-heavy (zipf, data 2.21x memory)") && text.contains("FAILED"),
        "the other run is there: {text}"
    );
    assert!(dir.path().join("kvlab-data/long-btree/KVLAB").exists(), "what crashed is evidence");
}

#[test]
fn a_stopped_program_stops_its_run_and_keeps_what_was_done() {
    let dir = tempfile::tempdir().unwrap();
    let program = start(dir.path(), &["run", "long.toml", "--engine", "lsm"]);
    let cell = cell_of(&program, dir.path());
    // To the program alone: a terminal would tell the whole group, of which the run is no part.
    kill_process(Pid::from_child(&program), Signal::TERM).unwrap();
    let output = program.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&output.stdout).contains("INTERRUPTED"));
    let result = fs::read_to_string(dir.path().join("kvlab-results/result.json")).unwrap();
    assert!(result.contains("\"load\"") && result.contains("INTERRUPTED"));
    assert!(!dir.path().join("kvlab-data").exists(), "the data is removed");
    assert!(!Path::new(&format!("/proc/{}", cell.as_raw_nonzero())).exists());
}

#[test]
fn a_run_does_not_outlive_a_killed_program() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = start(dir.path(), &["run", "long.toml", "--engine", "btree"]);
    let cell = cell_of(&program, dir.path());
    program.kill().unwrap();
    program.wait().unwrap();
    // The lock goes with the last of its threads, which may be inside a write when the signal comes.
    let output = until("the end of the orphaned run", || {
        let output = run(dir.path(), &["verify", "kvlab-data/long-btree"]);
        let is_held = String::from_utf8_lossy(&output.stderr).contains("is open in another handle");
        (!is_held).then_some(output)
    });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stat = fs::read_to_string(format!("/proc/{}/stat", cell.as_raw_nonzero()));
    assert!(stat.map_or(true, |stat| stat.contains(") Z ")), "gone, or a zombie that nobody has waited for");
}

#[test]
fn nobody_but_the_program_gives_orders() {
    let dir = tempfile::tempdir().unwrap();
    assert_fails(&run(dir.path(), &["cell"]), 2, "for `kvlab run` to call");
}

#[test]
fn repetitions_have_intervals_and_results_can_be_compared() {
    let dir = tempfile::tempdir().unwrap();
    for out in ["first", "second"] {
        // In memory: beyond it buffered runs get no ratio.
        let args = "run read-heavy --scale smoke --repeats 2 --io buffered --memory 64MiB --out";
        let args: Vec<&str> = args.split(' ').chain([out]).collect();
        let output = run(dir.path(), &args);
        let text = unwrapped(&output.stdout);
        assert!(output.status.success() && text.contains("medians of 2 repetitions"), "{text}");
        assert!(text.contains("lsm over btree: ops/s"), "{text}");
    }
    let page = fs::read_to_string(dir.path().join("first/report.html")).unwrap();
    assert!(
        page.contains("Medians of 2 repetitions") && page.contains("lsm over btree: ops/s"),
        "the page too"
    );
    let wrong = run(dir.path(), &["run", "read-heavy", "--baseline", "redb", "--dry-run"]);
    assert_fails(&wrong, 2, "--baseline redb is not among the engines");
    let output = run(dir.path(), &["compare", "first", "second"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("ops/s [1/s]"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(!text.contains("no ratio") && !text.contains("different machines"), "{text}");
    let json = run(dir.path(), &["compare", "first", "second", "--json"]);
    let rows: Vec<serde_json::Value> = String::from_utf8_lossy(&json.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("one value on each line"))
        .collect();
    let has = |engine: &str, metric: &str| {
        let is = |row: &&serde_json::Value| row["engine"] == engine && row["metric"] == metric;
        rows.iter().find(is).is_some_and(|row| row["before"].is_number() && row["after"].is_number())
    };
    assert!(has("btree", "wa") && has("lsm", "ops/s"), "{rows:?}");
    assert!(run(dir.path(), &["report", "first"]).status.success());
    assert_fails(&run(dir.path(), &["compare", "first", "nowhere"]), 2, "no result.json");
}
