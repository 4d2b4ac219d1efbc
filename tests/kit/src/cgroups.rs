//! Cgroups of the tests: machines with little memory, without CPU time, or that stand still.
//!
//! Made below the cgroup of the test, in version 1 or 2, which takes root or a delegated cgroup. Where that is not
//! possible the test fails and says what it needs. Removed when dropped; the processes in them have ended by then.

use crate::{processes::lives, until_blocking};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// Where the hierarchies are mounted.
const MOUNTED: &str = "/sys/fs/cgroup";

/// A controller, or in version 2 a part of every cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// Limits memory.
    Memory,
    /// Limits CPU time.
    Cpu,
    /// Freezes processes.
    Freezer,
}

/// A cgroup of a test.
#[derive(Debug)]
pub struct Cgroup {
    controller: Controller,
    v2: bool,
    folder: PathBuf,
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Freezer => "freezer",
        }
    }

    /// The folder below which the test may make cgroups, and whether of version 2.
    fn base(self) -> Option<(PathBuf, bool)> {
        let lines = fs::read_to_string("/proc/self/cgroup").ok()?;
        let of = |controller: &str| {
            lines.lines().find_map(|line| {
                let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                controllers.split(',').any(|one| one == controller).then(|| path.trim_start_matches('/').to_owned())
            })
        };
        if let Some(path) = of(self.name()) {
            return Some((Path::new(MOUNTED).join(self.name()).join(path), false));
        }
        let own = Path::new(MOUNTED).join(of("")?);
        if self == Self::Freezer {
            return Some((own, true));
        }
        let enabled = |folder: &&Path| {
            let below = fs::read_to_string(folder.join("cgroup.subtree_control")).unwrap_or_default();
            below.split_whitespace().any(|one| one == self.name())
        };
        own.ancestors().take(2).find(enabled).map(|folder| (folder.to_owned(), true))
    }
}

impl Cgroup {
    /// A new one, of this name among those of the test's process.
    pub fn new(controller: Controller, name: &str) -> Self {
        let needs = format!(
            "this test needs to make a cgroup with the controller `{}`: as root (version 1), or where it is delegated \
             to this user and enabled below (version 2: `systemd-run --user --scope -p Delegate=yes`)",
            controller.name()
        );
        let (base, v2) = controller.base().unwrap_or_else(|| panic!("{needs}; there is none"));
        let folder = base.join(format!("pvf-test-{}-{name}", std::process::id()));
        fs::create_dir(&folder).unwrap_or_else(|error| panic!("{needs}; {}: {error}", folder.display()));
        Self { controller, v2, folder }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    #[track_caller]
    fn write(&self, file: &str, text: &str) {
        let path = self.folder.join(file);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Moves a process into it.
    #[track_caller]
    pub fn add(&self, pid: i32) {
        self.write("cgroup.procs", &pid.to_string());
    }

    /// Limits its memory, bytes.
    pub fn limit_memory(&self, bytes: u64) {
        assert_eq!(self.controller, Controller::Memory);
        let file = if self.v2 { "memory.max" } else { "memory.limit_in_bytes" };
        self.write(file, &bytes.to_string());
        if self.v2 && self.folder.join("memory.swap.max").exists() {
            self.write("memory.swap.max", "0");
        }
    }

    /// Limits its CPU time, milliseconds in each 100 ms.
    pub fn limit_cpu(&self, ms: u64) {
        assert_eq!(self.controller, Controller::Cpu);
        match self.v2 {
            true => self.write("cpu.max", &format!("{} 100000", ms * 1000)),
            false => {
                self.write("cpu.cfs_period_us", "100000");
                self.write("cpu.cfs_quota_us", &(ms * 1000).to_string());
            }
        }
    }

    /// Freezes its processes, and waits until they stand still.
    pub fn freeze(&self) {
        assert_eq!(self.controller, Controller::Freezer);
        let (file, value) = if self.v2 { ("cgroup.freeze", "1") } else { ("freezer.state", "FROZEN") };
        self.write(file, value);
        until_blocking("the cgroup is frozen", || self.is_frozen().then_some(()));
    }

    fn is_frozen(&self) -> bool {
        let (file, line) = if self.v2 { ("cgroup.events", "frozen 1") } else { ("freezer.state", "FROZEN") };
        fs::read_to_string(self.folder.join(file)).is_ok_and(|text| text.lines().any(|one| one == line))
    }

    /// Lets them go on.
    pub fn thaw(&self) {
        let (file, value) = if self.v2 { ("cgroup.freeze", "0") } else { ("freezer.state", "THAWED") };
        self.write(file, value);
    }

    /// An executable that runs this one in the cgroup.
    pub fn executable(&self, exe: &Path, folder: &Path) -> PathBuf {
        let script = folder.join("in-cgroup");
        let procs = self.folder.join("cgroup.procs");
        let text = format!("#!/bin/sh\necho $$ > '{}' && exec '{}' \"$@\"\n", procs.display(), exe.display());
        fs::write(&script, text).expect("the folder of the test can be written");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).expect("it is the test's own");
        script
    }

    fn processes(&self) -> Vec<i32> {
        let pids = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        pids.lines().filter_map(|pid| pid.parse().ok()).filter(|pid| lives(*pid)).collect()
    }
}

/// Processes that the kernel has killed for lack of memory in the cgroups two levels below this folder: those of jobs,
/// below that of their worker.
pub fn kills_of_jobs(folder: &Path) -> u64 {
    let below = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let jobs = below(folder.to_owned()).flat_map(below);
    let counts = jobs.flat_map(|job| ["memory.events.local", "memory.oom_control"].map(|file| job.join(file)));
    let texts = counts.filter_map(|file| fs::read_to_string(file).ok());
    texts.filter_map(|text| text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse::<u64>().ok())).sum()
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if self.controller == Controller::Freezer {
            self.thaw();
        }
        if std::thread::panicking() {
            let _ = fs::remove_dir(&self.folder);
            return;
        }
        until_blocking("the processes of the cgroup end, and it is removed", || {
            (self.processes().is_empty() && fs::remove_dir(&self.folder).is_ok()).then_some(())
        });
    }
}
