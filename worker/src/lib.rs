//! Workers: they take jobs from the bus, run each in a child process of its own, and report the outcomes.
//!
//! * `agent` talks to the bus and the store; its decisions are in `pvf_worker_core`.
//! * `supervise` starts job processes and decides their outcomes.
//! * `job` is what runs inside a job process, `sandbox` what confines it.
//! * `machine` reads what the machine lets the process have.
//! * `wasm` is the only user of wasmtime.
//!
//! [`worker_main!`] declares an executable with all of it.

pub mod agent;
pub mod cli;
mod exit_status;
pub mod explanation;
mod job;
pub mod machine;
pub mod metrics;
pub mod sandbox;
pub mod supervise;
pub mod wasm;

pub use job::{JobAllocator, run_job_if_asked};

/// Declares `main` of a worker executable. It runs a job if a worker started it for one, and is a worker otherwise; its
/// kind follows from its name (`…prepare-worker…`, `…execute-worker…`) or its first argument (`prepare-worker`,
/// `execute-worker`).
///
/// ```no_run
/// pvf_worker::worker_main!();
/// ```
///
/// A type that implements `sp_wasm_interface::HostFunctions` adds host functions to those of consensus:
/// `pvf_worker::worker_main!(my::HostFunctions);`. They never replace one of consensus.
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

/// Makes the kernel send SIGTERM to the child when the thread that starts it exits, for whatever reason.
pub fn ends_with_us(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: a plain system call, which is allowed between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
}

/// Sends SIGTERM to a process.
pub fn terminate(pid: i32) {
    // SAFETY: a plain system call.
    unsafe { libc::kill(pid, libc::SIGTERM) };
}
