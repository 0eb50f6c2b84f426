//! Changed files of a small database are opened and worked on: see `tests::fuzz::image`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzz::image::open_dir_image(bytes));
