//! `pvf-bench-jobs [--functions N] [--calls N] [--runs N] [--only worker|prepare|fleet] [--json]`: what a job costs
//! beside the bare wasmtime call and a bare fork with such a call, taken in the same run on the same artifact: inside a
//! worker, from job to verdict, and through a whole fleet on a real NATS. Exit code 1 if a limit is missed.
//!
//! `pvf-bench-jobs --soak N`: so many jobs through one worker's runner, and what is left of them.

mod bare;
mod fleet;
mod soak;
mod table;
mod worker;

use pvf_guests::corpus::large;
use pvf_shared::Bytes;
use pvf_tests::bench::{argument, flag, jobs::prepared};
use std::process::ExitCode;
use table::Row;

/// Cores that everything is measured on.
const CORES: usize = 2;

/// What is measured with.
struct Subject {
    code: Bytes,
    artifact: tempfile::NamedTempFile,
    artifact_bytes: u64,
    calls: u64,
    runs: u64,
}

fn only(part: &str) -> bool {
    let mut args = std::env::args().skip_while(|arg| arg != "--only").skip(1);
    args.next().is_none_or(|only| only == part)
}

fn main() -> ExitCode {
    if bare::run_if_asked() {
        return ExitCode::SUCCESS;
    }
    let runtime = pvf_shared::runtime::runtime().expect("a runtime");
    if flag("--soak") {
        runtime.block_on(soak::soak(argument("--soak", 1_000_000), flag("--json")));
        return ExitCode::SUCCESS;
    }
    let code = Bytes::from(large(argument("--functions", 6000) as u32));
    eprintln!("compiling");
    let (artifact_bytes, artifact) = runtime.block_on(prepared(&code));
    let subject =
        Subject { code, artifact, artifact_bytes, calls: argument("--calls", 2000), runs: argument("--runs", 9) };
    let mut rows: Vec<Row> = Vec::new();
    let bare = bare::measure(subject.artifact.path(), subject.calls, 1)[0];
    if only("worker") {
        rows.extend(runtime.block_on(worker::executions(&subject, bare)));
    }
    if only("prepare") {
        rows.extend(runtime.block_on(worker::preparations(&subject)));
    }
    if only("fleet") {
        rows.extend(runtime.block_on(fleet::executions(&subject, bare)));
    }
    if flag("--json") {
        let rows: Vec<_> = rows.iter().map(Row::json).collect();
        println!("{}", serde_json::json!({ "artifact_bytes": subject.artifact_bytes, "rows": rows }));
    } else {
        println!("artifact of {} bytes, {} calls of each kind", subject.artifact_bytes, subject.calls);
        table::print(&rows);
    }
    if rows.iter().all(Row::holds) { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
