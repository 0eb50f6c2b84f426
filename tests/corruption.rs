//! Damaged files: single bytes of a small closed database are flipped, files are cut short. Opening, scanning and
//! every get then give the right answer or a typed error: never a wrong value, a lost one, or a panic.

use kv_api::Result;
use tests::damage::{Left, Patient, Tally, overwrite, resize};
use tests::share::by_share;
use tests::{Engine, each_stored_engine};

each_stored_engine!(
    every_kth_byte_flipped_in_data_files,
    every_kth_byte_flipped_in_the_log,
    every_kth_length
);

/// Flips every k-th byte of the files that `wanted` picks.
fn flip(engine: Engine, left: Left, stride: usize, wanted: impl Fn(&str) -> bool) -> Result<Tally> {
    let mut patient = Patient::new(engine, left, 1)?;
    for (name, bytes) in patient.files()?.into_iter().filter(|(name, _)| wanted(name)) {
        // The tail of a preallocated log is zeros: a few places in it stand for all.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let places = (0..used).step_by(stride).chain((used..bytes.len()).step_by(9973));
        for at in places {
            let byte = [bytes[at] ^ if at % 3 == 0 { 0x01 } else { 0xFF }];
            let context = format!("{name}: byte {at} of {}", bytes.len());
            patient.damaged(&context, |disk, dir| overwrite(disk, &dir.join(&name), at, &byte));
        }
    }
    println!("{}: {:?}", engine.name(), patient.tally);
    Ok(patient.tally)
}

fn every_kth_byte_flipped_in_data_files(engine: Engine) -> Result<()> {
    let tally = flip(engine, Left::Flushed, by_share(13, 1, 1), |name| !name.ends_with(".wal"))?;
    assert!(tally.refused > tally.right / 20, "hardly any damage was found: {tally:?}");
    Ok(())
}

fn every_kth_byte_flipped_in_the_log(engine: Engine) -> Result<()> {
    let tally = flip(engine, Left::Logged, by_share(13, 1, 1), |name| name.ends_with(".wal"))?;
    assert!(tally.refused > 0, "no damage was found: {tally:?}");
    Ok(())
}

/// Cuts the files of a closed database, with its entries in data files and with its entries in the log.
fn every_kth_length(engine: Engine) -> Result<()> {
    for left in [Left::Flushed, Left::Logged] {
        let mut patient = Patient::new(engine, left, 1)?;
        for (name, bytes) in patient.files()? {
            let stride = (bytes.len() / by_share(40, 400, 4000)).max(1);
            for len in (0..bytes.len()).step_by(stride) {
                let context = format!("{left:?}, {name}: cut to {len} of {}", bytes.len());
                patient.damaged(&context, |disk, dir| resize(disk, &dir.join(&name), len as u64));
            }
        }
        println!("{}, {left:?}: {:?}", engine.name(), patient.tally);
        assert!(patient.tally.refused > 0, "no damage was found: {:?}", patient.tally);
    }
    Ok(())
}
