//! The experiments that no workload can do, by the word of a claim's file. Each gives the cases of its test.

mod burst;
mod capacity;
mod device;
mod pages;
mod power;
mod rate;
mod shares;
mod store;
mod temperature;

use std::path::Path;

use super::case::{Case, Sample};
use crate::error::Result;
use crate::registry::Registry;
use crate::sys::interrupt::Interrupt;

/// What an experiment may use.
pub struct Ground<'a> {
    /// The engines.
    pub registry: &'a Registry,
    /// Where it may make databases; below it, in folders that it removes.
    pub dir: &'a Path,
    /// Set by the user: the experiment then ends early, and what it gives is not kept.
    pub interrupt: &'a Interrupt,
    /// Memory budget of an engine, in bytes.
    pub memory_bytes: u64,
    /// How often what hangs on chance is repeated.
    pub repeats: u32,
    /// True at lab size.
    pub is_lab: bool,
}

/// What an experiment found.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Observed {
    /// The test it was done for.
    pub test: String,
    /// What the verdict rests on.
    pub cases: Vec<Case>,
    /// What else was seen, a line each.
    pub facts: Vec<String>,
}

/// An experiment.
#[derive(Debug)]
pub struct Builtin {
    /// The word for it.
    pub word: &'static str,
    /// What its cases are.
    pub about: &'static str,
    /// Does it.
    pub run: fn(&Ground<'_>) -> Result<Observed>,
}

macro_rules! builtins {
    ($($word:literal, $about:literal, $run:path;)*) => {
        static BUILTINS: &[Builtin] = &[$(Builtin { word: $word, about: $about, run: $run }),*];
        impl Builtin {
            /// Every word.
            pub const WORDS: &'static [&'static str] = &[$($word),*];
        }
    };
}

builtins! {
    "key-shares", "share of requests that go to the most popular fifth of the keys", shares::run;
    "device", "bytes a second front to back over those anywhere", device::run;
    "pages-per-write", "pages that one write rewrites", pages::run;
    "temperature-hot-p99", "p99 of hot reads over 10 ms", temperature::hot_p99;
    "temperature-touching", "reads that touch storage over blocks that do", temperature::touching;
    "sustained-writes", "the rate that a B+tree keeps up with over 10,000 a second", rate::run;
    "burst", "what was measured of a burst over what the arithmetic says", burst::run;
    "power-cut-unsynced", "largest share of acknowledged writes that a power cut took", power::unsynced;
    "power-cut-synced", "largest share of acknowledged writes that a power cut took", power::synced;
    "capacity", "what the template computes over what it says", capacity::run;
}

impl Builtin {
    /// The experiment of this word.
    pub fn find(word: &str) -> Option<&'static Builtin> {
        BUILTINS.iter().find(|builtin| builtin.word == word)
    }
}

/// A case of an experiment; the name of the test is put in by whoever asked for it.
fn case(label: impl Into<String>, sample: Sample) -> Case {
    Case { test: String::new(), label: label.into(), group: String::new(), at: None, sample }
}
