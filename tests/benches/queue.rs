//! `pvf-bench-queue [--backing N] [--disputes N] [--ms N] [--runs N] [--json]`: how long disputes wait behind a backlog of
//! backing, on a real NATS with real processes and two execute slots, compared with the bare calls of as many such
//! jobs on two cores. Prints the order in which they were answered.

use futures::{StreamExt as _, stream::FuturesUnordered};
use pvf::{ExecuteRequest, Pvf};
use pvf_guests::{
    adder::{Block, Head},
    corpus::busy,
};
use pvf_shared::{
    candidate::{ValidationParams, encode_params},
    params::ExecutorParams,
    priority::ExecuteKind,
    verdict::Outcome,
};
use pvf_tests::{
    ask::backing,
    fleet::{Fleet, Role},
    processes::until,
};
use pvf_worker::wasm::{self, CpuBaseline, Runtime};
use std::time::{Duration, Instant};

fn argument(name: &str, default: u64) -> u64 {
    let mut args = std::env::args().skip_while(|a| a != name).skip(1);
    args.next().map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name} takes a number")))
}

/// On a thread whose stack is larger than what the guest may use.
fn deep<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
    std::thread::Builder::new().stack_size(512 << 20).spawn(run).expect("a thread")
}

fn compiled(iterations: u64) -> Vec<u8> {
    let params = ExecutorParams::default();
    let module = wasm::prevalidate(&busy(iterations)).expect("it parses");
    wasm::prepare(module, &params, CpuBaseline::of_this_machine(), 1).expect("it compiles")
}

/// Time of `n` bare calls, each in a fresh instance.
fn bare(artifact: Vec<u8>, n: u64) -> Duration {
    let params = ExecutorParams::default();
    // SAFETY: we compiled it ourselves just now.
    let runtime = unsafe { Runtime::from_bytes::<()>(&artifact, &params, CpuBaseline::of_this_machine()) };
    let runtime = runtime.expect("it links");
    let input = encode_params(
        &ValidationParams {
            parent_head: vec![],
            block_data: vec![],
            relay_parent_number: 1,
            relay_parent_storage_root: [0; 32],
        },
        None,
    );
    let start = Instant::now();
    for _ in 0..n {
        runtime.validate_block(&input).expect("valid");
    }
    start.elapsed()
}

/// So many rounds of the guest's loop take this long where nothing else runs: the shortest of several tries.
fn calibrate(ms: u64) -> u64 {
    let probe = 2_000_000;
    let artifact = compiled(probe);
    let shortest = move || (0..20).map(|_| bare(artifact.clone(), 1)).min().unwrap_or_default();
    let took = deep(shortest).join().expect("a time");
    (probe as f64 * ms as f64 / 1000.0 / took.as_secs_f64()) as u64
}

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
    let artifact = compiled(iterations);
    let bare = || {
        let both = [n_disputes / 2, n_disputes - n_disputes / 2];
        let threads = both.map(|n| {
            let artifact = artifact.clone();
            deep(move || bare(artifact, n))
        });
        threads.map(|t| t.join().expect("a time")).into_iter().max().unwrap_or_default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (fleet, pvf) = runtime.block_on(fleet(iterations));
    let json = std::env::args().any(|a| a == "--json");
    let mut rounds = Vec::new();
    for n in 0..argument("--runs", 5).max(1) {
        let bare = bare();
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
