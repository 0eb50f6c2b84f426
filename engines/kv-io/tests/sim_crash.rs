//! What a simulated disk leaves after a crash, policy by policy, and what its faults do.

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use kv_api::{Cause, CommonOptions, ErrorKind, Result};
use kv_io::sim::{CrashPolicy, FaultOp, Repeat};
use kv_io::vfs::OpenOptions;
use kv_io::{Env, Home, SimVfs, Vfs, VfsFile};

const C: Cause = Cause::Page;
const DROP: CrashPolicy = CrashPolicy::DropUnsynced;
const KEEP: CrashPolicy = CrashPolicy::KeepAll;

fn create(sim: &SimVfs, name: &str) -> Arc<dyn VfsFile> {
    sim.open(Path::new(name), OpenOptions::NEW, C).unwrap()
}

fn put(file: &dyn VfsFile, offset: u64, bytes: &[u8]) {
    file.write_at(offset, &[IoSlice::new(bytes)], C).unwrap();
}

fn durable(sim: &SimVfs, name: &str, bytes: &[u8]) -> Arc<dyn VfsFile> {
    let file = create(sim, name);
    put(&*file, 0, bytes);
    file.sync_data(C).unwrap();
    sim.sync_dir(Path::new("."), C).unwrap();
    file
}

/// The bytes of a file, `None` if there is none.
fn read(sim: &SimVfs, name: &str) -> Option<Vec<u8>> {
    let file = sim.open(Path::new(name), OpenOptions::READ, C).ok()?;
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes, C).unwrap();
    Some(bytes)
}

fn after(sim: &SimVfs, policy: CrashPolicy, name: &str) -> Option<Vec<u8>> {
    read(&sim.crash(policy), name)
}

/// Every outcome for `name` over many torn images.
fn torn(sim: &SimVfs, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..400).map(|seed| after(sim, CrashPolicy::Tear { seed }, name)).collect()
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn only_a_sync_of_both_file_and_directory_is_durable() {
    let sim = SimVfs::new(1);
    let file = create(&sim, "a");
    put(&*file, 0, b"one");
    file.sync_data(C).unwrap();
    assert_eq!(after(&sim, DROP, "a"), None, "the name was never synced");
    sim.sync_dir(Path::new("."), C).unwrap();
    assert_eq!(after(&sim, DROP, "a").unwrap(), b"one");
    put(&*file, 0, b"two!");
    file.set_len(9, C).unwrap();
    assert_eq!(after(&sim, DROP, "a").unwrap(), b"one");
    assert_eq!(after(&sim, KEEP, "a").unwrap(), b"two!\0\0\0\0\0");

    create(&sim, "b");
    sim.sync_dir(Path::new("."), C).unwrap();
    assert_eq!(after(&sim, DROP, "b").unwrap(), b"", "a synced name of a file that was never synced");
}

#[test]
fn a_process_that_dies_leaves_unsynced_bytes_unsynced() {
    let sim = SimVfs::new(1);
    let file = durable(&sim, "a", b"one");
    put(&*file, 0, b"two");
    sim.rename(Path::new("a"), Path::new("b"), C).unwrap();
    let restarted = sim.crash(KEEP);
    assert_eq!(read(&restarted, "b").unwrap(), b"two");
    assert_eq!(after(&restarted, DROP, "a").unwrap(), b"one");
    let reopened = restarted.open(Path::new("b"), OpenOptions::WRITE, C).unwrap();
    reopened.sync_data(C).unwrap();
    restarted.sync_dir(Path::new("."), C).unwrap();
    assert_eq!(after(&restarted, DROP, "b").unwrap(), b"two");
    assert_eq!(after(&sim, DROP, "a").unwrap(), b"one", "the original knows nothing of it");
}

#[test]
fn renames_and_removals_wait_for_the_directory_sync() {
    let sim = SimVfs::new(1);
    durable(&sim, "old", b"old");
    durable(&sim, "new", b"new");
    sim.rename(Path::new("new"), Path::new("old"), C).unwrap();
    assert_eq!(after(&sim, DROP, "old").unwrap(), b"old");
    assert_eq!(after(&sim, KEEP, "old").unwrap(), b"new");
    // Old or new, never none; and the renamed file has exactly one of its names.
    assert_eq!(torn(&sim, "old"), [Some(b"old".to_vec()), Some(b"new".to_vec())].into());
    for seed in 0..100 {
        let image = sim.crash(CrashPolicy::Tear { seed });
        assert_eq!(read(&image, "new").is_some(), read(&image, "old").unwrap() == b"old");
    }
    sim.sync_dir(Path::new("."), C).unwrap();
    assert_eq!(torn(&sim, "old"), [Some(b"new".to_vec())].into());

    sim.remove(Path::new("old"), C).unwrap();
    assert_eq!(torn(&sim, "old"), [None, Some(b"new".to_vec())].into());
    sim.sync_dir(Path::new("."), C).unwrap();
    assert_eq!(torn(&sim, "old"), [None].into());
}

#[test]
fn a_file_renamed_twice_is_there_once() {
    let sim = SimVfs::new(1);
    durable(&sim, "a", b"bytes");
    sim.rename(Path::new("a"), Path::new("b"), C).unwrap();
    sim.rename(Path::new("b"), Path::new("c"), C).unwrap();
    let mut places = BTreeSet::new();
    for seed in 0..400 {
        let image = sim.crash(CrashPolicy::Tear { seed });
        let found: Vec<_> = ["a", "b", "c"].into_iter().filter(|name| read(&image, name).is_some()).collect();
        assert_eq!(found.len(), 1, "seed {seed}: {found:?}");
        places.extend(found);
    }
    assert_eq!(places.len(), 3);
}

#[test]
fn a_torn_write_is_any_mix_of_old_and_new_sectors() {
    let sim = SimVfs::new(1);
    let file = durable(&sim, "a", &[1; 2048]);
    put(&*file, 100, &[2; 1500]);
    let outcomes = torn(&sim, "a");
    // Sectors 0 to 3 are touched, each for itself.
    let patterns: BTreeSet<Vec<bool>> = outcomes
        .iter()
        .map(|bytes| {
            let bytes = bytes.as_ref().unwrap();
            assert_eq!(bytes.len(), 2048);
            assert!(
                bytes[..100].iter().all(|byte| *byte == 1) && bytes[1600..].iter().all(|byte| *byte == 1)
            );
            [100..512, 512..1024, 1024..1536, 1536..1600]
                .map(|range| {
                    let sector = &bytes[range];
                    assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is never torn");
                    sector[0] == 2
                })
                .to_vec()
        })
        .collect();
    assert_eq!(patterns.len(), 16, "every subset turns up");
    assert_eq!(torn(&sim, "a"), outcomes, "one seed, one image");
}

#[test]
fn writes_may_reach_the_disk_out_of_order_and_lengths_by_themselves() {
    let sim = SimVfs::new(1);
    let file = durable(&sim, "a", b"");
    put(&*file, 0, b"x");
    put(&*file, 512, b"y");
    let hole = [&[0; 512], b"y".as_slice()].concat();
    let both = [b"x".as_slice(), &[0; 511], b"y"].concat();
    assert_eq!(torn(&sim, "a"), [b"".to_vec(), b"x".to_vec(), hole, both].map(Some).into());

    let sim = SimVfs::new(1);
    let file = durable(&sim, "b", b"12");
    file.allocate(4, C).unwrap();
    assert_eq!(torn(&sim, "b"), [b"12".to_vec(), b"12\0\0".to_vec()].map(Some).into());
    file.sync_data(C).unwrap();
    assert_eq!(torn(&sim, "b"), [Some(b"12\0\0".to_vec())].into());
}

#[test]
fn a_failed_sync_leaves_a_part_and_no_later_sync_brings_the_rest() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..200 {
        let sim = SimVfs::new(seed);
        let file = durable(&sim, "a", &[1; 1024]);
        put(&*file, 0, &[2; 1024]);
        sim.faults().fail(FaultOp::Sync, 0, Repeat::Once);
        assert_eq!(kind(file.sync_data(C)), Some(ErrorKind::Io));
        assert_eq!(read(&sim, "a").unwrap(), [2; 1024], "readers still see it");
        file.sync_data(C).unwrap();
        let left = after(&sim, DROP, "a").unwrap();
        outcomes.insert((left[0], left[512]));
        put(&*file, 0, b"3");
        file.sync_data(C).unwrap();
        assert_eq!(after(&sim, DROP, "a").unwrap()[1..], left[1..], "only what was written since");
        assert_eq!(after(&sim, DROP, "a").unwrap()[0], b'3');
    }
    assert_eq!(outcomes, [(1, 1), (1, 2), (2, 1), (2, 2)].into());
}

#[test]
fn the_chosen_call_fails_and_the_others_do_not() {
    let sim = SimVfs::new(1);
    let file = durable(&sim, "a", b"123456");
    let mut buffer = [0; 2];
    sim.faults().fail(FaultOp::Read, 1, Repeat::Once);
    sim.faults().fail(FaultOp::Rename, 0, Repeat::Forever);
    assert!(file.read_at(0, &mut buffer, C).is_ok());
    assert_eq!(kind(file.read_at(0, &mut buffer, C)), Some(ErrorKind::Io));
    assert!(file.read_at(0, &mut buffer, C).is_ok());
    for _ in 0..3 {
        assert_eq!(kind(sim.rename(Path::new("a"), Path::new("b"), C)), Some(ErrorKind::Io));
    }
    sim.faults().heal();
    assert!(sim.rename(Path::new("a"), Path::new("b"), C).is_ok());

    sim.faults().fail(FaultOp::Write, 0, Repeat::Once);
    let failed = file.write_at(0, &[IoSlice::new(b"abcd")], C);
    assert_eq!(kind(failed), Some(ErrorKind::Io));
    assert_eq!(read(&sim, "b").unwrap(), b"ab3456", "half a write");
    for (op, call) in [
        (FaultOp::Create, &(|| kind(sim.open(Path::new("x"), OpenOptions::NEW, C))) as &dyn Fn() -> _),
        (FaultOp::Remove, &|| kind(sim.remove(Path::new("b"), C))),
        (FaultOp::Resize, &|| kind(file.allocate(10, C))),
        (FaultOp::SyncDir, &|| kind(sim.sync_dir(Path::new("."), C))),
    ] {
        sim.faults().fail(op, 0, Repeat::Once);
        assert_eq!(call(), Some(ErrorKind::Io), "{op:?}");
        assert_eq!(call(), None, "{op:?}");
    }
}

#[test]
fn a_full_disk_takes_what_fits_and_gets_room_back_from_removed_files() {
    let sim = SimVfs::new(1);
    let file = durable(&sim, "a", &[1; 1000]);
    durable(&sim, "b", &[1; 1000]);
    sim.faults().limit_space(2500, Repeat::Forever);
    assert_eq!(sim.free_space(Path::new(".")).unwrap(), 500);
    put(&*file, 0, &[2; 1000]);
    assert_eq!(kind(file.write_at(900, &[IoSlice::new(&[3; 700])], C)), Some(ErrorKind::NoSpace));
    assert_eq!((file.len().unwrap(), sim.used_bytes()), (1500, 2500));
    assert_eq!(kind(file.allocate(1501, C)), Some(ErrorKind::NoSpace));
    assert_eq!(kind(file.set_len(1501, C)), Some(ErrorKind::NoSpace));
    file.allocate(1500, C).unwrap();
    sim.remove(Path::new("b"), C).unwrap();
    assert_eq!(sim.used_bytes(), 2500, "not free before the removal is durable");
    sim.sync_dir(Path::new("."), C).unwrap();
    assert_eq!(sim.used_bytes(), 1500);
    file.allocate(2500, C).unwrap();
    sim.faults().limit_space(2500, Repeat::Once);
    assert_eq!(kind(file.allocate(2501, C)), Some(ErrorKind::NoSpace));
    file.allocate(2501, C).unwrap();
}

#[test]
fn without_power_nothing_works_and_nothing_arrives() {
    let sim = SimVfs::new(1);
    let file = durable(&sim, "a", b"one");
    let held = sim.try_lock(Path::new("LOCK"), C).unwrap();
    sim.crash_at(sim.steps() + 1);
    put(&*file, 0, b"two");
    let part = [IoSlice::new(b"x")];
    assert_eq!(kind(file.write_at(0, &part, C)), Some(ErrorKind::Io));
    assert_eq!(kind(file.sync_data(C)), Some(ErrorKind::Io));
    assert_eq!(kind(file.read_at(0, &mut [0], C)), Some(ErrorKind::Io));
    assert_eq!(kind(file.len()), Some(ErrorKind::Io));
    assert_eq!(kind(sim.list(Path::new("."), C)), Some(ErrorKind::Io));
    assert_eq!(kind(sim.open(Path::new("a"), OpenOptions::READ, C)), Some(ErrorKind::Io));
    assert_eq!(kind(sim.rename(Path::new("a"), Path::new("b"), C)), Some(ErrorKind::Io));
    assert_eq!(after(&sim, KEEP, "a").unwrap(), b"two");
    let image = sim.crash(DROP);
    assert_eq!(read(&image, "a").unwrap(), b"one");
    assert!(image.try_lock(Path::new("LOCK"), C).is_ok(), "no lock survives");
    drop(held);
}

#[test]
fn a_creation_cut_at_any_step_opens_again_and_a_finished_one_is_kept() {
    let seed = std::cell::Cell::new(0);
    let create = |sim: &Arc<SimVfs>| -> Result<[u8; 16]> {
        // Another seed each time: a database that is created anew has another identity.
        seed.set(seed.get() + 1);
        let env = Env::simulated(Arc::clone(sim) as Arc<dyn Vfs>, seed.get());
        let options = CommonOptions::default();
        let mut home = Home::open(&env, Path::new("/db"), "lsm", 1, &options, Vec::new())?;
        if home.is_new {
            let file = home.vfs.open(&home.path("000001.manifest"), OpenOptions::NEW, C)?;
            file.write_at(0, &[IoSlice::new(b"first")], C)?;
            file.sync_all(C)?;
            home.commit_identity()?;
        }
        Ok(home.identity.uuid)
    };
    let whole = SimVfs::new(1);
    let uuid = create(&whole).unwrap();
    assert_eq!(create(&whole.crash(DROP)).unwrap(), uuid);
    for step in 0..whole.steps() {
        let sim = SimVfs::new(1);
        sim.crash_at(step);
        assert!(create(&sim).is_err(), "step {step}");
        for policy in (0..30).map(|seed| CrashPolicy::Tear { seed }).chain([DROP, KEEP]) {
            // Let it finish now, or cut it a second time while it starts over and let it finish then.
            let again = sim.crash(policy);
            let third = again.crash(CrashPolicy::KeepAll);
            again.crash_at(step / 2);
            let _ = create(&again);
            for third in [third, again.crash(policy)] {
                let uuid = create(&third).unwrap();
                let last = third.crash(DROP);
                assert_eq!(read(&last, "/db/000001.manifest").unwrap(), b"first", "step {step}, {policy:?}");
                assert_eq!(create(&last).unwrap(), uuid, "an identity that was opened is durable");
            }
        }
    }
}

#[test]
fn disks_that_look_alike_have_one_fingerprint() {
    let sim = SimVfs::new(1);
    let file = durable(&sim, "a", b"bytes");
    let before = sim.fingerprint();
    assert_eq!(sim.crash(DROP).fingerprint(), before);
    put(&*file, 4, b"S");
    assert_ne!(sim.fingerprint(), before);
    assert_eq!(sim.crash(KEEP).fingerprint(), sim.fingerprint());
    assert_eq!(sim.crash(DROP).fingerprint(), before, "what was not synced is not seen after the crash");
    put(&*file, 4, b"s");
    assert_eq!(sim.fingerprint(), before, "how the bytes came there does not count");
    file.set_len(6, C).unwrap();
    let longer = sim.fingerprint();
    put(&*file, 5, b"\0");
    assert_eq!(sim.fingerprint(), longer, "a zero looks like a hole");
    assert_ne!(longer, before, "the length counts");
    sim.rename(Path::new("a"), Path::new("b"), C).unwrap();
    assert_ne!(sim.fingerprint(), longer, "the name counts");
}

#[test]
fn a_crash_image_of_a_small_disk_is_cheap() {
    let sim = SimVfs::new(1);
    for name in 0..10 {
        let file = durable(&sim, &name.to_string(), &[7; 8192]);
        put(&*file, 4096, &[8; 2048]);
    }
    let start = {
        #[expect(clippy::disallowed_methods, reason = "the test measures the simulator itself")]
        Instant::now()
    };
    for seed in 0..1000 {
        assert_eq!(sim.crash(CrashPolicy::Tear { seed }).used_bytes(), 81_920);
    }
    // A thousand take about 5 ms optimised; the bound leaves room for a busy machine.
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    println!("1000 torn images of 80 KiB: {:?}", start.elapsed());
}
