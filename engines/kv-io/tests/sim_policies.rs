//! Crash policies one by one, faults that nobody is told of, and what the simulated disk notes about its user.

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kv_api::{Cause, ErrorKind, Result};
use kv_io::sim::{CrashPolicy, Effect, FaultOp, Repeat};
use kv_io::vfs::OpenOptions;
use kv_io::{SimVfs, Vfs, VfsFile};

const C: Cause = Cause::Page;

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

/// Every outcome for `name` over many seeds of a policy.
fn outcomes(sim: &SimVfs, policy: fn(u64) -> CrashPolicy, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..400).map(|seed| after(sim, policy(seed), name)).collect()
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn a_prefix_is_one_over_all_files_and_names() {
    let sim = SimVfs::new(1);
    let a = durable(&sim, "a", b"0");
    put(&*a, 0, b"1");
    let b = create(&sim, "b");
    put(&*b, 0, b"x");
    sim.rename(Path::new("b"), Path::new("c"), C).unwrap();
    put(&*a, 0, b"2");
    let seen: BTreeSet<_> = (0..100)
        .map(|seed| {
            let image = sim.crash(CrashPolicy::Prefix { seed });
            ["a", "b", "c"].map(|name| read(&image, name).map(|bytes| String::from_utf8(bytes).unwrap()))
        })
        .collect();
    let state = |a: &str, b: Option<&str>, c: Option<&str>| [Some(a), b, c].map(|s| s.map(str::to_owned));
    let expected = [
        state("0", None, None),
        state("1", None, None),
        state("1", Some(""), None),
        state("1", Some("x"), None),
        state("1", None, Some("x")),
        state("2", None, Some("x")),
    ];
    assert_eq!(seen, expected.into(), "each state once, in the order of the calls, and no other");
}

#[test]
fn bytes_and_pages_tear_where_they_say() {
    let sim = SimVfs::new(1);
    let file = durable(&sim, "a", &[1; 3]);
    put(&*file, 0, &[2; 3]);
    let seen = outcomes(&sim, |seed| CrashPolicy::TearBytes { seed }, "a");
    assert_eq!(seen.len(), 8, "every subset of three bytes");

    let file = durable(&sim, "b", &[1; 8192]);
    put(&*file, 0, &[2; 8192]);
    let seen = outcomes(&sim, |seed| CrashPolicy::TearPages { seed }, "b");
    let page = |byte: u8| vec![byte; 4096];
    let pairs = [(1, 1), (1, 2), (2, 1), (2, 2)];
    assert_eq!(seen, pairs.map(|(x, y)| Some([page(x), page(y)].concat())).into());
}

#[test]
fn lengths_come_without_bytes_and_bytes_without_lengths() {
    let sim = SimVfs::new(1);
    let file = durable(&sim, "a", b"12");
    put(&*file, 1, b"345");
    let seen = outcomes(&sim, |seed| CrashPolicy::LengthZeros { seed }, "a");
    assert_eq!(seen, [b"12".to_vec(), b"12\0\0".to_vec()].map(Some).into());
    let seen = outcomes(&sim, |seed| CrashPolicy::LengthGarbage { seed }, "a");
    assert!(seen.len() > 100, "garbage differs by seed");
    assert!(seen.iter().flatten().all(|bytes| bytes.starts_with(b"12") && [2, 4].contains(&bytes.len())));
    assert_eq!(after(&sim, CrashPolicy::DataOnly, "a").unwrap(), b"13", "the length of the last sync");
}

#[test]
fn names_and_bytes_are_lost_apart() {
    let sim = SimVfs::new(1);
    durable(&sim, "old", b"old");
    let file = create(&sim, "new");
    put(&*file, 0, b"new");
    sim.rename(Path::new("new"), Path::new("named"), C).unwrap();
    sim.remove(Path::new("old"), C).unwrap();
    let all = |policy| {
        let image = sim.crash(policy);
        ["old", "new", "named"].map(|name| read(&image, name).map(|bytes| bytes.len()))
    };
    assert_eq!(all(CrashPolicy::EmptyNames), [None, None, Some(0)], "a file that was never synced");
    assert_eq!(all(CrashPolicy::LostNames), [Some(3), None, None]);
    assert_eq!(all(CrashPolicy::Removals), [None, None, None], "a removal may come first");
    file.sync_data(C).unwrap();
    assert_eq!(all(CrashPolicy::EmptyNames), [None, None, Some(3)]);
    assert_eq!(all(CrashPolicy::LostNames), [Some(3), None, None], "a synced file whose name is lost");
    let seen: BTreeSet<_> = (0..200).map(|seed| all(CrashPolicy::Names { seed })).collect();
    assert_eq!(seen.len(), 6, "removed or not, and the file under either name or none: {seen:?}");
}

#[test]
fn a_directory_is_durable_once_its_parent_is_synced() {
    let sim = SimVfs::new(1);
    let (dir, inner) = (Path::new("/top"), Path::new("/top/inner"));
    sim.create_dir(inner, C).unwrap();
    let file = sim.open(&inner.join("f"), OpenOptions::NEW, C).unwrap();
    put(&*file, 0, b"x");
    file.sync_all(C).unwrap();
    sim.sync_dir(inner, C).unwrap();
    assert_eq!(after(&sim, CrashPolicy::DropUnsynced, "/top/inner/f"), None);
    assert!(sim.crash(CrashPolicy::DropUnsynced).list(dir, C).is_err(), "not even the directory is there");
    let survived = sim.crash(CrashPolicy::KeepAll);
    assert_eq!(read(&survived, "/top/inner/f").unwrap(), b"x");
    assert!(survived.crash(CrashPolicy::DropUnsynced).list(dir, C).is_err(), "its name is pending still");
    sim.sync_dir(dir, C).unwrap();
    assert_eq!(after(&sim, CrashPolicy::DropUnsynced, "/top/inner/f"), None, "the upper name is missing");
    sim.sync_dir(Path::new("/"), C).unwrap();
    assert_eq!(after(&sim, CrashPolicy::DropUnsynced, "/top/inner/f").unwrap(), b"x");
}

#[test]
fn a_failed_sync_may_give_readers_the_old_bytes_back() {
    let sim = SimVfs::new(1);
    let file = durable(&sim, "a", b"old");
    put(&*file, 0, b"newer");
    sim.faults().inject(FaultOp::Sync, 0, Repeat::Once, Effect::Revert);
    assert_eq!(kind(file.sync_data(C)), Some(ErrorKind::Io));
    assert_eq!(read(&sim, "a").unwrap(), b"old");
    assert_eq!(sim.used_bytes(), 3);
    file.sync_data(C).unwrap();
    assert_eq!(after(&sim, CrashPolicy::DropUnsynced, "a").unwrap(), b"old");
    put(&*file, 0, b"new");
    file.sync_data(C).unwrap();
    assert_eq!(after(&sim, CrashPolicy::DropUnsynced, "a").unwrap(), b"new", "later writes go their way");
}

#[test]
fn bytes_that_are_not_the_right_ones() {
    let sim = SimVfs::new(1);
    let file = durable(&sim, "a", &[1; 16_384]);
    put(&*file, 0, &[2; 8192]);
    file.sync_data(C).unwrap();
    let mut buffer = [0; 4];
    sim.faults().inject(FaultOp::Read, 0, Repeat::Once, Effect::Stale);
    file.read_at(0, &mut buffer, C).unwrap();
    assert_eq!(buffer, [1; 4], "as it was before the last sync");
    file.read_at(0, &mut buffer, C).unwrap();
    assert_eq!(buffer, [2; 4]);

    let bits = |bytes: &[u8], byte: u8| bytes.iter().map(|b| (b ^ byte).count_ones()).sum::<u32>();
    sim.faults().inject(FaultOp::Read, 0, Repeat::Once, Effect::Flip);
    file.read_at(0, &mut buffer, C).unwrap();
    assert_eq!(bits(&buffer, 2), 1);
    assert_eq!(bits(&read(&sim, "a").unwrap()[..8192], 2), 0, "what is stored is right");
    sim.faults().inject(FaultOp::Write, 0, Repeat::Once, Effect::Flip);
    put(&*file, 0, &[2; 100]);
    assert_eq!(bits(&read(&sim, "a").unwrap()[..8192], 2), 1, "what is stored is wrong");

    sim.faults().inject(FaultOp::Write, 0, Repeat::Once, Effect::Misdirect);
    put(&*file, 4096, &[9; 8]);
    let bytes = read(&sim, "a").unwrap();
    assert_ne!(bytes[4096], 9);
    assert!(bytes[0] == 9 || bytes[8192] == 9, "one place too far or not far enough");
    assert_eq!(sim.faults().hits(), 4);
}

#[test]
fn sectors_go_bad_and_single_calls_find_no_space() {
    let sim = SimVfs::new(1);
    let file = durable(&sim, "a", &[1; 2048]);
    let other = durable(&sim, "b", &[1; 2048]);
    sim.faults().fail_range(FaultOp::Read, Path::new("a"), 512..1024);
    let mut buffer = [0; 512];
    assert!(file.read_at(0, &mut buffer, C).is_ok() && file.read_at(1024, &mut buffer, C).is_ok());
    assert!(other.read_at(512, &mut buffer, C).is_ok());
    assert_eq!(kind(file.read_at(511, &mut buffer[..2], C)), Some(ErrorKind::Io));
    assert_eq!(kind(file.read_at(1023, &mut buffer, C)), Some(ErrorKind::Io), "for good");
    put(&*file, 512, b"x");
    sim.faults().heal();
    assert!(file.read_at(512, &mut buffer, C).is_ok());

    for (op, call) in [
        (FaultOp::Write, &(|| kind(file.write_at(0, &[IoSlice::new(b"x")], C))) as &dyn Fn() -> _),
        (FaultOp::Resize, &|| kind(file.allocate(10_000, C))),
        (FaultOp::Create, &|| kind(sim.open(Path::new("n"), OpenOptions::NEW, C))),
        (FaultOp::Rename, &|| kind(sim.rename(Path::new("b"), Path::new("c"), C))),
    ] {
        sim.faults().inject(op, 0, Repeat::Once, Effect::NoSpace);
        assert_eq!(call(), Some(ErrorKind::NoSpace), "{op:?}");
        assert_eq!(call(), None, "{op:?}");
    }
    for op in [FaultOp::Sync, FaultOp::SyncDir] {
        sim.faults().inject(op, 0, Repeat::Once, Effect::NoSpace);
        let failed = if op == FaultOp::Sync { file.sync_data(C) } else { sim.sync_dir(Path::new("."), C) };
        assert_eq!(kind(failed), Some(ErrorKind::Io), "a sync that failed has lost something: {op:?}");
    }
    for (op, call) in [
        (FaultOp::Open, &(|| kind(sim.open(Path::new("a"), OpenOptions::READ, C))) as &dyn Fn() -> _),
        (FaultOp::List, &|| kind(sim.list(Path::new("."), C))),
    ] {
        let calls = sim.faults().calls(op);
        sim.faults().fail(op, 0, Repeat::Once);
        assert_eq!((call(), call()), (Some(ErrorKind::Io), None), "{op:?}");
        assert_eq!(sim.faults().calls(op), calls + 2);
    }
}

#[test]
fn a_slow_call_succeeds_and_holds_nobody_else_up() {
    let sim = SimVfs::new(1);
    let slow = durable(&sim, "a", b"1");
    let other = durable(&sim, "b", b"1");
    let time = Duration::from_millis(200);
    sim.faults().inject(FaultOp::Sync, 0, Repeat::Once, Effect::Slow(time));
    let now = || {
        #[expect(clippy::disallowed_methods, reason = "the test measures the simulator itself")]
        Instant::now()
    };
    std::thread::scope(|scope| {
        let begun = now();
        let syncing = scope.spawn(|| slow.sync_data(C));
        let mut reads = 0;
        while !syncing.is_finished() {
            other.read_at(0, &mut [0], C).unwrap();
            reads += 1;
        }
        syncing.join().unwrap().unwrap();
        assert!(begun.elapsed() >= time && reads > 10, "{reads} reads in {:?}", begun.elapsed());
    });
}

#[test]
fn what_no_engine_should_ask_is_noted() {
    let sim = SimVfs::new(1);
    let file = durable(&sim, "a", &[1; 600]);
    file.set_len(4096, C).unwrap();
    file.sync_all(C).unwrap();
    let mut buffer = [0; 100];
    file.read_at(0, &mut buffer, Cause::PointRead).unwrap();
    file.read_at(3000, &mut buffer, Cause::Recovery).unwrap();
    assert_eq!(sim.broken_rules(), [""; 0]);
    file.read_at(1000, &mut buffer, Cause::PointRead).unwrap();
    assert!(sim.broken_rules()[0].contains("never written"), "{:?}", sim.broken_rules());

    let idle = sim.idle_syncs();
    file.sync_all(C).unwrap();
    sim.sync_dir(Path::new("."), C).unwrap();
    assert_eq!(sim.idle_syncs() - idle, 2);
    sim.rename(Path::new("a"), Path::new("b"), C).unwrap();
    put(&*file, 0, b"x");
    assert_eq!(sim.broken_rules().len(), 1, "it has a name");
    sim.remove(Path::new("b"), C).unwrap();
    put(&*file, 0, b"x");
    assert!(sim.broken_rules()[1].contains("without a name"), "{:?}", sim.broken_rules());
    assert_eq!(sim.crash(CrashPolicy::KeepAll).broken_rules(), [""; 0]);
}
