//! Comparing a store with the oracles: record by record for a sample, and whole by one scan.

use kv_api::{KeyRange, KvRead, ScanOptions};
use workloads::{ContentDigest, Mismatch, Oracle};

use super::client::Tally;
use crate::sys::interrupt::Interrupt;
use crate::trace::Model;

/// Wrong entries that are kept word for word.
const WRONG_KEPT_MAX: usize = 3;
/// Entries between two looks at the interrupt flag.
const LOOK_EVERY: u64 = 4096;

/// What a full scan found.
#[derive(Debug, Clone, Default)]
pub struct Scanned {
    /// What is in the store.
    pub found: ContentDigest,
    /// What must be in it.
    pub expected: ContentDigest,
    /// Entries whose bytes, version or order are wrong.
    pub wrong: u64,
}

/// Reads a share of the records one by one.
///
/// # Errors
/// Those of the engine.
pub fn read_sample<E: KvRead + ?Sized>(
    engine: &E,
    oracles: &[Oracle],
    share: f64,
    interrupt: &Interrupt,
    tally: &mut Tally,
) -> kv_api::Result<()> {
    let population: u64 = oracles.iter().map(Oracle::population).sum();
    let wanted = (population as f64 * share.clamp(0.0, 1.0)) as u64;
    let step = population.checked_div(wanted).unwrap_or(0).max(1);
    let mut value = Vec::new();
    for oracle in oracles.iter().filter(|_| wanted > 0) {
        for local in (0..oracle.population()).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
            if interrupt.is_set() {
                return Ok(());
            }
            let record = oracle.record(local);
            let key = oracle.key_kind().encode(record);
            let found = engine.get_with(&key, &mut |bytes| {
                value.clear();
                value.extend_from_slice(bytes);
            })?;
            tally.gets += 1;
            if let Err(mismatch) = oracle.check_get(record, found.then_some(&value)) {
                note(tally, format!("record {record}: {mismatch}"));
            }
        }
    }
    Ok(())
}

/// What must be in a store.
pub trait Contents {
    /// Checks one entry and tells its version.
    ///
    /// # Errors
    /// It is not what must be there.
    fn check_entry(&self, key: &[u8], value: &[u8]) -> Result<u32, Mismatch>;

    /// The digest of everything that must be there.
    fn digest(&self) -> ContentDigest;
}

impl Contents for [Oracle] {
    fn check_entry(&self, key: &[u8], value: &[u8]) -> Result<u32, Mismatch> {
        owner(self, key).check_entry(key, value)
    }

    fn digest(&self) -> ContentDigest {
        let mut digest = ContentDigest::default();
        self.iter().for_each(|oracle| digest.merge(oracle.content()));
        digest
    }
}

impl Contents for Model {
    fn check_entry(&self, key: &[u8], value: &[u8]) -> Result<u32, Mismatch> {
        Model::check_entry(self, key, value)
    }

    fn digest(&self) -> ContentDigest {
        self.content()
    }
}

/// Reads a share of the keys that a replay left, one by one.
///
/// # Errors
/// Those of the engine.
pub fn read_sample_of_replay<E: KvRead + ?Sized>(
    engine: &E,
    model: &Model,
    share: f64,
    interrupt: &Interrupt,
    tally: &mut Tally,
) -> kv_api::Result<()> {
    let step = if share > 0.0 { (1.0 / share).max(1.0) as usize } else { return Ok(()) };
    for key in model.keys().step_by(step) {
        if interrupt.is_set() {
            break;
        }
        let found = engine.get(key)?;
        tally.gets += 1;
        if let Err(mismatch) = model.check_get(key, found.as_deref()) {
            note(tally, format!("key {}: {mismatch}", key.escape_ascii()));
        }
    }
    Ok(())
}

/// Scans everything and compares each entry with what must be there. `None` if the user interrupted.
///
/// # Errors
/// Those of the engine.
pub fn full_scan<E: KvRead + ?Sized>(
    engine: &E,
    contents: &(impl Contents + ?Sized),
    interrupt: &Interrupt,
    tally: &mut Tally,
) -> kv_api::Result<Option<Scanned>> {
    let mut out = Scanned::default();
    let mut scan = engine.scan(KeyRange::ALL, ScanOptions::FORWARD)?;
    let mut last: Option<Vec<u8>> = None;
    while let Some(entry) = scan.next()? {
        if out.found.entries.is_multiple_of(LOOK_EVERY) && interrupt.is_set() {
            return Ok(None);
        }
        let in_order = last.as_deref().is_none_or(|last| last < entry.key);
        let checked =
            if in_order { contents.check_entry(entry.key, entry.value) } else { Err(Mismatch::Unexpected) };
        // A wrong entry counts with version 0, which no record ever has, so that the digests differ too.
        out.found.add(entry.key, entry.value.len(), *checked.as_ref().unwrap_or(&0));
        if let Err(mismatch) = checked {
            out.wrong += 1;
            note(tally, format!("scan at key {}: {mismatch}", entry.key.escape_ascii()));
        }
        let last = last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(entry.key);
    }
    out.expected = contents.digest();
    tally.scans += 1;
    tally.scanned_entries += out.found.entries;
    tally.returned_bytes += out.found.bytes;
    Ok(Some(out))
}

/// The oracle that owns `key`; for bytes that are no key of the workload any will do: it refuses them.
pub fn owner<'a>(oracles: &'a [Oracle], key: &[u8]) -> &'a Oracle {
    let record = oracles[0].key_kind().decode(key).map_or(0, |id| id.record);
    &oracles[(record % oracles.len() as u64) as usize]
}

fn note(tally: &mut Tally, what: String) {
    tally.wrong += 1;
    if tally.wrong_kept.len() < WRONG_KEPT_MAX {
        tally.wrong_kept.push(what);
    }
}
