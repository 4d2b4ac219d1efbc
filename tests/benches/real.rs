//! `pvf-bench-real`: measures what a real parachain costs beside bare wasmtime.

use clap::Parser;
use pvf::Pvf;
use pvf_shared::{Bytes, blob::BlobRef, job::ExecuteJob, params::ExecutorParams, verdict::Outcome};
use pvf_testkit::DEADLINE;
use pvf_tests::{
    bench::{
        FLEET, UNUSABLE, has_all,
        jobs::{execute_job, expect_valid, prepare_job, prepared, runner},
        linked, median, on_deep_stack, positive,
    },
    fleet::{Fleet, Role},
    real::{Case, Expect, Folder},
};
use pvf_worker::{
    supervise::{ArtifactFile, Prepared},
    wasm::{self, CpuBaseline},
};
use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

/// Measure what a real parachain costs beside bare wasmtime, taken in the same run: preparing its runtime (wall clock
/// and CPU time), executing its blocks, and the first verdict of a worker that starts with an empty cache and a warm
/// store.
///
/// tests/real-parachain/run makes the folder. Needs a nats-server on the PATH or in PVF_NATS_SERVER, and the complete
/// sandbox.
#[derive(Parser)]
#[command(name = "pvf-bench-real")]
struct Args {
    /// Folder with the parachain's blocks [default: where tests/real-parachain/run puts it]
    folder: Option<PathBuf>,
    /// Preparations and cold starts; the medians count
    #[arg(long, value_name = "N", default_value = "5", value_parser = positive)]
    runs: u64,
    /// Executions of each valid candidate; the medians count
    #[arg(long, value_name = "N", default_value = "200", value_parser = positive)]
    calls: u64,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Internal: the process that reads an artifact and parameters from files, links, and makes one call
    #[arg(long, hide = true, num_args = 2, value_names = ["ARTIFACT", "PARAMS"])]
    cold: Option<Vec<PathBuf>>,
}

/// One figure beside the bare one.
struct Row {
    name: String,
    unit: &'static str,
    bare: f64,
    ours: f64,
    /// Median of the ratios of neighbouring measurements.
    ratio: f64,
}

/// Measurements of the bare calls and of ours, in turn.
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

/// The job of a candidate, and its PoV.
fn job_of(folder: &Folder, case: &Case) -> Result<(ExecuteJob, Bytes), String> {
    let request = folder.as_sent(case)?;
    let job = ExecuteJob {
        context: request.context,
        block_data: BlobRef::Inline(request.block_data.clone()),
        ..execute_job(ExecutorParams::default())
    };
    Ok((job, request.block_data))
}

async fn executing(folder: &Folder, artifact: &ArtifactFile, calls: u64) -> Result<Vec<Row>, String> {
    let runner = runner("pvf-execute-worker", 1, 1);
    let bytes = std::fs::read(artifact.path()).expect("the artifact");
    let mut rows = Vec::new();
    for case in folder.cases().iter().filter(|case| case.expect == Expect::Valid) {
        eprintln!("executing {}", case.name);
        let (job, pov) = job_of(folder, case)?;
        let params = folder.params(case)?.ok_or("a valid candidate without parameters")?;
        let bytes = bytes.clone();
        // The bare calls are made by a thread with a deep stack, in turn with ours.
        let (bare_ask, bare_asked) = std::sync::mpsc::channel::<()>();
        let (bare_tell, mut bare_told) = tokio::sync::mpsc::unbounded_channel();
        let thread = on_deep_stack(move || {
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

/// Time of a fresh process that reads an artifact, links it and makes one call: the floor of a cold start.
fn bare_cold(artifact: &Path, params: &Path) -> f64 {
    let this = std::env::current_exe().expect("the path of this executable");
    let start = Instant::now();
    let status = Command::new(this).arg("--cold").arg(artifact).arg(params).status().expect("the process starts");
    assert!(status.success(), "the bare process failed");
    start.elapsed().as_secs_f64() * 1e3
}

/// Cold start with a warm store: an execute worker starts with an empty cache, and a candidate waits for it.
async fn cold(folder: &Folder, case: &Case, artifact: &Path, runs: u64) -> Result<Row, String> {
    let params = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(params.path(), folder.params(case)?.ok_or("no parameters")?).expect("the parameters are written");
    let mut fleet = Fleet::start(1, 0).await;
    let pvf = Pvf::new(folder.codes()?[0].clone(), ExecutorParams::default());
    let answer = fleet.host.precheck_pvf(pvf.clone()).await.map_err(|e| e.to_string())?;
    assert_eq!(answer.outcome, Outcome::PrecheckOk);
    let mut pairs = Pairs::default();
    for run in 0..runs {
        eprintln!("cold start, run {} of {runs}", run + 1);
        let bare = bare_cold(artifact, params.path());
        let request = pvf::ExecuteRequest { answer_within: Some(DEADLINE), fresh: true, ..folder.as_sent(case)? };
        let start = Instant::now();
        fleet.add(Role::Execute);
        let answer = fleet.host.execute_pvf(pvf.clone(), request).await.map_err(|e| e.to_string())?;
        assert!(matches!(answer.outcome, Outcome::Valid(_)), "{:?}", answer.outcome);
        pairs.0.push((bare, start.elapsed().as_secs_f64() * 1e3));
        // Its cache goes with it: the next worker starts with an empty one.
        fleet.execute.clear();
        fleet.complete(1, 0).await;
    }
    Ok(pairs.row(format!("cold start of a worker to the verdict on {}", case.name), "ms"))
}

async fn run(folder: &Folder, args: &Args) -> Result<(u64, Vec<Row>), String> {
    let codes = folder.codes()?;
    let mut rows = preparing(&codes, args.runs).await;
    let artifact = prepared(&codes[0]).await;
    let bytes = artifact.compiled.code.len() as u64;
    rows.extend(executing(folder, &artifact.file, args.calls).await?);
    let valid = |case: &&Case| case.expect == Expect::Valid;
    let case = folder.cases().iter().find(valid).ok_or("no valid candidate")?;
    rows.push(cold(folder, case, artifact.file.path(), args.runs).await?);
    Ok((bytes, rows))
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some([artifact, params]) = args.cold.as_deref() {
        let artifact = std::fs::read(artifact).expect("the artifact");
        let params = std::fs::read(params).expect("the parameters");
        let call = on_deep_stack(move || linked(&artifact).validate_block(&params).expect("valid"));
        call.join().expect("a verdict");
        return ExitCode::SUCCESS;
    }
    if !has_all(FLEET) {
        return ExitCode::from(UNUSABLE);
    }
    let runtime = pvf_shared::runtime::runtime().expect("a runtime");
    let folder = Folder::open(&args.folder.clone().unwrap_or_else(Folder::default_path));
    match folder.and_then(|folder| runtime.block_on(run(&folder, &args))) {
        Ok((bytes, rows)) if args.json => {
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
            ExitCode::from(UNUSABLE)
        }
    }
}
