//! Damaged files: single bytes of a small database are flipped, files are cut short. Opening, scanning and every get
//! then give the right answer or a typed error: never a wrong value, a lost one, or a panic. Of a log that nobody closed
//! the last sync group may be cut, if recovery says so. What is right can be written to and opened again.

use kv_api::Result;
use tests::damage::{Left, Patient, overwrite, resize};
use tests::share::by_share;
use tests::{Engine, each_stored_engine};

each_stored_engine!(
    every_kth_byte_flipped_in_data_files,
    every_kth_byte_flipped_in_the_log,
    every_kth_byte_flipped_after_a_kill,
    every_kth_length
);

/// Flips every k-th byte of the files that `wanted` picks.
fn flip(engine: Engine, left: Left, stride: usize, wanted: impl Fn(&str) -> bool) -> Result<Patient> {
    let mut patient = Patient::new(engine, left, 1)?;
    for (name, bytes) in patient.files()?.into_iter().filter(|(name, _)| wanted(name)) {
        // The tail of a preallocated log is zeros: a few places in it stand for all.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let places = (0..used).step_by(stride).chain((used..bytes.len()).step_by(9973));
        for at in places {
            let byte = [bytes[at] ^ if at % 3 == 0 { 0x01 } else { 0xFF }];
            let context = format!("{left:?}, {name}: byte {at} of {}", bytes.len());
            patient.damaged(&context, |disk, dir| overwrite(disk, &dir.join(&name), at, &byte));
        }
    }
    println!("{}, {left:?}: {:?}", engine.name(), patient.tally);
    Ok(patient)
}

fn every_kth_byte_flipped_in_data_files(engine: Engine) -> Result<()> {
    let patient = flip(engine, Left::Flushed, by_share(13, 1, 1), |name| !name.ends_with(".wal"))?;
    patient.expect(|tally| tally.refused > tally.right / 20, "hardly any damage was found");
    Ok(())
}

fn every_kth_byte_flipped_in_the_log(engine: Engine) -> Result<()> {
    let patient = flip(engine, Left::Logged, by_share(13, 1, 1), |name| name.ends_with(".wal"))?;
    patient.expect(|tally| tally.refused > 0 && tally.cut == 0, "no damage was found");
    Ok(())
}

fn every_kth_byte_flipped_after_a_kill(engine: Engine) -> Result<()> {
    let patient = flip(engine, Left::Killed, by_share(61, 1, 1), |_| true)?;
    patient.expect(
        |tally| tally.refused > 0 && tally.cut > 0,
        "the last sync group cannot be told from a torn one",
    );
    let patient = flip(engine, Left::Ingested, by_share(61, 1, 1), |_| true)?;
    patient.expect(|tally| tally.refused > 0 && tally.cut == 0, "no damage was found");
    Ok(())
}

/// Cuts the files of a closed database, with its entries in data files and with its entries in the log; and those of one
/// that was killed after an ingest.
fn every_kth_length(engine: Engine) -> Result<()> {
    for left in [Left::Flushed, Left::Logged, Left::Ingested] {
        let mut patient = Patient::new(engine, left, 1)?;
        for (name, bytes) in patient.files()? {
            let stride = (bytes.len() / by_share(40, 400, 4000)).max(1);
            for len in (0..bytes.len()).step_by(stride) {
                let context = format!("{left:?}, {name}: cut to {len} of {}", bytes.len());
                patient.damaged(&context, |disk, dir| resize(disk, &dir.join(&name), len as u64));
            }
        }
        println!("{}, {left:?}: {:?}", engine.name(), patient.tally);
        patient.expect(|tally| tally.refused > 0, "no damage was found");
    }
    Ok(())
}
