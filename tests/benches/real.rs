//! `pvf-bench-real [FOLDER] [--runs N] [--calls N] [--json]`: what a real parachain costs beside bare wasmtime, taken
//! in the same run: preparing its runtime (wall clock and CPU time), executing its blocks, and the first verdict of a
//! machine that has nothing but a warm store. `tests/real-parachain/run` makes the folder.

use pvf::Pvf;
use pvf_shared::{
    Bytes,
    job::{BlobRef, ExecuteJob},
    params::ExecutorParams,
    verdict::Outcome,
};
use pvf_tests::{
    ask::PATIENCE,
    bench::{
        argument, deep, flag,
        jobs::{execute_job, expect_valid, prepare_job, runner},
        linked, median,
    },
    fleet::{Fleet, Role},
    real::{Case, Expect, Folder},
};
use pvf_worker::{
    supervise::Prepared,
    wasm::{self, CpuBaseline},
};
use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

/// First arguments of the processes that do nothing but what is bare.
const COLD: &str = "--cold";

/// One figure beside the bare one.
struct Row {
    name: String,
    unit: &'static str,
    bare: f64,
    ours: f64,
    /// The median of the ratios of what was measured one after the other.
    ratio: f64,
}

/// Measurements of ours and of the bare thing in turn.
#[derive(Default)]
struct Pairs(Vec<(f64, f64)>);

impl Pairs {
    fn row(&self, name: impl Into<String>, unit: &'static str) -> Row {
        let of = |what: fn(&(f64, f64)) -> f64| median(&mut self.0.iter().map(what).collect::<Vec<_>>());
        Row { name: name.into(), unit, bare: of(|p| p.0), ours: of(|p| p.1), ratio: of(|p| p.1 / p.0) }
    }
}

/// CPU time of this process, seconds.
fn cpu_s() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

async fn preparing(code: &[Bytes; 2], runs: u64) -> Vec<Row> {
    let [compressed, plain] = code;
    let (params, baseline) = (ExecutorParams::default(), CpuBaseline::of_this_machine());
    let instrumented = wasm::instrument(wasm::prevalidate(plain, 1).expect("wasm"), &params, 1).expect("instrumented");
    let runner = runner("pvf-prepare-worker", 1, 0);
    let mut rows = Vec::new();
    for threads in [1, 2] {
        let (mut wall, mut cpu) = (Pairs::default(), Pairs::default());
        for run in 0..runs {
            eprintln!("preparing with {threads} thread(s), run {} of {runs}", run + 1);
            let (start, before) = (Instant::now(), cpu_s());
            wasm::compile(&instrumented, &params, baseline, threads).expect("compiled");
            let bare = (start.elapsed().as_secs_f64(), cpu_s() - before);
            let start = Instant::now();
            let (prepared, usage) = runner.prepare(&prepare_job(compressed, threads), compressed.clone()).await;
            assert!(matches!(prepared, Prepared::Artifact(_)), "{prepared:?}");
            wall.0.push((bare.0, start.elapsed().as_secs_f64()));
            cpu.0.push((bare.1, usage.cpu.as_secs_f64()));
        }
        rows.push(wall.row(format!("preparing, {threads} thread(s), wall clock"), "s"));
        rows.push(cpu.row(format!("preparing, {threads} thread(s), CPU time"), "s"));
    }
    rows
}

/// The job of a candidate, its artifact being in a file.
fn job_of(folder: &Folder, case: &Case) -> Result<(ExecuteJob, Bytes), String> {
    let request = folder.as_sent(case)?;
    let job = ExecuteJob {
        context: request.context,
        block_data: BlobRef::Inline(request.block_data.clone()),
        ..execute_job(ExecutorParams::default())
    };
    Ok((job, request.block_data))
}

async fn executing(folder: &Folder, artifact: &Path, calls: u64) -> Result<Vec<Row>, String> {
    let runner = runner("pvf-execute-worker", 1, 1);
    let bytes = std::fs::read(artifact).expect("the artifact");
    let mut rows = Vec::new();
    for case in folder.cases().iter().filter(|case| case.expect == Expect::Valid) {
        eprintln!("executing {}", case.name);
        let (job, pov) = job_of(folder, case)?;
        let params = folder.params(case)?.ok_or("a valid candidate without parameters")?;
        let bytes = bytes.clone();
        // Some of each, in turn.
        let (bare_ask, bare_asked) = std::sync::mpsc::channel::<()>();
        let (bare_tell, mut bare_told) = tokio::sync::mpsc::unbounded_channel();
        let thread = deep(move || {
            let runtime = linked(&bytes);
            runtime.validate_block(&params).expect("valid");
            for () in bare_asked {
                let start = Instant::now();
                runtime.validate_block(&params).expect("valid");
                let _ = bare_tell.send(start.elapsed().as_secs_f64() * 1e3);
            }
        });
        let mut pairs = Pairs::default();
        expect_valid(&runner.execute(&job, artifact, pov.clone()).await.0);
        for _ in 0..calls {
            bare_ask.send(()).map_err(|_| "the bare call failed")?;
            let bare = bare_told.recv().await.ok_or("the bare call failed")?;
            let start = Instant::now();
            expect_valid(&runner.execute(&job, artifact, pov.clone()).await.0);
            pairs.0.push((bare, start.elapsed().as_secs_f64() * 1e3));
        }
        drop(bare_ask);
        thread.join().map_err(|_| "the bare call failed")?;
        rows.push(pairs.row(format!("executing {} ({} extrinsics)", case.name, case.extrinsics), "ms"));
    }
    Ok(rows)
}

/// A process that reads an artifact, links it and makes one call: what a machine that just started cannot do without.
fn bare_cold(artifact: &Path, params: &Path) -> f64 {
    let us = std::env::current_exe().expect("a path");
    let start = Instant::now();
    let status = Command::new(us).arg(COLD).arg(artifact).arg(params).status().expect("a process");
    assert!(status.success(), "the bare process failed");
    start.elapsed().as_secs_f64() * 1e3
}

/// A fleet whose store is warm: a worker of another machine starts, and the first candidate waits for it.
async fn cold(folder: &Folder, case: &Case, artifact: &Path, runs: u64) -> Result<Row, String> {
    let params = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(params.path(), folder.params(case)?.ok_or("no parameters")?).expect("written");
    let mut fleet = Fleet::start(1, 0).await;
    let pvf = Pvf::new(folder.codes()?[0].clone(), ExecutorParams::default());
    let answer = fleet.host.precheck_pvf(pvf.clone()).await.map_err(|e| e.to_string())?;
    assert_eq!(answer.outcome, Outcome::PrecheckOk);
    let mut pairs = Pairs::default();
    for run in 0..runs {
        eprintln!("cold start, run {} of {runs}", run + 1);
        let bare = bare_cold(artifact, params.path());
        let request = pvf::ExecuteRequest { answer_within: Some(PATIENCE), fresh: true, ..folder.as_sent(case)? };
        let start = Instant::now();
        fleet.add(Role::Execute);
        let answer = fleet.host.execute_pvf(pvf.clone(), request).await.map_err(|e| e.to_string())?;
        assert!(matches!(answer.outcome, Outcome::Valid(_)), "{:?}", answer.outcome);
        pairs.0.push((bare, start.elapsed().as_secs_f64() * 1e3));
        // The next one is another machine, with nothing on its disk.
        fleet.execute.clear();
        fleet.complete(1, 0).await;
    }
    Ok(pairs.row(format!("cold start of a worker to the verdict on {}", case.name), "ms"))
}

async fn run(folder: &Folder) -> Result<(u64, Vec<Row>), String> {
    let codes = folder.codes()?;
    let mut rows = preparing(&codes, argument("--runs", 5)).await;
    let (bytes, artifact) = pvf_tests::bench::jobs::prepared(&codes[0]).await;
    rows.extend(executing(folder, artifact.path(), argument("--calls", 200)).await?);
    let valid = |case: &&Case| case.expect == Expect::Valid;
    let case = folder.cases().iter().find(valid).ok_or("no valid candidate")?;
    rows.push(cold(folder, case, artifact.path(), argument("--runs", 5)).await?);
    Ok((bytes, rows))
}

fn main() -> ExitCode {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if let [first, artifact, params] = &args[..]
        && first.as_os_str() == COLD
    {
        let (artifact, params) = (std::fs::read(artifact).expect("it"), std::fs::read(params).expect("them"));
        let call = deep(move || linked(&artifact).validate_block(&params).expect("valid"));
        call.join().expect("a verdict");
        return ExitCode::SUCCESS;
    }
    let path = args.first().filter(|arg| !arg.to_string_lossy().starts_with("--")).cloned();
    let runtime = pvf_shared::runtime::runtime().expect("a runtime");
    let folder = Folder::open(&path.unwrap_or_else(Folder::default_path));
    match folder.and_then(|folder| runtime.block_on(run(&folder))) {
        Ok((bytes, rows)) if flag("--json") => {
            let rows = rows.iter().map(|row| {
                serde_json::json!({ "name": row.name, "unit": row.unit, "bare": row.bare, "ours": row.ours,
                    "ratio": row.ratio })
            });
            println!("{}", serde_json::json!({ "artifact_bytes": bytes, "rows": rows.collect::<Vec<_>>() }));
            ExitCode::SUCCESS
        }
        Ok((bytes, rows)) => {
            println!("artifact of {bytes} bytes; medians");
            println!("{:64} {:>10} {:>10} {:>7}", "", "bare", "ours", "ratio");
            for row in rows {
                let name = format!("{}, {}", row.name, row.unit);
                println!("{name:64} {:>10.3} {:>10.3} {:>7.2}", row.bare, row.ours, row.ratio);
            }
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(2)
        }
    }
}
