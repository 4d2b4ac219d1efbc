//! `pvf`.

#[global_allocator]
static ALLOCATOR: pvf_worker::JobAllocator = pvf_worker::JobAllocator::new();

fn main() -> std::process::ExitCode {
    pvf::run_job_if_asked::<()>();
    pvf::tool::main()
}
