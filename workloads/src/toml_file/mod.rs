//! The TOML workload format: text in, a [`Spec`] with every default filled in out, or an error with its line.
//!
//! `workloads/files/reference.toml` shows every key. The sections below are the format: a key that stands in
//! none of them is refused. What a runner does not do, such as open loops, it must refuse itself.

mod choice;
mod matrix;
mod phase;
pub mod table;

use std::collections::BTreeMap;

use crate::error::{Problem, SpecError};
use crate::keys::KeyKind;
use crate::spec::{Amount, Base, DataSpec, Durability, KeySpec, RunSpec, Spec, ValueSpec, VerifySpec};
use table::{Section, Source, Table};
use toml::de::{DeTable, DeValue};

type Result<T> = std::result::Result<T, SpecError>;

/// The version of the format that this crate reads.
pub const SCHEMA: u32 = 1;
const RECORDS_MAX: u64 = 1 << 40;
const THREADS_MAX: u64 = 1024;
const MEMORY_BUDGET_MIN: u64 = 64 << 10;
const MEMORY_BUDGET_DEFAULT: u64 = 32 << 20;
const SEED_DEFAULT: u64 = 42;
const SERIES_DEFAULT: u64 = 1_000;

/// The keys of a workload.
pub static WORKLOAD: Section = Section {
    name: "the file",
    keys: &["schema", "name", "label", "purpose", "claims", "data", "run", "phase", "verify", "matrix"],
};
static DATA: Section = Section { name: "data", keys: &["records", "key", "value"] };
static KEY: Section = Section { name: "data.key", keys: &["kind", "order", "series"] };
static RUN: Section = Section {
    name: "run",
    keys: &["memory_budget", "durability", "threads", "seed", "repeats", "drop_caches", "engine"],
};
static VERIFY: Section = Section { name: "verify", keys: &["read_sample", "final_scan"] };

/// Reads a workload from the text of a file; `file` is what errors call it.
///
/// ```
/// let text = "schema = 1\nname = \"tiny\"\ndata = { recods = 10 }\n";
/// let error = workloads::toml_file::parse("tiny.toml", text).unwrap_err();
/// assert_eq!(error.to_string(), "tiny.toml:3: unknown key \"recods\" in data; did you mean \"records\"?");
/// ```
pub fn parse(file: &str, text: &str) -> Result<Spec> {
    let mut cells = parse_cells(file, text)?;
    if cells.len() > 1 {
        let why = format!("has {} cells where one workload is wanted", cells.len());
        return Err(Source { file, text }.error(None, Problem::Invalid { key: "matrix", why }));
    }
    Ok(cells.remove(0))
}

/// Reads every cell of a file: all combinations of its matrix axes, the first axis of the file slowest, each with a
/// label; one workload without a label if it has no axis. Never empty.
///
/// ```
/// let text = "schema = 1
/// name = \"tiny\"
/// data = { records = 10, value = { size = [100, 1000] } }
/// phase = [{ kind = \"load\", batch = [1, 10] }]";
/// let labels: Vec<_> = workloads::toml_file::parse_cells("tiny.toml", text).unwrap().into_iter().map(|c| c.label).collect();
/// assert_eq!(labels[0], "value.size=100 load.batch=1");
/// assert_eq!(labels[1..], ["value.size=100 load.batch=10", "value.size=1000 load.batch=1", "value.size=1000 load.batch=10"]);
/// ```
pub fn parse_cells(file: &str, text: &str) -> Result<Vec<Spec>> {
    document(file, text, &WORKLOAD, cells_of)
}

/// Reads a document of any format made of checked tables: parses `text`, checks its keys against `section`, and hands
/// it to `read`. So a format of another crate has the errors of this one.
pub fn document<T>(
    file: &str,
    text: &str,
    section: &'static Section,
    read: impl FnOnce(&Table<'_>) -> Result<T>,
) -> Result<T> {
    let source = Source { file, text };
    let syntax = |error: toml::de::Error| {
        source.error(error.span().map(|span| span.start), Problem::Syntax(error.message().to_string()))
    };
    let parsed = DeTable::parse(text).map_err(syntax)?;
    read(&Table::new(source, section, parsed.get_ref(), 0)?)
}

/// Every cell of a workload that stands as a table in another document, [`WORKLOAD`] being its section.
pub fn cells_of(workload: &Table<'_>) -> Result<Vec<Spec>> {
    // The keys were checked as the table was made, so that an unknown one is named as such and not as a wrong axis.
    let (source, table) = workload.raw();
    let cells = matrix::cells(source, table)?;
    cells.iter().map(|(label, table)| cell(source, label, table)).collect()
}

fn cell(source: Source<'_>, label: &str, table: &DeTable<'_>) -> Result<Spec> {
    let file = Table::new(source, &WORKLOAD, table, 0)?;
    let schema = file.integer("schema", 0, u64::MAX)?.ok_or_else(|| file.missing("schema"))?;
    if schema != u64::from(SCHEMA) {
        return Err(file.invalid("schema", format!("is {schema}; this version reads {SCHEMA}")));
    }
    let name = file.text("name")?.ok_or_else(|| file.missing("name"))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    if name.is_empty() || !name.chars().all(plain) {
        return Err(file.invalid("name", "must be made of letters, digits, '-', '_' and '.'"));
    }
    let label = format!("{} {label}", file.text("label")?.unwrap_or_default()).trim().to_string();
    let spec = Spec {
        schema: SCHEMA,
        name: name.to_string(),
        label,
        purpose: file.text("purpose")?.unwrap_or_default().to_string(),
        claims: file.texts("claims")?,
        data: data(&file)?,
        run: run(&file)?,
        phases: phase::phases(&file)?,
        verify: verify(&file)?,
    };
    if let (Amount::Times { .. }, Amount::Times { .. }) = (spec.run.memory_budget, spec.data.records) {
        return Err(
            file.invalid("run", "has a memory_budget that follows the data, and data.records that follow it")
        );
    }
    match spec.problem() {
        Some(why) => Err(file.invalid("phase", why)),
        None => Ok(spec),
    }
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
    let (sizes, compressibility) = choice::value(&data)?;
    Ok(DataSpec {
        records: records.ok_or_else(|| data.missing("records"))?,
        key: KeySpec { kind: key(&data)? },
        value: ValueSpec { sizes, compressibility },
    })
}

fn key(data: &Table<'_>) -> Result<KeyKind> {
    let Some(key) = data.table("key", &KEY)? else { return Ok(KeyKind::Hash16) };
    let series = key.integer("series", 1, u64::from(u32::MAX))?;
    let kinds = [
        KeyKind::Int8,
        KeyKind::Hash16,
        KeyKind::Text24,
        KeyKind::Series16 { series: series.unwrap_or(SERIES_DEFAULT) as u32 },
    ];
    let kind =
        key.word("kind", &["int8", "hash16", "text24", "series16"], &kinds)?.unwrap_or(KeyKind::Hash16);
    let ordered = key.word("order", &["hashed", "ordered"], &[false, true])?;
    if series.is_some() && !matches!(kind, KeyKind::Series16 { .. }) {
        return Err(key.invalid("series", format!("has no effect with {}", kind.name())));
    }
    match (kind, ordered) {
        (KeyKind::Text24, Some(true)) => Ok(KeyKind::Ordered24),
        (kind, Some(ordered)) if ordered != kind.is_ordered() => {
            let has = if kind.is_ordered() { "ordered" } else { "hashed" };
            Err(key.invalid("order", format!("must be \"{has}\" for {}; text24 has both", kind.name())))
        }
        (kind, _) => Ok(kind),
    }
}

fn run(file: &Table<'_>) -> Result<RunSpec> {
    let mut spec = RunSpec {
        memory_budget: Amount::Count(MEMORY_BUDGET_DEFAULT),
        durability: Durability::Disk,
        threads: 1,
        seed: SEED_DEFAULT,
        repeats: 1,
        drop_caches: false,
        engine: BTreeMap::new(),
    };
    let Some(run) = file.table("run", &RUN)? else { return Ok(spec) };
    let budget = amount(&run, "memory_budget", &[("x_data", Base::Data)], u64::MAX)?;
    if let Some(Amount::Count(bytes)) = budget
        && bytes < MEMORY_BUDGET_MIN
    {
        let why = format!("must be {MEMORY_BUDGET_MIN} bytes or more, not {bytes}");
        return Err(run.invalid("memory_budget", why));
    }
    spec.memory_budget = budget.unwrap_or(spec.memory_budget);
    spec.engine = run.free_texts("engine")?;
    spec.durability =
        run.word("durability", &Durability::WORDS, &Durability::ALL)?.unwrap_or(spec.durability);
    spec.threads = run.integer("threads", 1, THREADS_MAX)?.map_or(spec.threads, |n| n as u32);
    spec.seed = run.integer("seed", 0, u64::MAX)?.unwrap_or(spec.seed);
    spec.repeats = run.integer("repeats", 1, 1_000)?.map_or(spec.repeats, |n| n as u32);
    spec.drop_caches = run.flag("drop_caches")?.unwrap_or(false);
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
