//! `dump` and `load`: a whole database as lines, and back, byte for byte.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use kv_api::{Batch, Durability, KeyRange, Kv, ScanOptions};
use serde_json::json;

use super::lines::{Line, Notation, end};
use super::open::{Access, Target};
use crate::error::{Exit, Failure, Result};
use crate::output::Output;
use crate::registry::Registry;

/// A batch of a load is written when it has this many entries or bytes.
const BATCH_ENTRIES_MAX: usize = 1000;
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Prints everything in the line format.
///
/// # Errors
/// The directory cannot be opened or read.
pub fn dump(registry: &Registry, target: &Target, hex: bool, out: &mut Output) -> Result<Option<Exit>> {
    let notation = Notation::new(hex);
    let db = target.open(registry, Access::Read)?;
    let mut line = format!("{}\n", notation.header()).into_bytes();
    let mut entries = 0;
    // One snapshot, so that the dump is the state of one moment.
    let snapshot = db.snapshot()?;
    let mut scan = snapshot.scan(KeyRange::ALL, ScanOptions::FORWARD)?;
    out.raw(&line)?;
    while let Some(entry) = scan.next()? {
        line.clear();
        notation.write_entry(entry.key, entry.value, &mut line);
        out.raw(&line)?;
        entries += 1;
        if out.is_closed() {
            break;
        }
    }
    drop((scan, snapshot));
    out.raw(format!("{}\n", end(entries)).as_bytes())?;
    db.close()?;
    Ok(None)
}

/// Reads what `dump` wrote from `file` (`-` is standard input) and puts every entry.
///
/// # Errors
/// The file is no dump or is cut short, the directory cannot be opened, or the engine refuses.
pub fn load(registry: &Registry, target: &Target, file: &Path, out: &mut Output) -> Result<Option<Exit>> {
    let input: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        let is_dir = file.is_dir().then(|| Err(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
        let opened = is_dir.unwrap_or_else(|| File::open(file));
        Box::new(opened.map_err(|error| Failure::io("read", file, &error).of_argument())?)
    };
    let mut reader =
        Lines { input: BufReader::with_capacity(1 << 20, input), file, number: 0, line: Vec::new() };
    let notation = match reader.next()? {
        Some(line) => Notation::of_header(line),
        None => Err("it is empty".to_owned()),
    };
    let notation = notation.map_err(|why| reader.wrong(&why))?;
    let db = target.open(registry, Access::Write)?;
    let entries = put_all(&*db, &mut reader, notation)?;
    db.sync()?;
    db.close()?;
    out.text(format!("{entries} entries loaded into {}", target.dir.display()))?;
    out.json(&json!({ "entries": entries }))?;
    Ok(None)
}

fn put_all<E: Kv + ?Sized>(db: &E, reader: &mut Lines<'_>, notation: Notation) -> Result<u64> {
    let limits = db.limits();
    let bytes_max = BATCH_BYTES_MAX.min(limits.batch_bytes_max / 2);
    let mut batch = Batch::new();
    let mut entries = 0;
    loop {
        let Some(line) = reader.next()? else {
            return Err(reader.wrong("it ends without an `# end` line: it was cut short"));
        };
        let line = notation.read_line(line).map_err(|why| reader.wrong(&why))?;
        let Line::Entry { key, value } = line else {
            db.write(&batch, Durability::Os)?;
            let Line::End { entries: expected } = line else { continue };
            if expected != entries {
                return Err(
                    reader.wrong(&format!("it holds {entries} entries, its last line says {expected}"))
                );
            }
            return Ok(entries);
        };
        if batch.encoded().len() + key.len() + value.len() > bytes_max && !batch.is_empty() {
            db.write(&batch, Durability::Os)?;
            batch.clear();
        }
        batch.put(&key, &value);
        entries += 1;
        if batch.len() >= BATCH_ENTRIES_MAX {
            db.write(&batch, Durability::Os)?;
            batch.clear();
        }
    }
}

/// Lines of a file that may be long and need not be UTF-8.
struct Lines<'a> {
    input: BufReader<Box<dyn Read>>,
    file: &'a Path,
    number: u64,
    line: Vec<u8>,
}

impl Lines<'_> {
    fn next(&mut self) -> Result<Option<&[u8]>> {
        self.line.clear();
        self.number += 1;
        let read = self.input.read_until(b'\n', &mut self.line);
        read.map_err(|error| Failure::io("read", self.file, &error))?;
        if self.line.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.line.strip_suffix(b"\n").unwrap_or(&self.line)))
    }

    fn wrong(&self, why: &str) -> Failure {
        Failure::usage(format!(
            "{}:{}: {why}; give a file that `kvlab dump` wrote",
            self.file.display(),
            self.number
        ))
    }
}
