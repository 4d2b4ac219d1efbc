//! What runs when a coordinator ends goes on under the next one.

use super::*;
use pvf::{Answer, ExecuteRequest, Pvf};
use pvf_guests::corpus;
use pvf_shared::{verdict::Outcome, wire::WorkerKind};
use pvf_tests::{
    fleet::{LONG_LEASE, Role},
    processes::{cpu_ticks, has_ended, jobs_of, lives, signal},
    requests::{assert_timed_out, endless, good_block, pvf_of},
};
use std::time::Duration;
use tokio::task::JoinHandle;

fn limited(limit: Duration) -> ExecuteRequest {
    let mut request = good_block();
    request.exec_timeout = Some(limit);
    request
}

fn execute(fleet: &Fleet, pvf: Pvf, request: ExecuteRequest) -> JoinHandle<Answer> {
    let host = fleet.host.clone();
    tokio::spawn(async move { host.execute_pvf(pvf, request).await.expect("an answer") })
}

/// A fleet of one execute worker whose guest never returns: the request, and the job's process. Its worker has
/// acknowledged the dispatch.
async fn with_endless_job(limit: Duration) -> (Watched, JoinHandle<Answer>, i32) {
    let watched = Watched::start("", 1).await;
    let answer = execute(&watched.fleet, endless(), limited(limit));
    let job = watched.fleet.job(Role::Execute, 0).await;
    until("the job uses 0.4 s of CPU time", async || (cpu_ticks(job) >= 40).then_some(())).await;
    (watched, answer, job)
}

/// Waits until the coordinator has the request, and its job in a slot.
async fn until_adopted(watched: &Watched) {
    until("the job is adopted", async || {
        let status = watched.fleet.host.status().await.ok()?;
        let running: u32 = status.workers.iter().map(|worker| worker.running).sum();
        (status.requests == 1 && status.executed == 1 && running == 1).then_some(())
    })
    .await;
}

/// Waits for an answer. Meanwhile the witness reads what it gets, so that the server does not give it up.
async fn answered(watched: &mut Watched, answer: JoinHandle<Answer>) -> Answer {
    until("the request is answered", async || {
        watched.look();
        answer.is_finished().then_some(())
    })
    .await;
    answer.await.unwrap()
}

/// Kills the active coordinator; a standby takes over.
async fn fail_over(watched: &mut Watched) -> Process {
    let before = watched.fleet.status().await.token;
    let standby = watched.standby();
    watched.fleet.coordinator.kill();
    watched.successor(before).await;
    standby
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_is_adopted_and_its_guest_runs_once() {
    // Long enough for the takeover, on a busy machine as well.
    let limit = Duration::from_secs(12);
    let (mut watched, answer, job) = with_endless_job(limit).await;
    let standby = fail_over(&mut watched).await;
    until_adopted(&watched).await;
    assert_eq!(jobs_of(watched.fleet.execute[0].pid()), [job], "the same process goes on");
    let answer = answered(&mut watched, answer).await;
    assert_timed_out(&answer.outcome, limit);
    assert_eq!(answer.attempts, 1, "{answer:?}");
    watched.look();
    let executions: Vec<_> = watched.dispatched.iter().filter(|(kind, ..)| *kind == WorkerKind::Execute).collect();
    assert_eq!(executions.len(), 1, "{executions:?}");
    watched.assert_not_contradicted();
    let status = watched.fleet.status().await;
    assert_eq!((status.inconsistencies, status.requests), (0, 0));
    assert!(status.workers.iter().all(|worker| worker.running == 0), "{status:?}");
    drop(standby);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_coordinator_cancels_an_adopted_job_that_nobody_waits_for() {
    let (mut watched, answer, job) = with_endless_job(Duration::from_secs(100)).await;
    let standby = fail_over(&mut watched).await;
    until_adopted(&watched).await;
    assert!(lives(job));
    answer.abort();
    until("the job has ended", async || has_ended(job).then_some(())).await;
    // Its slot is free: another job runs there.
    let next = watched.fleet.host.execute_pvf(pvf_of(pvf_guests::distinct_adder(5)), good_block()).await.unwrap();
    assert!(matches!(next.outcome, Outcome::Valid(_)), "{next:?}");
    drop(standby);
}

/// A hand-over takes a moment, and the code is compiled once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_preparation_is_adopted() {
    let mut watched = Watched::start(LONG_LEASE, 1).await;
    let before = watched.fleet.status().await.token;
    let standby = watched.standby();
    until("the standby is connected", async || (watched.fleet.nats.varz("connections") >= 6).then_some(())).await;
    let host = watched.fleet.host.clone();
    let answer = tokio::spawn(async move { host.precheck_pvf(pvf_of(corpus::large(6000))).await.expect("an answer") });
    let job = watched.fleet.job(Role::Prepare, 0).await;
    until("the job uses CPU time", async || (cpu_ticks(job) >= 5).then_some(())).await;
    signal(watched.fleet.coordinator.pid(), libc::SIGTERM);
    watched.successor(before).await;
    assert_eq!(answered(&mut watched, answer).await.outcome, Outcome::PrecheckOk);
    watched.look();
    let preparations: Vec<_> = watched.dispatched.iter().filter(|(kind, ..)| *kind == WorkerKind::Prepare).collect();
    assert_eq!(preparations.len(), 1, "{preparations:?}");
    drop(standby);
}
