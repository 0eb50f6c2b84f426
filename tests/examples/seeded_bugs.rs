//! Plants one bug after the other in the engines and notes which of the general suites finds it, if one does.
//!
//! `cargo run -p tests --example seeded_bugs -- --write` builds the suites once, runs them with each bug until the first
//! test fails, runs that case once more without the bug (it must pass), and writes the table into RELIABILITY.md. The
//! suite that found a bug the last time, or whose quick share does, is asked first; a bug that none finds takes as long as
//! all of them.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use clap::Parser;
use kv_io::seeded::Bug;

/// The suites that may find a bug, in the order they are asked: those that try everything, none that was written for one
/// place. `format` and `scripts` compare with files and would find a harmless change too.
const SUITES: &[&str] = &[
    "crash",
    "faults",
    "wal",
    "corruption",
    "misplaced",
    "model",
    "lockstep",
    "history",
    "limits",
    "conformance",
];

/// The table in RELIABILITY.md stands between these lines.
const BEGIN: &str = "<!-- seeded bugs: begin -->";
const END: &str = "<!-- seeded bugs: end -->";

/// Plants bugs and tells which suite finds them.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// Only this bug, by name; may be given several times.
    #[arg(long)]
    bug: Vec<String>,
    /// Only this suite; may be given several times.
    #[arg(long)]
    suite: Vec<String>,
    /// How wide the suites are cast: quick, ci or long.
    #[arg(long, default_value = "ci")]
    share: String,
    /// Seconds after which a suite that still runs counts as one that hangs, which is a failure.
    #[arg(long, default_value_t = 1200)]
    limit_s: u64,
    /// Leave out the runs without a bug. Nothing is written then.
    #[arg(long)]
    no_control: bool,
    /// Write the rows of these bugs into RELIABILITY.md; it shows what the seeds of share ci find.
    #[arg(long, conflicts_with_all = ["share", "suite", "no_control"])]
    write: bool,
    /// List the bugs and do nothing.
    #[arg(long)]
    list: bool,
}

/// A suite that was built with the feature.
struct Suite {
    name: &'static str,
    exe: PathBuf,
}

/// The first test that failed.
#[derive(Debug, Clone)]
struct Red {
    suite: &'static str,
    test: String,
    /// As its last line says how to repeat it; a test without seeds has none.
    seed: Option<u64>,
    /// Or the case of damage, for suites that have such.
    case: Option<String>,
    seconds: f64,
    line: String,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.list {
        for bug in Bug::ALL {
            println!("{:<28} {:<4} {}", bug.name(), bug.class(), bug.what());
        }
        return ExitCode::SUCCESS;
    }
    match run(&args) {
        Ok(missed) if missed.is_empty() => ExitCode::SUCCESS,
        Ok(missed) => {
            eprintln!("not found: {}", missed.join(", "));
            ExitCode::from(3)
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

/// Everything in order. Returns the names of the bugs that no suite found.
fn run(args: &Args) -> Result<Vec<&'static str>, String> {
    let bugs = match &args.bug[..] {
        [] => Bug::ALL.to_vec(),
        names => names.iter().map(|name| named(name)).collect::<Result<_, _>>()?,
    };
    let suites: Vec<Suite> = build()?
        .into_iter()
        .filter(|suite| args.suite.is_empty() || args.suite.iter().any(|wanted| wanted == suite.name))
        .collect();
    if suites.is_empty() {
        return Err(format!("no such suite; there are {}", SUITES.join(", ")));
    }
    let found_by_last = last_time();
    let mut table = Vec::new();
    let mut passing = HashSet::new();
    for bug in bugs {
        let red = hunt(args, &suites, bug, found_by_last.get(bug.name()).map(String::as_str))?;
        match &red {
            Some(red) => {
                println!("{}: {}::{}, {:.1} s: {}", bug.name(), red.suite, red.test, red.seconds, red.line)
            }
            None => println!("{}: NOT FOUND", bug.name()),
        }
        if let Some(red) = red.as_ref().filter(|_| !args.no_control) {
            check_without(args, &suites, red, &mut passing)?;
        }
        table.push((bug, red));
        // A run that is interrupted leaves the rows that are done.
        if args.write {
            write(&table)?;
        }
    }
    let missed: Vec<&str> =
        table.iter().filter(|(_, red)| red.is_none()).map(|(bug, _)| bug.name()).collect();
    println!("{} of {} found", table.len() - missed.len(), table.len());
    Ok(missed)
}

fn named(name: &str) -> Result<Bug, String> {
    Bug::named(name).ok_or_else(|| format!("no bug is called `{name}`; --list lists them"))
}

/// Asks one suite after the other, `first` before all. Without one, the suite whose quick share finds it comes first.
fn hunt(args: &Args, suites: &[Suite], bug: Bug, first: Option<&str>) -> Result<Option<Red>, String> {
    let quick = Args { share: "quick".to_owned(), ..args.clone() };
    let found =
        if first.is_none() && args.share != quick.share { hunt(&quick, suites, bug, None)? } else { None };
    let first = first.or(found.map(|red| red.suite));
    let mut order: Vec<&Suite> = suites.iter().collect();
    order.sort_by_key(|suite| Some(suite.name) != first);
    for suite in order {
        if let Some(red) = ask(args, suite, Some(bug), None)? {
            return Ok(Some(red));
        }
    }
    Ok(None)
}

/// The case that found a bug passes without it, or it found nothing. Each is tried once, and noted in `passing`.
fn check_without(
    args: &Args,
    suites: &[Suite],
    red: &Red,
    passing: &mut HashSet<(&'static str, String, Option<u64>, Option<String>)>,
) -> Result<(), String> {
    let suite = suites.iter().find(|suite| suite.name == red.suite);
    let Some(suite) =
        suite.filter(|_| passing.insert((red.suite, red.test.clone(), red.seed, red.case.clone())))
    else {
        return Ok(());
    };
    let started = Instant::now();
    if let Some(own) = ask(args, suite, None, Some(red))? {
        return Err(format!("without a bug {}::{} fails, too: {}", own.suite, own.test, own.line));
    }
    println!("without a bug {}::{} passes, {:.1} s", red.suite, red.test, started.elapsed().as_secs_f64());
    Ok(())
}

/// Builds the suites with the feature that lets a bug in.
fn build() -> Result<Vec<Suite>, String> {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.args([
        "test",
        "--locked",
        "-p",
        "tests",
        "--features",
        "seeded",
        "--no-run",
        "--message-format=json",
    ]);
    let output =
        cargo.current_dir(root()).stderr(Stdio::inherit()).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err("the suites do not build".to_owned());
    }
    let mut built = HashMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let is_suite = message["target"]["kind"][0] == "test";
        if let (true, Some(name), Some(exe)) =
            (is_suite, message["target"]["name"].as_str(), message["executable"].as_str())
        {
            built.insert(name.to_owned(), PathBuf::from(exe));
        }
    }
    Ok(SUITES.iter().filter_map(|name| Some(Suite { name, exe: built.remove(*name)? })).collect())
}

/// One line of a child, or the end of one of its two streams.
enum Said {
    Out(String),
    Err(String),
    End,
}

fn listen(stream: impl Read + Send + 'static, to: Sender<Said>, wrap: fn(String) -> Said) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            // The other end is gone once the first failure is known.
            let _ = to.send(wrap(String::from_utf8_lossy(&line).into_owned()));
        }
        let _ = to.send(Said::End);
    });
}

/// Runs one suite, or one case of it, up to its first failure. `None` if it passes.
fn ask(args: &Args, suite: &Suite, bug: Option<Bug>, only: Option<&Red>) -> Result<Option<Red>, String> {
    let mut command = Command::new(&suite.exe);
    // Each test says what it has to say as it happens, under the name of its thread.
    // A suite that hung, or ended as a whole, is asked as a whole.
    if let Some(red) = only.filter(|red| !red.test.starts_with('(')) {
        command.args(["--exact", &red.test]);
    }
    command.args(["--nocapture", "--test-threads=2"]).current_dir(root().join("tests"));
    command.env("KVLAB_TESTS", &args.share).env_remove("KVLAB_SEED").env_remove("KVLAB_CASE");
    if let Some(seed) = only.and_then(|red| red.seed) {
        command.env("KVLAB_SEED", seed.to_string());
    }
    if let Some(case) = only.and_then(|red| red.case.as_ref()) {
        command.env("KVLAB_CASE", case);
    }
    command.env("KVLAB_BUG", bug.map_or("", Bug::name)).env_remove("RUST_BACKTRACE");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{}: {error}", suite.exe.display()))?;
    let (to, from) = channel();
    if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
        listen(out, to.clone(), Said::Out);
        listen(err, to, Said::Err);
    }
    let mut hearing =
        Hearing { started: Instant::now(), limit: Duration::from_secs(args.limit_s), ..Hearing::default() };
    let verdict = hearing.listen(&from);
    if verdict.is_some() {
        // It may have ended by itself meanwhile.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    Ok(match verdict {
        Some(test) => Some(hearing.red(suite.name, test)),
        None if status.success() => None,
        None => Some(hearing.red(suite.name, format!("(the process ended with {status})"))),
    })
}

/// What a suite has said so far.
struct Hearing {
    started: Instant,
    limit: Duration,
    /// The first line of the last panic of each thread, by its name, which is that of its test.
    panics: HashMap<String, String>,
    /// The thread whose panic the next line tells about.
    speaker: Option<String>,
    /// Lines that tell how to repeat a case.
    repeats: Vec<String>,
    last: String,
}

impl Default for Hearing {
    fn default() -> Hearing {
        Hearing {
            started: Instant::now(),
            limit: Duration::MAX,
            panics: HashMap::new(),
            speaker: None,
            repeats: Vec::new(),
            last: String::new(),
        }
    }
}

impl Hearing {
    /// Listens up to the first failure and returns the test's name.
    fn listen(&mut self, from: &Receiver<Said>) -> Option<String> {
        let mut streams = 2;
        while streams > 0 {
            let left = self.limit.saturating_sub(self.started.elapsed());
            match from.recv_timeout(left) {
                Ok(Said::End) => streams -= 1,
                Ok(Said::Err(line)) => self.hear(&line),
                Ok(Said::Out(line)) => {
                    let failed = line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED"));
                    if let Some(test) = failed {
                        // What it said on the other stream may still be on its way.
                        while let Ok(Said::Err(line)) = from.recv_timeout(Duration::from_millis(200)) {
                            self.hear(&line);
                        }
                        return Some(test.to_owned());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.last = format!("it still ran after {} s", self.limit.as_secs());
                    return Some("(hangs)".to_owned());
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        None
    }

    fn hear(&mut self, line: &str) {
        if let Some(thread) = self.speaker.take() {
            self.panics.insert(thread, line.to_owned());
        }
        let thread = line.strip_prefix("thread '").filter(|line| line.contains(" panicked at "));
        self.speaker = thread.and_then(|line| line.split('\'').next()).map(str::to_owned);
        if line.starts_with("repeat with: ") {
            self.repeats.push(line.to_owned());
        }
        if !line.trim().is_empty() && !line.starts_with("note: ") {
            self.last = line.to_owned();
        }
    }

    /// What is known of the failure of `test`.
    fn red(&self, suite: &'static str, test: String) -> Red {
        let function = test.rsplit("::").next().unwrap_or_default();
        // A test may name itself by the beginning of its name.
        let is_its = |line: &&String| line.rsplit(' ').next().is_some_and(|name| function.starts_with(name));
        let repeat = self.repeats.iter().rev().find(is_its);
        let seed = repeat.and_then(|line| line.split("KVLAB_SEED=").nth(1)?.split(' ').next()?.parse().ok());
        let whole = self.panics.get(&test).unwrap_or(&self.last);
        let case = whole.split("KVLAB_CASE='").nth(1).and_then(|rest| rest.split('\'').next());
        let (case, line) = (case.map(str::to_owned), shortened(whole));
        Red { suite, test, seed, case, seconds: self.started.elapsed().as_secs_f64(), line }
    }
}

fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

fn reliability() -> PathBuf {
    root().join("RELIABILITY.md")
}

/// The rows of the table as it stands in RELIABILITY.md, by the name of the bug.
fn rows() -> HashMap<String, String> {
    let text = std::fs::read_to_string(reliability()).unwrap_or_default();
    let table = text.split(BEGIN).nth(1).and_then(|rest| rest.split(END).next()).unwrap_or_default();
    let name = |line: &str| Some(line.split('|').nth(2)?.trim().trim_matches('`').to_owned());
    table.lines().filter_map(|line| Some((name(line)?, line.to_owned()))).collect()
}

/// The suite that found each bug when its row was written last.
fn last_time() -> HashMap<String, String> {
    let suite =
        |row: &str| Some(row.split('|').nth(4)?.trim().trim_matches('`').split("::").next()?.to_owned());
    rows()
        .into_iter()
        .filter(|(_, row)| is_found(row))
        .filter_map(|(name, row)| Some((name, suite(&row)?)))
        .collect()
}

/// What stands in a row in place of a suite.
const NOTHING: &str = "**nothing**";
const NOT_RUN: &str = "not run yet";

fn is_found(row: &str) -> bool {
    !row.contains(NOTHING) && !row.contains(NOT_RUN)
}

/// One row; `otherwise` stands where no suite found the bug.
fn row_of(bug: Bug, red: Option<&Red>, otherwise: &str) -> String {
    let (by, seed, seconds, line) = match red {
        Some(red) => (
            format!("`{}::{}`", red.suite, red.test),
            red.seed.map_or_else(|| "-".to_owned(), |seed| seed.to_string()),
            format!("{:.1}", red.seconds),
            red.line.clone(),
        ),
        None => (otherwise.to_owned(), "-".to_owned(), "-".to_owned(), String::new()),
    };
    let (class, name, what) = (bug.class(), bug.name(), bug.what());
    format!("| {class} | `{name}` | {what} | {by} | {seed} | {seconds} | {line} |")
}

/// The table with these rows new, and the others as they were.
fn text_of(table: &[(Bug, Option<Red>)]) -> String {
    let old = rows();
    let row = |bug: &Bug| match table.iter().find(|(own, _)| own == bug) {
        Some((_, red)) => row_of(*bug, red.as_ref(), NOTHING),
        None => old.get(bug.name()).cloned().unwrap_or_else(|| row_of(*bug, None, NOT_RUN)),
    };
    let rows: Vec<String> = Bug::ALL.iter().map(row).collect();
    let found = rows.iter().filter(|row| is_found(row)).count();
    format!(
        "{found} of {} found, with the seeds of share ci; each of these cases passes without the bug. Seconds are from the \
         start of the suite.\n\n\
         | class | bug | what goes wrong | found by | seed | s | it said |\n|---|---|---|---|---:|---:|---|\n{}\n",
        rows.len(),
        rows.join("\n")
    )
}

/// Fit for a cell of a table: no bars, not too long.
fn shortened(line: &str) -> String {
    let plain: String = line.chars().map(|c| if c == '|' || c == '`' { '/' } else { c }).collect();
    match plain.char_indices().nth(110) {
        Some((end, _)) => format!("{}...", plain[..end].trim_end()),
        None => plain,
    }
}

fn write(table: &[(Bug, Option<Red>)]) -> Result<(), String> {
    let path = reliability();
    let say = |error: std::io::Error| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(&path).map_err(say)?;
    let parts = text.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    let (head, tail) =
        parts.ok_or_else(|| format!("{}: it has no lines {BEGIN} and {END}", path.display()))?;
    std::fs::write(&path, format!("{head}{BEGIN}\n{}{END}{tail}", text_of(table))).map_err(say)
}
