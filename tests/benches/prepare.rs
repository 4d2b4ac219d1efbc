//! `pvf-bench-prepare [--json] [--functions N] [--runs N]`: what preparing costs beyond the bare wasmtime calls.
//!
//! Four ways to compile the same generated module, taken in turn, on all cores: the bare wasmtime calls (engine,
//! `precompile_module`) in this process, whose memory is warm; the same calls, timed by themselves, in a process that
//! was just started, as a job's is; a job process of a worker; the whole embedded host, from asking to verdict. Medians
//! of wall time, and their ratios to both kinds of bare calls.

use pvf::{Config, Metrics, Pvf};
use pvf_guests::corpus::large;
use pvf_shared::{
    Bytes,
    ids::{ArtifactId, CodeHash, EngineId},
    job::{BlobRef, PrepareJob},
    params::{ExecutorParams, PvfPrepKind},
    verdict::Outcome,
};
use pvf_tests::{
    bench::{argument, flag, median},
    processes::binary,
};
use pvf_worker::{
    supervise::{JobRunner, Prepared},
    wasm::{self, CpuBaseline},
};
use std::time::Instant;

/// The bare calls in a process that was just started: it is this executable, and it says how long they took.
fn bare_elsewhere(code: &tempfile::NamedTempFile) -> f64 {
    let us = std::env::current_exe().expect("a path");
    let output = std::process::Command::new(us).arg("--bare").arg(code.path()).output().expect("a process");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a time")
}

fn bare(instrumented: &[u8]) -> (f64, usize) {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    let start = Instant::now();
    let params = ExecutorParams::default();
    let artifact = wasm::compile(instrumented, &params, CpuBaseline::of_this_machine(), threads).expect("compiled");
    (start.elapsed().as_secs_f64(), artifact.len())
}

async fn job(runner: &JobRunner, code: &Bytes) -> usize {
    let params = ExecutorParams::default();
    let spec = PrepareJob {
        artifact: ArtifactId {
            code_hash: CodeHash::of(code),
            prep_hash: params.prep_hash(),
            engine: EngineId::parse("bench").expect("a fine id"),
        },
        code: BlobRef::Inline(code.clone()),
        cpu_limit: params.prep_timeout(PvfPrepKind::Prepare),
        executor_params: params,
        code_bomb_limit: u32::MAX,
        precheck: false,
        threads: 0,
    };
    match runner.prepare(&spec, code.clone()).await.0 {
        Prepared::Artifact(artifact) => artifact.len(),
        other => panic!("{other:?}"),
    }
}

async fn host(code: &Bytes) {
    let store = tempfile::tempdir().expect("a folder");
    let worker = Some(binary("pvf-prepare-worker"));
    let config = Config { worker_exe: worker, ..Config::new(store.path().display().to_string()) };
    let (host, run) = pvf::start(config, Metrics::default()).await.expect("a host");
    let run = tokio::spawn(run);
    let answers = host.precheck_pvf(Pvf::new(code.clone(), ExecutorParams::default())).await.expect("an answer");
    assert_eq!(answers.outcome, Outcome::PrecheckOk);
    drop(host);
    run.await.expect("the host ends");
}

#[tokio::main]
async fn main() {
    if let Some(file) = std::env::args().skip_while(|a| a != "--bare").nth(1) {
        println!("{}", bare(&std::fs::read(file).expect("code")).0);
        return;
    }
    let (functions, runs) = (argument("--functions", 6000) as u32, argument("--runs", 5));
    let params = ExecutorParams::default();
    let code = Bytes::from(large(functions));
    let instrumented = wasm::instrument(wasm::prevalidate(&code, 1).expect("wasm"), &params, 1).expect("instrumented");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &instrumented).expect("written");
    let runner = JobRunner::new(Some(binary("pvf-prepare-worker")), CpuBaseline::of_this_machine()).expect("a runner");
    let mut times = [vec![], vec![], vec![], vec![]];
    let mut artifact = 0;
    for run in 0..runs {
        eprintln!("run {} of {runs}", run + 1);
        let warm = bare(&instrumented);
        times[0].push(warm.0);
        artifact = warm.1;
        times[1].push(bare_elsewhere(&file));
        let start = Instant::now();
        assert_eq!(job(&runner, &code).await, artifact);
        times[2].push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        host(&code).await;
        times[3].push(start.elapsed().as_secs_f64());
    }
    let [warm, fresh, job, host] = times.map(|mut times| median(&mut times));
    if flag("--json") {
        let report = serde_json::json!({
            "wasm_bytes": code.len(), "artifact_bytes": artifact, "runs": runs,
            "bare_s": warm, "bare_fresh_process_s": fresh, "job_s": job, "host_s": host,
            "job_to_bare": job / warm, "host_to_bare": host / warm,
            "job_to_bare_fresh": job / fresh, "host_to_bare_fresh": host / fresh,
        });
        println!("{report}");
        return;
    }
    println!("wasm {} bytes, artifact {artifact} bytes, median of {runs} runs", code.len());
    println!("                                  wall   / bare   / bare in a fresh process");
    for (name, time) in [
        ("bare wasmtime calls", warm),
        ("the same in a fresh process", fresh),
        ("job process", job),
        ("whole embedded host (precheck)", host),
    ] {
        println!("{name:31} {time:6.3} s {:7.3}  {:7.3}", time / warm, time / fresh);
    }
}
