//! `pvf-coordinator`.

/// With glibc's allocator every run of `pvf-bench-scheduler` with a million queued requests has one or two operations
/// of 1 to 3 ms; with this one none.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    pvf_coordinator::cli::main(std::env::args_os())
}
