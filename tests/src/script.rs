//! Golden scripts: commands that a student can read, and what the engine answered.
//!
//! ```text
//! put a=1 b=2            scan                    from=a (included) or after=a (excluded),
//! batch a=1 b            (b: deleted)            to=c (excluded) or through=c (included): as in
//! delete a b             delete_range from=a to=c   compact from=a    scan reverse=yes
//! get a b                snapshot s1   get a at=s1   scan at=s1   release s1
//! fill 100 value=20      (k0001 .. k0100, values of 20 bytes; step=7: in that order)   unfill 50
//! ingest a=1 b=2         flush   settle   sync   reopen   reopen how=drop
//! shape                  (levels and tables, or height and pages)   verify
//! ```
//! A key or value that begins with `0x` is given in hexadecimal.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use goldenscript::{Argument, ArgumentConsumer, Command, Context, Runner};
use kv_api::{Batch, Durability, KvRead, OwnedRange, ScanOptions, Snapshot};

use crate::checked::Checked;
use crate::lab::Lab;
use crate::steps::Entries;
use crate::{check, shape_text};

type Answer = Result<String, Box<dyn Error>>;

/// Runs scripts on one database.
pub struct Scripted {
    lab: Lab,
    db: Option<Checked>,
    snapshots: BTreeMap<String, Arc<dyn Snapshot>>,
}

impl Scripted {
    /// A runner over an empty database of `lab`.
    pub fn new(lab: Lab) -> Scripted {
        Scripted { lab, db: None, snapshots: BTreeMap::new() }
    }

    fn db(&self) -> Result<&Checked, Box<dyn Error>> {
        self.db.as_ref().ok_or_else(|| "the database is not open".into())
    }

    /// The state that `at=` names, or the newest one.
    fn reader(&self, args: &mut ArgumentConsumer<'_>) -> Result<&dyn KvRead, Box<dyn Error>> {
        match args.take_key("at") {
            None => Ok(&**self.db()?),
            Some(name) => Ok(&**self.snapshots.get(name).ok_or("no such snapshot")?),
        }
    }

    fn get(&self, mut args: ArgumentConsumer<'_>) -> Answer {
        let reader = self.reader(&mut args)?;
        let mut answer = String::new();
        while let Some(key) = args.next_pos() {
            let found = reader.get(&bytes(key)?)?;
            let text = found.map_or("not there".to_owned(), |value| show(&value));
            answer += &format!("{key}: {text}\n");
        }
        args.reject_next()?;
        Ok(answer)
    }

    fn scan(&self, mut args: ArgumentConsumer<'_>) -> Answer {
        let reader = self.reader(&mut args)?;
        let reverse = args.take_key("reverse").is_some();
        let range = range(&mut args)?;
        args.reject_next()?;
        let options = if reverse { ScanOptions::REVERSE } else { ScanOptions::FORWARD };
        let mut scan = reader.scan(range.as_range(), options)?;
        let entries = check::rest(&mut *scan)?;
        if entries.is_empty() {
            return Ok("nothing\n".to_owned());
        }
        Ok(entries.iter().map(|(key, value)| format!("{} = {}\n", show(key), show(value))).collect())
    }

    fn write(&self, batch: &Batch) -> Answer {
        self.db()?.write(batch, Durability::Memory)?;
        Ok(String::new())
    }

    fn fill(&self, mut args: ArgumentConsumer<'_>, puts: bool) -> Answer {
        let value = "v".repeat(args.take_key("value").unwrap_or("10").parse()?);
        let first: usize = args.take_key("first").unwrap_or("1").parse()?;
        let step: usize = args.take_key("step").unwrap_or("1").parse()?;
        let count: usize = args.next_pos().ok_or("how many?")?.parse()?;
        args.reject_next()?;
        for n in 0..count {
            let key = format!("k{:04}", first + n * step % count);
            let mut batch = Batch::new();
            if puts {
                batch.put(key.as_bytes(), value.as_bytes())
            } else {
                batch.delete(key.as_bytes())
            };
            self.write(&batch)?;
        }
        Ok(String::new())
    }

    fn ingest(&self, args: ArgumentConsumer<'_>) -> Answer {
        let mut entries = Vec::new();
        for arg in args {
            let Argument::KeyValue(key, value) = arg else { return Err("ingest takes key=value".into()) };
            entries.push((bytes(key)?, bytes(value)?));
        }
        let report = self.db()?.ingest(&mut Entries::new(&entries))?;
        Ok(format!("{} entries, {} bytes\n", report.entries, report.user_bytes))
    }

    fn reopen(&mut self, mut args: ArgumentConsumer<'_>) -> Answer {
        let drops = args.take_key("how") == Some("drop");
        args.reject_next()?;
        if !drops {
            self.db()?.close()?;
        }
        if self.lab.engine.is_stored() {
            self.snapshots.clear();
            self.db = None;
            self.db = Some(self.lab.open()?);
        }
        Ok(String::new())
    }

    fn upkeep(&self, name: &str) -> Answer {
        let db = self.db()?;
        match name {
            "flush" => db.flush()?,
            "sync" => db.sync()?,
            _ => {
                let report = db.settle(Duration::from_secs(60))?;
                assert_eq!(report.debt_bytes, 0, "settled, and yet owes something");
            }
        }
        Ok(String::new())
    }
}

impl Runner for Scripted {
    type Command = Command;

    fn start_script(&mut self) -> Result<(), Box<dyn Error>> {
        self.db = Some(self.lab.open()?);
        Ok(())
    }

    fn run(&mut self, command: &Command, _context: &Context) -> Answer {
        let mut args = command.consume_args();
        match command.name.as_str() {
            "get" => self.get(args),
            "scan" => self.scan(args),
            "put" | "batch" | "delete" => self.write(&batch(args)?),
            "delete_range" => {
                let mut batch = Batch::new();
                batch.delete_range(range(&mut args)?.as_range());
                args.reject_next()?;
                self.write(&batch)
            }
            "fill" => self.fill(args, true),
            "unfill" => self.fill(args, false),
            "ingest" => self.ingest(args),
            "snapshot" => {
                let name = args.next_pos().ok_or("which name?")?.to_owned();
                self.snapshots.insert(name, self.db()?.snapshot()?);
                Ok(String::new())
            }
            "release" => {
                let name = args.next_pos().ok_or("which name?")?;
                self.snapshots.remove(name).ok_or("no such snapshot")?;
                Ok(String::new())
            }
            "flush" | "settle" | "sync" => self.upkeep(&command.name),
            "compact" => {
                let range = range(&mut args)?;
                args.reject_next()?;
                crate::driver::unless_unsupported(self.db()?.compact(range.as_range()).map(|_| ()))?;
                Ok(String::new())
            }
            "reopen" => self.reopen(args),
            "close" => {
                self.db()?.close()?;
                Ok(String::new())
            }
            "shape" => Ok(shape_text::show(&self.db()?.shape()?)),
            "verify" => {
                let report = self.db()?.verify()?;
                assert!(report.is_sound(), "{report:?}");
                Ok(format!("sound, {} entries\n", report.entries))
            }
            other => Err(format!("no command `{other}`").into()),
        }
    }

    fn end_script(&mut self) -> Result<(), Box<dyn Error>> {
        // Dropping it verifies it.
        self.snapshots.clear();
        self.db = None;
        Ok(())
    }
}

/// `key=value` is a put, a bare key a delete.
fn batch(args: ArgumentConsumer<'_>) -> Result<Batch, Box<dyn Error>> {
    let mut batch = Batch::new();
    for arg in args {
        match arg {
            Argument::KeyValue(key, value) => batch.put(&bytes(key)?, &bytes(value)?),
            Argument::Positional(key) => batch.delete(&bytes(key)?),
            other => return Err(format!("unexpected argument `{other}`").into()),
        };
    }
    Ok(batch)
}

/// The range that from, after, to and through name.
fn range(args: &mut ArgumentConsumer<'_>) -> Result<OwnedRange, Box<dyn Error>> {
    let mut bound = |included: &str, excluded: &str| -> Result<Bound<Vec<u8>>, Box<dyn Error>> {
        Ok(match (args.take_key(included), args.take_key(excluded)) {
            (Some(key), _) => Bound::Included(bytes(key)?),
            (None, Some(key)) => Bound::Excluded(bytes(key)?),
            (None, None) => Bound::Unbounded,
        })
    };
    Ok(OwnedRange { start: bound("from", "after")?, end: bound("through", "to")? })
}

/// Text as it stands, or the bytes behind `0x`.
fn bytes(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let Some(hex) = text.strip_prefix("0x") else { return Ok(text.as_bytes().to_vec()) };
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    if digits.len() != hex.len() || !digits.len().is_multiple_of(2) {
        return Err(format!("`{text}` is not hexadecimal").into());
    }
    Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// Text for a person: short, printable, the empty one made visible.
pub fn show(bytes: &[u8]) -> String {
    match bytes {
        [] => "(empty)".to_owned(),
        [first, ..] if bytes.len() > 40 => format!("{} bytes of {}..", bytes.len(), first.escape_ascii()),
        _ => bytes.escape_ascii().to_string(),
    }
}
