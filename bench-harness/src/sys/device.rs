//! The block device behind a mount, as sysfs tells it without any privilege.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::mount::Mount;

/// A block device. `None`: the kernel does not tell. A virtual device repeats what its host made up.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Device {
    /// Its name, such as `nvme0n1`; for a partition, that of the whole device.
    pub name: String,
    /// What it is attached by: nvme, virtio, ata, usb, mmc, scsi.
    pub transport: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// Its firmware.
    pub firmware: Option<String>,
    /// Its size in bytes.
    pub size_bytes: Option<u64>,
    /// True for a disk that turns, as the kernel believes.
    pub rotational: Option<bool>,
    /// The scheduler in force.
    pub scheduler: Option<String>,
    /// Requests the kernel queues for it at most.
    pub queue_depth: Option<u64>,
    /// "write back" if it may lose what it acknowledged without a flush, or "write through".
    pub write_cache: Option<String>,
    /// Bytes it can write at once without reading.
    pub physical_block_bytes: Option<u64>,
    /// True if it takes discards.
    pub discard: Option<bool>,
    /// The devices it is made of, for mapped and joined ones.
    pub parts: Vec<String>,
}

impl Device {
    /// The device of `mount`.
    ///
    /// # Errors
    /// Says why none can be seen.
    pub fn of(mount: &Mount) -> Result<Device, String> {
        let Some((major, _)) = mount.device.split_once(':') else {
            return Err("its number is odd".to_owned());
        };
        if major != "0" {
            return Device::at(&Path::new("/sys/dev/block").join(&mount.device));
        }
        // Some file systems number themselves and name a real device as their source.
        let meta = fs::metadata(&mount.source).ok().filter(|_| mount.source.starts_with("/dev/"));
        let numbers = meta.map(|meta| (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev())));
        match numbers {
            Some((major, minor)) => Device::at(&Path::new("/sys/dev/block").join(format!("{major}:{minor}"))),
            None => Err(format!("{} has no block device of its own", mount.file_system)),
        }
    }

    /// The device described at `link`, a directory of sysfs.
    fn at(link: &Path) -> Result<Device, String> {
        let found = fs::canonicalize(link).map_err(|error| format!("{}: {error}", link.display()))?;
        let is_part = found.join("partition").exists();
        let whole = if is_part { found.parent().unwrap_or(&found) } else { &found };
        let text = |name: &str| {
            let text = fs::read_to_string(whole.join(name)).ok()?;
            Some(text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        let number = |name: &str| text(name)?.parse::<u64>().ok();
        let mut parts: Vec<_> = fs::read_dir(whole.join("slaves"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        parts.sort();
        Ok(Device {
            name: whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            transport: transport(&whole.to_string_lossy()).map(str::to_owned),
            model: text("device/model"),
            firmware: text("device/firmware_rev").or_else(|| text("device/rev")),
            size_bytes: number("size").map(|sectors| sectors * 512),
            rotational: number("queue/rotational").map(|flag| flag != 0),
            scheduler: text("queue/scheduler").map(|all| chosen(&all).to_owned()),
            queue_depth: number("queue/nr_requests"),
            write_cache: text("queue/write_cache"),
            physical_block_bytes: number("queue/physical_block_size"),
            discard: number("queue/discard_max_bytes").map(|most| most > 0),
            parts,
        })
    }

    /// The device in a few words.
    pub fn summary(&self) -> String {
        let mut words = vec![self.name.clone()];
        words.extend(self.transport.clone());
        words.extend(self.model.clone());
        words.extend(
            self.rotational.map(|turns| if turns { "says it turns" } else { "does not turn" }.to_owned()),
        );
        words.extend(self.scheduler.as_ref().map(|name| format!("scheduler {name}")));
        words.extend(self.queue_depth.map(|depth| format!("queue {depth}")));
        words.extend(self.write_cache.as_ref().map(|cache| format!("cache {cache}")));
        words.extend((!self.parts.is_empty()).then(|| format!("made of {}", self.parts.join(" "))));
        words.join(", ")
    }
}

/// The scheduler in brackets, or the only one there is.
fn chosen(all: &str) -> &str {
    let inside = all.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or(all, |(name, _)| name)
}

/// What stands in the path of a device in sysfs.
fn transport(path: &str) -> Option<&'static str> {
    // The nearest bus is named last in the path but first here: a USB disk is also a SCSI disk.
    let known = [("/nvme", "nvme"), ("/virtio", "virtio"), ("/usb", "usb"), ("/ata", "ata"), ("/mmc", "mmc")];
    let known = known.into_iter().chain([("/host", "scsi")]);
    known.into_iter().find(|(part, _)| path.contains(part)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_partition_is_described_by_its_whole_device() {
        let sys = tempfile::tempdir().unwrap();
        let whole = sys.path().join("devices/pci0/nvme/nvme0/nvme0n1");
        let put = |name: &str, text: &str| {
            let path = whole.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("queue/rotational", "0\n");
        put("queue/scheduler", "none [mq-deadline] kyber\n");
        put("queue/nr_requests", "1023\n");
        put("queue/discard_max_bytes", "0\n");
        put("device/model", "Fast Disk        \n");
        put("size", "2048\n");
        put("nvme0n1p2/partition", "2\n");
        symlink(whole.join("nvme0n1p2"), sys.path().join("259:2")).unwrap();
        let device = Device::at(&sys.path().join("259:2")).unwrap();
        assert_eq!((device.name.as_str(), device.transport.as_deref()), ("nvme0n1", Some("nvme")));
        assert_eq!(
            (device.model.as_deref(), device.scheduler.as_deref()),
            (Some("Fast Disk"), Some("mq-deadline"))
        );
        assert_eq!(
            (device.size_bytes, device.rotational, device.discard),
            (Some(1 << 20), Some(false), Some(false))
        );
        assert_eq!((device.queue_depth, device.write_cache), (Some(1023), None));
    }

    #[test]
    fn a_file_system_without_a_device_says_so() {
        let mount = Mount {
            point: "/x".into(),
            root: "/".into(),
            file_system: "overlay".to_owned(),
            source: "overlay".to_owned(),
            options: String::new(),
            device: "0:55".to_owned(),
        };
        assert!(Device::of(&mount).unwrap_err().contains("overlay has no block device"));
    }
}
