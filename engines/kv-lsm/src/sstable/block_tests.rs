//! Tests of the data block: golden bytes, damage, and search against a sorted list.

use proptest::prelude::*;

use super::*;
use crate::entry::Kind;

type Owned = (Vec<u8>, Tag, Vec<u8>);

fn sum() -> FileSum {
    FileSum::new(7, 9)
}

fn encode(entries: &[Owned], unit: usize) -> Vec<u8> {
    let mut builder = BlockBuilder::default();
    for (key, tag, value) in entries {
        let entry = Entry { key, tag: *tag, value };
        let foretold = builder.len_with(entry);
        builder.add(entry);
        assert!(builder.len() <= foretold + entry.key.len(), "{} {foretold}", builder.len());
    }
    let mut out = Vec::new();
    builder.finish(&mut out, &sum(), 4096, unit);
    out
}

fn open(bytes: &[u8]) -> Result<Block, String> {
    let buffer = Arc::new(AlignedBuf::copy_of(bytes, bytes.len()));
    Block::check(BlockBytes::Buffer(buffer, 0..bytes.len()), &sum(), 4096)
}

fn put(key: &[u8], seq: u64, value: &[u8]) -> Owned {
    (key.to_vec(), Tag::new(seq, Kind::Put), value.to_vec())
}

#[test]
fn the_bytes_are_those_of_the_picture() {
    let bytes = encode(&[put(b"user1", 3, b"v"), put(b"user22", 2, b"")], 64);
    let mut want = Vec::new();
    want.put_u32(0x6d67_0f1b).put_u32(52).put_u16(2).put_u16(4).put_bytes(b"user");
    want.put_u32(head32(b"1")).put_u32(head32(b"22")).put_u16(28).put_u16(40);
    want.put_bytes(&[1, 1]).put_u64(3 << 8 | 1).put_bytes(b"1v");
    want.put_bytes(&[2, 0]).put_u64(2 << 8 | 1).put_bytes(b"22");
    want.resize(64, 0);
    assert_eq!(bytes[4..], want[4..]);
    assert_eq!(bytes[..4], sum().of(4096, &[&want[4..52]]).to_le_bytes());
}

#[test]
fn every_flipped_byte_is_found_or_is_padding() {
    let bytes = encode(&[put(b"a", 1, b"one"), put(b"b", 2, b"two")], 128);
    let used = usize::try_from(u32::from_le_bytes(*bytes[4..].first_chunk().unwrap())).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0xff;
        assert_eq!(open(&damaged).is_err(), at < used, "byte {at}");
    }
    for cut in 0..used {
        assert!(open(&bytes[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn a_block_is_damage_in_another_place_or_file() {
    let bytes = encode(&[put(b"a", 1, b"one")], 64);
    let block = |sum: FileSum, offset| {
        let buffer = Arc::new(AlignedBuf::copy_of(&bytes, bytes.len()));
        Block::check(BlockBytes::Buffer(buffer, 0..bytes.len()), &sum, offset)
    };
    assert!(block(sum(), 4096).is_ok());
    assert!(block(sum(), 8192).is_err());
    assert!(block(FileSum::new(7, 10), 4096).is_err());
    assert!(block(FileSum::new(8, 9), 4096).is_err());
}

#[test]
fn hostile_bytes_with_a_true_checksum_do_no_harm() {
    let bytes = encode(&[put(b"ab", 1, b"one"), put(b"ac", 2, b"two")], 64);
    for at in 4..bytes.len() {
        for value in [0_u8, 1, 0x7f, 0x80, 0xff] {
            let mut hostile = bytes.clone();
            hostile[at] = value;
            let used = wide(u32::from_le_bytes(*hostile[4..].first_chunk().unwrap()));
            let Some(covered) = hostile.get(4..used) else { continue };
            let crc = sum().of(4096, &[covered]);
            hostile[..4].copy_from_slice(&crc.to_le_bytes());
            let Ok(block) = open(&hostile) else { continue };
            for key in [b"".as_slice(), b"a", b"ab", b"ac", b"zz"] {
                let found = block.lower_bound(key, Tag::NEWEST);
                assert!(found <= block.len());
                block.is_key(found, key);
            }
        }
    }
}

#[test]
fn a_value_larger_than_offsets_reach_has_a_block_of_its_own() {
    let bytes = encode(&[put(&[7; 60_000], 1, &[9; 300_000])], 4096);
    let block = open(&bytes).unwrap();
    let stored = block.is_key(block.lower_bound(&[7; 60_000], Tag::NEWEST), &[7; 60_000]).unwrap();
    assert_eq!(stored.value, [9; 300_000]);
}

fn keys() -> impl Strategy<Value = Vec<(Vec<u8>, u64)>> {
    let key = proptest::collection::vec(prop_oneof![Just(0_u8), Just(b'a'), Just(0xff)], 0..7);
    proptest::collection::vec((key, 1_u64..5), 1..40)
}

proptest! {
    #[test]
    fn search_agrees_with_a_sorted_list(mut raw in keys(), probe in keys(), prefix in 0_usize..9) {
        raw.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        raw.dedup();
        let with_prefix = |key: &[u8]| [&b"prefix-8"[..prefix.min(8)], key].concat();
        let list: Vec<Owned> = raw.iter().map(|(key, seq)| put(&with_prefix(key), *seq, key)).collect();
        let block = open(&encode(&list, 1)).map_err(TestCaseError::fail)?;
        prop_assert_eq!(block.len(), list.len());
        for (i, (key, tag, value)) in list.iter().enumerate() {
            let stored = block.is_key(i, key).unwrap();
            prop_assert_eq!((stored.tag, stored.value), (*tag, value.as_slice()));
        }
        for (key, seq) in probe.iter().chain(&raw) {
            for key in [key.clone(), with_prefix(key)] {
                let tag = Tag::up_to(*seq);
                let want = list.partition_point(|own| compare((&own.0, own.1), (&key, tag)).is_lt());
                prop_assert_eq!(block.lower_bound(&key, tag), want);
            }
        }
    }
}
