//! Tests of the manifest: golden bytes, torn tails against damage, which one rules.

use kv_io::sim::{CrashPolicy, SimVfs};

use super::*;

const DIR: &str = "/db";
/// What a field with the start of the log begins with.
const REPLAY_FIELD: u8 = 3;

fn disk() -> Arc<SimVfs> {
    let disk = SimVfs::new(1);
    disk.create_dir(Path::new(DIR), Cause::Recovery).unwrap();
    disk.sync_dir(Path::new("/"), Cause::Recovery).unwrap();
    disk
}

fn added(id: u64) -> VersionEdit {
    let meta = TableMeta { id, smallest: vec![b'a'], ..TableMeta::default() };
    VersionEdit { added: vec![(1, meta)], replay_from: Some(id * 10), ..VersionEdit::default() }
}

fn begin(disk: &Arc<SimVfs>) -> Manifest {
    let live = Live { replay_from: 1, next_id: 6, ..Live::default() };
    Manifest::create(&**disk, Path::new(DIR), 7, 5, live, Cause::Manifest).unwrap()
}

fn load_all(disk: &Arc<SimVfs>) -> Result<(Live, u64)> {
    load(&**disk, Path::new(DIR), 7, 5)
}

fn bytes_of(disk: &Arc<SimVfs>) -> Vec<u8> {
    let file =
        disk.open(&Path::new(DIR).join("000005.manifest"), OpenOptions::READ, Cause::Recovery).unwrap();
    let len = to_usize(file.len().unwrap());
    read_range(&*file, 0, len, Cause::Recovery).unwrap().to_vec()
}

/// A disk whose manifest holds `bytes`.
fn disk_with(bytes: &[u8]) -> Arc<SimVfs> {
    let disk = disk();
    let path = Path::new(DIR).join("000005.manifest");
    let file = disk.open(&path, OpenOptions::NEW, Cause::Manifest).unwrap();
    file.write_at(0, &[IoSlice::new(bytes)], Cause::Manifest).unwrap();
    disk
}

#[test]
fn the_bytes_are_those_of_the_picture() {
    let disk = disk();
    begin(&disk);
    let sum = FileSum::new(7, 5);
    let edit = [&[3][..], &1_u64.to_le_bytes(), &[4], &6_u64.to_le_bytes()].concat();
    let mut want = Vec::new();
    want.put_bytes(b"KVLABMAN").put_u32(1).put_u32(sum.of(0, &[b"KVLABMAN", &1_u32.to_le_bytes()]));
    want.put_u32(sum.of(16, &[&18_u32.to_le_bytes(), &edit])).put_u32(18).put_bytes(&edit);
    assert_eq!(bytes_of(&disk), want);
}

#[test]
fn edits_add_up_and_survive_the_power_cut_after_they_were_appended() {
    let disk = disk();
    let mut manifest = begin(&disk);
    manifest.append(&added(6), Cause::Manifest).unwrap();
    manifest.append(&added(8), Cause::Manifest).unwrap();
    let removal = VersionEdit { removed: vec![(1, 6)], ..VersionEdit::default() };
    manifest.append(&removal, Cause::Manifest).unwrap();
    let (live, tail) = load_all(&disk.crash(CrashPolicy::DropUnsynced)).unwrap();
    assert_eq!(&live, manifest.live());
    assert_eq!((live.tables.keys().copied().collect::<Vec<_>>(), live.replay_from), (vec![8], 80));
    assert_eq!((live.next_id, tail), (9, 0));
}

#[test]
fn a_torn_last_edit_is_cut_and_damage_before_it_is_not() {
    let disk = disk();
    let mut manifest = begin(&disk);
    let first_edit = to_usize(manifest.len());
    manifest.append(&added(6), Cause::Manifest).unwrap();
    let last_edit = to_usize(manifest.len());
    manifest.append(&added(8), Cause::Manifest).unwrap();
    let good = bytes_of(&disk);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        match load_all(&disk_with(&bad)) {
            Ok((live, tail)) => {
                assert!(at >= last_edit, "byte {at} before the last edit went unnoticed");
                assert_eq!((live.tables.len(), tail), (1, to_u64(good.len() - last_edit)));
            }
            Err(error) => assert!(at < last_edit, "byte {at}: {error}"),
        }
    }
    for cut in 0..good.len() {
        let outcome = load_all(&disk_with(&good[..cut]));
        assert_eq!(outcome.is_ok(), cut >= first_edit, "cut at {cut}");
    }
}

/// Without a bound the second of these takes minutes: every ninth byte is the front of a megabyte of fields.
#[test]
fn a_tail_that_reads_like_long_edits_everywhere_is_refused_before_all_are_tried() {
    let disk = disk();
    begin(&disk).append(&added(6), Cause::Manifest).unwrap();
    let good = bytes_of(&disk);
    let with = |tail: &[u8]| load_all(&disk_with(&[good.as_slice(), tail].concat()));
    for harmless in [vec![0; 5000], [0, 0, 8, 0].repeat(1 << 18)] {
        assert_eq!(with(&harmless).unwrap().1, to_u64(harmless.len()));
    }
    let refused = with(&[REPLAY_FIELD, 0, 0, 0, 0, 0, 0, 16, 0].repeat(1 << 19)).unwrap_err();
    assert_eq!(refused.kind(), kv_api::ErrorKind::Corruption, "{refused}");
}

#[test]
fn an_edit_that_does_not_fit_is_damage() {
    let disk = disk();
    let mut manifest = begin(&disk);
    manifest.append(&added(6), Cause::Manifest).unwrap();
    for misfit in [
        VersionEdit { removed: vec![(1, 99)], ..VersionEdit::default() },
        added(6),
        VersionEdit { next_id: Some(u64::MAX), ..VersionEdit::default() },
        VersionEdit { replay_from: Some(0), ..VersionEdit::default() },
    ] {
        let disk = disk_with(&bytes_of(&disk));
        let file =
            disk.open(&Path::new(DIR).join("000005.manifest"), OpenOptions::WRITE, Cause::Manifest).unwrap();
        let at = file.len().unwrap();
        let frame = encode_frame(&FileSum::new(7, 5), at, &misfit);
        file.write_at(at, &[IoSlice::new(&frame)], Cause::Manifest).unwrap();
        assert!(load_all(&disk).is_err_and(|error| error.to_string().contains("does not fit")), "{misfit:?}");
    }
}

#[test]
fn a_manifest_of_another_database_or_number_is_damage() {
    let disk = disk();
    begin(&disk);
    assert!(load(&*disk, Path::new(DIR), 8, 5).is_err());
    let moved = Path::new(DIR).join("000006.manifest");
    disk.rename(&Path::new(DIR).join("000005.manifest"), &moved, Cause::Manifest).unwrap();
    assert!(load(&*disk, Path::new(DIR), 7, 6).is_err());
}
