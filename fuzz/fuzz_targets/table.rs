//! A table file, opened and walked: see `tests::fuzz::parts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzz::parts::table(bytes));
