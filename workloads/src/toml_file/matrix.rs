//! Matrix axes: a list where the format takes one value, or an entry of `[matrix]`, makes one cell per value. A
//! file's cells are all combinations, the first axis of the file slowest.
//!
//! Cells are made before anything is read: each is the file's own table with one value per axis put in place, so
//! that every rule of the format, and every line number, holds for it.

use super::table::Source;
use super::{Result, SpecError};
use crate::error::Problem;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The most cells a file may have.
const CELLS_MAX: usize = 1_000;
/// Tables of the file in which a list is an axis; `phase` is a list of tables itself.
const TABLES: [&str; 3] = ["data", "run", "verify"];

type Key<'i> = Spanned<std::borrow::Cow<'i, str>>;

/// One key and the values it takes in turn.
struct Axis<'i> {
    path: Vec<String>,
    /// What the label calls it.
    name: String,
    /// The key as the file has it, with its place.
    key: Key<'i>,
    values: Vec<Spanned<DeValue<'i>>>,
}

/// One cell: its label and its table, without the matrix.
pub(super) type Cell<'i> = (String, DeTable<'i>);

/// All cells of a file; one without a label if it has no axis.
pub(super) fn cells<'i>(source: Source<'_>, file: &DeTable<'i>) -> Result<Vec<Cell<'i>>> {
    let mut axes = Vec::new();
    in_place(file, &mut axes);
    from_matrix(source, file, &mut axes)?;
    axes.sort_by_key(|axis| axis.key.span().start);
    for (number, axis) in axes.iter().enumerate() {
        if axis.values.is_empty() {
            return Err(problem(source, axis, "is an axis without values; give at least one"));
        }
        if axes[..number].iter().any(|other| other.name == axis.name) {
            return Err(problem(source, axis, format!("has a second axis \"{}\"; join the two", axis.name)));
        }
    }
    let count = axes.iter().try_fold(1usize, |count, axis| count.checked_mul(axis.values.len()));
    if count.is_none_or(|count| count > CELLS_MAX) {
        return Err(problem(source, &axes[0], format!("has more than {CELLS_MAX} cells")));
    }
    let mut base = file.clone();
    base.remove("matrix");
    let mut cells = vec![(String::new(), base)];
    for axis in &axes {
        let mut next = Vec::with_capacity(cells.len() * axis.values.len());
        for (label, table) in &cells {
            for value in &axis.values {
                let mut table = table.clone();
                set(source, axis, &mut table, value)?;
                let label = [label.as_str(), &format!("{}={}", axis.name, shown(value.get_ref()))];
                next.push((label.join(" ").trim_start().to_string(), table));
            }
        }
        cells = next;
    }
    Ok(cells)
}

/// Collects the lists that stand where one value is expected.
fn in_place<'i>(file: &DeTable<'i>, axes: &mut Vec<Axis<'i>>) {
    for name in TABLES {
        if let Some(table) = file.get(name).and_then(|value| value.get_ref().as_table()) {
            walk(table, &[name.to_string()], "", axes);
        }
    }
    let phases = file.get("phase").and_then(|value| value.get_ref().as_array());
    for (index, phase) in phases.into_iter().flatten().enumerate() {
        if let Some(table) = phase.get_ref().as_table() {
            let name = phase_name(table).map_or_else(|| index.to_string(), str::to_string);
            walk(table, &["phase".to_string(), index.to_string()], &format!("{name}."), axes);
        }
    }
}

fn walk<'i>(table: &DeTable<'i>, path: &[String], prefix: &str, axes: &mut Vec<Axis<'i>>) {
    for (key, value) in table {
        let path = [path, &[key.get_ref().to_string()]].concat();
        let name = format!("{prefix}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Array(values) => {
                axes.push(Axis { path, name, key: key.clone(), values: values.iter().cloned().collect() });
            }
            DeValue::Table(table) => walk(table, &path, &format!("{name}."), axes),
            _ => {}
        }
    }
}

/// Collects the entries of `[matrix]`.
fn from_matrix<'i>(source: Source<'_>, file: &DeTable<'i>, axes: &mut Vec<Axis<'i>>) -> Result<()> {
    let Some(matrix) = file.get("matrix") else { return Ok(()) };
    let wrong = |at: usize, why: String| source.error(Some(at), Problem::Invalid { key: "matrix", why });
    let Some(table) = matrix.get_ref().as_table() else {
        return Err(wrong(matrix.span().start, "must be a table of lists".to_string()));
    };
    for (key, value) in table {
        let text = key.get_ref();
        let path: Vec<String> = text.split('.').map(str::to_string).collect();
        let Some(values) = value.get_ref().as_array() else {
            let why = format!(
                "must hold lists under quoted paths, as in \"data.value.size\" = [100, 1024], not {text}"
            );
            return Err(wrong(key.span().start, why));
        };
        let known = TABLES.contains(&path[0].as_str()) || path[0] == "phase";
        if !known || path.len() < if path[0] == "phase" { 3 } else { 2 } {
            let why = format!("has no axis \"{text}\"; begin with data., run., verify. or phase.NAME.");
            return Err(wrong(key.span().start, why));
        }
        let name = path[1..].join(".");
        axes.push(Axis { path, name, key: key.clone(), values: values.iter().cloned().collect() });
    }
    Ok(())
}

fn problem(source: Source<'_>, axis: &Axis<'_>, why: impl Into<String>) -> SpecError {
    source.error(Some(axis.key.span().start), Problem::Invalid { key: "matrix", why: why.into() })
}

fn phase_name<'t>(phase: &'t DeTable<'_>) -> Option<&'t str> {
    ["name", "kind"].into_iter().find_map(|key| phase.get(key)?.get_ref().as_str())
}

/// Puts one value of an axis in place; tables on the way that are not there are made.
fn set<'i>(
    source: Source<'_>,
    axis: &Axis<'i>,
    file: &mut DeTable<'i>,
    value: &Spanned<DeValue<'i>>,
) -> Result<()> {
    let (first, rest) = axis.path.split_first().expect("a path has a part, as split makes one");
    if first != "phase" {
        return put(source, axis, file, &axis.path, value);
    }
    let (wanted, inner) = rest.split_first().expect("a path into phases was checked to have three parts");
    let Some(DeValue::Array(phases)) = file.get_mut("phase").map(Spanned::get_mut) else { return Ok(()) };
    let tables = phases.iter_mut().filter_map(|phase| match phase.get_mut() {
        DeValue::Table(table) => Some(table),
        _ => None,
    });
    let mut tables: Vec<(usize, &mut DeTable<'i>)> = tables.enumerate().collect();
    let names: Vec<String> =
        tables.iter().map(|(_, phase)| phase_name(phase).unwrap_or_default().to_string()).collect();
    // A name or a number of a phase; or the kind of those that have other names.
    let is_named = |index: usize| names[index] == *wanted || index.to_string() == *wanted;
    let any_named = (0..names.len()).any(is_named);
    let is_kind = |phase: &DeTable<'_>| {
        phase.get("kind").and_then(|kind| kind.get_ref().as_str()) == Some(wanted.as_str())
    };
    tables.retain(|(index, phase)| if any_named { is_named(*index) } else { is_kind(phase) });
    if tables.is_empty() {
        let why = format!("names no phase \"{wanted}\"; the file has {}", names.join(", "));
        return Err(problem(source, axis, why));
    }
    tables.into_iter().try_for_each(|(_, phase)| put(source, axis, phase, inner, value))
}

fn put<'i>(
    source: Source<'_>,
    axis: &Axis<'i>,
    table: &mut DeTable<'i>,
    path: &[String],
    value: &Spanned<DeValue<'i>>,
) -> Result<()> {
    let Some((key, rest)) = path.split_first() else { return Ok(()) };
    let spanned = |key: &String| Spanned::new(axis.key.span(), std::borrow::Cow::Owned(key.clone()));
    if rest.is_empty() {
        // The key that the file has keeps its place.
        match table.get_mut(key.as_str()) {
            Some(there) => *there = value.clone(),
            None => {
                table.insert(spanned(key), value.clone());
            }
        }
        return Ok(());
    }
    if !table.contains_key(key.as_str()) {
        let empty = Spanned::new(axis.key.span(), DeValue::Table(DeTable::new()));
        table.insert(spanned(key), empty);
    }
    match table.get_mut(key.as_str()).map(Spanned::get_mut) {
        Some(DeValue::Table(inner)) => put(source, axis, inner, rest, value),
        _ => Err(problem(source, axis, format!("reaches through \"{key}\", which is no table"))),
    }
}

/// A value as the label shows it: short, without quotes.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.as_str().to_string(),
        DeValue::Float(number) => number.as_str().to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(values) => {
            values.iter().map(|value| shown(value.get_ref())).collect::<Vec<_>>().join(",")
        }
        DeValue::Table(table) => {
            let entry = |(key, value): (&Key<'_>, &Spanned<DeValue<'_>>)| match key.get_ref().as_ref() {
                // The kind alone says what it is.
                "kind" => shown(value.get_ref()),
                key => format!("{key}:{}", shown(value.get_ref())),
            };
            table.iter().map(entry).collect::<Vec<_>>().join(",")
        }
    }
}
