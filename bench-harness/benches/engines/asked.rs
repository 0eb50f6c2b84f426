//! What the command line asks for, beside what criterion itself makes of it, and where results go.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The folder of results below cargo's target directory.
const FOLDER: &str = "kvlab-bench";
/// The name of a result that was not saved under one.
const LATEST: &str = "latest";
/// The file that cargo puts into its target directory.
const MARK: &str = "CACHEDIR.TAG";

/// What criterion does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It measures, and keeps what it finds.
    Measure,
    /// Everything runs once, to see that it does.
    Trial,
    /// It lists or profiles, or throws away what it finds.
    Other,
}

/// The command line, as far as it is told apart here. Criterion refuses what is wrong in it.
pub struct Asked {
    /// What criterion does.
    pub mode: Mode,
    /// When this process began.
    pub started: SystemTime,
    save: Option<String>,
    baseline: Option<String>,
    target: PathBuf,
}

impl Asked {
    /// Reads the command line of this process.
    pub fn of_this_process() -> Asked {
        let words: Vec<String> =
            std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        let has = |name: &str| {
            words.iter().any(|word| {
                word.strip_prefix(name).is_some_and(|rest| matches!(rest.chars().next(), None | Some('=')))
            })
        };
        let mode = if ["--list", "--profile-time", "--discard-baseline"].into_iter().any(has) {
            Mode::Other
        } else if has("--bench") && !has("--test") {
            Mode::Measure
        } else {
            Mode::Trial
        };
        Asked {
            mode,
            started: SystemTime::now(),
            save: value(&words, &["--save-baseline", "-s"]),
            baseline: value(&words, &["--baseline", "--baseline-lenient", "-b"]),
            target: target(),
        }
    }

    /// Where this run's result goes.
    pub fn results(&self) -> PathBuf {
        self.target.join(FOLDER).join(self.save.as_deref().unwrap_or(LATEST))
    }

    /// Where the result of the baseline is, if the run is compared with one.
    pub fn earlier_results(&self) -> Option<PathBuf> {
        self.baseline.as_ref().map(|name| self.target.join(FOLDER).join(name))
    }

    /// Where criterion keeps its own files.
    pub fn criterion_home(&self) -> PathBuf {
        std::env::var_os("CRITERION_HOME").map_or_else(|| self.target.join("criterion"), PathBuf::from)
    }
}

/// The value of the option with one of `names`: `--name value`, `--name=value`, `-n value` or `-nvalue`.
fn value(words: &[String], names: &[&str]) -> Option<String> {
    words.iter().enumerate().find_map(|(index, word)| {
        let rest = names.iter().find_map(|name| {
            let rest = word.strip_prefix(name)?;
            let is_long = name.starts_with("--");
            (rest.is_empty() || !is_long || rest.starts_with('=')).then_some(rest)
        })?;
        match rest.trim_start_matches('=') {
            "" => words.get(index + 1).cloned(),
            given => Some(given.to_owned()),
        }
    })
}

/// Cargo's target directory: the outermost folder above this program that cargo marked as its own.
fn target() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let marked = program.ancestors().filter(|dir| dir.join(MARK).is_file()).last();
    marked.map_or_else(|| PathBuf::from("target"), Path::to_path_buf)
}
