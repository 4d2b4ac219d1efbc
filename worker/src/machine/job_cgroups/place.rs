//! Where a process may make memory cgroups for its jobs.
//!
//! Version 1: below its own cgroup, where it may write. Version 2: only in a cgroup that was delegated to it, because
//! whoever manages the others would not expect it; and only where memory is, or can be, enabled for the cgroups below,
//! which the kernel allows for a cgroup without processes only ("no internal processes").

use super::cgroup::Version;
use rustix::fs::{Access, access, getxattr};
use std::{
    fmt, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// The cgroup below a delegated one that worker processes go to.
pub(super) const LEAF: &str = "worker";

/// Who makes cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A worker of a fleet, which may move its own process to another cgroup.
    Worker,
    /// A program that has workers in it, which is not moved.
    Embedded,
}

/// Where cgroups can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) version: Version,
    pub(super) folder: PathBuf,
    /// The process has to leave the folder before memory can be enabled for the cgroups below.
    pub(super) must_leave: bool,
}

/// How the memory of jobs is dealt with here, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoryIsolation {
    /// Each job has a cgroup of its own.
    OwnCgroups {
        /// Of the cgroup hierarchy: 1 or 2.
        version: u32,
    },
    /// Jobs are killed before other processes.
    KilledFirst {
        /// Why they have no cgroups.
        why: String,
    },
}

impl MemoryIsolation {
    /// On this machine, for a process in the cgroup of this one. Changes nothing.
    pub fn of_this_process(caller: Caller) -> Self {
        match of_this_process(caller) {
            Ok(Place { version: Version::V1, .. }) => Self::OwnCgroups { version: 1 },
            Ok(Place { version: Version::V2, .. }) => Self::OwnCgroups { version: 2 },
            Err(why) => Self::KilledFirst { why },
        }
    }
}

impl fmt::Display for MemoryIsolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnCgroups { version } => write!(f, "a memory cgroup of its own for each job (version {version})"),
            Self::KilledFirst { why } => write!(f, "oom_score_adj 1000, no memory cgroup of its own for a job: {why}"),
        }
    }
}

pub(super) fn of_this_process(caller: Caller) -> Result<Place, String> {
    let lines = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let pid = std::process::id();
    Machine { lines: &lines, mounted: Path::new("/sys/fs/cgroup"), pid, user: rustix::process::geteuid().as_raw() }
        .place(caller)
}

/// What decides about the place.
struct Machine<'a> {
    /// Of `/proc/self/cgroup`.
    lines: &'a str,
    /// Where the hierarchies are mounted.
    mounted: &'a Path,
    pid: u32,
    user: u32,
}

impl Machine<'_> {
    fn place(&self, caller: Caller) -> Result<Place, String> {
        let v1 = self.lines.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|controller| controller == "memory").then_some(path)
        });
        match (v1, self.lines.lines().find_map(|line| line.strip_prefix("0::"))) {
            (Some(path), _) => {
                let folder = self.own(&self.mounted.join("memory"), path)?;
                writable(&folder)?;
                Ok(Place { version: Version::V1, folder, must_leave: false })
            }
            (None, Some(path)) => self.place_v2(path, caller),
            (None, None) => Err("there are no cgroups".into()),
        }
    }

    /// The folder of the process's own cgroup.
    fn own(&self, root: &Path, path: &str) -> Result<PathBuf, String> {
        let named = root.join(path.trim_start_matches('/'));
        // In a container the path may exist on the host only; then the root of the mount is the own cgroup.
        let folder = if named.is_dir() { named } else { root.to_owned() };
        let processes = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        match processes.lines().any(|line| line.parse() == Ok(self.pid)) {
            true => Ok(folder),
            false => Err(format!("{} is not the cgroup of this process", folder.display())),
        }
    }

    fn place_v2(&self, path: &str, caller: Caller) -> Result<Place, String> {
        let own = self.own(self.mounted, path)?;
        let place = |folder: &Path, must_leave| Place { version: Version::V2, folder: folder.to_owned(), must_leave };
        // This process, or one before it, has left the delegated cgroup. The one above any other is someone else's.
        let above = own.parent().filter(|_| own != self.mounted && own.ends_with(LEAF));
        if let Some(above) = above.filter(|above| lists(above, "cgroup.subtree_control"))
            && self.delegated(above, above == self.mounted).is_ok()
        {
            return Ok(place(above, false));
        }
        self.delegated(&own, path == "/")?;
        match caller {
            // Only the root of all has processes and memory enabled below.
            Caller::Worker | Caller::Embedded if lists(&own, "cgroup.subtree_control") => Ok(place(&own, false)),
            Caller::Worker if lists(&own, "cgroup.controllers") => Ok(place(&own, true)),
            Caller::Worker => Err(format!("no memory controller in {}", own.display())),
            Caller::Embedded => Err(format!("memory is not enabled below {}", own.display())),
        }
    }

    /// Whether this cgroup of version 2 was delegated to this process.
    fn delegated(&self, folder: &Path, is_root: bool) -> Result<(), String> {
        let owner = fs::metadata(folder).map_err(|error| format!("{}: {error}", folder.display()))?.uid();
        // Root owns all that was delegated to nobody.
        let owned = owner == self.user && self.user != 0;
        let marked = ["user.delegate", "trusted.delegate"].iter().any(|name| is_marked(folder, name));
        if !owned && !marked && !is_root {
            return Err(format!("{} is not delegated (systemd: Delegate=memory)", folder.display()));
        }
        writable(folder)
    }
}

/// Whether this attribute of systemd is set.
fn is_marked(folder: &Path, name: &str) -> bool {
    let mut value = [0_u8; 4];
    getxattr(folder, name, &mut value).is_ok_and(|length| value[..length] == *b"1")
}

/// Whether a list of controllers has memory in it.
fn lists(folder: &Path, file: &str) -> bool {
    let controllers = fs::read_to_string(folder.join(file)).unwrap_or_default();
    controllers.split_whitespace().any(|controller| controller == "memory")
}

/// Whether this process may make cgroups here, and move processes of the cgroup.
fn writable(folder: &Path) -> Result<(), String> {
    for path in [folder, &folder.join("cgroup.procs")] {
        access(path, Access::WRITE_OK).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Caller::{Embedded, Worker};

    const PID: u32 = 77;

    /// A file system with these cgroups: path, controllers, those enabled below.
    fn cgroups(of: &[(&str, &str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, controllers, enabled) in of {
            let folder = dir.path().join(path);
            fs::create_dir_all(&folder).unwrap();
            for (file, text) in [
                ("cgroup.controllers", *controllers),
                ("cgroup.subtree_control", *enabled),
                ("cgroup.procs", "1\n77\n"),
            ] {
                fs::write(folder.join(file), text).unwrap();
            }
        }
        dir
    }

    fn place(dir: &tempfile::TempDir, lines: &str, caller: Caller) -> Result<(String, bool), String> {
        // The owner of the folder, as a user other than root would be.
        let user = 4242;
        let folder = dir.path().join("a");
        if folder.exists() {
            std::os::unix::fs::chown(folder, Some(user), None).expect("this test needs root");
        }
        let found = Machine { lines, mounted: dir.path(), pid: PID, user }.place(caller)?;
        let folder = found.folder.strip_prefix(dir.path()).unwrap().display().to_string();
        Ok((folder, found.must_leave))
    }

    fn at(folder: &str, must_leave: bool) -> Result<(String, bool), String> {
        Ok((folder.into(), must_leave))
    }

    #[test]
    fn version_1_takes_the_own_cgroup() {
        let dir = cgroups(&[("memory/x/y", "", "")]);
        let found = Machine { lines: "4:memory:/x/y\n0::/\n", mounted: dir.path(), pid: PID, user: 0 }.place(Embedded);
        let folder = dir.path().join("memory/x/y");
        assert_eq!(found, Ok(Place { version: Version::V1, folder, must_leave: false }));
        let other = Machine { lines: "4:memory:/x/y\n", mounted: dir.path(), pid: 78, user: 0 }.place(Embedded);
        assert!(other.unwrap_err().contains("not the cgroup of this process"));
    }

    #[test]
    fn version_2_takes_what_is_delegated_and_has_memory() {
        let delegated = cgroups(&[("a", "memory pids", ""), ("b", "memory pids", "")]);
        assert_eq!(place(&delegated, "0::/a\n", Worker), at("a", true));
        assert!(place(&delegated, "0::/a\n", Embedded).unwrap_err().contains("not enabled"));
        assert!(place(&delegated, "0::/b\n", Worker).unwrap_err().contains("not delegated"));
        let without = cgroups(&[("a", "pids", "")]);
        assert!(place(&without, "0::/a\n", Worker).unwrap_err().contains("no memory controller"));
        assert!(place(&without, "", Worker).unwrap_err().contains("no cgroups"));
    }

    #[test]
    fn version_2_takes_the_cgroup_above_after_the_worker_has_left_it() {
        let left = cgroups(&[("a", "memory", "memory"), ("a/worker", "memory", "")]);
        for caller in [Worker, Embedded] {
            assert_eq!(place(&left, "0::/a/worker\n", caller), at("a", false));
        }
        let other = cgroups(&[("a", "memory", "memory"), ("a/b", "memory", "")]);
        assert!(place(&other, "0::/a/b\n", Embedded).unwrap_err().contains("not delegated"));
        let foreign = cgroups(&[("b", "memory", "memory"), ("b/worker", "memory", "")]);
        assert!(place(&foreign, "0::/b/worker\n", Worker).unwrap_err().contains("not delegated"));
    }

    #[test]
    fn version_2_takes_the_root_of_a_container() {
        let root = cgroups(&[("", "memory", ""), ("a", "", "")]);
        assert_eq!(place(&root, "0::/\n", Worker), at("", true));
        // A path of the host.
        assert!(place(&root, "0::/docker/x\n", Worker).unwrap_err().contains("not delegated"));
    }
}
