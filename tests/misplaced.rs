//! Files that are not the ones the database left: missing, renamed, copied, swapped, of an earlier day or of another
//! database; sectors that changed places; lengths that cannot be. The rule is that of `corruption`.

use std::collections::BTreeSet;

use kv_api::{Cause, Durability, Result};
use kv_io::layout::{FileKind, parse_name};
use kv_io::{SimVfs, Vfs as _};
use tests::damage::{Left, Patient, lab_over, overwrite, put_file, resize};
use tests::share::by_share;
use tests::steps::Entries;
use tests::{Engine, each_stored_engine};

each_stored_engine!(
    a_missing_file,
    a_renamed_or_copied_file,
    a_file_of_another_database,
    a_sector_that_moved_or_went_blank,
    a_file_far_too_long,
    a_file_with_the_largest_number,
    a_file_that_went_and_came_back,
    an_identity_that_looks_unfinished,
    an_identity_that_looks_unfinished_after_an_ingest,
);

const SECTOR: usize = 512;

/// Where `id` of any kind could be mistaken for another: beside it, and above all.
fn other_ids(id: u64) -> [u64; 4] {
    [id.saturating_sub(1), id + 1, id + 2, 1_000_000]
}

fn a_missing_file(engine: Engine) -> Result<()> {
    for left in Left::ALL {
        let mut patient = Patient::new(engine, left, 1)?;
        for (name, _) in patient.files()? {
            let context = format!("{left:?}: {name} is gone");
            patient
                .damaged(&context, |disk, dir| disk.remove(&dir.join(&name), Cause::Verify).expect("goes"));
        }
        patient.expect(|tally| tally.refused > 0, &format!("{left:?}"));
    }
    Ok(())
}

fn a_renamed_or_copied_file(engine: Engine) -> Result<()> {
    for left in Left::ALL {
        let mut patient = Patient::new(engine, left, 1)?;
        let files = patient.files()?;
        for (name, bytes) in &files {
            let Some((_, id)) = parse_name(name) else { continue };
            let names = FileKind::ALL.iter().flat_map(|kind| other_ids(id).map(|id| kind.name(id)));
            let names: BTreeSet<String> = names.chain(files.iter().map(|(name, _)| name.clone())).collect();
            for other in names.iter().filter(|other| *other != name) {
                patient.damaged(&format!("{left:?}: {name} is called {other}"), |disk, dir| {
                    disk.rename(&dir.join(name), &dir.join(other), Cause::Verify).expect("moves");
                });
                patient.damaged(&format!("{left:?}: a copy of {name} is called {other}"), |disk, dir| {
                    put_file(disk, &dir.join(other), bytes);
                });
            }
        }
        patient.expect(|tally| tally.refused > 0 && tally.right > 0, &format!("{left:?}"));
    }
    Ok(())
}

fn a_file_of_another_database(engine: Engine) -> Result<()> {
    for left in Left::ALL {
        let mut patient = Patient::new(engine, left, 1)?;
        let other = Patient::new(engine, left, 2)?;
        for (name, bytes) in other.files()? {
            patient.damaged(&format!("{left:?}: {name} is of another database"), |disk, dir| {
                put_file(disk, &dir.join(&name), &bytes);
            });
            let Some((kind, id)) = parse_name(&name) else { continue };
            for id in other_ids(id) {
                let alias = kind.name(id);
                patient.damaged(&format!("{left:?}: {name} of another database as {alias}"), |disk, dir| {
                    put_file(disk, &dir.join(&alias), &bytes);
                });
            }
        }
        patient.expect(|tally| tally.refused > 0, &format!("{left:?}"));
    }
    Ok(())
}

fn a_sector_that_moved_or_went_blank(engine: Engine) -> Result<()> {
    for left in Left::ALL {
        let mut patient = Patient::new(engine, left, 1)?;
        let files = patient.files()?;
        for (index, (name, bytes)) in files.iter().enumerate() {
            let (other_name, other) = &files[(index + 1) % files.len()];
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let sectors = used.div_ceil(SECTOR);
            let blocks = sectors / 8;
            let sector = |n: usize| &bytes[n * SECTOR..((n + 1) * SECTOR).min(bytes.len())];
            for n in (0..sectors).step_by(by_share(5, 1, 1)) {
                let zeros = vec![0; sector(n).len()];
                patient.damaged(&format!("{left:?}: sector {n} of {name} is blank"), |disk, dir| {
                    overwrite(disk, &dir.join(name), n * SECTOR, &zeros);
                });
                if let Some(foreign) = other.get(n * SECTOR..(n + 1) * SECTOR) {
                    let context = format!("{left:?}: sectors {n} of {name} and {other_name} are swapped");
                    patient.damaged(&context, |disk, dir| {
                        overwrite(disk, &dir.join(name), n * SECTOR, &foreign[..sector(n).len()]);
                        overwrite(disk, &dir.join(other_name), n * SECTOR, sector(n));
                    });
                }
                for m in [n + 1, n + 8, sectors - 1] {
                    if m <= n || m >= sectors || sector(m).len() != SECTOR {
                        continue;
                    }
                    let context = format!("{left:?}: sectors {n} and {m} of {name} are swapped");
                    patient.damaged(&context, |disk, dir| {
                        overwrite(disk, &dir.join(name), n * SECTOR, sector(m));
                        overwrite(disk, &dir.join(name), m * SECTOR, sector(n));
                    });
                    patient.damaged(
                        &format!("{left:?}: sector {n} of {name} lies at {m} too"),
                        |disk, dir| {
                            overwrite(disk, &dir.join(name), m * SECTOR, sector(n));
                        },
                    );
                }
            }
            // Metas, headers and footers are longer than a sector.
            for block in (0..blocks).step_by(by_share(3, 1, 1)) {
                let zeros = vec![0; 4096.min(bytes.len() - block * 4096)];
                patient.damaged(
                    &format!("{left:?}: 4 KiB at block {block} of {name} are blank"),
                    |disk, dir| {
                        overwrite(disk, &dir.join(name), block * 4096, &zeros);
                    },
                );
            }
        }
        patient.expect(|tally| tally.refused > 0, &format!("{left:?}"));
    }
    Ok(())
}

/// No length makes the engine ask for as much memory.
fn a_file_far_too_long(engine: Engine) -> Result<()> {
    let mut patient = Patient::new(engine, Left::Killed, 1)?;
    let mut kinds = BTreeSet::new();
    for (name, bytes) in patient.files()?.into_iter().rev() {
        // A simulated file of 64 GiB costs tenths of a second, so the newest of a kind stands for all.
        let is_first = kinds.insert(name.rsplit('.').next().map(str::to_owned));
        let longer = [bytes.len() as u64 + 1, bytes.len() as u64 + 4096];
        for len in longer.into_iter().chain(is_first.then_some(1 << 36)) {
            let context = format!("{name} of {} bytes has {len}", bytes.len());
            patient.damaged(&context, |disk, dir| resize(disk, &dir.join(&name), len));
        }
    }
    patient.expect(|tally| tally.refused > 0, "no length was refused");
    Ok(())
}

fn a_file_with_the_largest_number(engine: Engine) -> Result<()> {
    for left in Left::ALL {
        let mut patient = Patient::new(engine, left, 1)?;
        for kind in FileKind::ALL {
            for id in [u64::MAX, u64::MAX - 1, 0] {
                let name = kind.name(id);
                patient.damaged(&format!("{left:?}: an empty {name}"), |disk, dir| {
                    put_file(disk, &dir.join(&name), b"");
                });
            }
        }
        patient.expect(|tally| tally.right > 0, &format!("{left:?}"));
    }
    Ok(())
}

/// Files that the database removed are there again, as a backup program may leave them.
fn a_file_that_went_and_came_back(engine: Engine) -> Result<()> {
    let mut patient = Patient::new(engine, Left::Killed, 1)?;
    let before = patient.files()?;
    let lab = lab_over(engine, &patient.disk);
    let db = lab.open()?;
    for n in 0..20_u8 {
        db.put(&[b'm', n], &[n; 1500], Durability::Disk)?;
        if n == 10 {
            db.flush()?;
        }
    }
    patient.map = tests::check::contents(&*db)?;
    patient.before_last.clear();
    drop(db);
    let now: BTreeSet<String> = patient.files()?.into_iter().map(|(name, _)| name).collect();
    let gone: Vec<_> = before.iter().filter(|(name, _)| !now.contains(name)).collect();
    assert!(!gone.is_empty(), "the database removed nothing");
    for (name, bytes) in &gone {
        patient.damaged(&format!("{name} is back"), |disk, dir| put_file(disk, &dir.join(name), bytes));
    }
    patient.damaged("all are back", |disk, dir| {
        gone.iter().for_each(|(name, bytes)| put_file(disk, &dir.join(name), bytes));
    });
    // The data files of an earlier day under a newer log.
    for (name, bytes) in before.iter().filter(|(name, _)| now.contains(name) && !name.ends_with(".wal")) {
        patient.damaged(&format!("{name} is the one of before"), |disk, dir| {
            put_file(disk, &dir.join(name), bytes);
        });
    }
    Ok(())
}

/// A whole database whose identity got the name of an unfinished one is not swept away.
fn an_identity_that_looks_unfinished(engine: Engine) -> Result<()> {
    for left in Left::ALL {
        let mut patient = Patient::new(engine, left, 1)?;
        patient.damaged(&format!("{left:?}: the identity is called KVLAB.new"), |disk, dir| {
            disk.rename(&dir.join("KVLAB"), &dir.join("KVLAB.new"), Cause::Verify).expect("moves");
        });
        patient.expect(|tally| tally.refused == 1, &format!("{left:?}"));
    }
    Ok(())
}

/// The same where nothing but an ingest ever happened: no frame in the log tells that the database was used.
fn an_identity_that_looks_unfinished_after_an_ingest(engine: Engine) -> Result<()> {
    let disk = SimVfs::new(1);
    let lab = lab_over(engine, &disk);
    let db = lab.open()?;
    db.ingest(&mut Entries::new(&[(b"key".to_vec(), b"value".to_vec())]))?;
    drop(db);
    disk.rename(&lab.dir().join("KVLAB"), &lab.dir().join("KVLAB.new"), Cause::Verify)?;
    let opened = lab.engine.open(&lab.env, lab.dir(), &lab.knobs);
    assert!(opened.is_err(), "a database that holds an entry was taken for an unfinished one");
    Ok(())
}
