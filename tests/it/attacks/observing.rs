//! Questions about the state of the fleet, and the directory of services: who may ask, and who may answer.

use super::*;
use pvf_shared::subjects;
use serde_json::Value;

/// A question of this user to the coordinator's read API.
fn ask(raw: &mut Raw, name: &str, question: &str) -> Value {
    serde_json::from_slice(&raw.ask(subjects::api(&fleet(), name).as_str(), question.as_bytes())).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_observers_and_operators_read_the_state_of_all() {
    let fleet = SecuredFleet::start().await;
    let mut witness = fleet.server.witness();
    for name in ["client", "prepare-worker", "execute-worker", "mallory", "mallory-prepares", "mallory-executes"] {
        let mut other = fleet.server.raw(name);
        for question in ["requests", "request", "artifacts", "workers"] {
            let subject = subjects::api(&self::fleet(), question);
            assert_refused(&mut other, &mut witness, &subject, b"{}");
            assert_unheard(&mut other, subject.as_str());
        }
        for subject in ["$SRV.PING", "$SRV.INFO.pvf-coordinator"] {
            assert_refused(&mut other, &mut witness, &Subject::received(subject), b"");
        }
    }
    for name in ["observer", "operator"] {
        let mut reader = fleet.server.raw(name);
        assert_eq!(ask(&mut reader, "workers", "{}")["total"], 2);
        let error = ask(&mut reader, "workers", r#"{"kind": "both"}"#);
        assert!(error["error"].as_str().unwrap().contains("kind"), "{error}");
        // It neither sees the questions of others nor answers them.
        assert_unheard(&mut reader, "pvf.v4.api.*");
        assert_unheard(&mut reader, "$SRV.>");
        assert_refused(&mut reader, &mut witness, &Subject::received("_INBOX.client.@services.x"), b"{}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_says_that_it_is_there_to_those_who_may_ask() {
    let fleet = SecuredFleet::start().await;
    let mut observer = fleet.server.raw("observer");
    assert_eq!(observer.subscribe("_INBOX.observer.@services.>"), [""; 0]);
    assert_eq!(observer.publish("$SRV.PING", Some("_INBOX.observer.@services.1"), b""), [""; 0]);
    let mut seen = Vec::new();
    let roles = ["pvf-coordinator", "pvf-execute-worker", "pvf-prepare-worker"];
    until("every role has answered", async || {
        let answers = observer.received().into_iter().map(|message| serde_json::from_slice::<Value>(&message.payload));
        seen.extend(answers.map(|answer| answer.unwrap()["name"].as_str().unwrap().to_owned()));
        seen.sort_unstable();
        seen.dedup();
        (seen == roles).then_some(())
    })
    .await;
    assert_eq!(observer.publish("$SRV.INFO.pvf-coordinator", Some("_INBOX.observer.@services.2"), b""), [""; 0]);
    let info: Value =
        observer.wait_for("description of the coordinator", |message| serde_json::from_slice(&message.payload).ok());
    let endpoints = info["endpoints"].as_array().unwrap();
    assert!(endpoints.iter().any(|endpoint| endpoint["subject"] == "pvf.v4.api.status"), "{info}");
    // A worker's answer goes to no other inbox than one for services, whatever the question names.
    let mut witness = fleet.server.witness();
    let mut coordinator = fleet.server.raw("coordinator");
    for subject in ["_INBOX.client.x", "pvf.v4.client.client.0.verdict"] {
        let allowed = subject.starts_with("pvf.v4.client");
        let refused = coordinator.publish(subject, None, b"{}");
        assert_eq!(refused.is_empty(), allowed, "{subject}: {refused:?}");
    }
    let mut worker = fleet.server.raw("execute-worker");
    for subject in ["_INBOX.observer.x", "_INBOX.observer.@coordinator.x", "pvf.v4.event.verdict"] {
        assert_refused(&mut worker, &mut witness, &Subject::received(subject), b"{}");
    }
}
