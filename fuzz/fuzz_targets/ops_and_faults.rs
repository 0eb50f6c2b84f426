//! Steps on a disk that fails, and a crash: see `tests::fuzz::faults`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzz::faults::ops_and_faults(bytes));
