//! Attacks on what only operators may do: to have workers drain.

use super::*;
use pvf_shared::{
    subjects,
    wire::{FromOperator, WorkerReply},
};

/// The tool's exit code, and what it says on stderr.
fn drained(server: &Server, user: &str, workers: &[&str]) -> (Option<i32>, String) {
    let output = server.pvf(user, &[&["drain"], workers].concat());
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_operator_has_workers_drain() {
    let mut fleet_of_roles = SecuredFleet::start().await;
    let server = &fleet_of_roles.server;
    let mut witness = server.witness();
    let workers = [fleet_of_roles.worker(WorkerKind::Prepare).await, fleet_of_roles.worker(WorkerKind::Execute).await];
    let drain = wire::encode(&FromOperator::Drain { workers: workers.to_vec() });
    let of_operator = subjects::operator_requests(&fleet(), &user("operator"));
    for (role, mut stranger) in server.strangers() {
        // Not in an operator's name, not even as another operator.
        assert_refused(&mut stranger, &mut witness, &of_operator, &drain);
        let own = subjects::operator_requests(&fleet(), &user(&stranger.user));
        if role != Role::Operator {
            assert_refused(&mut stranger, &mut witness, &own, &drain);
        }
        // The answer that tells a worker to drain.
        let told = wire::encode(&WorkerReply::Drain);
        for worker in &workers {
            let inbox = Subject::received(&format!("_INBOX.{}.@coordinator.x.1", worker.user));
            assert_refused(&mut stranger, &mut witness, &inbox, &told);
        }
        // The message on a subject on which it may speak.
        let elsewhere = match role {
            Role::Client => subjects::client_requests(&fleet(), &session(&stranger.user)),
            Role::Worker(kind) => subjects::worker_requests(&fleet(), &run(kind, &stranger.user)),
            Role::Coordinator | Role::Observer | Role::Operator => subjects::status(&fleet()),
        };
        stranger.ask(elsewhere.as_str(), &drain);
    }
    for name in ["client", "prepare-worker", "execute-worker", "observer", "coordinator"] {
        assert_refused(&mut server.raw(name), &mut witness, &of_operator, &drain);
    }
    let (code, text) = drained(server, "observer", &["execute"]);
    assert!(code == Some(3) && text.contains("must have the role operator"), "{text}");
    assert!(text.to_lowercase().contains("permissions violation"), "the reason is shown: {text}");
    assert!(!fleet_of_roles.workers().await.iter().any(|worker| worker.draining));

    // An operator may, and its processes end as after a signal.
    let (code, text) = drained(server, "mallory-operates", &["prepare", &workers[1].to_string()]);
    assert!(code == Some(0) && !text.to_lowercase().contains("violation"), "{text}");
    assert_eq!(fleet_of_roles.workers().await, []);
    for process in [&mut fleet_of_roles.prepare, &mut fleet_of_roles.execute] {
        assert_eq!(process.0.wait().unwrap().code(), Some(0));
    }
}
