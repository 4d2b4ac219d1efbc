//! Limits by the kernel. CPU time is set for each job (`job`), and judged by the supervisor.

use crate::job::protocol::MAX_WORDS;
use pvf_shared::params::ExecutorParams;
use std::io::Error;

/// Address space that an execution may have beyond what its template has, for each byte of the guest's memory: host
/// functions decode what the guest gives them, at worst 24 times its size, and hold a few copies of it.
const FACTOR: u64 = 32;
/// And beyond that, bytes: parameters of 40 MiB in several forms, and memory that moves when it grows.
const SLACK: u64 = 4 << 30;
/// What a preparation may allocate if nothing is said: the most that can be said.
const PREPARATION: u64 = 16 << 30;
/// Address space that each thread takes, bytes: its stack, and what malloc reserves for it.
const THREAD: u64 = 256 << 20;
/// Descriptors that a template needs: three and its control socket, the artifact, the image of its memory, three for
/// each fork while it makes it.
const DESCRIPTORS: u64 = 32;

/// Limits of one process and those that come of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    address_space: u64,
    descriptors: u64,
}

impl Limits {
    /// Of a preparation on so many threads.
    pub(crate) fn preparation(params: &ExecutorParams, threads: u32) -> Self {
        let heap = params.prechecking_max_memory().unwrap_or(PREPARATION);
        let beyond = heap.saturating_add(SLACK).saturating_add(u64::from(threads).saturating_mul(THREAD));
        Self { address_space: address_space().saturating_add(beyond), descriptors: 0 }
    }

    /// Of a template that has everything ready, and its forks.
    pub(crate) fn template(params: &ExecutorParams) -> Self {
        let memory = u64::from(params.memory_page_limit()) * 64 * 1024;
        let beyond = SLACK.saturating_add(memory.saturating_mul(FACTOR));
        Self { address_space: address_space().saturating_add(beyond), descriptors: DESCRIPTORS }
    }

    /// For the probe: as a job has it, but that files and descriptors can still be had where others are tried.
    pub(super) fn probe() -> Self {
        Self { address_space: address_space().saturating_add(SLACK), descriptors: DESCRIPTORS }
    }

    pub(super) fn set(&self) -> Result<(), String> {
        // Going over the file size is an error of the call, and no signal besides.
        // SAFETY: this process has no handler for it.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        for (what, name, value) in [
            (libc::RLIMIT_AS, "address space", self.address_space),
            (libc::RLIMIT_NOFILE, "descriptors", self.descriptors),
            (libc::RLIMIT_FSIZE, "file size", MAX_WORDS as u64),
            (libc::RLIMIT_CORE, "core dump", 0),
            (libc::RLIMIT_MEMLOCK, "locked memory", 0),
            (libc::RLIMIT_MSGQUEUE, "message queues", 0),
            (libc::RLIMIT_NICE, "priority", 0),
            (libc::RLIMIT_RTPRIO, "real-time priority", 0),
            (libc::RLIMIT_SIGPENDING, "queued signals", 0),
        ] {
            set(what, name, value)?;
        }
        Ok(())
    }
}

/// No more processes: in a fork, which makes none.
pub(super) fn no_processes() -> Result<(), String> {
    set(libc::RLIMIT_NPROC, "processes", 0)
}

/// No more descriptors; those that are open stay.
pub(super) fn no_descriptors() -> Result<(), String> {
    set(libc::RLIMIT_NOFILE, "descriptors", 0)
}

fn set(what: libc::__rlimit_resource_t, name: &str, value: u64) -> Result<(), String> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to a live value.
    unsafe {
        if libc::getrlimit(what, &raw mut limit) == 0 {
            // Nobody may raise a hard limit; one that is lower already is the operator's word.
            let value = value.min(limit.rlim_max);
            limit = libc::rlimit { rlim_cur: value, rlim_max: value };
            if libc::setrlimit(what, &raw const limit) == 0 {
                return Ok(());
            }
        }
    }
    Err(format!("{name}: {}", Error::last_os_error()))
}

/// Address space of this process, bytes; none where it cannot be told, which makes the limit stricter.
fn address_space() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    pages.unwrap_or(0).saturating_mul(rustix::param::page_size() as u64)
}

/// Whether they hold: a memory file takes no byte beyond those that a job may write to stderr, and no descriptor can be had beyond the last.
pub(super) fn hold() -> Result<(), String> {
    // SAFETY: plain system calls on a descriptor of this process; the pointer is to a live byte.
    unsafe {
        let fd = libc::memfd_create(c"probe".as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 {
            return Err(super::failed("memfd_create"));
        }
        let written = libc::pwrite(fd, [0_u8].as_ptr().cast(), 1, MAX_WORDS as i64);
        if written >= 0 || Error::last_os_error().raw_os_error() != Some(libc::EFBIG) {
            return Err("a file can be written".into());
        }
        no_descriptors()?;
        if libc::dup(fd) >= 0 || Error::last_os_error().raw_os_error() != Some(libc::EMFILE) {
            return Err("a descriptor can be had".into());
        }
        libc::close(fd);
    }
    Ok(())
}
