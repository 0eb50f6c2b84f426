//! Tables whose `kind` or `dist` says which other keys they take: distributions, sizes, scans, arrivals.

use super::Result;
use super::table::{Section, Table};
use crate::arrivals::{Arrivals, Rate};
use crate::dist::{AgeShape, Dist};
use crate::sizes::Sizes;
use crate::spec::ScanSpec;
use crate::values::SELF_DESCRIBING_LEN;
use toml::de::DeValue;

pub(super) static DIST: Section = Section {
    name: "phase.dist",
    keys: &["kind", "theta", "data", "ops", "p", "f", "x", "shape", "span_days", "regions", "sigma", "every"],
};
pub(super) static VALUE: Section =
    Section { name: "data.value", keys: &["dist", "size", "min", "max", "k", "sigma", "compressibility"] };
pub(super) static SCAN: Section = Section { name: "phase.scan", keys: &["dist", "limit", "k", "sigma"] };
pub(super) static ARRIVALS: Section = Section {
    name: "phase.arrivals",
    keys: &["kind", "rate", "high", "low", "on_s", "off_s", "amplitude", "period_s", "phase", "file"],
};

const VALUE_BYTES_MAX: u64 = 64 << 20;
const PARETO_BYTES_MAX_DEFAULT: u64 = 64 << 10;
const SCAN_LIMIT_MAX: u64 = u32::MAX as u64;
const SCAN_LIMIT_DEFAULT: u64 = 100;
/// The constants of mixgraph, for values and for scans.
const VALUE_K_SIGMA: (f64, f64) = (0.2615, 25.45);
const SCAN_K_SIGMA: (f64, f64) = (2.517, 14.236);
const SHARE_MIN: f64 = 1e-6;
const SPAN_DAYS: (f64, f64) = (91.0, 36_500.0);
const RATE_MAX: f64 = 1e9;
const SECONDS: (f64, f64) = (0.001, 86_400.0);

/// Refuses keys besides `always` that have no effect with `word`.
fn only(table: &Table<'_>, section: &Section, word: &str, always: &[&str], with: &[&str]) -> Result<()> {
    for key in section.keys {
        if table.get(key).is_some() && !always.contains(key) && !with.contains(key) {
            return Err(table.invalid(key, format!("has no effect with {word}")));
        }
    }
    Ok(())
}

pub(super) fn dist(phase: &Table<'_>) -> Result<Dist> {
    let Some(table) = phase.table("dist", &DIST)? else { return Ok(Dist::Uniform) };
    let words = &[
        "uniform",
        "zipf",
        "ycsb-zipf",
        "latest",
        "hotspot",
        "sequential",
        "permutation",
        "exponential",
        "exp-range",
        "temporal",
        "spatial",
        "shifting-zipf",
    ];
    let mut found = table.word("kind", words, &Dist::DEFAULTS)?.ok_or_else(|| table.missing("kind"))?;
    let number = |key, into: &mut f64, min, max| -> Result<()> {
        *into = table.number(key, min, max)?.unwrap_or(*into);
        Ok(())
    };
    let keys: &[&str] = match &mut found {
        Dist::Uniform | Dist::YcsbZipf | Dist::Latest | Dist::Sequential | Dist::Permutation => &[],
        Dist::Zipf { theta } => {
            number("theta", theta, 0.01, 10.0)?;
            &["theta"]
        }
        Dist::Hotspot { data, ops } => {
            number("data", data, 0.0, 1.0)?;
            number("ops", ops, 0.0, 1.0)?;
            &["data", "ops"]
        }
        Dist::Exponential { p, f } => {
            number("p", p, SHARE_MIN, 1.0 - SHARE_MIN)?;
            number("f", f, SHARE_MIN, 1.0 / SHARE_MIN)?;
            &["p", "f"]
        }
        Dist::ExpRange { x } => {
            number("x", x, 0.01, 700.0)?;
            &["x"]
        }
        Dist::Temporal { shape, span_days } => {
            let shapes = [AgeShape::Buckets, AgeShape::Weibull];
            *shape = table.word("shape", &["buckets", "weibull"], &shapes)?.unwrap_or(*shape);
            number("span_days", span_days, SPAN_DAYS.0, SPAN_DAYS.1)?;
            &["shape", "span_days"]
        }
        Dist::Spatial { regions, theta, sigma } => {
            *regions = table.integer("regions", 1, u64::from(u32::MAX))?.unwrap_or(*regions);
            number("theta", theta, 0.01, 10.0)?;
            number("sigma", sigma, 0.001, 1_000.0)?;
            &["regions", "theta", "sigma"]
        }
        Dist::ShiftingZipf { theta, every } => {
            number("theta", theta, 0.01, 10.0)?;
            *every = table.integer("every", 1, u64::MAX >> 1)?.unwrap_or(*every);
            &["theta", "every"]
        }
    };
    only(&table, &DIST, found.name(), &["kind"], keys)?;
    Ok(found)
}

/// The sizes of values, and the share of zeros in them.
pub(super) fn value(data: &Table<'_>) -> Result<(Sizes, f64)> {
    let Some(table) = data.table("value", &VALUE)? else { return Ok((Sizes::Fixed { size: 100 }, 0.0)) };
    let bytes = |key: &'static str, least: u64, default: Option<u64>| -> Result<u32> {
        let size = table.size(key, least, VALUE_BYTES_MAX)?.or(default).ok_or_else(|| table.missing(key))?;
        Ok(size as u32)
    };
    let least = SELF_DESCRIBING_LEN as u64;
    let word = table.word("dist", &["fixed", "uniform", "pareto"], &["fixed", "uniform", "pareto"])?;
    let word = word.unwrap_or("fixed");
    let (sizes, keys): (Sizes, &[&str]) = match word {
        "uniform" => {
            let min = bytes("min", least, None)?;
            (Sizes::Uniform { min, max: bytes("max", u64::from(min), None)? }, &["min", "max"])
        }
        "pareto" => {
            let k = table.number("k", 0.0, 100.0)?.unwrap_or(VALUE_K_SIGMA.0);
            let sigma = table.number("sigma", SHARE_MIN, 1e9)?.unwrap_or(VALUE_K_SIGMA.1);
            let min = bytes("min", least, Some(least))?;
            let default = PARETO_BYTES_MAX_DEFAULT.max(u64::from(min));
            let max = bytes("max", u64::from(min), Some(default))?;
            (Sizes::Pareto { k, sigma, min, max }, &["k", "sigma", "min", "max"])
        }
        _ => (Sizes::Fixed { size: bytes("size", least, Some(100))? }, &["size"]),
    };
    only(&table, &VALUE, word, &["dist", "compressibility"], keys)?;
    Ok((sizes, table.number("compressibility", 0.0, 1.0)?.unwrap_or(0.0)))
}

pub(super) fn scan(phase: &Table<'_>) -> Result<ScanSpec> {
    let mut limit = SCAN_LIMIT_DEFAULT as u32;
    let Some(table) = phase.table("scan", &SCAN)? else { return Ok(ScanSpec::Fixed { limit }) };
    limit = table.integer("limit", 1, SCAN_LIMIT_MAX)?.map_or(limit, |limit| limit as u32);
    let k = table.number("k", 0.0, 100.0)?.unwrap_or(SCAN_K_SIGMA.0);
    let sigma = table.number("sigma", SHARE_MIN, 1e9)?.unwrap_or(SCAN_K_SIGMA.1);
    let kinds =
        [ScanSpec::Fixed { limit }, ScanSpec::Uniform { limit }, ScanSpec::Pareto { limit, k, sigma }];
    let found = table.word("dist", &["fixed", "uniform", "pareto"], &kinds)?.unwrap_or(kinds[0]);
    let (word, keys): (&str, &[&str]) = match found {
        ScanSpec::Fixed { .. } => ("fixed", &[]),
        ScanSpec::Uniform { .. } => ("uniform", &[]),
        ScanSpec::Pareto { .. } => ("pareto", &["k", "sigma"]),
    };
    only(&table, &SCAN, word, &["dist", "limit"], keys)?;
    Ok(found)
}

pub(super) fn arrivals(phase: &Table<'_>) -> Result<Option<Arrivals>> {
    let Some(table) = phase.table("arrivals", &ARRIVALS)? else { return Ok(None) };
    let words = &["constant", "poisson", "on_off", "sine", "trace"];
    let word = table.word("kind", words, words)?.ok_or_else(|| table.missing("kind"))?;
    let given = rate(&table)?;
    let rate = || given.ok_or_else(|| table.missing("rate"));
    let or =
        |key, min, max, default: f64| -> Result<f64> { Ok(table.number(key, min, max)?.unwrap_or(default)) };
    let (found, keys): (Arrivals, &[&str]) = match word {
        "constant" => (Arrivals::Constant { rate: rate()? }, &["rate"]),
        "poisson" => (Arrivals::Poisson { rate: rate()? }, &["rate"]),
        "on_off" => {
            let high = or("high", SHARE_MIN, 1e6, 10.0)?;
            let low = or("low", 0.0, 1e6, 1.0)?;
            let on_s = or("on_s", SECONDS.0, SECONDS.1, 1.0)?;
            let off_s = or("off_s", SECONDS.0, SECONDS.1, 9.0)?;
            (
                Arrivals::OnOff { rate: rate()?, high, low, on_s, off_s },
                &["rate", "high", "low", "on_s", "off_s"],
            )
        }
        "sine" => {
            let amplitude = or("amplitude", 0.0, 1.0, 0.5)?;
            let period_s = or("period_s", SECONDS.0, SECONDS.1, 60.0)?;
            let phase = or("phase", 0.0, std::f64::consts::TAU, 0.0)?;
            (
                Arrivals::Sine { rate: rate()?, amplitude, period_s, phase },
                &["rate", "amplitude", "period_s", "phase"],
            )
        }
        _ => {
            let file = table.text("file")?.ok_or_else(|| table.missing("file"))?;
            (Arrivals::Trace { file: file.to_string() }, &["file"])
        }
    };
    only(&table, &ARRIVALS, word, &["kind"], keys)?;
    Ok(Some(found))
}

/// Requests a second, or a text such as "0.8x_max".
fn rate(table: &Table<'_>) -> Result<Option<Rate>> {
    let Some(DeValue::String(text)) = table.get("rate").map(toml::Spanned::get_ref) else {
        return Ok(table.number("rate", SHARE_MIN, RATE_MAX)?.map(Rate::PerSecond));
    };
    let factor = text.strip_suffix("x_max").and_then(|factor| factor.parse::<f64>().ok());
    match factor.filter(|factor| (SHARE_MIN..=1_000.0).contains(factor)) {
        Some(factor) => Ok(Some(Rate::TimesMax(factor))),
        None => Err(table.invalid("rate", format!("must be a number or as in \"0.8x_max\", not \"{text}\""))),
    }
}
