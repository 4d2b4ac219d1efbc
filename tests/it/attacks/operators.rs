//! Attacks on what only operators may do: to have workers drain, to end requests, to pin and remove artifacts.

use super::*;
use pvf_shared::{
    subjects,
    verdict::{InternalError, Outcome},
    wire::{ArtifactChoice, FromOperator, WorkerReply},
};

/// The tool's exit code, and what it says on stderr.
fn drained(server: &Server, user: &str, workers: &[&str]) -> (Option<i32>, String) {
    let output = server.pvf(user, &[&["drain"], workers].concat());
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// A message of an operator is refused from every other user: in an operator's name, not even as another operator, and
/// in its own. On a subject on which that user may speak it is no message of an operator.
fn assert_for_operators_only(server: &Server, witness: &mut Raw, message: &[u8]) {
    let of_operator = subjects::operator_requests(&fleet(), &user("operator"));
    for (role, mut other_user) in server.other_users() {
        assert_refused(&mut other_user, witness, &of_operator, message);
        let own = subjects::operator_requests(&fleet(), &user(&other_user.user));
        if role != Role::Operator {
            assert_refused(&mut other_user, witness, &own, message);
        }
        let elsewhere = match role {
            Role::Client => subjects::client_requests(&fleet(), &session(&other_user.user)),
            Role::Worker(kind) => subjects::worker_requests(&fleet(), &run(kind, &other_user.user)),
            Role::Coordinator | Role::Observer | Role::Operator => subjects::status(&fleet()),
        };
        other_user.ask(elsewhere.as_str(), message);
    }
    for name in ["client", "prepare-worker", "execute-worker", "observer", "coordinator"] {
        assert_refused(&mut server.raw(name), witness, &of_operator, message);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_operator_has_workers_drain() {
    let mut fleet_of_roles = SecuredFleet::start().await;
    let server = &fleet_of_roles.server;
    let mut witness = server.witness();
    let workers = [fleet_of_roles.worker(WorkerKind::Prepare).await, fleet_of_roles.worker(WorkerKind::Execute).await];
    let drain = wire::encode(&FromOperator::Drain { workers: workers.to_vec() });
    assert_for_operators_only(server, &mut witness, &drain);
    // The answer that tells a worker to drain.
    let told = wire::encode(&WorkerReply::Drain);
    for (_, mut other_user) in server.other_users() {
        for worker in &workers {
            let inbox = Subject::received(&format!("_INBOX.{}.@coordinator.x.1", worker.user));
            assert_refused(&mut other_user, &mut witness, &inbox, &told);
        }
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_operator_cancels_pins_and_removes() {
    let fleet_of_roles = SecuredFleet::start().await;
    let server = &fleet_of_roles.server;
    let mut witness = server.witness();
    // It runs for longer than all attacks take.
    let (host, mut execution) = (fleet_of_roles.host.clone(), good_block());
    execution.exec_timeout = Some(Duration::from_secs(300));
    let waits = tokio::spawn(async move { host.execute_pvf(endless(), execution).await });
    let request = execution_dispatch(&mut witness).request.expect("an execution is for a request");
    let code = endless().code_hash();
    let messages = [
        FromOperator::Cancel { request, client: None },
        FromOperator::Pin { code },
        FromOperator::Unpin { code },
        FromOperator::Remove { artifacts: ArtifactChoice::Code(code) },
        FromOperator::Prune { older_than: Some(Duration::ZERO), dry_run: false },
    ]
    .map(|message| wire::encode(&message));
    messages.iter().for_each(|message| assert_for_operators_only(server, &mut witness, message));
    let (id, hash) = (request.to_string(), code.to_string());
    let refused = [
        &["requests", "cancel", &id][..],
        &["artifacts", "pin", &hash],
        &["artifacts", "rm", &hash],
        &["artifacts", "prune"],
    ];
    for (args, name) in refused.into_iter().zip(["client", "observer", "observer", "client"]) {
        let output = server.pvf(name, args);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(3) && text.contains("must have the role operator"), "{args:?}: {text}");
    }
    assert!(!waits.is_finished(), "nothing has ended");
    // An operator may, and its name is the reason.
    let output = server.pvf("mallory-operates", &["requests", "cancel", &id]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer = waits.await.unwrap().unwrap();
    let why = "cancelled by operator mallory-operates".to_owned();
    assert_eq!(answer.outcome, Outcome::Internal(InternalError::WorkerDraining(why)));
}
