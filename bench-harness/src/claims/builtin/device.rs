//! Sequential against random requests of the device, by the probes of the calibration.

use super::{Ground, Observed, case};
use crate::calibrate::probes::{Rate, take};
use crate::calibrate::source::Source;
use crate::claims::case::Sample;
use crate::error::Result;
use crate::units::{bytes, count};

pub fn run(ground: &Ground<'_>) -> Result<Observed> {
    let source = Source::of(ground.dir);
    let mut taken = Vec::new();
    for _ in 0..ground.repeats {
        taken.push(take(ground.dir, &source, ground.interrupt)?);
        if ground.interrupt.is_set() {
            return Ok(Observed::default());
        }
    }
    let (mut cases, mut facts) = (Vec::new(), Vec::new());
    for writes in [true, false] {
        for depth in [1, 32] {
            let of = |rates: &[Rate], sequential: bool| {
                let mut found = rates.iter().filter(|rate| rate.writes == writes && rate.depth == depth);
                found.find(|rate| rate.sequential == sequential).copied()
            };
            let pairs: Vec<(Rate, Rate)> = taken
                .iter()
                .filter_map(|probes| Some((of(&probes.rates, true)?, of(&probes.rates, false)?)))
                .collect();
            let label = format!("{}, {depth} at a time", if writes { "writes" } else { "reads" });
            if let Some((whole, parts)) = pairs.first() {
                facts.push(format!(
                    "{label}, the first time: {}/s front to back in pieces of {}, {} requests/s of {} anywhere",
                    bytes(whole.bytes_per_s() as u64),
                    bytes(whole.request_bytes),
                    count(parts.per_second as u64),
                    bytes(parts.request_bytes)
                ));
            }
            let rates = pairs.iter().map(|(whole, parts)| (whole.bytes_per_s(), parts.bytes_per_s()));
            cases.push(case(label, Sample::Paired(rates.collect())));
        }
    }
    if taken.iter().any(|probes| !probes.rates_are_direct) {
        facts.push("there is no direct I/O here: the page cache is part of these rates".to_owned());
    }
    Ok(Observed { cases, facts, ..Observed::default() })
}
