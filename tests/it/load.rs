//! Many requests at once, and a bus that goes away under them.

use futures::{StreamExt as _, stream};
use pvf::{Answer, Pvf, ValidationHost};
use pvf_guests::{
    adder::{Block, Head},
    distinct_adder,
};
use pvf_shared::verdict::Outcome;
use pvf_tests::{
    fleet::Fleet,
    processes::until,
    requests::{backing, pvf_of},
};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Adders with different code.
fn adders(count: u32) -> Vec<Pvf> {
    (0..count).map(|n| pvf_of(distinct_adder(n))).collect()
}

/// Requests `n` of a load over these codes; every tenth block claims a wrong state.
fn block(n: u64) -> Block {
    Block { state: u64::from(n.is_multiple_of(10)), increment: n }
}

async fn execute(host: &ValidationHost, codes: &[Pvf], n: u64) -> Answer {
    let request = backing(Head::genesis().encode(), block(n).encode());
    host.execute_pvf(codes[n as usize % codes.len()].clone(), request).await.expect("an answer")
}

/// Panics unless the answer to request `n` is right, to the bit of the result.
fn assert_right(n: u64, answer: Answer) {
    match answer.outcome {
        Outcome::Valid(result) => {
            assert_ne!(n % 10, 0, "{n} claims a wrong state");
            assert_eq!(result.head_data, Head::genesis().next(&block(n)).encode());
        }
        Outcome::Invalid(_) => assert_eq!(n % 10, 0, "{n} is valid"),
        other => panic!("{n}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_over_twenty_codes() {
    let fleet = Fleet::start(1, 2).await;
    let codes = adders(20);
    let requests = stream::iter(0..1000).map(|n| {
        let (host, codes) = (&fleet.host, &codes);
        async move { (n, execute(host, codes, n).await) }
    });
    let answers: Vec<_> = requests.buffer_unordered(200).collect().await;
    assert_eq!(answers.len(), 1000);
    answers.into_iter().for_each(|(n, answer)| assert_right(n, answer));
    let status = fleet.status().await;
    assert_eq!((status.prepared, status.executed, status.requests), (20, 1000, 0));
}

/// The server is killed after a quarter of the answers, with hundreds of requests in flight, and started again on the
/// same port: every request is answered, and rightly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_comes_back_under_load_costs_no_verdict() {
    const REQUESTS: u64 = 600;
    let mut fleet = Fleet::start(1, 2).await;
    let codes = adders(5);
    let (host, answered) = (fleet.host.clone(), &AtomicUsize::new(0));
    let requests = stream::iter(0..REQUESTS).map(|n| {
        let (host, codes) = (&host, &codes);
        async move {
            let answer = execute(host, codes, n).await;
            answered.fetch_add(1, Ordering::Relaxed);
            (n, answer)
        }
    });
    let load = requests.buffer_unordered(300).collect::<Vec<_>>();
    let outage = async {
        until("a quarter of the requests is answered", async || {
            (answered.load(Ordering::Relaxed) as u64 > REQUESTS / 4).then_some(())
        })
        .await;
        fleet.nats.kill();
        fleet.nats.restart().await;
    };
    let (answers, ()) = tokio::join!(load, outage);
    assert_eq!(answers.len() as u64, REQUESTS);
    answers.into_iter().for_each(|(n, answer)| assert_right(n, answer));
    fleet.complete(1, 2).await;
    until("nothing of the requests is left", async || (fleet.host.status().await.ok()?.requests == 0).then_some(()))
        .await;
}
