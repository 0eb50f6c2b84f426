//! Golden scripts: `scripts/kv` runs on every engine with one and the same output, `scripts/btree` and
//! `scripts/lsm` print the structure. A changed output is reviewed like code; `UPDATE_GOLDENFILES=1` writes it.

use std::path::{Path, PathBuf};

use tests::script::Scripted;
use tests::{Engine, Knobs, Lab};

/// The scripts in a folder, by name.
fn scripts(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(folder);
    let entries = std::fs::read_dir(&folder).expect("the folder of scripts");
    let mut found: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    found.sort();
    found
}

/// Runs every script of a folder on an engine.
fn run(folder: &str, engine: Engine, knobs: &Knobs) -> std::io::Result<()> {
    let found = scripts(folder);
    assert!(!found.is_empty(), "no script in {folder}");
    for path in found {
        // The name appears only when the script fails.
        println!("{} on {}", path.display(), engine.name());
        let lab = Lab::simulated(engine, knobs.clone(), 1);
        goldenscript::run(&mut Scripted::new(lab), &path)?;
    }
    Ok(())
}

#[test]
fn every_engine_gives_the_same_answers() -> std::io::Result<()> {
    for engine in [Engine::Memory].into_iter().chain(Engine::STORED) {
        run("kv", engine, &Knobs::small())?;
        run("kv", engine, &Knobs::hostile())?;
    }
    Ok(())
}

/// Small settings: a flush or a split happens when the script asks for it.
fn readable() -> Knobs {
    Knobs { page_bytes: 1024, memtable_bytes: 8 << 10, table_bytes: 8 << 10, ..Knobs::small() }
}

#[test]
fn the_btree_shows_splits_merges_and_large_values() -> std::io::Result<()> {
    run("btree", Engine::BTree, &readable())
}

#[test]
fn the_lsm_shows_flushes_compactions_and_tombstones() -> std::io::Result<()> {
    run("lsm", Engine::Lsm, &readable())
}
