//! `kvlab advise` and `kvlab model` as a user meets them: words, JSON, and one-line errors.

mod binary;

use binary::{assert_fails, run};

#[test]
fn advice_ranks_every_setting_and_says_what_binds_and_what_would_change_it() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["advise", "write-heavy", "--cores", "4"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    for says in
        ["lsm:size_ratio=", "btree:page_size=16KiB", "not calibrated", "client CPU", "holds best over"]
    {
        assert!(text.contains(says), "`{says}` in {text}");
    }
    assert!(text.contains("too close to call") || text.contains("choose "), "{text}");
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "advice makes nothing");
}

#[test]
fn advice_as_json_has_a_value_for_each_cell_of_a_matrix() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["advise", "ycsb-a", "--scale", "smoke", "--memory", "4MiB", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let ranking = value["advice"]["ranking"].as_array().unwrap();
        assert!(ranking.len() >= 13 && value["memory_bytes"] == 4 << 20, "{line}");
        let rates: Vec<f64> = ranking.iter().map(|row| row["bound"]["ops_per_s"].as_f64().unwrap()).collect();
        assert!(rates.windows(2).all(|pair| pair[0] >= pair[1]), "{rates:?}");
        assert!(ranking[0]["predicted"]["wa"].as_f64().unwrap() > 1.0);
    }
    assert!(text.lines().count() >= 1);
}

#[test]
fn a_result_gives_the_costs_and_the_nearest_cell_and_is_judged() {
    let dir = tempfile::tempdir().unwrap();
    let made = run(dir.path(), &["run", "balanced", "--scale", "smoke", "--io", "buffered", "--out", "made"]);
    assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    let text = String::from_utf8_lossy(&made.stdout);
    assert!(text.contains("model of") && text.contains("blocks/get"), "{text}");
    let page = std::fs::read_to_string(dir.path().join("made/report.html")).unwrap();
    assert!(page.contains("Predicted and measured"));
    let output = run(dir.path(), &["advise", "balanced", "--scale", "smoke", "--from", "made", "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let nearest = value["nearest"].as_array().unwrap();
    assert_eq!(nearest.len(), 2, "{value}");
    for near in nearest {
        let family = near["engine"].as_str().unwrap();
        assert!(near["distance"].as_f64().unwrap() < 1e-9, "the same workload is no distance away: {near}");
        assert_eq!(value["cpu"][family]["factor"], near["cpu_factor"]);
    }
    let judged = run(dir.path(), &["model", "--from", "made"]);
    assert!(matches!(judged.status.code(), Some(0 | 3)), "{}", String::from_utf8_lossy(&judged.stderr));
    let text = String::from_utf8_lossy(&judged.stdout);
    assert!(text.contains("allowed") && text.contains("missed; its constants"), "{text}");
}

#[test]
fn wrong_questions_are_exit_code_2_and_one_line() {
    let dir = tempfile::tempdir().unwrap();
    for (args, says) in [
        (vec!["advise"], "required"),
        (vec!["advise", "write-hevy"], "did you mean `write-heavy`"),
        (vec!["advise", "write-heavy", "--cores", "0"], "--cores"),
        (vec!["advise", "write-heavy", "--memory", "lots"], "lots"),
        (vec!["advise", "write-heavy", "--phase", "none"], "no phase `none`"),
        (vec!["advise", "write-heavy", "--from", "nowhere"], "nowhere has no result.json"),
        (vec!["advise", "time-series"], "no advice for time-series"),
        (vec!["model", "--from", "nowhere"], "nowhere has no result.json"),
        (vec!["model", "--from", "x", "--with-fit"], "--with-fit"),
    ] {
        assert_fails(&run(dir.path(), &args), 2, says);
    }
}
