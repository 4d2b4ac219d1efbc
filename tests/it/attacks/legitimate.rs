//! What the roles are for works with the permissions that they have.

use super::*;
use pvf_shared::{
    Bytes,
    bus::SharedBus,
    content::Content,
    pull::{Holdings, PullSettings, Puller, Wanted, serve},
    subjects,
};
use pvf_tests::requests::{adder, bad_block, good_block};
use serde_json::Value;
use std::{
    future::ready,
    io::{BufRead as _, BufReader},
    process::Stdio,
    sync::Arc,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_does_its_work_with_these_permissions() {
    let mut fleet_of_roles = SecuredFleet::start().await;
    let mut witness = fleet_of_roles.server.witness();
    let server = &fleet_of_roles.server;
    for (args, code) in [
        (&["precheck", "code.wasm"][..], 0),
        (&["heads-up", "code.wasm"], 0),
        (&["execute", "code.wasm", "--params", "good"], 0),
        (&["execute", "code.wasm", "--params", "bad"], 1),
        (&["execute", "code.wasm", "--params", "good", "bad"], 1),
        (&["status"], 0),
    ] {
        let output = server.pvf("client", args);
        let text = String::from_utf8_lossy(&output.stderr).to_lowercase();
        assert!(output.status.code() == Some(code) && !text.contains("violation"), "{args:?}: {text}");
    }
    let doctor = server.pvf("client", &["doctor", "--role", "coordinator", "--json"]);
    let report = String::from_utf8(doctor.stdout).unwrap();
    assert!(report.contains("1 prepare and 1 execute workers"), "{report}");
    for user in ["coordinator", "prepare-worker", "execute-worker", "observer", "operator", "client", "mallory"] {
        for role in ["coordinator", "prepare-worker", "execute-worker"] {
            let output = server.pvf(user, &["status", "--health", role]);
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && text.is_empty(), "{user}: {text}");
        }
    }
    // Another client does the same at once, and each gets its own.
    let mallory = client(&server.url("mallory")).await;
    let (ours, theirs) = futures::join!(
        fleet_of_roles.host.execute_pvf(adder(), good_block()),
        mallory.execute_pvf(adder(), bad_block())
    );
    assert_eq!((ours.unwrap().outcome.name(), theirs.unwrap().outcome.name()), ("valid", "invalid"));
    // Workers leave in order, and the coordinator hears it.
    pvf_tests::processes::signal(fleet_of_roles.execute.pid(), libc::SIGTERM);
    until("the execute worker has left", async || (fleet_of_roles.workers().await.len() == 1).then_some(())).await;
    fleet_of_roles.prepare.kill();
    fleet_of_roles.coordinator.kill();
    drop(witness.received());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn observers_are_told_of_verdicts_and_workers() {
    let fleet_of_roles = SecuredFleet::start().await;
    let server = &fleet_of_roles.server;
    let mut command = server.cli.command(&["--nats", &server.nats.url, "--nats-user", "observer", "--json", "events"]);
    command.env("PVF_NATS_PASSWORD_FILE", server.password_file("observer"));
    let mut events = Process(command.stdout(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(events.0.stdout.take().unwrap()).lines();
    let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut next = async |kind: &str| {
        until(kind, async || {
            let event: Value = serde_json::from_str(&told.recv().await?).unwrap();
            (event["event"] == kind).then_some(event)
        })
        .await
    };
    // The command subscribes at a time of its own: the first events may come before that.
    let host = fleet_of_roles.host.clone();
    let busy = tokio::spawn(async move {
        loop {
            host.execute_pvf(adder(), bad_block()).await.unwrap();
        }
    });
    let verdict = next("verdict").await;
    busy.abort();
    assert_eq!((&verdict["outcome"], &verdict["attempts"]), (&"invalid".into(), &1.into()), "{verdict}");
    assert!(verdict["client"].as_str().unwrap().starts_with("client."), "{verdict}");
    let worker = fleet_of_roles.worker(WorkerKind::Execute).await;
    assert_eq!(verdict["worker"], worker.to_string());
    pvf_tests::processes::signal(fleet_of_roles.execute.pid(), libc::SIGTERM);
    assert_eq!(next("worker-left").await["worker"], worker.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_are_an_error_and_not_an_endless_attempt() {
    let server = Server::start().await;
    server.cli.file("wrong", b"0123456789");
    for user in ["client", "coordinator", "nobody"] {
        let args = ["--nats", &server.nats.url, "--nats-user", user, "--nats-password-file", "wrong", "status"];
        server.cli.fails(&args, 2, &["refused: authorization violation"]);
    }
    for role in ["pvf-coordinator", "pvf-prepare-worker", "pvf-execute-worker"] {
        let mut command = command(role, &server.nats.url, &server.cli.path().join("store"));
        let output = command.env("NATS_USER", "client").env("NATS_PASSWORD", "wrong").output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && text.contains("authorization violation"), "{role}: {text}");
    }
}

/// Workers pull from clients and clients from workers; the answers come in chunks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_are_pulled_in_both_directions() {
    let server = Server::start().await;
    let bytes: Bytes = (0..3_000_000u32).map(|n| (n * 31) as u8).collect();
    let content = Content::of_blob(&bytes);
    let connect = async |name: &str| {
        let bus: SharedBus = Arc::new(crate::bus::connect(&server.url(name)).await);
        bus
    };
    for (holder, subject, puller) in [
        ("client", subjects::client_pulls(&fleet(), &session("client")), "execute-worker"),
        ("client", subjects::client_pulls(&fleet(), &session("client")), "prepare-worker"),
        ("execute-worker", subjects::worker_pulls(&fleet(), &run(WorkerKind::Execute, "execute-worker")), "client"),
    ] {
        let holdings = Holdings::default();
        let _hold = holdings.hold(content, bytes.clone());
        let bus = connect(holder).await;
        let requests = bus.subscribe(&subject).await.unwrap();
        let serving = tokio::spawn(serve(bus, requests, move |content| holdings.find(content)));
        let puller = Puller::new(connect(puller).await, PullSettings::default());
        let wanted = Wanted { content, expected_len: None, max_len: 10_000_000, holders: vec![subject] };
        let (pulled, ()) = puller.fetch(&wanted, |_| ready(())).await.unwrap();
        assert!(pulled == bytes);
        serving.abort();
    }
}
