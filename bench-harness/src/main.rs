//! The `kvlab` binary: the library with the engines of the laboratory.

use std::process::ExitCode;

fn main() -> ExitCode {
    bench_harness::main_with(bench_harness::Registry::standard())
}
