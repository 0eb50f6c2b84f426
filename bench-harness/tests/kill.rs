//! `kill -9` at random moments: whatever was acknowledged at `os` or `disk` must be there afterwards.
//!
//! The binary runs write-heavy with an ack log, a shared mapping that outlives the process. The test reads it along
//! the way and kills the process in a phase drawn from a seed: within 50 ms of the first operation acknowledged there, or
//! at a drawn count of them. The binary itself then checks the directory: read-only first, then again after recoveries
//! that were killed in their turn.
//!
//! `KVLAB_TESTS=quick|ci|long` kills 3, 25 or 150 times in each test; `KVLAB_SEED=n` repeats kill n alone. A failure
//! prints its seed and the commands that look at it again, and leaves the directory where it is. One database that lives
//! through many kills is in the package `tests`, suite `kept`.

mod share;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use share::{Dice, by_share, tell};
use workloads::rng::mix64;

/// Phases of write-heavy in which operations run, by number, and how many operations each has at smoke scale.
const PHASES: [(&str, u64, u64); 3] = [("load", 0, 20_000), ("age", 1, 20_000), ("measure", 3, 20_000)];
/// No run takes longer; one that does is stuck.
const RUN_MAX: Duration = Duration::from_secs(120);

/// The kills to try: `KVLAB_SEED` alone if set, else as many as `KVLAB_TESTS` asks for.
fn seeds() -> Vec<u64> {
    if let Ok(seed) = std::env::var("KVLAB_SEED") {
        return vec![seed.parse().expect("KVLAB_SEED is a number")];
    }
    (1..=by_share(3, 25, 150)).collect()
}

/// The binary, to be run in `dir`.
fn kvlab(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvlab"));
    command.current_dir(dir);
    command
}

/// One kill: where it happens and what to say if it shows a fault.
struct Case {
    dir: PathBuf,
    test: String,
    seed: u64,
    run: Vec<String>,
    killed: String,
    holds: bool,
}

impl Case {
    /// A fresh directory on the disk that holds the build: `/tmp` may be memory.
    fn new(test: &str, seed: u64) -> Case {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kill-{test}-{seed}"));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let (run, killed) = (Vec::new(), "before any kill".to_owned());
        Case { dir, test: test.to_owned(), seed, run, killed, holds: false }
    }

    /// Starts the binary on `args`.
    fn start(&self, args: &[String]) -> Child {
        let out = fs::File::create(self.dir.join("output")).unwrap();
        let also = out.try_clone().unwrap();
        kvlab(&self.dir).args(args).stdout(Stdio::from(out)).stderr(Stdio::from(also)).spawn().unwrap()
    }

    /// Runs the binary on `args` and wants success.
    fn wants_success(&self, args: &[&str]) -> String {
        let output: Output = kvlab(&self.dir).args(args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "kvlab {}: {said}", args.join(" "));
        text(&output.stdout)
    }

    /// `verify` with the ack log; the directory may have been killed before it held a database.
    fn verify(&self, engine: &str) {
        self.wants_success(&["verify", &format!("data/write-heavy-{engine}"), "--acks", "acks"]);
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        if self.holds {
            let _ = fs::remove_dir_all(&self.dir);
            return;
        }
        let (dir, test, seed) = (self.dir.display(), &self.test, self.seed);
        eprintln!("seed {seed}, {}; the directory is left at {dir}", self.killed);
        eprintln!("it was made there by: kvlab {}", self.run.join(" "));
        eprintln!("repeat with: KVLAB_SEED={seed} cargo test -p bench-harness --test kill {test}");
    }
}

fn kill_9(child: &mut Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    // It may have ended by itself a moment ago; until it is waited for, its number is nobody else's.
    let _ = kill_process(pid, Signal::KILL);
    child.wait().unwrap();
}

/// The phase that runs and the operations acknowledged in `phase`, over all clients, as the ack log says now.
fn progress(acks: &Path, phase: u64, threads: u64) -> Option<(u64, u64)> {
    const PHASES_ALL: u64 = 6;
    let bytes = fs::read(acks).ok()?;
    let word = |at: u64| {
        let at = usize::try_from(at).ok()?;
        Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
    };
    let words_at = word(16)?;
    let counts = (0..threads).map(|thread| word(words_at + 8 * (thread * PHASES_ALL + phase)));
    Some((word(24)?, counts.sum::<Option<u64>>()?))
}

/// When to kill.
struct Moment {
    /// In this one of [`PHASES`].
    phase: usize,
    /// Once so many of its operations are acknowledged, or
    count: u64,
    /// so long after the first one.
    after: Duration,
}

impl Moment {
    fn draw(dice: &mut Dice) -> Moment {
        let phase = usize::try_from(dice.below(3)).unwrap();
        // Half of the kills come right at the beginning; the others anywhere, on slow disks too.
        let (count, after_us) = match dice.below(2) {
            0 => (u64::MAX, 1_000 + dice.below(49_000)),
            _ => (dice.below(PHASES[phase].2), dice.below(500_000)),
        };
        Moment { phase, count, after: Duration::from_micros(after_us) }
    }
}

/// Waits for the moment. Returns what was reached.
fn wait_for(moment: &Moment, child: &mut Child, acks: &Path, threads: u64) -> String {
    let (name, phase, _) = PHASES[moment.phase];
    let start = Instant::now();
    let mut first_ack = None;
    loop {
        assert!(start.elapsed() < RUN_MAX, "the run is stuck");
        let ended = child.try_wait().unwrap().is_some();
        let (at, done) = progress(acks, phase, threads).unwrap_or((0, 0));
        if at > phase || at == phase && done > 0 {
            let since = first_ack.get_or_insert_with(Instant::now).elapsed();
            if at > phase || done >= moment.count || since > moment.after || ended {
                let end = if ended { ", after its end" } else { "" };
                return format!(
                    "killed in phase {at}{end}: {done} operations of {name}, {since:?} after the first"
                );
            }
        }
        assert!(!ended, "it ended before {name} began");
        sleep(Duration::from_micros(100));
    }
}

/// True if the binary has the engine; says so if not.
fn has(engine: &str) -> bool {
    let output = kvlab(Path::new(".")).args(["list", "--json"]).output().unwrap();
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let has = list["engines"].as_array().unwrap().iter().any(|entry| entry["name"] == engine);
    if !has {
        tell(&format!("SKIPPED: kill: this binary has no engine `{engine}`"));
    }
    has
}

/// Kills runs at random moments, then recoveries at random moments, and checks after each.
fn kill_runs(engine: &str, durability: &str) {
    if !has(engine) {
        return;
    }
    let test = format!("{engine}_{durability}");
    let mut kills = 0;
    for seed in seeds() {
        let mut dice = Dice::new(&test, seed);
        let mut case = Case::new(&test, seed);
        let threads = 1 + seed % 4;
        let background = ["1", "2", "inline"][usize::try_from(dice.below(3)).unwrap()];
        let text = format!(
            "run write-heavy --engine {engine} --durability {durability} --scale smoke --seed {seed} \
             --threads {threads} --background {background} --dir data --keep --ack-log acks --out out"
        );
        case.run = text.split_whitespace().map(str::to_owned).collect();
        let mut child = case.start(&case.run);
        case.killed = wait_for(&Moment::draw(&mut dice), &mut child, &case.dir.join("acks"), threads);
        kill_9(&mut child);
        kills += 1;
        let db = format!("data/write-heavy-{engine}");
        if case.dir.join(&db).join("KVLAB").exists() {
            case.verify(engine);
            kill_recoveries(&mut case, &db, &mut dice);
            case.verify(engine);
        } else {
            let acked = progress(&case.dir.join("acks"), 0, threads).map(|(_, done)| done);
            assert_eq!(acked, Some(0), "writes were acknowledged and there is no database");
        }
        println!("{engine} {durability} seed {seed}: {}", case.killed);
        case.holds = true;
    }
    tell(&format!("{engine}, kill at {durability}: {kills} kills, 0 acknowledged operations lost"));
}

/// Opens the directory for writing and kills that too, a few times, then lets it finish. The key it deletes is one
/// that no workload has, so the contents must stay as they are.
fn kill_recoveries(case: &mut Case, db: &str, dice: &mut Dice) {
    let delete = ["delete", db, "no such key", "--memory", "1MiB"];
    for round in 0..3 {
        let after = Duration::from_micros(dice.below(30_000));
        let mut child = case.start(&delete.map(str::to_owned));
        sleep(after);
        kill_9(&mut child);
        case.killed += &format!("; recovery {round} killed after {after:?}");
    }
    case.wants_success(&delete);
}

#[test]
fn btree_os() {
    kill_runs("btree", "os");
}

#[test]
fn btree_disk() {
    kill_runs("btree", "disk");
}

#[test]
fn lsm_os() {
    kill_runs("lsm", "os");
}

#[test]
fn lsm_disk() {
    kill_runs("lsm", "disk");
}

/// One database kept through many kills: loading the same dump again and again, killed each time, must never harm
/// what is there, and a load that is left alone makes it whole.
fn kill_loads(engine: &str) {
    const ENTRIES: u64 = 60_000;
    if !has(engine) {
        return;
    }
    let seeds = seeds();
    let first = *seeds.first().expect("there is a seed");
    let test = format!("one_database_{engine}");
    let mut dice = Dice::new(&test, first);
    let mut case = Case::new(&test, first);
    let entry = |n: u64| format!("key{:016x}\tvalue {n} {:0100}\n", mix64(n), n);
    let mut lines: Vec<String> = (0..ENTRIES).map(entry).collect();
    let dump = format!("# kvlab-dump 1 text\n{}# end {ENTRIES}\n", lines.concat());
    fs::write(case.dir.join("dump"), dump).unwrap();
    lines.sort_unstable();
    let load = ["load", "db", "dump", "--create", engine, "--memory", "1MiB"];
    case.run = load.map(str::to_owned).to_vec();
    let mut found = 0;
    for round in 0..seeds.len() {
        let after = Duration::from_micros(dice.below(400_000));
        let mut child = case.start(&case.run);
        sleep(after);
        kill_9(&mut child);
        case.killed = format!("load {round} killed after {after:?}");
        if !case.dir.join("db").join("KVLAB").exists() {
            continue;
        }
        case.wants_success(&["verify", "db"]);
        let dumped = case.wants_success(&["dump", "db"]);
        let entries: Vec<&str> = dumped.lines().filter(|line| !line.starts_with("# ")).collect();
        let is_known = |entry: &&str| lines.binary_search_by(|line| line.trim_end().cmp(entry)).is_ok();
        assert!(entries.iter().all(is_known), "it holds what was never put");
        assert!(entries.len() >= found, "{} entries, {found} before the last kill", entries.len());
        found = entries.len();
    }
    case.wants_success(&load);
    case.wants_success(&["verify", "db"]);
    let dumped = case.wants_success(&["dump", "db"]);
    assert!(dumped.lines().filter(|line| !line.starts_with("# ")).eq(lines.iter().map(|l| l.trim_end())));
    case.holds = true;
}

#[test]
fn one_database_btree() {
    kill_loads("btree");
}

#[test]
fn one_database_lsm() {
    kill_loads("lsm");
}
