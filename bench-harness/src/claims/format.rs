//! The file of a claim: who says what, what settles it, and when it counts as true.
//!
//! ```toml
//! schema = 1
//! id = "C99"
//! seeds = ["004"]                # the texts that make the claim, by number
//! claim = "..."                  # what they say, in other words
//! prior = "..."                  # the verdict to be expected, and why
//! note = "..."                   # what the experiment leaves out; may be absent
//! io = "buffered"                # how files reach the disk, default "direct"; bytes do not hang on it, times do
//! smoke = { memory = "2MiB", repeats = 3 }
//! lab = { memory = "16MiB", repeats = 3, keep = { "value.size" = ["100", "1000"] } }  # of an axis, these values alone
//!
//! [[test]]
//! name = "..."
//! experiment = "key-shares"      # one that is built in; or else:
//! engines = "btree,lsm"          # as `--engine` takes them
//! workload = { ... }             # as in workloads/files/reference.toml; `10x_memory` follows the memory above. Or the
//!                                # name of the workload of an earlier test, whose runs are then looked at again
//! metric = "wa_settled"          # see metric.rs
//! phase = "load,measure"         # the phases looked at, default "measure"
//! of = { engine = "lsm" }        # the runs looked at: by engine, phase, or an axis of the workload; default all
//! over = { engine = "btree" }    # what they are divided by: the same with this changed; default nothing
//! show = ["sa_peak"]             # other numbers of the same phases, for the reader
//! above = 1.05                   # or at_least, below, at_most, or both ends
//! axis = { key = "value.size", name = "records", unit = "B", plus = 16 }     # along what a boundary is told
//! ```

use std::collections::BTreeMap;

use kv_api::IoMode;
use workloads::toml_file::table::{Section, Table};
use workloads::toml_file::{WORKLOAD, cells_of, document};
use workloads::{Spec, SpecError};

use super::builtin::Builtin;
use super::metric::Metric;
use super::verdict::Predicate;

/// The version of the format that this program reads.
const SCHEMA: u64 = 1;
const MEMORY_BYTES_MIN: u64 = 64 << 10;
const REPEATS_MAX: u64 = 1000;

static CLAIM: Section = Section {
    name: "the claim",
    keys: &["schema", "id", "seeds", "claim", "prior", "note", "io", "smoke", "lab", "test"],
};
static SIZE: Section = Section { name: "a size", keys: &["memory", "repeats", "keep"] };
static TEST: Section = Section {
    name: "a test",
    keys: &[
        "name",
        "experiment",
        "engines",
        "workload",
        "metric",
        "phase",
        "of",
        "over",
        "show",
        "above",
        "at_least",
        "below",
        "at_most",
        "axis",
    ],
};
static AXIS: Section = Section { name: "axis", keys: &["key", "field", "name", "unit", "plus"] };

/// A claim, and what settles it.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Its number, such as "C03".
    pub id: String,
    /// The texts that make it, by number.
    pub seeds: Vec<String>,
    /// What it says, in other words than theirs.
    pub claim: String,
    /// The verdict to be expected, and why.
    pub prior: String,
    /// What the experiment leaves out; may be empty.
    pub note: String,
    /// How the files of its runs reach the disk; buffered is faster, and enough where bytes alone are looked at.
    pub io: IoMode,
    /// How large to run it in a test.
    pub smoke: Size,
    /// How large to run it for a verdict that counts.
    pub lab: Size,
    /// What settles it; all of them together are the claim.
    pub tests: Vec<Test>,
}

/// How large to run the tests of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Size {
    /// The memory budget of each engine in bytes; `None`: as the workload says.
    pub memory_bytes: Option<u64>,
    /// Blocks: how often each run is repeated.
    pub repeats: u32,
    /// The values of an axis that are run; axes that are not named are run whole.
    pub keep: Choice,
}

/// Values by the name of what has them: engine, phase, or an axis of the workload.
pub type Choice = BTreeMap<String, Vec<String>>;

/// One experiment and what must come out of it.
#[derive(Debug, Clone)]
pub struct Test {
    /// What it is called in a verdict.
    pub name: String,
    /// What is done.
    pub experiment: Experiment,
    /// When the claim counts as true.
    pub predicate: Predicate,
    /// Along what a boundary is told.
    pub axis: Option<Axis>,
}

/// What is done.
#[derive(Debug, Clone)]
pub enum Experiment {
    /// Runs of a workload on engines.
    Runs(Box<Runs>),
    /// One that no workload can do.
    Builtin(&'static Builtin),
}

/// Runs of a workload on engines, and which number of which of them is looked at.
#[derive(Debug, Clone)]
pub struct Runs {
    /// As `--engine` takes them.
    pub engines: String,
    /// Every cell of the workload.
    pub cells: Vec<Spec>,
    /// The number.
    pub metric: &'static Metric,
    /// The phases looked at.
    pub phases: Vec<String>,
    /// The runs looked at.
    pub of: Choice,
    /// What changes to get from a run to the one it is divided by.
    pub over: BTreeMap<String, String>,
    /// Other numbers, for the reader.
    pub show: Vec<&'static Metric>,
}

/// A numeric axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// The axis of the workload.
    pub key: String,
    /// Where the value is a table: the field of it.
    pub field: Option<String>,
    /// What a boundary calls it.
    pub name: String,
    /// Its unit; may be empty.
    pub unit: String,
    /// What is added to the value: the key, where records are spoken of and values are varied.
    pub plus: f64,
}

/// Reads a claim from the text of a file; `file` is what errors call it.
///
/// # Errors
/// The first thing wrong, with its line and, for a word that is not known, the nearest one that is.
pub fn parse(file: &str, text: &str) -> Result<Claim, SpecError> {
    document(file, text, &CLAIM, claim)
}

fn claim(table: &Table<'_>) -> Result<Claim, SpecError> {
    let schema = table.integer("schema", 0, u64::MAX)?.ok_or_else(|| table.missing("schema"))?;
    if schema != SCHEMA {
        return Err(table.invalid("schema", format!("is {schema}; this version reads {SCHEMA}")));
    }
    let id = needed(table, "id")?;
    let is_number =
        |id: &str| id.len() == 3 && id.starts_with('C') && id[1..].bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(&id) {
        return Err(table.invalid("id", format!("must be C and two digits, not {id}")));
    }
    let mut tests: Vec<Test> = Vec::new();
    for table in table.tables("test", &TEST)? {
        let next = test(&table, &tests)?;
        tests.push(next);
    }
    if tests.is_empty() {
        return Err(table.missing("test"));
    }
    Ok(Claim {
        id,
        seeds: table.texts("seeds")?,
        claim: needed(table, "claim")?,
        prior: needed(table, "prior")?,
        note: table.text("note")?.unwrap_or_default().to_owned(),
        io: table
            .word("io", &["direct", "buffered"], &[IoMode::Direct, IoMode::Buffered])?
            .unwrap_or_default(),
        smoke: size(table, "smoke")?,
        lab: size(table, "lab")?,
        tests,
    })
}

fn needed(table: &Table<'_>, key: &'static str) -> Result<String, SpecError> {
    Ok(table.text(key)?.ok_or_else(|| table.missing(key))?.to_owned())
}

fn size(table: &Table<'_>, key: &'static str) -> Result<Size, SpecError> {
    let size = table.table(key, &SIZE)?.ok_or_else(|| table.missing(key))?;
    let repeats = size.integer("repeats", 1, REPEATS_MAX)?.ok_or_else(|| size.missing("repeats"))?;
    Ok(Size {
        memory_bytes: size.size("memory", MEMORY_BYTES_MIN, u64::MAX)?,
        repeats: u32::try_from(repeats).unwrap_or(u32::MAX),
        keep: size.free_lists("keep")?,
    })
}

fn test(table: &Table<'_>, earlier: &[Test]) -> Result<Test, SpecError> {
    let experiment = match table.text("experiment")? {
        Some(word) => {
            let unwanted = ["engines", "workload", "metric", "phase", "of", "over", "show"];
            if let Some(key) = unwanted.into_iter().find(|key| table.get(key).is_some()) {
                return Err(table.invalid("experiment", format!("is built in, so \"{key}\" has no effect")));
            }
            let found = Builtin::find(word);
            Experiment::Builtin(found.ok_or_else(|| table.unknown_word("experiment", word, Builtin::WORDS))?)
        }
        None => Experiment::Runs(Box::new(runs(table, earlier)?)),
    };
    let axis = table.table("axis", &AXIS)?.map(|axis| self::axis(&axis)).transpose()?;
    if let (Experiment::Runs(runs), Some(axis)) = (&experiment, &axis)
        && !runs.has_axis(&axis.key)
    {
        return Err(table.invalid("axis", format!("is \"{}\", which the workload does not vary", axis.key)));
    }
    Ok(Test { name: needed(table, "name")?, experiment, predicate: predicate(table)?, axis })
}

fn axis(table: &Table<'_>) -> Result<Axis, SpecError> {
    let key = needed(table, "key")?;
    Ok(Axis {
        field: table.text("field")?.map(str::to_owned),
        name: table.text("name")?.unwrap_or(&key).to_owned(),
        unit: table.text("unit")?.unwrap_or_default().to_owned(),
        plus: table.number("plus", 0.0, f64::INFINITY)?.unwrap_or(0.0),
        key,
    })
}

fn predicate(table: &Table<'_>) -> Result<Predicate, SpecError> {
    let end = |open: &'static str, closed: &'static str| -> Result<Option<(f64, bool)>, SpecError> {
        let (open, closed_at) =
            (table.number(open, 0.0, f64::INFINITY)?, table.number(closed, 0.0, f64::INFINITY)?);
        if open.is_some() && closed_at.is_some() {
            return Err(table.invalid(closed, "stands beside another bound of the same side; keep one"));
        }
        Ok(open.map(|at| (at, false)).or(closed_at.map(|at| (at, true))))
    };
    let (low, high) = (end("above", "at_least")?, end("below", "at_most")?);
    if low.is_none() && high.is_none() {
        return Err(table.missing("above"));
    }
    if let (Some((low, _)), Some((high, _))) = (low, high)
        && low >= high
    {
        return Err(table.invalid("at_least", "leaves nothing below the other bound"));
    }
    Ok(Predicate { low, high })
}

/// The cells of the workload that a test names or holds, and the engines they run on.
fn cells(table: &Table<'_>, earlier: &[Test]) -> Result<(String, Vec<Spec>), SpecError> {
    let before = |name: &str| {
        earlier.iter().find_map(|test| match &test.experiment {
            Experiment::Runs(runs) if runs.cells[0].name == name => Some(runs),
            _ => None,
        })
    };
    if let Some(name) = table.get("workload").and_then(|value| value.get_ref().as_str()) {
        let known = before(name).ok_or_else(|| {
            table.invalid("workload", format!("is \"{name}\", which no earlier test of the claim holds"))
        })?;
        let engines = table.text("engines")?.unwrap_or(&known.engines);
        return Ok((engines.to_owned(), known.cells.clone()));
    }
    let workload = table.table("workload", &WORKLOAD)?.ok_or_else(|| table.missing("workload"))?;
    let cells = cells_of(&workload)?;
    if before(&cells[0].name).is_some() {
        return Err(table.invalid("workload", "has the name of an earlier one; give it another"));
    }
    Ok((needed(table, "engines")?, cells))
}

fn runs(table: &Table<'_>, earlier: &[Test]) -> Result<Runs, SpecError> {
    let (engines, cells) = cells(table, earlier)?;
    let metric = |key: &'static str, word: &str| {
        Metric::find(word).ok_or_else(|| table.unknown_word(key, word, Metric::WORDS))
    };
    let show = table.texts("show")?;
    let phases = table.text("phase")?.unwrap_or("measure");
    let runs = Runs {
        engines,
        cells,
        metric: metric("metric", &needed(table, "metric")?)?,
        show: show.iter().map(|word| metric("show", word)).collect::<Result<_, _>>()?,
        phases: phases.split(',').map(|name| name.trim().to_owned()).collect(),
        of: table.free_lists("of")?,
        over: table.free_texts("over")?,
    };
    let known = |name: &str| name == "engine" || name == "phase" || runs.has_axis(name);
    if let Some(name) = runs.of.keys().find(|name| !known(name)) {
        return Err(table.invalid("of", format!("names \"{name}\", which the runs do not vary")));
    }
    if let Some(name) = runs.over.keys().find(|name| !known(name)) {
        return Err(table.invalid("over", format!("names \"{name}\", which the runs do not vary")));
    }
    let has_phase = |name: &String| runs.cells[0].phases.iter().any(|phase| phase.name == *name);
    match runs.phases.iter().find(|name| !has_phase(name)) {
        Some(name) => Err(table.invalid("phase", format!("is \"{name}\", which the workload does not have"))),
        None => Ok(runs),
    }
}

impl Runs {
    /// Whether the workload varies `key`.
    fn has_axis(&self, key: &str) -> bool {
        self.cells.iter().any(|cell| coordinates(&cell.label).any(|(name, _)| name == key))
    }
}

/// The axes and values in the label of a cell.
pub fn coordinates(label: &str) -> impl Iterator<Item = (&str, &str)> {
    label.split(' ').filter_map(|part| part.split_once('='))
}

impl Size {
    /// Whether a cell with this label is run.
    pub fn keeps(&self, label: &str) -> bool {
        coordinates(label)
            .all(|(name, value)| self.keep.get(name).is_none_or(|kept| kept.iter().any(|kept| kept == value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "schema = 1\nid = \"C99\"\nseeds = [\"004\"]\nclaim = \"c\"\nprior = \"p\"\n\
        smoke = { memory = \"2MiB\", repeats = 3, keep = { \"value.size\" = \"100\" } }\nlab = { repeats = 3 }\n[[test]]\n\
        name = \"t\"\n";
    const RUNS: &str = "engines = \"btree,lsm\"\nmetric = \"wa_settled\"\nof = { engine = \"lsm\" }\n\
        over = { engine = \"btree\" }\nabove = 1.05\naxis = { key = \"value.size\", plus = 16 }\n\
        workload = { schema = 1, name = \"w\", data = { records = \"10x_memory\", value = { size = [100, 1000] } }, \
        phase = [{ kind = \"load\" }, { kind = \"measure\", ops = { update = 1.0 }, until = { ops = 5 } }] }\n";

    fn message(text: &str) -> String {
        parse("C99.toml", text).expect_err(text).to_string()
    }

    #[test]
    fn a_claim_is_read_with_its_cells_and_sizes() {
        let claim = parse("C99.toml", &format!("{HEAD}{RUNS}")).unwrap();
        let Experiment::Runs(runs) = &claim.tests[0].experiment else { panic!("it has a workload") };
        assert_eq!((runs.cells.len(), runs.phases.as_slice()), (2, &["measure".to_owned()][..]));
        assert_eq!(claim.smoke.memory_bytes, Some(2 << 20));
        let buffered =
            parse("C99.toml", &format!("{HEAD}{RUNS}").replace("prior", "io = \"buffered\"\nprior"));
        assert_eq!((claim.io, buffered.unwrap().io), (IoMode::Direct, IoMode::Buffered));
        let kept: Vec<_> = runs.cells.iter().map(|cell| claim.smoke.keeps(&cell.label)).collect();
        assert_eq!(kept, [true, false]);
        assert!(claim.lab.keeps(&runs.cells[1].label));
        assert_eq!(claim.tests[0].predicate, Predicate { low: Some((1.05, false)), high: None });
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_the_nearest_known_word() {
        let wrong = |from: &str, to: &str| message(&format!("{HEAD}{RUNS}").replace(from, to));
        let says = wrong("metric = ", "metrik = ");
        assert_eq!(says, "C99.toml:11: unknown key \"metrik\" in a test; did you mean \"metric\"?");
        let says = wrong("\"wa_settled\"", "\"wa_setled\"");
        assert!(says.contains(":11: unknown metric \"wa_setled\"; did you mean \"wa_settled\"?"), "{says}");
        assert!(wrong("records =", "recods =").contains("did you mean \"records\""));
        assert!(wrong("key = \"value.size\"", "key = \"batch\"").contains("does not vary"));
        assert!(wrong("over = { engine", "over = { motor").contains("\"motor\""));
        assert!(wrong("above = 1.05\n", "").contains("\"above\" is missing"));
        assert!(wrong("above = 1.05", "above = 1.05\nat_least = 1").contains("keep one"));
        assert!(wrong("above = 1.05", "above = 1.05\nbelow = 1").contains("leaves nothing"));
        assert!(wrong("above = 1.05", "above = 1.05\nphase = \"warm\"").contains("\"warm\""));
        let twice = format!("{HEAD}{RUNS}[[test]]\nname = \"u\"\n{RUNS}");
        assert!(message(&twice).contains("name of an earlier one"), "{}", message(&twice));
        let named = "[[test]]\nname = \"u\"\nmetric = \"sa_peak\"\nabove = 1\nworkload = ";
        assert!(parse("t", &format!("{HEAD}{RUNS}{named}\"w\"\n")).is_ok());
        assert!(message(&format!("{HEAD}{RUNS}{named}\"x\"\n")).contains("no earlier test"));
        assert!(wrong("id = \"C99\"", "id = \"99\"").contains("two digits"));
        assert!(wrong("schema = 1\nid", "schema = 2\nid").contains("reads 1"));
        assert!(wrong("prior = ", "io = \"bufered\"\nprior = ").contains("did you mean \"buffered\""));
        let built_in = format!("{HEAD}experiment = \"key-share\"\nabove = 1\n");
        assert!(message(&built_in).contains("did you mean \"key-shares\""), "{}", message(&built_in));
        let both = format!("{HEAD}experiment = \"key-shares\"\n{RUNS}");
        assert!(message(&both).contains("\"engines\" has no effect"));
    }
}
