//! The limits of the cgroups of this process, version 1 and 2.

use std::{fs, path::Path};

/// From this value on there is no limit; version 1 has no other notation for that.
const UNLIMITED: u64 = 1 << 62;

/// The effective limits of this process: the lowest of its cgroup and those above it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CgroupLimits {
    /// Of the cgroup hierarchy.
    pub version: &'static str,
    /// Bytes.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// In cores.
    pub cpu: Option<f64>,
}

/// The content of this file in a cgroup and in each cgroup above it, where it exists.
fn values<'a>(root: &'a Path, path: &'a str, file: &'a str) -> impl Iterator<Item = String> + 'a {
    let own = root.join(path.trim_start_matches('/'));
    // In a container the path may exist on the host only; then the root of the mount is the own cgroup.
    let start = if own.is_dir() { own } else { root.to_owned() };
    let above: Vec<_> = start.ancestors().take_while(|dir| dir.starts_with(root)).map(|dir| dir.join(file)).collect();
    above.into_iter().filter_map(|file| fs::read_to_string(file).ok()).map(|text| text.trim().to_owned())
}

fn least(root: &Path, path: &str, file: &str) -> Option<u64> {
    values(root, path, file).filter_map(|text| text.parse().ok()).filter(|n| *n < UNLIMITED).min()
}

/// Cores from "QUOTA PERIOD".
fn cores(text: &str) -> Option<f64> {
    let (quota, period) = text.split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

impl CgroupLimits {
    /// Of this process; `None` where there are no cgroups.
    pub fn of_this_process() -> Option<Self> {
        let lines = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::read(&lines, Path::new("/sys/fs/cgroup"))
    }

    /// From the lines of `/proc/self/cgroup` and the folder `/sys/fs/cgroup`.
    fn read(lines: &str, mounted: &Path) -> Option<Self> {
        let controller = |name: &str| {
            lines.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (controllers, path) = rest.split_once(':')?;
                controllers.split(',').any(|controller| controller == name).then(|| path.to_owned())
            })
        };
        let unified = lines.lines().find_map(|line| line.strip_prefix("0::"));
        if let Some(path) = controller("memory") {
            let dir = |name: &str| mounted.join(name);
            let cpu = controller("cpu").and_then(|path| {
                let read = |file| values(&dir("cpu"), &path, file).next();
                cores(&format!("{} {}", read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?))
            });
            return Some(Self {
                version: "version 1",
                memory: least(&dir("memory"), &path, "memory.limit_in_bytes"),
                processes: controller("pids").and_then(|path| least(&dir("pids"), &path, "pids.max")),
                cpu,
            });
        }
        let path =
            unified.filter(|_| mounted.join("cgroup.controllers").exists() || mounted.join("cgroup.procs").exists())?;
        Some(Self {
            version: "version 2",
            memory: least(mounted, path, "memory.max"),
            processes: least(mounted, path, "pids.max"),
            cpu: values(mounted, path, "cpu.max").filter_map(|text| cores(&text)).min_by(f64::total_cmp),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let file = dir.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
    }

    #[test]
    fn version_2_applies_the_limits_of_the_cgroups_above() {
        let dir = tempfile::tempdir().unwrap();
        write(
            dir.path(),
            &[
                ("cgroup.procs", ""),
                ("memory.max", "max\n"),
                ("a/memory.max", "536870912\n"),
                ("a/b/memory.max", "max\n"),
                ("a/b/pids.max", "4096\n"),
                ("a/cpu.max", "150000 100000\n"),
                ("a/b/cpu.max", "max 100000\n"),
            ],
        );
        let limits = CgroupLimits::read("0::/a/b\n", dir.path()).unwrap();
        let expected =
            CgroupLimits { version: "version 2", memory: Some(512 << 20), processes: Some(4096), cpu: Some(1.5) };
        assert_eq!(limits, expected);
        // In a container the path of the host does not exist.
        assert_eq!(CgroupLimits::read("0::/docker/x\n", dir.path()).unwrap().memory, None);
    }

    #[test]
    fn version_1_reads_the_folder_of_each_controller() {
        let dir = tempfile::tempdir().unwrap();
        write(
            dir.path(),
            &[
                ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("pids/x/pids.max", "64\n"),
                ("cpu/cpu.cfs_quota_us", "-1\n"),
                ("cpu/cpu.cfs_period_us", "100000\n"),
            ],
        );
        let lines = "4:memory:/\n3:pids:/x\n2:cpu,cpuacct:/\n0::/\n";
        let limits = CgroupLimits::read(lines, dir.path()).unwrap();
        assert_eq!(limits, CgroupLimits { version: "version 1", memory: None, processes: Some(64), cpu: None });
        assert_eq!(CgroupLimits::read("", dir.path()), None);
    }
}
