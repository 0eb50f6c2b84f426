//! The largest key, value and batch an engine takes, checked the same way for every engine.

use crate::batch::Batch;
use crate::error::{Error, Result};

/// Largest key of any engine, in bytes.
pub const KEY_BYTES_MAX: usize = 65_535;
/// Largest value of any engine, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 << 20;
/// Largest batch of any engine, in encoded bytes.
pub const BATCH_BYTES_MAX: usize = 128 << 20;
/// Most operations in one batch.
pub const BATCH_OPS_MAX: usize = 1 << 20;

/// What an engine takes; above it a write is refused before the log is touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Limits {
    /// Longest key in bytes. Keys of 0 bytes are legal.
    pub key_bytes_max: usize,
    /// Longest value in bytes. Values of 0 bytes are legal.
    pub value_bytes_max: usize,
    /// Largest batch in encoded bytes.
    pub batch_bytes_max: usize,
}

impl Limits {
    /// Limits for a memory budget: values up to an eighth of it, batches up to a quarter.
    pub fn for_budget(memory_budget: u64, key_bytes_max: usize) -> Limits {
        let budget = usize::try_from(memory_budget).unwrap_or(usize::MAX);
        Limits {
            key_bytes_max: key_bytes_max.min(KEY_BYTES_MAX),
            value_bytes_max: VALUE_BYTES_MAX.min(budget / 8),
            batch_bytes_max: BATCH_BYTES_MAX.min(budget / 4),
        }
    }

    /// Refuses a batch with anything over a limit. O(1): a batch knows its longest key and value.
    ///
    /// # Errors
    /// [`Error::KeyTooLarge`], [`Error::ValueTooLarge`] or [`Error::BatchTooLarge`].
    pub fn check(&self, batch: &Batch) -> Result<()> {
        // The bound of a range delete may be one byte longer than a key: it stands for "just above that key".
        if batch.key_bytes_max() > self.key_bytes_max {
            self.check_keys(batch)?;
        }
        if batch.value_bytes_max() > self.value_bytes_max {
            let (bytes, limit) = (batch.value_bytes_max() as u64, self.value_bytes_max as u64);
            return Err(Error::ValueTooLarge { bytes, limit });
        }
        if batch.encoded().len() > self.batch_bytes_max {
            let (bytes, limit) = (batch.encoded().len() as u64, self.batch_bytes_max as u64);
            return Err(Error::BatchTooLarge { bytes, limit });
        }
        if batch.len() > BATCH_OPS_MAX {
            return Err(Error::BatchTooLarge {
                bytes: batch.encoded().len() as u64,
                limit: BATCH_OPS_MAX as u64,
            });
        }
        Ok(())
    }

    fn check_keys(&self, batch: &Batch) -> Result<()> {
        use crate::batch::Op;
        for op in batch.ops() {
            let (bytes, limit) = match op {
                Op::Put { key, .. } | Op::Delete { key } => (key.len(), self.key_bytes_max),
                Op::DeleteRange { start, end } => {
                    (start.len().max(end.map_or(0, <[u8]>::len)), self.key_bytes_max + 1)
                }
            };
            if bytes > limit {
                return Err(Error::KeyTooLarge { bytes: bytes as u64, limit: self.key_bytes_max as u64 });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn the_limit_itself_passes_and_one_more_does_not() {
        let limits = Limits { key_bytes_max: 4, value_bytes_max: 8, batch_bytes_max: 64 };
        let check = |key: usize, value: usize| {
            let mut batch = Batch::new();
            batch.put(&vec![1; key], &vec![2; value]);
            limits.check(&batch).map_err(|error| error.kind())
        };
        assert_eq!(check(4, 8), Ok(()));
        assert_eq!(check(5, 8), Err(ErrorKind::KeyTooLarge));
        assert_eq!(check(4, 9), Err(ErrorKind::ValueTooLarge));
        let mut batch = Batch::new();
        (0..8).for_each(|_| {
            batch.put(b"k", b"12345678");
        });
        assert_eq!(limits.check(&batch).map_err(|error| error.kind()), Err(ErrorKind::BatchTooLarge));
    }

    #[test]
    fn a_range_bound_may_stand_just_above_the_longest_key() {
        let limits = Limits { key_bytes_max: 4, value_bytes_max: 8, batch_bytes_max: 64 };
        let mut batch = Batch::new();
        batch.delete_range(crate::KeyRange::from(b"aaaa".as_slice()..=b"bbbb".as_slice()));
        assert!(limits.check(&batch).is_ok());
    }
}
