//! A scan of the contract over a peer's cursor: seeks, the end, errors that stay, and counting.

use kv_api::{Direction, EntryRef, Error, KeyRange, OwnedRange, Result, Scan};

use crate::peer::{Cursor, View};
use crate::ranges::{clamped, from_key};
use crate::shared::Held;

/// A walk over one state of a peer.
pub struct PeerScan<C> {
    /// `None` if no key can lie in the range.
    cursor: Option<C>,
    range: OwnedRange,
    direction: Direction,
    /// Shortest and longest key of the peer, in bytes.
    limits: (usize, usize),
    held: Held,
    /// True between the end, or a seek to nowhere, and the next seek.
    is_done: bool,
    failure: Option<Error>,
    returned: u64,
}

impl<C: Cursor> PeerScan<C> {
    /// A walk over `range` of `view`.
    ///
    /// # Errors
    /// What the engine says.
    pub fn open<V: View<Cursor = C>>(
        view: &V,
        range: KeyRange<'_>,
        direction: Direction,
        limits: (usize, usize),
        held: Held,
    ) -> Result<PeerScan<C>> {
        let reachable = clamped(range, limits.0, limits.1);
        let cursor = reachable.map(|range| view.cursor(range, direction)).transpose()?;
        Ok(PeerScan {
            is_done: cursor.is_none(),
            cursor,
            range: range.to_owned_range(),
            direction,
            limits,
            held,
            failure: None,
            returned: 0,
        })
    }

    fn check(&self) -> Result<()> {
        self.held.shared().check_open()?;
        self.failure.as_ref().map_or(Ok(()), |failure| Err(failure.clone()))
    }
}

impl<C: Cursor> Scan for PeerScan<C> {
    fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
        self.check()?;
        if self.is_done {
            return Ok(None);
        }
        let Some(cursor) = &mut self.cursor else { return Ok(None) };
        match cursor.next() {
            Ok(Some(entry)) => {
                self.returned += 1;
                Ok(Some(entry))
            }
            Ok(None) => {
                self.is_done = true;
                Ok(None)
            }
            Err(error) => {
                self.failure = Some(error.clone());
                Err(error)
            }
        }
    }

    fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.check()?;
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        let rest = from_key(self.range.as_range(), self.direction, key);
        let rest = clamped(rest, self.limits.0, self.limits.1);
        self.is_done = rest.is_none();
        let sought = rest.map_or(Ok(()), |rest| cursor.seek(rest));
        if let Err(error) = &sought {
            self.failure = Some(error.clone());
        }
        sought
    }
}

impl<C> Drop for PeerScan<C> {
    fn drop(&mut self) {
        self.held.shared().user.count_scanned(self.returned);
    }
}
