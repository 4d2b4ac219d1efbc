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
    let of_operator = subjects::operator_requests(&fleet(), &user("operator"));
    for message in &messages {
        for (role, mut stranger) in server.strangers() {
            assert_refused(&mut stranger, &mut witness, &of_operator, message);
            let own = subjects::operator_requests(&fleet(), &user(&stranger.user));
            if role != Role::Operator {
                assert_refused(&mut stranger, &mut witness, &own, message);
            }
            // On a subject on which it may speak it is no message of an operator.
            let elsewhere = match role {
                Role::Client => subjects::client_requests(&fleet(), &session(&stranger.user)),
                Role::Worker(kind) => subjects::worker_requests(&fleet(), &run(kind, &stranger.user)),
                Role::Coordinator | Role::Observer | Role::Operator => subjects::status(&fleet()),
            };
            stranger.ask(elsewhere.as_str(), message);
        }
        for name in ["client", "prepare-worker", "execute-worker", "observer", "coordinator"] {
            assert_refused(&mut server.raw(name), &mut witness, &of_operator, message);
        }
    }
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
