//! The log by itself: what comes back after every cut and every flipped byte, rotation, recycling, the chain.

use std::sync::Arc;

use kv_api::{Batch, Cause, Error, ErrorKind, Op, Result, SeqNo};

use super::SEGMENT_BYTES_MIN;
use super::WalOptions;
use super::frame::{FrameHeader, FramePlace, frame_len, padding};
use super::reader::{Expected, Replayed, replay};
use super::segment::{SEGMENT_HEADER_LEN, SegmentHeader, Segments};
use super::writer::{Failure, Writer};
use crate::checksum::FileSum;
use crate::sim::CrashPolicy;
use crate::test_disk::TestDisk;
use crate::vfs::{OpenOptions, Vfs};

const OPTIONS: WalOptions = WalOptions { segment_bytes: 64 << 10 };

/// A batch as it was logged: its first operation and its bytes.
type Logged = (SeqNo, Vec<u8>);

fn expected(replay_from: SeqNo) -> Expected {
    Expected { is_new: false, read_only: false, replay_from }
}

/// What replay finds, as bytes.
fn read(fs: &TestDisk, replay_from: SeqNo) -> Result<(Replayed, Vec<Logged>)> {
    let mut batches = Vec::new();
    let replayed = replay(&fs.place, expected(replay_from), &mut |first_seq, ops, count| {
        let mut batch = Batch::new();
        for op in ops {
            match op.map_err(|what| Error::corruption("frame", 0, what))? {
                Op::Put { key, value } => batch.put(key, value),
                Op::Delete { key } => batch.delete(key),
                Op::DeleteRange { .. } => unreachable!("these tests log none"),
            };
        }
        assert_eq!(batch.len() as u64, count);
        batches.push((first_seq, batch.encoded().to_vec()));
        Ok(())
    })?;
    Ok((replayed, batches))
}

/// A log that has just been started after what `fs` holds.
fn start(fs: &TestDisk, replayed: Replayed, options: WalOptions) -> (Arc<Segments>, Writer) {
    let Replayed { next_seq, live, garbage, id_max, .. } = replayed;
    let segments = Arc::new(Segments::new(fs.place.clone(), options, live, garbage, id_max));
    let writer = Writer::start(Arc::clone(&segments), next_seq).unwrap();
    (segments, writer)
}

fn new_log(fs: &TestDisk, options: WalOptions) -> (Arc<Segments>, Writer) {
    let fresh = Expected { is_new: true, ..expected(1) };
    start(fs, replay(&fs.place, fresh, &mut |_, _, _| Ok(())).unwrap(), options)
}

fn put(writer: &mut Writer, value_len: usize, write: bool) -> Logged {
    let mut batch = Batch::new();
    batch.put(&writer.next_seq().to_be_bytes(), &vec![7; value_len]).delete(b"gone");
    writer.reserve(batch.encoded().len()).unwrap();
    let first_seq = writer.append(batch.encoded(), 2, write).unwrap();
    (first_seq, batch.encoded().to_vec())
}

/// Some frames, synced after the one numbered `synced`.
fn small_log(fs: &TestDisk, synced: Option<usize>) -> Vec<Logged> {
    let (_, mut writer) = new_log(fs, OPTIONS);
    let mut logged = Vec::new();
    for (index, value_len) in [0, 1, 30, 7, 100].into_iter().enumerate() {
        logged.push(put(&mut writer, value_len, index != 2));
        if Some(index) == synced {
            writer.sync().unwrap();
        }
    }
    writer.write_out().unwrap();
    logged
}

fn end_of(logged: &[Logged]) -> usize {
    let frames: usize = logged.iter().map(|(_, bytes)| frame_len(bytes.len())).sum();
    usize::try_from(SEGMENT_HEADER_LEN).unwrap() + frames
}

#[test]
fn what_was_logged_comes_back() {
    let fs = TestDisk::new();
    let logged = small_log(&fs, None);
    let (replayed, found) = read(&fs, 1).unwrap();
    assert_eq!(found, logged);
    assert_eq!((replayed.next_seq, replayed.report.ops_replayed, replayed.report.clean), (11, 10, false));
    assert_eq!((replayed.report.batches_replayed, replayed.report.tail_bytes_dropped), (5, 0));
    assert_eq!(read(&fs, 5).unwrap().1, logged[2..]);
    assert_eq!(read(&fs, 11).unwrap().1, []);
    assert_eq!(read(&fs, 6).unwrap_err().kind(), ErrorKind::Corruption, "no frame begins with operation 6");
    assert_eq!(read(&fs, 20).unwrap().0.next_seq, 20, "data files may be ahead of the log");
}

#[test]
fn replay_syncs_before_it_reads_unless_nothing_may_change() {
    let fs = TestDisk::new();
    small_log(&fs, None);
    let syncs = |read_only| {
        let before = fs.counted(Cause::Recovery).sync_calls;
        replay(&fs.place, Expected { read_only, ..expected(1) }, &mut |_, _, _| Ok(())).unwrap();
        fs.counted(Cause::Recovery).sync_calls - before
    };
    assert_eq!((syncs(false), syncs(true)), (1, 0));
}

/// What came back must be a prefix; the frames before `sure` must be in it.
fn check_prefix(
    outcome: Result<(Replayed, Vec<Logged>)>,
    logged: &[Logged],
    sure: usize,
    what: &str,
) -> bool {
    match outcome {
        Ok((replayed, found)) => {
            assert!(logged.starts_with(&found), "{what}: not a prefix");
            assert!(found.len() >= sure, "{what}: {} frames of {sure} came back", found.len());
            let next = found.last().map_or(1, |(first_seq, _)| first_seq + 2);
            assert_eq!(replayed.next_seq, next, "{what}");
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corruption, "{what}: {error}");
            false
        }
    }
}

#[test]
fn a_log_that_ends_at_any_byte_gives_a_prefix() {
    for synced in [None, Some(1), Some(4)] {
        let fs = TestDisk::new();
        let logged = small_log(&fs, synced);
        let ends: Vec<_> = (0..=logged.len()).map(|count| end_of(&logged[..count])).collect();
        for cut in 0..=end_of(&logged) + 40 {
            let copy = fs.copy();
            let (mut whole, mut torn) = (0, false);
            copy.edit("000001.wal", |bytes| {
                let before = bytes.clone();
                bytes[cut..].fill(0);
                // A frame may end with zeros.
                whole = ends.iter().skip(1).filter(|end| before[..**end] == bytes[..**end]).count();
                // Zeros alone might as well be the space after the last frame.
                torn = bytes.get(ends[whole]..).is_some_and(|rest| rest.iter().any(|byte| *byte != 0));
                // Unless a witness tells that frames were on their way to the disk.
                let has_witness = before[..1024] == bytes[..1024];
                torn |= has_witness && synced.is_some_and(|synced| whole <= synced);
            });
            let outcome = read(&copy, 1);
            // The last byte of the header that is not zero is at 32.
            if cut > 32 {
                let (replayed, found) = outcome.as_ref().unwrap();
                assert_eq!(found.len(), whole, "cut at {cut}");
                assert_eq!(replayed.report.tail_bytes_dropped > 0, torn, "cut at {cut} is reported");
                check_prefix(outcome, &logged, whole, &format!("cut at {cut}"));
            } else {
                assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Corruption, "no segment is left");
            }
        }
    }
}

#[test]
fn a_file_that_was_cut_is_damage() {
    for (sync, close) in [(false, false), (true, false), (false, true)] {
        let fs = TestDisk::new();
        let (_, mut writer) = new_log(&fs, WalOptions { segment_bytes: 1 << 20 });
        let mut logged: Vec<_> = (0..200).map(|_| put(&mut writer, 1000, true)).collect();
        assert!(fs.len_of("000001.wal") > 2 * SEGMENT_BYTES_MIN);
        if sync {
            writer.sync().unwrap();
            logged.push(put(&mut writer, 1000, true));
            writer.sync().unwrap();
        }
        if close {
            writer.close().unwrap();
        }
        for cut in (0..end_of(&logged)).step_by(509) {
            let copy = fs.copy();
            copy.edit("000001.wal", |bytes| bytes.truncate(cut));
            // Cut behind the length that every segment has, a log without a sync looks like one torn by a crash.
            let what = format!("cut at {cut}, synced: {sync}, closed: {close}");
            let survived = check_prefix(read(&copy, 1), &logged, 0, &what);
            assert_eq!(survived, !sync && !close && cut as u64 >= SEGMENT_BYTES_MIN, "{what}");
        }
    }
}

/// Groups of frames that share sectors, each synced by itself.
#[test]
fn of_the_synced_groups_only_the_last_may_be_torn_and_that_is_reported() {
    let fs = TestDisk::new();
    let (_, mut writer) = new_log(&fs, OPTIONS);
    let mut logged = Vec::new();
    for _ in 0..40 {
        logged.push(put(&mut writer, 3, true));
        writer.sync().unwrap();
    }
    for sector in 1..=end_of(&logged) / 512 {
        for other in [None, Some(1), Some(2), Some(end_of(&logged) / 512)] {
            let copy = fs.copy();
            copy.edit("000001.wal", |bytes| {
                let from = sector * 512..(sector + 1) * 512;
                match other {
                    None => bytes[from].fill(0),
                    Some(other) => (0..512).for_each(|at| bytes.swap(from.start + at, other * 512 + at)),
                }
            });
            let what = format!("sector {sector}, swapped with {other:?}");
            let sure = logged.len() - 1;
            let outcome = read(&copy, 1);
            let dropped = outcome.as_ref().map(|(replayed, _)| replayed.report.tail_bytes_dropped);
            let found = outcome.as_ref().map(|(_, found)| found.len());
            let reported = found.is_err() || found.is_ok_and(|found| found == logged.len());
            assert!(reported || dropped.is_ok_and(|dropped| dropped > 0), "{what}: not reported");
            check_prefix(outcome, &logged, sure, &what);
        }
    }
}

#[test]
fn a_segment_whose_creation_was_torn_is_no_damage() {
    let fs = TestDisk::new();
    let logged = small_log(&fs, None);
    let (replayed, _) = read(&fs, 1).unwrap();
    let next_seq = replayed.next_seq;
    drop(start(&fs, replayed, OPTIONS));
    // Of the second segment the crash left the header and not the length: nothing was ever acknowledged from it.
    fs.edit("000002.wal", |bytes| bytes.truncate(512));
    let (replayed, found) = read(&fs, 1).unwrap();
    assert_eq!((found, replayed.next_seq), (logged, next_seq));
    // Once the first one is gone, the second one has been whole.
    fs.remove("000001.wal");
    assert_eq!(read(&fs, next_seq).unwrap_err().kind(), ErrorKind::Corruption);
}

#[test]
fn a_flipped_byte_gives_a_prefix_or_damage_and_never_other_data() {
    for synced in [None, Some(1), Some(3)] {
        let fs = TestDisk::new();
        let logged = small_log(&fs, synced);
        let header = usize::try_from(SEGMENT_HEADER_LEN).unwrap();
        for at in (0..40).chain(header..end_of(&logged)) {
            for mask in [0x01, 0x80, 0xff] {
                let copy = fs.copy();
                copy.edit("000001.wal", |bytes| bytes[at] ^= mask);
                let hit = (0..logged.len()).take_while(|count| end_of(&logged[..*count]) <= at).last();
                let what = format!("flip of {mask:#x} at {at}");
                let survived = check_prefix(read(&copy, 1), &logged, hit.unwrap_or(0), &what);
                if at < header {
                    assert!(!survived, "{what}: a damaged header with frames behind it");
                } else if synced.is_some_and(|synced| hit <= Some(synced) && synced + 1 < logged.len()) {
                    assert!(!survived, "{what}: a later frame knows that this one was on disk");
                } else {
                    let dropped = read(&copy, 1).unwrap().0.report.tail_bytes_dropped;
                    assert!(survived && dropped > 0, "{what}: the cut is reported");
                }
            }
        }
    }
}

#[test]
fn any_damage_to_a_closed_log_is_damage() {
    let fs = TestDisk::new();
    let (_, mut writer) = new_log(&fs, OPTIONS);
    let logged = vec![put(&mut writer, 9, true), put(&mut writer, 3, false)];
    writer.close().unwrap();
    let (replayed, found) = read(&fs, 1).unwrap();
    assert!(replayed.report.clean && found == logged);
    let header = usize::try_from(SEGMENT_HEADER_LEN).unwrap();
    for at in (0..40).chain(header..end_of(&logged)) {
        let copy = fs.copy();
        copy.edit("000001.wal", |bytes| bytes[at] ^= 0x10);
        assert_eq!(read(&copy, 1).unwrap_err().kind(), ErrorKind::Corruption, "flip at {at}");
    }
    // Damage to the closing frame itself loses the mark, not the data, and does not go unnoticed.
    for at in end_of(&logged)..end_of(&logged) + 32 {
        let copy = fs.copy();
        copy.edit("000001.wal", |bytes| bytes[at] ^= 0x10);
        let (replayed, found) = read(&copy, 1).unwrap();
        assert!(!replayed.report.clean && found == logged && replayed.report.tail_bytes_dropped > 0);
    }
}

#[test]
fn a_full_segment_is_followed_by_the_next_and_the_chain_must_be_whole() {
    let fs = TestDisk::new();
    let (_, mut writer) = new_log(&fs, OPTIONS);
    let logged: Vec<_> = (0..200).map(|index| put(&mut writer, 1000, index % 3 == 0)).collect();
    writer.write_out().unwrap();
    assert_eq!(fs.names(), ["000001.wal", "000002.wal", "000003.wal", "000004.wal"]);
    assert_eq!(read(&fs, 1).unwrap().1, logged);
    for (missing, kind) in [("000001.wal", "first"), ("000002.wal", "middle"), ("000004.wal", "newest")] {
        let copy = fs.copy();
        copy.remove(missing);
        let error = read(&copy, 1).unwrap_err();
        assert!(error.to_string().contains(missing), "the {kind} one is missing: {error}");
    }
    // A newest segment whose header cannot be read, without a frame to give it away, is missed all the same.
    let copy = fs.copy();
    copy.edit("000004.wal", |bytes| bytes.fill(0));
    assert!(read(&copy, 1).unwrap_err().to_string().contains("000004.wal"));
    // Damage in an old segment is never a torn tail: the next one was begun after it was on disk.
    let copy = fs.copy();
    copy.edit("000002.wal", |bytes| bytes[60_000] ^= 1);
    assert!(read(&copy, 1).unwrap_err().to_string().contains("000003.wal was begun after"));
}

#[test]
fn a_fresh_segment_follows_a_torn_one_and_both_replay_again() {
    let fs = TestDisk::new();
    let logged = small_log(&fs, None);
    fs.edit("000001.wal", |bytes| bytes[end_of(&logged[..3]) + 5] ^= 1);
    let (replayed, found) = read(&fs, 1).unwrap();
    assert_eq!(found, logged[..3]);
    let (_, mut writer) = start(&fs, replayed, OPTIONS);
    let (first_seq, more) = put(&mut writer, 5, true);
    assert_eq!(first_seq, 7);
    let (_, found) = read(&fs, 1).unwrap();
    assert_eq!(found, [&logged[..3], &[(7, more)]].concat());
}

#[test]
fn a_fresh_segment_may_begin_where_the_data_files_end() {
    let fs = TestDisk::new();
    let logged = small_log(&fs, None);
    fs.edit("000001.wal", |bytes| bytes[end_of(&logged[..1]) + 5] ^= 1);
    let (replayed, found) = read(&fs, 9).unwrap();
    assert_eq!((found.len(), replayed.next_seq), (0, 9));
    let (_, mut writer) = start(&fs, replayed, OPTIONS);
    let after = put(&mut writer, 5, true);
    assert_eq!(read(&fs, 9).unwrap().1, [after]);
    assert_eq!(read(&fs, 3).unwrap_err().kind(), ErrorKind::Corruption, "operations 3 to 8 are nowhere");
}

#[test]
fn a_large_frame_is_released_whole() {
    let fs = TestDisk::new();
    let (segments, mut writer) = new_log(&fs, OPTIONS);
    for body in [100, 20_000, 50, 30_000] {
        put(&mut writer, body, true);
    }
    segments.release(writer.next_seq()).unwrap();
    assert_eq!(
        segments.log_bytes(),
        0,
        "or the engine would think its log full, and do nothing but checkpoints"
    );
}

#[test]
fn released_segments_become_the_spare_or_go() {
    let fs = TestDisk::new();
    let (segments, mut writer) = new_log(&fs, OPTIONS);
    let mut logged: Vec<_> = (0..200).map(|_| put(&mut writer, 1000, true)).collect();
    let before = segments.log_bytes();
    segments.release(writer.next_seq()).unwrap();
    assert_eq!(fs.names(), ["000004.wal", "000005.wal"]);
    assert!(segments.log_bytes() < 3000 && before > 200_000, "{before} {}", segments.log_bytes());
    let from = logged[190].0;
    assert_eq!(read(&fs, from).unwrap().1, logged[190..], "a spare full of old frames is no segment");
    logged.extend((0..50).map(|_| put(&mut writer, 1000, true)));
    assert_eq!(fs.names(), ["000004.wal", "000005.wal"], "the spare is used first");
    let (replayed, found) = read(&fs, from).unwrap();
    assert_eq!(found, logged[190..], "stale frames behind the new ones are not taken for frames");
    assert_eq!(replayed.report.tail_bytes_dropped, 0);
    assert_eq!(replayed.id_max, 5);
}

#[test]
fn an_oversized_batch_has_a_segment_of_its_own() {
    let fs = TestDisk::new();
    let (segments, mut writer) = new_log(&fs, OPTIONS);
    let mut logged = vec![put(&mut writer, 10, false), put(&mut writer, 300_000, true)];
    logged.push(put(&mut writer, 20, true));
    assert_eq!(fs.names(), ["000001.wal", "000002.wal", "000003.wal"]);
    assert_eq!(read(&fs, 1).unwrap().1, logged);
    segments.release(writer.next_seq()).unwrap();
    assert_eq!(fs.names(), ["000003.wal", "000004.wal"]);
    assert_eq!(fs.len_of("000004.wal"), OPTIONS.segment_bytes, "the long file is not kept");
}

#[test]
fn frames_that_wait_go_out_before_a_long_one() {
    let fs = TestDisk::new();
    let (_, mut writer) = new_log(&fs, OPTIONS);
    let logged = [(10, false), (20_000, true), (5, false), (7, true), (20_000, false), (3, true)]
        .map(|(len, write)| put(&mut writer, len, write));
    assert_eq!(read(&fs, 1).unwrap().1, logged);
}

#[test]
fn a_segment_goes_when_the_next_one_holds_all_that_is_needed() {
    let fs = TestDisk::new();
    let (segments, mut writer) = new_log(&fs, OPTIONS);
    while fs.names().len() < 3 {
        put(&mut writer, 1000, true);
    }
    let second = read(&fs, 1).unwrap().0.live[1].first_seq;
    segments.release(second - 1).unwrap();
    assert!(fs.names().contains(&"000001.wal".to_owned()));
    read(&fs, second - 2).unwrap();
    segments.release(second).unwrap();
    assert!(!fs.names().contains(&"000001.wal".to_owned()));
    read(&fs, second).unwrap();
}

#[test]
fn the_last_operation_that_was_on_disk_is_missed_too() {
    let fs = TestDisk::new();
    let (_, mut writer) = new_log(&fs, OPTIONS);
    for key in [b"a", b"b"] {
        let mut batch = Batch::new();
        batch.put(key, b"v");
        writer.reserve(batch.encoded().len()).unwrap();
        writer.append(batch.encoded(), 1, true).unwrap();
        writer.sync().unwrap();
    }
    fs.edit("000001.wal", |bytes| bytes[4100] ^= 1);
    assert_eq!(read(&fs, 1).unwrap_err().kind(), ErrorKind::Corruption);
}

#[test]
fn what_an_earlier_recovery_cut_stays_cut() {
    let fs = TestDisk::new();
    let logged = small_log(&fs, None);
    // An earlier recovery could not read the fourth frame, though it can be read now.
    let (replayed, _) = read(&fs, 1).unwrap();
    let (_, mut writer) = start(&fs, Replayed { next_seq: 7, ..replayed }, OPTIONS);
    let after = put(&mut writer, 50, true);
    assert_eq!(read(&fs, 1).unwrap().1, [&logged[..3], &[after]].concat());
}

#[test]
fn a_full_log_on_a_full_disk_can_be_closed() {
    let fs = TestDisk::new();
    let (_, mut writer) = new_log(&fs, OPTIONS);
    fs.fill();
    let mut batch = Batch::new();
    // Frames of 1 KiB would fill the segment to its last byte.
    batch.put(b"key", &[7; 985]);
    assert_eq!(frame_len(batch.encoded().len()), 1024);
    while writer.reserve(batch.encoded().len()).is_ok() {
        writer.append(batch.encoded(), 1, true).unwrap();
    }
    writer.close().unwrap();
    let (replayed, found) = read(&fs, 1).unwrap();
    assert!(replayed.report.clean);
    assert_eq!(found.len(), 59, "the last KiB is kept for the mark");
}

#[test]
fn a_full_disk_refuses_a_frame_and_leaves_the_log_as_it_was() {
    let fs = TestDisk::new();
    let (_, mut writer) = new_log(&fs, OPTIONS);
    let mut logged: Vec<_> = (0..58).map(|_| put(&mut writer, 1000, true)).collect();
    fs.fill();
    assert!(
        matches!(writer.reserve(4000), Err(Failure::Refused(error)) if error.kind() == ErrorKind::NoSpace)
    );
    assert_eq!(read(&fs, 1).unwrap().1, logged);
    fs.sim.faults().heal();
    logged.push(put(&mut writer, 4000, true));
    assert_eq!(read(&fs, 1).unwrap().1, logged);
}

#[test]
fn a_new_log_is_small_and_grows_in_steps() {
    let fs = TestDisk::new();
    let (_, mut writer) = new_log(&fs, WalOptions { segment_bytes: 64 << 20 });
    assert_eq!(fs.len_of("000001.wal"), 64 << 10);
    for _ in 0..100 {
        put(&mut writer, 10_000, true);
    }
    assert!(fs.counted(Cause::Prepare).write_calls < 20, "{:?}", fs.counted(Cause::Prepare));
    assert_eq!(fs.counted(Cause::Prepare).write_bytes, fs.len_of("000001.wal"));
    assert_eq!(fs.counted(Cause::Wal).sync_calls, 1, "only the header was synced");
}

#[test]
fn no_frame_waits_for_more_than_a_step_of_zeros() {
    let fs = TestDisk::new();
    let (_, mut writer) = new_log(&fs, WalOptions { segment_bytes: 64 << 20 });
    let (mut before, mut most) = (fs.counted(Cause::Prepare).write_bytes, 0);
    while fs.len_of("000001.wal") < 40 << 20 {
        put(&mut writer, 500_000, true);
        let after = fs.counted(Cause::Prepare).write_bytes;
        most = most.max(after - before);
        before = after;
    }
    assert!(most <= 1 << 20, "{most} bytes of zeros before one frame");
}

#[test]
fn no_log_is_damage_unless_the_database_is_new() {
    let fs = TestDisk::new();
    assert_eq!(read(&fs, 1).unwrap_err().kind(), ErrorKind::Corruption);
}

/// A segment with one frame whose checksums hold, whatever it says.
fn forged(first_seq: SeqNo, header: FrameHeader, body: &[u8]) -> TestDisk {
    let fs = TestDisk::new();
    let sum = FileSum::new(fs.place.salt, 1);
    let place = FramePlace { sum: &sum, segment_id: 1, offset: SEGMENT_HEADER_LEN };
    let honest = FrameHeader::of(place, header.first_seq, header.count, 0, body);
    let header = FrameHeader { body_crc: honest.body_crc, ..header };
    let mut bytes = SegmentHeader { id: 1, previous: 0, first_seq }.encode(&sum);
    bytes.resize(usize::try_from(SEGMENT_HEADER_LEN).unwrap(), 0);
    bytes.extend([&header.encode(place)[..], body, padding(body.len())].concat());
    bytes.resize(usize::try_from(SEGMENT_BYTES_MIN).unwrap(), 0);
    let file = fs.sim.open(&fs.place.path(1), OpenOptions::NEW, Cause::Wal).unwrap();
    file.write_at(0, &[std::io::IoSlice::new(&bytes)], Cause::Wal).unwrap();
    fs
}

#[test]
fn a_forged_frame_is_damage_and_no_panic() {
    let mut batch = Batch::new();
    batch.put(b"key", b"value");
    let body = batch.encoded();
    let len = u32::try_from(body.len()).unwrap();
    let good = FrameHeader { body_crc: 0, body_len: len, count: 1, unsynced: 0, first_seq: 1 };
    assert_eq!(read(&forged(1, good, body), 1).unwrap().1.len(), 1);
    let end = u64::MAX;
    for (what, first_seq, header, body) in [
        ("too few operations", 1, FrameHeader { count: 2, ..good }, body),
        ("no such operation", 1, FrameHeader { body_len: 3, ..good }, &b"\x09\0\0"[..]),
        ("an operation cut short", 1, FrameHeader { body_len: 3, ..good }, &body[..3]),
        ("a mark of no kind", 1, FrameHeader { count: 0, ..good }, body),
        ("a mark that leads nowhere", 1, FrameHeader { count: 0, body_len: 8, ..good }, &[1; 8]),
        ("another operation", 1, FrameHeader { first_seq: 2, ..good }, body),
        ("the last operation of all", end, FrameHeader { first_seq: end, ..good }, body),
    ] {
        let fs = forged(first_seq, header, body);
        assert_eq!(read(&fs, first_seq).unwrap_err().kind(), ErrorKind::Corruption, "{what}");
    }
    let long = FrameHeader { body_len: u32::MAX, ..good };
    assert_eq!(read(&forged(1, long, body), 1).unwrap().1, [], "a length beyond the file is a torn frame");
}

#[test]
fn foreign_names_are_left_alone_and_the_largest_id_is_no_panic() {
    let fs = TestDisk::new();
    for name in ["1.wal", "000001.WAL", "notes.txt", "18446744073709551615.wal"] {
        fs.sim.open(&fs.place.dir.join(name), OpenOptions::NEW, Cause::Wal).unwrap();
    }
    let fresh = Expected { is_new: true, ..expected(1) };
    let replayed = replay(&fs.place, fresh, &mut |_, _, _| Ok(())).unwrap();
    assert_eq!(replayed.id_max, u64::MAX);
    let segments = Arc::new(Segments::new(fs.place.clone(), OPTIONS, vec![], replayed.garbage, u64::MAX));
    assert_eq!(Writer::start(segments, 1).unwrap_err().kind(), ErrorKind::Io);
}

/// The mark that names the next segment is on disk before anything is acknowledged there.
#[test]
fn a_newest_segment_that_is_gone_after_a_power_cut_is_missed() {
    let fs = TestDisk::new();
    let (_, mut writer) = new_log(&fs, OPTIONS);
    while fs.names().len() < 2 {
        put(&mut writer, 1000, true);
    }
    writer.sync().unwrap();
    let cut = TestDisk::over(fs.sim.crash(CrashPolicy::DropUnsynced));
    read(&cut, 1).unwrap();
    let gone = cut.copy();
    gone.remove("000002.wal");
    assert_eq!(read(&gone, 1).unwrap_err().kind(), ErrorKind::Corruption, "it is missing");
    for len in [0, 40, 512, 900] {
        let short = cut.copy();
        short.edit("000002.wal", |bytes| bytes.truncate(len));
        assert_eq!(read(&short, 1).unwrap_err().kind(), ErrorKind::Corruption, "cut to {len}");
    }
}
