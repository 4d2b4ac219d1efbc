//! The command-line tool against a fleet, and `pvf up`.

use crate::tool::{Desk, diagnosis};
use pvf_tests::{
    fleet::Fleet,
    processes::{Process, binary, children_of, lives, signal, until},
};
use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::{Command, Stdio},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_and_fleet_give_identical_results() {
    let fleet = Fleet::start(1, 2).await;
    let desk = Desk::new();
    let store = fleet.store().display().to_string();
    let there = ["--nats", &fleet.nats.url, "--store", &store];
    for (params, code) in [("good", 0), ("bad", 1)] {
        let ask = ["execute", "code.wasm", "--params", params];
        let embedded = &desk.json(&ask, code)[0];
        let through_nats = &desk.json(&[&ask[..], &there[..]].concat(), code)[0];
        assert_eq!(embedded["verdict"], through_nats["verdict"]);
        assert_eq!(embedded["result"].to_string(), through_nats["result"].to_string());
        assert_eq!(embedded["reason"], through_nats["reason"]);
        assert_eq!(embedded["code_hash"], through_nats["code_hash"]);
    }
    let heads_up = &desk.json(&[&["heads-up", "code.wasm"], &there[..]].concat(), 0)[0];
    assert_eq!(heads_up["verdict"], "ok");
    let status = &desk.json(&[&["status"], &there[..]].concat(), 0)[0];
    assert_eq!(status["workers"].as_array().unwrap().len(), 3);
    assert_eq!(desk.json(&[&["demo"], &there[..]].concat(), 0).len(), 7);
    for role in ["coordinator", "prepare-worker", "execute-worker"] {
        assert!(desk.pvf(&[&["status", "--health", role], &there[..]].concat()).status.success(), "{role}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_without_a_coordinator_exits_with_3() {
    let mut fleet = Fleet::start(0, 0).await;
    let desk = Desk::new();
    let well = diagnosis(&desk, &["--nats", &fleet.nats.url], 0);
    assert!(well["coordinator"]["found"].as_str().unwrap().contains("0 prepare and 0 execute workers"));
    assert!(well["bus"]["found"].as_str().unwrap().contains("nats-server 2."));
    fleet.coordinator.kill();
    let ill = diagnosis(&desk, &["--nats", &fleet.nats.url], 1);
    assert!(ill["bus"]["ok"] == true && ill["coordinator"]["ok"] == false, "{ill:?}");
    desk.fails(&["precheck", "code.wasm", "--nats", &fleet.nats.url], 3, &["no coordinator answers"]);
}

/// `pvf up` on a port, when it says that it is ready, and what it says.
fn start_up(desk: &Desk, port: &str) -> (Process, serde_json::Value) {
    let mut command = Command::new(binary("pvf"));
    command.args(["up", "--prepare-workers", "1", "--execute-workers", "2", "--port", port, "--json"]);
    if let Some(server) = std::env::var_os("PVF_NATS_SERVER") {
        let dir = std::path::Path::new(&server).parent().unwrap().to_owned();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs = std::iter::once(dir).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(dirs).unwrap());
    }
    command.env("PVF_STORE", desk.path().join("up")).env_remove("PVF_NATS").stdout(Stdio::piped());
    let mut up = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(up.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(ready["ready"], true);
    (Process(up), ready)
}

fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

#[test]
fn up_starts_a_whole_fleet_and_ends_it() {
    let (desk, port) = (Desk::new(), free_port());
    let (mut up, ready) = start_up(&desk, &port);
    let (nats, store) = (ready["nats"].as_str().unwrap(), ready["store"].as_str().unwrap());
    let answer = &desk.json(&["execute", "code.wasm", "--params", "good", "--nats", nats, "--store", store], 0)[0];
    assert_eq!(answer["verdict"], "valid");
    let taken = desk.pvf(&["up", "--port", &port]);
    assert!(taken.status.code() == Some(2), "{}", String::from_utf8_lossy(&taken.stderr));
    signal(up.pid(), libc::SIGINT);
    assert!(up.0.wait().unwrap().success());
    desk.fails(&["precheck", "code.wasm", "--nats", nats], 3, &[nats]);
}

#[tokio::test]
async fn up_that_is_killed_leaves_nobody_behind() {
    let (desk, port) = (Desk::new(), free_port());
    let (mut up, _) = start_up(&desk, &port);
    let roles = children_of(up.pid());
    // nats-server, the coordinator, one prepare worker and two execute workers.
    assert_eq!(roles.len(), 5);
    up.kill();
    until("its roles are gone", async || (!roles.iter().any(|pid| lives(*pid))).then_some(())).await;
}
