//! The one checksum: CRC-32 (IEEE), seeded with where the bytes belong.
//!
//! crc( salt u64 | file id u64 | position u64 | bytes )
//!
//! The salt is the database's, the position an offset or a page number. A block of another database, of another
//! file, or of another place in the same file therefore fails its check: it is damage like any other.

use crc32fast::Hasher;

/// The checksums of one file.
#[derive(Debug, Clone)]
pub struct FileSum {
    state: Hasher,
}

impl FileSum {
    /// Checksums for file `file_id` of the database with `salt`.
    pub fn new(salt: u64, file_id: u64) -> FileSum {
        let mut state = Hasher::new();
        state.update(&salt.to_le_bytes());
        state.update(&file_id.to_le_bytes());
        FileSum { state }
    }

    /// The checksum of `parts`, one after another, at `position`. About 76 ns per 4 KiB.
    pub fn of(&self, position: u64, parts: &[&[u8]]) -> u32 {
        let mut state = self.state.clone();
        state.update(&position.to_le_bytes());
        for part in parts {
            state.update(part);
        }
        state.finalize()
    }
}

/// How a checksum that does not match is told: the same words in every error.
pub fn mismatch(found: u32, expected: u32) -> String {
    format!("checksum is {found:08x}, expected {expected:08x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_elsewhere_have_another_checksum() {
        let here = FileSum::new(1, 2).of(3, &[b"bytes"]);
        assert_eq!(here, FileSum::new(1, 2).of(3, &[b"by", b"tes"]));
        for elsewhere in [FileSum::new(9, 2).of(3, &[b"bytes"]), FileSum::new(1, 9).of(3, &[b"bytes"])] {
            assert_ne!(here, elsewhere);
        }
        assert_ne!(here, FileSum::new(1, 2).of(9, &[b"bytes"]));
    }

    #[test]
    fn the_value_is_fixed_by_the_format() {
        assert_eq!(FileSum::new(1, 2).of(3, &[b"kvlab"]), {
            let mut all = Vec::new();
            [1_u64, 2, 3].iter().for_each(|n| all.extend_from_slice(&n.to_le_bytes()));
            all.extend_from_slice(b"kvlab");
            crc32fast::hash(&all)
        });
    }
}
