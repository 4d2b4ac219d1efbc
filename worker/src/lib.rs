//! Workers: they take jobs off the bus, run each in a child process of its own, and report.
//!
//! `host` talks to the bus and the store, `supervise` starts and judges job processes, `job` is what runs inside
//! one, `sandbox` holds it there, `wasm` is the only user of wasmtime. [`worker_main!`] declares an executable that is all of it.

pub mod cli;
mod end;
pub mod host;
mod job;
pub mod sandbox;
pub mod supervise;
pub mod wasm;

pub use job::{JobAllocator, run_job_if_asked};

/// Declares `main` of a worker executable: it runs jobs when a worker starts it for one, and is a worker
/// otherwise. Which kind, its name says (`…prepare-worker…`, `…execute-worker…`) or its first argument
/// (`prepare-worker`, `execute-worker`).
///
/// ```no_run
/// pvf_worker::worker_main!();
/// ```
///
/// With host functions beyond those of consensus, which any type that implements
/// `sp_wasm_interface::HostFunctions` stands for: `pvf_worker::worker_main!(my::HostFunctions);`. They never
/// replace one of consensus.
#[macro_export]
macro_rules! worker_main {
    () => {
        $crate::worker_main!(());
    };
    ($host_functions:ty) => {
        #[global_allocator]
        static PVF_JOB_ALLOCATOR: $crate::JobAllocator = $crate::JobAllocator::new();

        fn main() -> std::process::ExitCode {
            $crate::run_job_if_asked::<$host_functions>();
            $crate::cli::worker_main()
        }
    };
}

/// Has the process that this starts asked to end (SIGTERM) when the thread that starts it ends, however that ends.
pub fn ends_with_us(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: a plain system call, which may be made between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
}

/// Asks a process to end (SIGTERM).
pub fn terminate(pid: i32) {
    // SAFETY: a plain system call.
    unsafe { libc::kill(pid, libc::SIGTERM) };
}
