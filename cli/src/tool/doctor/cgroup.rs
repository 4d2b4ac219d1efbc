//! The limits of the cgroups of this process, version 1 and 2.

use super::Check;
use std::{fs, path::Path};

/// Memory that preparing a large runtime takes on two threads, bytes (measured).
const LEAST_MEMORY: u64 = 1 << 30;
/// Processes of a worker with a few slots: its threads, and a template, a spare and a job for each slot.
const LEAST_PROCESSES: u64 = 128;

/// From this value on there is no limit; version 1 has no other notation for that.
const UNLIMITED: u64 = 1 << 62;

/// The effective limits of this process: the lowest of its cgroup and those above it.
#[derive(Debug, PartialEq)]
struct Limits {
    version: &'static str,
    memory: Option<u64>,
    processes: Option<u64>,
    /// In cores.
    cpu: Option<f64>,
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

impl Limits {
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

/// Looks at this process's cgroups.
pub(super) fn check() -> Check {
    let lines = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    judge(Limits::read(&lines, Path::new("/sys/fs/cgroup")))
}

fn judge(limits: Option<Limits>) -> Check {
    let Some(Limits { version, memory, processes, cpu }) = limits else {
        return Check::green("cgroup", "no limits");
    };
    let or_none = |limit: Option<String>| limit.unwrap_or_else(|| "no limit".into());
    let found = format!(
        "{version}: memory {}, processes {}, cores {}",
        or_none(memory.map(pvf_shared::units::human_bytes)),
        or_none(processes.map(|n| n.to_string())),
        or_none(cpu.map(|cores| format!("{cores:.1}"))),
    );
    let too_little = [
        memory.filter(|limit| *limit < LEAST_MEMORY).map(|_| "memory of at least 1 GiB"),
        processes.filter(|limit| *limit < LEAST_PROCESSES).map(|_| "at least 128 processes"),
        cpu.filter(|limit| *limit < 1.0).map(|_| "at least one core"),
    ];
    let too_little: Vec<_> = too_little.into_iter().flatten().collect();
    match too_little.is_empty() {
        true => Check::green("cgroup", found),
        false => {
            Check::red("cgroup", found, format!("raise the limits of the container: {}", too_little.join(" and ")))
        }
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
        let limits = Limits::read("0::/a/b\n", dir.path()).unwrap();
        let expected = Limits { version: "version 2", memory: Some(512 << 20), processes: Some(4096), cpu: Some(1.5) };
        assert_eq!(limits, expected);
        let check = judge(Some(limits));
        assert!(check.fix.unwrap().contains("at least 1 GiB") && check.found.contains("cores 1.5"));
        // In a container the path of the host does not exist.
        assert_eq!(Limits::read("0::/docker/x\n", dir.path()).unwrap().memory, None);
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
        let limits = Limits::read(lines, dir.path()).unwrap();
        assert_eq!(limits, Limits { version: "version 1", memory: None, processes: Some(64), cpu: None });
        assert!(judge(Some(limits)).fix.unwrap().contains("128 processes"));
        assert!(judge(Limits::read("", dir.path())).fix.is_none());
    }
}
