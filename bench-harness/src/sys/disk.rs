//! Where the data lies: file system, free space, and what a directory occupies.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Failure, Result};

/// What a directory occupies.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DirSize {
    /// Sum of file lengths in bytes: S.
    pub apparent_bytes: u64,
    /// Sum of allocated blocks in bytes: A.
    pub allocated_bytes: u64,
    /// Files counted.
    pub files: u64,
}

/// Every file of a directory and what it occupies, by walking it. Files that vanish meanwhile are skipped.
pub fn walk(dir: &Path) -> Vec<(String, DirSize)> {
    let mut out = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else { return out };
    for entry in entries.flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        let name = entry.file_name().to_string_lossy().into_owned();
        if meta.is_dir() {
            let below = walk(&entry.path()).into_iter();
            out.extend(below.map(|(file, size)| (format!("{name}/{file}"), size)));
        } else {
            let allocated_bytes = meta.blocks() * 512;
            out.push((name, DirSize { apparent_bytes: meta.len(), allocated_bytes, files: 1 }));
        }
    }
    out.sort_by(|a, b| a.0.cmp(&b.0));
    out
}

/// The sum of [`walk`].
pub fn size(dir: &Path) -> DirSize {
    walk(dir).iter().fold(DirSize::default(), |sum, (_, file)| DirSize {
        apparent_bytes: sum.apparent_bytes + file.apparent_bytes,
        allocated_bytes: sum.allocated_bytes + file.allocated_bytes,
        files: sum.files + file.files,
    })
}

/// Bytes that a user may still write on the file system of `path`, or of its nearest existing parent.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(existing(path)).ok()?;
    Some(stat.f_bavail * stat.f_frsize)
}

/// The file system that holds `path`, or its nearest existing parent.
pub fn file_system(path: &Path) -> Option<String> {
    let stat = rustix::fs::statfs(existing(path)).ok()?;
    // Magic numbers of statfs(2).
    let known = match stat.f_type as u64 & 0xFFFF_FFFF {
        0xEF53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683E => "btrfs",
        0x0102_1994 => "tmpfs",
        0x794C_7630 => "overlay",
        0x2FC1_2FC1 => "zfs",
        0xF2F5_2010 => "f2fs",
        0x6969 => "nfs",
        0x0102_1997 => "9p",
        0x6573_5546 => "fuse",
        other => return Some(format!("type {other:#x}")),
    };
    Some(known.to_owned())
}

/// What to say about measuring on this file system, if it is one whose numbers mislead.
pub fn warning(file_system: &str) -> Option<String> {
    let why = match file_system {
        "tmpfs" => "is memory: nothing here measures a disk, and `disk` durability is not kept",
        "overlay" => "copies and hides device facts; use --dir on a real file system for numbers to publish",
        "9p" | "nfs" | "fuse" => "is not local: its caches and syncs are not those of a disk",
        _ => return None,
    };
    Some(format!("the data directory is on {file_system}, which {why}"))
}

/// `path` made absolute, or its nearest parent that exists.
pub fn existing(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    absolute.ancestors().find(|dir| dir.exists()).map_or_else(|| PathBuf::from("/"), Path::to_path_buf)
}

/// Makes `dir` if it is not there, and makes sure that files can be made in it: better now than after the run.
///
/// # Errors
/// It cannot be made, is no directory, or takes no file.
pub fn usable(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)
        .map_err(|error| Failure::io("create the directory", dir, &error).of_argument())?;
    let probe = dir.join(format!("kvlab-probe-{}", std::process::id()));
    fs::write(&probe, [])
        .and_then(|()| fs::remove_file(&probe))
        .map_err(|error| Failure::io("make a file in", dir, &error).of_argument())
}

/// Fails unless `need` bytes and a margin are free at `path`.
///
/// # Errors
/// Names what is needed, what is there, and what to do.
pub fn check_free(path: &Path, need: u64) -> Result<()> {
    match free_bytes(path) {
        Some(free) if free < need => Err(Failure::failed(format!(
            "{} has {} free and this run may need {}; free some space, use --dir on another file system, or \
             take --scale smoke",
            path.display(),
            crate::units::bytes(free),
            crate::units::bytes(need)
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_sees_every_file_below() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/b"), [1; 5000]).unwrap();
        fs::write(dir.path().join("a"), [1; 10]).unwrap();
        let names: Vec<_> = walk(dir.path()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "sub/b"]);
        assert_eq!(size(dir.path()).apparent_bytes, 5010);
        assert!(check_free(dir.path(), u64::MAX).is_err());
        assert!(free_bytes(&dir.path().join("not/there/yet")).is_some());
    }
}
