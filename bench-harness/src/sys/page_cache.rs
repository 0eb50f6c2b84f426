//! Dropping what the page cache holds of a directory, so that the next phase reads from the device.

use std::fs;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

use super::disk;

/// Asks the kernel to forget the pages of every file below `dir`, and says how many bytes the files have that it was asked
/// for. Dirty pages stay, so each file is synced first; pages that somebody has mapped stay too. Files that vanish
/// meanwhile are skipped.
pub fn drop_files(dir: &Path) -> u64 {
    let files = disk::walk(dir).into_iter();
    let asked = files.filter(|(name, _)| {
        let dropped = fs::File::open(dir.join(name)).and_then(|file| {
            file.sync_data()?;
            Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
        });
        dropped.is_ok()
    });
    asked.map(|(_, size)| size.apparent_bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("below")).unwrap();
        fs::write(dir.path().join("a"), [1; 5000]).unwrap();
        fs::write(dir.path().join("below/b"), [1; 300]).unwrap();
        assert_eq!(drop_files(dir.path()), 5300);
        assert_eq!(drop_files(&dir.path().join("nothing")), 0);
    }
}
