//! `pvf-coordinator`.

fn main() -> std::process::ExitCode {
    pvf_coordinator::cli::main(std::env::args_os())
}
