//! Processes of a fleet that die, stop and hang: each case gets the verdict of the blame table, and the fleet keeps
//! serving.

use pvf::{Answer, ExecuteRequest, Pvf, ValidationHost};
use pvf_guests::{corpus, distinct_adder};
use pvf_shared::verdict::{AmbiguousReason, InvalidReason, Outcome, PrepareError};
use pvf_tests::{
    fleet::{Fleet, FleetConfig, LONG_LEASE, Role},
    processes::{cpu_ticks, has_ended, processes_named, signal, threads_of, until},
    requests::{adder, assert_timed_out, endless, good_block, is_starved, pvf_of},
};
use std::time::Duration;
use tokio::task::JoinHandle;

/// A request with this CPU time limit.
fn limited(limit: Duration) -> ExecuteRequest {
    let mut request = good_block();
    request.exec_timeout = Some(limit);
    request
}

fn execute(host: &ValidationHost, pvf: Pvf, request: ExecuteRequest) -> JoinHandle<Answer> {
    let host = host.clone();
    tokio::spawn(async move { host.execute_pvf(pvf, request).await.expect("an answer") })
}

/// Code whose preparation takes seconds, different for each number.
fn slow_to_prepare(n: u32) -> Pvf {
    pvf_of(corpus::large(4000 + n))
}

fn precheck(host: &ValidationHost, pvf: Pvf) -> JoinHandle<Answer> {
    let host = host.clone();
    tokio::spawn(async move { host.precheck_pvf(pvf).await.expect("an answer") })
}

/// Panics unless the fleet prepares and executes.
async fn assert_serves(fleet: &Fleet) {
    let answer = fleet.host.execute_pvf(pvf_of(distinct_adder(777)), good_block()).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
}

/// Waits until a process has used CPU time, so that a signal reaches it in the middle of its work.
async fn until_it_computes(pid: i32) {
    until("the job uses CPU time", async || (cpu_ticks(pid) >= 5).then_some(())).await;
}

/// Waits until a job has run for so long that its worker has acknowledged the dispatch, which it does after 50 ms:
/// until then the job has not begun, as far as the coordinator knows.
async fn until_acknowledged(job: i32) {
    until("the job uses 0.4 s of CPU time", async || (cpu_ticks(job) >= 40).then_some(())).await;
}

/// Waits until a job has run for so long that the coordinator knows that it has begun: at least one of its worker's
/// heartbeats, one each second, has not listed it among what is being fetched. Until then its end with its worker says
/// nothing about the candidate.
async fn until_known_to_run(job: i32) {
    until("the job uses 3 s of CPU time", async || (cpu_ticks(job) >= 300).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_execution_jobs_are_an_ambiguous_death_after_a_second_attempt() {
    let fleet = Fleet::start(1, 2).await;
    let answer = execute(&fleet.host, endless(), limited(Duration::from_secs(60)));
    let (first, job) = fleet.any_job(Role::Execute).await;
    signal(job, libc::SIGKILL);
    let job = fleet.job(Role::Execute, 1 - first).await;
    signal(job, libc::SIGKILL);
    let answer = answer.await.unwrap();
    let expected = Outcome::PossiblyInvalid(AmbiguousReason::JobDeath("signal 9".into()));
    assert_eq!((answer.outcome, answer.attempts), (expected, 2));
    assert_serves(&fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_execution_job_is_tried_again() {
    let fleet = Fleet::start(1, 2).await;
    fleet.host.precheck_pvf(adder()).await.unwrap();
    let answer = execute(&fleet.host, endless(), limited(Duration::from_secs(1)));
    let (_, job) = fleet.any_job(Role::Execute).await;
    signal(job, libc::SIGKILL);
    let answer = answer.await.unwrap();
    assert_eq!(answer.outcome, Outcome::Invalid(InvalidReason::HardTimeout { limit_ms: 1000 }));
    assert_eq!(answer.attempts, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_execution_job_is_tried_on_another_worker() {
    let fleet = Fleet::start(1, 2).await;
    let limit = Duration::from_secs(1);
    let answer = execute(&fleet.host, endless(), limited(limit));
    let (_, job) = fleet.any_job(Role::Execute).await;
    until_it_computes(job).await;
    signal(job, libc::SIGSTOP);
    let answer = answer.await.unwrap();
    // The guest of this test never ends: the worker that gives it CPU time finds that.
    assert_timed_out(&answer.outcome, limit);
    assert!(answer.attempts >= 2, "{answer:?}");
    assert_serves(&fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_preparation_job_is_a_transient_failure() {
    let fleet = Fleet::start(1, 1).await;
    let answer = precheck(&fleet.host, slow_to_prepare(0));
    // It is tried once more.
    let mut killed = None;
    for _ in 0..2 {
        let job = until("a preparation that was not killed yet has a job", async || {
            Some(fleet.job(Role::Prepare, 0).await).filter(|job| Some(*job) != killed)
        })
        .await;
        until_it_computes(job).await;
        assert!(!answer.is_finished());
        signal(job, libc::SIGKILL);
        killed = Some(job);
    }
    let outcome = answer.await.unwrap().outcome;
    assert_eq!(outcome, Outcome::PreparationFailed(PrepareError::JobDied("signal 9".into())));
    assert_serves(&fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_preparation_job_is_tried_again() {
    let fleet = Fleet::start(1, 1).await;
    let limit = Duration::from_secs(1);
    let answer = precheck(&fleet.host, slow_to_prepare(1).with_prepare_timeout(limit));
    let job = fleet.job(Role::Prepare, 0).await;
    signal(job, libc::SIGSTOP);
    let outcome = answer.await.unwrap().outcome;
    // Whether the second attempt is within its limit depends on the machine; the first one does not count.
    let timed_out = outcome == Outcome::PreparationFailed(PrepareError::TimedOut { limit_ms: 1000 });
    assert!(timed_out || outcome == Outcome::PrecheckOk || is_starved(&outcome, limit), "{outcome:?}");
    assert_serves(&fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_job_of_a_killed_execute_worker_ends_and_is_tried_on_another() {
    let mut fleet = Fleet::start(1, 2).await;
    let answer = execute(&fleet.host, endless(), limited(Duration::from_secs(2)));
    let (worker, job) = fleet.any_job(Role::Execute).await;
    until_acknowledged(job).await;
    fleet.execute[worker].kill();
    until("the worker's job has ended", async || has_ended(job).then_some(())).await;
    let answer = answer.await.unwrap();
    assert_eq!(answer.outcome, Outcome::Invalid(InvalidReason::HardTimeout { limit_ms: 2000 }));
    assert_eq!(answer.attempts, 2);
    assert_serves(&fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_killed_execute_workers_are_an_ambiguous_death() {
    let mut fleet = Fleet::start(1, 2).await;
    let answer = execute(&fleet.host, endless(), limited(Duration::from_secs(60)));
    let (first, job) = fleet.any_job(Role::Execute).await;
    until_known_to_run(job).await;
    fleet.execute[first].kill();
    until_known_to_run(fleet.job(Role::Execute, 1 - first).await).await;
    fleet.execute[1 - first].kill();
    let answer = answer.await.unwrap();
    assert_eq!(answer.outcome, Outcome::PossiblyInvalid(AmbiguousReason::WorkerDeath));
    fleet.add(Role::Execute);
    assert_serves(&fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_execute_worker_is_lost_and_comes_back() {
    let fleet = Fleet::start(1, 2).await;
    let answer = execute(&fleet.host, endless(), limited(Duration::from_secs(2)));
    let (worker, _) = fleet.any_job(Role::Execute).await;
    signal(fleet.execute[worker].pid(), libc::SIGSTOP);
    assert_timed_out(&answer.await.unwrap().outcome, Duration::from_secs(2));
    fleet.complete(1, 1).await;
    signal(fleet.execute[worker].pid(), libc::SIGCONT);
    fleet.complete(1, 2).await;
    assert_serves(&fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_prepare_worker_is_replaced_by_another() {
    let mut fleet = Fleet::start(2, 1).await;
    let answer = precheck(&fleet.host, slow_to_prepare(2));
    let (worker, _) = fleet.any_job(Role::Prepare).await;
    fleet.prepare[worker].kill();
    assert_eq!(answer.await.unwrap().outcome, Outcome::PrecheckOk);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_prepare_worker_is_lost_and_another_prepares() {
    let fleet = Fleet::start(2, 1).await;
    let answer = precheck(&fleet.host, slow_to_prepare(3));
    let (worker, _) = fleet.any_job(Role::Prepare).await;
    signal(fleet.prepare[worker].pid(), libc::SIGSTOP);
    assert_eq!(answer.await.unwrap().outcome, Outcome::PrecheckOk);
    signal(fleet.prepare[worker].pid(), libc::SIGCONT);
    fleet.complete(2, 1).await;
    assert_serves(&fleet).await;
}

/// A bus and a coordinator that stand still keep their connections. What the coordinator did not hear meanwhile says
/// nothing about the workers. (Its lease is longer: it stays the active one.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_or_a_coordinator_that_stands_still_costs_no_worker_and_no_attempt() {
    let settings = LONG_LEASE.into();
    let fleet = Fleet::with(FleetConfig { settings, ..FleetConfig::default() }).await;
    for pid in [fleet.nats.pid(), fleet.coordinator.pid()] {
        let mut request = limited(Duration::from_secs(60));
        request.fresh = true;
        let answer = execute(&fleet.host, pvf_of(corpus::busy(2_000_000_000)), request);
        let job = fleet.job(Role::Execute, 0).await;
        signal(job, libc::SIGSTOP);
        signal(pid, libc::SIGSTOP);
        // The fault is a standstill of a certain length, longer than a worker may be silent. Nothing can be asked
        // meanwhile.
        tokio::time::sleep(Duration::from_secs(8)).await;
        signal(pid, libc::SIGCONT);
        fleet.complete(1, 1).await;
        signal(job, libc::SIGCONT);
        let answer = answer.await.unwrap();
        assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
        assert_eq!(answer.attempts, 1);
    }
}

/// The death of a process before a job has begun in it costs an attempt and no verdict: a spare that waits for a job,
/// and a template that jobs are forked from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_templates_and_spares_are_replaced() {
    let fleet = Fleet::start(1, 1).await;
    assert_serves(&fleet).await;
    let worker = fleet.execute[0].pid();
    for name in ["pvf-spare", "pvf-template", "pvf-spare"] {
        let pid = until("the process exists", async || processes_named(worker, name).first().copied()).await;
        signal(pid, libc::SIGKILL);
        until("the process has ended", async || has_ended(pid).then_some(())).await;
        assert_serves(&fleet).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_wait_for_new_workers_when_all_have_died() {
    let mut fleet = Fleet::start(1, 2).await;
    fleet.host.precheck_pvf(adder()).await.unwrap();
    for worker in fleet.prepare.iter_mut().chain(&mut fleet.execute) {
        worker.kill();
    }
    let known = execute(&fleet.host, adder(), good_block());
    let unknown = execute(&fleet.host, pvf_of(distinct_adder(1)), good_block());
    fleet.complete(0, 0).await;
    fleet.add(Role::Prepare);
    fleet.add(Role::Execute);
    for answer in [known, unknown] {
        let answer = answer.await.unwrap();
        assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_has_one_thread() {
    let fleet = Fleet::start(1, 1).await;
    let answer = execute(&fleet.host, endless(), limited(Duration::from_secs(60)));
    let job = fleet.job(Role::Execute, 0).await;
    until_it_computes(job).await;
    assert_eq!(threads_of(job), 1);
    answer.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_coordinator_finds_workers_and_artifacts() {
    let mut fleet = Fleet::start(1, 1).await;
    let before = fleet.host.execute_pvf(adder(), good_block()).await.unwrap();
    fleet.replace_coordinator();
    fleet.complete(1, 1).await;
    let after = fleet.host.execute_pvf(adder(), good_block()).await.unwrap();
    assert_eq!(after.outcome, before.outcome);
    assert!(after.artifact.unwrap().cached);
    assert_eq!(fleet.status().await.prepared, 0, "nothing is prepared twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_fleet_prepares_nothing_again() {
    let mut fleet = Fleet::start(1, 1).await;
    let codes: Vec<_> = (0..20).map(|n| pvf_of(distinct_adder(n))).collect();
    for pvf in &codes {
        fleet.host.precheck_pvf(pvf.clone()).await.unwrap();
    }
    assert_eq!(fleet.status().await.prepared, 20);
    fleet.restart();
    // Asked before the new coordinator is active.
    let answers = codes.into_iter().map(|pvf| fleet.host.execute_pvf(pvf, good_block()));
    for answer in futures::future::join_all(answers).await {
        let answer = answer.unwrap();
        assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
        assert!(answer.artifact.is_some_and(|artifact| artifact.cached) && answer.usage.preparation.is_none());
    }
    assert_eq!(fleet.status().await.prepared, 0, "nothing is prepared again");
}
