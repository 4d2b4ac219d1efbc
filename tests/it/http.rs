//! `--http ADDR` of every role: the probes, and the names of the metrics, which dashboards depend on.

use pvf_tests::{
    fleet::{Fleet, FleetConfig, Role},
    processes::until,
    requests::{adder, good_block},
};
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

/// Names that the Polkadot node's PVF host exports, too.
const NAMES_OF_THE_NODE: [&str; 4] = [
    "polkadot_pvf_prepare_enqueued",
    "polkadot_pvf_prepare_concluded",
    "polkadot_pvf_execute_enqueued",
    "polkadot_pvf_execute_finished",
];

/// An address that nothing listens on.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap()
}

/// Status and body of `GET path`; `None` if nothing answers.
pub(crate) fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

pub(crate) async fn until_ready(address: SocketAddr) {
    until("the role is ready", async || get(address, "/readyz").filter(|(status, _)| *status == 200)).await;
    assert_eq!(get(address, "/livez").map(|(status, _)| status), Some(200));
}

/// A fleet that is ready, with the endpoints of its coordinator, its prepare worker and its execute worker.
pub(crate) async fn fleet_with_endpoints() -> (Fleet, [SocketAddr; 3]) {
    let addresses = [free_address(), free_address(), free_address()];
    let [coordinator, prepare, execute] = addresses.map(|address| address.to_string());
    let arguments = vec!["--http".to_owned(), coordinator];
    let config = FleetConfig { prepare: 0, execute: 0, coordinator_arguments: arguments, ..FleetConfig::default() };
    let mut fleet = Fleet::with(config).await;
    fleet.add_with(Role::Prepare, &["--http", &prepare]);
    fleet.add_with(Role::Execute, &["--http", &execute]);
    fleet.complete(1, 1).await;
    for address in addresses {
        until_ready(address).await;
    }
    (fleet, addresses)
}

/// The value of a metric without labels.
fn metric(address: SocketAddr, name: &str) -> f64 {
    let (status, text) = get(address, "/metrics").expect("an answer");
    assert_eq!(status, 200);
    let line = text.lines().find(|line| line.split(' ').next() == Some(name));
    let value = line.and_then(|line| line.split(' ').nth(1)?.parse().ok());
    value.unwrap_or_else(|| panic!("{name} is not in\n{text}"))
}

/// Every metric has a help text and a type, and the names are those of this project or of the node.
pub(crate) fn assert_well_formed(address: SocketAddr) {
    let (status, text) = get(address, "/metrics").expect("an answer");
    assert_eq!(status, 200);
    let described = |kind: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(&format!("# {kind} ")));
        lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    let names = described("TYPE");
    assert!(!names.is_empty(), "no metric:\n{text}");
    assert_eq!(names, described("HELP"));
    for name in names {
        let known = ["pvf_", "polkadot_pvf_", "polkadot_parachain_candidate_validation_", "process_"];
        assert!(known.iter().any(|prefix| name.starts_with(prefix)), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_answers_probes_and_exports_metrics() {
    let (fleet, [coordinator, prepare, execute]) = fleet_with_endpoints().await;
    for address in [coordinator, prepare, execute] {
        assert_well_formed(address);
        assert_eq!(get(address, "/nothing").map(|(status, _)| status), Some(404));
    }
    for name in NAMES_OF_THE_NODE {
        assert_eq!(metric(coordinator, name), 0.0, "{name}");
    }
    fleet.host.execute_pvf(adder(), good_block()).await.unwrap();
    for name in NAMES_OF_THE_NODE {
        assert_eq!(metric(coordinator, name), 1.0, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_loses_the_bus_is_live_and_not_ready() {
    let (coordinator, execute) = (free_address(), free_address());
    let arguments = vec!["--http".to_owned(), coordinator.to_string()];
    let config = FleetConfig { prepare: 0, execute: 0, coordinator_arguments: arguments, ..FleetConfig::default() };
    let mut fleet = Fleet::with(config).await;
    fleet.add_with(Role::Execute, &["--http", &execute.to_string()]);
    for address in [coordinator, execute] {
        until_ready(address).await;
    }
    fleet.nats.kill();
    for address in [coordinator, execute] {
        let unready =
            until("the role is not ready", async || get(address, "/readyz").filter(|(status, _)| *status == 503));
        let (_, reason) = unready.await;
        assert!(reason.trim().len() > 5 && reason.lines().count() == 1, "a reason: {reason:?}");
        assert_eq!(get(address, "/livez").map(|(status, _)| status), Some(200));
    }
    fleet.nats.restart().await;
    for address in [coordinator, execute] {
        until_ready(address).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_in_use_stops_a_role() {
    let mut fleet = Fleet::start(0, 0).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    fleet.add_with(Role::Execute, &["--http", &taken.local_addr().unwrap().to_string()]);
    let worker = &mut fleet.execute[0];
    let ended = until("the worker ends", async || worker.0.try_wait().unwrap()).await;
    assert_eq!(ended.code(), Some(2));
}
