//! `pvf-coordinator`.

fn main() -> std::process::ExitCode {
    pvf_coordinator::cli::main()
}
