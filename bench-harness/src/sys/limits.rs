//! What control groups, of either version, allow this process.

use std::fs;
use std::path::{Path, PathBuf};

use super::mount::Mount;

/// A limit of version 1 this large or larger stands for none.
const NO_LIMIT_BYTES: u64 = 1 << 62;

/// The tightest limits of the groups that this process is in. `None`: no limit was found.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// The kinds of groups that were looked at, with the path of the one that sets a limit: "v2", "v1 memory:/path". Empty:
    /// none could be seen.
    pub groups: Vec<String>,
    /// Memory in bytes, page cache included.
    pub memory_bytes: Option<u64>,
    /// Processor time, in cores.
    pub cpu_cores: Option<f64>,
}

/// Where version 1 of the controller `name` is mounted.
pub(super) fn controller<'m>(mounts: &'m [Mount], name: &str) -> Option<&'m Mount> {
    let has = |mount: &&Mount| mount.options.split([' ', ',']).any(|word| word == name);
    mounts.iter().filter(|mount| mount.file_system == "cgroup").find(has)
}

/// The directory of the group `path` below `mount`.
pub(super) fn group_dir(mount: &Mount, path: &str) -> PathBuf {
    let path = Path::new(path);
    let below = path.strip_prefix(&mount.root).or(path.strip_prefix("/")).unwrap_or(Path::new(""));
    mount.point.join(below)
}

impl Limits {
    /// Those of this process.
    pub fn of_this_process(mounts: &[Mount]) -> Limits {
        Limits::of(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default(), mounts)
    }

    /// `groups` is the text of `/proc/self/cgroup`: lines of `number:controllers:path`.
    fn of(groups: &str, mounts: &[Mount]) -> Limits {
        let mut limits = Limits::default();
        for line in groups.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            if controllers.is_empty() {
                let mount = mounts.iter().find(|mount| mount.file_system == "cgroup2");
                limits.look(mount, path, "v2", |dir, limits| {
                    limits.memory(number(dir, "memory.max"));
                    limits.cpu(quota(dir));
                });
            }
            let v1 = |name: &str| {
                let named = controllers.split(',').any(|word| word == name);
                controller(mounts, name).filter(|_| named)
            };
            limits.look(v1("memory"), path, "v1 memory", |dir, limits| {
                limits.memory(number(dir, "memory.limit_in_bytes"));
            });
            limits.look(v1("cpu"), path, "v1 cpu", |dir, limits| {
                // A quota of -1 is none, and no number here.
                let quota = number(dir, "cpu.cfs_quota_us").zip(number(dir, "cpu.cfs_period_us"));
                limits.cpu(quota.map(|(quota, period)| quota as f64 / period.max(1) as f64));
            });
        }
        limits
    }

    /// Looks at the group `path` and at all groups around it.
    fn look(&mut self, mount: Option<&Mount>, path: &str, what: &str, read: impl Fn(&Path, &mut Limits)) {
        let Some(mount) = mount else { return };
        let group = group_dir(mount, path);
        let before = (self.memory_bytes, self.cpu_cores);
        for dir in group.ancestors().take_while(|dir| dir.starts_with(&mount.point)) {
            read(dir, self);
        }
        // A group that sets no limit is nobody's business: results are shown to others.
        let limits = before != (self.memory_bytes, self.cpu_cores);
        self.groups.push(if limits { format!("{what}:{path}") } else { what.to_owned() });
    }

    fn memory(&mut self, bytes: Option<u64>) {
        let bytes = bytes.filter(|bytes| *bytes < NO_LIMIT_BYTES);
        self.memory_bytes = [self.memory_bytes, bytes].into_iter().flatten().min();
    }

    fn cpu(&mut self, cores: Option<f64>) {
        self.cpu_cores = [self.cpu_cores, cores].into_iter().flatten().reduce(f64::min);
    }
}

fn number(dir: &Path, name: &str) -> Option<u64> {
    fs::read_to_string(dir.join(name)).ok()?.trim().parse().ok()
}

/// `cpu.max` of version 2: `quota period`, or `max period`.
fn quota(dir: &Path) -> Option<f64> {
    let text = fs::read_to_string(dir.join("cpu.max")).ok()?;
    let mut words = text.split_whitespace();
    let (quota, period): (f64, f64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (period > 0.0).then_some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(point: &Path, file_system: &str, options: &str) -> Mount {
        Mount {
            point: point.to_path_buf(),
            root: "/".into(),
            file_system: file_system.to_owned(),
            source: file_system.to_owned(),
            options: options.to_owned(),
            device: "0:30".to_owned(),
        }
    }

    #[test]
    fn the_tightest_group_on_the_way_up_counts() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        fs::write(inner.join("cpu.max"), "150000 100000\n").unwrap();
        fs::write(dir.path().join("a/memory.max"), "1048576\n").unwrap();
        let limits = Limits::of("0::/a/b\n", &[mount(dir.path(), "cgroup2", "rw")]);
        assert_eq!((limits.memory_bytes, limits.cpu_cores), (Some(1 << 20), Some(1.5)));
        assert_eq!(limits.groups, ["v2:/a/b"]);
    }

    #[test]
    fn the_largest_number_of_version_1_is_no_limit() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("memory.limit_in_bytes"), "9223372036854771712\n").unwrap();
        fs::write(dir.path().join("cpu.cfs_quota_us"), "-1\n").unwrap();
        fs::write(dir.path().join("cpu.cfs_period_us"), "100000\n").unwrap();
        let mounts = [mount(dir.path(), "cgroup", "rw,relatime rw,cpu,cpuacct,memory")];
        let limits = Limits::of("4:cpu,cpuacct:/\n3:memory:/\n", &mounts);
        assert_eq!((limits.memory_bytes, limits.cpu_cores), (None, None));
        assert_eq!(limits.groups, ["v1 cpu", "v1 memory"], "paths of groups without a limit are left out");
        assert_eq!(Limits::of("", &mounts), Limits::default());
    }
}
