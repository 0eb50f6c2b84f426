//! A memory-limited control group, of either version, for the process of one run: it bounds engine and page cache
//! together, so that engines that read through the page cache get no more memory than those that do not.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::limits;
use super::mount::Mount;
use crate::error::{Failure, Result};

/// Groups are called this, and the number of the process that made them.
const NAME: &str = "kvlab-";
/// How often removing a group is tried, and how long after: the kernel lets go of a process a moment after its end.
const REMOVE_TRIES: u32 = 50;
const REMOVE_PAUSE: Duration = Duration::from_millis(20);

/// What is kept of the group of a run.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct CgroupRecord {
    /// 1 or 2.
    pub version: u32,
    /// What it may use in bytes, page cache included.
    pub limit_bytes: u64,
    /// The most that it used in bytes, page cache included; `None` where the kernel does not tell.
    pub peak_bytes: Option<u64>,
}

/// Where groups can be made.
#[derive(Debug, Clone)]
pub struct Place {
    parent: PathBuf,
    version: u32,
}

/// A group. Removed when dropped.
#[derive(Debug)]
pub struct Group {
    dir: PathBuf,
    version: u32,
    limit_bytes: u64,
}

impl Place {
    /// Finds a place where this process may make a group with a memory limit, by making one and removing it.
    ///
    /// # Errors
    /// There is none: no such controller, or no permission.
    pub fn find(limit_bytes: u64) -> Result<Place> {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let places = places(&groups, &Mount::all());
        let mut why = "the kernel shows no memory controller".to_owned();
        for place in places {
            place.remove_stale();
            match place.group(limit_bytes) {
                Ok(_) => return Ok(place),
                Err(failure) => why = failure.message,
            }
        }
        Err(Failure::failed(format!(
            "--cgroup: {why}; run as root or in a scope of your own (`systemd-run --user --scope -p Delegate=yes kvlab \
             ...`), or leave --cgroup out"
        )))
    }

    /// Makes a group for a run.
    ///
    /// # Errors
    /// The system refuses.
    pub fn group(&self, limit_bytes: u64) -> Result<Group> {
        let dir = self.parent.join(format!("{NAME}{}", std::process::id()));
        if self.version == 2 {
            // A parent that does not hand the controller down may be told to; where it may not, the limit fails below.
            let _ = fs::write(self.parent.join("cgroup.subtree_control"), "+memory");
        }
        fs::create_dir(&dir).map_err(|error| Failure::io("make the control group", &dir, &error))?;
        let group = Group { dir, version: self.version, limit_bytes };
        group.write(if self.version == 2 { "memory.max" } else { "memory.limit_in_bytes" }, limit_bytes)?;
        if self.version == 2 {
            // What is swapped out would be memory beyond the limit. Kernels without swap have no such file.
            let _ = fs::write(group.dir.join("memory.swap.max"), "0");
        }
        Ok(group)
    }

    /// Removes groups of processes that are gone and could not clean up.
    fn remove_stale(&self) {
        for entry in fs::read_dir(&self.parent).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let pid = name.strip_prefix(NAME).and_then(|pid| pid.parse::<u32>().ok());
            if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                // A group with a process in it stays, whatever its name.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

/// Groups below which a new one may be made, the likeliest first: the own group, then the one around it, for a group of
/// version 2 that has processes can hand no controller down.
fn places(groups: &str, mounts: &[Mount]) -> Vec<Place> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        if controllers.split(',').any(|name| name == "memory") {
            let dir = limits::controller(mounts, "memory").map(|mount| limits::group_dir(mount, path));
            // Version 1 comes first: where both are mounted, it has the controller.
            found.splice(0..0, dir.map(|parent| Place { parent, version: 1 }));
        } else if controllers.is_empty()
            && let Some(mount) = mounts.iter().find(|mount| mount.file_system == "cgroup2")
        {
            let own = limits::group_dir(mount, path);
            let around =
                own.parent().filter(|parent| parent.starts_with(&mount.point)).map(Path::to_path_buf);
            found
                .extend([Some(own), around].into_iter().flatten().map(|parent| Place { parent, version: 2 }));
        }
    }
    found
}

impl Group {
    fn write(&self, file: &str, value: u64) -> Result<()> {
        let path = self.dir.join(file);
        fs::write(&path, value.to_string()).map_err(|error| Failure::io("set", &path, &error))
    }

    /// Puts a process into the group; what it then starts is in it too.
    ///
    /// # Errors
    /// The system refuses.
    pub fn add(&self, pid: u32) -> Result<()> {
        self.write("cgroup.procs", u64::from(pid))
    }

    /// What to keep of it, when its process has ended.
    pub fn record(&self) -> CgroupRecord {
        let peak = if self.version == 2 { "memory.peak" } else { "memory.max_usage_in_bytes" };
        let text = fs::read_to_string(self.dir.join(peak)).ok();
        CgroupRecord {
            version: self.version,
            limit_bytes: self.limit_bytes,
            peak_bytes: text.and_then(|text| text.trim().parse().ok()),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..REMOVE_TRIES {
            match fs::remove_dir(&self.dir) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => thread::sleep(REMOVE_PAUSE),
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(point: &str, file_system: &str, options: &str) -> Mount {
        Mount {
            point: point.into(),
            root: "/".into(),
            file_system: file_system.to_owned(),
            source: "cgroup".to_owned(),
            options: options.to_owned(),
            device: "0:1".to_owned(),
        }
    }

    #[test]
    fn places_are_found_in_either_version() {
        let mounts = [
            mount("/sys/fs/cgroup/unified", "cgroup2", "rw"),
            mount("/sys/fs/cgroup/memory", "cgroup", "rw,memory"),
        ];
        let found = places("4:memory:/a/b\n0::/user/app\n", &mounts);
        let shown: Vec<_> =
            found.iter().map(|place| (place.version, place.parent.to_string_lossy().into_owned())).collect();
        assert_eq!(
            shown,
            [
                (1, "/sys/fs/cgroup/memory/a/b".to_owned()),
                (2, "/sys/fs/cgroup/unified/user/app".to_owned()),
                (2, "/sys/fs/cgroup/unified/user".to_owned()),
            ]
        );
        assert!(places("4:memory:/a\n", &mounts[..1]).is_empty());
    }

    #[test]
    fn a_process_in_a_group_is_limited_and_the_group_goes_away() {
        let place = match Place::find(64 << 20) {
            Ok(place) => place,
            Err(failure) => {
                eprintln!("SKIPPED: no control group can be made here: {failure}");
                return;
            }
        };
        let group = place.group(64 << 20).unwrap();
        let mut child = std::process::Command::new("sh")
            .args(["-c", "read go; head -c 200000000 /dev/zero > \"$0\"; sync \"$0\"; rm \"$0\""])
            .arg(tempfile::NamedTempFile::new().unwrap().path())
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        group.add(child.id()).unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
        let record = group.record();
        assert_eq!(record.limit_bytes, 64 << 20);
        // 200 MB went through the page cache of the group, which held 64 MiB at most.
        assert!(record.peak_bytes.is_none_or(|peak| (1 << 20..=64 << 20).contains(&peak)), "{record:?}");
        let dir = group.dir.clone();
        drop(group);
        assert!(!dir.exists());
    }
}
