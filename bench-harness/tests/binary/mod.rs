//! Starting the binary, and what its failures must look like.

use std::path::Path;
use std::process::{Command, Output};

/// The binary, to be run in `dir`. Without calibration, which takes seconds and has tests of its own.
pub fn kvlab(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvlab"));
    command.current_dir(dir).env("KVLAB_CALIBRATE", "never");
    command
}

/// Runs the binary in `dir` with `args`.
pub fn run(dir: &Path, args: &[&str]) -> Output {
    kvlab(dir).args(args).output().unwrap()
}

/// Asserts the exit code and, for failures, that standard error is one line that begins with the program.
pub fn assert_fails(output: &Output, code: i32, says: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    let lines: Vec<_> =
        stderr.lines().filter(|line| !line.contains("warning:") && !line.contains("note:")).collect();
    assert_eq!(lines.len(), 1, "one line: {stderr}");
    assert!(lines[0].starts_with("kvlab: ") && lines[0].contains(says), "`{says}` in {stderr}");
}
