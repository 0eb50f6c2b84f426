//! `get`, `put`, `delete` and `scan` on one directory.

use kv_api::{Durability, OwnedRange, ScanOptions};
use serde_json::json;
use std::ops::Bound;

use super::lines::Notation;
use super::open::{Access, Target};
use crate::error::{Exit, Failure, Result};
use crate::output::Output;
use crate::registry::Registry;

/// Bytes given on the command line.
///
/// # Errors
/// They are not in `notation`.
pub fn argument(name: &str, text: &str, notation: Notation) -> Result<Vec<u8>> {
    notation
        .read(text.as_bytes())
        .map_err(|why| Failure::usage(format!("{name} `{text}` is not {}: {why}", notation.word())))
}

/// Prints the value of `key`; a key that is not there is exit code 1.
///
/// # Errors
/// The directory cannot be opened or read, or the key is not there.
pub fn get(
    registry: &Registry,
    target: &Target,
    key: &str,
    hex: bool,
    out: &mut Output,
) -> Result<Option<Exit>> {
    let notation = Notation::new(hex);
    let key = argument("KEY", key, notation)?;
    let db = target.open(registry, Access::Read)?;
    let value = db.get(&key)?;
    db.close()?;
    let Some(value) = value else {
        let shown = notation.show(&key);
        return Err(Failure::failed(format!("{} has no key `{shown}`", target.dir.display())));
    };
    out.text(notation.show(&value))?;
    out.json(&json!({ "key": notation.show(&key), "value": notation.show(&value) }))?;
    Ok(None)
}

/// Sets `key` to `value`.
///
/// # Errors
/// The directory cannot be opened, or the engine refuses.
pub fn put(
    registry: &Registry,
    target: &Target,
    (key, value): (&str, &str),
    hex: bool,
    durability: Durability,
) -> Result<Option<Exit>> {
    let notation = Notation::new(hex);
    let (key, value) = (argument("KEY", key, notation)?, argument("VALUE", value, notation)?);
    let db = target.open(registry, Access::Write)?;
    db.put(&key, &value, durability)?;
    db.close()?;
    Ok(None)
}

/// Removes `key`; it need not exist.
///
/// # Errors
/// The directory cannot be opened, or the engine refuses.
pub fn delete(
    registry: &Registry,
    target: &Target,
    key: &str,
    hex: bool,
    durability: Durability,
) -> Result<Option<Exit>> {
    let key = argument("KEY", key, Notation::new(hex))?;
    let db = target.open(registry, Access::Write)?;
    db.delete(&key, durability)?;
    db.close()?;
    Ok(None)
}

/// Which entries a scan prints.
#[derive(Debug, Clone, Default)]
pub struct ScanRequest {
    /// The first key.
    pub from: Option<String>,
    /// The first key that is left out.
    pub to: Option<String>,
    /// Only keys that begin with this.
    pub prefix: Option<String>,
    /// From large keys to small ones.
    pub reverse: bool,
    /// How many at most.
    pub limit: Option<u64>,
}

impl ScanRequest {
    fn range(&self, notation: Notation) -> Result<OwnedRange> {
        if let Some(prefix) = &self.prefix {
            return Ok(OwnedRange::prefix(&argument("--prefix", prefix, notation)?));
        }
        let bound = |name: &str, text: &Option<String>| {
            text.as_ref().map(|text| argument(name, text, notation)).transpose()
        };
        let (from, to) = (bound("--from", &self.from)?, bound("--to", &self.to)?);
        if from.as_ref().zip(to.as_ref()).is_some_and(|(from, to)| from > to) {
            return Err(Failure::usage(
                "--from lies behind --to, so nothing can lie between them; swap them, and add --reverse to go from \
                 large keys to small ones",
            ));
        }
        Ok(OwnedRange {
            start: from.map_or(Bound::Unbounded, Bound::Included),
            end: to.map_or(Bound::Unbounded, Bound::Excluded),
        })
    }
}

/// Prints the entries of a range, one per line.
///
/// # Errors
/// The directory cannot be opened or read.
pub fn scan(
    registry: &Registry,
    target: &Target,
    request: &ScanRequest,
    hex: bool,
    out: &mut Output,
) -> Result<Option<Exit>> {
    let notation = Notation::new(hex);
    let range = request.range(notation)?;
    let db = target.open(registry, Access::Read)?;
    let options = if request.reverse { ScanOptions::REVERSE } else { ScanOptions::FORWARD };
    let mut left = request.limit.unwrap_or(u64::MAX);
    let mut line = Vec::new();
    let mut scan = db.scan(range.as_range(), options)?;
    while left > 0 && !out.is_closed() {
        let Some(entry) = scan.next()? else { break };
        if out.is_json() {
            out.json(&json!({ "key": notation.show(entry.key), "value": notation.show(entry.value) }))?;
        } else {
            line.clear();
            notation.write_entry(entry.key, entry.value, &mut line);
            out.raw(&line)?;
        }
        left -= 1;
    }
    drop(scan);
    db.close()?;
    Ok(None)
}
