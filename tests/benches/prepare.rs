//! `pvf-bench-prepare [--json] [--functions N] [--runs N]`: what preparing costs beyond the bare wasmtime calls.
//!
//! Three ways to compile the same generated module, taken in turn, on all cores: the bare wasmtime calls in this
//! process (engine, `precompile_module`); a job process of a worker; the whole embedded host, from asking to verdict.
//! Medians of wall time, and their ratios to the first.

use pvf::{Config, Metrics, Pvf};
use pvf_guests::corpus::large;
use pvf_shared::{
    Bytes,
    ids::{ArtifactId, CodeHash, EngineId},
    job::{BlobRef, PrepareJob},
    params::{ExecutorParams, PvfPrepKind},
    verdict::Outcome,
};
use pvf_tests::processes::binary;
use pvf_worker::{
    supervise::{JobRunner, Prepared},
    wasm::{self, CpuBaseline},
};
use std::time::Instant;

fn argument(name: &str, default: u32) -> u32 {
    let mut args = std::env::args().skip_while(|a| a != name).skip(1);
    args.next().map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name} takes a number")))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
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
    let (functions, runs) = (argument("--functions", 6000), argument("--runs", 5));
    let params = ExecutorParams::default();
    let baseline = CpuBaseline::of_this_machine();
    let code = Bytes::from(large(functions));
    let instrumented = wasm::instrument(wasm::prevalidate(&code).expect("wasm"), &params).expect("instrumented");
    let runner = JobRunner::new(Some(binary("pvf-prepare-worker")), baseline).expect("a runner");
    let mut times = [vec![], vec![], vec![]];
    let mut artifact = 0;
    for run in 0..runs {
        eprintln!("run {} of {runs}", run + 1);
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        let start = Instant::now();
        artifact = wasm::compile(&instrumented, &params, baseline, threads).expect("compiled").len();
        times[0].push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        assert_eq!(job(&runner, &code).await, artifact);
        times[1].push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        host(&code).await;
        times[2].push(start.elapsed().as_secs_f64());
    }
    let [bare, job, host] = times.map(median);
    if std::env::args().any(|a| a == "--json") {
        let report = serde_json::json!({
            "wasm_bytes": code.len(), "artifact_bytes": artifact, "runs": runs, "bare_s": bare, "job_s": job,
            "host_s": host, "job_ratio": job / bare, "host_ratio": host / bare,
        });
        println!("{report}");
    } else {
        println!("wasm {} bytes, artifact {artifact} bytes, median of {runs} runs", code.len());
        println!("bare wasmtime calls   {bare:8.3} s   1.000");
        println!("job process           {job:8.3} s   {:.3}", job / bare);
        println!("whole embedded host   {host:8.3} s   {:.3}   (with the precheck's linking)", host / bare);
    }
}
