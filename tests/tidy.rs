//! Style and architecture as a test: file length, headers, ASCII, no leftovers, imports that go downward only.

use std::fs;
use std::path::{Path, PathBuf};

/// No file is longer; 500 lines are wished for.
const LINES_MAX: usize = 600;

/// The order of modules inside a crate, upper rows first: a module may use only what stands in a later row, and
/// what stands in its own row not at all. `compaction::picker` has a place of its own beside `compaction`.
struct Order {
    krate: &'static str,
    rows: &'static [&'static [&'static str]],
}

const ORDERS: &[Order] = &[
    Order {
        krate: "engines/kv-io",
        rows: &[
            &["commit"],
            &["wal"],
            &["home"],
            &["identity"],
            &["env"],
            &["executor", "ingest", "listeners", "meter", "os", "sim", "cache"],
            &["layout", "mapped"],
            &["vfs"],
            &["aligned", "checksum", "clock", "codec", "counters", "latch", "seeded"],
            &["sync"],
        ],
    },
    Order {
        krate: "engines/kv-btree",
        rows: &[
            &["engine"],
            &["backup", "ingest", "report"],
            &["upkeep"],
            &["apply", "scan"],
            &["core"],
            &["recovery"],
            &["check"],
            &["checkpoint"],
            &["tree"],
            &["jobs", "pressure", "reclaim", "options"],
            &["pager"],
            &["page"],
        ],
    },
    Order {
        krate: "engines/kv-peers",
        rows: &[
            &["redb", "fjall", "lmdb", "sqlite", "canopydb", "rocksdb"],
            &["engine", "chunks"],
            &["scan"],
            &["ranges"],
            &["peer"],
            &["home", "shared"],
            &["counters"],
        ],
    },
    Order {
        krate: "engines/kv-lsm",
        rows: &[
            &["engine"],
            &["backup", "check", "ingest", "report"],
            &["recovery", "compaction::manual"],
            &["upkeep"],
            &["flush", "compaction::job"],
            &["apply", "scan"],
            &["core"],
            &["pressure"],
            &["jobs", "state"],
            &["compaction::picker"],
            &["compaction"],
            &["compaction::gc", "merge", "options", "output"],
            &["version"],
            &["memtable", "sstable"],
            &["cursor", "range_tombstone"],
            &["entry"],
            &["counters", "num"],
        ],
    },
];

/// The uses that go upward all the same, each with its reason. One that is gone must go from here too.
const UPWARD: &[(&str, &str, &str)] = &[
    (
        "engines/kv-btree/src/backup.rs",
        "engine::BTreeEngine",
        "a backup opens a fresh engine and hands it a snapshot",
    ),
    (
        "engines/kv-lsm/src/backup.rs",
        "engine::LsmEngine",
        "a backup opens a fresh engine and hands it a snapshot",
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

/// Every Rust source of the workspace, with its path from the root.
fn sources() -> Vec<(String, String)> {
    let found = files_like(".rs");
    assert!(found.len() > 30, "the walk found only {} files", found.len());
    found
}

/// Every file of the workspace whose name ends like this, with its path from the root.
fn files_like(end: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("lists") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "kvlab-data" {
                folders.push(path);
            } else if name.ends_with(end) {
                let short = path.strip_prefix(root()).expect("below the root").display().to_string();
                found.push((short, fs::read_to_string(&path).expect("reads as UTF-8")));
            }
        }
    }
    found.sort();
    found
}

/// Stops the test with one line per finding.
fn none(what: &str, findings: Vec<String>) {
    assert!(findings.is_empty(), "{what}:\n  {}", findings.join("\n  "));
}

#[test]
fn files_are_short_have_a_header_and_are_ascii() {
    let mut findings = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            findings.push(format!("{path}: {lines} lines; split it, {LINES_MAX} is the most"));
        }
        let header = text.lines().next().unwrap_or_default();
        if !header.starts_with("//! ") || header.len() < 20 {
            findings.push(format!("{path}:1: opens without a `//!` line that says what the file is for"));
        }
        for (number, line) in text.lines().enumerate() {
            if !line.is_ascii() {
                findings.push(format!("{path}:{}: not ASCII: {line}", number + 1));
            }
            if line.ends_with(' ') || line.contains('\t') {
                findings.push(format!("{path}:{}: a tab or a space at the end", number + 1));
            }
        }
    }
    none("untidy files", findings);
}

#[test]
fn nothing_is_left_for_later() {
    // Written in two parts, so that this file does not find itself.
    let words = [("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("HA", "CK")].map(|(a, b)| format!("{a}{b}"));
    let calls = [("#[ig", "nore"), ("unimple", "mented!"), ("to", "do!("), ("dbg", "!(")]
        .map(|(a, b)| format!("{a}{b}"));
    let mut findings = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            let is_word = |at: usize, word: &str| {
                let letter = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
                !letter(line[..at].chars().next_back()) && !letter(line[at + word.len()..].chars().next())
            };
            let word = words.iter().find(|word| line.find(word.as_str()).is_some_and(|at| is_word(at, word)));
            let call = calls.iter().find(|call| line.contains(call.as_str()));
            if let Some(what) = word.or(call) {
                findings.push(format!("{path}:{}: {what}", number + 1));
            }
        }
    }
    none("left for later", findings);
}

#[test]
fn engines_never_name_each_other() {
    let pairs = [
        ("engines/kv-btree/", &["kv_lsm", "kv_peers"][..]),
        ("engines/kv-lsm/", &["kv_btree", "kv_peers"]),
        ("engines/kv-peers/", &["kv_io", "kv_btree", "kv_lsm"]),
        ("engines/kv-io/", &["kv_btree", "kv_lsm", "kv_peers"]),
        ("engines/kv-api/", &["kv_io", "kv_btree", "kv_lsm", "kv_peers"]),
        ("workloads/", &["kv_io", "kv_btree", "kv_lsm", "kv_peers"]),
    ];
    let mut findings = Vec::new();
    for (path, text) in sources() {
        for (_, others) in pairs.iter().filter(|(prefix, _)| path.starts_with(prefix)) {
            for other in others.iter().filter(|other| text.contains(**other)) {
                findings.push(format!("{path}: names `{other}`"));
            }
        }
    }
    none("crates that reach sideways or up", findings);
}

/// The paths that a source names through `crate::`, two segments of each: `version::edit`.
fn imports(text: &str) -> Vec<String> {
    let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
    let code: Vec<&str> = lines.map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join(" ");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let after = &code[at + "crate::".len()..];
        match after.strip_prefix('{') {
            Some(group) => found.extend(members(group)),
            None => found.push(path_of(after)),
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The first two segments of a path.
fn path_of(text: &str) -> String {
    let path: String =
        text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == ':').collect();
    path.split("::").filter(|part| !part.is_empty()).take(2).collect::<Vec<_>>().join("::")
}

/// The paths in a group `{a::b, c::{d, e}}`, from behind its brace.
fn members(group: &str) -> Vec<String> {
    let mut depth = 0_usize;
    let mut found = vec![0];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => found.push(at + 1),
            _ => {}
        }
    }
    found.into_iter().map(|at| path_of(group[at..].trim_start())).filter(|path| !path.is_empty()).collect()
}

/// The path of a file as a module, at most two segments: `src/tree/cursor.rs` is `tree::cursor`.
fn module_of(path: &str, krate: &str) -> Option<String> {
    let inside = path.strip_prefix(krate)?.strip_prefix("/src/")?.trim_end_matches(".rs");
    Some(inside.split('/').filter(|part| *part != "mod").take(2).collect::<Vec<_>>().join("::"))
}

/// The place of a module in an order: its own, else that of the module around it. With the name that has it.
fn place<'m>(order: &Order, module: &'m str) -> Option<(usize, &'m str)> {
    let outer = module.split("::").next().unwrap_or(module);
    [module, outer].into_iter().find_map(|name| {
        let row = order.rows.iter().position(|row| row.contains(&name))?;
        Some((row, name))
    })
}

#[test]
fn modules_import_downward_only() {
    let mut findings = Vec::new();
    let mut upward: Vec<_> = UPWARD.iter().map(|(path, used, _)| (*path, *used)).collect();
    for order in ORDERS {
        for (path, text) in sources() {
            let Some(module) = module_of(&path, order.krate) else { continue };
            if module == "lib" || path.contains("test") {
                continue;
            }
            let Some((row, name)) = place(order, &module) else {
                findings
                    .push(format!("{path}: module `{module}` has no place in the order of {}", order.krate));
                continue;
            };
            for used in imports(&text) {
                match place(order, &used) {
                    Some((_, other)) if other == name => {}
                    Some((other, _)) if other > row => {}
                    Some(_) if UPWARD.iter().any(|(file, known, _)| (*file, *known) == (&*path, &*used)) => {
                        upward.retain(|(file, known)| (*file, *known) != (&*path, &*used));
                    }
                    Some(_) => {
                        findings.push(format!("{path}: `{name}` uses `{used}`, which is not below it"))
                    }
                    // A name without a place is re-exported by lib.rs: say where it lives instead.
                    None => findings
                        .push(format!("{path}: uses `crate::{used}`, which has no place in the order")),
                }
            }
        }
    }
    findings.extend(
        upward.iter().map(|(path, used)| format!("{path}: no longer uses `{used}`: strike it off the list")),
    );
    none("imports that do not go downward", findings);
}

#[test]
fn the_import_reader_reads_groups_and_paths() {
    let text = "use crate::{a, b::{c, d}, e::f::g};\nuse crate::h::I; // crate::no\nfn x() { crate::j::k() }\n\
                #[cfg(test)]\nuse crate::tests_only;\n";
    assert_eq!(imports(text), ["a", "b", "e::f", "h::I", "j::k"]);
}

#[test]
fn lint_exceptions_are_argued() {
    let mut findings = Vec::new();
    for (path, text) in sources() {
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        for (number, line) in lines.iter().enumerate() {
            if line.starts_with("#[expect(") || line.starts_with("#![expect(") {
                // An attribute over several lines ends at the first line that closes it.
                let whole = lines[number..].iter().take(8);
                let last = whole.clone().position(|line| line.ends_with(")]")).unwrap_or(0);
                if !whole.take(last + 1).any(|line| line.contains("reason = ")) {
                    findings.push(format!("{path}:{}: {line}", number + 1));
                }
            }
        }
    }
    none("lint exceptions without a reason", findings);
}

#[test]
fn unsafe_code_is_where_the_architecture_says() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let section =
        text.split("## Modules with `unsafe`").nth(1).expect("the list of modules with unsafe code");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut listed: Vec<String> = rows.map(str::to_owned).collect();
    let marks = ["#[expect(unsafe_code", "#![expect(unsafe_code", "unsafe_code,"];
    let is_mark = |line: &str| marks.iter().any(|mark| line.trim_start().starts_with(mark));
    let uses = |text: &str| text.lines().any(is_mark);
    let mut found: Vec<String> =
        sources().into_iter().filter(|(_, text)| uses(text)).map(|(path, _)| path).collect();
    listed.sort();
    found.sort();
    assert_eq!(found, listed, "left: modules that expect the lint; right: those in ARCHITECTURE.md");
}

#[test]
fn planted_bugs_stay_in_the_builds_that_ask_for_them() {
    let mut findings = Vec::new();
    for (path, text) in files_like("Cargo.toml") {
        let allowed = match path.as_str() {
            "engines/kv-io/Cargo.toml" => "seeded = []",
            "tests/Cargo.toml" => "seeded = [\"kv-io/seeded\"]",
            _ => "",
        };
        let named = text.lines().filter(|line| !line.starts_with('#') && line.contains("seeded"));
        findings.extend(named.filter(|line| *line != allowed).map(|line| format!("{path}: {line}")));
    }
    let sources = sources();
    for bug in kv_io::seeded::Bug::ALL {
        let (name, hook) = (format!("Bug::{bug:?}"), format!("seeded::is(Bug::{bug:?})"));
        let others = |path: &str| path != "engines/kv-io/src/seeded.rs";
        let naming: Vec<&(String, String)> =
            sources.iter().filter(|(path, text)| others(path) && text.contains(&name)).collect();
        let is_hooked = |(path, text): &(String, String)| {
            path.starts_with("engines/") && path.contains("/src/") && text.matches(&hook).count() == 1
        };
        if naming.len() != 1 || !naming.iter().all(|source| is_hooked(source)) {
            let places: Vec<&str> = naming.iter().map(|(path, _)| path.as_str()).collect();
            findings.push(format!(
                "{name} is named in {places:?}: once, by its hook in an engine, and by no test"
            ));
        }
    }
    none("bugs planted where they must not be, or nowhere", findings);
}

/// Only what comes from `kv_io::sync` can be put in order by the model checker of `schedules`.
#[test]
fn locks_and_threads_of_the_engines_come_from_one_place() {
    let ours = ["Mutex", "Condvar", "RwLock"];
    let engines = ["engines/kv-io/src/", "engines/kv-btree/src/", "engines/kv-lsm/src/"];
    let mut findings = Vec::new();
    for (path, text) in sources() {
        let is_engine = engines.iter().any(|engine| path.starts_with(engine));
        if !is_engine || path.ends_with("tests.rs") || path == "engines/kv-io/src/sync.rs" {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let of_std = line.contains("std::sync::") && ours.iter().any(|name| line.contains(name));
            if of_std || line.contains("std::thread") {
                findings.push(format!("{path}: {}", line.trim()));
            }
        }
    }
    none("locks or threads of std in an engine; kv_io::sync has them", findings);
}
