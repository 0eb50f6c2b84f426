//! Target `open_dir_image`: the files of a small database, changed in any number of places, are opened and worked on.
//!
//! `| base u8 | flags u8 | edit | edit | ...`      edit = `| op u8 | file u8 | ... |`, see `edit`
//!
//! Whatever the files say, nothing panics and every error is typed. If all can be read and `verify` finds nothing, the
//! database is one: scans both ways and gets agree, and a write is there after the next opening.

use std::sync::{Arc, OnceLock};

use kv_api::{Direction, Durability, Error, ErrorKind, KeyRange, Kv, Result, ScanOptions};
use kv_io::layout::{FileKind, IDENTITY_FILE};
use kv_io::sim::SimVfs;
use kv_io::{Env, Vfs};

use super::input::Input;
use super::seal;
use crate::damage::{Left, Patient, put_file};
use crate::lab::{Engine, Lab};
use crate::{Knobs, Map, check};

/// Files are not made longer than this.
const FILE_BYTES_MAX: usize = 256 << 10;
/// More edits than this tell nothing new.
const EDITS_MAX: usize = 24;
/// Places are named by rows of so many bytes that hold something.
const ROW: usize = 32;

/// Leaves the checksums wrong.
const UNSEALED: u8 = 1;
/// Opens read-only.
const READ_ONLY: u8 = 2;

type Files = Vec<(String, Vec<u8>)>;

/// A database to be changed.
pub struct Base {
    /// Which engine wrote it.
    pub engine: Engine,
    /// Its files, the lock file left out.
    pub files: Files,
}

/// One database of each engine for each way to leave one.
pub fn bases() -> &'static [Base] {
    static BASES: OnceLock<Vec<Base>> = OnceLock::new();
    BASES.get_or_init(|| {
        let all = Engine::STORED.into_iter().flat_map(|engine| Left::ALL.map(|left| (engine, left)));
        let base = |(engine, left)| {
            let patient = Patient::new(engine, left, 1).expect("an undamaged disk");
            Base { engine, files: patient.files().expect("an undamaged disk") }
        };
        all.map(base).collect()
    })
}

/// The salt of `base`.
pub fn salt_of(base: &Base) -> u64 {
    let identity = base.files.iter().find(|(name, _)| name == IDENTITY_FILE);
    seal::salt_of(identity.map_or(&[], |(_, bytes)| bytes))
}

/// Inputs to begin with: every base unchanged, and one change of each kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let bases = 0..bases().len() as u8;
    bases.flat_map(|base| (0..10).map(move |op| vec![base, 0, op, 1, 3, 0, 5, 2, 0xFF, 0x40])).collect()
}

/// The target.
pub fn open_dir_image(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let base = &bases()[input.below(bases().len())];
    let flags = input.byte();
    let mut files = base.files.clone();
    for _ in 0..EDITS_MAX {
        if input.is_empty() {
            break;
        }
        edit(&mut input, &mut files);
    }
    if flags & UNSEALED == 0 {
        reseal(base, &mut files);
    }
    let disk = SimVfs::new(1);
    let mut lab =
        Lab::over(base.engine, Knobs::hostile(), Env::simulated(Arc::clone(&disk) as Arc<dyn Vfs>, 1));
    lab.knobs.common.read_only = flags & READ_ONLY != 0;
    disk.create_dir(lab.dir(), kv_api::Cause::Verify).expect("a fresh disk");
    for (name, bytes) in &files {
        put_file(&*disk, &lab.dir().join(name), bytes);
    }
    if let Err(error) = use_it(&lab) {
        typed(&error);
    }
}

/// Makes all checksums right.
pub fn reseal(base: &Base, files: &mut Files) {
    let identity = files.iter().find(|(name, _)| name == IDENTITY_FILE);
    let salt = identity.map_or_else(|| salt_of(base), |(_, bytes)| seal::salt_of(bytes));
    for (name, bytes) in files {
        let before = base.files.iter().find(|(known, _)| known == name).map_or(&[][..], |(_, bytes)| bytes);
        seal::file(name, bytes, before, salt, Knobs::hostile().page_bytes);
    }
}

/// A place in `bytes`, by one of the rows that are not all zeros.
fn place(input: &mut Input<'_>, bytes: &[u8]) -> usize {
    let row = usize::from(input.short());
    let used: Vec<usize> = bytes
        .chunks(ROW)
        .enumerate()
        .filter(|(_, row)| row.iter().any(|byte| *byte != 0))
        .map(|(n, _)| n)
        .collect();
    let at = used.get(row % used.len().max(1)).copied().unwrap_or(0) * ROW + input.below(ROW);
    at.min(bytes.len().saturating_sub(1))
}

fn write(bytes: &mut [u8], at: usize, part: &[u8]) {
    bytes.iter_mut().skip(at).zip(part).for_each(|(to, from)| *to = *from);
}

/// Makes one change.
fn edit(input: &mut Input<'_>, files: &mut Files) {
    let op = input.below(10);
    let file = input.below(files.len());
    let other = files.clone();
    let Some((name, bytes)) = files.get_mut(file) else { return };
    match op {
        0 => {
            let at = place(input, bytes);
            write(bytes, at, input.prefixed());
        }
        1 => {
            let at = place(input, bytes);
            write(bytes, at, &[other[file].1.get(at).unwrap_or(&0) ^ input.byte()]);
        }
        2 => {
            let at = place(input, bytes);
            let number =
                input.pick(&[0_u64, 1, 2, 3, 1 << 7, 1 << 16, 1 << 31, 1 << 32, 1 << 56, 1 << 62, u64::MAX]);
            let number = number.wrapping_sub(u64::from(input.byte() & 1));
            write(bytes, at, &number.to_le_bytes()[..input.pick(&[1, 2, 4, 8])]);
        }
        3 => {
            let len = usize::from(input.short()) * input.pick(&[1, 8, 512]) % FILE_BYTES_MAX;
            bytes.resize(len, 0);
        }
        4 | 5 => {
            let unit = input.pick(&[64, 512, 4096]);
            let (from, to) = (place(input, &other[file].1) / unit * unit, place(input, bytes) / unit * unit);
            let source = if op == 4 { &other[file].1 } else { &other[input.below(other.len())].1 };
            let part = source.get(from..(from + unit).min(source.len())).unwrap_or_default();
            write(bytes, to, part);
        }
        6 => drop(files.remove(file)),
        7 | 8 => {
            let name = match input.below(6) {
                5 => IDENTITY_FILE.to_owned(),
                4 => "MANIFEST.new".to_owned(),
                kind => FileKind::ALL[kind].name(u64::from(input.byte()) % 12),
            };
            let bytes = bytes.clone();
            if op == 7 {
                files.remove(file);
                files.retain(|(known, _)| *known != name);
            }
            if !files.iter().any(|(known, _)| *known == name) {
                files.push((name, bytes));
            }
        }
        _ => {
            let keep = name != IDENTITY_FILE;
            let part = input.prefixed();
            bytes.resize(if keep { bytes.len() } else { part.len() }, 0);
            write(bytes, 0, part);
        }
    }
}

/// All entries in the order of a scan, right or not.
fn entries(kv: &dyn Kv) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    check::rest(&mut *kv.scan(KeyRange::ALL, ScanOptions::FORWARD)?)
}

/// Opens, reads everything in every way, and writes.
fn use_it(lab: &Lab) -> Result<()> {
    let kv = lab.engine.open(&lab.env, lab.dir(), &lab.knobs)?;
    let found = entries(&*kv);
    for direction in [Direction::Forward, Direction::Reverse] {
        let mut scan = kv.scan(KeyRange::ALL, ScanOptions { direction })?;
        scan.seek(b"key0100")?;
        scan.next()?;
    }
    for key in [b"key0000".as_slice(), b"key0025", b"large", b"l\x07", b"m\x03", b"", b"\xFF\xFF"] {
        if let Err(error) = kv.get(key) {
            typed(&error);
        }
    }
    let sound = kv.verify()?.is_sound();
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            typed(&error);
            assert!(!sound, "a scan fails, and yet verify found nothing: {error}");
            return work(&*kv);
        }
    };
    if sound {
        assert!(found.is_sorted_by(|a, b| a.0 < b.0), "verify found nothing, and keys are out of order");
    }
    let found: Map = found.into_iter().collect();
    if sound {
        check::holds(&*kv, &found, "verify found nothing").expect("reads what verify read");
    }
    work(&*kv)?;
    if !sound || lab.knobs.common.read_only {
        return Ok(());
    }
    let mut expected = found;
    expected.insert(b"new".to_vec(), vec![1; 700]);
    expected.retain(|key, _| !(b"key0050".as_slice()..b"key0060".as_slice()).contains(&key.as_slice()));
    check::holds(&*kv, &expected, "after the work on a sound database").expect("reads");
    drop(kv);
    let kv = lab.engine.open(&lab.env, lab.dir(), &lab.knobs).expect("opens after the work");
    check::holds(&*kv, &expected, "after the second opening").expect("reads");
    assert!(kv.verify().expect("looks").is_sound(), "the work broke a sound database");
    Ok(())
}

/// Writes, moves all to files, merges.
fn work(kv: &dyn Kv) -> Result<()> {
    let held = kv.snapshot()?;
    kv.put(b"new", &[1; 700], Durability::Disk)?;
    kv.delete_range(KeyRange::from(b"key0050".as_slice()..b"key0060".as_slice()), Durability::Os)?;
    kv.flush()?;
    drop(held.get(b"key0055"));
    drop(held);
    kv.settle(std::time::Duration::from_secs(10))?;
    match kv.compact(KeyRange::ALL) {
        Err(error) if error.kind() != ErrorKind::Unsupported => Err(error),
        _ => kv.sync(),
    }
}

/// Stops unless the error is one that damaged files may lead to.
pub fn typed(error: &Error) {
    let kinds = [
        ErrorKind::Corruption,
        ErrorKind::Io,
        ErrorKind::FormatVersion,
        ErrorKind::WrongEngine,
        ErrorKind::InvalidOptions,
        ErrorKind::NoDatabase,
        ErrorKind::Poisoned,
        ErrorKind::ReadOnly,
    ];
    assert!(kinds.contains(&error.kind()), "{:?}: {error}", error.kind());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Were a place wrong where a checksum stands, sealing would break what is whole.
    #[test]
    fn sealing_what_is_whole_changes_nothing() {
        for base in bases() {
            let mut files = base.files.clone();
            // As if every page had changed: those that were none stay as they are.
            for ((name, bytes), (_, before)) in files.iter_mut().zip(&base.files) {
                seal::file(name, bytes, before, salt_of(base), Knobs::hostile().page_bytes);
                assert!(bytes == before, "{}: sealing changes {name}", base.engine.name());
            }
        }
    }

    /// Were a checksum left out, a sealed change would look like damage.
    #[test]
    fn a_sealed_change_is_not_taken_for_a_wrong_checksum() {
        for base in bases() {
            for (file, (name, bytes)) in base.files.iter().enumerate() {
                let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
                let tried = (0..used).step_by(1 + used / 60);
                let refused = tried.filter(|at| {
                    let mut files = base.files.clone();
                    files[file].1[*at] ^= 0x55;
                    reseal(base, &mut files);
                    let disk = SimVfs::new(1);
                    let env = Env::simulated(Arc::clone(&disk) as Arc<dyn Vfs>, 1);
                    let lab = Lab::over(base.engine, Knobs::hostile(), env);
                    disk.create_dir(lab.dir(), kv_api::Cause::Verify).expect("a fresh disk");
                    for (name, bytes) in &files {
                        put_file(&*disk, &lab.dir().join(name), bytes);
                    }
                    let opened = lab.engine.open(&lab.env, lab.dir(), &lab.knobs);
                    let read = opened.and_then(|kv| entries(&*kv));
                    read.is_err_and(|error| error.to_string().contains("checksum"))
                });
                let (refused, most) = (refused.count(), 9);
                assert!(
                    refused <= most,
                    "{}, {name}: {refused} sealed changes are refused",
                    base.engine.name()
                );
            }
        }
    }
}
