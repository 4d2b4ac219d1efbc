//! One memory cgroup, by its files.

use std::{
    fs::{self, DirBuilder},
    io::{self, Error},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

/// Of the cgroup hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// What the kernel has counted in a cgroup since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    /// Processes of this cgroup that were killed for lack of memory, in whichever cgroup above that was.
    pub(super) kills: u64,
    /// How often this cgroup's own limit was reached.
    pub(super) at_limit: u64,
}

/// A cgroup of one job. Removed when dropped, unless a process is in it.
#[derive(Debug)]
pub(super) struct Cgroup {
    version: Version,
    folder: PathBuf,
    /// Bytes; 0 for none.
    limit: u64,
}

impl Version {
    /// Makes the controller of memory available to the cgroups below this one.
    pub(super) fn enable_memory(self, folder: &Path) -> io::Result<()> {
        match self {
            Self::V1 => Ok(()),
            Self::V2 => fs::write(folder.join("cgroup.subtree_control"), "+memory"),
        }
    }

    pub(super) fn limit_file(self) -> &'static str {
        match self {
            Self::V1 => "memory.limit_in_bytes",
            Self::V2 => "memory.max",
        }
    }

    fn usage_file(self) -> &'static str {
        match self {
            Self::V1 => "memory.usage_in_bytes",
            Self::V2 => "memory.current",
        }
    }

    /// Where kills are counted, and where it is counted that the limit was reached: file and name, or the whole file.
    fn counters(self) -> [(&'static str, Option<&'static str>); 2] {
        match self {
            Self::V1 => [("memory.oom_control", Some("oom_kill")), ("memory.failcnt", None)],
            Self::V2 => [("memory.events.local", Some("oom_kill")), ("memory.events.local", Some("oom"))],
        }
    }
}

/// The number of this name among lines of "NAME NUMBER", or the number that is all there is.
fn number(text: &str, name: Option<&str>) -> Option<u64> {
    match name {
        None => text.trim().parse().ok(),
        Some(name) => text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok()),
    }
}

impl Cgroup {
    /// A new one.
    pub(super) fn make(version: Version, folder: PathBuf) -> io::Result<Self> {
        DirBuilder::new().mode(0o755).create(&folder)?;
        Ok(Self { version, folder, limit: 0 })
    }

    fn read(&self, file: &str, name: Option<&str>) -> io::Result<u64> {
        let text = fs::read_to_string(self.folder.join(file))?;
        number(&text, name).ok_or_else(|| Error::other(format!("{file} has no {}", name.unwrap_or("number"))))
    }

    /// Sets the limit of memory, bytes.
    pub(super) fn set_limit(&mut self, limit: u64) -> io::Result<()> {
        if limit != self.limit {
            fs::write(self.folder.join(self.version.limit_file()), limit.to_string())?;
            self.limit = limit;
        }
        Ok(())
    }

    /// What was counted so far.
    pub(super) fn counts(&self) -> io::Result<Counts> {
        let [kills, at_limit] = self.version.counters();
        Ok(Counts { kills: self.read(kills.0, kills.1)?, at_limit: self.read(at_limit.0, at_limit.1)? })
    }

    /// Memory that is charged to it, bytes.
    pub(super) fn usage(&self) -> io::Result<u64> {
        self.read(self.version.usage_file(), None)
    }

    /// Moves a process into it.
    pub(super) fn add(&self, pid: i32) -> io::Result<()> {
        fs::write(self.folder.join("cgroup.procs"), pid.to_string())
    }

    /// Whether no process is in it.
    pub(super) fn is_empty(&self) -> bool {
        fs::read_to_string(self.folder.join("cgroup.procs")).is_ok_and(|pids| pids.is_empty())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Fails while a process is in it; then it goes with the folder that it is in.
        let _ = fs::remove_dir(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_whole_name() {
        let events = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n";
        assert_eq!(number(events, Some("oom")), Some(3));
        assert_eq!(number(events, Some("oom_kill")), Some(2));
        let control = "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n";
        assert_eq!(number(control, Some("oom_kill")), Some(7));
        assert_eq!(number("41\n", None), Some(41));
        assert_eq!(number("oom 3", Some("oom_kill")), None);
    }
}
