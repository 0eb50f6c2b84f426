//! Claims: what people say of B+trees and LSM trees, each with an experiment, a predicate, and a verdict with its boundary.
//!
//! A claim is a file in `bench-harness/claims`, embedded so that the binary needs no files.
//!
//! | file | what it does |
//! |---|---|
//! | `format.rs` | the file of a claim |
//! | `metric.rs` | the numbers that a claim may be about |
//! | `select.rs` | from runs of workloads to cases: what is divided by what, and what must be equal for it |
//! | `builtin/` | the experiments that no workload can do |
//! | `case.rs` | one number with its repetitions |
//! | `verdict.rs`, `boundary.rs` | from cases to the verdict, and where a claim is true |
//! | `file.rs` | the file of results: the runs behind each verdict, which it can be derived from again |

pub mod boundary;
pub mod builtin;
pub mod case;
pub mod file;
pub mod format;
pub mod metric;
pub mod select;
pub mod verdict;

pub use file::{ClaimRecord, ClaimsFile};
pub use format::{Claim, Experiment};
pub use verdict::{Outcome, Verdict};

use crate::error::{Failure, Result};
use crate::units::nearest;

macro_rules! embedded {
    ($($id:literal),* $(,)?) => {
        &[$(($id, include_str!(concat!("../../claims/", $id, ".toml")))),*]
    };
}

static FILES: &[(&str, &str)] = embedded![
    "C01", "C02", "C03", "C04", "C05", "C06", "C07", "C08", "C09", "C10", "C11", "C12", "C13", "C18", "C19",
    "C20", "C21", "C23", "C24", "C27",
];

/// The numbers of all claims.
pub fn ids() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(id, _)| *id)
}

/// All claims, by number.
pub fn all() -> Vec<Claim> {
    FILES.iter().map(read).collect()
}

fn read((id, text): &(&str, &str)) -> Claim {
    format::parse(id, text).unwrap_or_else(|error| unreachable!("a test reads every embedded claim: {error}"))
}

/// The claims of these numbers, in whatever case they are written; all for none.
///
/// # Errors
/// There is no such claim.
pub fn find(wanted: &[String]) -> Result<Vec<Claim>> {
    if wanted.is_empty() {
        return Ok(all());
    }
    let one = |word: &String| {
        let upper = word.to_ascii_uppercase();
        let found = FILES.iter().find(|(id, _)| *id == upper).map(read);
        found.ok_or_else(|| {
            let hint = match nearest(&upper, ids()) {
                Some(near) => format!("did you mean {near}?"),
                None => "`kvlab list` shows them".to_owned(),
            };
            Failure::usage(format!("there is no claim `{word}`; {hint}"))
        })
    };
    wanted.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_read_and_has_its_own_number() {
        for (id, text) in FILES {
            let claim = format::parse(id, text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(claim.id, *id);
            assert!(!claim.seeds.is_empty(), "{id} names no text");
            let known = |seed: &String| ["000", "001", "002", "003", "004"].contains(&seed.as_str());
            assert!(claim.seeds.iter().all(known), "{id}: {:?}", claim.seeds);
        }
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/claims")).unwrap();
        let count =
            files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|e| e == "toml"));
        assert_eq!(count.count(), FILES.len(), "a claim is not embedded");
    }

    #[test]
    fn a_claim_is_found_in_any_case_and_a_wrong_number_says_what_would_do() {
        assert_eq!(find(&["c03".to_owned()]).unwrap()[0].id, "C03");
        assert_eq!(find(&[]).unwrap().len(), FILES.len());
        let failure = find(&["C033".to_owned()]).unwrap_err();
        assert_eq!(failure.exit.code(), 2);
        assert!(failure.message.contains("C03"), "{failure}");
    }
}
