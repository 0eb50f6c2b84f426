//! The meter's own tests: known operations move known bytes, for known causes, in known calls. What the laboratory
//! publishes rests on these counters, so they are held to exact numbers, not to ranges.

use std::sync::Arc;
use std::time::Duration;

use kv_api::{Batch, Cause, Durability, IoCounters, IoStats, KeyRange, Kv, Result};
use kv_io::wal::frame::frame_len;
use kv_io::wal::witness::WITNESS_BYTES;
use kv_io::{Env, MeteredVfs, SimVfs, Vfs};
use tests::crash::files_of;
use tests::driver::{Driver, put, unless_unsupported};
use tests::steps::{Mix, Steps};
use tests::{Engine, Knobs, Lab, check, each_stored_engine};

each_stored_engine!(
    a_disk_commit_is_one_frame_and_one_sync,
    an_os_commit_is_one_frame_and_no_sync,
    a_memory_commit_waits_for_the_sync,
    a_batch_is_one_frame,
    causes_add_up_to_the_total_and_to_what_the_disk_saw,
    one_seed_is_one_set_of_numbers,
    files_are_those_of_the_directory,
    a_get_of_cached_data_reads_nothing,
    a_get_of_cold_data_reads_what_it_says,
    every_byte_is_written_to_the_log_and_to_a_data_file,
    a_backup_counts_as_backup,
    writing_reads_nothing_for_users,
    what_only_memory_and_the_log_hold_is_debt,
);

fn lab(engine: Engine) -> Lab {
    Lab::simulated(engine, Knobs::small(), 1)
}

fn io(db: &dyn Kv) -> IoStats {
    db.stats().io.expect("an engine with files meters them")
}

/// What moved while `work` ran.
fn moved(db: &dyn Kv, work: impl FnOnce() -> Result<()>) -> Result<IoStats> {
    let before = io(db);
    work()?;
    Ok(io(db).since(&before))
}

/// Ten values of 100 bytes.
fn ten() -> Vec<Batch> {
    (0..10_u8).map(|n| put(&[b'k', n], &[n; 100])).collect()
}

/// Bytes of the frames of these batches.
fn frames(batches: &[Batch]) -> u64 {
    batches.iter().map(|batch| frame_len(batch.encoded().len()) as u64).sum()
}

/// Without the zeros written ahead of the log, which come in steps of their own.
fn without_prepare(moved: &IoStats) -> IoCounters {
    let (total, prepare) = (moved.total(), moved.of(Cause::Prepare));
    IoCounters {
        read_bytes: total.read_bytes - prepare.read_bytes,
        read_calls: total.read_calls - prepare.read_calls,
        write_bytes: total.write_bytes - prepare.write_bytes,
        write_calls: total.write_calls - prepare.write_calls,
        contiguous_bytes: total.contiguous_bytes - prepare.contiguous_bytes,
        sync_calls: total.sync_calls - prepare.sync_calls,
    }
}

fn a_disk_commit_is_one_frame_and_one_sync(engine: Engine) -> Result<()> {
    let lab = lab(engine);
    let db = lab.open()?;
    let batches = ten();
    let moved =
        moved(&*db, || batches.iter().try_for_each(|batch| db.write(batch, Durability::Disk).map(drop)))?;
    let wanted = IoCounters {
        write_bytes: frames(&batches) + 10 * WITNESS_BYTES,
        // No frame follows another: before each sync the segment's front is told where the frames end.
        contiguous_bytes: 0,
        write_calls: 20,
        sync_calls: 10,
        ..IoCounters::default()
    };
    assert_eq!(moved.of(Cause::Wal), wanted);
    assert_eq!(without_prepare(&moved), wanted, "and nothing else moved: {moved:?}");
    Ok(())
}

fn an_os_commit_is_one_frame_and_no_sync(engine: Engine) -> Result<()> {
    let lab = lab(engine);
    let db = lab.open()?;
    let batches = ten();
    let moved =
        moved(&*db, || batches.iter().try_for_each(|batch| db.write(batch, Durability::Os).map(drop)))?;
    let wanted = IoCounters {
        write_bytes: frames(&batches),
        contiguous_bytes: frames(&batches[1..]),
        write_calls: 10,
        ..IoCounters::default()
    };
    assert_eq!(without_prepare(&moved), wanted, "{moved:?}");
    Ok(())
}

fn a_memory_commit_waits_for_the_sync(engine: Engine) -> Result<()> {
    let lab = lab(engine);
    let db = lab.open()?;
    let batches = ten();
    let quiet =
        moved(&*db, || batches.iter().try_for_each(|batch| db.write(batch, Durability::Memory).map(drop)))?;
    assert_eq!(without_prepare(&quiet), IoCounters::default(), "{quiet:?}");
    let moved = moved(&*db, || db.sync())?;
    let log = moved.of(Cause::Wal);
    assert_eq!((log.write_bytes, log.sync_calls), (frames(&batches) + WITNESS_BYTES, 1), "{moved:?}");
    Ok(())
}

fn a_batch_is_one_frame(engine: Engine) -> Result<()> {
    let lab = lab(engine);
    let db = lab.open()?;
    let mut batch = Batch::new();
    for n in 0..50_u8 {
        batch.put(&[n], &[n; 20]);
    }
    let moved = moved(&*db, || db.write(&batch, Durability::Disk).map(drop))?;
    let log = moved.of(Cause::Wal);
    assert_eq!((log.write_bytes, log.write_calls, log.sync_calls), (frames(&[batch]) + WITNESS_BYTES, 2, 1));
    Ok(())
}

/// A mix of everything but snapshots and scans that stay open.
fn mix() -> Mix {
    Mix {
        keys: 500,
        key_bytes_max: 60,
        value_bytes_max: 3000,
        batch_bytes_max: 16 << 10,
        snapshots: 0,
        scans: 0,
        reopen_one_in: 0,
        reads: true,
        levels: true,
        batch_ops_max: 12,
        rest_one_in: 1,
    }
}

fn causes_add_up_to_the_total_and_to_what_the_disk_saw(engine: Engine) -> Result<()> {
    let (vfs, outside) = MeteredVfs::new(SimVfs::new(1));
    let lab = Lab::over(engine, Knobs::hostile(), Env::simulated(vfs, 1));
    let mut driver = Driver::open(&lab)?;
    for step in Steps::new(1, mix()).take(600) {
        driver.step(&step)?;
        let (own, seen) = (io(&**driver.db()), outside.stats());
        assert_eq!(own.total(), seen.total(), "after {step:?}");
        let sum = Cause::all().map(|cause| own.of(cause)).fold((0, 0, 0), |sum, row| {
            (sum.0 + row.read_bytes, sum.1 + row.write_bytes, sum.2 + row.sync_calls)
        });
        assert_eq!(sum, (own.total().read_bytes, own.total().write_bytes, own.total().sync_calls));
    }
    for cause in Cause::all() {
        assert_eq!(io(&**driver.db()).of(cause), outside.stats().of(cause), "{cause}");
    }
    Ok(())
}

fn one_seed_is_one_set_of_numbers(engine: Engine) -> Result<()> {
    let run = || -> Result<(IoStats, Vec<(String, u64)>)> {
        let lab = Lab::simulated(engine, Knobs::hostile(), 7);
        let mut driver = Driver::open(&lab)?;
        Steps::new(7, mix()).take(800).try_for_each(|step| driver.step(&step))?;
        let stats = driver.db().stats();
        Ok((stats.io.unwrap_or_default(), stats.counters))
    };
    let first = run()?;
    assert_eq!(first, run()?);
    assert!(first.0.total().write_bytes > 100_000, "the run does something: {first:?}");
    Ok(())
}

fn files_are_those_of_the_directory(engine: Engine) -> Result<()> {
    let disk = SimVfs::new(1);
    let lab = Lab::over(engine, Knobs::hostile(), Env::simulated(Arc::clone(&disk) as Arc<dyn Vfs>, 1));
    let mut driver = Driver::open(&lab)?;
    for (index, step) in Steps::new(3, mix()).take(600).enumerate() {
        driver.step(&step)?;
        if index % 50 == 0 {
            let mut told: Vec<_> =
                driver.db().stats().files.into_iter().map(|file| (file.name, file.bytes)).collect();
            told.sort();
            let found = files_of(&*disk, lab.dir())?;
            let found: Vec<_> = found.into_iter().map(|(name, bytes)| (name, bytes.len() as u64)).collect();
            assert_eq!(told, found, "after step {index}");
        }
    }
    Ok(())
}

/// Four hundred values of 100 bytes in files, and the engine opened again, with nothing cached.
fn cold(lab: &Lab) -> Result<tests::Checked> {
    let db = lab.open()?;
    for n in 0..400_u32 {
        db.put(&n.to_be_bytes(), &[7; 100], Durability::Memory)?;
    }
    db.flush()?;
    db.settle(Duration::from_secs(60))?;
    db.close()?;
    drop(db);
    lab.open()
}

fn a_get_of_cached_data_reads_nothing(engine: Engine) -> Result<()> {
    let lab = lab(engine);
    let db = cold(&lab)?;
    let everything = || (0..400_u32).try_for_each(|n| db.get(&n.to_be_bytes()).map(drop));
    everything()?;
    let again = moved(&*db, everything)?;
    assert_eq!(again.total(), IoCounters::default(), "{again:?}");
    let before = db.stats();
    everything()?;
    let after = db.stats();
    let requests = |stats: &kv_api::Stats| stats.blocks.iter().map(|kind| kind.point_requests).sum::<u64>();
    let misses = |stats: &kv_api::Stats| stats.blocks.iter().map(|kind| kind.point_misses).sum::<u64>();
    assert!(requests(&after) - requests(&before) >= 400, "a get asks for a block at least");
    assert_eq!(misses(&after), misses(&before));
    Ok(())
}

fn a_get_of_cold_data_reads_what_it_says(engine: Engine) -> Result<()> {
    let lab = lab(engine);
    let db = cold(&lab)?;
    let read = moved(&*db, || db.get(&200_u32.to_be_bytes()).map(drop))?;
    let causes: Vec<_> = read.nonzero().map(|(cause, _)| cause).collect();
    let expected = [Cause::PointRead, Cause::IndexRead, Cause::FilterRead];
    assert!(causes.iter().all(|cause| expected.contains(cause)), "{causes:?}");
    let point = read.of(Cause::PointRead);
    assert_eq!(point.read_calls, 1, "one leaf or one data block: {read:?}");
    assert!((100..=8192).contains(&point.read_bytes), "of about 4 KiB: {read:?}");
    assert_eq!((read.total().write_bytes, read.total().sync_calls), (0, 0));
    let scanned = moved(&*db, || check::contents(&*db).map(drop))?;
    assert!(scanned.of(Cause::ScanRead).read_bytes >= 300 * 100, "{scanned:?}");
    assert_eq!(scanned.of(Cause::PointRead), IoCounters::default());
    Ok(())
}

fn every_byte_is_written_to_the_log_and_to_a_data_file(engine: Engine) -> Result<()> {
    let lab = lab(engine);
    let db = lab.open()?;
    let user = 400 * (4 + 100);
    let moved = moved(&*db, || {
        for n in 0..400_u32 {
            db.put(&n.to_be_bytes(), &[7; 100], Durability::Os)?;
        }
        db.flush()?;
        db.settle(Duration::from_secs(60)).map(drop)
    })?;
    let log = moved.of(Cause::Wal).write_bytes;
    let data = moved.amplified_write_bytes() - log;
    assert!(log > user && log < user * 3 / 2, "{log} bytes of log for {user} bytes of the user");
    assert!(data > user, "{data} bytes of data files for {user} bytes of the user");
    assert!(moved.of(Cause::Flush).write_bytes + moved.of(Cause::Checkpoint).write_bytes > user, "{moved:?}");
    let idle = self::moved(&*db, || {
        db.flush()?;
        db.settle(Duration::from_secs(60))?;
        unless_unsupported(db.compact(KeyRange::from(b"z".as_slice()..)).map(drop))
    })?;
    assert!(idle.amplified_write_bytes() < 20_000, "an idle engine hardly writes: {idle:?}");
    Ok(())
}

fn a_backup_counts_as_backup(engine: Engine) -> Result<()> {
    let lab = lab(engine);
    let db = cold(&lab)?;
    let moved = moved(&*db, || db.backup(&lab.beside("copy")).map(drop))?;
    assert_eq!(moved.amplified_write_bytes(), 0, "a copy answers for no user write: {moved:?}");
    Ok(())
}

fn writing_reads_nothing_for_users(engine: Engine) -> Result<()> {
    let lab = lab(engine);
    let db = lab.open()?;
    let moved = moved(&*db, || {
        for n in 0..3000_u32 {
            db.put(&n.wrapping_mul(0x9e37_79b9).to_be_bytes(), &[7; 100], Durability::Os)?;
        }
        db.flush()?;
        db.settle(Duration::from_secs(60)).map(drop)
    })?;
    for cause in [Cause::PointRead, Cause::ScanRead, Cause::IndexRead, Cause::FilterRead] {
        assert_eq!(moved.of(cause), IoCounters::default(), "{cause}: nobody read: {moved:?}");
    }
    Ok(())
}

fn what_only_memory_and_the_log_hold_is_debt(engine: Engine) -> Result<()> {
    let lab = lab(engine);
    let db = lab.open()?;
    ten().iter().try_for_each(|batch| db.write(batch, Durability::Os).map(drop))?;
    assert!(db.stats().debt_bytes >= 10 * 102, "{}", db.stats().debt_bytes);
    db.settle(Duration::from_secs(60))?;
    assert_eq!(db.stats().debt_bytes, 0);
    Ok(())
}
