//! `pvf-bench-failover`: measures for how long no verdict comes when the active coordinator ends, and a standby takes
//! over; and how soon a fleet gives the first verdict when all of it starts again.

use clap::{Parser, ValueEnum};
use futures::{StreamExt as _, stream::FuturesUnordered};
use pvf_guests::{
    adder::{Block, Head},
    distinct_adder,
};
use pvf_shared::{
    ValidationHost,
    bus::{
        Bus as _,
        nats::{NatsBus, NatsConnection},
    },
    ids::FleetName,
    subjects,
    verdict::Outcome,
};
use pvf_tests::{
    bench::{FLEET, UNUSABLE, has_all, positive},
    fleet::{Fleet, Role},
    processes::{Process, signal, until},
    requests::{adder, backing, good_block, pvf_of},
};
use serde_json::json;
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

/// The default duration of the lease.
const LEASE: Duration = Duration::from_secs(2);
/// How long the load runs before the fault, and after it.
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(8);
/// The longest time from the moment at which the coordinator of a restarted fleet is active to the first verdict.
const FIRST_VERDICT: Duration = Duration::from_secs(1);

/// Measure for how long no verdict comes when the active coordinator of a loaded fleet ends and a standby takes over,
/// on a real NATS with real processes; then how soon the first verdict comes when all processes of a fleet with
/// prepared artifacts are killed and start again. Every answer must be valid.
///
/// Needs a nats-server on the PATH or in PVF_NATS_SERVER.
#[derive(Parser)]
#[command(name = "pvf-bench-failover")]
struct Args {
    /// Requests in flight
    #[arg(long, value_name = "N", default_value = "200", value_parser = positive)]
    in_flight: u64,
    /// Takeovers of each kind; the median counts
    #[arg(long, value_name = "N", default_value = "3", value_parser = positive)]
    runs: u64,
    /// Only these kinds
    #[arg(long, value_name = "FAULT")]
    only: Vec<Fault>,
    /// How long a coordinator that is stopped stands still, seconds
    #[arg(long, value_name = "N", default_value = "30", value_parser = positive)]
    stopped: u64,
    /// Restarts of a whole fleet, each with figures of its own
    #[arg(long, value_name = "N", default_value = "3")]
    restarts: u64,
    /// Artifacts that are prepared before a restart
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(1..))]
    artifacts: u32,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// How the active coordinator ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// SIGTERM: it hands its lease over
    Term,
    /// SIGKILL
    Kill,
    /// SIGSTOP, and SIGCONT later
    Stop,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::Term => "SIGTERM",
            Self::Kill => "SIGKILL",
            Self::Stop => "SIGSTOP",
        }
    }

    /// The longest gap that is asked for.
    fn limit(self) -> Duration {
        match self {
            Self::Term => Duration::from_millis(100),
            Self::Kill | Self::Stop => LEASE * 2,
        }
    }
}

/// One takeover.
struct Run {
    /// The longest time without a verdict before the fault, and after it.
    before: Duration,
    after: Duration,
    verdicts: usize,
    not_valid: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if !has_all(FLEET) {
        return ExitCode::from(UNUSABLE);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let faults = if args.only.is_empty() { vec![Fault::Term, Fault::Kill, Fault::Stop] } else { args.only.clone() };
    let mut rows = Vec::new();
    for fault in faults {
        let mut runs = Vec::new();
        for n in 0..args.runs {
            eprintln!("{}, {} of {}", fault.name(), n + 1, args.runs);
            runs.push(runtime.block_on(takeover(fault, &args)));
        }
        runs.sort_by_key(|run| run.after);
        let (median, worst) = (ms(runs[runs.len() / 2].after), ms(runs[runs.len() - 1].after));
        let without = ms(runs.iter().map(|run| run.before).max().unwrap_or_default());
        let (verdicts, not_valid) = runs.iter().fold((0, 0), |(v, n), run| (v + run.verdicts, n + run.not_valid));
        let limit = ms(fault.limit());
        if !args.json {
            let holds = if worst <= limit { "holds" } else { "MISSED" };
            println!(
                "{}: no verdict for {median} ms (worst {worst}), without a fault {without}; {verdicts} verdicts, \
                 {not_valid} not valid; at most {limit} ms: {holds}",
                fault.name()
            );
        }
        rows.push(json!({
            "fault": fault.name(), "gap_ms": median, "worst_gap_ms": worst, "gap_without_fault_ms": without,
            "limit_ms": limit, "verdicts": verdicts, "not_valid": not_valid,
        }));
    }
    let mut restarts = Vec::new();
    for n in 0..args.restarts {
        eprintln!("restart, {} of {}", n + 1, args.restarts);
        restarts.push(runtime.block_on(restart(args.artifacts)));
    }
    restarts.sort_by_key(|restart| restart.since_active);
    let restarts: Vec<_> = restarts.iter().map(|restart| restart.row(&args)).collect();
    if args.json {
        println!("{}", json!({ "in_flight": args.in_flight, "takeovers": rows, "restarts": restarts }));
    }
    ExitCode::SUCCESS
}

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}

/// One restart of a whole fleet.
struct Restart {
    /// The time to the first verdict since the coordinator is active, and since the processes were started.
    since_active: Duration,
    since_start: Duration,
    /// The time to the last verdict since the coordinator is active.
    last: Duration,
    prepared_again: u64,
    not_valid: usize,
}

impl Restart {
    /// Prints it; the same for machines.
    fn row(&self, args: &Args) -> serde_json::Value {
        let (first, last, start) = (ms(self.since_active), ms(self.last), ms(self.since_start));
        let (limit, again, not_valid) = (ms(FIRST_VERDICT), self.prepared_again, self.not_valid);
        if !args.json {
            let holds = if first <= limit && again == 0 { "holds" } else { "MISSED" };
            println!(
                "restart with {} artifacts: first verdict {first} ms after the coordinator is active, the last one \
                 {last} ms, {start} ms after the start; {again} prepared again, {not_valid} not valid; at most \
                 {limit} ms and 0: {holds}",
                args.artifacts
            );
        }
        json!({
            "first_verdict_ms": first, "last_verdict_ms": last, "first_verdict_since_start_ms": start,
            "limit_ms": limit, "prepared_again": again, "not_valid": not_valid,
        })
    }
}

/// A fleet with this many artifacts, all of whose processes but the bus are killed and started again. A candidate for
/// each artifact waits for it.
async fn restart(artifacts: u32) -> Restart {
    let mut fleet = Fleet::start(1, 1).await;
    let codes: Vec<_> = (0..artifacts).map(|n| pvf_of(distinct_adder(n))).collect();
    for pvf in &codes {
        fleet.host.precheck_pvf(pvf.clone()).await.expect("the code is prepared");
    }
    let bus = NatsConnection::to(&fleet.nats.url).expect("a URL");
    let bus = NatsBus::connect(&bus, "witness", Duration::from_secs(10)).await.expect("a bus");
    fleet.coordinator.kill();
    let mut announcements =
        bus.subscribe(&subjects::announcements(&FleetName::default())).await.expect("announcements");
    fleet.restart();
    let start = Instant::now();
    let active = async { announcements.next().await.map(|_| Instant::now()).expect("an announcement") };
    let execute = |pvf| async {
        let answer = fleet.host.execute_pvf(pvf, good_block()).await.expect("an answer");
        (Instant::now(), matches!(answer.outcome, Outcome::Valid(_)))
    };
    let (active, answers) = tokio::join!(active, futures::future::join_all(codes.into_iter().map(execute)));
    let first = answers.iter().map(|(at, _)| *at).min().expect("an answer");
    let last = answers.iter().map(|(at, _)| *at).max().expect("an answer");
    Restart {
        since_active: first.saturating_duration_since(active),
        since_start: first - start,
        last: last.saturating_duration_since(active),
        prepared_again: fleet.status().await.prepared,
        not_valid: answers.iter().filter(|(_, valid)| !valid).count(),
    }
}

/// A fleet under load whose coordinator ends.
async fn takeover(fault: Fault, args: &Args) -> Run {
    let mut fleet = Fleet::start(1, 0).await;
    fleet.add_with_slots(Role::Execute, 2);
    fleet.complete(1, 1).await;
    let standby = Process::start(&mut fleet.coordinator_command());
    // The two coordinators, the two workers and the client.
    until("the standby is connected", async || (fleet.nats.varz("connections") >= 5).then_some(())).await;
    fleet.host.precheck_pvf(adder()).await.expect("the code is prepared");
    let active = fleet.coordinator.pid();
    let fault_at = Instant::now() + BEFORE;
    let end_at = fault_at + if fault == Fault::Stop { Duration::from_secs(args.stopped) + AFTER } else { AFTER };
    let inject = async {
        tokio::time::sleep_until(fault_at.into()).await;
        match fault {
            Fault::Term => signal(active, libc::SIGTERM),
            Fault::Kill => signal(active, libc::SIGKILL),
            Fault::Stop => {
                signal(active, libc::SIGSTOP);
                tokio::time::sleep(Duration::from_secs(args.stopped)).await;
                signal(active, libc::SIGCONT);
            }
        }
    };
    let ((), (times, not_valid)) = tokio::join!(inject, load(&fleet.host, args.in_flight, end_at));
    drop(standby);
    let longest = |from: Instant, to: Instant| {
        let within: Vec<_> = times.iter().copied().filter(|at| (from..to).contains(at)).collect();
        let ends = std::iter::once(from).chain(within.iter().copied());
        ends.zip(within.iter().copied().chain([to])).map(|(a, b)| b - a).max().unwrap_or_default()
    };
    let (before, after) = (longest(fault_at - BEFORE / 2, fault_at), longest(fault_at, end_at));
    Run { before, after, verdicts: times.len(), not_valid }
}

/// Keeps so many requests in flight; when each verdict came, and how many were not valid.
async fn load(host: &ValidationHost, in_flight: u64, end_at: Instant) -> (Vec<Instant>, usize) {
    let execute = |n: u64| {
        let request = backing(Head::genesis().encode(), Block { state: 0, increment: n }.encode());
        async move { host.execute_pvf(adder(), request).await.expect("an answer") }
    };
    let mut waiting: FuturesUnordered<_> = (0..in_flight).map(&execute).collect();
    let (mut next, mut times, mut not_valid) = (in_flight, Vec::new(), 0);
    while let Some(answer) = waiting.next().await {
        times.push(Instant::now());
        if !matches!(answer.outcome, Outcome::Valid(_)) {
            eprintln!("{:?}", answer.outcome);
            not_valid += 1;
        }
        if Instant::now() < end_at {
            waiting.push(execute(next));
            next += 1;
        }
    }
    (times, not_valid)
}
