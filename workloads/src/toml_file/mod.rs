//! The TOML workload format: text in, a [`Spec`] with every default filled in out, or an error with its line.
//!
//! `workloads/files/reference.toml` shows every key. The sections below are the format: a key that stands in
//! none of them is refused. Parts of the format that this version does not run (open loops and their arrivals,
//! matrix axes, the end at a steady state, lists of thread counts) are known here and refused by name.

mod phase;
mod table;

use crate::error::{Problem, SpecError};
use crate::keys::KeyKind;
use crate::spec::{
    Amount, Base, DataSpec, Durability, KeySpec, RunSpec, Spec, ValueDist, ValueSpec, VerifySpec,
};
use crate::values::SELF_DESCRIBING_LEN;
use table::{Section, Source, Table};
use toml::de::{DeTable, DeValue};

type Result<T> = std::result::Result<T, SpecError>;

/// The version of the format that this crate reads.
pub const SCHEMA: u32 = 1;
const VALUE_BYTES_MAX: u64 = 64 << 20;
const RECORDS_MAX: u64 = 1 << 40;
const THREADS_MAX: u64 = 1024;
const MEMORY_BUDGET_MIN: u64 = 64 << 10;
const MEMORY_BUDGET_DEFAULT: u64 = 32 << 20;
const SEED_DEFAULT: u64 = 42;

static FILE: Section = Section {
    name: "the file",
    keys: &["schema", "name", "purpose", "claims", "data", "run", "phase", "verify", "matrix"],
};
static DATA: Section = Section { name: "data", keys: &["records", "key", "value"] };
static KEY: Section = Section { name: "data.key", keys: &["kind"] };
static VALUE: Section = Section { name: "data.value", keys: &["dist", "size", "compressibility"] };
static RUN: Section =
    Section { name: "run", keys: &["memory_budget", "durability", "threads", "seed", "repeats"] };
static VERIFY: Section = Section { name: "verify", keys: &["read_sample", "final_scan"] };

/// Reads a workload from the text of a file; `file` is what errors call it.
///
/// ```
/// let text = "schema = 1\nname = \"tiny\"\ndata = { recods = 10 }\n";
/// let error = workloads::toml_file::parse("tiny.toml", text).unwrap_err();
/// assert_eq!(error.to_string(), "tiny.toml:3: unknown key \"recods\" in data; did you mean \"records\"?");
/// ```
pub fn parse(file: &str, text: &str) -> Result<Spec> {
    let source = Source { file, text };
    let syntax = |error: toml::de::Error| {
        source.error(error.span().map(|span| span.start), Problem::Syntax(error.message().to_string()))
    };
    let parsed = DeTable::parse(text).map_err(syntax)?;
    let file = Table::new(source, &FILE, parsed.get_ref(), 0)?;
    file.refuse("matrix", "\"matrix\"", "write one file per value")?;
    let schema = file.integer("schema", 0, u64::MAX)?.ok_or_else(|| file.missing("schema"))?;
    if schema != u64::from(SCHEMA) {
        return Err(file.invalid("schema", format!("is {schema}; this version reads {SCHEMA}")));
    }
    let name = file.text("name")?.ok_or_else(|| file.missing("name"))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    if name.is_empty() || !name.chars().all(plain) {
        return Err(file.invalid("name", "must be made of letters, digits, '-', '_' and '.'"));
    }
    let data = data(&file)?;
    Ok(Spec {
        schema: SCHEMA,
        name: name.to_string(),
        purpose: file.text("purpose")?.unwrap_or_default().to_string(),
        claims: file.texts("claims")?,
        data,
        run: run(&file)?,
        phases: phase::phases(&file)?,
        verify: verify(&file)?,
    })
}

/// Reads a workload from a file.
pub fn read(path: &std::path::Path) -> Result<Spec> {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&file, &text),
        Err(source) => Err(SpecError { file, line: None, problem: Problem::Read(source) }),
    }
}

/// The text of a file that [`parse`] reads as this workload, every default written out: what a result keeps so
/// that its run can be repeated. Fails for a seed of 2^63 or more, which TOML cannot hold.
///
/// ```
/// use workloads::{ready, toml_file};
/// let spec = ready::find("balanced").unwrap();
/// let text = toml_file::to_text(&spec).unwrap();
/// assert_eq!(toml_file::parse("balanced.toml", &text).unwrap(), spec);
/// ```
pub fn to_text(spec: &Spec) -> std::result::Result<String, toml::ser::Error> {
    toml::to_string(spec)
}

fn data(file: &Table<'_>) -> Result<DataSpec> {
    let data = file.table("data", &DATA)?.ok_or_else(|| file.missing("data"))?;
    let records = amount(&data, "records", &[("x_memory", Base::Memory)], RECORDS_MAX)?;
    let key = match data.table("key", &KEY)? {
        Some(key) => {
            let kinds = [KeyKind::Int8, KeyKind::Hash16, KeyKind::Text24];
            key.word("kind", &["int8", "hash16", "text24"], &kinds)?
        }
        None => None,
    };
    let value = data.table("value", &VALUE)?;
    let value = value.as_ref();
    if let Some(value) = value
        && matches!(value.text("dist")?, Some("uniform" | "pareto"))
    {
        let what = "a distribution of value sizes other than \"fixed\"";
        value.refuse("dist", what, "write dist = \"fixed\"")?;
    }
    let sizes = SELF_DESCRIBING_LEN as u64..=VALUE_BYTES_MAX;
    let size = value.map(|value| value.size("size", *sizes.start(), *sizes.end())).transpose()?.flatten();
    let dist = value.map(|value| value.word("dist", &["fixed"], &[ValueDist::Fixed])).transpose()?.flatten();
    let compressibility = value.map(|value| value.number("compressibility", 0.0, 1.0)).transpose()?.flatten();
    Ok(DataSpec {
        records: records.ok_or_else(|| data.missing("records"))?,
        key: KeySpec { kind: key.unwrap_or(KeyKind::Hash16) },
        value: ValueSpec {
            dist: dist.unwrap_or(ValueDist::Fixed),
            size: size.unwrap_or(100) as u32,
            compressibility: compressibility.unwrap_or(0.0),
        },
    })
}

fn run(file: &Table<'_>) -> Result<RunSpec> {
    let mut spec = RunSpec {
        memory_budget: MEMORY_BUDGET_DEFAULT,
        durability: Durability::Disk,
        threads: 1,
        seed: SEED_DEFAULT,
        repeats: 1,
    };
    let Some(run) = file.table("run", &RUN)? else { return Ok(spec) };
    for key in ["threads", "memory_budget", "durability"] {
        if run.get(key).is_some_and(|value| value.get_ref().is_array()) {
            run.refuse(key, "a list as a matrix axis", "write one value")?;
        }
    }
    spec.memory_budget =
        run.size("memory_budget", MEMORY_BUDGET_MIN, u64::MAX)?.unwrap_or(spec.memory_budget);
    spec.durability =
        run.word("durability", &Durability::WORDS, &Durability::ALL)?.unwrap_or(spec.durability);
    spec.threads = run.integer("threads", 1, THREADS_MAX)?.map_or(spec.threads, |n| n as u32);
    spec.seed = run.integer("seed", 0, u64::MAX)?.unwrap_or(spec.seed);
    spec.repeats = run.integer("repeats", 1, 1_000)?.map_or(spec.repeats, |n| n as u32);
    Ok(spec)
}

fn verify(file: &Table<'_>) -> Result<VerifySpec> {
    let verify = file.table("verify", &VERIFY)?;
    let verify = verify.as_ref();
    let read_sample = verify.map(|verify| verify.number("read_sample", 0.0, 1.0)).transpose()?.flatten();
    let final_scan = verify.map(|verify| verify.flag("final_scan")).transpose()?.flatten();
    Ok(VerifySpec { read_sample: read_sample.unwrap_or(0.01), final_scan: final_scan.unwrap_or(true) })
}

/// A whole number up to `max`, a size if `bases` speak of data, or a text such as "10x_memory".
fn amount(
    table: &Table<'_>,
    key: &'static str,
    bases: &[(&'static str, Base)],
    max: u64,
) -> Result<Option<Amount>> {
    let Some(DeValue::String(text)) = table.get(key).map(toml::Spanned::get_ref) else {
        return Ok(table.integer(key, 1, max)?.map(Amount::Count));
    };
    for (suffix, of) in bases {
        let factor = text.strip_suffix(suffix).and_then(|factor| factor.parse::<f64>().ok());
        if let Some(factor) = factor.filter(|factor| *factor > 0.0 && factor.is_finite()) {
            return Ok(Some(Amount::Times { factor, of: *of }));
        }
    }
    if bases.iter().any(|(_, of)| *of == Base::Data) {
        return Ok(table.size(key, 1, max)?.map(Amount::Count));
    }
    let forms: Vec<String> = bases.iter().map(|(suffix, _)| format!("\"10{suffix}\"")).collect();
    Err(table.invalid(key, format!("must be a whole number or as in {}, not \"{text}\"", forms.join(", "))))
}

#[cfg(test)]
mod tests;
