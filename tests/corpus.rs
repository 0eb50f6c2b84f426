//! What fuzzing found interesting, run again: every input of `fuzz/corpus` and those that fuzzing begins with. Each ends
//! in answers or typed errors, whatever it says, within the bars on memory and time.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tests::bars;
use tests::fuzz::{TARGETS, corpus};
use tests::share::tell;

/// No file of a case is longer.
const FILE_BYTES: u64 = 256 << 10;

/// Runs one target over all its inputs.
fn replay(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of that name");
    let mut inputs: Vec<_> =
        (target.seeds)().into_iter().enumerate().map(|(n, bytes)| (format!("seed {n}"), bytes)).collect();
    assert!(!inputs.is_empty(), "{name} has nothing to begin with");
    let files = fs::read_dir(corpus(name)).expect("a folder of committed inputs");
    for entry in files {
        let path = entry.expect("an entry").path();
        inputs.push((path.display().to_string(), fs::read(&path).expect("reads")));
    }
    inputs.sort();
    let mut most = bars::Used::default();
    // What is made once for all cases is no case's own.
    (target.run)(&[]);
    for (name, bytes) in &inputs {
        let (run, used) = bars::used(|| catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))));
        used.check(FILE_BYTES, name);
        most = most.max(used);
        assert!(
            run.is_ok(),
            "broken by {name}; repeat with: cargo test -p tests --test corpus {}",
            target.name
        );
    }
    tell(&format!(
        "{}: {} inputs replayed, at most {} bytes held, {:?}",
        target.name,
        inputs.len(),
        most.bytes_max,
        most.cpu
    ));
}

macro_rules! replays {
    ($($target:ident),+) => { $( #[test] fn $target() { replay(stringify!($target)); } )+ };
}

replays!(open_dir_image, table, page, wal, manifest, ops_vs_model, ops_and_faults);
