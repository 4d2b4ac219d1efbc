//! The read API of the coordinator over HTTP and on the bus, its events, its page, and `$SRV`, on a real fleet.

use crate::http::{free_address, get, until_ready};
use pvf_shared::{Bytes, bus::Bus as _, ids::FleetName, subjects};
use pvf_tests::{
    fleet::{Fleet, FleetConfig},
    processes::until,
    requests::{adder, bad_block, good_block},
};
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(60);

async fn fleet_with(arguments: &[&str]) -> (Fleet, SocketAddr) {
    let address = free_address();
    let arguments = arguments.iter().map(|text| (*text).to_owned());
    let arguments = ["--http".to_owned(), address.to_string()].into_iter().chain(arguments).collect();
    let config = FleetConfig { coordinator_arguments: arguments, ..FleetConfig::default() };
    let fleet = Fleet::with(config).await;
    until_ready(address).await;
    (fleet, address)
}

fn ask(address: SocketAddr, path: &str) -> Value {
    let (status, body) = get(address, path).expect("an answer");
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_to_a_request_can_be_read() {
    let (fleet, address) = fleet_with(&[]).await;
    let mut events = BufReader::new(TcpStream::connect(address).unwrap());
    events.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    events.get_mut().write_all(b"GET /api/events?overview=1 HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
    let mut told = String::new();
    let mut until_told = |words: &str| {
        while !told.contains(words) {
            assert_ne!(events.read_line(&mut told).unwrap(), 0, "the stream ended:\n{told}");
        }
    };
    until_told("event: overview");
    fleet.host.execute_pvf(adder(), good_block()).await.unwrap();
    fleet.host.execute_pvf(adder(), bad_block()).await.unwrap();
    until_told("event: verdict");

    let requests = ask(address, "/api/requests");
    let list = requests["requests"].as_array().unwrap();
    assert_eq!((list.len(), &requests["open_total"]), (2, &0.into()), "{requests}");
    let [invalid, valid] = [&list[0], &list[1]];
    assert_eq!(
        (&valid["outcome"], &valid["work"], &valid["attempts"]),
        (&"valid".into(), &"execute".into(), &1.into())
    );
    assert_eq!((&invalid["outcome"], &valid["reason"]), (&"invalid".into(), &Value::Null));
    assert!(valid["host"].is_string() && valid["usage"]["executions"][0]["cpu_ms"].is_number(), "{valid}");
    let failed = ask(address, "/api/requests?state=failed");
    assert_eq!(failed["requests"].as_array().unwrap().len(), 1);
    let one = ask(address, &format!("/api/requests/{}", invalid["request"].as_str().unwrap()));
    let why = one["why"].to_string();
    assert!(why.contains("It ended as invalid because: "), "{why}");
    assert_eq!(get(address, "/api/requests/00000000000000000000000000000001").unwrap().0, 404);
    let wrong = get(address, "/api/requests?state=closed").unwrap();
    assert!(wrong.0 == 400 && wrong.1.contains("open, ended, failed, slow"), "{wrong:?}");

    let artifacts = ask(address, "/api/artifacts");
    assert_eq!((&artifacts["total"], &artifacts["artifacts"][0]["state"]), (&1.into(), &"prepared".into()));
    assert_eq!(ask(address, "/api/workers?kind=execute")["workers"][0]["state"], "available");
    assert!(ask(address, "/api/history")["samples"].is_array());
    // A status may be a quarter of a second old.
    until("the status has both executions", async || {
        let status = ask(address, "/api/status");
        (status["executed"] == 2 && status["counts"]["execute_finished"] == 2).then_some(())
    })
    .await;
    let (status, page) = get(address, "/").unwrap();
    assert!(status == 200 && page.contains("<html"), "{page}");
    let (status, lines) = get(address, "/readyz?verbose").unwrap();
    assert!(status == 200 && lines.contains("[+] bus: ") && lines.contains("[+] lease: "), "{lines}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_waits_says_why() {
    let (fleet, address) = fleet_with(&["--metrics-label", "chain=polkadot", "--http-prefix", "/pvf"]).await;
    fleet.complete(1, 1).await;
    // Its worker stands still, so the execution stays there.
    let host = fleet.host.clone();
    host.precheck_pvf(adder()).await.unwrap();
    for worker in &fleet.execute {
        pvf_tests::processes::signal(worker.pid(), libc::SIGSTOP);
    }
    let waiting = tokio::spawn(async move { host.execute_pvf(adder(), good_block()).await });
    let one = until("the request is open", async || {
        let open = ask(address, "/pvf/api/requests?state=open");
        let id = open["requests"][0]["request"].as_str()?.to_owned();
        Some(ask(address, &format!("/pvf/api/requests/{id}")))
    })
    .await;
    let why = one["why"].to_string();
    assert!(why.contains("The request arrived") && why.contains("expires in"), "{why}");
    let (_, metrics) = get(address, "/metrics").unwrap();
    let labelled = r#"pvf_verdicts_total{blame="none",kind="",verdict="ok",work="precheck",chain="polkadot"} 1"#;
    assert!(metrics.contains(labelled), "{metrics}");
    assert!(metrics.contains("pvf_store_seconds_count{op=\"write\",result=\"ok\",chain=\"polkadot\"}"), "{metrics}");
    for worker in &fleet.execute {
        pvf_tests::processes::signal(worker.pid(), libc::SIGCONT);
    }
    waiting.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_questions_are_answered_on_the_bus() {
    let (fleet, _) = fleet_with(&[]).await;
    let bus = crate::bus::connect(&fleet.nats.url).await;
    let ask = async |name: &str, question: &'static str| -> Value {
        let subject = subjects::api(&FleetName::default(), name);
        let answer = bus.request(&subject, Bytes::from_static(question.as_bytes()), PATIENCE).await.unwrap();
        serde_json::from_slice(&answer).unwrap()
    };
    fleet.host.execute_pvf(adder(), good_block()).await.unwrap();
    assert_eq!(ask("status", "").await["executed"], 1);
    assert_eq!(ask("requests", r#"{"limit": 1}"#).await["requests"][0]["outcome"], "valid");
    assert_eq!(ask("workers", r#"{"kind": "prepare"}"#).await["total"], 1);
    // Events are gathered for a moment before they are told.
    until("the verdict is told", async || (ask("events", "{}").await["events"][0]["event"] == "verdict").then_some(()))
        .await;
    assert!(ask("requests", "[]").await["error"].is_string());
}
