//! The file format: the reference file holds every key, and every error says where and what to write.

use super::phase::{DIST, OPS, PHASE, SCAN, UNTIL};
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
    let spec = parse("reference.toml", ready::REFERENCE).expect("the reference file is right");
    assert_eq!(spec.phases.len(), 7);
    let parsed = DeTable::parse(ready::REFERENCE).unwrap();
    let mut used = BTreeSet::new();
    collect(&FILE, parsed.get_ref(), &mut used);
    for section in [&FILE, &DATA, &KEY, &VALUE, &RUN, &VERIFY, &PHASE, &OPS, &DIST, &SCAN, &UNTIL] {
        for key in section.keys {
            if used.contains(&(section.name, key.to_string())) {
                continue;
            }
            // What is refused cannot stand in a file that is read: a comment shows it.
            let refused = ["matrix", "arrivals", "steady"].contains(key);
            let shown = ready::REFERENCE
                .lines()
                .any(|line| line.trim_start().starts_with('#') && line.contains(&format!("{key} = ")));
            assert!(refused && shown, "reference.toml lacks \"{key}\" of {}", section.name);
        }
    }
}

#[test]
fn every_ready_file_is_read_under_its_own_name() {
    for ready in ready::all() {
        let spec = parse(ready.name, ready.text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(spec.name, ready.name);
        assert!(!spec.purpose.is_empty());
    }
}

#[test]
fn defaults_are_visible() {
    let spec = parse("t.toml", GOOD).unwrap();
    assert_eq!(spec.data.key.kind, KeyKind::Hash16);
    assert_eq!((spec.data.value.size, spec.run.threads, spec.run.seed), (100, 1, 42));
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
        for spec in [ready.spec(), ready.spec().scaled(Scale::Lab), ready.spec().resolved()] {
            let text = to_text(&spec).unwrap();
            assert_eq!(parse(ready.name, &text).unwrap_or_else(|error| panic!("{error}\n{text}")), spec);
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
        "t.toml:4: unknown key \"xyzzy\" in run; known: memory_budget, durability, threads, seed, repeats"
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
fn later_parts_of_the_format_are_refused_by_name() {
    for (from, to) in [
        ("{ s = 1 }", "{ steady = true }"),
        ("ops = {", "loop = \"open\", ops = {"),
        ("ops = {", "arrivals = { rate = 1 }, ops = {"),
        ("data =", "matrix = {}\ndata ="),
        ("run = {", "run = { threads = [1, 8],"),
        ("records = 10", "records = 10, value = { dist = \"pareto\" }"),
    ] {
        let message = error_after(from, to);
        assert!(message.contains("is not supported yet; "), "{message}");
    }
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
        let _ = parse("t.toml", &format!("{}{with}{}", &text[..start], &text[end..])).map(|spec| spec.resolved());
    }
}
