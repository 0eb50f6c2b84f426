//! Tells the program what it was built from: the commit, the compiler and its flags. Every fact may be missing: a
//! build outside git, or with a compiler that does not say its name, is a build all the same.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let root = here.parent().unwrap_or(&here);
    watch(root);
    if let Some((commit, is_dirty)) = commit(root) {
        tell("COMMIT", &commit);
        tell("DIRTY", if is_dirty { "true" } else { "false" });
    }
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    if let Some(version) = output(Command::new(rustc).arg("--version")) {
        tell("RUSTC", &version);
    }
    for name in ["TARGET", "OPT_LEVEL", "DEBUG", "CARGO_CFG_TARGET_FEATURE"] {
        println!("cargo::rerun-if-env-changed={name}");
        tell(name, &env::var(name).unwrap_or_default());
    }
    // The flags of RUSTFLAGS and of the configuration files, parted by the unit separator.
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    tell("RUSTFLAGS", &flags.replace('\x1f', " "));
}

fn tell(name: &str, value: &str) {
    println!("cargo::rustc-env=KVLAB_{name}={}", value.replace('\n', " "));
}

/// Looks again when a source of the program changes or something is committed.
fn watch(root: &Path) {
    let mut paths = vec![root.join("Cargo.toml"), root.join("Cargo.lock"), root.join("workloads/files")];
    let engines = std::fs::read_dir(root.join("engines")).into_iter().flatten().flatten();
    let crates =
        engines.map(|entry| entry.path()).chain([root.join("bench-harness"), root.join("workloads")]);
    paths.extend(crates.flat_map(|path| [path.join("src"), path.join("Cargo.toml")]));
    if let Some(log) = git(root, &["rev-parse", "--git-path", "logs/HEAD"]) {
        paths.push(root.join(log));
    }
    // A path that is not there would make cargo run this every time.
    for path in paths.iter().filter(|path| path.exists()) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

/// The commit of the repository whose top is `root`, and whether tracked files differ from it.
fn commit(root: &Path) -> Option<(String, bool)> {
    let top = PathBuf::from(git(root, &["rev-parse", "--show-toplevel"])?);
    // A copy of the sources inside a foreign repository has no commit of its own.
    if top.canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    let commit = git(root, &["rev-parse", "HEAD"])?;
    let changes = git(root, &["--no-optional-locks", "status", "--porcelain", "--untracked-files=no"])?;
    Some((commit, !changes.is_empty()))
}

fn git(root: &Path, args: &[&str]) -> Option<String> {
    output(Command::new("git").arg("-C").arg(root).args(args))
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
