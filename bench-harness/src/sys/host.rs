//! The machine a result was taken on. Facts are read before the first run and after the last, so that reading them
//! moves no counter of a run.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::device::Device;
use super::disk;
use super::limits::Limits;
use super::mount::Mount;

/// What a reader needs to know about the machine. `None`: it could not be seen, and `unseen` says why it matters.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Host {
    /// Name, release and build of the operating system's kernel.
    pub kernel: String,
    /// Architecture.
    pub arch: String,
    /// Model of the processor, "unknown" where the system does not say.
    pub cpu: String,
    /// Cores this process may use.
    pub cores: u64,
    /// Frequency governor; several if cores differ.
    pub governor: Option<String>,
    /// True in a virtual machine, as the processor says.
    pub is_virtual: Option<bool>,
    /// Memory of the machine in bytes.
    pub ram_bytes: Option<u64>,
    /// Of that, available when the run began.
    pub ram_available_bytes: Option<u64>,
    /// Limits on this process.
    pub limits: Limits,
    /// File system of the data directory.
    pub file_system: Option<String>,
    /// Its mount.
    pub mount: Option<Mount>,
    /// The device behind it.
    pub device: Option<Device>,
    /// Load average over 1, 5 and 15 minutes when the run began.
    pub load_before: Option<[f64; 3]>,
    /// The same when it ended.
    pub load_after: Option<[f64; 3]>,
    /// What could not be seen.
    pub unseen: Vec<String>,
}

impl Host {
    /// True if both are one machine with one kernel and one device, whatever else was going on.
    pub fn is_same_machine(&self, other: &Host) -> bool {
        let what = |host: &Host| {
            (
                host.kernel.clone(),
                host.arch.clone(),
                host.cpu.clone(),
                host.cores,
                host.ram_bytes,
                host.device.clone(),
            )
        };
        what(self) == what(other)
    }

    /// This machine now, with the file system of `dir`.
    pub fn of(dir: &Path) -> Host {
        let uname = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        let mounts = Mount::all();
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let mount = Mount::of(&mounts, dir);
        let device = mount.as_ref().map_or(Err("the mount is unknown".to_owned()), Device::of);
        let governor = governor(Path::new("/sys/devices/system/cpu"));
        let limits = Limits::of_this_process(&mounts);
        let mut unseen = Vec::new();
        if governor.is_none() {
            unseen.push("the frequency governor: the system shows none".to_owned());
        }
        if limits.groups.is_empty() {
            unseen.push("limits of control groups: no group could be read".to_owned());
        }
        match &device {
            Err(why) => unseen.push(format!("the device under the data: {why}")),
            Ok(device) if device.model.is_none() => unseen.push("the model of the device".to_owned()),
            Ok(_) => {}
        }
        unseen.push("what the device writes inside itself: that takes root".to_owned());
        Host {
            kernel: format!("{} {} {}", text(uname.sysname()), text(uname.release()), text(uname.version())),
            arch: text(uname.machine()),
            cpu: colon_field(&cpuinfo, "model name").unwrap_or("unknown").to_owned(),
            cores: cores(),
            governor,
            is_virtual: is_virtual(&cpuinfo),
            ram_bytes: kib_field(&meminfo, "MemTotal"),
            ram_available_bytes: kib_field(&meminfo, "MemAvailable"),
            limits,
            file_system: disk::file_system(dir),
            mount,
            device: device.ok(),
            load_before: load(),
            load_after: None,
            unseen,
        }
    }

    /// Takes note of the load at the end.
    pub fn ended(&mut self) {
        self.load_after = load();
    }

    /// Processor, memory, kernel, file system and device in a few words.
    pub fn summary(&self) -> String {
        let release: Vec<_> = self.kernel.split(' ').take(2).collect();
        let ram = self.ram_bytes.map_or("memory unknown".to_owned(), crate::units::bytes);
        let is_virtual = if self.is_virtual == Some(true) { " (virtual machine)" } else { "" };
        let device = self.device.as_ref().map_or("device unknown".to_owned(), Device::summary);
        format!(
            "{} core(s) of {}{is_virtual}, {ram}; {} {}; {} on {device}",
            self.cores,
            self.cpu,
            release.join(" "),
            self.arch,
            self.file_system.as_deref().unwrap_or("unknown file system")
        )
    }

    /// The load before and after, and how many of the cores it keeps busy.
    pub fn load_summary(&self) -> String {
        let words = |load: Option<[f64; 3]>| {
            load.map_or("unknown".to_owned(), |load| load.map(|share| format!("{share:.2}")).join(" "))
        };
        format!("load {} before, {} after", words(self.load_before), words(self.load_after))
    }

    /// True if others kept so much of the machine busy before the run that times are theirs as well.
    pub fn was_busy(&self) -> bool {
        self.load_before.is_some_and(|load| load[0] > self.cores as f64 / 2.0)
    }
}

/// Cores that this process may use.
pub fn cores() -> u64 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64)
}

/// Memory of the machine in bytes.
pub fn ram_bytes() -> Option<u64> {
    kib_field(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal")
}

/// The value behind `name` and a colon.
fn colon_field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':')).map(str::trim)
}

fn kib_field(text: &str, name: &str) -> Option<u64> {
    let kib: u64 = colon_field(text, name)?.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

/// x86 processors name the flag `hypervisor`; others do not tell.
fn is_virtual(cpuinfo: &str) -> Option<bool> {
    let flags = colon_field(cpuinfo, "flags")?;
    Some(flags.split_whitespace().any(|flag| flag == "hypervisor"))
}

fn governor(cpus: &Path) -> Option<String> {
    let governors: BTreeSet<_> = fs::read_dir(cpus)
        .ok()?
        .flatten()
        .filter_map(|cpu| fs::read_to_string(cpu.path().join("cpufreq/scaling_governor")).ok())
        .map(|text| text.trim().to_owned())
        .collect();
    (!governors.is_empty()).then(|| governors.into_iter().collect::<Vec<_>>().join(", "))
}

fn load() -> Option<[f64; 3]> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    let mut words = text.split_whitespace().map(|word| word.parse::<f64>().ok());
    Some([words.next()??, words.next()??, words.next()??])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_flags_are_found() {
        let text = "processor\t: 0\nmodel name\t: A CPU @ 2 GHz\nflags\t\t: fpu hypervisor sse\n";
        assert_eq!(colon_field(text, "model name"), Some("A CPU @ 2 GHz"));
        assert_eq!(is_virtual(text), Some(true));
        assert_eq!(is_virtual("Features: asimd"), None);
        assert_eq!(kib_field("MemTotal:  2048 kB\n", "MemTotal"), Some(2 << 20));
    }

    #[test]
    fn cores_that_differ_name_every_governor() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(governor(dir.path()), None);
        for (cpu, name) in [("cpu0", "powersave\n"), ("cpu1", "performance\n"), ("cpu2", "powersave\n")] {
            fs::create_dir_all(dir.path().join(cpu).join("cpufreq")).unwrap();
            fs::write(dir.path().join(cpu).join("cpufreq/scaling_governor"), name).unwrap();
        }
        assert_eq!(governor(dir.path()).as_deref(), Some("performance, powersave"));
    }

    #[test]
    fn what_cannot_be_seen_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = Host::of(dir.path());
        assert_eq!(host.governor.is_none(), host.unseen.iter().any(|line| line.contains("governor")));
        assert_eq!(host.device.is_none(), host.unseen.iter().any(|line| line.contains("device under")));
        host.load_before = Some([host.cores as f64, 0.0, 0.0]);
        assert!(host.was_busy() && host.load_summary().contains("unknown after"));
        host.load_before = None;
        assert!(!host.was_busy());
    }
}
