//! Suites that hold every engine to the contract: what they share.
//!
//! | suite | question |
//! |---|---|
//! | `conformance` | does every engine keep every promise of `kv-api`, one small test each? |
//! | `model` | do thousands of random operations leave what a `BTreeMap` holds? |
//! | `lockstep` | do two engines, or one under two settings, end with the same contents? |
//! | `history` | could one thread have seen what eight at once saw? |
//! | `schedules` | and in one order of threads after another, chosen by a model checker? |
//! | `crash` | is a state from before the crash there, with every write that must survive it? |
//! | `kept` | and when a process with it is really killed, again and again? |
//! | `faults` | do failing calls and a full disk lead to typed errors and to no loss? |
//! | `soak` | does anything grow, or go wrong, when it runs for long and calls fail now and then? |
//! | `limits` | do large offsets, many tables, odd paths and floods of empty values work? |
//! | `real` | what about quotas, few handles, odd modes, a full disk, second processes? |
//! | `corruption` | is damage to any file found, never returned? |
//! | `wal` | and damage to frames of the log: blank, doubled, swapped, left out, foreign? |
//! | `misplaced` | and a file that is missing, stale, renamed, copied or of another database? |
//! | `corpus` | does what fuzzing once found still hold? |
//! | `format` | are the bytes on disk those of the last version? |
//! | `amplification` | does the meter count exactly what moved? |
//! | `scripts` | is what a student sees what happens? |
//! | `tidy` | is the source as the house rules ask? |
//!
//! `cargo test` runs the quick share; `KVLAB_TESTS=ci|long` widens the same tests, `KVLAB_SEED=n` runs one seed.
//! `cargo run -p tests --example seeded_bugs` plants bugs in the engines and tells which suite finds each.
//! Every test that opens an engine ends with [`kv_api::Kv::verify`]: [`Checked`] sees to it.

pub mod bars;
pub mod check;
pub mod checked;
pub mod crash;
pub mod damage;
pub mod driver;
pub mod faulty;
pub mod flaky;
pub mod fuzz;
pub mod knobs;
pub mod lab;
pub mod leaks;
pub mod linear;
pub mod map;
#[cfg(any(feature = "peers", feature = "rocksdb"))]
pub mod peers;
mod planted;
pub mod rng;
pub mod script;
pub mod shape_text;
pub mod share;
pub mod steps;
pub mod watch;

pub use checked::Checked;
pub use knobs::Knobs;
pub use lab::{Engine, Lab};
pub use map::Map;
pub use rng::Rng;

/// True, with the reason printed, if `engine` lacks what `test` asks for. Only engines made by others lack anything.
pub fn is_skipped(engine: Engine, test: &str) -> bool {
    #[cfg(any(feature = "peers", feature = "rocksdb"))]
    if let Some(reason) = peers::skipped(engine, test) {
        println!("skipped: {}::{test}: {reason}", engine.name());
        return true;
    }
    let _ = (engine, test);
    false
}
