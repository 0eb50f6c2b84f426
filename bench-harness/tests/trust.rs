//! The word INVALID appears when a check failed, and only then: engines that lie, fail or panic are put through
//! the main job by the public entry point.

mod liar;

use std::fs;

use bench_harness::{Registry, run_with};
use liar::{Captured, Liar, Lie};

/// The main job in small on an engine that tells `lie`. Gives the exit code, the terminal, and both files.
fn job(lie: Option<Lie>) -> (u8, String, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut registry = Registry::empty();
    match lie {
        Some(lie) => registry.add("subject", "", move |_, _| Ok(Liar::open(lie))),
        None => registry.add("subject", "", |_, _| Ok(std::sync::Arc::new(kv_api::MemoryEngine::new()))),
    };
    let out = dir.path().join("out");
    let (out_text, data) = (out.display().to_string(), dir.path().join("data").display().to_string());
    let stdout = Captured::default();
    let args = ["kvlab", "--scale", "smoke", "--out", &out_text, "--dir", &data, "--calibrate", "never"];
    let code = run_with(&registry, args, Box::new(stdout.clone()));
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    assert!(!dir.path().join("data").exists(), "the data is removed");
    (code, stdout.text(), read("result.json"), read("report.html"))
}

#[test]
fn an_honest_engine_is_not_stamped() {
    let (code, terminal, result, report) = job(None);
    assert_eq!(code, 0, "{terminal}");
    for text in [&terminal, &result, &report] {
        assert!(!text.contains("INVALID"), "{text}");
    }
    assert!(terminal.contains("how to read it"), "{terminal}");
    assert!(result.contains("\"profile\""), "{result}");
    assert!(terminal.lines().all(|line| line.chars().count() <= 80 || line.contains(".json")), "{terminal}");
}

#[test]
fn forgotten_writes_are_found_and_stamped_everywhere() {
    let (code, terminal, result, report) = job(Some(Lie::ForgetsWrites));
    assert_eq!(code, 3, "{terminal}");
    for text in [&terminal, &result, &report] {
        assert!(text.contains("INVALID"), "{text}");
    }
    assert!(terminal.contains("X7") && terminal.contains("answers"), "{terminal}");
}

#[test]
fn bytes_that_never_moved_are_found() {
    let (code, terminal, ..) = job(Some(Lie::LosesBytes));
    assert_eq!(code, 3, "{terminal}");
    assert!(terminal.contains("X2"), "{terminal}");
}

#[test]
fn a_byte_without_a_cause_is_found() {
    let (code, terminal, ..) = job(Some(Lie::HasNoCause));
    assert_eq!(code, 3, "{terminal}");
    assert!(terminal.contains("INVALID subject X1"), "{terminal}");
}

#[test]
fn damage_that_the_engine_finds_itself_is_stamped() {
    let (code, terminal, ..) = job(Some(Lie::FindsDamage));
    assert_eq!(code, 4, "{terminal}");
    let unwrapped = terminal.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(unwrapped.contains("db/7.tbl at byte 4096"), "{terminal}");
}

#[test]
fn a_failing_engine_fails_the_run_and_keeps_what_was_done() {
    for lie in [Lie::Fails, Lie::Panics] {
        let (code, terminal, result, _) = job(Some(lie));
        assert_eq!(code, 1, "{terminal}");
        assert!(terminal.contains("FAILED") && result.contains("\"load\""), "{terminal}");
    }
}
