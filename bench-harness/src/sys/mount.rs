//! What is mounted where, as `/proc/self/mountinfo` tells it.

use std::path::{Path, PathBuf};

use super::disk;

/// One mounted file system.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Mount {
    /// Where.
    pub point: PathBuf,
    /// The directory of the file system that is seen there.
    pub root: PathBuf,
    /// Its type.
    pub file_system: String,
    /// What was mounted.
    pub source: String,
    /// Options of the mount and of the file system.
    pub options: String,
    /// `major:minor` of its device; major 0 for file systems without one.
    pub device: String,
}

impl Mount {
    /// Everything that is mounted; empty where the system does not tell.
    pub fn all() -> Vec<Mount> {
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        text.lines().filter_map(parse).collect()
    }

    /// The one of `mounts` that holds `dir`, or its nearest existing parent.
    pub fn of(mounts: &[Mount], dir: &Path) -> Option<Mount> {
        let path = std::fs::canonicalize(disk::existing(dir)).ok()?;
        Mount::holding(mounts, &path).cloned()
    }

    /// The mount that holds `path`, which must be absolute and free of links.
    pub fn holding<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
        // Of two on the same point the later one covers the earlier one: `max_by_key` gives the last of equals.
        let holding = mounts.iter().filter(|mount| path.starts_with(&mount.point));
        holding.max_by_key(|mount| mount.point.components().count())
    }
}

/// `36 35 98:0 /root /point rw,noatime shared:1 - ext4 /dev/vda rw,discard`; see proc_pid_mountinfo(5).
fn parse(line: &str) -> Option<Mount> {
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ').skip(2);
    let (device, root, point, options) = (front.next()?, front.next()?, front.next()?, front.next()?);
    let mut back = back.split(' ');
    let (file_system, source) = (back.next()?, back.next()?);
    let of_file_system = back.next().unwrap_or_default();
    Some(Mount {
        point: PathBuf::from(unescaped(point)),
        root: PathBuf::from(unescaped(root)),
        file_system: file_system.to_owned(),
        source: unescaped(source),
        options: format!("{options} {of_file_system}").trim().to_owned(),
        device: device.to_owned(),
    })
}

/// The kernel writes space, tab, newline and backslash as `\` and three octal digits.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_holds_a_path() {
        let text = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n\
                    30 27 0:24 / /data\\040disk rw shared:3 master:1 - btrfs /dev/sdb rw,ssd\n\
                    nonsense\n";
        let mounts: Vec<_> = text.lines().filter_map(parse).collect();
        assert_eq!(mounts.len(), 2);
        let holding =
            |path: &str| Mount::holding(&mounts, Path::new(path)).map(|mount| mount.source.as_str());
        assert_eq!(holding("/data disk/db"), Some("/dev/sdb"));
        assert_eq!(holding("/data"), Some("/dev/vda"));
        assert_eq!(mounts[0].options, "rw,relatime rw,discard");
        assert_eq!(mounts[1].device, "0:24");
    }
}
