//! Attacks on verdicts: forged ones, forged reports, workers that are none.

use super::*;
use pvf_shared::{
    Bytes,
    blob::BlobRef,
    ids::{ArtifactId, CodeHash},
    job::{ExecuteOutcome, JobOutcome, JobUsage},
    params::ExecutorParams,
    subjects,
    verdict::{InvalidReason, Outcome},
    wire::{
        FromWorker, Heartbeat, Holding, JobReport, Timings, ToClient, Verdict, VerdictUsage, WorkerHello, WorkerReply,
    },
};
use pvf_testkit::fixtures::hello;
use pvf_tests::requests::{adder, assert_timed_out, bad_block, good_block};

/// A report of this attempt that says `valid`.
fn forged(dispatch: &wire::Dispatch) -> Bytes {
    let result = BlobRef::Inline(Bytes::from_static(&[8, 0xbe, 0xef, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    wire::encode(&FromWorker::Report(Box::new(JobReport {
        token: dispatch.token,
        job: dispatch.job,
        attempt: dispatch.attempt,
        outcome: JobOutcome::Execute(ExecuteOutcome::Valid(result)),
        usage: JobUsage::default(),
    })))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_verdict_does_not_reach_a_client() {
    let fleet_of_roles = SecuredFleet::start().await;
    let server = &fleet_of_roles.server;
    let EndlessJob { mut witness, waits, dispatch } = fleet_of_roles.run_endless();
    let victim = session("client");
    let verdict = wire::encode(&ToClient::Verdict(Box::new(Verdict {
        request: dispatch.request.unwrap(),
        outcome: Outcome::Invalid(InvalidReason::WorkerReported("forged".into())),
        code_hash: CodeHash([0; 32]),
        artifact: None,
        timings: Timings::default(),
        worker: None,
        attempts: 1,
        usage: VerdictUsage::default(),
        second_opinion: None,
    })));
    for (_, mut other_user) in server.other_users() {
        assert_refused(&mut other_user, &mut witness, &subjects::client_verdicts(&fleet(), &victim), &verdict);
    }
    // Nor by a worker of this fleet, and a client may not even send one to itself.
    for name in ["execute-worker", "prepare-worker", "client", "observer", "operator"] {
        let to = subjects::client_verdicts(&fleet(), &session("client"));
        assert_refused(&mut server.raw(name), &mut witness, &to, &verdict);
    }
    assert_timed_out(&waits.await.unwrap().unwrap().outcome, LIMIT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_report_ends_no_job() {
    let fleet_of_roles = SecuredFleet::start().await;
    let server = &fleet_of_roles.server;
    let worker = fleet_of_roles.worker(WorkerKind::Execute).await;
    let EndlessJob { mut witness, waits, dispatch } = fleet_of_roles.run_endless();
    let report = forged(&dispatch);
    for (role, mut other_user) in server.other_users() {
        assert_refused(&mut other_user, &mut witness, &subjects::worker_requests(&fleet(), &worker), &report);
        // On its own subject a worker may report what it likes: it has not got this job.
        if let Role::Worker(kind) = role {
            let own = run(kind, &other_user.user);
            let answer = other_user.ask(subjects::worker_requests(&fleet(), &own).as_str(), &report);
            assert!(matches!(wire::decode(&answer).unwrap(), WorkerReply::SayHello | WorkerReply::Ack), "{answer:?}");
        }
    }
    assert_timed_out(&waits.await.unwrap().unwrap().outcome, LIMIT);
}

/// Says hello as a worker of the kind that executes, and claims to have everything.
fn fake_hello(engine: pvf_shared::ids::EngineId) -> Bytes {
    wire::encode(&FromWorker::Hello(Box::new(WorkerHello { slots: 1024, engine, host: "elsewhere".into(), ..hello() })))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_worker_gets_no_job() {
    let fleet_of_roles = SecuredFleet::start().await;
    let server = &fleet_of_roles.server;
    let engine = fleet_of_roles.workers().await[0].engine.clone();
    let mut witness = server.witness();
    let warm = ArtifactId {
        code_hash: adder().code_hash(),
        prep_hash: ExecutorParams::default().prep_hash(),
        engine: engine.clone(),
    };
    let heartbeat = wire::encode(&FromWorker::Heartbeat(Heartbeat {
        running: vec![],
        holdings: vec![Holding::Warm(warm)],
        ..Heartbeat::default()
    }));
    for (role, mut other_user) in server.other_users() {
        // Also a prepare worker cannot say that it executes, nor the other way round.
        for kind in [WorkerKind::Prepare, WorkerKind::Execute] {
            if role == Role::Worker(kind) {
                continue;
            }
            let own = run(kind, &other_user.user);
            for message in [fake_hello(engine.clone()), heartbeat.clone()] {
                assert_refused(&mut other_user, &mut witness, &subjects::worker_requests(&fleet(), &own), &message);
            }
            assert_unheard(&mut other_user, subjects::worker_commands(&fleet(), &own).as_str());
        }
    }
    assert_eq!(fleet_of_roles.workers().await.len(), 2);
    let answer = fleet_of_roles.host.execute_pvf(adder(), bad_block()).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Invalid(_)), "{answer:?}");
    let answer = fleet_of_roles.host.execute_pvf(adder(), good_block()).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
}
