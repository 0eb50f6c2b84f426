//! Target `ops_vs_model`: bytes as settings and steps, done on both engines and on a `BTreeMap`.
//!
//! `| settings 4 | step | step | ...`      step = `| what u8 | ... |`, see [`step`]

use kv_api::{Background, Batch, Direction, Durability, KeyRange, OwnedRange, Result};
use std::ops::Bound;

use super::input::Input;
use crate::driver::Driver;
use crate::knobs::Knobs;
use crate::lab::{Engine, Lab};
use crate::steps::Step;

/// More steps than this tell nothing new.
const STEPS_MAX: usize = 120;
/// A batch stays far below what the smallest budget allows.
const BATCH_BYTES_MAX: usize = 6 << 10;

/// Inputs to begin with: some of every step, under different settings.
pub fn seeds() -> Vec<Vec<u8>> {
    let spread = |n: u32| (n.wrapping_mul(0x9E37_79B9) >> 13) as u8;
    (0..24_u32).map(|seed| (0..40 + seed * 12).map(|n| spread(n + seed * 977)).collect()).collect()
}

/// The target.
pub fn ops_vs_model(bytes: &[u8]) {
    for engine in Engine::STORED {
        let mut input = Input::new(bytes);
        let lab = Lab::simulated(engine, knobs(&mut input), 1);
        let mut run = || -> Result<()> {
            let mut driver = Driver::open(&lab)?;
            for _ in 0..STEPS_MAX {
                if input.is_empty() {
                    break;
                }
                driver.step(&step(&mut input))?;
            }
            driver.finish(engine.name())
        };
        if let Err(error) = run() {
            panic!("{}: on a disk without faults: {error}", engine.name());
        }
    }
}

/// Settings between hostile and sane.
pub fn knobs(input: &mut Input<'_>) -> Knobs {
    let (sizes, memory, lsm, filter) = (input.byte(), input.byte(), input.byte(), input.byte());
    let pick = |byte: u8, shift: u8, choices: [u64; 4]| choices[usize::from(byte >> shift & 3)];
    let mut knobs = Knobs::hostile();
    knobs.common.background = Background::Inline;
    knobs.common.memory_budget = pick(memory, 0, [64 << 10, 64 << 10, 256 << 10, 1 << 20]);
    knobs.common.wal_bytes_max = Some(64 << 10).filter(|_| memory & 4 != 0);
    knobs.page_bytes = pick(sizes, 0, [512, 512, 1024, 4096]) as usize;
    knobs.memtable_bytes = pick(sizes, 2, [4 << 10, 1 << 10, 2 << 10, 32 << 10]);
    knobs.block_bytes = pick(sizes, 4, [512, 512, 4096, 4096]);
    knobs.table_bytes = pick(lsm, 0, [4 << 10, 4 << 10, 8 << 10, 64 << 10]);
    knobs.size_ratio = pick(lsm, 2, [2, 2, 3, 10]);
    knobs.filter_bits = pick(filter, 0, [10, 0, 1, 10]) as u32;
    knobs
}

/// One of 256 keys: empty, of 0xFF, behind a long common prefix, long, or short and close together.
fn key(input: &mut Input<'_>) -> Vec<u8> {
    let n = input.byte();
    match n {
        0 => Vec::new(),
        1..8 => vec![0xFF; usize::from(n)],
        8..16 => [&[b'k'; 60][..], &[n]].concat(),
        16..96 => format!("a/common/prefix/{:03}", n / 2).into_bytes(),
        96..128 => vec![b'z', n, 0],
        _ => vec![n & 0x7F],
    }
}

fn value(input: &mut Input<'_>) -> Vec<u8> {
    let n = usize::from(input.byte());
    let len = if n < 200 { n / 2 } else { (n - 200) * 70 };
    vec![n as u8; len]
}

fn range(input: &mut Input<'_>) -> OwnedRange {
    let kinds = input.byte();
    let mut bound = |kind: u8| match kind & 3 {
        0 => Bound::Unbounded,
        1 => Bound::Excluded(key(input)),
        _ => Bound::Included(key(input)),
    };
    OwnedRange { start: bound(kinds), end: bound(kinds >> 2) }
}

fn batch(input: &mut Input<'_>) -> Batch {
    let mut batch = Batch::new();
    for _ in 0..1 + input.below(6) {
        let before = batch.clone();
        match input.below(8) {
            0 => drop(batch.delete_range(range(input).as_range())),
            1 | 2 => drop(batch.delete(&key(input))),
            _ => {
                let (key, value) = (key(input), value(input));
                batch.put(&key, &value);
            }
        }
        if batch.encoded().len() > BATCH_BYTES_MAX {
            batch = before;
        }
    }
    batch
}

fn direction(input: &mut Input<'_>) -> Direction {
    if input.byte() & 1 == 0 { Direction::Forward } else { Direction::Reverse }
}

/// The next step.
pub fn step(input: &mut Input<'_>) -> Step {
    match input.below(32) {
        0 => Step::Flush,
        1 => Step::Sync,
        2 => Step::Settle,
        3 => Step::Compact(range(input)),
        4 => Step::Compact(KeyRange::ALL.to_owned_range()),
        5 => Step::Reopen { close: input.byte() & 1 == 0 },
        6 | 7 => {
            let mut entries: Vec<_> = (0..input.below(12)).map(|_| (key(input), value(input))).collect();
            entries.sort();
            entries.dedup_by(|a, b| a.0 == b.0);
            Step::Ingest(entries)
        }
        8 | 9 => Step::Get((0..1 + input.below(4)).map(|_| key(input)).collect()),
        10 | 11 => Step::Scan {
            range: range(input),
            direction: direction(input),
            seeks: (0..input.below(3)).map(|_| key(input)).collect(),
        },
        12 | 13 => Step::Snapshot(input.below(4)),
        14 | 15 => {
            let seek = if input.byte() & 1 == 0 { None } else { Some(key(input)) };
            Step::LiveScan { slot: input.below(3), range: range(input), direction: direction(input), seek }
        }
        _ => {
            let level = input.pick(&[Durability::Memory, Durability::Os, Durability::Disk, Durability::Os]);
            Step::Write(batch(input), level)
        }
    }
}
