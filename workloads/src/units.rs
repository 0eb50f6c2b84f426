//! Sizes as people write them: "32MiB", "100 B", "5MB", or a plain number of bytes.

const UNITS: [(&str, u64); 8] = [
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
];

/// Reads a size in bytes. Upper and lower case are alike; fractions are taken ("1.5GiB").
///
/// ```
/// assert_eq!(workloads::units::parse_size("32MiB"), Ok(32 << 20));
/// assert!(workloads::units::parse_size("32 parsecs").is_err());
/// ```
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("must be a size such as \"32MiB\", \"64KiB\" or \"100B\", not \"{text}\"");
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    let factor = match unit.as_str() {
        "" => 1,
        unit => UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor).ok_or_else(wrong)?,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(wrong);
    }
    let bytes = number.parse::<f64>().map_err(|_| wrong())? * factor as f64;
    if bytes < u64::MAX as f64 { Ok(bytes.round() as u64) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in
            [("0", 0), ("100B", 100), ("64 KiB", 65_536), ("1.5gib", 3 << 29), ("5MB", 5_000_000)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1MiB", "1..2MiB", "1XB", "99999999999TiB", "nan"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
