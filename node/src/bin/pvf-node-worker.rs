//! `polkadot-prepare-worker` and `polkadot-execute-worker`: one program under two names.

fn main() -> std::process::ExitCode {
    pvf_node::worker::main()
}
