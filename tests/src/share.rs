//! How much of the tests to run: `KVLAB_TESTS=quick|ci|long`. The same tests, only wider; read here alone.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How wide the tests are cast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Share {
    /// What `cargo test` runs: minutes for the whole workspace.
    Quick,
    /// What the continuous integration runs.
    Ci,
    /// As much as a night allows.
    Long,
}

/// The share asked for. An unknown word stops the test: a typing error must not look like a green long run.
pub fn share() -> Share {
    static SHARE: OnceLock<Share> = OnceLock::new();
    *SHARE.get_or_init(|| match std::env::var("KVLAB_TESTS").as_deref() {
        Err(_) | Ok("quick" | "") => Share::Quick,
        Ok("ci") => Share::Ci,
        Ok("long") => Share::Long,
        Ok(other) => panic!("KVLAB_TESTS is `{other}`; it must be quick, ci or long"),
    })
}

/// One of three numbers, by the share asked for.
pub fn by_share<T>(quick: T, ci: T, long: T) -> T {
    match share() {
        Share::Quick => quick,
        Share::Ci => ci,
        Share::Long => long,
    }
}

/// The seeds a test runs: the one in `KVLAB_SEED` alone if it is set, else as many as the share asks for.
pub fn seeds(quick: u64, ci: u64, long: u64) -> Vec<u64> {
    match std::env::var("KVLAB_SEED") {
        Ok(text) => vec![text.parse().expect("KVLAB_SEED is a number")],
        Err(_) => (1..=by_share(quick, ci, long)).collect(),
    }
}

/// Calls `run` for each seed, on as many threads as there are processors: a seed that fails stops the test once the
/// others under way are done.
///
/// # Panics
/// If `run` does.
pub fn side_by_side(seeds: &[u64], run: impl Fn(u64) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    run(*seed);
                }
            });
        }
    });
}

/// Prints how much a passing test tried, whatever the test harness captures: "ok" alone does not say that.
pub fn tell(line: &str) {
    // A closed stream is no reason to fail a test.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Part of the name of the one case to run, if `KVLAB_CASE` names one.
pub fn only_case() -> Option<String> {
    std::env::var("KVLAB_CASE").ok().filter(|case| !case.is_empty())
}

/// True unless one seed or one case was asked for: only then can a test ask itself whether it tried enough.
pub fn is_whole() -> bool {
    std::env::var_os("KVLAB_SEED").is_none() && only_case().is_none()
}

/// The command that repeats one case: printed by every failure of a seeded test.
pub fn repeat(suite: &str, test: &str, case: &str, seed: u64) -> String {
    let share = match share() {
        Share::Quick => "",
        Share::Ci => "KVLAB_TESTS=ci ",
        Share::Long => "KVLAB_TESTS=long ",
    };
    let case = if case.is_empty() { String::new() } else { format!("KVLAB_CASE='{case}' ") };
    // The only suite that is a build of its own.
    let build = if suite == "schedules" { "--features shuttle " } else { "" };
    format!("repeat with: {share}{case}KVLAB_SEED={seed} cargo test -p tests {build}--test {suite} {test}")
}

/// While this is alive, a failing test prints how to repeat it.
#[derive(Debug, Default)]
pub struct Repeat {
    suite: Cow<'static, str>,
    test: String,
    case: String,
    seed: u64,
}

impl Repeat {
    /// For one seed of a test.
    pub fn new(suite: impl Into<Cow<'static, str>>, test: impl Into<String>, seed: u64) -> Repeat {
        Repeat { suite: suite.into(), test: test.into(), case: String::new(), seed }
    }

    /// For one case of a test that has several: what `KVLAB_CASE` selects.
    #[must_use]
    pub fn with_case(mut self, case: impl Into<String>) -> Repeat {
        self.case = case.into();
        self
    }
}

thread_local! {
    /// What this thread let go of last without a panic: if its test ends with an error, that is where it came from.
    static LAST: RefCell<Repeat> = RefCell::default();
}

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", repeat(&self.suite, &self.test, &self.case, self.seed));
        } else if !self.suite.is_empty() {
            // What comes out again has no suite.
            let _ = LAST.try_with(|last| std::mem::swap(&mut *last.borrow_mut(), self));
            self.suite = Cow::default();
        }
    }
}

/// Prints how to repeat the seed or case that this thread tried last: for a test that ends with an error.
pub fn tell_last_repeat() {
    LAST.with_borrow(|last| {
        if !last.suite.is_empty() {
            eprintln!("{}", repeat(&last.suite, &last.test, &last.case, last.seed));
        }
    });
}

/// The suite that runs: the name of its binary, without the hash that cargo adds.
pub fn suite() -> String {
    let name = std::env::args().next().unwrap_or_default();
    let file = name.rsplit('/').next().unwrap_or_default();
    file.rsplit_once('-').map_or(file, |(suite, _)| suite).to_owned()
}
