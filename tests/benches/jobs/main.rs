//! `pvf-bench-jobs`: measures what a job costs beside the bare wasmtime call and a bare fork with such a call.

mod bare;
mod fleet;
mod soak;
mod table;
mod worker;

use clap::{Parser, ValueEnum};
use pvf_guests::corpus::large;
use pvf_shared::Bytes;
use pvf_tests::bench::{
    FLEET, Need, UNUSABLE, has_all,
    jobs::{PreparedFile, prepared},
    positive,
};
use std::{path::PathBuf, process::ExitCode};
use table::Row;

/// Cores that everything is measured on.
const CORES: usize = 2;

/// Measure what a job costs beside the bare wasmtime call and a bare fork with such a call, taken in the same run on
/// the same artifact: inside a worker, from job to verdict, and through a whole fleet on a real NATS.
///
/// Exit code 1 if a limit is missed. The fleet part needs a nats-server on the PATH or in PVF_NATS_SERVER; all parts
/// need the complete sandbox.
#[derive(Parser)]
#[command(name = "pvf-bench-jobs")]
struct Args {
    /// Functions in the generated module
    #[arg(long, value_name = "N", default_value = "6000", value_parser = positive)]
    functions: u64,
    /// Executions of each kind
    #[arg(long, value_name = "N", default_value = "2000", value_parser = positive)]
    calls: u64,
    /// Preparations of each kind; the medians count
    #[arg(long, value_name = "N", default_value = "9", value_parser = positive)]
    runs: u64,
    /// Measure only this part
    #[arg(long, value_name = "PART")]
    only: Option<Part>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Instead of measuring, run N jobs through one worker's runner and print the processes, descriptors and memory
    /// that remain
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "1_000_000", value_parser = positive)]
    soak: Option<u64>,
    /// Internal: the process that measures N bare calls and forks on the artifact in this file
    #[arg(long, hide = true, num_args = 2, value_names = ["FILE", "N"])]
    bare: Option<Vec<PathBuf>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Executions inside one worker
    Worker,
    /// Preparations inside one worker
    Prepare,
    /// Executions through a fleet of processes on NATS
    Fleet,
}

/// The measured code and how often it is run.
struct Subject {
    code: Bytes,
    artifact: PreparedFile,
    artifact_bytes: u64,
    calls: u64,
    runs: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some([file, calls]) = args.bare.as_deref() {
        bare::run(file, &calls.to_string_lossy());
        return ExitCode::SUCCESS;
    }
    let measured = |part: Part| args.only.is_none_or(|only| only == part);
    let workers = [Need::Binary("pvf-prepare-worker"), Need::Binary("pvf-execute-worker")];
    let needs = if measured(Part::Fleet) && args.soak.is_none() { &FLEET[..] } else { &workers };
    if !has_all(needs.iter().copied()) {
        return ExitCode::from(UNUSABLE);
    }
    let runtime = pvf_shared::runtime::runtime().expect("a runtime");
    if let Some(jobs) = args.soak {
        runtime.block_on(soak::soak(jobs, args.json));
        return ExitCode::SUCCESS;
    }
    let code = Bytes::from(large(args.functions as u32));
    eprintln!("compiling");
    let artifact = runtime.block_on(prepared(&code));
    let artifact_bytes = artifact.compiled.code.len() as u64;
    let subject = Subject { code, artifact, artifact_bytes, calls: args.calls, runs: args.runs };
    let mut rows: Vec<Row> = Vec::new();
    let bare = bare::measure(subject.artifact.file.path(), subject.calls, 1)[0];
    if measured(Part::Worker) {
        rows.extend(runtime.block_on(worker::executions(&subject, bare)));
    }
    if measured(Part::Prepare) {
        rows.extend(runtime.block_on(worker::preparations(&subject)));
    }
    if measured(Part::Fleet) {
        rows.extend(runtime.block_on(fleet::executions(&subject, bare)));
    }
    if args.json {
        let rows: Vec<_> = rows.iter().map(Row::json).collect();
        println!("{}", serde_json::json!({ "artifact_bytes": subject.artifact_bytes, "rows": rows }));
    } else {
        println!("artifact of {} bytes, {} calls of each kind", subject.artifact_bytes, subject.calls);
        table::print(&rows);
    }
    if rows.iter().all(Row::holds) { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
