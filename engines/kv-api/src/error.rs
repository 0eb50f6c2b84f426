//! One error type for every engine: each message names the action, the file, the place and what to do next.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The result of every operation of the contract.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, where, and with what cause.
#[non_exhaustive]
#[derive(Debug)]
pub enum Error {
    /// A call to the file system failed.
    Io {
        /// What was being done, as a verb phrase: "write a frame to".
        action: &'static str,
        /// The file or directory it was done to.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Bytes read from a file are not the bytes that were written.
    Corruption {
        /// The damaged file.
        path: PathBuf,
        /// Byte offset of the damaged structure in that file.
        offset: u64,
        /// What does not hold, as a sentence part: "checksum is 9c1e77aa, expected 03d2f10b".
        what: Cow<'static, str>,
    },
    /// An earlier failure left the outcome of a write unknown; this handle takes no more of them.
    Poisoned {
        /// The message of the error that poisoned the handle.
        cause: Arc<str>,
    },
    /// Another handle, in this process or another, has the directory open.
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The file system is full. Nothing that was acknowledged is lost.
    NoSpace {
        /// What was being done.
        action: &'static str,
        /// The file that could not grow.
        path: PathBuf,
    },
    /// The key is longer than this engine's limit.
    KeyTooLarge {
        /// Length of the key in bytes.
        bytes: u64,
        /// The longest key that would be taken, in bytes.
        limit: u64,
    },
    /// The value is longer than this engine's limit.
    ValueTooLarge {
        /// Length of the value in bytes.
        bytes: u64,
        /// The longest value that would be taken, in bytes.
        limit: u64,
    },
    /// The batch is larger than this engine's limit.
    BatchTooLarge {
        /// Encoded size of the batch in bytes.
        bytes: u64,
        /// The largest batch that would be taken, in bytes.
        limit: u64,
    },
    /// The directory was written by a version whose format this one cannot read.
    FormatVersion {
        /// The file that tells the version.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The version that this build reads and writes.
        supported: u32,
    },
    /// The directory belongs to another engine.
    WrongEngine {
        /// The directory.
        path: PathBuf,
        /// The engine that wrote it.
        found: String,
        /// The engine that was asked to open it.
        expected: String,
    },
    /// There is no database where one was expected.
    NoDatabase {
        /// The directory.
        path: PathBuf,
    },
    /// An option has a value that cannot be used.
    InvalidOptions {
        /// The option's name.
        option: Cow<'static, str>,
        /// Why, and which values would do.
        reason: String,
    },
    /// The handle was opened read-only.
    ReadOnly {
        /// What was attempted.
        action: &'static str,
    },
    /// This engine does not do that.
    Unsupported {
        /// What was asked for, and what to do instead.
        action: &'static str,
    },
    /// The handle was closed.
    Closed,
}

/// The kind of an [`Error`], for callers that decide by kind and do not need the place.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each kind is the variant of `Error` with the same name")]
pub enum ErrorKind {
    Io,
    Corruption,
    Poisoned,
    Locked,
    NoSpace,
    KeyTooLarge,
    ValueTooLarge,
    BatchTooLarge,
    FormatVersion,
    WrongEngine,
    NoDatabase,
    InvalidOptions,
    ReadOnly,
    Unsupported,
    Closed,
}

impl Error {
    /// An error of the operating system; a full disk or an exhausted quota becomes [`Error::NoSpace`].
    pub fn io(action: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::NoSpace { action, path },
            _ => Error::Io { action, path, source },
        }
    }

    /// Damage found in `path` at byte `offset`.
    pub fn corruption(path: impl AsRef<Path>, offset: u64, what: impl Into<Cow<'static, str>>) -> Self {
        Error::Corruption { path: path.as_ref().to_path_buf(), offset, what: what.into() }
    }

    /// An option that cannot be used, and why.
    pub fn invalid(option: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Error::InvalidOptions { option: option.into(), reason: reason.into() }
    }

    /// What later callers get after `self` poisoned the handle.
    pub fn to_poisoned(&self) -> Self {
        match self {
            Error::Poisoned { cause } => Error::Poisoned { cause: Arc::clone(cause) },
            other => Error::Poisoned { cause: Arc::from(other.to_string()) },
        }
    }

    /// The kind of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Io { .. } => ErrorKind::Io,
            Error::Corruption { .. } => ErrorKind::Corruption,
            Error::Poisoned { .. } => ErrorKind::Poisoned,
            Error::Locked { .. } => ErrorKind::Locked,
            Error::NoSpace { .. } => ErrorKind::NoSpace,
            Error::KeyTooLarge { .. } => ErrorKind::KeyTooLarge,
            Error::ValueTooLarge { .. } => ErrorKind::ValueTooLarge,
            Error::BatchTooLarge { .. } => ErrorKind::BatchTooLarge,
            Error::FormatVersion { .. } => ErrorKind::FormatVersion,
            Error::WrongEngine { .. } => ErrorKind::WrongEngine,
            Error::NoDatabase { .. } => ErrorKind::NoDatabase,
            Error::InvalidOptions { .. } => ErrorKind::InvalidOptions,
            Error::ReadOnly { .. } => ErrorKind::ReadOnly,
            Error::Unsupported { .. } => ErrorKind::Unsupported,
            Error::Closed => ErrorKind::Closed,
        }
    }
}

impl Clone for Error {
    /// Group commit hands one failure to every waiter. An `io::Error` cannot be cloned, so the copy carries the
    /// same code (or, without one, the same kind and message).
    fn clone(&self) -> Self {
        match self {
            Error::Io { action, path, source } => {
                let source = match source.raw_os_error() {
                    Some(code) => io::Error::from_raw_os_error(code),
                    None => io::Error::new(source.kind(), source.to_string()),
                };
                Error::Io { action, path: path.clone(), source }
            }
            Error::Corruption { path, offset, what } => {
                Error::Corruption { path: path.clone(), offset: *offset, what: what.clone() }
            }
            Error::Poisoned { cause } => Error::Poisoned { cause: Arc::clone(cause) },
            Error::Locked { path } => Error::Locked { path: path.clone() },
            Error::NoSpace { action, path } => Error::NoSpace { action, path: path.clone() },
            Error::KeyTooLarge { bytes, limit } => Error::KeyTooLarge { bytes: *bytes, limit: *limit },
            Error::ValueTooLarge { bytes, limit } => Error::ValueTooLarge { bytes: *bytes, limit: *limit },
            Error::BatchTooLarge { bytes, limit } => Error::BatchTooLarge { bytes: *bytes, limit: *limit },
            Error::FormatVersion { path, found, supported } => {
                Error::FormatVersion { path: path.clone(), found: *found, supported: *supported }
            }
            Error::WrongEngine { path, found, expected } => {
                Error::WrongEngine { path: path.clone(), found: found.clone(), expected: expected.clone() }
            }
            Error::NoDatabase { path } => Error::NoDatabase { path: path.clone() },
            Error::InvalidOptions { option, reason } => {
                Error::InvalidOptions { option: option.clone(), reason: reason.clone() }
            }
            Error::ReadOnly { action } => Error::ReadOnly { action },
            Error::Unsupported { action } => Error::Unsupported { action },
            Error::Closed => Error::Closed,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { action, path, source } => write!(f, "cannot {action} {}: {source}", path.display()),
            Error::Corruption { path, offset, what } => write!(
                f,
                "{} is damaged at byte {offset}: {what}; restore it from a backup, or run `kvlab verify` to see \
                 what else is damaged",
                path.display()
            ),
            Error::Poisoned { cause } => write!(
                f,
                "this handle takes no more writes after an earlier failure ({cause}); close and reopen it to \
                 recover: the failed write will be there whole or not at all"
            ),
            Error::Locked { path } => {
                write!(f, "{} is open in another handle or process; close that one first", path.display())
            }
            Error::NoSpace { action, path } => write!(
                f,
                "no space left to {action} {}; free some space and try again (no acknowledged write is lost)",
                path.display()
            ),
            Error::KeyTooLarge { bytes, limit } => {
                write!(f, "the key has {bytes} bytes, this engine takes at most {limit}; shorten the key")
            }
            Error::ValueTooLarge { bytes, limit } => write!(
                f,
                "the value has {bytes} bytes, this engine takes at most {limit}; split it, or raise the memory \
                 budget"
            ),
            Error::BatchTooLarge { bytes, limit } => write!(
                f,
                "the batch has {bytes} bytes, this engine takes at most {limit}; split it, or raise the memory \
                 budget"
            ),
            Error::FormatVersion { path, found, supported } => write!(
                f,
                "{} has format version {found}, this build reads version {supported}; open it with the build that \
                 wrote it, dump it there and load it here",
                path.display()
            ),
            Error::WrongEngine { path, found, expected } => write!(
                f,
                "{} was written by engine `{found}`, not `{expected}`; open it with `{found}`",
                path.display()
            ),
            Error::NoDatabase { path } => write!(
                f,
                "there is no database in {}; check the path, or ask for one to be created",
                path.display()
            ),
            Error::InvalidOptions { option, reason } => write!(f, "option `{option}`: {reason}"),
            Error::ReadOnly { action } => {
                write!(f, "cannot {action}: the database was opened read-only; open it for writing")
            }
            Error::Unsupported { action } => write!(f, "this engine does not support {action}"),
            Error::Closed => write!(f, "the database was closed; open it again"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Io { source, .. } => source.kind(),
            Error::Corruption { .. } | Error::FormatVersion { .. } => io::ErrorKind::InvalidData,
            Error::NoSpace { .. } => io::ErrorKind::StorageFull,
            Error::NoDatabase { .. } => io::ErrorKind::NotFound,
            Error::KeyTooLarge { .. }
            | Error::ValueTooLarge { .. }
            | Error::BatchTooLarge { .. }
            | Error::InvalidOptions { .. } => io::ErrorKind::InvalidInput,
            Error::Unsupported { .. } => io::ErrorKind::Unsupported,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_its_own_kind_and_keeps_action_and_path() {
        let full =
            Error::io("write a table to", "db/000007.tbl", io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.kind(), ErrorKind::NoSpace);
        assert!(full.to_string().contains("write a table to db/000007.tbl"), "{full}");
    }

    #[test]
    fn poison_keeps_the_first_cause() {
        let first = Error::corruption("db/3.pages", 4096, "checksum is 1, expected 2");
        let second = first.to_poisoned();
        let third = second.to_poisoned();
        assert_eq!(second.to_string(), third.to_string());
        assert!(third.to_string().contains("3.pages is damaged at byte 4096"), "{third}");
    }

    #[test]
    fn a_clone_says_what_the_original_says() {
        let original = Error::io("sync", "wal", io::Error::from_raw_os_error(5));
        assert_eq!(original.clone().to_string(), original.to_string());
        assert_eq!(original.clone().kind(), original.kind());
    }
}
