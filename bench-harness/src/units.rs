//! Numbers as people write and read them: `8KiB`, `1_000_000`, `1.5 s`.

/// Parses a number of bytes: a plain number, or one with `KiB`, `MiB`, `GiB`, `KB`, `MB`, `GB` or `B`.
///
/// ```
/// use bench_harness::units::parse_bytes;
/// assert_eq!(parse_bytes("8KiB"), Some(8192));
/// assert_eq!(parse_bytes("1_000"), Some(1000));
/// assert_eq!(parse_bytes("many"), None);
/// ```
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.replace('_', "").parse().ok()?;
    let scale = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "gib" | "g" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return None,
    };
    number.checked_mul(scale)
}

/// Bytes with a binary unit and three significant digits or so: `512 B`, `31.9 MiB`.
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{count} B") } else { format!("{} {unit}", three(value)) };
        }
        value /= 1024.0;
    }
    format!("{} TiB", three(value))
}

/// A count with thousands set apart: `1,000,000`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Nanoseconds with a unit: `740 ns`, `3.21 us`, `1.50 s`.
pub fn nanos(ns: u64) -> String {
    let value = ns as f64;
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} us", three(value / 1e3)),
        1_000_000..1_000_000_000 => format!("{} ms", three(value / 1e6)),
        _ => format!("{} s", three(value / 1e9)),
    }
}

/// About three significant digits.
pub fn three(value: f64) -> String {
    match value.abs() {
        v if v >= 99.95 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A measured number, or a dash where nothing was measured.
pub fn or_dash(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), three)
}

/// The known name nearest to `word`, if one is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(word, name), name))
        .filter(|(distance, name)| *distance <= name.len().max(word.len()).div_ceil(2))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(1_000_000), "1,000,000");
        assert_eq!(count(999), "999");
        assert_eq!(bytes(32 << 20), "32.0 MiB");
        assert_eq!(nanos(3_214), "3.21 us");
        assert_eq!(or_dash(None), "-");
        assert_eq!(nearest("btre", ["lsm", "btree"]), Some("btree"));
        assert_eq!(nearest("zzzzzzzz", ["lsm", "btree"]), None);
        assert_eq!(parse_bytes("32 MiB"), Some(32 << 20));
        assert_eq!(parse_bytes("99999999999GiB"), None);
    }
}
