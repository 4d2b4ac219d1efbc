//! `pvf-bench-queue [--backing N] [--disputes N] [--ms N] [--runs N] [--json]`: how long disputes wait behind a backlog of
//! backing, on a real NATS with real processes and two execute slots, compared with the bare calls of as many such
//! jobs on two cores. Prints the order in which they were answered.

use futures::{StreamExt as _, stream::FuturesUnordered};
use pvf::{ExecuteRequest, Pvf};
use pvf_guests::{
    adder::{Block, Head},
    corpus::busy,
};
use pvf_shared::{params::ExecutorParams, priority::ExecuteKind, verdict::Outcome};
use pvf_tests::{
    ask::backing,
    bench::{argument, bare_on_two_cores, calibrate, compiled, flag},
    fleet::{Fleet, Role},
    processes::until,
};
use std::time::{Duration, Instant};

/// One round: the disputes' time, the bare calls' time just before it, and the order of the answers.
struct Round {
    took: Duration,
    bare: Duration,
    order: String,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.took.as_secs_f64() / self.bare.as_secs_f64()
    }
}

fn main() {
    let (n_backing, n_disputes, ms) = (argument("--backing", 500), argument("--disputes", 20), argument("--ms", 5));
    let iterations = calibrate(ms);
    let artifact = compiled(&busy(iterations));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (fleet, pvf) = runtime.block_on(fleet(iterations));
    let json = flag("--json");
    let mut rounds = Vec::new();
    for n in 0..argument("--runs", 5).max(1) {
        let bare = bare_on_two_cores(&artifact, n_disputes);
        let (took, order) = runtime.block_on(queue(&fleet, &pvf, (n_backing, n_disputes), n));
        let round = Round { took, bare, order };
        if !json {
            let millis = |time: Duration| time.as_secs_f64() * 1e3;
            println!(
                "{n_disputes} jobs of {ms} ms, bare, on two cores: {:.1} ms; {n_disputes} disputes behind {n_backing} \
                 backing requests: {:.1} ms, {:.2} x; order (D dispute, b backing): {}",
                millis(round.bare),
                millis(round.took),
                round.ratio(),
                round.order,
            );
        }
        rounds.push(round);
    }
    rounds.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
    let median = &rounds[rounds.len() / 2];
    let (least, most) = (rounds[0].ratio(), rounds[rounds.len() - 1].ratio());
    if json {
        let (bare, took) = (median.bare.as_secs_f64() * 1e3, median.took.as_secs_f64() * 1e3);
        println!(
            "{{\"runs\":{},\"bare_ms\":{bare:.1},\"disputes_ms\":{took:.1},\"ratio\":{:.2},\"ratio_min\":{least:.2},\
             \"ratio_max\":{most:.2},\"order\":\"{}\"}}",
            rounds.len(),
            median.ratio(),
            median.order
        );
    } else {
        println!("median of {} runs: {:.2} x (from {least:.2} to {most:.2})", rounds.len(), median.ratio());
    }
}

/// A fleet with one execute worker of two slots, and the code that all requests are for, prepared.
async fn fleet(iterations: u64) -> (Fleet, Pvf) {
    let mut fleet = Fleet::start(1, 0).await;
    fleet.add_with_slots(Role::Execute, 2);
    fleet.complete(1, 1).await;
    let pvf = Pvf::new(busy(iterations), ExecutorParams::default());
    fleet.host.precheck_pvf(pvf.clone()).await.expect("prepared");
    (fleet, pvf)
}

async fn queue(fleet: &Fleet, pvf: &Pvf, (n_backing, n_disputes): (u64, u64), round: u64) -> (Duration, String) {
    let ask = |kind, n| {
        let (host, pvf) = (fleet.host.clone(), pvf.clone());
        let block = Block { state: 0, increment: round << 32 | n };
        let request = ExecuteRequest { kind, ..backing(Head::genesis().encode(), block.encode()) };
        tokio::spawn(async move {
            let answer = host.execute_pvf(pvf, request).await.expect("an answer");
            assert!(matches!(answer.outcome, Outcome::Valid(_)), "{:?}", answer.outcome);
            (kind, Instant::now())
        })
    };
    let mut asked: FuturesUnordered<_> = (0..n_backing).map(|n| ask(ExecuteKind::Backing, n)).collect();
    until("backing is queued", async || (fleet.status().await.execute_queue[3] * 10 > n_backing * 8).then_some(()))
        .await;
    let start = Instant::now();
    for n in 0..n_disputes {
        asked.push(ask(ExecuteKind::Dispute, 1_000_000 + n));
    }
    let mut order = Vec::new();
    while let Some(answered) = asked.next().await {
        order.push(answered.expect("an answer"));
    }
    order.sort_by_key(|(_, at)| *at);
    let is_dispute = |(kind, _): &(ExecuteKind, Instant)| *kind == ExecuteKind::Dispute;
    let first = order.iter().position(is_dispute).expect("a dispute");
    let last = order.iter().rposition(is_dispute).expect("a dispute");
    let letters = order[first..=last].iter().map(|at| if is_dispute(at) { 'D' } else { 'b' }).collect();
    (order[last].1 - start, letters)
}
