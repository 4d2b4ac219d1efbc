//! Start and end of a job process.

use super::failure::Failure;
use crate::exit_status::EXIT_SETUP;
use serde::de::DeserializeOwned;
use std::{
    ffi::CStr,
    fs::File,
    io::{Error, Read as _, Result, Write as _},
    os::fd::{FromRawFd as _, IntoRawFd as _, OwnedFd},
};

/// Reads the request from stdin and returns it with the original stdout. Descriptor 1 becomes stderr, so that nothing
/// that prints can write into the reply. The worker has arranged for this process to die with it.
pub(super) fn begin<T: DeserializeOwned>(name: &CStr) -> std::result::Result<(T, OwnedFd), Failure> {
    set_name(name);
    // SAFETY: closes only descriptors that this process does not know of; it has opened none yet.
    unsafe { libc::close_range(3, u32::MAX, 0) };
    die_first();
    set_limit(libc::RLIMIT_CORE, 0).map_err(Failure::system("core limit"))?;
    let mut bytes = Vec::new();
    // SAFETY: nothing else reads stdin.
    let mut stdin = unsafe { File::from_raw_fd(0) };
    stdin.read_to_end(&mut bytes).map_err(Failure::system("request"))?;
    // Descriptor 0 stays open, so that no other file gets its number.
    let _ = stdin.into_raw_fd();
    let request = rmp_serde::from_slice(&bytes).map_err(|source| Failure::Decode { what: "request", source })?;
    // SAFETY: plain system calls on descriptors that are open.
    let stdout = unsafe {
        let fd = libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 3);
        if fd < 0 || libc::dup2(2, 1) < 0 {
            return Err(Failure::last_os_error("stdout"));
        }
        OwnedFd::from_raw_fd(fd)
    };
    Ok((request, stdout))
}

/// Has the kernel kill this process and its forks before any other if the machine runs out of memory: a job can be
/// tried elsewhere, a coordinator or a bystander cannot. Where the file cannot be written the kernel chooses by size.
fn die_first() {
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

/// Exits without running destructors: they have no effect outside this process, and unmapping an artifact takes time.
pub(super) fn exit(result: std::result::Result<(), Failure>) -> ! {
    let code = match result {
        Ok(()) => 0,
        Err(why) => {
            // stderr may be full; the exit code is enough.
            let _ = writeln!(std::io::stderr(), "job: {why}");
            EXIT_SETUP
        }
    };
    // SAFETY: _exit may be called at any time.
    unsafe { libc::_exit(code) }
}

/// Sets the name that `ps` shows for this process.
pub(super) fn set_name(name: &CStr) {
    // SAFETY: the pointer is to a NUL-terminated string.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Sets the soft and the hard value of a resource limit.
pub(super) fn set_limit(what: libc::__rlimit_resource_t, value: u64) -> Result<()> {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the pointer is to a live value.
    if unsafe { libc::setrlimit(what, &raw const limit) } == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}
