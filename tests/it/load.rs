//! Many requests at once.

use futures::{StreamExt as _, stream};
use pvf::Pvf;
use pvf_guests::{
    adder::{Block, Head},
    distinct_adder,
};
use pvf_shared::{params::ExecutorParams, verdict::Outcome};
use pvf_tests::{ask::backing, fleet::Fleet};

/// 1,000 requests over 20 codes through NATS with 2 execute workers: 1,000 verdicts, each code prepared once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_over_twenty_codes() {
    let fleet = Fleet::start(1, 2).await;
    let codes: Vec<Pvf> = (0..20).map(|n| Pvf::new(distinct_adder(n), ExecutorParams::default())).collect();
    let verdicts = stream::iter(0..1000u64)
        .map(|n| {
            let (pvf, host) = (codes[n as usize % 20].clone(), &fleet.host);
            async move {
                let block = Block { state: u64::from(n % 10 == 0), increment: n };
                let answer = host.execute_pvf(pvf, backing(Head::genesis().encode(), block.encode())).await;
                (n, block, answer.expect("an answer"))
            }
        })
        .buffer_unordered(200)
        .collect::<Vec<_>>()
        .await;
    assert_eq!(verdicts.len(), 1000);
    for (n, block, answer) in verdicts {
        match answer.outcome {
            Outcome::Valid(result) => {
                assert_ne!(n % 10, 0, "{n} claims a wrong state");
                assert_eq!(result.head_data, Head::genesis().next(&block).encode());
            }
            Outcome::Invalid(_) => assert_eq!(n % 10, 0, "{n} is good"),
            other => panic!("{n}: {other:?}"),
        }
    }
    let status = fleet.status().await;
    assert_eq!((status.prepared, status.executed, status.requests), (20, 1000, 0));
}
