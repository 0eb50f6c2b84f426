//! The cross-checks of a run, decided from numbers alone. A failed one does not delete the numbers: it stamps
//! them INVALID.

pub mod cpu;
pub mod device;

use kv_api::IoStats;
use kv_api::stats::{FileUse, IoTotal};

use super::verify::Scanned;
use crate::metrics::Moved;
use crate::sys::disk::DirSize;
use crate::sys::proc::ProcIo;
use crate::units;

/// Bytes of the engine's own count may differ from the kernel's by this share.
const BYTES_TOLERANCE: f64 = 0.001;
/// Bytes that the C library may read for itself: the list of processors, once, when several threads allocate.
const LIBRARY_READ_BYTES_MAX: u64 = 64;
/// Allocated bytes may differ from file lengths by this share, and by one block per file.
const ALLOCATED_TOLERANCE: f64 = 0.01;
const BLOCK_BYTES: u64 = 4096;

/// What a check said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not: the numbers are INVALID.
    Fail,
    /// There is nothing to compare.
    NotApplicable,
    /// There is something to compare, and this program does not look at it.
    NotMeasured,
}

impl Verdict {
    /// The word for tables.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "FAIL",
            Verdict::NotApplicable => "not applicable",
            Verdict::NotMeasured => "not measured",
        }
    }
}

/// One check with its numbers.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Check {
    /// Its number, as in the methodology.
    pub id: String,
    /// What it compares.
    pub what: String,
    /// What it said.
    pub verdict: Verdict,
    /// The numbers.
    pub detail: String,
}

impl Check {
    fn new(id: &str, what: &str, holds: Option<bool>, detail: String) -> Check {
        let verdict = match holds {
            Some(true) => Verdict::Pass,
            Some(false) => Verdict::Fail,
            None => Verdict::NotApplicable,
        };
        Check { id: id.to_owned(), what: what.to_owned(), verdict, detail }
    }

    fn not_applicable(id: &str, what: &str, why: &str) -> Check {
        Check::new(id, what, None, why.to_owned())
    }

    fn not_measured(id: &str, what: &str, why: &str) -> Check {
        Check { verdict: Verdict::NotMeasured, ..Check::not_applicable(id, what, why) }
    }
}

/// X1: what the phases saw by cause adds up to all that the engine counted, and that to what its system calls moved,
/// which is counted apart. Exact. It fails when a byte has no cause or is moved past the meter; that phases add up to the
/// whole guards the harness against itself. `totals` are the sum over the causes and the count of the system calls, read
/// while no file moved; `None` if nobody counts system calls.
pub fn x1_causes_add_up(
    phases: &IoStats,
    at_end: Option<&IoStats>,
    totals: Option<(IoTotal, IoTotal)>,
) -> Check {
    let what = "bytes by cause add up to what the phases and the system calls moved";
    let Some(at_end) = at_end else { return Check::not_applicable("X1", what, "the engine counts no bytes") };
    let (sum, counted) = (phases.total(), at_end.total());
    let mut detail = format!(
        "phases: written {} of {}, read {} of {}, calls {} of {}",
        sum.write_bytes,
        counted.write_bytes,
        sum.read_bytes,
        counted.read_bytes,
        sum.read_calls + sum.write_calls,
        counted.read_calls + counted.write_calls
    );
    // Without the count of the system calls there is no second opinion, so no pass.
    let mut holds = (sum != counted).then_some(false);
    match totals {
        Some((causes, calls)) => {
            let by_calls = (causes.read_bytes, causes.write_bytes) == (calls.read_bytes, calls.write_bytes);
            holds = Some(by_calls && sum == counted);
            detail += &format!(
                "; causes: written {} of {} in system calls, read {} of {}",
                causes.write_bytes, calls.write_bytes, causes.read_bytes, calls.read_bytes
            );
        }
        None => detail += "; system calls not counted",
    }
    Check::new("X1", what, holds, detail)
}

/// X2 (writes) and X5 (reads): the engine's meter against the kernel's count of system calls. 0.1 %.
pub fn x2_x5_meter_against_kernel(
    meter: Option<&IoStats>,
    kernel: Option<ProcIo>,
    mapped: bool,
) -> [Check; 2] {
    let whats = ["metered writes equal the kernel's wchar", "metered reads equal the kernel's rchar"];
    let (Some(meter), Some(kernel)) = (meter, kernel) else {
        let why = "the engine counts no bytes, or the kernel does not tell";
        return [Check::not_applicable("X2", whats[0], why), Check::not_applicable("X5", whats[1], why)];
    };
    let total = meter.total();
    let compare = |id: &str, what: &str, metered: u64, seen: u64, foreign_max: u64| {
        let off = metered.abs_diff(seen);
        let is_foreign = seen > metered && off <= foreign_max;
        let holds = is_foreign || off as f64 <= BYTES_TOLERANCE * metered.max(seen) as f64;
        Check::new(id, what, Some(holds), format!("meter {metered}, kernel {seen}, apart by {off}"))
    };
    let writes = compare("X2", whats[0], total.write_bytes, kernel.write_bytes, 0);
    let reads = if mapped {
        Check::not_applicable("X5", whats[1], "mapped reads are invisible to both")
    } else {
        compare("X5", whats[1], total.read_bytes, kernel.read_bytes, LIBRARY_READ_BYTES_MAX)
    };
    [writes, reads]
}

/// X6: the files the engine knows are the files that are there, with the lengths it says; and what is allocated
/// is explained by lengths.
pub fn x6_files(known: &[FileUse], walked: &[(String, DirSize)]) -> Check {
    let what = "the engine's list of files equals the directory, byte for byte";
    if known.is_empty() && walked.is_empty() {
        return Check::not_applicable("X6", what, "the engine has no files");
    }
    if known.is_empty() {
        return Check::not_applicable("X6", what, "the engine does not list its files");
    }
    let mut known: Vec<_> = known.iter().map(|file| (file.name.as_str(), file.bytes)).collect();
    known.sort_unstable();
    let on_disk: Vec<_> = walked.iter().map(|(name, size)| (name.as_str(), size.apparent_bytes)).collect();
    let apparent: u64 = on_disk.iter().map(|(_, bytes)| bytes).sum();
    let allocated: u64 = walked.iter().map(|(_, size)| size.allocated_bytes).sum();
    let slack = (apparent as f64 * ALLOCATED_TOLERANCE) as u64 + walked.len() as u64 * BLOCK_BYTES;
    let explained = allocated <= apparent + slack;
    let odd = known
        .iter()
        .filter(|file| !on_disk.contains(file))
        .chain(on_disk.iter().filter(|file| !known.contains(file)));
    let odd: Vec<_> = odd.take(4).map(|(name, bytes)| format!("{name} ({bytes} B)")).collect();
    let sizes = format!("{} files, S {apparent} B, A {allocated} B", on_disk.len());
    let detail = match (odd.is_empty(), explained) {
        (true, true) => sizes,
        (true, false) => format!("{sizes}: more is allocated than lengths explain"),
        (false, _) => format!("{sizes}; differ: {}", odd.join(", ")),
    };
    Check::new("X6", what, Some(known == on_disk && explained), detail)
}

/// X7: a full scan finds what was acknowledged, entry by entry. Exact.
pub fn x7_contents(scanned: Option<&Scanned>) -> Check {
    let what = "a full scan finds exactly what was acknowledged";
    let Some(scanned) = scanned else { return Check::not_applicable("X7", what, "no final scan was made") };
    let (found, expected) = (scanned.found, scanned.expected);
    Check::new(
        "X7",
        what,
        Some(found == expected && scanned.wrong == 0),
        format!(
            "{} entries of {}, digest {:016x} of {:016x}, {} wrong",
            found.entries, expected.entries, found.xor, expected.xor, scanned.wrong
        ),
    )
}

/// X8: operations issued = completed + failed; and where the engine counts user bytes, it counted the same.
pub fn x8_counts(moved: &Moved, engine_written_bytes: Option<u64>) -> Check {
    let adds_up = moved.issued == moved.completed + moved.errors;
    let engine = engine_written_bytes.filter(|bytes| *bytes > 0);
    let agrees = engine.is_none_or(|bytes| bytes == moved.user_bytes);
    let said = engine.map_or("not counted by the engine".to_owned(), |bytes| format!("engine {bytes}"));
    Check::new(
        "X8",
        "operations issued = completed + failed, and the engine saw the same bytes",
        Some(adds_up && agrees),
        format!(
            "{} = {} + {}; user bytes {} ({said})",
            moved.issued, moved.completed, moved.errors, moved.user_bytes
        ),
    )
}

/// Every answer was the expected one.
pub fn answers(wrong: u64, reads: u64, kept: &[String]) -> Check {
    if reads == 0 && wrong == 0 {
        return Check::not_applicable(
            "answers",
            "every read gave the acknowledged version",
            "nothing was read",
        );
    }
    let detail = match kept.first() {
        Some(first) => format!("{} wrong; first: {first}", units::count(wrong)),
        None => format!("{} reads checked, 0 wrong", units::count(reads)),
    };
    Check::new("answers", "every read gave the acknowledged version", Some(wrong == 0), detail)
}

/// The engine's own check of everything found nothing.
pub fn sound(problems: u64, first: Option<String>, blocks: u64) -> Check {
    let what = "the engine's own verify finds no damage";
    if problems == 0 && blocks == 0 {
        return Check::not_applicable("sound", what, "it looked at no block");
    }
    let detail = first.unwrap_or_else(|| format!("{} blocks looked at", units::count(blocks)));
    Check::new("sound", what, Some(problems == 0), detail)
}

/// Engines that were given the same stream hold the same contents.
pub fn same_contents(digests: &[(String, String, String)]) -> Check {
    let what = "engines given the same operations end with the same contents";
    let Some((first, others)) = digests.split_first().filter(|(_, others)| !others.is_empty()) else {
        return Check::not_applicable("same", what, "only one engine finished the whole stream");
    };
    let odd = others.iter().find(|other| (&other.1, &other.2) != (&first.1, &first.2));
    let detail = match odd {
        None => format!("{} engines, contents {}", digests.len(), first.2),
        Some(other) if other.1 != first.1 => {
            format!("operations differ: {} ran {}, {} ran {}", first.0, first.1, other.0, other.1)
        }
        Some(other) => format!("{} holds {}, {} holds {}", first.0, first.2, other.0, other.2),
    };
    Check::new("same", what, Some(odd.is_none()), detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kv_api::Cause;

    #[test]
    fn a_missing_byte_fails_x1_and_a_percent_fails_x2() {
        let mut io = IoStats::default();
        io.of_mut(Cause::Wal).write_bytes = 1_000_000;
        assert_eq!(x1_causes_add_up(&io, Some(&io), None).verdict, Verdict::NotApplicable);
        let mut more = io;
        more.of_mut(Cause::Flush).write_bytes = 1;
        assert_eq!(x1_causes_add_up(&io, Some(&more), None).verdict, Verdict::Fail);
        assert_eq!(x1_causes_add_up(&io, None, None).verdict, Verdict::NotApplicable);
        let causes = IoTotal { write_bytes: 1_000_000, ..IoTotal::default() };
        let calls = IoTotal { write_bytes: 1_000_001, ..causes };
        assert_eq!(x1_causes_add_up(&io, Some(&io), Some((causes, causes))).verdict, Verdict::Pass);
        assert_eq!(x1_causes_add_up(&io, Some(&io), Some((causes, calls))).verdict, Verdict::Fail);
        let kernel = |write_bytes| Some(ProcIo { read_bytes: 0, write_bytes });
        let [x2, x5] = x2_x5_meter_against_kernel(Some(&io), kernel(1_000_900), false);
        assert_eq!((x2.verdict, x5.verdict), (Verdict::Pass, Verdict::Pass));
        let [x2, _] = x2_x5_meter_against_kernel(Some(&io), kernel(1_010_000), false);
        assert_eq!(x2.verdict, Verdict::Fail);
        let read = |read_bytes| Some(ProcIo { read_bytes, write_bytes: 1_000_000 });
        let x5 = |kernel| x2_x5_meter_against_kernel(Some(&io), kernel, false)[1].verdict;
        assert_eq!((x5(read(4)), x5(read(4096))), (Verdict::Pass, Verdict::Fail));
    }

    #[test]
    fn what_was_not_looked_at_is_no_pass() {
        assert_eq!(answers(0, 0, &[]).verdict, Verdict::NotApplicable);
        assert_eq!(answers(0, 5, &[]).verdict, Verdict::Pass);
        assert_eq!(answers(1, 5, &["x".to_owned()]).verdict, Verdict::Fail);
        assert_eq!(sound(0, None, 0).verdict, Verdict::NotApplicable);
        assert_eq!(sound(1, None, 0).verdict, Verdict::Fail);
    }

    #[test]
    fn an_unknown_file_fails_x6() {
        let file = |name: &str, bytes| FileUse { name: name.to_owned(), bytes, is_log: false };
        let on_disk = |name: &str, bytes| {
            (name.to_owned(), DirSize { apparent_bytes: bytes, allocated_bytes: bytes, files: 1 })
        };
        assert_eq!(x6_files(&[file("a", 5)], &[on_disk("a", 5)]).verdict, Verdict::Pass);
        assert_eq!(x6_files(&[file("a", 5)], &[on_disk("a", 6)]).verdict, Verdict::Fail);
        let left = x6_files(&[file("a", 5)], &[on_disk("a", 5), on_disk("b", 1)]);
        assert!(left.verdict == Verdict::Fail && left.detail.contains("b (1 B)"), "{left:?}");
        assert_eq!(x6_files(&[], &[]).verdict, Verdict::NotApplicable);
    }

    #[test]
    fn contents_must_be_the_same_everywhere() {
        let row = |engine: &str, contents: &str| (engine.to_owned(), "ops".to_owned(), contents.to_owned());
        assert_eq!(same_contents(&[row("a", "x"), row("b", "x")]).verdict, Verdict::Pass);
        assert_eq!(same_contents(&[row("a", "x"), row("b", "y")]).verdict, Verdict::Fail);
        assert_eq!(same_contents(&[row("a", "x")]).verdict, Verdict::NotApplicable);
    }
}
