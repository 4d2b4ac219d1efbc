//! Resource limits (`setrlimit`). The CPU limit is not here: it differs from job to job, `job` sets it, and the
//! supervisor judges it.

use pvf_shared::params::ExecutorParams;
use std::io::Error;

/// Capacity of the stderr file of a fork, bytes; also `RLIMIT_FSIZE`. Writing beyond it fails with an error.
pub(crate) const MAX_STDERR: usize = 1024 * 1024;

/// Address space that an execution may have in addition to its template's, per byte of guest memory. Host functions
/// decode guest input, which grows to at most 24 times its size, and hold a few copies of it.
const FACTOR: u64 = 32;
/// Constant addition to the address space, bytes, beside the native stack: parameters of 40 MiB in several
/// representations, and guest memory that moves while it grows.
const SLACK: u64 = 4 << 30;
/// Address space that linking an artifact takes per byte of it: itself, and the tables that describe it.
const ARTIFACT_FACTOR: u64 = 3;
/// The same, bytes, whatever the artifact: wasmtime reserves 4 GiB and guards for the memory of the instance that a
/// template makes ahead.
const LINKED: u64 = 5 << 30;
/// Heap of a preparation without `PrecheckingMaxMemory`, bytes: the largest value that the parameter can have.
const PREPARATION: u64 = 16 << 30;
/// Address space of a thread, bytes: its stack and its malloc arena.
const THREAD: u64 = 256 << 20;
/// Descriptors of a template: the three standard ones, the control socket, the artifact, the image of the guest's
/// memory, and three for each fork while it is being made.
const DESCRIPTORS: u64 = 32;

/// Copies of an execution's input at once: as it came, decompressed (in a buffer that doubles), as parameters, and in
/// the buffers of their encoding.
const INPUT_COPIES: u64 = 8;
/// Guest memory at once beside what host functions make of it: itself, its copy while it moves, the result and its
/// encoding, and what the heap keeps of all that was freed.
const GUEST_COPIES: u64 = 16;
/// Memory of a job that no limit is about, bytes: the host's own frames and heap, pages that a fork copies from its
/// template, page tables, sockets.
const MEMORY_SLACK: u64 = 256 << 20;

/// Resource limits of one process; its children inherit them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes.
    address_space: u64,
    descriptors: u64,
}

impl Limits {
    /// Limits of a preparation that compiles on `threads` threads.
    pub(crate) fn preparation(params: &ExecutorParams, threads: u32) -> Self {
        let beyond = preparation_address_space(params, threads);
        Self { address_space: address_space().saturating_add(beyond), descriptors: 0 }
    }

    /// Limits of a template, which is about to map and link an artifact of so many bytes, and of its forks.
    pub(crate) fn template(params: &ExecutorParams, artifact: u64) -> Self {
        let memory = u64::from(params.memory_page_limit()) * 64 * 1024;
        let linked = LINKED.saturating_add(artifact.saturating_mul(ARTIFACT_FACTOR));
        let beyond = SLACK
            .saturating_add(linked)
            .saturating_add(memory.saturating_mul(FACTOR))
            .saturating_add(params.stack_native_max().into());
        Self { address_space: address_space().saturating_add(beyond), descriptors: DESCRIPTORS }
    }

    /// Limits of a diagnostic run, which compiles like a preparation, and then executes like a fork of a template.
    pub(crate) fn explanation(params: &ExecutorParams, threads: u32) -> Self {
        let guest = u64::from(params.memory_page_limit()).saturating_mul(64 * 1024).saturating_mul(FACTOR);
        let beyond = preparation_address_space(params, threads)
            .saturating_add(LINKED)
            .saturating_add(guest)
            .saturating_add(params.stack_native_max().into());
        Self { address_space: address_space().saturating_add(beyond), descriptors: 0 }
    }

    /// Limits of the probe: those of a job, except that it can still open the descriptors that it tries others with.
    pub(super) fn probe() -> Self {
        Self { address_space: address_space().saturating_add(SLACK), descriptors: DESCRIPTORS }
    }

    pub(super) fn set(&self) -> Result<(), String> {
        // A write beyond RLIMIT_FSIZE fails with EFBIG instead of ending the process.
        // SAFETY: this process has no handler for the signal.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        for (resource, name, value) in [
            (libc::RLIMIT_AS, "RLIMIT_AS", self.address_space),
            (libc::RLIMIT_NOFILE, "RLIMIT_NOFILE", self.descriptors),
            (libc::RLIMIT_FSIZE, "RLIMIT_FSIZE", MAX_STDERR as u64),
            (libc::RLIMIT_CORE, "RLIMIT_CORE", 0),
            (libc::RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK", 0),
            (libc::RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE", 0),
            (libc::RLIMIT_NICE, "RLIMIT_NICE", 0),
            (libc::RLIMIT_RTPRIO, "RLIMIT_RTPRIO", 0),
            (libc::RLIMIT_SIGPENDING, "RLIMIT_SIGPENDING", 0),
        ] {
            set(resource, name, value)?;
        }
        Ok(())
    }
}

/// More memory than an execution within its limits uses, bytes, on an input of at most this size. In contrast to its
/// address space this is what it touches.
pub(crate) fn execution_memory(params: &ExecutorParams, input: u64, artifact: u64) -> u64 {
    let guest = u64::from(params.memory_page_limit()) * 64 * 1024;
    let stack = u64::from(params.stack_native_max());
    [guest.saturating_mul(FACTOR + GUEST_COPIES), input.saturating_mul(INPUT_COPIES), stack, artifact, MEMORY_SLACK]
        .into_iter()
        .fold(0, u64::saturating_add)
}

/// More memory than a preparation within its limits uses, bytes: all of its address space.
pub(crate) fn preparation_memory(params: &ExecutorParams, threads: u32) -> u64 {
    preparation_address_space(params, threads).saturating_add(MEMORY_SLACK)
}

/// Address space of a preparation in addition to that of its program, bytes.
fn preparation_address_space(params: &ExecutorParams, threads: u32) -> u64 {
    let heap = params.prechecking_max_memory().unwrap_or(PREPARATION);
    heap.saturating_add(SLACK).saturating_add(u64::from(threads).saturating_mul(THREAD))
}

/// Forbids new processes. Set in each fork, because its template still has to make some.
pub(super) fn forbid_processes() -> Result<(), String> {
    set(libc::RLIMIT_NPROC, "RLIMIT_NPROC", 0)
}

/// Forbids new descriptors; open ones stay usable.
pub(super) fn forbid_descriptors() -> Result<(), String> {
    set(libc::RLIMIT_NOFILE, "RLIMIT_NOFILE", 0)
}

fn set(resource: libc::__rlimit_resource_t, name: &str, value: u64) -> Result<(), String> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to a live value.
    unsafe {
        if libc::getrlimit(resource, &raw mut limit) == 0 {
            // A hard limit cannot be raised without privileges, so a lower one that the operator set stays.
            let value = value.min(limit.rlim_max);
            limit = libc::rlimit { rlim_cur: value, rlim_max: value };
            if libc::setrlimit(resource, &raw const limit) == 0 {
                return Ok(());
            }
        }
    }
    Err(format!("{name}: {}", Error::last_os_error()))
}

/// Address space of this process, bytes; 0 if it cannot be read, which makes the limit stricter. To be called before
/// the process enters its empty root: kernels before 6.4 tell the page size by `/proc` only, and without it the call
/// panics.
fn address_space() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    pages.unwrap_or(0).saturating_mul(rustix::param::page_size() as u64)
}

/// Verifies two of the limits: a memory file takes no byte beyond [`MAX_STDERR`], and no descriptor can be opened
/// beyond the last.
pub(super) fn verify() -> Result<(), String> {
    // SAFETY: plain system calls on a descriptor of this process; the pointer is to a live byte.
    unsafe {
        let fd = libc::memfd_create(c"probe".as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 {
            return Err(super::failed("memfd_create"));
        }
        let written = libc::pwrite(fd, [0_u8].as_ptr().cast(), 1, MAX_STDERR as i64);
        if written >= 0 || Error::last_os_error().raw_os_error() != Some(libc::EFBIG) {
            return Err("RLIMIT_FSIZE not enforced".into());
        }
        forbid_descriptors()?;
        if libc::dup(fd) >= 0 || Error::last_os_error().raw_os_error() != Some(libc::EMFILE) {
            return Err("RLIMIT_NOFILE not enforced".into());
        }
        libc::close(fd);
    }
    Ok(())
}
