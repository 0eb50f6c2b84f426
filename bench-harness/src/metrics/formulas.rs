//! The formulas and nothing else. "Not measured" is `None`, never zero.

use kv_api::{Cause, IoStats};

/// `bytes` over `per`, `None` when there is nothing to divide by.
fn ratio(bytes: u64, per: u64) -> Option<f64> {
    (per > 0).then(|| bytes as f64 / per as f64)
}

/// B / U: bytes written for user writes (log, flush, compaction, checkpoint, manifest, pages, free map, ingest) over
/// key and value bytes of acknowledged writes. Zero-filled log segments, opening and backups are not in it.
pub fn write_amplification(io: Option<&IoStats>, user_bytes: u64) -> Option<f64> {
    ratio(io?.amplified_write_bytes(), user_bytes)
}

/// B\[c\] / U for each cause c that counts, largest first: where my byte went.
pub fn write_amplification_by_cause(io: Option<&IoStats>, user_bytes: u64) -> Vec<(Cause, f64)> {
    let rows = io.into_iter().flat_map(IoStats::nonzero);
    let counted = rows.filter(|(cause, row)| cause.counts_as_write_amplification() && row.write_bytes > 0);
    let mut out: Vec<_> =
        counted.filter_map(|(cause, row)| Some((cause, ratio(row.write_bytes, user_bytes)?))).collect();
    out.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    out
}

/// Bytes read from files for user reads: points, scans, indexes and filters. Reads that updates and
/// compactions need are not in it.
pub fn user_read_bytes(io: &IoStats) -> u64 {
    [Cause::PointRead, Cause::ScanRead, Cause::IndexRead, Cause::FilterRead]
        .into_iter()
        .map(|cause| io.of(cause).read_bytes)
        .sum()
}

/// Bytes read for the sake of user writes over U, for each cause, largest first: pages that updates change, and the
/// inputs of flushes, compactions and checkpoints.
pub fn upkeep_read_by_cause(io: Option<&IoStats>, user_bytes: u64) -> Vec<(Cause, f64)> {
    let rows = io.into_iter().flat_map(IoStats::nonzero);
    let for_writes = |cause: &Cause| *cause == Cause::UpdateRead || cause.counts_as_write_amplification();
    let for_users = [Cause::PointRead, Cause::ScanRead, Cause::IndexRead, Cause::FilterRead];
    let counted =
        rows.filter(|(cause, row)| for_writes(cause) && !for_users.contains(cause) && row.read_bytes > 0);
    let mut out: Vec<_> =
        counted.filter_map(|(cause, row)| Some((cause, ratio(row.read_bytes, user_bytes)?))).collect();
    out.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    out
}

/// R / (gets + scans): file bytes per read operation.
pub fn read_bytes_per_read(io: Option<&IoStats>, gets: u64, scans: u64) -> Option<f64> {
    ratio(user_read_bytes(io?), gets + scans)
}

/// R / V: file bytes read for user reads over key and value bytes that reads returned.
pub fn read_amplification(io: Option<&IoStats>, returned_bytes: u64) -> Option<f64> {
    ratio(user_read_bytes(io?), returned_bytes)
}

/// A count per operation.
pub fn per_op(count: u64, ops: u64) -> Option<f64> {
    ratio(count, ops)
}

/// A / Live or S / Live: bytes of files over key and value bytes alive.
pub fn space_amplification(file_bytes: Option<u64>, live_bytes: u64) -> Option<f64> {
    ratio(file_bytes?, live_bytes)
}

/// Operations per second.
pub fn ops_per_second(ops: u64, wall_ns: u64) -> Option<f64> {
    (wall_ns > 0 && ops > 0).then(|| ops as f64 * 1e9 / wall_ns as f64)
}

/// CPU nanoseconds of the process per operation.
pub fn cpu_ns_per_op(cpu_ns: u64, ops: u64) -> Option<f64> {
    ratio(cpu_ns, ops)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amplification_is_bytes_over_bytes_and_nothing_measured_is_not_zero() {
        let mut io = IoStats::default();
        io.of_mut(Cause::Wal).write_bytes = 120;
        io.of_mut(Cause::Compaction { to: 2 }).write_bytes = 480;
        io.of_mut(Cause::Prepare).write_bytes = 9_999;
        io.of_mut(Cause::PointRead).read_bytes = 8_192;
        io.of_mut(Cause::Compaction { to: 2 }).read_bytes = 9_999;
        assert_eq!(write_amplification(Some(&io), 100), Some(6.0));
        assert_eq!(write_amplification(Some(&io), 0), None);
        assert_eq!(write_amplification(None, 100), None);
        let causes = write_amplification_by_cause(Some(&io), 100);
        assert_eq!(causes, [(Cause::Compaction { to: 2 }, 4.8), (Cause::Wal, 1.2)]);
        assert_eq!(read_bytes_per_read(Some(&io), 2, 0), Some(4_096.0));
        io.of_mut(Cause::UpdateRead).read_bytes = 100;
        let reads = upkeep_read_by_cause(Some(&io), 100);
        assert_eq!(reads, [(Cause::Compaction { to: 2 }, 99.99), (Cause::UpdateRead, 1.0)]);
        assert_eq!(space_amplification(None, 10), None);
        assert_eq!(ops_per_second(10, 2_000_000_000), Some(5.0));
    }
}
