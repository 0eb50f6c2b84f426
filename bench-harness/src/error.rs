//! What a command fails with: one line for people and the exit code for scripts.

use std::fmt;
use std::path::Path;

/// Why the process ends with something else than 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Exit {
    /// A run or a command failed.
    Failed,
    /// A wrong argument, or a file that cannot be used.
    Usage,
    /// A cross-check failed: the numbers are stamped INVALID.
    Check,
    /// Damage was found in a database.
    Damage,
    /// Ctrl-C or a termination signal.
    Interrupted,
}

impl Exit {
    /// The exit code.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Check => 3,
            Exit::Damage => 4,
            Exit::Interrupted => 130,
        }
    }
}

/// A failure: what, where, and what to do, in one line.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The exit code it asks for.
    pub exit: Exit,
    /// The line.
    pub message: String,
}

/// The result of a command or a part of it.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// A run or command that failed.
    pub fn failed(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Failed, message: message.into() }
    }

    /// A wrong argument or an unusable file.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Usage, message: message.into() }
    }

    /// A call to the operating system that failed.
    pub fn io(action: &str, path: impl AsRef<Path>, error: &std::io::Error) -> Failure {
        Failure::failed(format!("cannot {action} {}: {error}{}", path.as_ref().display(), remedy(error)))
    }

    /// The same failure as one of the arguments: the user named what cannot be used.
    pub fn of_argument(self) -> Failure {
        Failure { exit: Exit::Usage, ..self }
    }

    /// The same failure with `context` in front.
    pub fn within(mut self, context: impl fmt::Display) -> Failure {
        self.message = format!("{context}: {}", self.message);
        self
    }
}

/// What to do about an error of the operating system, with what leads to it; empty where only the user can know.
fn remedy(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::PermissionDenied => "; check who may use it, or name another place",
        ErrorKind::NotFound => "; check the path, and make the directory it lies in",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => "; a file is in the way: name another place",
        ErrorKind::IsADirectory => "; name a file in it",
        ErrorKind::ReadOnlyFilesystem => "; it is mounted read-only: name another place",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; free some space, or name another place",
        _ => "",
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Messages of parsers may span lines; the contract is one line.
        let mut lines = self.message.lines().map(str::trim).filter(|line| !line.is_empty());
        f.write_str(lines.next().unwrap_or("unknown failure"))?;
        lines.try_for_each(|line| write!(f, " {line}"))
    }
}

impl std::error::Error for Failure {}

impl From<kv_api::Error> for Failure {
    fn from(error: kv_api::Error) -> Failure {
        use kv_api::ErrorKind;
        let exit = match error.kind() {
            ErrorKind::Corruption => Exit::Damage,
            ErrorKind::InvalidOptions
            | ErrorKind::NoDatabase
            | ErrorKind::WrongEngine
            | ErrorKind::FormatVersion
            | ErrorKind::KeyTooLarge
            | ErrorKind::ValueTooLarge => Exit::Usage,
            _ => Exit::Failed,
        };
        let remedy = match &error {
            kv_api::Error::Io { source, .. } => remedy(source),
            _ => "",
        };
        Failure { exit, message: format!("{error}{remedy}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_system_says_what_to_do() {
        let refused = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let ours = Failure::io("read", "db", &refused()).of_argument();
        assert_eq!(ours.exit.code(), 2);
        let of_an_engine = Failure::from(kv_api::Error::io("list", "db", refused()));
        for message in [ours.to_string(), of_an_engine.to_string()] {
            assert!(message.contains(" db: ") && message.ends_with("name another place"), "{message}");
        }
    }

    #[test]
    fn a_failure_is_one_line_and_damage_has_its_own_code() {
        let failure = Failure::usage("first\n  second\n").within("workload x");
        assert_eq!(failure.to_string(), "workload x: first second");
        let damage = Failure::from(kv_api::Error::corruption("db/1.tbl", 0, "checksum is 1, expected 2"));
        assert_eq!(damage.exit.code(), 4);
    }
}
