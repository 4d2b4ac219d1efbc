//! Jobs inside one worker: through the runner that its agent uses, with the complete sandbox.

use crate::{
    CORES, Subject,
    bare::{self, Bare},
    table::{Limit, Row},
};
use pvf_shared::{
    Bytes,
    job::ExecuteJob,
    params::{ExecutorParam, ExecutorParams},
};
use pvf_tests::{
    bench::{
        jobs::{execute_job, expect_valid, prepare_job, runner},
        median, quantile,
    },
    processes::{processes_named, until},
};
use pvf_worker::{
    supervise::{ArtifactFile, JobRunner, Prepared},
    wasm::{self, CpuBaseline},
};
use std::time::Instant;

/// Executes one job; the time from job to verdict, microseconds.
async fn one(runner: &JobRunner, job: &ExecuteJob, artifact: &ArtifactFile) -> f64 {
    let start = Instant::now();
    expect_valid(&runner.execute(job, artifact, Bytes::from_static(b"block")).await.0);
    start.elapsed().as_secs_f64() * 1e6
}

/// Executes jobs in all slots at once: the time of each, and the time of all together, microseconds.
async fn busy(runner: &JobRunner, job: &ExecuteJob, artifact: &ArtifactFile, calls: u64) -> (Vec<f64>, f64) {
    let start = Instant::now();
    let slots = (0..CORES).map(|_| async {
        let mut times = Vec::new();
        for _ in 0..calls / CORES as u64 {
            times.push(one(runner, job, artifact).await);
        }
        times
    });
    let times = futures::future::join_all(slots).await.concat();
    (times, start.elapsed().as_secs_f64() * 1e6)
}

/// Measures warm and first executions.
pub async fn executions(subject: &Subject, bare: Bare) -> Vec<Row> {
    let (artifact, calls) = (&subject.artifact.file, subject.calls);
    let job = execute_job(ExecutorParams::default());
    let runner = runner("pvf-execute-worker", CORES, CORES);
    one(&runner, &job, artifact).await;
    eprintln!("executing, one in flight");
    let mut warm = Vec::new();
    for _ in 0..calls {
        warm.push(one(&runner, &job, artifact).await);
    }
    let (warm_median, warm_p99) = (median(&mut warm), quantile(&mut warm, 990));
    eprintln!("executing in all slots");
    let (_, all) = busy(&runner, &job, artifact, calls).await;
    let per_second = calls as f64 / all * 1e6;
    let ideal = CORES as f64 / bare.fork_cpu * 1e6;
    let memory = template_kib().await;
    drop(runner);
    eprintln!("executing in all slots without spares");
    let without = self::runner("pvf-execute-worker", CORES, 0);
    one(&without, &job, artifact).await;
    let at_once = bare::measure(artifact.path(), calls / CORES as u64, CORES);
    let fork_at_once = at_once.iter().map(|bare| bare.fork).sum::<f64>() / at_once.len() as f64;
    let mut no_spare = busy(&without, &job, artifact, calls).await.0;
    let no_spare = median(&mut no_spare);
    eprintln!("executing for the first time");
    let first = first(&without, subject).await;
    let row = |name, unit, call, bare: Option<f64>, ours: f64, limit| Row {
        name,
        unit,
        call,
        bare,
        ours,
        limited: bare.map_or(ours, |bare| ours / bare),
        limit,
    };
    let us = "us";
    vec![
        row("warm, one in flight, median", us, Some(bare.call), Some(bare.fork), warm_median, Limit::Most(0.5)),
        row("warm, one in flight, p99", us, None, Some(bare.fork_p99), warm_p99, Limit::Most(1.5)),
        row("warm, all slots, no spare, median", us, None, Some(fork_at_once), no_spare, Limit::Most(1.3)),
        row("first execution of a cached artifact, median", "ms", None, None, first, Limit::Most(15.0)),
        row("throughput, all slots", "jobs/s", None, Some(ideal), per_second, Limit::Least(0.7)),
        row("memory of a template beyond shared pages", "MiB", None, None, memory / 1024.0, Limit::Most(8.0)),
    ]
}

/// Anonymous memory of a template, KiB: its own, and what it shares with its forks only.
async fn template_kib() -> f64 {
    let worker = std::process::id() as i32;
    let template = until("a template exists", async || processes_named(worker, "pvf-template").first().copied()).await;
    let rollup = std::fs::read_to_string(format!("/proc/{template}/smaps_rollup")).expect("the template lives");
    let line = rollup.lines().find(|line| line.starts_with("Anonymous:")).expect("a line on anonymous memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("KiB")
}

/// Time of an execution that checks the worker's own copy of the artifact and starts a template, milliseconds.
async fn first(runner: &JobRunner, subject: &Subject) -> f64 {
    let artifact = &subject.artifact.file;
    let mut times = Vec::new();
    for n in 0..20 {
        // Other parameters each time, for which there is no template yet.
        let job = execute_job(ExecutorParams(vec![ExecutorParam::StackNativeMax((64 << 20) + n)]));
        let start = Instant::now();
        let opened = artifact.open().expect("the artifact");
        times.push(start.elapsed().as_secs_f64() * 1e3 + one(runner, &job, &opened).await / 1e3);
    }
    median(&mut times)
}

/// Time of the bare compiler in this process, whose memory is warm, seconds.
fn compile(instrumented: &[u8], threads: u32) -> f64 {
    let start = Instant::now();
    let (params, baseline) = (ExecutorParams::default(), CpuBaseline::of_this_machine());
    wasm::compile(instrumented, &params, baseline, threads).expect("compiled");
    start.elapsed().as_secs_f64()
}

/// Measures preparations beside the bare compiler.
pub async fn preparations(subject: &Subject) -> Vec<Row> {
    let runner = runner("pvf-prepare-worker", 1, 0);
    let module = wasm::prevalidate(&subject.code, 1).expect("wasm");
    let instrumented = wasm::instrument(module, &ExecutorParams::default(), 1).expect("instrumented");
    let mut times = [vec![], vec![], vec![], vec![]];
    let mut ratios = [vec![], vec![]];
    for run in 0..subject.runs {
        eprintln!("preparing, run {} of {}", run + 1, subject.runs);
        for threads in [1, CORES as u32] {
            let at = threads as usize - 1;
            times[at * 2].push(compile(&instrumented, threads));
            let job = prepare_job(&subject.code, threads);
            let start = Instant::now();
            let (prepared, _) = runner.prepare(&job, subject.code.clone()).await;
            times[at * 2 + 1].push(start.elapsed().as_secs_f64());
            // The ratio of two neighbouring measurements: the load of a machine changes from one second to the next.
            ratios[at].push(times[at * 2 + 1][run as usize] / times[at * 2][run as usize]);
            assert!(matches!(prepared, Prepared::Artifact(_)), "the code cannot be prepared");
        }
    }
    let [bare_one, one, bare_two, two] = times.map(|mut times| median(&mut times));
    let [ratio_one, ratio_two] = ratios.map(|mut ratios| median(&mut ratios));
    let row = |name, bare: f64, ours: f64, limited, limit| Row {
        name,
        unit: "s",
        call: None,
        bare: Some(bare),
        ours,
        limited,
        limit,
    };
    vec![
        row("preparing with one thread (beside the bare compiler)", bare_one, one, ratio_one, Limit::Most(1.08)),
        row("preparing with two threads (beside the bare compiler)", bare_two, two, ratio_two, Limit::Most(1.08)),
        row("preparing with two threads (beside one)", one, two, one / two, Limit::Least(1.7)),
    ]
}
