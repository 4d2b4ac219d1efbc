//! `pvf-bench-prepare`: measures what a preparation costs beyond the bare wasmtime calls.

use clap::Parser;
use pvf::{Config, Metrics, Pvf};
use pvf_guests::corpus::large;
use pvf_shared::{Bytes, job::PrepareJob, params::ExecutorParams, verdict::Outcome};
use pvf_tests::{
    bench::{Need, UNUSABLE, has_all, jobs::prepare_job, median, positive},
    processes::binary,
};
use pvf_worker::{
    supervise::{JobRunner, Prepared},
    wasm::{self, CpuBaseline},
};
use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

/// Measure what a preparation costs beyond the bare wasmtime calls.
///
/// Four ways to compile one generated module, in turn, on all cores: the bare wasmtime calls in this process, whose
/// memory is warm; the same calls in a fresh process, as a job's is, timed by themselves; a job process of a worker;
/// the whole embedded host, from request to verdict. Prints medians of wall time and their ratios to both kinds of bare
/// calls.
#[derive(Parser)]
#[command(name = "pvf-bench-prepare")]
struct Args {
    /// Functions in the generated module
    #[arg(long, value_name = "N", default_value = "6000", value_parser = positive)]
    functions: u64,
    /// Measurements of each way; the medians count
    #[arg(long, value_name = "N", default_value = "5", value_parser = positive)]
    runs: u64,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Internal: the fresh process that makes the bare calls on the module in this file
    #[arg(long, hide = true, value_name = "FILE")]
    bare: Option<PathBuf>,
}

/// Makes the bare calls in a fresh process of this executable, which prints how long they took.
fn bare_in_fresh_process(module: &Path) -> f64 {
    let this = std::env::current_exe().expect("the path of this executable");
    let output = Command::new(this).arg("--bare").arg(module).output().expect("the process runs");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("the process prints a time")
}

fn bare(instrumented: &[u8]) -> (f64, usize) {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    let start = Instant::now();
    let params = ExecutorParams::default();
    let artifact = wasm::compile(instrumented, &params, CpuBaseline::of_this_machine(), threads).expect("compiled");
    (start.elapsed().as_secs_f64(), artifact.code.len())
}

async fn job(runner: &JobRunner, code: &Bytes) -> usize {
    let job = PrepareJob { code_bomb_limit: u32::MAX, ..prepare_job(code, 0) };
    match runner.prepare(&job, code.clone()).await.0 {
        Prepared::Artifact(artifact) => artifact.code.len(),
        other => panic!("{other:?}"),
    }
}

async fn host(code: &Bytes) {
    let store = tempfile::tempdir().expect("a folder");
    let worker = Some(binary("pvf-prepare-worker"));
    let config = Config { worker_exe: worker, ..Config::new(store.path().display().to_string()) };
    let (host, run) = pvf::start(config, Metrics::default()).await.expect("a host");
    let run = tokio::spawn(run);
    let answer = host.precheck_pvf(Pvf::new(code.clone(), ExecutorParams::default())).await.expect("an answer");
    assert_eq!(answer.outcome, Outcome::PrecheckOk);
    drop(host);
    run.await.expect("the host ends");
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(file) = args.bare {
        println!("{}", bare(&std::fs::read(file).expect("the module")).0);
        return ExitCode::SUCCESS;
    }
    if !has_all([Need::Binary("pvf-prepare-worker")]) {
        return ExitCode::from(UNUSABLE);
    }
    let code = Bytes::from(large(args.functions as u32));
    let module = wasm::prevalidate(&code, 1).expect("wasm");
    let instrumented = wasm::instrument(module, &ExecutorParams::default(), 1).expect("instrumented");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &instrumented).expect("the module is written");
    let runner = JobRunner::new(Some(binary("pvf-prepare-worker")), CpuBaseline::of_this_machine()).expect("a runner");
    let mut times = [vec![], vec![], vec![], vec![]];
    let mut artifact_bytes = 0;
    for run in 1..=args.runs {
        eprintln!("run {run} of {}", args.runs);
        let warm = bare(&instrumented);
        times[0].push(warm.0);
        artifact_bytes = warm.1;
        times[1].push(bare_in_fresh_process(file.path()));
        let start = Instant::now();
        assert_eq!(job(&runner, &code).await, artifact_bytes);
        times[2].push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        host(&code).await;
        times[3].push(start.elapsed().as_secs_f64());
    }
    let [warm, fresh, job, host] = times.map(|mut times| median(&mut times));
    if args.json {
        let report = serde_json::json!({
            "wasm_bytes": code.len(), "artifact_bytes": artifact_bytes, "runs": args.runs,
            "bare_s": warm, "bare_fresh_process_s": fresh, "job_s": job, "host_s": host,
            "job_to_bare": job / warm, "host_to_bare": host / warm,
            "job_to_bare_fresh": job / fresh, "host_to_bare_fresh": host / fresh,
        });
        println!("{report}");
        return ExitCode::SUCCESS;
    }
    println!("wasm {} bytes, artifact {artifact_bytes} bytes, median of {} runs", code.len(), args.runs);
    println!("                                  wall   / bare   / bare in a fresh process");
    for (name, time) in [
        ("bare wasmtime calls", warm),
        ("the same in a fresh process", fresh),
        ("job process", job),
        ("whole embedded host (precheck)", host),
    ] {
        println!("{name:31} {time:6.3} s {:7.3}  {:7.3}", time / warm, time / fresh);
    }
    ExitCode::SUCCESS
}
