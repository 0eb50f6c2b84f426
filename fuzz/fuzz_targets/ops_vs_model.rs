//! Steps on both engines and on a map: see `tests::fuzz::ops`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzz::ops::ops_vs_model(bytes));
