//! Tables: named keyspaces as a layer over one engine.
//!
//! | table u32 big-endian | the table's own key |
//!
//! Table 0 is the catalog: | "n" name | -> id u32 big-endian, and | "id" | -> the next id. Ids are never used
//! again, so a dropped table cannot come back under a new name. The layer owns the whole keyspace of its
//! engine: a directory is made for raw keys or for tables, and its identity file says which.

use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use crate::batch::Batch;
use crate::engine::{Kv, Value};
use crate::error::{Error, Result};
use crate::ext::Range;
use crate::options::{Durability, Keyspace};
use crate::range::{KeyRange, OwnedRange, ScanOptions};
use crate::report::CommitInfo;

/// Bytes of the table number in front of every key.
const ID_BYTES: usize = 4;
const CATALOG: TableId = TableId(0);
const NEXT_ID: &[u8] = b"id";

/// The number of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(u32);

impl TableId {
    /// The engine key that stands for `key` of this table.
    fn key(self, key: &[u8]) -> Vec<u8> {
        [&self.0.to_be_bytes(), key].concat()
    }

    /// The engine range that stands for `range` of this table.
    fn range(self, range: KeyRange<'_>) -> OwnedRange {
        let all = OwnedRange::prefix(&self.0.to_be_bytes());
        let own = |bound: Bound<&[u8]>, whole: Bound<Vec<u8>>| match bound {
            Bound::Unbounded => whole,
            Bound::Included(key) => Bound::Included(self.key(key)),
            Bound::Excluded(key) => Bound::Excluded(self.key(key)),
        };
        OwnedRange { start: own(range.start, all.start), end: own(range.end, all.end) }
    }
}

/// A batch over several tables; it commits as one.
#[derive(Debug, Default)]
pub struct TablesBatch {
    batch: Batch,
}

impl TablesBatch {
    /// An empty batch.
    pub fn new() -> Self {
        TablesBatch::default()
    }

    /// Adds "set `key` of `table` to `value`".
    pub fn put(&mut self, table: TableId, key: &[u8], value: &[u8]) -> &mut Self {
        self.batch.put(&table.key(key), value);
        self
    }

    /// Adds "remove `key` of `table`".
    pub fn delete(&mut self, table: TableId, key: &[u8]) -> &mut Self {
        self.batch.delete(&table.key(key));
        self
    }

    /// Adds "remove every key of `table` in `range`".
    pub fn delete_range(&mut self, table: TableId, range: KeyRange<'_>) -> &mut Self {
        self.batch.delete_range(table.range(range).as_range());
        self
    }
}

/// Named tables over one engine.
///
/// ```
/// use std::sync::Arc;
/// use kv_api::{Durability, Keyspace, KeyRange, MemoryEngine, Tables};
///
/// let tables = Tables::new(Arc::new(MemoryEngine::with_keyspace(Keyspace::Tables)))?;
/// let users = tables.create("users", Durability::Disk)?;
/// tables.put(users, b"1", b"ada", Durability::Disk)?;
/// assert_eq!(tables.get(users, b"1")?.as_deref(), Some(&b"ada"[..]));
/// tables.drop_table("users", Durability::Disk)?;
/// assert!(tables.find("users")?.is_none());
/// # Ok::<(), kv_api::Error>(())
/// ```
pub struct Tables {
    kv: Arc<dyn Kv>,
    /// Held while the catalog changes, so that two callers cannot take the same id or name.
    catalog: Mutex<()>,
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tables").field("engine", &self.kv.info().name).finish_non_exhaustive()
    }
}

impl Tables {
    /// Tables over `kv`, whose directory must have been made for tables.
    ///
    /// # Errors
    /// `InvalidOptions` if the directory was made for raw keys.
    pub fn new(kv: Arc<dyn Kv>) -> Result<Tables> {
        if kv.info().keyspace != Keyspace::Tables {
            return Err(Error::invalid(
                "keyspace",
                "this database was created for raw keys; create one with keyspace = tables",
            ));
        }
        Ok(Tables { kv, catalog: Mutex::new(()) })
    }

    /// The engine below.
    pub fn engine(&self) -> &Arc<dyn Kv> {
        &self.kv
    }

    /// Makes a table, or finds the one of that name.
    ///
    /// # Errors
    /// Those of [`Kv::write`]; `InvalidOptions` when all 2^32 - 1 numbers have been used.
    pub fn create(&self, name: &str, durability: Durability) -> Result<TableId> {
        let _alone = self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = self.find(name)? {
            return Ok(id);
        }
        let id = match self.kv.get(&CATALOG.key(NEXT_ID))? {
            Some(bytes) => decode_id(&bytes)?,
            None => 1,
        };
        let next = id.checked_add(1).ok_or_else(|| Error::invalid("tables", "no table number is left"))?;
        let mut batch = Batch::new();
        batch.put(&CATALOG.key(&name_key(name)), &id.to_be_bytes());
        batch.put(&CATALOG.key(NEXT_ID), &next.to_be_bytes());
        self.kv.write(&batch, durability)?;
        Ok(TableId(id))
    }

    /// The table of that name.
    ///
    /// # Errors
    /// Those of [`crate::KvRead::get`].
    pub fn find(&self, name: &str) -> Result<Option<TableId>> {
        match self.kv.get(&CATALOG.key(&name_key(name)))? {
            Some(bytes) => Ok(Some(TableId(decode_id(&bytes)?))),
            None => Ok(None),
        }
    }

    /// All tables by name.
    ///
    /// # Errors
    /// Those of [`crate::KvRead::scan`].
    pub fn list(&self) -> Result<Vec<(String, TableId)>> {
        let prefix = CATALOG.key(b"n");
        let mut scan = self.kv.scan(OwnedRange::prefix(&prefix).as_range(), ScanOptions::FORWARD)?;
        let mut found = Vec::new();
        while let Some(entry) = scan.next()? {
            if let Some(name) = entry.key.strip_prefix(prefix.as_slice()) {
                found.push((String::from_utf8_lossy(name).into_owned(), TableId(decode_id(entry.value)?)));
            }
        }
        Ok(found)
    }

    /// Removes a table and all its entries in one batch. False if there was none of that name.
    ///
    /// # Errors
    /// Those of [`Kv::write`].
    pub fn drop_table(&self, name: &str, durability: Durability) -> Result<bool> {
        let _alone = self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(id) = self.find(name)? else { return Ok(false) };
        let mut batch = Batch::new();
        batch.delete(&CATALOG.key(&name_key(name)));
        batch.delete_range(id.range(KeyRange::ALL).as_range());
        self.kv.write(&batch, durability)?;
        Ok(true)
    }

    /// A copy of the value of `key` in `table`.
    ///
    /// # Errors
    /// Those of [`crate::KvRead::get`].
    pub fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Value>> {
        self.kv.get(&table.key(key))
    }

    /// Sets one key of `table`.
    ///
    /// # Errors
    /// Those of [`Kv::write`].
    pub fn put(
        &self,
        table: TableId,
        key: &[u8],
        value: &[u8],
        durability: Durability,
    ) -> Result<CommitInfo> {
        self.kv.put(&table.key(key), value, durability)
    }

    /// Removes one key of `table`.
    ///
    /// # Errors
    /// Those of [`Kv::write`].
    pub fn delete(&self, table: TableId, key: &[u8], durability: Durability) -> Result<CommitInfo> {
        self.kv.delete(&table.key(key), durability)
    }

    /// Commits a batch over several tables as one.
    ///
    /// # Errors
    /// Those of [`Kv::write`].
    pub fn write(&self, batch: &TablesBatch, durability: Durability) -> Result<CommitInfo> {
        self.kv.write(&batch.batch, durability)
    }

    /// The entries of `table` in `range`, from both ends, over one snapshot; keys come without the table number.
    ///
    /// # Errors
    /// Those of [`crate::KvRead::scan`].
    pub fn range(
        &self,
        table: TableId,
        range: KeyRange<'_>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<(Vec<u8>, Value)>> + use<>> {
        let entries = Range::open(&*self.kv.snapshot()?, table.range(range).as_range())?;
        Ok(entries
            .map(|entry| entry.map(|(key, value)| (key.get(ID_BYTES..).unwrap_or_default().to_vec(), value))))
    }
}

/// The catalog's key of a name. It begins with "n", so no name meets the counter's key.
fn name_key(name: &str) -> Vec<u8> {
    [b"n", name.as_bytes()].concat()
}

fn decode_id(bytes: &[u8]) -> Result<u32> {
    let id = bytes.try_into().map(u32::from_be_bytes);
    id.map_err(|_| {
        Error::corruption("catalog", 0, format!("a table number has {} bytes, not 4", bytes.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryEngine;

    fn tables() -> Tables {
        Tables::new(Arc::new(MemoryEngine::with_keyspace(Keyspace::Tables))).expect("made for tables")
    }

    #[test]
    fn tables_do_not_see_each_other_and_a_dropped_one_stays_gone() -> Result<()> {
        let tables = tables();
        let (a, b) = (tables.create("a", Durability::Disk)?, tables.create("b", Durability::Disk)?);
        tables.put(a, b"k", b"1", Durability::Disk)?;
        tables.put(b, b"k", b"2", Durability::Disk)?;
        tables.put(b, b"", b"empty", Durability::Disk)?;
        assert!(tables.drop_table("a", Durability::Disk)?);
        let again = tables.create("a", Durability::Disk)?;
        assert_ne!(again, a);
        assert_eq!(tables.get(again, b"k")?, None);
        let keys: Vec<_> =
            tables.range(b, KeyRange::ALL)?.map(|e| e.map(|(key, _)| key)).collect::<Result<_>>()?;
        assert_eq!(keys, [b"".to_vec(), b"k".to_vec()]);
        assert_eq!(tables.list()?.len(), 2);
        Ok(())
    }

    #[test]
    fn raw_directories_are_refused() {
        let error = Tables::new(Arc::new(MemoryEngine::new())).expect_err("made for raw keys");
        assert!(error.to_string().contains("keyspace"), "{error}");
    }
}
