//! What this program was built from, as `build.rs` of the package found it.

/// The command line that repeats what this process does. The program is told by its name: where it lay says nothing to
/// whoever reads a result elsewhere.
pub fn command_line() -> Vec<String> {
    let mut words: Vec<_> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    if let Some(program) = words.first_mut() {
        *program = program.rsplit('/').next().unwrap_or_default().to_owned();
    }
    words
}

/// What a reader needs to build the same program again. `None`: the build could not tell.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Build {
    /// Version of kvlab.
    pub version: String,
    /// The git commit.
    pub commit: Option<String>,
    /// True if tracked files differed from the commit.
    pub dirty: Option<bool>,
    /// The compiler, as `rustc --version` tells it.
    pub rustc: Option<String>,
    /// "release" or "debug": whether debug assertions are on. With them times mean nothing.
    pub profile: String,
    /// Optimisation level of the profile; the rest of it stands in `Cargo.toml` at the commit.
    pub opt_level: String,
    /// The machine that the code was made for.
    pub target: String,
    /// Processor features that the compiler was allowed to use.
    pub target_features: String,
    /// Flags from the environment and the configuration of cargo; empty for none.
    pub rustflags: String,
}

impl Build {
    /// This program.
    pub fn of_this_program() -> Build {
        let told = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        Build {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: told(option_env!("KVLAB_COMMIT")),
            dirty: option_env!("KVLAB_DIRTY").and_then(|word| word.parse().ok()),
            rustc: told(option_env!("KVLAB_RUSTC")),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            opt_level: env!("KVLAB_OPT_LEVEL").to_owned(),
            target: env!("KVLAB_TARGET").to_owned(),
            target_features: env!("KVLAB_CARGO_CFG_TARGET_FEATURE").to_owned(),
            rustflags: env!("KVLAB_RUSTFLAGS").to_owned(),
        }
    }

    /// Version, commit, profile and compiler in a few words.
    pub fn summary(&self) -> String {
        let commit =
            self.commit.as_deref().map_or("commit unknown", |commit| commit.get(..12).unwrap_or(commit));
        let dirty = if self.dirty == Some(true) { " with changes" } else { "" };
        let flags = if self.rustflags.is_empty() { String::new() } else { format!(" {}", self.rustflags) };
        let rustc = self.rustc.as_deref().unwrap_or("rustc unknown");
        // The compiler's own commit says nothing that its version does not.
        let rustc = rustc.split(" (").next().unwrap_or(rustc);
        format!("kvlab {} ({commit}{dirty}), {}{flags}, {rustc}", self.version, self.profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_says_its_commit_and_whether_it_differs_from_it() {
        let mut build = Build::of_this_program();
        build.commit = Some("0123456789abcdef".to_owned());
        build.dirty = Some(true);
        build.rustc = Some("rustc 1.95.0 (59807616e 2026-04-14)".to_owned());
        let summary = build.summary();
        assert!(
            summary.contains("(0123456789ab with changes)") && summary.ends_with("rustc 1.95.0"),
            "{summary}"
        );
        build.commit = None;
        build.dirty = None;
        assert!(build.summary().contains("(commit unknown)"), "{}", build.summary());
        assert!(!build.target.is_empty() && !build.opt_level.is_empty());
    }
}
