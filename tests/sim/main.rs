//! `pvf-sim`: runs simulations of the scheduler and says what they found.

use pvf_tests::sim::{self, Summary};
use std::{process::ExitCode, time::Instant};

const USAGE: &str = "usage: pvf-sim --steps N [--seed S] [--seeds K] [--json]
Runs K simulations (default 1) of about N steps each with the seeds S, S+1, ... (default 0). A seed that fails is
printed with the shortest list of operations that fails. Exit code: 0 nothing found, 1 something, 2 usage.";

struct Args {
    seed: u64,
    seeds: u64,
    steps: u64,
    json: bool,
}

fn args() -> Result<Args, String> {
    let mut out = Args { seed: 0, seeds: 1, steps: 0, json: false };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || -> Result<u64, String> {
            let value = args.next().ok_or_else(|| format!("{arg}: a number is missing"))?;
            value.replace('_', "").parse().map_err(|_| format!("{arg}: {value:?} is not a number"))
        };
        match arg.as_str() {
            "--seed" => out.seed = number()?,
            "--seeds" => out.seeds = number()?,
            "--steps" => out.steps = number()?,
            "--json" => out.json = true,
            other => return Err(format!("{other}: unknown")),
        }
    }
    if out.steps == 0 {
        return Err("--steps: at least 1 is needed".into());
    }
    Ok(out)
}

fn main() -> ExitCode {
    let args = match args() {
        Ok(args) => args,
        Err(error) => {
            eprintln!("error: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    // What a run finds is a panic; it is printed once, with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let (mut total, mut failures) = (Summary::default(), 0);
    let started = Instant::now();
    for (n, seed) in (args.seed..).take(usize::try_from(args.seeds).unwrap_or(usize::MAX)).enumerate() {
        match sim::run(seed, args.steps) {
            Ok(summary) => {
                total.steps += summary.steps;
                total.requests += summary.requests;
                total.answered += summary.answered;
                total.dispatches += summary.dispatches;
                total.dropped += summary.dropped;
                total.restarts += summary.restarts;
                total.windows += summary.windows;
                total.trace ^= summary.trace.rotate_left((seed % 64) as u32);
            }
            Err(failure) => {
                failures += 1;
                println!("seed {seed} failed after {} steps: {}", failure.steps, failure.message);
                println!("{} operations:", failure.ops.len());
                for op in &failure.ops {
                    println!("  {op:?},");
                }
            }
        }
        if started.elapsed().as_secs() >= 1 && n % 16 == 15 {
            eprint!("\r{} of {} seeds, {} steps, {failures} failed ", n + 1, args.seeds, total.steps);
        }
    }
    eprintln!();
    if args.json {
        println!(
            "{{\"seeds\":{},\"failed\":{failures},\"steps\":{},\"requests\":{},\"answered\":{},\"dispatches\":{},\"artifacts_dropped\":{},\"restarts\":{},\"share_windows\":{},\"trace\":\"{:016x}\"}}",
            args.seeds,
            total.steps,
            total.requests,
            total.answered,
            total.dispatches,
            total.dropped,
            total.restarts,
            total.windows,
            total.trace
        );
    } else {
        println!(
            "{} seeds, {failures} failed: {} steps, {} requests, {} verdicts, {} dispatches, {} artifacts dropped, {} restarts, {} share windows, trace {:016x}",
            args.seeds,
            total.steps,
            total.requests,
            total.answered,
            total.dispatches,
            total.dropped,
            total.restarts,
            total.windows,
            total.trace
        );
    }
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
