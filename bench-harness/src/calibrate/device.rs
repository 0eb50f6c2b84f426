//! The block device behind a directory, found through sysfs without root, and its own counters: the truth about what
//! reached it, its neighbours' traffic included.
//!
//! `/sys/dev/block/MAJ:MIN/stat` (kernel documentation, "block/stat"), in sectors of 512 bytes:
//!
//! | reads | merged | sectors | ms | writes | merged | sectors | ms | in flight | ms | ms |
//! | discards | merged | sectors | ms | flushes | ms |

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const SECTOR_BYTES: u64 = 512;

/// A block device, or why there is none to see.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Device {
    /// Major and minor number, as sysfs writes them.
    pub number: Option<String>,
    /// Its name, such as nvme0n1p2.
    pub name: Option<String>,
    /// The disk that it is a part of, or its own name.
    pub disk: Option<String>,
    /// The model, where the disk tells.
    pub model: Option<String>,
    /// nvme, virtio, loop, sata or another word of the path in sysfs.
    pub transport: Option<String>,
    /// Whether it says to have moving parts.
    pub rotational: Option<bool>,
    /// The scheduler in force.
    pub scheduler: Option<String>,
    /// Requests its queue holds.
    pub queue_requests: Option<u64>,
    /// "write back" if a cache must be flushed, "write through" if not.
    pub write_cache: Option<String>,
    /// What could not be seen, and why.
    pub unseen: Vec<String>,
}

/// What moved through a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeviceIo {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Bytes discarded (TRIM): no write, and never to be added to one.
    pub discard_bytes: u64,
    /// Requests read.
    pub reads: u64,
    /// Requests written.
    pub writes: u64,
    /// Cache flushes.
    pub flushes: u64,
}

impl DeviceIo {
    /// What moved since `earlier`.
    pub fn since(self, earlier: DeviceIo) -> DeviceIo {
        DeviceIo {
            read_bytes: self.read_bytes.saturating_sub(earlier.read_bytes),
            write_bytes: self.write_bytes.saturating_sub(earlier.write_bytes),
            discard_bytes: self.discard_bytes.saturating_sub(earlier.discard_bytes),
            reads: self.reads.saturating_sub(earlier.reads),
            writes: self.writes.saturating_sub(earlier.writes),
            flushes: self.flushes.saturating_sub(earlier.flushes),
        }
    }

    fn parse(text: &str) -> Option<DeviceIo> {
        let fields: Vec<u64> = text.split_whitespace().map_while(|field| field.parse().ok()).collect();
        // Discards came with kernel 4.18, flushes with 5.5: absent means none were counted.
        let late = |place: usize| fields.get(place).copied().unwrap_or(0);
        Some(DeviceIo {
            reads: *fields.first()?,
            read_bytes: fields.get(2)?.saturating_mul(SECTOR_BYTES),
            writes: *fields.get(4)?,
            write_bytes: fields.get(6)?.saturating_mul(SECTOR_BYTES),
            discard_bytes: late(13).saturating_mul(SECTOR_BYTES),
            flushes: late(15),
        })
    }
}

impl Device {
    /// The device that holds `dir`, or its nearest existing parent.
    pub fn of(dir: &Path) -> Device {
        let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
        let number = absolute.ancestors().find_map(|dir| fs::metadata(dir).ok()).map(|meta| meta.dev());
        let Some(number) = number else {
            return Device::unseen("the directory's device: it has no existing parent");
        };
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        if major == 0 {
            return Device::unseen(
                "the device: this file system (overlay, btrfs, tmpfs, network) has none of its own",
            );
        }
        Device::from_sysfs(Path::new("/sys"), major, minor)
    }

    fn unseen(what: &str) -> Device {
        Device { unseen: vec![what.to_owned()], ..Device::default() }
    }

    fn from_sysfs(sys: &Path, major: u32, minor: u32) -> Device {
        let number = format!("{major}:{minor}");
        let link = sys.join("dev/block").join(&number);
        let Ok(own) = fs::canonicalize(&link) else {
            return Device::unseen(&format!("the device {number}: {} is not there", link.display()));
        };
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        // A partition lies in the folder of its disk, which alone has a queue.
        let disk = if own.join("partition").exists() { own.parent().unwrap_or(&own) } else { &own };
        let mut unseen = Vec::new();
        let mut look = |path: PathBuf| {
            let text = fs::read_to_string(&path).ok().map(|text| text.trim().to_owned());
            let text = text.filter(|text| !text.is_empty());
            if text.is_none() {
                unseen.push(format!("{}: not told", path.strip_prefix(sys).unwrap_or(&path).display()));
            }
            text
        };
        let mut device = Device {
            name: name(&own),
            disk: name(disk),
            transport: transport(disk),
            model: look(disk.join("device/model")),
            rotational: look(disk.join("queue/rotational")).map(|text| text == "1"),
            scheduler: look(disk.join("queue/scheduler")).map(|text| in_force(&text)),
            queue_requests: look(disk.join("queue/nr_requests")).and_then(|text| text.parse().ok()),
            write_cache: look(disk.join("queue/write_cache")),
            number: Some(number),
            unseen: Vec::new(),
        };
        device.unseen = unseen;
        device
    }

    /// Its counters now; `None` if there is no device to see.
    pub fn io(&self) -> Option<DeviceIo> {
        let path = format!("/sys/dev/block/{}/stat", self.number.as_deref()?);
        DeviceIo::parse(&crate::sys::proc::read_own(&path)?)
    }
}

/// The word in brackets: "[none] mq-deadline" has `none` in force.
fn in_force(text: &str) -> String {
    let marked = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    marked.map_or_else(|| text.to_owned(), |(word, _)| word.to_owned())
}

/// How the disk is attached, from its place in sysfs.
fn transport(disk: &Path) -> Option<String> {
    let path = disk.to_string_lossy();
    let known = ["nvme", "virtio", "loop", "ata", "usb", "mmc", "dm-", "md"];
    let found = known.into_iter().find(|word| path.rsplit('/').any(|part| part.starts_with(word)))?;
    Some(found.trim_end_matches('-').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_stat_file_are_those_of_the_picture() {
        let text = " 56 2 818 29 314 46 4002 273 1 548 276 18 61 632 6 35 21";
        let io = DeviceIo::parse(text).unwrap();
        assert_eq!((io.reads, io.read_bytes), (56, 818 * 512));
        assert_eq!((io.writes, io.write_bytes), (314, 4002 * 512));
        assert_eq!((io.discard_bytes, io.flushes), (632 * 512, 35));
        let old = DeviceIo::parse("1 0 2 0 3 0 4 0 0 0 0").unwrap();
        assert_eq!((old.write_bytes, old.discard_bytes, old.flushes), (2048, 0, 0));
        assert_eq!(DeviceIo::parse("1 2 x"), None);
    }

    #[test]
    fn a_partition_takes_its_queue_from_its_disk_and_says_what_it_could_not_see() {
        let sys = tempfile::tempdir().unwrap();
        let disk = sys.path().join("devices/pci0000/nvme0/nvme0n1");
        fs::create_dir_all(disk.join("queue")).unwrap();
        fs::create_dir_all(disk.join("device")).unwrap();
        fs::create_dir_all(disk.join("nvme0n1p2")).unwrap();
        fs::write(disk.join("nvme0n1p2/partition"), "2\n").unwrap();
        fs::write(disk.join("device/model"), "Fast Disk 9 \n").unwrap();
        fs::write(disk.join("queue/rotational"), "0\n").unwrap();
        fs::write(disk.join("queue/scheduler"), "[none] mq-deadline\n").unwrap();
        fs::write(disk.join("queue/nr_requests"), "1023\n").unwrap();
        fs::create_dir_all(sys.path().join("dev/block")).unwrap();
        std::os::unix::fs::symlink(disk.join("nvme0n1p2"), sys.path().join("dev/block/259:2")).unwrap();
        let device = Device::from_sysfs(sys.path(), 259, 2);
        assert_eq!((device.name.as_deref(), device.disk.as_deref()), (Some("nvme0n1p2"), Some("nvme0n1")));
        assert_eq!(
            (device.model.as_deref(), device.transport.as_deref()),
            (Some("Fast Disk 9"), Some("nvme"))
        );
        assert_eq!((device.rotational, device.queue_requests), (Some(false), Some(1023)));
        assert_eq!(device.scheduler.as_deref(), Some("none"));
        assert!(device.unseen.iter().any(|what| what.contains("write_cache")), "{:?}", device.unseen);
        let none = Device::from_sysfs(sys.path(), 1, 1);
        assert!(none.number.is_none() && none.unseen.len() == 1 && none.io().is_none());
    }
}
