//! What repetitions allow one to say: ratios with intervals, and whether a run was steady. Pure functions over
//! numbers; nothing here measures.

pub mod ratio;
pub mod rng;
pub mod steady;

pub use ratio::{Interval, Verdict, log_ratio, mean_interval, unpaired_ratio};
pub use steady::{Steady, judge};
