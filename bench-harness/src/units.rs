//! Numbers as people read them: `8.00 KiB`, `1,000,000`, `1.50 s`.

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

/// Seconds since 1970 as date and time: `2026-11-21T13:55:49Z`. The calendar is that of Hinnant's
/// `civil_from_days`, whose year begins in March.
pub fn utc(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400 + 719_468, unix_s % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
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
    fn the_calendar_knows_leap_years() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_795_269_349), "2026-11-21T13:55:49Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(1_000_000), "1,000,000");
        assert_eq!(count(999), "999");
        assert_eq!(bytes(32 << 20), "32.0 MiB");
        assert_eq!(nanos(3_214), "3.21 us");
        assert_eq!(or_dash(None), "-");
        assert_eq!(nearest("btre", ["lsm", "btree"]), Some("btree"));
        assert_eq!(nearest("zzzzzzzz", ["lsm", "btree"]), None);
    }

    #[test]
    fn engine_options_and_workload_files_read_sizes_alike() {
        // Neither crate may depend on the other, so their two parsers meet here.
        let texts = [
            "0",
            "100",
            "100B",
            "64KiB",
            "64 KiB",
            "8kib",
            "1.5GiB",
            "5MB",
            "2tib",
            "3KB",
            " 7 ",
            "",
            "KiB",
            "-1",
            "1..2MiB",
            "1K",
            "1M",
            "1_000",
            "1XB",
            "1 TB",
            "99999999999TiB",
            "nan",
            "inf",
            "1e3",
            "+5",
            ".5KiB",
        ];
        for text in texts {
            let option = kv_api::options::parse_size("size", text).ok();
            assert_eq!(option, workloads::units::parse_size(text).ok(), "{text:?}");
        }
    }
}
