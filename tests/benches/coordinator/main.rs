//! `pvf-bench-coordinator`: measures the verdicts that a coordinator gives through a real NATS, beside as many bare
//! messages through the same server.

mod bare;
mod clients;
mod fleet;
mod report;
mod workers;

use clap::Parser;
use fleet::{Fleet, Size};
use pvf_tests::bench::{Need, UNUSABLE, has_all};
use report::Report;
use std::process::ExitCode;

/// Measure the verdicts a second of a coordinator process on a real NATS, with clients and workers that do nothing but
/// speak the protocol: a worker reports each job as valid at once. Beside it, in the same run, as many messages of the
/// same mean size as the server received for these verdicts go from one connection to another, with nothing behind.
///
/// Needs a nats-server on the PATH or in PVF_NATS_SERVER.
#[derive(Parser)]
#[command(name = "pvf-bench-coordinator")]
struct Args {
    /// Requests of each measurement
    #[arg(long, value_name = "N", default_value = "20_000", value_parser = up_to::<10_000_000>)]
    requests: u64,
    /// Requests in flight at once, of all clients together
    #[arg(long, value_name = "N", default_value = "256", value_parser = up_to::<20_000>)]
    in_flight: u64,
    /// Clients, each with a connection of its own; at most as many as requests in flight
    #[arg(long, value_name = "N", default_value = "4", value_parser = up_to::<1_000>)]
    clients: u64,
    /// Execute workers, each with a connection of its own
    #[arg(long, value_name = "N", default_value = "4", value_parser = up_to::<1_000>)]
    workers: u64,
    /// Slots of each execute worker
    #[arg(long, value_name = "N", default_value = "8", value_parser = up_to::<1_024>)]
    slots: u64,
    /// Measurements; the median of the ratios counts
    #[arg(long, value_name = "N", default_value = "5", value_parser = up_to::<1_000>)]
    runs: u64,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Exit with code 1 if the bar is missed: at least 0.6 of the rate of the bare messages
    #[arg(long)]
    check: bool,
}

/// That of the coordinator and the workers.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The bar: verdicts a second, as a part of what the bare messages would make.
const BAR: f64 = 0.6;

/// Parses a count from 1 to this maximum, such as `20_000`.
fn up_to<const MAX: u64>(text: &str) -> Result<u64, String> {
    let count = text.replace('_', "").parse().ok().filter(|count| (1..=MAX).contains(count));
    count.ok_or_else(|| format!("a whole number from 1 to {MAX} is required"))
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.clients > args.in_flight {
        eprintln!("error: --clients {} is more than --in-flight {}", args.clients, args.in_flight);
        return ExitCode::from(UNUSABLE);
    }
    if !has_all([Need::NatsServer, Need::Binary("pvf-coordinator")]) {
        return ExitCode::from(UNUSABLE);
    }
    let runtime = pvf_shared::runtime::runtime().expect("a runtime");
    let report = runtime.block_on(measure(&args));
    if args.json {
        println!("{}", report.json());
    } else {
        report.print_median();
    }
    if args.check && report.ratio() < BAR {
        eprintln!(
            "error: the bar is missed: {:.2} x the rate of the bare messages, at least {BAR} required",
            report.ratio()
        );
        return ExitCode::from(1);
    }
    ExitCode::SUCCESS
}

async fn measure(args: &Args) -> Report {
    let Args { clients, workers, slots, in_flight, .. } = *args;
    let mut fleet = Fleet::start(Size { clients, workers, slots, in_flight }).await;
    // Nothing of what is needed once counts: the preparation, the first growth of tables and buffers.
    let warm_up = fleet.verdicts(args.requests.div_ceil(10)).await;
    fleet.bare(&warm_up).await;
    let mut report = Report::new(args.requests, in_flight);
    for _ in 0..args.runs {
        let traffic = fleet.verdicts(args.requests).await;
        let bare = fleet.bare(&traffic).await;
        let run = report.add(traffic, bare);
        if !args.json {
            run.print();
        }
    }
    report
}
