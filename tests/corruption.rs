//! Damaged files: bytes of a small database are flipped, files are cut short. Opening, scanning, gets and `verify` then
//! give the right answer or a typed error: never a wrong value, a lost one, or a panic. Of a log that nobody closed the
//! last sync group may be cut, if recovery says so. What is right can be written to and opened again. No case takes more
//! memory or time than [`tests::bars`] allow.
//!
//! `KVLAB_TESTS=ci` tries every byte of every file and every length of each, in shards that run side by side.

use kv_api::Result;
use tests::damage::{Left, Patient, overwrite, resize};
use tests::share::{by_share, tell};
use tests::{Engine, each_stored_engine};

each_stored_engine!(
    bytes_flipped_in_data_files,
    bytes_flipped_in_the_log,
    bytes_flipped_after_a_kill,
    bytes_flipped_in_groups_after_a_kill,
    bytes_flipped_after_an_ingest,
    lengths_of_a_closed_database,
    lengths_after_a_kill,
    lengths_of_groups_after_a_kill,
    lengths_after_an_ingest
);

/// What a byte becomes: turned round altogether, or one bit of it.
const MASKS: [u8; 3] = [0xff, 0x01, 0x80];

/// Bytes of a file up to its last one that is not zero: behind them lies what was written ahead.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Flips every `stride`-th byte of the files that `wanted` picks, by the first mask; every eighth of these by the others
/// too, or each if the share is long.
fn flip(engine: Engine, left: Left, stride: usize, wanted: impl Fn(&str) -> bool) -> Result<Patient> {
    let mut patient = Patient::new(engine, left, 1)?;
    // After a kill the log is what matters, and `Grouped` has that; the other masks of the rest are for the long share.
    let is_rest = matches!(left, Left::Killed | Left::Ingested);
    let masks_step = by_share(8, if is_rest { usize::MAX } else { 8 }, 1);
    // The quick share has a few places stand for all the zeros.
    let tail_stride = by_share(9973, 1, 1);
    for (name, bytes) in patient.files()?.into_iter().filter(|(name, _)| wanted(name)) {
        let used = used(&bytes);
        let places = (0..used).step_by(stride).chain((used..bytes.len()).step_by(tail_stride));
        for (nth, at) in places.enumerate() {
            let masks = if nth % masks_step == 0 { &MASKS[..] } else { &MASKS[..1] };
            for mask in masks {
                let context = format!("{left:?}, {name}: byte {at} of {} ^ {mask:#04x}", bytes.len());
                patient.damaged(&context, |disk, dir| {
                    overwrite(disk, &dir.join(&name), at, &[bytes[at] ^ mask])
                });
            }
        }
    }
    told(&patient, left, "flips");
    Ok(patient)
}

/// Cuts every file to every `stride`-th length.
fn cut(engine: Engine, left: Left, parts: usize) -> Result<Patient> {
    let mut patient = Patient::new(engine, left, 1)?;
    for (name, bytes) in patient.files()? {
        let stride = (bytes.len() / parts).max(1);
        for len in (0..bytes.len()).step_by(stride) {
            let context = format!("{left:?}, {name}: cut to {len} of {}", bytes.len());
            patient.damaged(&context, |disk, dir| resize(disk, &dir.join(&name), len as u64));
        }
    }
    told(&patient, left, "lengths");
    Ok(patient)
}

fn told(patient: &Patient, left: Left, what: &str) {
    let (engine, tally) = (patient.engine.name(), &patient.tally);
    tell(&format!(
        "corruption: {engine}, {left:?}: {} {what}: {} right, {} refused, {} cut and reported; at most {} KiB and {:.1} \
         ms a case, {:.0} s of processor time",
        tally.cases(),
        tally.right,
        tally.refused,
        tally.cut,
        tally.most.bytes_max >> 10,
        tally.most.cpu.as_secs_f64() * 1e3,
        tally.cpu.as_secs_f64()
    ));
}

fn bytes_flipped_in_data_files(engine: Engine) -> Result<()> {
    let patient = flip(engine, Left::Flushed, by_share(13, 1, 1), |_| true)?;
    patient.expect(|tally| tally.refused > tally.right / 20, "hardly any damage was found");
    patient.expect(|tally| tally.cut == 0, "a closed database has no torn tail");
    Ok(())
}

fn bytes_flipped_in_the_log(engine: Engine) -> Result<()> {
    let patient = flip(engine, Left::Logged, by_share(13, 1, 1), |name| name.ends_with(".wal"))?;
    patient.expect(|tally| tally.refused > 0 && tally.cut == 0, "no damage was found");
    Ok(())
}

fn bytes_flipped_after_a_kill(engine: Engine) -> Result<()> {
    let patient = flip(engine, Left::Killed, by_share(97, 1, 1), |_| true)?;
    patient.expect(
        |tally| tally.refused > 0 && tally.cut > 0,
        "the last sync group cannot be told from a torn one",
    );
    Ok(())
}

fn bytes_flipped_in_groups_after_a_kill(engine: Engine) -> Result<()> {
    let patient = flip(engine, Left::Grouped, by_share(97, 1, 1), |name| name.ends_with(".wal"))?;
    patient.expect(|tally| tally.refused > 0 && tally.cut > 0, "the last sync group may be cut");
    Ok(())
}

fn bytes_flipped_after_an_ingest(engine: Engine) -> Result<()> {
    let patient = flip(engine, Left::Ingested, by_share(97, 1, 1), |_| true)?;
    patient.expect(|tally| tally.refused > 0 && tally.cut == 0, "no damage was found");
    Ok(())
}

fn lengths_of_a_closed_database(engine: Engine) -> Result<()> {
    for left in [Left::Flushed, Left::Logged] {
        let patient = cut(engine, left, by_share(40, usize::MAX, usize::MAX))?;
        patient.expect(|tally| tally.refused > 0 && tally.cut == 0, "no damage was found");
    }
    Ok(())
}

fn lengths_after_a_kill(engine: Engine) -> Result<()> {
    let patient = cut(engine, Left::Killed, by_share(20, usize::MAX, usize::MAX))?;
    patient.expect(|tally| tally.refused > 0, "no damage was found");
    Ok(())
}

fn lengths_of_groups_after_a_kill(engine: Engine) -> Result<()> {
    let patient = cut(engine, Left::Grouped, by_share(20, 2000, usize::MAX))?;
    patient.expect(|tally| tally.refused > 0, "no damage was found");
    Ok(())
}

fn lengths_after_an_ingest(engine: Engine) -> Result<()> {
    let patient = cut(engine, Left::Ingested, by_share(20, usize::MAX, usize::MAX))?;
    patient.expect(|tally| tally.refused > 0 && tally.cut == 0, "no damage was found");
    Ok(())
}
