//! Attacks on workers: commands that are not the coordinator's, and messages in a worker's name.

use super::*;
use pvf_shared::{
    ids::{FencingToken, JobId},
    subjects,
    verdict::Outcome,
    wire::{FromWorker, Heartbeat, RunningJob},
};
use pvf_tests::requests::{adder, assert_timed_out, good_block};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_one_but_the_coordinator_commands_workers() {
    let fleet_of_roles = SecuredFleet::start().await;
    let server = &fleet_of_roles.server;
    let mut witness = server.witness();
    let token = FencingToken(u64::MAX);
    for status in fleet_of_roles.workers().await {
        let to = subjects::worker_commands(&fleet(), &status.id);
        for message in [
            ToWorker::Recall { token, job: JobId(0), attempt: 0 },
            ToWorker::Cancel { token, job: JobId(1), attempt: 1 },
            ToWorker::Acknowledge { reports: vec![RunningJob { token, job: JobId(1), attempt: 1 }] },
        ] {
            for (_, mut other_user) in server.other_users() {
                assert_refused(&mut other_user, &mut witness, &to, &wire::encode(&message));
            }
            for name in ["client", "prepare-worker", "execute-worker", "observer", "operator"] {
                assert_refused(&mut server.raw(name), &mut witness, &to, &wire::encode(&message));
            }
        }
    }
    // The workers still obey their coordinator.
    let answer = fleet_of_roles.host.execute_pvf(adder(), good_block()).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_speaks_in_a_workers_name() {
    let fleet_of_roles = SecuredFleet::start().await;
    let server = &fleet_of_roles.server;
    let worker = fleet_of_roles.worker(WorkerKind::Execute).await;
    let EndlessJob { mut witness, waits, .. } = fleet_of_roles.run_endless();
    let heartbeat = |draining| FromWorker::Heartbeat(Heartbeat { running: vec![], draining, ..Heartbeat::default() });
    for message in [FromWorker::Goodbye, heartbeat(false), heartbeat(true)] {
        for (role, mut other_user) in server.other_users() {
            let message = wire::encode(&message);
            assert_refused(&mut other_user, &mut witness, &subjects::worker_requests(&fleet(), &worker), &message);
            // Its own goodbye is nobody else's.
            if let Role::Worker(kind) = role {
                other_user.ask(subjects::worker_requests(&fleet(), &run(kind, &other_user.user)).as_str(), &message);
            }
        }
    }
    let answer = waits.await.unwrap().unwrap();
    assert_timed_out(&answer.outcome, LIMIT);
    assert_eq!((answer.attempts, answer.worker), (1, Some(worker)), "{answer:?}");
    assert_eq!(fleet_of_roles.workers().await.len(), 2);
}
