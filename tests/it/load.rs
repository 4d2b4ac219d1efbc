//! Many requests at once, and a bus that goes away under them.

use futures::{StreamExt as _, stream};
use pvf::{Answer, Pvf, ValidationHost};
use pvf_guests::{
    adder::{Block, Head},
    corpus, distinct_adder,
};
use pvf_shared::verdict::Outcome;
use pvf_tests::{
    fleet::{Fleet, FleetConfig},
    processes::{Process, until},
    requests::{backing, pvf_of},
    slow_link::SlowLink,
};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

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

/// More bytes than the server keeps for a client that reads slowly (`max_pending`) are on their way to the coordinator
/// at once, and a dispatch takes longer than its acknowledgement may: the server disconnects the coordinator, messages
/// are lost and sent again, and no candidate suffers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_povs_over_a_slow_link_cost_no_verdict() {
    const REQUESTS: u8 = 12;
    const POV: usize = 4 << 20;
    let max_payload = POV + (256 << 10);
    let mut fleet = Fleet::with(FleetConfig { execute: 2, max_payload, ..FleetConfig::default() }).await;
    let link = SlowLink::to(&fleet.nats.url, 24 << 20).await;
    fleet.coordinator.kill();
    fleet.coordinator = Process::start(fleet.coordinator_command().args(["--nats", &link.url]));
    fleet.complete(1, 2).await;
    let echo = pvf_of(corpus::echo_like());
    let requests = (0..REQUESTS).map(|n| {
        let mut request = backing(vec![n], vec![n; POV]);
        request.answer_within = Some(Duration::from_secs(300));
        fleet.host.execute_pvf(echo.clone(), request)
    });
    for (n, answer) in futures::future::join_all(requests).await.into_iter().enumerate() {
        let answer = answer.unwrap();
        let Outcome::Valid(result) = &answer.outcome else { panic!("{n}: {answer:?}") };
        assert_eq!(result.head_data, [n as u8]);
    }
}
