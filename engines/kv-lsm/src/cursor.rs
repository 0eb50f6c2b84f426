//! What every sorted source of entries can do: the walk that merges are made of.

use kv_api::Result;

use crate::entry::{Entry, Tag};

/// A walk over entries in the order of [`crate::entry::compare`], or in exactly the reverse order; which of the two
/// is fixed when it is made. A new cursor stands nowhere until [`Cursor::rewind`] or [`Cursor::seek`].
pub trait Cursor {
    /// The entry it stands on, or `None` past the end.
    fn entry(&self) -> Option<Entry<'_>>;

    /// Steps on.
    ///
    /// # Errors
    /// `Io`, `Corruption`; the cursor is then of no further use.
    fn next(&mut self) -> Result<()>;

    /// Goes to the end that its direction starts from.
    ///
    /// # Errors
    /// As for [`Cursor::next`].
    fn rewind(&mut self) -> Result<()>;

    /// Goes to the gap just before (`key`, `tag`): forward stands on the first entry at or after it, reverse on
    /// the last entry before it.
    ///
    /// # Errors
    /// As for [`Cursor::next`].
    fn seek(&mut self, key: &[u8], tag: Tag) -> Result<()>;
}
