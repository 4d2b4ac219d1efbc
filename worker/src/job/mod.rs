//! Inside the job process: one job, one reply, the end.

mod allocator;
mod execute;
mod prepare;
pub(crate) mod protocol;

pub use allocator::JobAllocator;

use protocol::{EXIT_SETUP, ROLE, Reply, Request, Work};
use pvf_shared::verdict::{PrepareError, clean_reason};
use sp_wasm_interface::HostFunctions;
use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::{FromRawFd as _, IntoRawFd as _},
    panic::{AssertUnwindSafe, catch_unwind},
};

/// The first thing in `main` of every executable that runs jobs: if a worker started this process for a job, the
/// job is done and the process ends here; otherwise nothing happens. `H` are host functions beyond those of
/// consensus, `()` for none.
pub fn run_job_if_asked<H: HostFunctions>() {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_none_or(|word| word != ROLE) {
        return;
    }
    let parent = args.next().and_then(|s| s.to_str().and_then(|s| s.parse().ok()));
    let code = match set_up(parent) {
        Ok((request, reply_to)) => run::<H>(request, reply_to),
        Err(why) => {
            eprintln!("job: {why}");
            EXIT_SETUP
        }
    };
    // Destructors are of no use to anybody any more, and unmapping an artifact takes time.
    // SAFETY: _exit may be called at any time.
    unsafe { libc::_exit(code) }
}

/// Limits first, then the request is read, and stdout is taken away from whoever might print.
fn set_up(parent: Option<i32>) -> Result<(Request, File), String> {
    let failed = |what: &str, e: &dyn std::fmt::Display| format!("{what}: {e}");
    die_with_parent(parent)?;
    // SAFETY: only closes what this process does not know of; nothing was opened yet.
    unsafe { libc::close_range(3, u32::MAX, 0) };
    set_limit(libc::RLIMIT_CORE, 0).map_err(|e| failed("core limit", &e))?;
    let mut bytes = Vec::new();
    // SAFETY: nobody else reads stdin.
    let mut stdin = unsafe { File::from_raw_fd(0) };
    stdin.read_to_end(&mut bytes).map_err(|e| failed("request", &e))?;
    // Descriptor 0 stays taken, so that no other file gets it.
    let _ = stdin.into_raw_fd();
    let request: Request = rmp_serde::from_slice(&bytes).map_err(|e| failed("request", &e))?;
    set_limit(libc::RLIMIT_CPU, request.cpu_seconds).map_err(|e| failed("CPU limit", &e))?;
    // SAFETY: plain system calls on descriptors that are open.
    let reply_to = unsafe {
        let fd = libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 3);
        if fd < 0 || libc::dup2(2, 1) < 0 {
            return Err(failed("stdout", &std::io::Error::last_os_error()));
        }
        File::from_raw_fd(fd)
    };
    Ok((request, reply_to))
}

fn die_with_parent(parent: Option<i32>) -> Result<(), String> {
    // SAFETY: plain system calls.
    unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
            return Err(format!("parent death signal: {}", std::io::Error::last_os_error()));
        }
        if parent.is_none_or(|parent| parent != libc::getppid()) {
            return Err("the worker that started this job is gone".into());
        }
    }
    Ok(())
}

fn set_limit(what: libc::__rlimit_resource_t, value: u64) -> std::io::Result<()> {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the pointer is to a live value.
    if unsafe { libc::setrlimit(what, &raw const limit) } == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

fn run<H: HostFunctions>(request: Request, mut reply_to: File) -> i32 {
    let preparing = matches!(request.work, Work::Prepare { .. });
    let done = catch_unwind(AssertUnwindSafe(|| work::<H>(request)));
    let (reply, artifact) = done.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default();
        let why = clean_reason(&format!("panic: {said}"));
        let reply = if preparing { Reply::PrepareFailed(PrepareError::JobError(why)) } else { Reply::JobError(why) };
        (reply, Vec::new())
    });
    let Ok(bytes) = rmp_serde::to_vec_named(&reply) else { return EXIT_SETUP };
    let Ok(len) = u32::try_from(bytes.len()) else { return EXIT_SETUP };
    let written = reply_to
        .write_all(&len.to_le_bytes())
        .and_then(|()| reply_to.write_all(&bytes))
        .and_then(|()| reply_to.write_all(&artifact));
    if written.is_ok() { 0 } else { EXIT_SETUP }
}

fn work<H: HostFunctions>(request: Request) -> (Reply, Vec<u8>) {
    let Request { baseline, executor_params: params, work, .. } = request;
    match work {
        Work::Prepare { code, bomb_limit, precheck, threads } => prepare::run::<H>(&prepare::Preparation {
            code: &code,
            bomb_limit,
            precheck,
            threads,
            params: &params,
            baseline,
        }),
        Work::Execute { artifact, context, block_data, pov_bomb_limit } => {
            let job = execute::Execution { artifact, context, block_data, pov_bomb_limit, params, baseline };
            (execute::run::<H>(job), Vec::new())
        }
    }
}
