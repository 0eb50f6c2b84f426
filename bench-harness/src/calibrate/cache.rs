//! A calibration is good for the rest of the day on the same boot and file system: kept in the user's cache folder.
//! Without one, or where it cannot be written, each run calibrates. One that met neighbours on the device is not kept:
//! they may be gone when the next run begins.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Calibration;
use super::source::Source;
use super::trust::Worth;

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;
/// Raised when the probes or their meaning change.
const SCHEMA: u32 = 2;

/// A calibration and what it holds for.
#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    schema: u32,
    day: u64,
    boot: Option<String>,
    calibration: Calibration,
}

/// `$XDG_CACHE_HOME/kvlab`, or `~/.cache/kvlab`.
fn folder() -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    Some(var("XDG_CACHE_HOME").or_else(|| Some(var("HOME")?.join(".cache")))?.join("kvlab"))
}

fn file(folder: &Path, source: &Source) -> Option<PathBuf> {
    // Numbers of file systems without a device are given again, so the place counts too.
    let place = source.place.as_deref()?;
    Some(folder.join(format!("calibration-{:016x}.json", stable_hash(place.as_bytes()))))
}

/// FNV-1a: the same in every build, which the hashes of the standard library are not.
fn stable_hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / SECONDS_PER_DAY)
}

fn boot() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

/// Today's calibration of `source`, if there is one.
pub fn read(source: &Source) -> Option<Calibration> {
    read_in(&folder()?, source)
}

/// Keeps a calibration for the day. A folder that cannot be written means that the next run calibrates again.
pub fn write(calibration: &Calibration) {
    if matches!(calibration.trust.device, Worth::Noisy { .. }) {
        return;
    }
    let _ = folder().and_then(|folder| write_in(&folder, calibration));
}

fn read_in(folder: &Path, source: &Source) -> Option<Calibration> {
    let kept: Kept = serde_json::from_slice(&fs::read(file(folder, source)?).ok()?).ok()?;
    let holds = kept.schema == SCHEMA
        && kept.day == today()
        && kept.boot == boot()
        && kept.calibration.source == *source;
    holds.then_some(kept.calibration)
}

fn write_in(folder: &Path, calibration: &Calibration) -> Option<()> {
    let path = file(folder, &calibration.source)?;
    let kept = Kept { schema: SCHEMA, day: today(), boot: boot(), calibration: calibration.clone() };
    fs::create_dir_all(folder).ok()?;
    let text = serde_json::to_vec_pretty(&kept).ok()?;
    // By rename, so that a reader never sees half of it.
    let new = path.with_extension(format!("json.{}", std::process::id()));
    fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).ok()
}

#[cfg(test)]
mod tests {
    use super::super::probes::Probes;
    use super::super::trust::Trust;
    use super::*;
    use crate::sys::device::Device;

    #[test]
    fn a_calibration_holds_for_its_device_and_a_damaged_one_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let place = Some("259:2 ext4 /data".to_owned());
        let source = Source { number: Some("259:2".to_owned()), place, device: Some(Device::default()) };
        let probes = Probes::default();
        let trust = Trust::of(&probes);
        let found = Calibration { source: source.clone(), probes, trust, cached: false };
        assert!(read_in(folder.path(), &source).is_none());
        write_in(folder.path(), &found).unwrap();
        assert_eq!(read_in(folder.path(), &source), Some(found));
        let another = Device { model: Some("another".to_owned()), ..Device::default() };
        let other = Source { device: Some(another), ..source.clone() };
        assert!(read_in(folder.path(), &other).is_none());
        fs::write(file(folder.path(), &source).unwrap(), "{").unwrap();
        assert!(read_in(folder.path(), &source).is_none());
        assert!(read_in(folder.path(), &Source::default()).is_none());
    }
}
