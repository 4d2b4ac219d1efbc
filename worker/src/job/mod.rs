//! Inside the processes that a worker starts: one that prepares, a template, and the template's forks, each of which
//! does one job, gives one reply and ends.

mod allocator;
pub(crate) mod control;
pub(crate) mod execute;
mod prepare;
pub(crate) mod protocol;
mod slice;
mod template;

pub use allocator::JobAllocator;

use crate::sandbox::{self, Limits, probe};
use protocol::{EXIT_SETUP, PREPARE, Preparation, Reply, TEMPLATE, name};
use pvf_shared::verdict::{PrepareError, clean_reason};
use serde::de::DeserializeOwned;
use sp_wasm_interface::HostFunctions;
use std::{
    ffi::CStr,
    fs::File,
    io::{Read as _, Write},
    os::fd::{FromRawFd as _, IntoRawFd as _, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
};

/// The first thing in `main` of every executable that runs jobs: if a worker started this process, it does what it
/// was started for and ends here; otherwise nothing happens. `H` are host functions beyond those of consensus, `()`
/// for none.
pub fn run_job_if_asked<H: HostFunctions>() {
    let role = std::env::args_os().nth(1);
    let ended = match role.as_deref().and_then(|role| role.to_str()) {
        Some(PREPARE) => begin(name::PREPARE).and_then(|(request, to)| prepare_job::<H>(request, to)),
        Some(TEMPLATE) => begin(name::TEMPLATE).and_then(|(setup, to)| template::run::<H>(&setup, to)),
        Some(probe::PROBE) => begin(name::PROBE).and_then(|(ask, to)| answer_probe(&ask, to)),
        _ => return,
    };
    exit(ended)
}

/// Ends the process. Destructors are of no use to anybody any more, and unmapping an artifact takes time.
fn exit(ended: Result<(), String>) -> ! {
    let code = match ended {
        Ok(()) => 0,
        Err(why) => {
            // Where there is no more room for words it says nothing.
            let _ = writeln!(std::io::stderr(), "job: {why}");
            EXIT_SETUP
        }
    };
    // SAFETY: _exit may be called at any time.
    unsafe { libc::_exit(code) }
}

fn failed(what: &str) -> impl Fn(std::io::Error) -> String + '_ {
    move |error| format!("{what}: {error}")
}

/// What stdin holds is read, and stdout is taken away from whoever might print. Whoever started this process saw to it
/// that it ends with it.
fn begin<T: DeserializeOwned>(name: &CStr) -> Result<(T, OwnedFd), String> {
    set_name(name);
    // SAFETY: only closes what this process does not know of; nothing was opened yet.
    unsafe { libc::close_range(3, u32::MAX, 0) };
    set_limit(libc::RLIMIT_CORE, 0).map_err(failed("core limit"))?;
    let mut bytes = Vec::new();
    // SAFETY: nobody else reads stdin.
    let mut stdin = unsafe { File::from_raw_fd(0) };
    stdin.read_to_end(&mut bytes).map_err(failed("request"))?;
    // Descriptor 0 stays taken, so that no other file gets it.
    let _ = stdin.into_raw_fd();
    let request = rmp_serde::from_slice(&bytes).map_err(|e| format!("request: {e}"))?;
    // SAFETY: plain system calls on descriptors that are open.
    let stdout = unsafe {
        let fd = libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 3);
        if fd < 0 || libc::dup2(2, 1) < 0 {
            return Err(failed("stdout")(std::io::Error::last_os_error()));
        }
        OwnedFd::from_raw_fd(fd)
    };
    Ok((request, stdout))
}

fn set_name(name: &CStr) {
    // SAFETY: the pointer is to a string that ends with 0.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

fn set_limit(what: libc::__rlimit_resource_t, value: u64) -> std::io::Result<()> {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the pointer is to a live value.
    if unsafe { libc::setrlimit(what, &raw const limit) } == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

fn prepare_job<H: HostFunctions>(job: Preparation, reply_to: OwnedFd) -> Result<(), String> {
    set_limit(libc::RLIMIT_CPU, job.cpu_seconds).map_err(failed("CPU limit"))?;
    slice::work_in_long_slices();
    // The code has come in, but nobody has looked at it. Threads that are started from here on are held as well.
    sandbox::lock_preparation(job.sandbox, &Limits::preparation(&job.params, job.threads))?;
    let done = catch_unwind(AssertUnwindSafe(|| prepare::run::<H>(&job)));
    let (reply, artifact) = done.unwrap_or_else(|panic| {
        (Reply::PrepareFailed(PrepareError::JobError(clean_reason(&said(&*panic)))), Vec::new())
    });
    write_reply(&mut File::from(reply_to), &reply, &artifact)
}

fn answer_probe(ask: &probe::Ask, answer_to: OwnedFd) -> Result<(), String> {
    let answer = rmp_serde::to_vec_named(&probe::run(ask)).map_err(|e| format!("answer: {e}"))?;
    File::from(answer_to).write_all(&answer).map_err(failed("answer"))
}

/// What a panic said.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    format!("panic: {}", said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default())
}

fn write_reply(to: &mut impl Write, reply: &Reply, artifact: &[u8]) -> Result<(), String> {
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).map(u32::to_le_bytes).map_err(|e| format!("reply: {e}"));
    // In one piece: the worker wakes once.
    let reply = match reply {
        Reply::Valid(result) => [&[0; 4], &len(result)?[..], &result[..]].concat(),
        reply => {
            let bytes = rmp_serde::to_vec_named(reply).map_err(|e| format!("reply: {e}"))?;
            [&len(&bytes)?[..], &bytes].concat()
        }
    };
    to.write_all(&reply).and_then(|()| to.write_all(artifact)).map_err(failed("reply"))
}
