//! The file format: the reference file holds every key, and every error says where and what to write.

use super::choice::{ARRIVALS, DIST, SCAN, VALUE};
use super::phase::{OPS, PHASE, UNTIL};
use super::*;
use crate::{Scale, ready};
use std::collections::BTreeSet;

const GOOD: &str = "schema = 1
name = \"tiny\"
data = { records = 10 }
run = { durability = \"os\" }
phase = [
  { kind = \"load\" },
  { kind = \"measure\", ops = { get = 1.0 }, until = { s = 1 } },
]
";

/// The message about GOOD with `from` replaced by `to`.
fn error_after(from: &str, to: &str) -> String {
    let text = GOOD.replacen(from, to, 1);
    assert_ne!(text, GOOD, "\"{from}\" stands in the text");
    let message = parse("t.toml", &text).expect_err("the changed text is refused").to_string();
    assert!(!message.contains('\n'), "one line: {message}");
    message
}

/// Collects "section.key" for every table of the file below a key of the format.
fn collect(section: &'static Section, table: &DeTable<'_>, used: &mut BTreeSet<(&'static str, String)>) {
    for (key, value) in table.iter() {
        let key = key.get_ref().to_string();
        let below = match (section.name, key.as_str()) {
            ("the file", "data") => Some(&DATA),
            ("the file", "run") => Some(&RUN),
            ("the file", "verify") => Some(&VERIFY),
            ("the file", "phase") => Some(&PHASE),
            ("data", "key") => Some(&KEY),
            ("data", "value") => Some(&VALUE),
            ("phase", "ops") => Some(&OPS),
            ("phase", "dist") => Some(&DIST),
            ("phase", "scan") => Some(&SCAN),
            ("phase", "until") => Some(&UNTIL),
            ("phase", "arrivals") => Some(&ARRIVALS),
            _ => None,
        };
        used.insert((section.name, key));
        let Some(below) = below else { continue };
        if let Some(table) = value.get_ref().as_table() {
            collect(below, table, used);
        }
        for table in value.get_ref().as_array().into_iter().flatten() {
            collect(below, table.get_ref().as_table().expect("phases are tables"), used);
        }
    }
}

#[test]
fn the_reference_file_is_read_and_uses_every_key() {
    let source = Source { file: "reference.toml", text: ready::REFERENCE };
    let specs = parse_cells(source.file, source.text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(specs[0].phases.len(), 19);
    let parsed = DeTable::parse(ready::REFERENCE).unwrap();
    let mut used = BTreeSet::from([("the file", "matrix".to_string())]);
    let cells = matrix::cells(source, parsed.get_ref()).unwrap();
    assert_eq!((cells.len(), specs.len()), (3, 3));
    cells.iter().for_each(|(_, table)| collect(&WORKLOAD, table, &mut used));
    for section in
        [&WORKLOAD, &DATA, &KEY, &VALUE, &RUN, &VERIFY, &PHASE, &OPS, &DIST, &SCAN, &UNTIL, &ARRIVALS]
    {
        for key in section.keys {
            let is_used = used.contains(&(section.name, key.to_string()));
            assert!(is_used, "reference.toml lacks \"{key}\" of {}", section.name);
        }
    }
}

#[test]
fn every_ready_file_is_read_under_its_own_name() {
    for ready in ready::all() {
        for spec in parse_cells(ready.name, ready.text).unwrap_or_else(|error| panic!("{error}")) {
            assert_eq!(spec.name, ready.name);
            assert!(!spec.purpose.is_empty());
        }
    }
}

#[test]
fn defaults_are_visible() {
    let spec = parse("t.toml", GOOD).unwrap();
    assert_eq!(spec.data.key.kind, KeyKind::Hash16);
    assert_eq!((spec.data.value.sizes.max(), spec.run.threads, spec.run.seed), (100, 1, 42));
    assert_eq!(spec.phases[0].until.records, Some(Amount::Times { factor: 1.0, of: Base::Records }));
    assert_eq!(spec.resolved().phases[0].until.records, Some(Amount::Count(10)));
    assert_eq!(spec.verify, VerifySpec { read_sample: 0.01, final_scan: true });
    let written = to_text(&spec.resolved()).unwrap();
    for line in ["memory_budget = 33554432", "compressibility = 0.0", "kind = \"uniform\"", "repeats = 1"] {
        assert!(written.contains(line), "{line} in {written}");
    }
}

#[test]
fn what_is_written_out_is_read_as_the_same_workload() {
    let reference = ready::Ready { name: "reference", text: ready::REFERENCE };
    for ready in ready::all().iter().chain([&reference]) {
        for cell in ready.cells() {
            for spec in [cell.scaled(Scale::Lab), cell.resolved(), cell] {
                let text = to_text(&spec).unwrap();
                assert_eq!(parse(ready.name, &text).unwrap_or_else(|error| panic!("{error}\n{text}")), spec);
            }
        }
    }
}

#[test]
fn unknown_keys_name_line_and_nearest_key() {
    assert_eq!(
        error_after("records", "recods"),
        "t.toml:3: unknown key \"recods\" in data; did you mean \"records\"?"
    );
    assert_eq!(
        error_after("until = { s", "untill = { s"),
        "t.toml:7: unknown key \"untill\" in phase; did you mean \"until\"?"
    );
    assert_eq!(
        error_after("get = 1.0", "gett = 1.0"),
        "t.toml:7: unknown key \"gett\" in phase.ops; did you mean \"get\"?"
    );
    assert_eq!(
        error_after("{ durability = \"os\" }", "{ xyzzy = 1 }"),
        "t.toml:4: unknown key \"xyzzy\" in run; known: memory_budget, durability, threads, seed, repeats, drop_caches, engine"
    );
}

#[test]
fn wrong_values_say_what_to_write() {
    for (from, to, message) in [
        ("schema = 1", "schema = 2", "t.toml:1: \"schema\" is 2; this version reads 1"),
        ("schema = 1\n", "\n", "t.toml:1: \"schema\" is missing in the file"),
        ("name = \"tiny\"", "name = 3", "t.toml:2: \"name\" must be a text in quotes, not integer"),
        (
            "name = \"tiny\"",
            "name = \"a/b\"",
            "t.toml:2: \"name\" must be made of letters, digits, '-', '_' and '.'",
        ),
        ("records = 10", "records = 0", "t.toml:3: \"records\" must be from 1 to 1099511627776, not 0"),
        (
            "records = 10",
            "records = \"10x_budget\"",
            "t.toml:3: \"records\" must be a whole number or as in \"10x_memory\", not \"10x_budget\"",
        ),
        ("\"os\"", "\"sync\"", "t.toml:4: unknown durability \"sync\"; known: memory, os, disk"),
        ("\"os\"", "\"dsk\"", "t.toml:4: unknown durability \"dsk\"; did you mean \"disk\"?"),
        ("get = 1.0", "get = 0.7", "t.toml:7: \"ops\" must sum to 1, not 0.7"),
        (", until = { s = 1 }", "", "t.toml:7: \"until\" is missing in phase"),
        ("{ s = 1 }", "{ records = 1 }", "t.toml:7: \"records\" does not end a phase of kind measure"),
        (
            "\"load\"",
            "\"load\", ops = { put = 1 }",
            "t.toml:6: \"ops\" has no effect in a phase of kind load",
        ),
        (
            "run = { dur",
            "run = { memory_budget = \"32 MBit\", dur",
            "t.toml:4: \"memory_budget\" must be a size such as \"32MiB\", \"64KiB\" or \"100B\", not \"32 MBit\"",
        ),
    ] {
        assert_eq!(error_after(from, to), message);
    }
    assert!(error_after("name = \"tiny\"", "name = ").starts_with("t.toml:2: not TOML: "));
}

#[test]
fn keys_without_effect_and_impossible_wishes_are_refused() {
    for (from, to, message) in [
        ("{ s = 1 }", "{ steady = true }", "t.toml:7: \"max_s\" is missing in phase.until"),
        ("{ s = 1 }", "{ s = 1, max_s = 2 }", "t.toml:7: \"max_s\" has no effect without steady = true"),
        (
            "{ s = 1 }",
            "{ s = 1, debt_below = 5 }",
            "t.toml:7: \"debt_below\" does not end a phase of kind measure",
        ),
        ("ops = {", "loop = \"open\", ops = {", "t.toml:7: \"arrivals\" is missing in phase"),
        (
            "ops = {",
            "arrivals = { kind = \"constant\", rate = 1 }, ops = {",
            "t.toml:7: \"arrivals\" has no effect with loop = \"closed\"",
        ),
        (
            "ops = {",
            "loop = \"open\", arrivals = { kind = \"poisson\", rate = \"0.8x\" }, ops = {",
            "t.toml:7: \"rate\" must be a number or as in \"0.8x_max\", not \"0.8x\"",
        ),
        (
            "ops = {",
            "loop = \"open\", arrivals = { kind = \"poisson\", rate = 1, on_s = 1 }, ops = {",
            "t.toml:7: \"on_s\" has no effect with poisson",
        ),
        (
            "ops = {",
            "dist = { kind = \"spatial\", p = 0.5 }, ops = {",
            "t.toml:7: \"p\" has no effect with spatial",
        ),
        (
            "ops = {",
            "dist = { kind = \"spacial\" }, ops = {",
            "t.toml:7: unknown kind \"spacial\"; did you mean \"spatial\"?",
        ),
        (
            "records = 10",
            "records = 10, value = { dist = \"pareto\", size = 9 }",
            "t.toml:3: \"size\" has no effect with pareto",
        ),
        (
            "records = 10",
            "records = 10, value = { dist = \"uniform\", min = 9 }",
            "t.toml:3: \"max\" is missing in data.value",
        ),
        (
            "records = 10",
            "records = 10, key = { kind = \"int8\", series = 9 }",
            "t.toml:3: \"series\" has no effect with int8",
        ),
        (
            "records = 10",
            "records = 10, key = { kind = \"hash16\", order = \"ordered\" }",
            "t.toml:3: \"order\" must be \"hashed\" for hash16; text24 has both",
        ),
        (
            "records = 10 }\nrun = {",
            "records = \"2x_memory\" }\nrun = { memory_budget = \"0.5x_data\",",
            "t.toml:4: \"run\" has a memory_budget that follows the data, and data.records that follow it",
        ),
        (
            "get = 1.0",
            "get = 0.9, delete_range = 0.1",
            "t.toml:5: \"phase\" delete_range in phase \"measure\" needs keys in record order, not hash16 in hashed order",
        ),
        ("ops = {", "retain = 5, ops = {", "t.toml:7: \"retain\" has no effect without delete_range in ops"),
        ("{ kind = \"load\" }", "{ kind = \"replay\" }", "t.toml:6: \"trace\" is missing in phase"),
    ] {
        assert_eq!(error_after(from, to), message);
    }
}

#[test]
fn a_held_snapshot_is_for_phases_that_read_alone() {
    let message = "t.toml:7: \"snapshot\" is for phases that read alone, and ops has writes";
    assert_eq!(error_after("get = 1.0 },", "get = 0.5, put = 0.5 }, snapshot = \"held\","), message);
    let held = GOOD.replace("get = 1.0 },", "get = 1.0 }, snapshot = \"held\",");
    let spec = parse("t.toml", &held).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(spec.phases[1].snapshot, crate::spec::ReadsFrom::Held);
}

#[test]
fn a_range_delete_needs_threads_that_divide_the_series() {
    let text = |key: &str, threads: u32| {
        GOOD.replace("records = 10", &format!("records = 10, key = {{ {key} }}"))
            .replace("get = 1.0", "insert = 0.9, delete_range = 0.1")
            .replace("durability = \"os\"", &format!("threads = {threads}"))
    };
    let refused = |key, threads| parse("t.toml", &text(key, threads)).unwrap_err().to_string();
    assert!(refused("kind = \"series16\", series = 10", 3).ends_with("divides 10 series, not 3"));
    assert!(refused("kind = \"int8\"", 2).ends_with("one thread, not 2, where keys are no series"));
    let mut spec = parse("t.toml", &text("kind = \"series16\", series = 10", 5)).unwrap();
    assert_eq!(spec.problem(), None);
    spec.run.threads = 4;
    assert!(spec.problem().is_some_and(|why| why.contains("not 4")), "the command line may change it");
}

#[test]
fn a_matrix_is_all_combinations_in_the_order_of_the_file() {
    let text = GOOD
        .replace("records = 10", "records = [10, 20]")
        .replace("durability = \"os\"", "threads = [1, 8]")
        .replace("phase = [", "matrix = { \"phase.measure.dist\" = [{ kind = \"zipf\", theta = 0.5 }, { kind = \"uniform\" }] }\nphase = [");
    let cells = parse_cells("t.toml", &text).unwrap();
    let labels: Vec<&str> = cells.iter().map(|cell| cell.label.as_str()).collect();
    assert_eq!(labels.len(), 8);
    assert_eq!(labels[0], "records=10 threads=1 measure.dist=zipf,theta:0.5");
    assert_eq!(labels[1], "records=10 threads=1 measure.dist=uniform");
    assert_eq!(labels[7], "records=20 threads=8 measure.dist=uniform");
    assert_eq!((cells[7].records(), cells[7].run.threads), (20, 8));
    assert_eq!(cells[7].phases[1].dist, crate::dist::Dist::Uniform);
    assert_eq!(cells[0].phases[1].dist, crate::dist::Dist::Zipf { theta: 0.5 });
    let message = parse("t.toml", &text).unwrap_err().to_string();
    assert_eq!(message, "t.toml: \"matrix\" has 8 cells where one workload is wanted");
}

#[test]
fn axes_reach_tables_that_are_not_there_and_options_of_engines() {
    let matrix =
        "matrix = { \"run.engine.lsm\" = [\"filter=none\", \"filter_bits=5\"], \"data.value.size\" = [8] }";
    let text = GOOD.replace("phase = [", &format!("{matrix}\nphase = ["));
    let cells = parse_cells("t.toml", &text).unwrap();
    assert_eq!(cells[1].run.engine.get("lsm").map(String::as_str), Some("filter_bits=5"));
    assert_eq!(cells[1].label, "engine.lsm=filter_bits=5 value.size=8");
    assert_eq!(cells[0].data.entry_bytes(), 24);
    assert_eq!(cells[0].seen_by("btree"), cells[1].seen_by("btree"), "one run serves both");
    assert_ne!(cells[0].seen_by("lsm"), cells[1].seen_by("lsm"));
}

#[test]
fn wrong_axes_say_where_and_what() {
    for (matrix, message) in [
        ("5", "\"matrix\" must be a table of lists"),
        ("{ \"data.value.size\" = 5 }", "\"matrix\" must hold lists under quoted paths"),
        ("{ data.value.size = [5] }", "\"matrix\" must hold lists under quoted paths"),
        ("{ \"data.value.size\" = [] }", "\"matrix\" is an axis without values"),
        (
            "{ \"name\" = [\"x\"] }",
            "\"matrix\" has no axis \"name\"; begin with data., run., verify. or phase.NAME.",
        ),
        ("{ \"phase.x.dist\" = [1] }", "\"matrix\" names no phase \"x\"; the file has load, measure"),
        ("{ \"data.records.x\" = [1] }", "\"matrix\" reaches through \"records\", which is no table"),
        ("{ \"data.value.sise\" = [1] }", "unknown key \"sise\" in data.value; did you mean \"size\"?"),
        ("{ \"data.value.size\" = [8, 7] }", "\"size\" must be from 8 to 67108864, not 7"),
        ("{ \"run.durability\" = [\"os\", \"dsk\"] }", "unknown durability \"dsk\"; did you mean \"disk\"?"),
    ] {
        let found = error_after("phase = [", &format!("matrix = {matrix}\nphase = ["));
        assert!(found.starts_with(&format!("t.toml:5: {message}")), "{found}");
    }
    let by_kind = GOOD
        .replace("phase = [", "matrix = { \"phase.measure.scan\" = [{ limit = 7 }] }\nphase = [")
        .replace("kind = \"measure\"", "kind = \"measure\", name = \"m\"");
    let scan = parse("t.toml", &by_kind).unwrap().phases[1].scan;
    assert_eq!(scan, crate::spec::ScanSpec::Fixed { limit: 7 });
    let twice = error_after("records = 10 }", "records = [1, 2] }\nmatrix = { \"data.records\" = [3] }");
    assert!(twice.contains("has a second axis \"records\""), "{twice}");
    let many = (0..40).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let many = error_after("durability = \"os\"", &format!("seed = [{many}], repeats = [{many}]"));
    assert!(many.ends_with("has more than 1000 cells"), "{many}");
}

#[test]
fn a_missing_file_is_one_line() {
    let message = read(std::path::Path::new("/no/such.toml")).unwrap_err().to_string();
    assert!(message.starts_with("/no/such.toml: cannot read the workload file: "), "{message}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(at: proptest::sample::Index, len in 0usize..20, with in ".{0,6}") {
        let text = ready::REFERENCE;
        let start = at.index(text.len());
        let end = (start + len).min(text.len());
        let _ = parse_cells("t.toml", &format!("{}{with}{}", &text[..start], &text[end..]))
            .map(|cells| cells[0].resolved());
    }
}
