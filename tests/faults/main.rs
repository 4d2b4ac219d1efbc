//! `pvf-chaos`: faults under load.

use clap::{Parser, Subcommand};
use pvf_shared::units::parse_duration;
use pvf_tests::{
    bench::{FLEET, Need, UNUSABLE, has_all, positive},
    faults::{CLOCK, KINDS, Plan, Report, Sizes, Step, StoreKind, client, isolate, run},
    processes::binary_on_path,
    s3,
};
use std::{path::PathBuf, process::ExitCode, time::Duration};

/// Have a fleet answer requests whose truth is known while a seed's faults happen to its processes, network, store and
/// clocks, and count what is lost, doubled, contradictory, wrong or falsely blamed.
///
/// Every process runs in a network namespace of its own on this machine. Needs Linux, root (or a user who may make
/// user namespaces; without limits of CPU time then), /dev/net/tun, `ip` and `mount`, and the executables of this
/// workspace: `cargo build --workspace --bins --examples`. Needs a nats-server on the PATH or in PVF_NATS_SERVER, and
/// for --store s3 `moto_server` beside it or on the PATH.
#[derive(Parser)]
#[command(
    name = "pvf-chaos",
    args_conflicts_with_subcommands = true,
    after_help = "\
Exit codes:
  0  nothing was lost, doubled, contradictory, wrong or falsely blamed
  1  something was
  2  wrong arguments, or this machine cannot do it"
)]
struct Args {
    /// Seed of the requests and the faults
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
    /// Requests
    #[arg(long, value_name = "N", default_value = "10000", value_parser = positive)]
    requests: u64,
    /// Requests in flight at each client
    #[arg(long, value_name = "N", default_value = "16", value_parser = positive)]
    in_flight: u64,
    /// End after this time, if there are requests left
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    lasts: Option<Duration>,
    /// Servers of the bus: 1, or a cluster of 3
    #[arg(long, value_name = "N", default_value = "1", value_parser = servers)]
    nats: usize,
    /// The store: a folder, or a server of the S3 protocol
    #[arg(long, value_enum, default_value = "folder")]
    store: StoreKind,
    /// Mean time between the beginnings of two faults
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    every: Duration,
    /// Only faults of these kinds; `none` for none
    #[arg(long, value_name = "KIND,…", value_delimiter = ',', value_parser = kind)]
    only: Vec<String>,
    /// The schedule of an earlier run's JSON report instead of that of the seed
    #[arg(long, value_name = "FILE")]
    schedule: Option<PathBuf>,
    /// Where logs and settings go, and stay [default: a temporary folder, deleted after a good run]
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Write memory and descriptors of each process over time as a picture (SVG)
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    role: Option<ChaosRole>,
}

#[derive(Subcommand)]
enum ChaosRole {
    /// One client process of a run, which starts it
    #[command(hide = true)]
    Client(client::ClientArgs),
}

fn servers(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| [1, 3].contains(count)).ok_or_else(|| "1 or 3 is required".into())
}

fn kind(text: &str) -> Result<String, String> {
    let all = KINDS.join(", ");
    let known = text == "none" || KINDS.contains(&text);
    known.then(|| text.to_owned()).ok_or_else(|| format!("no kind of fault; there are none, {all}"))
}

/// A step as a report has it, with the time at which it was done, milliseconds.
#[derive(serde::Deserialize)]
struct Reported {
    at: u64,
    step: Step,
}

#[derive(serde::Deserialize)]
struct Earlier {
    schedule: Vec<Reported>,
}

fn read_schedule(path: &PathBuf) -> Result<Vec<Step>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("--schedule {}: {error}", path.display()))?;
    let earlier: Earlier =
        serde_json::from_str(&text).map_err(|error| format!("--schedule {}: {error}", path.display()))?;
    let mut before = 0;
    let again = earlier.schedule.into_iter().map(|Reported { at, step }| {
        let after = at.saturating_sub(std::mem::replace(&mut before, at));
        Step { after, ..step }
    });
    Ok(again.collect())
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(ChaosRole::Client(args)) = args.role {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("a runtime").block_on(client::run(args));
        return ExitCode::SUCCESS;
    }
    if !has_all(FLEET.into_iter().chain([Need::Binary(CLOCK)])) {
        return ExitCode::from(UNUSABLE);
    }
    match chaos(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("pvf-chaos: {why}");
            ExitCode::from(UNUSABLE)
        }
    }
}

fn chaos(args: Args) -> Result<bool, String> {
    let server = s3::server_path();
    if args.store == StoreKind::S3 && !server.is_file() && binary_on_path("moto_server").is_none() {
        return Err("no moto_server on the PATH or beside PVF_NATS_SERVER (`.ci/setup` installs one)".into());
    }
    let schedule = args.schedule.as_ref().map(read_schedule).transpose()?;
    let temporary = tempfile::tempdir().map_err(|error| format!("temporary folder: {error}"))?;
    let folder = args.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let folder = folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))?;
    let is_root = rustix::process::geteuid().is_root();
    let mut kinds: Vec<String> = KINDS.iter().map(|kind| (*kind).to_owned()).collect();
    kinds.retain(|kind| args.only.is_empty() || args.only.contains(kind));
    if !is_root {
        eprintln!("not root: no limits of CPU time");
        kinds.retain(|kind| kind != "starve");
    }
    isolate()?;
    let sizes = Sizes { nats: args.nats, coordinators: 2, prepare: 2, execute: 3, clients: 2 };
    let (seed, every) = (args.seed, args.every.max(Duration::from_millis(10)));
    let in_flight = usize::try_from(args.in_flight).map_err(|error| error.to_string())?;
    let (requests, lasts, store) = (args.requests, args.lasts, args.store);
    let plan = Plan { seed, requests, in_flight, sizes, store, kinds, every, schedule, lasts, folder: folder.clone() };
    let (report, samples) = run(plan)?;
    if let Some(file) = &args.picture {
        std::fs::write(file, samples.picture()).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).expect("a report is JSON"));
    } else {
        print(&report);
    }
    if !report.is_good() {
        // The logs say why.
        eprintln!("logs: {}", folder.display());
        let _ = temporary.keep();
    }
    Ok(report.is_good())
}

fn print(report: &Report) {
    let tally = &report.tally;
    let verdict = if report.is_good() { "good" } else { "BAD" };
    println!("seed {}, {:.0} s: {verdict}", report.seed, report.seconds);
    println!(
        "{} requests: {} right, {} internal, {} starved, {} unclear, {} withdrawn by the end of their client",
        tally.requests, tally.right, tally.internal, tally.starved, tally.unclear, tally.withdrawn
    );
    println!(
        "{} lost, {} doubled, {} contradictory, {} wrong, {} falsely blamed; {} run more than once",
        tally.lost,
        tally.doubled,
        report.contradictions.len(),
        tally.wrong,
        tally.false_blame,
        tally.repeated
    );
    let [median, late, latest] = tally.ms;
    println!("answers after {median} ms (median), {late} ms (99 %), {latest} ms; none for {} ms", tally.longest_gap_ms);
    for (why, count) in &tally.internal_reasons {
        println!("  {count} x {why}");
    }
    for answer in &tally.faults {
        println!("  {:?}: request {}: {}", answer.judgement, answer.n, answer.text);
    }
    for contradiction in &report.contradictions {
        println!("  contradictory: {contradiction}");
    }
    let faults: Vec<_> = report.faults.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    println!("faults: {}; {} left out", faults.join(", "), report.left_out);
    println!("packets: {} carried, {} lost", report.packets.0, report.packets.1);
    println!("inconsistencies {}, left at the coordinator {}", report.inconsistencies, report.left_at_coordinator);
    for line in &report.panics {
        println!("  panic: {line}");
    }
    for (member, status) in &report.ended {
        println!("  {member} ended by itself: {status}");
    }
    for trend in &report.trends {
        println!(
            "  {}: {:.1} then {:.1} MiB, {:.0} then {:.0} descriptors ({:.0} s)",
            trend.member, trend.mib[0], trend.mib[1], trend.descriptors[0], trend.descriptors[1], trend.seconds
        );
    }
}
