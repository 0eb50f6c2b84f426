//! Where the data lies, and the device's own counters: the truth about what reached it, its neighbours' traffic
//! included.
//!
//! `/sys/dev/block/MAJ:MIN/stat` (kernel documentation, "block/stat"), in sectors of 512 bytes:
//!
//! | reads | merged | sectors | ms | writes | merged | sectors | ms | in flight | ms | ms |
//! | discards | merged | sectors | ms | flushes | ms |

use std::path::Path;

use crate::sys::device::Device;
use crate::sys::mount::Mount;

const SECTOR_BYTES: u64 = 512;

/// What holds a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Source {
    /// Major and minor number of the device or partition, as sysfs writes them; `None` for a file system without one.
    pub number: Option<String>,
    /// What tells the file system from others while it is mounted: its number, type and place.
    #[serde(default)]
    pub place: Option<String>,
    /// The device, if it can be seen.
    pub device: Option<Device>,
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

impl Source {
    /// What holds `dir`, or its nearest existing parent.
    pub fn of(dir: &Path) -> Source {
        let Some(mount) = Mount::of(&Mount::all(), dir) else { return Source::default() };
        let number = Some(mount.device.clone()).filter(|number| !number.starts_with("0:"));
        let device = number.as_ref().and_then(|_| Device::of(&mount).ok());
        let place = Some(format!("{} {} {}", mount.device, mount.file_system, mount.point.display()));
        Source { number, place, device }
    }

    /// The device's counters now; `None` if there is no device to see.
    pub fn io(&self) -> Option<DeviceIo> {
        let path = format!("/sys/dev/block/{}/stat", self.number.as_deref()?);
        DeviceIo::parse(&crate::sys::proc::read_own(&path)?)
    }
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
    fn a_place_without_a_device_has_no_counters() {
        let nowhere = Source { number: Some("1:1048575".to_owned()), ..Source::default() };
        assert!(Source::default().io().is_none() && nowhere.io().is_none());
        let here = Source::of(&std::env::temp_dir());
        assert_eq!(here.io().is_some(), here.device.is_some());
    }
}
