//! Conversions between the integer widths of files and of memory that cannot panic and cannot wrap.

/// A length as a file stores it. A `usize` fits a `u64` on every platform that Rust supports.
pub fn to_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// A length as a file stores it in four bytes; callers keep it in range, the ceiling keeps it harmless.
pub fn to_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// A number from a file as a length in memory; one that does not fit is refused by the bounds check that follows.
pub fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// A four-byte number from a file as a length in memory.
pub fn wide(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// `n` rounded up to a multiple of `unit`, at the ceiling if that does not fit.
pub fn round_up(n: u64, unit: u64) -> u64 {
    n.checked_next_multiple_of(unit.max(1)).unwrap_or(u64::MAX)
}
