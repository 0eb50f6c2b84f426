//! What can be wrong with a workload file, each in one line that names the file, the line and what to write.

use std::fmt;

/// A workload file that cannot be used.
#[derive(Debug)]
pub struct SpecError {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a workload file.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// The file cannot be read.
    Read(std::io::Error),
    /// The text is no TOML.
    Syntax(String),
    /// A key that the format does not have.
    UnknownKey {
        /// The key.
        key: String,
        /// The table it stands in.
        section: &'static str,
        /// The keys the table may have.
        known: &'static [&'static str],
    },
    /// A word that the key does not take.
    UnknownWord {
        /// The key.
        key: &'static str,
        /// The word.
        word: String,
        /// The words the key takes.
        known: &'static [&'static str],
    },
    /// A value of the wrong type.
    WrongType {
        /// The key.
        key: &'static str,
        /// What it takes.
        expected: &'static str,
        /// What the file has.
        found: &'static str,
    },
    /// A key that must be given is not.
    Missing {
        /// The key.
        key: &'static str,
        /// The table it belongs to.
        section: &'static str,
    },
    /// A value that makes no sense.
    Invalid {
        /// The key.
        key: &'static str,
        /// Why.
        why: String,
    },
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Read(source) => write!(f, "cannot read the workload file: {source}"),
            Problem::Syntax(message) => write!(f, "not TOML: {}", message.replace('\n', " ")),
            Problem::UnknownKey { key, section, known } => {
                write!(f, "unknown key \"{key}\" in {section}; {}", suggestion(key, known))
            }
            Problem::UnknownWord { key, word, known } => {
                write!(f, "unknown {key} \"{word}\"; {}", suggestion(word, known))
            }
            Problem::WrongType { key, expected, found } => {
                write!(f, "\"{key}\" must be {expected}, not {found}")
            }
            Problem::Missing { key, section } => write!(f, "\"{key}\" is missing in {section}"),
            Problem::Invalid { key, why } => write!(f, "\"{key}\" {why}"),
        }
    }
}

impl std::error::Error for SpecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Read(source) => Some(source),
            _ => None,
        }
    }
}

fn suggestion(word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("known: {}", known.join(", ")),
    }
}

/// The candidate with the fewest edits from `word`, if that takes fewer than half of its letters.
///
/// ```
/// assert_eq!(workloads::error::nearest("recods", &["records", "ops"]), Some("records"));
/// assert_eq!(workloads::error::nearest("zzz", &["records", "ops"]), None);
/// ```
pub fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let best = candidates.iter().min_by_key(|candidate| edits(word, candidate))?;
    (2 * edits(word, best) <= word.chars().count().max(best.len())).then_some(*best)
}

/// Insertions, deletions and replacements that turn `a` into `b` (Wagner and Fischer, 1974).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
