//! Processes that die, stop and hang, on a fleet of real ones: each gets the verdict of the blame table, and the
//! fleet goes on. Facts: `reference/pvf-semantics.md` sections 5 and 9.

use pvf::{Answer, ExecuteRequest, Pvf, ValidationHost};
use pvf_guests::{corpus, distinct_adder};
use pvf_shared::{
    params::ExecutorParams,
    verdict::{AmbiguousReason, InvalidReason, Outcome, PrepareError},
};
use pvf_tests::{
    ask::{adder, endless, good_block},
    fleet::{Fleet, Role},
    processes::{cpu_ticks, lives, processes_of, signal, until},
};
use std::time::Duration;
use tokio::task::JoinHandle;

fn long(limit: Duration) -> ExecuteRequest {
    let mut request = good_block();
    request.exec_timeout = Some(limit);
    request
}

/// Asks in the background.
fn execute(host: &ValidationHost, pvf: Pvf, request: ExecuteRequest) -> JoinHandle<Answer> {
    let host = host.clone();
    tokio::spawn(async move { host.execute_pvf(pvf, request).await.expect("an answer") })
}

/// Code whose preparation takes seconds, another one each time.
fn slow_to_prepare(n: u32) -> Pvf {
    Pvf::new(corpus::large(4000 + n), ExecutorParams::default())
}

fn precheck(host: &ValidationHost, pvf: Pvf) -> JoinHandle<Answer> {
    let host = host.clone();
    tokio::spawn(async move { host.precheck_pvf(pvf).await.expect("an answer") })
}

/// The fleet still does what it is there for.
async fn still_serves(fleet: &Fleet) {
    let pvf = Pvf::new(distinct_adder(777), ExecutorParams::default());
    let answer = fleet.host.execute_pvf(pvf, good_block()).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
}

/// Waits until a process computes, so that a signal meets it in the middle of its work.
async fn computes(pid: i32) {
    until("the job computes", async || (cpu_ticks(pid) >= 5).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_execution_jobs_are_an_ambiguous_death_after_a_second_attempt() {
    let fleet = Fleet::start(1, 2).await;
    let answer = execute(&fleet.host, endless(), long(Duration::from_secs(60)));
    let (first, job) = fleet.any_job(Role::Execute).await;
    signal(job, libc::SIGKILL);
    let job = fleet.job(Role::Execute, 1 - first).await;
    signal(job, libc::SIGKILL);
    let answer = answer.await.unwrap();
    let expected = Outcome::PossiblyInvalid(AmbiguousReason::JobDeath("signal 9".into()));
    assert_eq!((answer.outcome, answer.attempts), (expected, 2));
    still_serves(&fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_killed_execution_job_costs_nothing_but_time() {
    let fleet = Fleet::start(1, 2).await;
    fleet.host.precheck_pvf(adder()).await.unwrap();
    let answer = execute(&fleet.host, endless(), long(Duration::from_secs(1)));
    let (_, job) = fleet.any_job(Role::Execute).await;
    signal(job, libc::SIGKILL);
    let answer = answer.await.unwrap();
    assert_eq!(answer.outcome, Outcome::Invalid(InvalidReason::HardTimeout { limit_ms: 1000 }));
    assert_eq!(answer.attempts, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_execution_job_ends_by_the_wall_clock() {
    let fleet = Fleet::start(1, 1).await;
    let answer = execute(&fleet.host, endless(), long(Duration::from_secs(1)));
    let job = fleet.job(Role::Execute, 0).await;
    computes(job).await;
    signal(job, libc::SIGSTOP);
    let answer = answer.await.unwrap();
    // Which limit it was tells that it was the wall clock, at four times the time-out.
    assert_eq!(answer.outcome, Outcome::Invalid(InvalidReason::HardTimeout { limit_ms: 4000 }));
    still_serves(&fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_preparation_job_failed_for_a_reason_that_may_pass() {
    let fleet = Fleet::start(1, 1).await;
    let answer = precheck(&fleet.host, slow_to_prepare(0));
    let job = fleet.job(Role::Prepare, 0).await;
    computes(job).await;
    signal(job, libc::SIGKILL);
    let outcome = answer.await.unwrap().outcome;
    assert_eq!(outcome, Outcome::PreparationFailed(PrepareError::JobDied("signal 9".into())));
    still_serves(&fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_preparation_job_times_out() {
    let fleet = Fleet::start(1, 1).await;
    let answer = precheck(&fleet.host, slow_to_prepare(1).with_prepare_timeout(Duration::from_secs(1)));
    let job = fleet.job(Role::Prepare, 0).await;
    signal(job, libc::SIGSTOP);
    let outcome = answer.await.unwrap().outcome;
    assert_eq!(outcome, Outcome::PreparationFailed(PrepareError::TimedOut { limit_ms: 4000 }));
    still_serves(&fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_execute_worker_takes_its_job_with_it_and_another_does_it() {
    let mut fleet = Fleet::start(1, 2).await;
    let answer = execute(&fleet.host, endless(), long(Duration::from_secs(2)));
    let (worker, job) = fleet.any_job(Role::Execute).await;
    fleet.execute[worker].kill();
    until("its job is gone too", async || (!std::path::Path::new(&format!("/proc/{job}")).exists()).then_some(()))
        .await;
    let answer = answer.await.unwrap();
    // The other worker came to a verdict of its own.
    assert_eq!(answer.outcome, Outcome::Invalid(InvalidReason::HardTimeout { limit_ms: 2000 }));
    assert_eq!(answer.attempts, 2);
    still_serves(&fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_killed_execute_workers_are_an_ambiguous_death() {
    let mut fleet = Fleet::start(1, 2).await;
    let answer = execute(&fleet.host, endless(), long(Duration::from_secs(60)));
    let (first, _) = fleet.any_job(Role::Execute).await;
    fleet.execute[first].kill();
    fleet.job(Role::Execute, 1 - first).await;
    fleet.execute[1 - first].kill();
    let answer = answer.await.unwrap();
    assert_eq!(answer.outcome, Outcome::PossiblyInvalid(AmbiguousReason::WorkerDeath));
    fleet.add(Role::Execute);
    still_serves(&fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_execute_worker_is_lost_and_comes_back() {
    let fleet = Fleet::start(1, 2).await;
    let answer = execute(&fleet.host, endless(), long(Duration::from_secs(2)));
    let (worker, _) = fleet.any_job(Role::Execute).await;
    signal(fleet.execute[worker].pid(), libc::SIGSTOP);
    let answer = answer.await.unwrap();
    assert_eq!(answer.outcome, Outcome::Invalid(InvalidReason::HardTimeout { limit_ms: 2000 }));
    fleet.complete(1, 1).await;
    signal(fleet.execute[worker].pid(), libc::SIGCONT);
    fleet.complete(1, 2).await;
    still_serves(&fleet).await;
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
    still_serves(&fleet).await;
}

/// At every stage before a job has begun a kill costs a try and no verdict: the spare that waits for it, the template
/// that it is forked of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_templates_and_spares_are_replaced() {
    let fleet = Fleet::start(1, 1).await;
    still_serves(&fleet).await;
    let worker = fleet.execute[0].pid();
    for name in ["pvf-spare", "pvf-template", "pvf-spare"] {
        let pid = until("there is one", async || processes_of(worker, name).first().copied()).await;
        signal(pid, libc::SIGKILL);
        until("it is gone", async || (!lives(pid)).then_some(())).await;
        still_serves(&fleet).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_does_not_stall_when_every_worker_died() {
    let mut fleet = Fleet::start(1, 2).await;
    fleet.host.precheck_pvf(adder()).await.unwrap();
    for worker in fleet.prepare.iter_mut().chain(&mut fleet.execute) {
        worker.kill();
    }
    let known = execute(&fleet.host, adder(), good_block());
    let unknown = execute(&fleet.host, Pvf::new(distinct_adder(1), ExecutorParams::default()), good_block());
    fleet.complete(0, 0).await;
    fleet.add(Role::Prepare);
    fleet.add(Role::Execute);
    for answer in [known, unknown] {
        let answer = answer.await.unwrap();
        assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_have_the_threads_they_should() {
    let fleet = Fleet::start(1, 1).await;
    let answer = execute(&fleet.host, endless(), long(Duration::from_secs(3)));
    let job = fleet.job(Role::Execute, 0).await;
    computes(job).await;
    let threads = std::fs::read_dir(format!("/proc/{job}/task")).unwrap().count();
    assert_eq!(threads, 1);
    answer.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_coordinator_finds_workers_and_artifacts() {
    let mut fleet = Fleet::start(1, 1).await;
    let before = fleet.host.execute_pvf(adder(), good_block()).await.unwrap();
    fleet.coordinator.kill();
    let mut command = pvf_tests::fleet::command("pvf-coordinator", &fleet.nats.url, fleet.store());
    fleet.coordinator = pvf_tests::processes::Process::start(&mut command);
    fleet.complete(1, 1).await;
    let after = fleet.host.execute_pvf(adder(), good_block()).await.unwrap();
    assert_eq!(after.outcome, before.outcome);
    assert!(after.artifact.unwrap().cached);
    assert_eq!(fleet.status().await.prepared, 0, "nothing is compiled twice");
}
