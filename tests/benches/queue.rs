//! `pvf-bench-queue`: measures how long disputes wait behind a backlog of backing requests.

use clap::Parser;
use futures::{StreamExt as _, stream::FuturesUnordered};
use pvf::{ExecuteRequest, Pvf};
use pvf_guests::{
    adder::{Block, Head},
    corpus::busy,
};
use pvf_shared::{params::ExecutorParams, priority::ExecuteKind, verdict::Outcome};
use pvf_tests::{
    bench::{FLEET, UNUSABLE, bare_on_two_cores, calibrate, compiled, has_all, positive},
    fleet::{Fleet, Role},
    processes::until,
    requests::backing,
};
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

/// Measure how long disputes wait behind a backlog of backing requests, on a real NATS with real processes and two
/// execute slots, compared with bare wasmtime calls of as many such jobs on two cores.
///
/// Prints the ratio and the order in which the requests were answered. Needs a nats-server on the PATH or in
/// PVF_NATS_SERVER.
#[derive(Parser)]
#[command(name = "pvf-bench-queue")]
struct Args {
    /// Backing requests in the queue
    #[arg(long, value_name = "N", default_value = "500", value_parser = positive)]
    backing: u64,
    /// Disputes submitted behind them
    #[arg(long, value_name = "N", default_value = "20", value_parser = positive)]
    disputes: u64,
    /// Execution time of each request, milliseconds
    #[arg(long, value_name = "N", default_value = "5", value_parser = positive)]
    ms: u64,
    /// Measurements; the median counts
    #[arg(long, value_name = "N", default_value = "5", value_parser = positive)]
    runs: u64,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// One measurement.
struct Run {
    /// Time from the submission of the disputes to the last dispute's answer.
    took: Duration,
    /// Time of the bare calls, measured just before.
    bare: Duration,
    /// The answers in order, from the first dispute to the last: D for a dispute, b for backing.
    order: String,
}

impl Run {
    fn ratio(&self) -> f64 {
        self.took.as_secs_f64() / self.bare.as_secs_f64()
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn main() -> ExitCode {
    let args = Args::parse();
    if !has_all(FLEET) {
        return ExitCode::from(UNUSABLE);
    }
    let Args { backing, disputes, ms, .. } = args;
    let iterations = calibrate(ms);
    let artifact = compiled(&busy(iterations));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (fleet, pvf) = runtime.block_on(fleet(iterations));
    let mut runs = Vec::new();
    for n in 0..args.runs {
        let bare = bare_on_two_cores(&artifact, disputes);
        let (took, order) = runtime.block_on(answers(&fleet, &pvf, &args, n));
        let run = Run { took, bare, order };
        if !args.json {
            println!(
                "{disputes} jobs of {ms} ms, bare, on two cores: {:.1} ms; {disputes} disputes behind {backing} \
                 backing requests: {:.1} ms, {:.2} x; order (D dispute, b backing): {}",
                millis(run.bare),
                millis(run.took),
                run.ratio(),
                run.order,
            );
        }
        runs.push(run);
    }
    runs.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
    let median = &runs[runs.len() / 2];
    let (least, most) = (runs[0].ratio(), runs[runs.len() - 1].ratio());
    if args.json {
        println!(
            "{{\"runs\":{},\"bare_ms\":{:.1},\"disputes_ms\":{:.1},\"ratio\":{:.2},\"ratio_min\":{least:.2},\
             \"ratio_max\":{most:.2},\"order\":\"{}\"}}",
            runs.len(),
            millis(median.bare),
            millis(median.took),
            median.ratio(),
            median.order
        );
    } else {
        println!("median of {} runs: {:.2} x (from {least:.2} to {most:.2})", runs.len(), median.ratio());
    }
    ExitCode::SUCCESS
}

/// A fleet with one execute worker of two slots, and the prepared code that all requests are for.
async fn fleet(iterations: u64) -> (Fleet, Pvf) {
    let mut fleet = Fleet::start(1, 0).await;
    fleet.add_with_slots(Role::Execute, 2);
    fleet.complete(1, 1).await;
    let pvf = Pvf::new(busy(iterations), ExecutorParams::default());
    fleet.host.precheck_pvf(pvf.clone()).await.expect("the code is prepared");
    (fleet, pvf)
}

async fn answers(fleet: &Fleet, pvf: &Pvf, args: &Args, run: u64) -> (Duration, String) {
    let submit = |kind, n| {
        let (host, pvf) = (fleet.host.clone(), pvf.clone());
        let block = Block { state: 0, increment: run << 32 | n };
        let request = ExecuteRequest { kind, ..backing(Head::genesis().encode(), block.encode()) };
        tokio::spawn(async move {
            let answer = host.execute_pvf(pvf, request).await.expect("an answer");
            assert!(matches!(answer.outcome, Outcome::Valid(_)), "{:?}", answer.outcome);
            (kind, Instant::now())
        })
    };
    let mut submitted: FuturesUnordered<_> = (0..args.backing).map(|n| submit(ExecuteKind::Backing, n)).collect();
    until("four fifths of the backing requests are queued", async || {
        (fleet.status().await.execute_queue[3] * 10 > args.backing * 8).then_some(())
    })
    .await;
    let start = Instant::now();
    for n in 0..args.disputes {
        submitted.push(submit(ExecuteKind::Dispute, 1_000_000 + n));
    }
    let mut order = Vec::new();
    while let Some(answered) = submitted.next().await {
        order.push(answered.expect("an answer"));
    }
    order.sort_by_key(|(_, at)| *at);
    let is_dispute = |(kind, _): &(ExecuteKind, Instant)| *kind == ExecuteKind::Dispute;
    let first = order.iter().position(is_dispute).expect("a dispute");
    let last = order.iter().rposition(is_dispute).expect("a dispute");
    let letters = order[first..=last].iter().map(|at| if is_dispute(at) { 'D' } else { 'b' }).collect();
    (order[last].1 - start, letters)
}
