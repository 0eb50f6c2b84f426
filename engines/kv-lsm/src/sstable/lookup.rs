//! One get on its way through the tables: what it looks for, what it asked of them, and the counters of all gets.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use kv_api::SeqNo;
use kv_io::counters::{Access, ReadCounters, ShardedCounter};

use crate::entry::hash64;
use crate::sstable::bloom::FilterHash;

/// What was asked of all tables of one engine.
#[derive(Debug, Default)]
pub struct TableCounters {
    /// Requests for data blocks.
    pub data_reads: ReadCounters,
    /// Requests for index blocks; the index is in memory, so none misses.
    pub index_reads: ReadCounters,
    /// Requests for filters; they are in memory, so none misses.
    pub filter_reads: ReadCounters,
    /// Filters that said "surely absent".
    pub filter_negatives: ShardedCounter,
    /// Filters that said "maybe" for a table without the key.
    pub filter_false_positives: ShardedCounter,
}

/// A get: made once, shown to one table after the other. It counts when it ends what it asked of all of them, for an
/// addition that other threads can see takes longer than much of the search.
#[derive(Debug)]
pub struct Lookup<'a> {
    /// The key it looks for.
    pub key: &'a [u8],
    /// The age it reads at.
    pub seq: SeqNo,
    /// What filters know the key by.
    pub hash: FilterHash,
    /// What it asked so far.
    pub asked: Asked,
    counters: &'a TableCounters,
}

/// What one get asked of tables, in requests.
#[derive(Debug, Default, Clone, Copy)]
pub struct Asked {
    /// Filters asked.
    pub filters: u64,
    /// Filters that said "surely absent".
    pub filter_negatives: u64,
    /// Filters that said "maybe" for a table without the key.
    pub filter_false_positives: u64,
    /// Indexes searched.
    pub indexes: u64,
    /// Data blocks asked for.
    pub blocks: u64,
    /// Those of them that had to be read.
    pub blocks_missed: u64,
}

impl<'a> Lookup<'a> {
    /// For the newest entry of `key` for a reader at `seq`; to be counted in `counters`.
    pub fn new(key: &'a [u8], seq: SeqNo, counters: &'a TableCounters) -> Lookup<'a> {
        Lookup { key, seq, hash: FilterHash::of(hash64(key)), asked: Asked::default(), counters }
    }
}

impl Drop for Lookup<'_> {
    fn drop(&mut self) {
        let (asked, counters) = (self.asked, self.counters);
        let reads = [
            (&counters.filter_reads, asked.filters, 0),
            (&counters.index_reads, asked.indexes, 0),
            (&counters.data_reads, asked.blocks, asked.blocks_missed),
        ];
        for (counter, requests, misses) in reads {
            if requests > 0 {
                counter.add(Access::Point, requests, misses);
            }
        }
        if asked.filter_negatives > 0 {
            counters.filter_negatives.add(asked.filter_negatives);
        }
        if asked.filter_false_positives > 0 {
            counters.filter_false_positives.add(asked.filter_false_positives);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_get_asked_is_counted_when_it_ends() {
        let counters = TableCounters::default();
        let mut lookup = Lookup::new(b"key", 9, &counters);
        lookup.asked = Asked {
            filters: 3,
            filter_negatives: 1,
            filter_false_positives: 1,
            indexes: 2,
            blocks: 2,
            blocks_missed: 1,
        };
        assert_eq!(counters.filter_reads.get("filter").point_requests, 0);
        drop(lookup);
        drop(Lookup::new(b"key", 9, &counters));
        let (data, filter) = (counters.data_reads.get("data"), counters.filter_reads.get("filter"));
        assert_eq!((data.point_requests, data.point_misses, data.scan_requests), (2, 1, 0));
        assert_eq!((filter.point_requests, filter.point_misses), (3, 0));
        assert_eq!(counters.index_reads.get("index").point_requests, 2);
        assert_eq!((counters.filter_negatives.get(), counters.filter_false_positives.get()), (1, 1));
    }
}
