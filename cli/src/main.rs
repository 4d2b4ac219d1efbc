//! The executable `pvf`.

#[global_allocator]
static ALLOCATOR: pvf::JobAllocator = pvf::JobAllocator::new();

fn main() -> std::process::ExitCode {
    pvf::run_job_if_asked::<()>();
    pvf::tool::main()
}
