//! A page or a meta: see `tests::fuzz::parts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzz::parts::page(bytes));
