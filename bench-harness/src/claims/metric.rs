//! The numbers that a claim may be about, by the word of its file.

use kv_api::{Cause, IoCounters};

use crate::compare::equal::Number;
use crate::metrics::formulas as f;
use crate::metrics::{Derived, PhaseRecord};
use crate::run::CellRecord;

/// One phase of one run.
#[derive(Debug, Clone)]
pub struct View<'a> {
    /// The run.
    pub cell: &'a CellRecord,
    /// What was counted.
    pub phase: &'a PhaseRecord,
    /// What was computed from it, and from the drain behind it.
    pub derived: Derived,
}

/// A number of a phase.
#[derive(Debug)]
pub struct Metric {
    /// The word for it.
    pub word: &'static str,
    /// Its unit; empty for a pure number.
    pub unit: &'static str,
    /// Whether the page cache has a say in it.
    pub number: Number,
    /// What it is, for people.
    pub about: &'static str,
    /// Where it is; `None`: not measured.
    pub of: fn(&View<'_>) -> Option<f64>,
}

macro_rules! metrics {
    ($($word:literal, $unit:literal, $number:ident, $about:literal, $of:expr;)*) => {
        static METRICS: &[Metric] =
            &[$(Metric { word: $word, unit: $unit, number: Number::$number, about: $about, of: $of }),*];
        impl Metric {
            /// Every word.
            pub const WORDS: &'static [&'static str] = &[$($word),*];
        }
    };
}

metrics! {
    "ops_per_second", "1/s", Time, "operations a second", |v| v.derived.ops_per_second;
    "settled_ops_per_second", "1/s", Time, "operations a second, the payment of debt included", |v| v.derived.settled_ops_per_second;
    "wa_settled", "", Count, "bytes written per byte of the user, drain included", |v| v.derived.wa_settled;
    "wa_open", "", Count, "bytes written per byte of the user, debt left out", |v| v.derived.wa_open;
    "wa_upkeep", "", Count, "bytes written behind the log per byte of the user, drain included", upkeep;
    "sa_steady", "", Count, "space per live byte, averaged over the phase", |v| v.derived.sa_steady;
    "sa_peak", "", Count, "the most space per live byte", |v| v.derived.sa_peak;
    "sa_settled", "", Count, "space per live byte, debt paid", |v| v.derived.sa_settled;
    "read_tail", "", Time, "p99 of reads over their median", read_tail;
    "read_p99", "ns", Time, "p99 of reads", |v| Some(v.phase.reads.as_ref()?.p99_ns? as f64);
    "data_blocks_per_get", "", Count, "data blocks or leaves asked for by a get", data_blocks_per_get;
    "false_positives_per_get", "", Count, "filters that said maybe and were wrong, for each get", |v| {
        let moved = &v.phase.moved;
        f::per_op(moved.filter.false_positives, moved.gets)
    };
    "false_positives_expected", "", Count, "filters that should be wrong for each get, by their bits", expected_false_positives;
    "data_blocks_per_scan", "", Count, "data blocks or leaves asked for by a scan", data_blocks_per_scan;
    "contiguous_share", "", Count, "share of the bytes written that began where the file's last write had ended", contiguous;
    "write_call", "B", Count, "bytes of a write call, log and upkeep", write_call;
    "background_cpu_share", "", Time, "share of the processor's time outside the clients", |v| {
        Some(v.derived.background_cpu_ns_per_op? / v.derived.cpu_ns_per_op?)
    };
}

impl Metric {
    /// The metric of this word.
    pub fn find(word: &str) -> Option<&'static Metric> {
        METRICS.iter().find(|metric| metric.word == word)
    }
}

/// Write amplification without the log: what is left is upkeep.
fn upkeep(view: &View<'_>) -> Option<f64> {
    let log = view.derived.wa_by_cause.iter().find(|(cause, _)| *cause == Cause::Wal.to_string());
    Some(view.derived.wa_settled? - log.map_or(0.0, |(_, share)| *share))
}

fn read_tail(view: &View<'_>) -> Option<f64> {
    let reads = view.phase.reads.as_ref()?;
    f::per_op(reads.p99_ns?, reads.p50_ns?)
}

/// What holds entries: leaves of a B+tree, data blocks of an LSM tree.
const ENTRIES: [&str; 2] = ["leaf", "data"];

fn data_blocks_per_get(view: &View<'_>) -> Option<f64> {
    let rows = view.derived.blocks_per_get.iter();
    rows.filter(|(kind, _)| ENTRIES.contains(&kind.as_str())).map(|(_, blocks)| *blocks).reduce(|a, b| a + b)
}

fn data_blocks_per_scan(view: &View<'_>) -> Option<f64> {
    let moved = &view.phase.moved;
    let rows = moved.blocks.iter().filter(|row| ENTRIES.contains(&row.kind.as_str()));
    f::per_op(rows.map(|row| row.scan_requests).reduce(|a, b| a + b)?, moved.scans)
}

/// What a classic filter with the best number of hashes is wrong by, for each bit of a key: 0.5^(ln 2).
const WRONG_PER_BIT: f64 = 0.6185;

/// A filter that is asked for a key its table does not have is wrong with probability 0.6185^bits; for gets of absent
/// keys that is each filter asked, so what is expected is the sum over them.
fn expected_false_positives(view: &View<'_>) -> Option<f64> {
    let settings = &view.cell.info.as_ref()?.settings;
    let setting =
        |name: &str| settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let bits: f64 = setting("filter_bits")?.parse().ok()?;
    let moved = &view.phase.moved;
    Some(f::per_op(moved.filter.probes, moved.gets)? * WRONG_PER_BIT.powf(bits))
}

/// Rows of causes that write for users, log included: zeros written ahead of it are not among them.
fn written(view: &View<'_>) -> Option<impl Iterator<Item = IoCounters>> {
    let io = view.phase.moved.io?;
    let rows: Vec<_> = io.nonzero().collect();
    Some(rows.into_iter().filter(|(cause, _)| cause.counts_as_write_amplification()).map(|(_, row)| row))
}

fn write_call(view: &View<'_>) -> Option<f64> {
    let (bytes, calls) =
        written(view)?.fold((0, 0), |(bytes, calls), row| (bytes + row.write_bytes, calls + row.write_calls));
    f::per_op(bytes, calls)
}

fn contiguous(view: &View<'_>) -> Option<f64> {
    let (all, contiguous) = written(view)?
        .fold((0, 0), |(all, contiguous), row| (all + row.write_bytes, contiguous + row.contiguous_bytes));
    f::per_op(contiguous, all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kv_api::IoStats;
    use kv_api::stats::BlockReads;

    #[test]
    fn words_find_their_numbers_and_what_was_not_measured_is_none() {
        let mut io = IoStats::default();
        io.of_mut(Cause::Wal).write_bytes = 100;
        io.of_mut(Cause::Wal).contiguous_bytes = 100;
        io.of_mut(Cause::Checkpoint).write_bytes = 300;
        io.of_mut(Cause::Prepare).write_bytes = 1000;
        let mut phase = PhaseRecord::default();
        phase.moved.io = Some(io);
        phase.moved.user_bytes = 100;
        phase.moved.gets = 4;
        phase.moved.scans = 2;
        let row = |kind: &str, point_requests, scan_requests| BlockReads {
            kind: kind.to_owned(),
            point_requests,
            scan_requests,
            ..BlockReads::default()
        };
        phase.moved.blocks = vec![row("leaf", 4, 10), row("inner", 8, 100)];
        let derived = Derived::of(None, &phase, Some(&PhaseRecord::default()));
        let cell = crate::compare::group::tests::cell("lsm", 0, 1.0);
        let view = View { cell: &cell, phase: &phase, derived };
        let number = |word: &str| (Metric::find(word).unwrap().of)(&view);
        assert_eq!(number("wa_settled"), Some(4.0));
        assert_eq!(number("wa_upkeep"), Some(3.0));
        assert_eq!(number("contiguous_share"), Some(0.25));
        assert_eq!(number("data_blocks_per_get"), Some(1.0));
        assert_eq!(number("data_blocks_per_scan"), Some(5.0));
        assert_eq!(number("read_tail"), None);
        assert_eq!(number("sa_peak"), None);
        assert!(Metric::find("speed").is_none());
        assert_eq!(Metric::WORDS.len(), METRICS.len());
    }
}
