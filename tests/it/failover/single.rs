//! Coordinators without a lease.

use super::*;
use pvf_testkit::nats::{DEFAULT_PAYLOAD, NatsServer};
use pvf_tests::fleet::{client, command};
use std::process::Output;

/// Runs a coordinator that does not start.
fn refused(nats: &str, args: &[&str]) -> Output {
    let store = tempfile::tempdir().unwrap();
    command("pvf-coordinator", nats, store.path()).args(args).output().unwrap()
}

#[track_caller]
fn assert_says(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_jetstream_there_is_a_single_coordinator_or_none() {
    let nats = NatsServer::start_without_jetstream().await;
    assert_says(&refused(&nats.url, &[]), 3, &["JetStream", "jetstream {", "--single"]);

    let store = tempfile::tempdir().unwrap();
    let single = || {
        let mut single = command("pvf-coordinator", &nats.url, store.path());
        single.arg("--single");
        single
    };
    let mut first = Process::start(&mut single());
    let host = client(&nats.url).await;
    let token = until("it answers", async || host.status().await.ok()).await.token;
    assert_says(&single().output().unwrap(), 3, &["--single", "another coordinator answers", "\"pvf\""]);
    first.kill();
    let _next = Process::start(&mut single());
    until("the next one answers", async || host.status().await.ok().filter(|status| status.token > token)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_changes_between_a_single_coordinator_and_the_lease() {
    let nats = NatsServer::start(DEFAULT_PAYLOAD).await;
    let store = tempfile::tempdir().unwrap();
    let host = client(&nats.url).await;
    let mut token = FencingToken(0);
    for args in [&["--single"][..], &[], &["--single"], &[]] {
        let mut coordinator = Process::start(command("pvf-coordinator", &nats.url, store.path()).args(args));
        let higher = async || host.status().await.ok().map(|status| status.token).filter(|next| *next > token);
        token = until("a coordinator with a higher token answers", higher).await;
        coordinator.kill();
    }
}
