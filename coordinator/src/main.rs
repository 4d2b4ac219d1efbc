//! `pvf-coordinator`.

/// The system's allocator sorts free memory now and then, and with a million queued requests one allocation then takes
/// up to 4 ms. The work of one allocation is bounded here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    pvf_coordinator::cli::main(std::env::args_os())
}
