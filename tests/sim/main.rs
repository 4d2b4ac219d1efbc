//! `pvf-sim`: runs simulations of the scheduler and the worker cores, and prints the rules that they found broken.

use clap::Parser;
use pvf_tests::{
    bench::positive,
    sim::{self, Summary},
};
use std::{process::ExitCode, time::Instant};

/// Simulates the real scheduler and the real worker cores under every kind of fault, on a virtual clock.
///
/// A seed decides everything: the same seed gives the same run. A seed that fails is printed with the shortest list of
/// operations that still fails; PVF_SIM_TRACE=1 prints every event and effect of a run. Exit code: 0 no seed failed, 1
/// a seed failed, 2 wrong arguments.
#[derive(Parser)]
#[command(name = "pvf-sim")]
struct Args {
    /// Steps of each simulation, about
    #[arg(long, value_name = "N", value_parser = positive)]
    steps: u64,
    /// The first seed
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Seeds to simulate, one after another
    #[arg(long, value_name = "N", default_value = "1", value_parser = positive)]
    seeds: u64,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    // A broken rule is a panic; it is printed once, with its seed.
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
                total.adopted += summary.adopted;
                total.disagreements += summary.disagreements;
                total.lies += summary.lies;
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
            "{{\"seeds\":{},\"failed\":{failures},\"steps\":{},\"requests\":{},\"answered\":{},\"dispatches\":{},\"artifacts_dropped\":{},\"restarts\":{},\"adopted\":{},\"disagreements\":{},\"lies\":{},\"share_windows\":{},\"trace\":\"{:016x}\"}}",
            args.seeds,
            total.steps,
            total.requests,
            total.answered,
            total.dispatches,
            total.dropped,
            total.restarts,
            total.adopted,
            total.disagreements,
            total.lies,
            total.windows,
            total.trace
        );
    } else {
        println!(
            "{} seeds, {failures} failed: {} steps, {} requests, {} verdicts, {} dispatches, {} artifacts dropped, {} restarts, {} jobs adopted, {} disagreements, {} lies told, {} share windows, trace {:016x}",
            args.seeds,
            total.steps,
            total.requests,
            total.answered,
            total.dispatches,
            total.dropped,
            total.restarts,
            total.adopted,
            total.disagreements,
            total.lies,
            total.windows,
            total.trace
        );
    }
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
