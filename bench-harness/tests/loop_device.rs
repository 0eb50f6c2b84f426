//! X3 on a device of its own: a file system in an image file, mounted through a loop device whose counters nobody else
//! moves. The device must have written what the engine says, five times out of five.
//!
//! Takes root and 1.2 GB written in each run, so `KVLAB_TESTS=ci` or `long` only; anything missing is said. The image
//! lies below `KVLAB_TEST_DIR`, or where cargo keeps the files of tests.

mod loop_fs;

use std::fs;
use std::path::Path;
use std::process::Command;

use loop_fs::Loop;

/// Runs of each engine.
const RUNS: usize = 5;
/// A gibibyte has to be written, and an engine may need room for some times its data.
const IMAGE_BYTES: u64 = 3 << 30;

/// Values of which one fills most of a page, so that few operations write much.
const WORKLOAD: &str = "schema = 1\nname = \"device\"\npurpose = \"to write a gibibyte\"\n[data]\n\
    records = 120_000\nkey = { kind = \"int8\" }\nvalue = { size = 3000 }\n[run]\n\
    memory_budget = \"32MiB\"\ndurability = \"os\"\nthreads = 1\nseed = 1\n[[phase]]\nkind = \"load\"\nbatch = 100\n\
    order = \"sequential\"\nuntil = { records = \"all\", s = 600 }\n[[phase]]\nkind = \"measure\"\n\
    ops = { update = 1.0 }\ndist = { kind = \"uniform\" }\nuntil = { ops = 40_000, s = 600 }\n[[phase]]\n\
    kind = \"drain\"\nuntil = { s = 600 }\n[[phase]]\nkind = \"verify\"\n";

fn is_wanted() -> bool {
    match std::env::var("KVLAB_TESTS").as_deref() {
        Err(_) | Ok("quick" | "") => false,
        Ok("ci" | "long") => true,
        Ok(other) => panic!("KVLAB_TESTS is `{other}`; it must be quick, ci or long"),
    }
}

/// The check called `id` of each run in a result: engine, verdict, numbers.
fn checks(result: &serde_json::Value, id: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for cell in result["cells"].as_array().unwrap() {
        let engine = cell["engine"]["label"].as_str().unwrap();
        for check in cell["checks"].as_array().unwrap().iter().filter(|check| check["id"] == id) {
            let text = |field: &str| check[field].as_str().unwrap().to_owned();
            found.push((engine.to_owned(), text("verdict"), text("detail")));
        }
    }
    found
}

#[test]
fn the_device_writes_what_the_engines_say_five_times_out_of_five() {
    if !is_wanted() {
        eprintln!("SKIPPED: writes 12 GB; KVLAB_TESTS=ci or long asks for it");
        return;
    }
    let dir = std::env::var_os("KVLAB_TEST_DIR").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    let disk = match Loop::make(Path::new(&dir), "loop", IMAGE_BYTES) {
        Ok(disk) => disk,
        Err(why) => {
            eprintln!(
                "SKIPPED: no file system can be mounted through a loop device, which takes root: {why}"
            );
            return;
        }
    };
    let out = tempfile::tempdir().unwrap();
    fs::write(out.path().join("device.toml"), WORKLOAD).unwrap();
    for io in ["direct", "buffered"] {
        let repeats = if io == "direct" { RUNS } else { 1 };
        let output = Command::new(env!("CARGO_BIN_EXE_kvlab"))
            .current_dir(out.path())
            .args(["run", "device.toml", "--calibrate", "now", "--io", io, "--out", io])
            .args(["--repeats", &repeats.to_string(), "--dir"])
            .arg(disk.mount.join("data"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let failed = text.lines().find(|line| line.contains("FAILED"));
        assert!(output.status.success(), "{failed:?} {text}{}", String::from_utf8_lossy(&output.stderr));
        let result = fs::read_to_string(out.path().join(io).join("result.json")).unwrap();
        let found = checks(&serde_json::from_str(&result).unwrap(), "X3");
        assert_eq!(found.len(), 2 * repeats, "btree and lsm");
        for (engine, verdict, detail) in &found {
            eprintln!("{io} {engine}: X3 {verdict}: {detail}");
            assert_eq!(verdict, "pass", "{engine}, io {io}: {detail}");
        }
        assert!(text.contains("trust: device loop"), "{text}");
    }
}
