//! The machine a result was taken on.

use std::path::Path;

use super::disk;

/// What a reader needs to know about the machine.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Host {
    /// Name and release of the operating system's kernel.
    pub kernel: String,
    /// Architecture.
    pub arch: String,
    /// Model of the processor, "unknown" where the system does not say.
    pub cpu: String,
    /// Cores this process may use.
    pub cores: u64,
    /// Memory of the machine in bytes, if known.
    pub ram_bytes: Option<u64>,
    /// File system of the data directory, if known.
    pub file_system: Option<String>,
}

impl Host {
    /// This machine, with the file system of `dir`.
    pub fn of(dir: &Path) -> Host {
        let uname = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        Host {
            kernel: format!("{} {}", text(uname.sysname()), text(uname.release())),
            arch: text(uname.machine()),
            cpu: cpu_model().unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64),
            ram_bytes: ram_bytes(),
            file_system: disk::file_system(dir),
        }
    }
}

fn cpu_model() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn ram_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
}
