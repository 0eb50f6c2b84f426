//! Damaged files: single bytes of a small closed database are flipped, files are cut short. Opening, scanning and
//! every get then give the right answer or a typed error: never a wrong value, a lost one, or a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use kv_api::{Cause, Durability, ErrorKind, KeyRange, Result};
use kv_io::sim::{CrashPolicy, SimVfs};
use kv_io::vfs::OpenOptions;
use kv_io::{Env, Vfs};
use tests::crash::files_of;
use tests::share::by_share;
use tests::{Engine, Knobs, Lab, Map, check, each_stored_engine};

each_stored_engine!(
    every_kth_byte_flipped_in_data_files,
    every_kth_byte_flipped_in_the_log,
    every_kth_length
);

fn lab_over(engine: Engine, disk: &Arc<SimVfs>) -> Lab {
    Lab::over(engine, Knobs::hostile(), Env::simulated(Arc::clone(disk) as Arc<dyn Vfs>, 1))
}

/// A closed database with every kind of file; `flushed` moves its entries out of the log.
fn database(engine: Engine, flushed: bool) -> Result<(Arc<SimVfs>, Map)> {
    let disk = SimVfs::new(1);
    let lab = lab_over(engine, &disk);
    let db = lab.open()?;
    for n in 0..150_u32 {
        db.put(format!("key{n:04}").as_bytes(), &vec![n as u8; 60 + n as usize % 7], Durability::Os)?;
    }
    db.delete_range(KeyRange::from(b"key0020".as_slice()..b"key0030".as_slice()), Durability::Os)?;
    db.delete(b"key0100", Durability::Os)?;
    db.put(b"large", &[7; 5000], Durability::Os)?;
    if flushed {
        db.flush()?;
        db.settle(std::time::Duration::from_secs(60))?;
    }
    let map = check::contents(&*db)?;
    db.close()?;
    Ok((disk, map))
}

/// What a damaged database did.
#[derive(Debug, Default)]
struct Tally {
    right: u64,
    refused: u64,
}

/// Reads everything there is: the right answer, or a typed error.
fn read_all(lab: &Lab, expected: &Map, context: &str) -> bool {
    let typed = |error: &kv_api::Error| {
        let kinds = [
            ErrorKind::Corruption,
            ErrorKind::Io,
            ErrorKind::FormatVersion,
            ErrorKind::WrongEngine,
            ErrorKind::InvalidOptions,
            ErrorKind::NoDatabase,
        ];
        assert!(kinds.contains(&error.kind()), "{context}: {:?}: {error}", error.kind());
    };
    let kv = match lab.engine.open(&lab.env, lab.dir(), &lab.knobs) {
        Ok(kv) => kv,
        Err(error) => {
            typed(&error);
            return false;
        }
    };
    let mut all = true;
    match check::contents(&*kv) {
        Ok(found) => assert!(found == *expected, "{context}: a scan gives wrong contents without an error"),
        Err(error) => {
            typed(&error);
            all = false;
        }
    }
    for (key, value) in expected {
        match kv.get(key) {
            Ok(found) => {
                let same = found.as_deref() == Some(value.as_slice());
                assert!(same, "{context}: get {} gives a wrong value without an error", key.escape_ascii());
            }
            Err(error) => {
                typed(&error);
                all = false;
            }
        }
    }
    if let Ok(report) = kv.verify() {
        assert!(all || !report.is_sound(), "{context}: reads failed, and yet verify found nothing");
    }
    all
}

/// Damages one file of a copy of the disk and reads everything.
fn damaged(
    engine: Engine,
    disk: &SimVfs,
    map: &Map,
    path: &Path,
    damage: impl FnOnce(&dyn Vfs),
    tally: &mut Tally,
    what: &str,
) {
    let copy = disk.crash(CrashPolicy::KeepAll);
    damage(&*copy);
    let context = format!("{}: {what}", path.display());
    let lab = lab_over(engine, &copy);
    let read = catch_unwind(AssertUnwindSafe(|| read_all(&lab, map, &context)));
    match read.unwrap_or_else(|_| panic!("{context}: panicked")) {
        true => tally.right += 1,
        false => tally.refused += 1,
    }
}

/// Flips every k-th byte of the files that `wanted` picks.
fn flip(engine: Engine, flushed: bool, stride: usize, wanted: impl Fn(&str) -> bool) -> Result<Tally> {
    let (disk, map) = database(engine, flushed)?;
    let dir = lab_over(engine, &disk).dir().to_path_buf();
    let mut tally = Tally::default();
    for (name, bytes) in files_of(&*disk, &dir)?.into_iter().filter(|(name, _)| wanted(name)) {
        let path = dir.join(&name);
        // The tail of a preallocated log is zeros: a few places in it stand for all.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let places = (0..used).step_by(stride).chain((used..bytes.len()).step_by(9973));
        for at in places {
            let flip = |vfs: &dyn Vfs| {
                let file = vfs.open(&path, OpenOptions::WRITE, Cause::Verify).expect("opens");
                let byte = [bytes[at] ^ if at % 3 == 0 { 0x01 } else { 0xFF }];
                file.write_at(at as u64, &[std::io::IoSlice::new(&byte)], Cause::Verify).expect("writes");
            };
            damaged(engine, &disk, &map, &path, flip, &mut tally, &format!("byte {at} of {}", bytes.len()));
        }
    }
    println!("{}: {tally:?}", engine.name());
    Ok(tally)
}

fn every_kth_byte_flipped_in_data_files(engine: Engine) -> Result<()> {
    let tally = flip(engine, true, by_share(13, 1, 1), |name| !name.ends_with(".wal") && name != "LOCK")?;
    assert!(tally.refused > tally.right / 20, "hardly any damage was found: {tally:?}");
    Ok(())
}

fn every_kth_byte_flipped_in_the_log(engine: Engine) -> Result<()> {
    let tally = flip(engine, false, by_share(13, 1, 1), |name| name.ends_with(".wal"))?;
    assert!(tally.refused > 0, "no damage was found: {tally:?}");
    Ok(())
}

fn every_kth_length(engine: Engine) -> Result<()> {
    let (disk, map) = database(engine, true)?;
    let dir = lab_over(engine, &disk).dir().to_path_buf();
    let mut tally = Tally::default();
    for (name, bytes) in files_of(&*disk, &dir)?.into_iter().filter(|(name, _)| name != "LOCK") {
        let path = dir.join(&name);
        for len in (0..bytes.len()).step_by((bytes.len() / by_share(40, 400, 4000)).max(1)) {
            let cut = |vfs: &dyn Vfs| {
                let file = vfs.open(&path, OpenOptions::WRITE, Cause::Verify).expect("opens");
                file.set_len(len as u64, Cause::Verify).expect("cuts");
            };
            damaged(engine, &disk, &map, &path, cut, &mut tally, &format!("cut to {len} of {}", bytes.len()));
        }
    }
    println!("{}: {tally:?}", engine.name());
    assert!(tally.refused > 0, "no damage was found: {tally:?}");
    Ok(())
}
