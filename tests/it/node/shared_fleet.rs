//! Several nodes on one fleet: identical validations run once. What one of them may not see is in `attacks/nodes.rs`.

use super::{good, prepared};
use pvf_node::protocol::{ExecuteAnswer, ExecuteRequest};
use pvf_shared::params::ExecutorParams;
use pvf_tests::{
    fleet::{Fleet, Role},
    node::Workers,
    processes::until,
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identical_validations_of_two_nodes_run_once() {
    let fleet = Fleet::start(1, 1).await;
    let (one, two) = (Workers::new(&fleet.nats.url, "", ""), Workers::new(&fleet.nats.url, "", ""));
    let _services = (one.serve().await, two.serve().await);
    // Long enough that the second comes while the first runs.
    let code = pvf_guests::corpus::busy(3_000_000_000);
    let artifacts = (prepared(&one, &code).await, prepared(&two, &code).await);
    let mut workers = (one.execute(&ExecutorParams::default()).await, two.execute(&ExecutorParams::default()).await);
    let executed = fleet.status().await.executed;
    let long = |artifact| ExecuteRequest { timeout: Duration::from_secs(60), ..good(artifact) };
    workers.0.send(&artifacts.0, &long(&artifacts.0)).await;
    fleet.job(Role::Execute, 0).await;
    workers.1.send(&artifacts.1, &long(&artifacts.1)).await;
    until("the second joins the first", async || (fleet.status().await.coalesced > 0).then_some(())).await;
    let answers = (workers.0.0.receive().await, workers.1.0.receive().await);
    let (Some(first), Some(second)): (Option<ExecuteAnswer>, Option<ExecuteAnswer>) = answers else {
        panic!("two answers");
    };
    assert_eq!(first, second);
    assert_eq!(fleet.status().await.executed, executed + 1);
}
