//! What drawing an operation costs, so that a measurement can be told from its driver:
//! `cargo run --release -p workloads --example op_cost`.

use std::hint::black_box;
use std::time::Instant;
use workloads::{KeyKind, OpStream, Oracle, Values, toml_file};

const OPS: u32 = 4_000_000;

fn main() {
    for dist in ["uniform", "zipf", "ycsb-zipf", "latest", "hotspot", "sequential", "permutation"] {
        let text = format!(
            "schema = 1
            name = \"cost\"
            data = {{ records = 1_000_000 }}
            phase = [
                {{ kind = \"load\" }},
                {{ kind = \"measure\", ops = {{ get = 0.5, update = 0.5 }}, dist = {{ kind = \"{dist}\" }},
                   until = {{ ops = {OPS} }} }},
            ]"
        );
        let spec = toml_file::parse(dist, &text).unwrap_or_else(|error| panic!("{error}"));
        let mut oracle = Oracle::new(&spec.data, 0, 1);
        for phase in 0..2 {
            let mut stream = OpStream::new(&spec, phase, &oracle);
            let start = Instant::now();
            while let Some(op) = stream.next(&oracle) {
                oracle.acknowledge(op);
            }
            let ns = start.elapsed().as_nanos() as f64 / stream.drawn() as f64;
            println!("{dist:12} phase {phase}: {ns:6.1} ns per operation");
        }
    }
    for size in [100, 1_000, 65_536] {
        let (values, mut value, mut wrong) = (Values::new(size, 0.0), Vec::new(), 0u32);
        let rounds = 100_000_000 / u64::from(size);
        let start = Instant::now();
        for record in 0..rounds {
            let key = KeyKind::Hash16.encode(record);
            values.fill(&key, 1, &mut value);
        }
        let fill_ns = start.elapsed().as_nanos() as f64 / rounds as f64;
        let key = KeyKind::Hash16.encode(rounds - 1);
        let start = Instant::now();
        for _ in 0..rounds {
            wrong += u32::from(values.check(black_box(&key), black_box(&value)) != Ok(1));
        }
        let check_ns = start.elapsed().as_nanos() as f64 / rounds as f64;
        println!("{size:6} B values: key and fill {fill_ns:8.1} ns, check {check_ns:8.1} ns, {wrong} wrong");
    }
}
