//! Resource limits of this process, and whether files of a folder can be mapped executable and have room.

use rustix::{
    mm::{MapFlags, ProtFlags, mmap, munmap},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use std::{io, path::Path};

/// A resource that the kernel limits for each process (`getrlimit`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitedResource {
    /// Open descriptors.
    OpenFiles,
    /// Processes and threads of the user.
    Processes,
    /// Stack of the first thread, bytes.
    Stack,
    /// Heap and private writable mappings, bytes.
    Data,
    /// Address space, bytes.
    AddressSpace,
    /// Size of a file that is written, bytes.
    FileSize,
    /// CPU time of the process, seconds.
    CpuTime,
}

/// A limit; `None` stands for unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The limit in force.
    pub soft: Option<u64>,
    /// What the process may raise it to.
    pub hard: Option<u64>,
}

fn kernel_name(resource: LimitedResource) -> Resource {
    match resource {
        LimitedResource::OpenFiles => Resource::Nofile,
        LimitedResource::Processes => Resource::Nproc,
        LimitedResource::Stack => Resource::Stack,
        LimitedResource::Data => Resource::Data,
        LimitedResource::AddressSpace => Resource::As,
        LimitedResource::FileSize => Resource::Fsize,
        LimitedResource::CpuTime => Resource::Cpu,
    }
}

/// The limit of this process.
pub fn limit(resource: LimitedResource) -> Limit {
    let Rlimit { current, maximum } = getrlimit(kernel_name(resource));
    Limit { soft: current, hard: maximum }
}

/// As [`limit`], without a limit that the kernel does not apply to this process: that of processes to the root of
/// the machine. (Root of a user namespace may be an ordinary user outside, to whom it applies.)
pub fn applied_limit(resource: LimitedResource) -> Limit {
    match resource {
        LimitedResource::Processes if is_root_of_the_machine() => Limit { soft: None, hard: None },
        other => limit(other),
    }
}

fn is_root_of_the_machine() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    rustix::process::geteuid().is_root() && maps_root_to_root(&map)
}

/// Whether user 0 of a user namespace with these lines (first inside, first outside, number) is user 0 outside.
fn maps_root_to_root(map: &str) -> bool {
    map.lines().any(|line| line.split_whitespace().take(2).eq(["0", "0"]))
}

/// Raises the soft limit of open descriptors to the hard one. Best effort: the budget of templates is taken from what
/// the limit is then.
pub fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // Without privileges a soft limit may be raised up to the hard one, so this does not fail.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

/// Bytes that this user may still write to the file system of this folder.
pub fn free_space(folder: &Path) -> io::Result<u64> {
    let status = rustix::fs::statvfs(folder)?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

/// Files that this user may still create in the file system of this folder; `None` where their number has no limit.
pub fn free_files(folder: &Path) -> io::Result<Option<u64>> {
    let status = rustix::fs::statvfs(folder)?;
    Ok((status.f_files > 0).then_some(status.f_favail))
}

/// Whether a file in this folder can be mapped executable, as an artifact is; a folder that is mounted `noexec` refuses
/// it.
pub fn maps_executable(folder: &Path) -> io::Result<()> {
    use std::io::Write as _;
    let mut file = tempfile::tempfile_in(folder)?;
    let page = rustix::param::page_size();
    file.write_all(&vec![0; page])?;
    // SAFETY: a new mapping, which nothing uses before it is unmapped.
    unsafe {
        let at = mmap(std::ptr::null_mut(), page, ProtFlags::READ | ProtFlags::EXEC, MapFlags::PRIVATE, &file, 0)?;
        munmap(at, page)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_are_raised_to_the_hard_limit() {
        raise_open_files();
        let Limit { soft, hard } = limit(LimitedResource::OpenFiles);
        assert_eq!(soft, hard);
    }

    #[test]
    fn root_of_a_user_namespace_is_not_root_of_the_machine() {
        assert!(maps_root_to_root("         0          0 4294967295\n"));
        assert!(!maps_root_to_root("         0       1000          1\n"));
        assert!(!maps_root_to_root(""));
    }

    #[test]
    fn a_usual_folder_can_hold_artifacts() {
        let folder = tempfile::tempdir().unwrap();
        maps_executable(folder.path()).unwrap();
        assert!(free_space(folder.path()).unwrap() > 0);
        assert!(free_space(&folder.path().join("missing")).is_err());
        assert!(maps_executable(&folder.path().join("missing")).is_err());
    }
}
