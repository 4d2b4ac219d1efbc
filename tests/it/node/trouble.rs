//! What fails under a node's worker executables: they answer all the same, and never against a good candidate.

use super::{good, is_internal, is_valid, prepared};
use pvf_guests::adder::ADDER;
use pvf_node::protocol::{ExecuteRequest, PrepareError, PrepareJobKind};
use pvf_shared::params::ExecutorParams;
use pvf_tests::{
    fleet::{Fleet, Role},
    node::{Artifact, Workers},
    processes::{Process, signal},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Mutex;

/// So that a test waits for two seconds at most: the node's limit is four times as long.
const SHORT: Duration = Duration::from_millis(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_coordinator_the_answer_is_internal() {
    let mut fleet = Fleet::start(1, 1).await;
    let workers = Workers::new(&fleet.nats.url, "", "");
    let _service = workers.serve().await;
    let artifact = prepared(&workers, ADDER).await;
    let request = ExecuteRequest { timeout: SHORT, ..good(&artifact) };
    // Never seen one, and having seen one.
    let mut seen = workers.execute(&ExecutorParams::default()).await;
    assert!(is_valid(&seen.execute(&artifact, &good(&artifact)).await));
    fleet.coordinator.kill();
    let fresh = Workers::new(&fleet.nats.url, "", "");
    std::fs::copy(workers.path("pvf-node.key"), fresh.path("pvf-node.key")).unwrap();
    let mut unseen = fresh.execute(&ExecutorParams::default()).await;
    for worker in [&mut seen, &mut unseen] {
        let answer = worker.execute(&artifact, &request).await;
        assert!(
            is_internal(&answer) && format!("{answer:?}").contains("pvf-fleet: no answer of the fleet within"),
            "{answer:?}"
        );
    }
    fleet.replace_coordinator();
    let mut again = workers.execute(&ExecutorParams::default()).await;
    assert!(is_valid(&again.execute(&artifact, &ExecuteRequest { timeout: Duration::from_secs(20), ..request }).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_bus_the_answer_is_internal() {
    let workers = Workers::new("nats://127.0.0.1:1", "", "");
    let mut prepare = workers.prepare().await;
    prepare.timeout = SHORT;
    let (answer, none) = prepare.prepare(b"\0asm", PrepareJobKind::Compilation).await;
    let mut execute = workers.execute(&ExecutorParams::default()).await;
    // As if it had been prepared before the bus was lost.
    let artifact = Artifact::of_code(&workers, ADDER);
    let answer_of_execution = execute.execute(&artifact, &ExecuteRequest { timeout: SHORT, ..good(&artifact) }).await;
    assert!(is_internal(&answer_of_execution), "{answer_of_execution:?}");
    assert!(matches!(&answer, Err(PrepareError::Io(why)) if why.contains("pvf-fleet")) && none.is_none(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_killed_or_stands_still_is_gone_around() {
    let fleet = Fleet::start(1, 1).await;
    let workers = Workers::new(&fleet.nats.url, "", "");
    let mut service = workers.serve().await;
    let artifact = prepared(&workers, ADDER).await;
    let endless = prepared(&workers, &pvf_guests::corpus::busy(3_000_000_000)).await;
    let mut execute = workers.execute(&ExecutorParams::default()).await;
    // Killed during a job: the worker goes another way, and the fleet runs the candidate again or hands over its verdict.
    let long = ExecuteRequest { timeout: Duration::from_secs(60), ..good(&endless) };
    execute.send(&endless, &long).await;
    fleet.job(Role::Execute, 0).await;
    service.kill();
    let answer = execute.0.receive::<pvf_node::protocol::ExecuteAnswer>().await.unwrap();
    assert!(is_valid(&answer), "{answer:?}");
    // The next job goes the other way as well, and through a new service once it is there.
    assert!(is_valid(&execute.execute(&artifact, &good(&artifact)).await));
    let service = workers.serve().await;
    assert!(is_valid(&execute.execute(&artifact, &good(&artifact)).await));
    // Standing still: an answer in time all the same.
    signal(service.pid(), libc::SIGSTOP);
    let request = ExecuteRequest { timeout: SHORT, ..good(&artifact) };
    let answer = execute.execute(&artifact, &request).await;
    assert!(is_internal(&answer) || is_valid(&answer), "{answer:?}");
    signal(service.pid(), libc::SIGCONT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_of_the_machine_stands_in_for_a_fleet_that_is_away() {
    let mut fleet = Fleet::start(1, 1).await;
    let workers = Workers::new(&fleet.nats.url, "[answers]\nfallback = \"local\"\nlocal-after = 0.1", "");
    let _service = workers.serve().await;
    let artifact = prepared(&workers, ADDER).await;
    let mut execute = workers.execute(&ExecutorParams::default()).await;
    assert!(is_valid(&execute.execute(&artifact, &good(&artifact)).await));
    fleet.nats.kill();
    for _ in 0..2 {
        let request = ExecuteRequest { timeout: Duration::from_secs(20), ..good(&artifact) };
        let answer = execute.execute(&artifact, &request).await;
        assert!(is_valid(&answer), "{answer:?}");
    }
    let request = ExecuteRequest { timeout: Duration::from_secs(20), ..super::bad(&artifact) };
    let answer = execute.execute(&artifact, &request).await.unwrap();
    assert!(matches!(answer.response, pvf_node::protocol::JobResponse::InvalidCandidate(_)), "{answer:?}");
}

/// A short version of what `tests/real-node/run` does with the real host.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_everything_dies_in_turn_no_good_candidate_is_blamed() {
    let fleet = Fleet::start(1, 2).await;
    let workers = Arc::new(Workers::new(&fleet.nats.url, "", ""));
    let service = workers.serve().await;
    let artifact = Arc::new(prepared(&workers, ADDER).await);
    let answered = Arc::new(Mutex::new((0, 0)));
    let stop = Arc::new(tokio::sync::Notify::new());
    let mut nodes = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (workers, artifact, answered, stop) = (workers.clone(), artifact.clone(), answered.clone(), stop.clone());
        nodes.spawn(async move {
            let mut worker = workers.execute(&ExecutorParams::default()).await;
            let stopped = stop.notified();
            tokio::pin!(stopped);
            loop {
                let request = ExecuteRequest { timeout: SHORT, ..good(&artifact) };
                let answer = worker.execute(&artifact, &request).await;
                assert!(is_valid(&answer) || is_internal(&answer), "{answer:?}");
                let mut counts = answered.lock().await;
                if is_valid(&answer) {
                    counts.0 += 1;
                } else {
                    counts.1 += 1;
                    // As a node does.
                    worker = workers.execute(&ExecutorParams::default()).await;
                }
                drop(counts);
                if futures::FutureExt::now_or_never(stopped.as_mut()).is_some() {
                    return;
                }
            }
        });
    }
    let mut faults = Faults { fleet, service, workers };
    for fault in [Fault::Coordinator, Fault::Service, Fault::Bus, Fault::BusStands, Fault::Coordinator, Fault::Service]
    {
        let (before, _) = *answered.lock().await;
        faults.do_one(fault).await;
        // They recover from each.
        pvf_tests::processes::until("validations go on", async || (answered.lock().await.0 > before + 4).then_some(()))
            .await;
    }
    stop.notify_waiters();
    while let Some(node) = nodes.join_next().await {
        node.unwrap();
    }
}

#[derive(Clone, Copy)]
enum Fault {
    Coordinator,
    Service,
    Bus,
    BusStands,
}

struct Faults {
    fleet: Fleet,
    service: Process,
    workers: Arc<Workers>,
}

impl Faults {
    async fn do_one(&mut self, fault: Fault) {
        match fault {
            Fault::Coordinator => self.fleet.replace_coordinator(),
            Fault::Service => {
                self.service.kill();
                self.service = self.workers.serve().await;
            }
            Fault::Bus => self.fleet.nats.restart().await,
            Fault::BusStands => {
                signal(self.fleet.nats.pid(), libc::SIGSTOP);
                // The standstill is the fault.
                tokio::time::sleep(Duration::from_secs(3)).await;
                signal(self.fleet.nats.pid(), libc::SIGCONT);
            }
        }
    }
}
