//! Golden bytes: a tiny database of each engine, made on a simulated disk where salt, uuid and time follow from the
//! seed, gives the same files, byte by byte, as the ones in `golden/`; and those still open.
//!
//! A changed format needs a new version number, not a new golden file. `KVLAB_GOLDEN=write` writes them anew.

use std::fmt::Write as _;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kv_api::{Cause, Durability, KeyRange, Result};
use kv_io::vfs::OpenOptions;
use kv_io::{Env, SimVfs, Vfs};
use tests::crash::files_of;
use tests::{Engine, Knobs, Lab, Map, check, each_stored_engine};

each_stored_engine!(files_are_the_golden_ones, golden_files_still_open);

fn lab_over(engine: Engine, disk: &Arc<SimVfs>) -> Lab {
    Lab::over(engine, Knobs::hostile(), Env::simulated(Arc::clone(disk) as Arc<dyn Vfs>, 1))
}

/// A database with entries in data files and in the log, left without a close: every format occurs.
fn database(engine: Engine) -> Result<(Arc<SimVfs>, Map)> {
    let disk = SimVfs::new(1);
    let lab = lab_over(engine, &disk);
    let db = lab.open()?;
    db.put(b"", b"the empty key", Durability::Disk)?;
    db.put(b"apple", b"red", Durability::Disk)?;
    db.put(b"banana", b"", Durability::Disk)?;
    db.put(b"large", &[b'x'; 2000], Durability::Disk)?;
    db.delete(b"nothing", Durability::Disk)?;
    db.delete_range(KeyRange::from(b"p".as_slice()..b"q".as_slice()), Durability::Disk)?;
    db.flush()?;
    db.put(b"cherry", b"dark red", Durability::Disk)?;
    db.delete(b"apple", Durability::Disk)?;
    db.delete_range(KeyRange::from(b"x".as_slice()..), Durability::Disk)?;
    let map = check::contents(&*db)?;
    Ok((disk, map))
}

fn golden(engine: Engine) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{}.hex", engine.name()))
}

/// All files as text: 32 bytes a line with their offset, lines of nothing but zeros left out.
fn dump(files: &[(String, Vec<u8>)]) -> String {
    let mut text = String::new();
    for (name, bytes) in files {
        writeln!(text, "file {name} {}", bytes.len()).expect("a string grows");
        for (row, line) in bytes.chunks(32).enumerate().filter(|(_, line)| line.iter().any(|byte| *byte != 0))
        {
            let hex: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "{:06x} {hex}", row * 32).expect("a string grows");
        }
    }
    text
}

/// The files that a text describes.
fn parse(text: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for line in text.lines() {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["file", name, len] => files.push((name.to_owned(), vec![0; len.parse().expect("a length")])),
            [offset, hex] => {
                let (_, bytes) = files.last_mut().expect("a file line comes first");
                let offset = usize::from_str_radix(offset, 16).expect("an offset");
                for (at, pair) in hex.as_bytes().chunks(2).enumerate() {
                    let digits = std::str::from_utf8(pair).expect("ASCII");
                    bytes[offset + at] = u8::from_str_radix(digits, 16).expect("two digits");
                }
            }
            _ => panic!("a line that is neither a file nor bytes: {line}"),
        }
    }
    files
}

fn files_are_the_golden_ones(engine: Engine) -> Result<()> {
    let (disk, _) = database(engine)?;
    let text = dump(&files_of(&*disk, lab_over(engine, &disk).dir())?);
    if std::env::var("KVLAB_GOLDEN").as_deref() == Ok("write") {
        std::fs::create_dir_all(golden(engine).with_file_name("")).expect("makes the folder");
        std::fs::write(golden(engine), &text).expect("writes the golden file");
    }
    let expected = std::fs::read_to_string(golden(engine)).expect("a golden file");
    let mut file = "";
    for (now, before) in text.lines().zip(expected.lines()) {
        if let Some(name) = before.strip_prefix("file ") {
            file = name;
        }
        assert_eq!(now, before, "in {file}: the format changed; give it a new version");
    }
    assert_eq!(text.lines().count(), expected.lines().count(), "a file or a part of one came or went");
    Ok(())
}

fn golden_files_still_open(engine: Engine) -> Result<()> {
    let (_, map) = database(engine)?;
    let disk = SimVfs::new(2);
    let lab = lab_over(engine, &disk);
    disk.create_dir(lab.dir(), Cause::Recovery)?;
    for (name, bytes) in parse(&std::fs::read_to_string(golden(engine)).expect("a golden file")) {
        if name != "LOCK" {
            let file = disk.open(&lab.dir().join(name), OpenOptions::NEW, Cause::Recovery)?;
            file.write_at(0, &[IoSlice::new(&bytes)], Cause::Recovery)?;
        }
    }
    let db = lab.open()?;
    check::holds(&*db, &map, "the golden database")?;
    db.put(b"new", b"entry", Durability::Disk)?;
    db.flush()
}
