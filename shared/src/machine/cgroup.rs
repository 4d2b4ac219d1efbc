//! The limits of the cgroups of this process, version 1 and 2.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// From this value on there is no limit; version 1 has no other notation for that.
const UNLIMITED: u64 = 1 << 62;
const VERSION_1: &str = "version 1";

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

/// What the members of a cgroup use, and how much they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    /// What they use.
    pub(super) used: u64,
    /// How much they may use.
    pub(super) limit: u64,
}

impl Budget {
    /// The one of which the largest part is used.
    pub(super) fn tightest(budgets: impl IntoIterator<Item = Self>) -> Option<Self> {
        let part = |of: &Self| of.used as f64 / of.limit.max(1) as f64;
        budgets.into_iter().max_by(|one, other| part(one).total_cmp(&part(other)))
    }
}

/// What this process and the other members of its cgroups use of the limits of these, of each cgroup that has one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CgroupBudgets {
    /// Bytes, without file contents.
    pub(super) memory: Vec<Budget>,
    /// Processes and threads.
    pub(super) processes: Vec<Budget>,
}

/// Where the cgroups of one controller are: its mount, and the path of this process below it.
#[derive(Debug, Clone)]
struct Place {
    root: PathBuf,
    path: String,
}

impl Place {
    /// This process's cgroup and those above it.
    fn folders(&self) -> Vec<PathBuf> {
        let own = self.root.join(self.path.trim_start_matches('/'));
        // In a container the path may exist on the host only; then the root of the mount is the own cgroup.
        let start = if own.is_dir() { own } else { self.root.clone() };
        start.ancestors().take_while(|dir| dir.starts_with(&self.root)).map(Path::to_owned).collect()
    }

    /// The content of this file in each of them, where it exists.
    fn values(&self, file: &str) -> impl Iterator<Item = (PathBuf, String)> {
        let read = move |folder: PathBuf| {
            let text = fs::read_to_string(folder.join(file)).ok()?;
            Some((folder, text.trim().to_owned()))
        };
        self.folders().into_iter().filter_map(read)
    }

    /// The cgroups that have a limit in this file.
    fn limits(&self, file: &str) -> impl Iterator<Item = (PathBuf, u64)> {
        let limits = self.values(file).filter_map(|(folder, text)| Some((folder, text.parse().ok()?)));
        limits.filter(|(_, limit)| *limit < UNLIMITED)
    }

    fn least(&self, file: &str) -> Option<u64> {
        self.limits(file).map(|(_, limit)| limit).min()
    }
}

/// The cgroups of a process.
struct Places {
    version: &'static str,
    memory: Place,
    processes: Option<Place>,
    cpu: Option<Place>,
}

impl Places {
    /// From the lines of `/proc/self/cgroup` and the folder `/sys/fs/cgroup`; `None` where there are no cgroups.
    fn read(lines: &str, mounted: &Path) -> Option<Self> {
        let controller = |name: &str| {
            lines.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (controllers, path) = rest.split_once(':')?;
                let is_it = controllers.split(',').any(|controller| controller == name);
                is_it.then(|| Place { root: mounted.join(name), path: path.to_owned() })
            })
        };
        if let Some(memory) = controller("memory") {
            let (processes, cpu) = (controller("pids"), controller("cpu"));
            return Some(Self { version: VERSION_1, memory, processes, cpu });
        }
        let path = lines.lines().find_map(|line| line.strip_prefix("0::"))?;
        let is_mounted = mounted.join("cgroup.controllers").exists() || mounted.join("cgroup.procs").exists();
        let place = Place { root: mounted.to_owned(), path: path.to_owned() };
        let all = (Some(place.clone()), Some(place.clone()));
        is_mounted.then_some(Self { version: "version 2", memory: place, processes: all.0, cpu: all.1 })
    }

    fn of_this_process() -> Option<Self> {
        let lines = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::read(&lines, Path::new("/sys/fs/cgroup"))
    }

    fn limits(&self) -> CgroupLimits {
        let (version, cpu) = (self.version, self.cpu.as_ref());
        let is_v1 = version == VERSION_1;
        let cpu = if is_v1 {
            let read = |file| Some(cpu?.values(file).next()?.1);
            read("cpu.cfs_quota_us").zip(read("cpu.cfs_period_us")).and_then(|(q, p)| cores(&format!("{q} {p}")))
        } else {
            cpu.and_then(|cpu| cpu.values("cpu.max").filter_map(|(_, text)| cores(&text)).min_by(f64::total_cmp))
        };
        CgroupLimits {
            version,
            memory: self.memory.least(self.memory_limit()),
            processes: self.processes.as_ref().and_then(|of| of.least("pids.max")),
            cpu,
        }
    }

    fn memory_limit(&self) -> &'static str {
        if self.version == VERSION_1 { "memory.limit_in_bytes" } else { "memory.max" }
    }

    fn budgets(&self) -> CgroupBudgets {
        let number = |folder: &Path, file: &str| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok();
        let (current, prefix) = match self.version {
            VERSION_1 => ("memory.usage_in_bytes", "total_"),
            _ => ("memory.current", ""),
        };
        let memory = |(folder, limit): (PathBuf, u64)| {
            let counted = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
            // File contents, which the kernel drops before it kills a process.
            let droppable = counted.lines().filter_map(|line| {
                let (name, bytes) = line.split_once(' ')?;
                let is_file = matches!(name.strip_prefix(prefix)?, "inactive_file" | "active_file");
                bytes.trim().parse::<u64>().ok().filter(|_| is_file)
            });
            let used = number(&folder, current)?.saturating_sub(droppable.sum());
            Some(Budget { used, limit })
        };
        let processes =
            |(folder, limit): (PathBuf, u64)| Some(Budget { used: number(&folder, "pids.current")?, limit });
        let of_processes = self.processes.iter().flat_map(|of| of.limits("pids.max"));
        CgroupBudgets {
            memory: self.memory.limits(self.memory_limit()).filter_map(memory).collect(),
            processes: of_processes.filter_map(processes).collect(),
        }
    }
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
        Places::of_this_process().map(|places| places.limits())
    }
}

impl CgroupBudgets {
    /// Of the cgroups of this process.
    pub(super) fn of_this_process() -> Self {
        Places::of_this_process().map(|places| places.budgets()).unwrap_or_default()
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
        let limits = Places::read("0::/a/b\n", dir.path()).unwrap().limits();
        let expected =
            CgroupLimits { version: "version 2", memory: Some(512 << 20), processes: Some(4096), cpu: Some(1.5) };
        assert_eq!(limits, expected);
        // In a container the path of the host does not exist.
        assert_eq!(Places::read("0::/docker/x\n", dir.path()).unwrap().limits().memory, None);
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
        let limits = Places::read(lines, dir.path()).unwrap().limits();
        assert_eq!(limits, CgroupLimits { version: "version 1", memory: None, processes: Some(64), cpu: None });
        assert!(Places::read("", dir.path()).is_none());
    }

    #[test]
    fn every_cgroup_with_a_limit_has_a_budget_and_the_fullest_one_counts() {
        let dir = tempfile::tempdir().unwrap();
        write(
            dir.path(),
            &[
                ("cgroup.procs", ""),
                ("a/memory.max", "1000\n"),
                ("a/memory.current", "900\n"),
                ("a/memory.stat", "anon 300\ninactive_file 250\nactive_file 150\nfile 400\n"),
                ("a/b/memory.max", "800\n"),
                ("a/b/memory.current", "100\n"),
                ("a/b/pids.max", "max\n"),
                ("a/b/pids.current", "3\n"),
            ],
        );
        let CgroupBudgets { memory, processes } = Places::read("0::/a/b\n", dir.path()).unwrap().budgets();
        let (outer, inner) = (Budget { used: 500, limit: 1000 }, Budget { used: 100, limit: 800 });
        assert_eq!((memory.as_slice(), processes.as_slice()), (&[inner, outer][..], &[][..]));
        assert_eq!(Budget::tightest(memory), Some(outer), "its members use more of it");
        assert_eq!(Budget::tightest([]), None);
        let files = [
            ("memory/x/memory.limit_in_bytes", "1000\n"),
            ("memory/x/memory.usage_in_bytes", "900\n"),
            ("memory/x/memory.stat", "inactive_file 1\ntotal_inactive_file 200\ntotal_active_file 100\n"),
            ("pids/y/pids.max", "64\n"),
            ("pids/y/pids.current", "9\n"),
        ];
        write(dir.path(), &files);
        let budgets = Places::read("4:memory:/x\n3:pids:/y\n", dir.path()).unwrap().budgets();
        let (memory, processes) = (vec![Budget { used: 600, limit: 1000 }], vec![Budget { used: 9, limit: 64 }]);
        assert_eq!(budgets, CgroupBudgets { memory, processes });
    }
}
