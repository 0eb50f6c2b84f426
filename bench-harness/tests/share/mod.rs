//! How much of the tests that end processes to run, `KVLAB_TESTS=quick|ci|long`, and what they tell of it.

use std::io::Write as _;

use workloads::rng::mix64;

/// One of three numbers, by the share asked for. An unknown word stops the test.
pub fn by_share(quick: u64, ci: u64, long: u64) -> u64 {
    match std::env::var("KVLAB_TESTS").as_deref() {
        Err(_) | Ok("quick" | "") => quick,
        Ok("ci") => ci,
        Ok("long") => long,
        Ok(other) => panic!("KVLAB_TESTS is `{other}`; it must be quick, ci or long"),
    }
}

/// Prints how much a passing test tried, or why it was skipped, whatever the test harness captures.
pub fn tell(line: &str) {
    // A closed stream is no reason to fail a test.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Numbers that follow from a seed, others in each test.
pub struct Dice(u64);

impl Dice {
    /// For one seed of a test.
    pub fn new(test: &str, seed: u64) -> Dice {
        Dice(test.bytes().fold(seed, |state, byte| mix64(state ^ u64::from(byte))))
    }

    /// One of the numbers below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix64(self.0) % bound
    }
}
