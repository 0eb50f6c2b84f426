//! Ingest: entries from outside, whose order and sizes are checked as they come. What becomes of them is the engine's.

use kv_api::limits::Limits;
use kv_api::{Batch, EntryRef, Error, IngestReport, Result, SortedSource};

/// A sorted source that is taken at its word in nothing.
pub struct CheckedSource<'a> {
    limits: Limits,
    sorted: &'a mut dyn SortedSource,
    last: Option<Vec<u8>>,
    /// What came so far.
    pub report: IngestReport,
}

impl<'a> CheckedSource<'a> {
    /// Over `sorted`, of which nothing has been taken.
    pub fn new(limits: Limits, sorted: &'a mut dyn SortedSource) -> CheckedSource<'a> {
        CheckedSource { limits, sorted, last: None, report: IngestReport::default() }
    }
}

impl SortedSource for CheckedSource<'_> {
    /// The next entry. One comparison and one copy of the key.
    ///
    /// # Errors
    /// `InvalidOptions` for keys out of order; `KeyTooLarge`, `ValueTooLarge`; those of the source.
    fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
        let Some(EntryRef { key, value }) = self.sorted.next()? else { return Ok(None) };
        if self.last.as_deref().is_some_and(|last| last >= key) {
            return Err(Error::invalid("ingest", "keys must be strictly ascending; sort them first"));
        }
        if key.len() > self.limits.key_bytes_max || value.len() > self.limits.value_bytes_max {
            let mut batch = Batch::new();
            self.limits.check(batch.put(key, value))?;
        }
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
        self.report.entries += 1;
        self.report.user_bytes += (key.len() + value.len()) as u64;
        Ok(Some(EntryRef { key, value }))
    }
}

#[cfg(test)]
mod tests {
    use kv_api::ErrorKind;

    use super::*;

    struct Keys(Vec<&'static [u8]>);

    impl SortedSource for Keys {
        fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
            let key = if self.0.is_empty() { None } else { Some(self.0.remove(0)) };
            Ok(key.map(|key| EntryRef { key, value: b"value" }))
        }
    }

    fn take(keys: &[&'static [u8]], key_bytes_max: usize) -> Result<IngestReport> {
        let limits = Limits { key_bytes_max, ..Limits::for_budget(1 << 20, 100) };
        let mut keys = Keys(keys.to_vec());
        let mut checked = CheckedSource::new(limits, &mut keys);
        while checked.next()?.is_some() {}
        Ok(checked.report)
    }

    #[test]
    fn entries_are_counted_and_refused_out_of_order_or_over_a_limit() {
        let report = take(&[b"", b"a", b"ab"], 2).unwrap();
        assert_eq!((report.entries, report.user_bytes), (3, 3 + 15));
        let kind = |keys: &[&'static [u8]]| take(keys, 2).map_err(|error| error.kind());
        assert_eq!(kind(&[b"a", b"a"]), Err(ErrorKind::InvalidOptions));
        assert_eq!(kind(&[b"b", b"a"]), Err(ErrorKind::InvalidOptions));
        assert_eq!(kind(&[b"abc"]), Err(ErrorKind::KeyTooLarge));
    }
}
