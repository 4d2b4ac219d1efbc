//! The command-line tool `pvf` with a fleet, the roles as commands of it, and `pvf up`.

use crate::{
    http::get,
    tool::{CliFixture, diagnosis},
};
use pvf_testkit::nats::NatsServer;
use pvf_tests::{
    fleet::Fleet,
    processes::{Process, binary, children_of, lives, signal, until},
};
use std::{
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener},
    process::{Command, Stdio},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_and_fleet_give_identical_results() {
    let fleet = Fleet::start(1, 2).await;
    let cli = CliFixture::new();
    // The client of a fleet needs no store.
    let of_fleet = ["--nats", &fleet.nats.url];
    for (params, code) in [("good", 0), ("bad", 1)] {
        let ask = ["execute", "code.wasm", "--params", params];
        let embedded = &cli.json(&ask, code)[0];
        let through_nats = &cli.json(&[&ask[..], &of_fleet[..]].concat(), code)[0];
        assert_eq!(embedded["verdict"], through_nats["verdict"]);
        assert_eq!(embedded["result"].to_string(), through_nats["result"].to_string());
        assert_eq!(embedded["reason"], through_nats["reason"]);
        assert_eq!(embedded["code_hash"], through_nats["code_hash"]);
    }
    let warned = |store: &[&str]| {
        let output = cli.pvf(&[&["execute", "code.wasm", "--params", "good"], store, &of_fleet[..]].concat());
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{text}");
        text.contains("warning: --store is not used: ")
    };
    // The fixture has the variable.
    assert_eq!((warned(&["--store", "elsewhere"]), warned(&[])), (true, false));
    let heads_up = |options: &[&str]| {
        let answer = &cli.json(&[&["heads-up", "new.wasm"], options, &of_fleet[..]].concat(), 0)[0];
        assert_eq!(answer["verdict"], "ok");
        answer["heads_up"].as_str().unwrap().to_owned()
    };
    cli.file("new.wasm", &pvf_guests::corpus::large(20_000));
    assert_eq!(heads_up(&[]), "taken");
    assert_eq!(heads_up(&["--wait-prepared"]), "prepared");
    let status = &cli.json(&[&["status"], &of_fleet[..]].concat(), 0)[0];
    assert_eq!(status["workers"].as_array().unwrap().len(), 3);
    assert_eq!(cli.json(&[&["demo"], &of_fleet[..]].concat(), 0).len(), 7);
    for role in ["coordinator", "prepare-worker", "execute-worker"] {
        assert!(cli.pvf(&[&["status", "--health", role], &of_fleet[..]].concat()).status.success(), "{role}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_without_a_coordinator_exits_with_3() {
    let mut fleet = Fleet::start(0, 0).await;
    let cli = CliFixture::new();
    let running = diagnosis(&cli, &["--nats", &fleet.nats.url], 0);
    assert!(running["coordinator"]["found"].as_str().unwrap().contains("0 prepare and 0 execute workers"));
    assert!(running["bus"]["found"].as_str().unwrap().contains("nats-server 2."));
    fleet.coordinator.kill();
    let stopped = diagnosis(&cli, &["--nats", &fleet.nats.url], 1);
    assert!(stopped["bus"]["ok"] == true && stopped["coordinator"]["ok"] == false, "{stopped:?}");
    cli.fails(&["precheck", "code.wasm", "--nats", &fleet.nats.url], 3, &["no coordinator answers"]);
}

/// Every option that `pvf` and the roles share, before the name of the role.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_starts_with_the_options_before_its_name() {
    let (cli, nats) = (CliFixture::new(), NatsServer::start(1024 * 1024).await);
    assert!(cli.pvf(&["keys", "new", "--out", "key"]).status.success());
    let store = cli.path().join("fleet").display().to_string();
    let words = ["--nats", &nats.url, "--store", &store, "--fleet", "other", "--trusted-key", "key.pub", "-v"];
    let joined = [
        format!("--nats={}", nats.url),
        format!("--store={store}"),
        "--fleet=other".into(),
        "--trusted-key=key.pub".into(),
        "--verbose".into(),
    ];
    let joined: Vec<&str> = joined.iter().map(String::as_str).collect();
    // The environment must not be what makes the roles start.
    let start = |options: &[&str], role: &[&str]| {
        Process::start(cli.command(&[options, role].concat()).env_remove("PVF_STORE"))
    };
    let _roles = [
        start(&words, &["coordinator"]),
        start(&joined, &["prepare-worker", "--slots", "1", "--signing-key", "key"]),
        start(&joined, &["execute-worker"]),
        start(&words, &["execute-worker", "--slots", "3", "--log-format", "json"]),
    ];
    until("the workers are registered", async || {
        let status = cli.pvf(&[&words[..], &["status", "--json"]].concat());
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).ok()?;
        (status["prepare_workers"] == 1 && status["execute_workers"] == 2).then_some(())
    })
    .await;
    // Preparing and executing agree on the keys, so each role read them.
    let answer = &cli.json(&[&words[..], &["execute", "code.wasm", "--params", "good"]].concat(), 0)[0];
    assert_eq!((answer["verdict"].as_str(), answer["attempts"].as_u64()), (Some("valid"), Some(1)));
    assert!(std::path::Path::new(&store).join("artifacts").is_dir());
}

#[test]
fn an_option_that_a_role_does_not_have_is_refused() {
    let cli = CliFixture::new();
    for role in ["coordinator", "prepare-worker", "execute-worker"] {
        let refusal = |option: &str| format!("{option} is not an option of `pvf {role}`");
        cli.fails(&["--json", role], 2, &[&refusal("--json"), "--log-format json"]);
        cli.fails(&[role, "--json"], 2, &[&refusal("--json")]);
        cli.fails(&["--wait", "5s", role], 2, &[&refusal("--wait")]);
        cli.fails(&[role, "--no-such-option"], 2, &["--no-such-option"]);
        let help = cli.pvf(&["--store", "/x", role, "--help"]);
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(help.status.success() && text.contains("--log-format"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_tls_connection_to_the_bus_is_an_error() {
    let (cli, nats) = (CliFixture::new(), NatsServer::start(1024 * 1024).await);
    // The server speaks no TLS.
    let url = nats.url.replace("nats://", "tls://");
    cli.fails(&["status", "--nats", &url], 3, &[&url]);
}

/// Starts `pvf up` on this port, with these options, and waits until it is ready: the process and its report.
fn start_up(cli: &CliFixture, port: &str, options: &[&str]) -> (Process, serde_json::Value) {
    let mut command = Command::new(binary("pvf"));
    command.args(["up", "--prepare-workers", "1", "--execute-workers", "2", "--port", port, "--json"]).args(options);
    if let Some(server) = std::env::var_os("PVF_NATS_SERVER") {
        let dir = std::path::Path::new(&server).parent().unwrap().to_owned();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs = std::iter::once(dir).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(dirs).unwrap());
    }
    command.env("PVF_STORE", cli.path().join("up")).env_remove("PVF_NATS").stdout(Stdio::piped());
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

/// An address that is free, as are the three ports after it.
fn four_free_ports() -> SocketAddr {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    // Below those that the kernel gives to connections: a test that runs beside this one would take one of them.
    let first = (20_000..32_000).step_by(4).skip(std::process::id() as usize % 2_000);
    let first = first.into_iter().find(|first| (0..4).all(|n| free(first + n))).expect("four free ports");
    SocketAddr::from(([127, 0, 0, 1], first))
}

#[tokio::test]
async fn up_serves_the_http_endpoints_of_every_role() {
    let (cli, port, first) = (CliFixture::new(), free_port(), four_free_ports());
    let (_up, ready) = start_up(&cli, &port, &["--http", &first.to_string()]);
    assert_eq!(ready["http"], first.to_string());
    // The coordinator, one prepare worker and two execute workers.
    for n in 0..4 {
        let address = SocketAddr::new(first.ip(), first.port() + n);
        until("the role is ready", async || get(address, "/readyz").filter(|(status, _)| *status == 200)).await;
    }
}

#[test]
fn up_starts_a_fleet_and_stops_it_on_sigint() {
    let (cli, port) = (CliFixture::new(), free_port());
    let (mut up, ready) = start_up(&cli, &port, &["--no-http"]);
    let nats = ready["nats"].as_str().unwrap();
    let answer = &cli.json(&["execute", "code.wasm", "--params", "good", "--nats", nats], 0)[0];
    assert_eq!(answer["verdict"], "valid");
    let taken = cli.pvf(&["up", "--port", &port]);
    assert!(taken.status.code() == Some(2), "{}", String::from_utf8_lossy(&taken.stderr));
    signal(up.pid(), libc::SIGINT);
    assert!(up.0.wait().unwrap().success());
    cli.fails(&["precheck", "code.wasm", "--nats", nats], 3, &[nats]);
}

#[tokio::test]
async fn no_process_outlives_a_killed_up() {
    let (cli, port) = (CliFixture::new(), free_port());
    let (mut up, _) = start_up(&cli, &port, &["--no-http"]);
    let members = children_of(up.pid());
    // nats-server, the coordinator, one prepare worker and two execute workers.
    assert_eq!(members.len(), 5);
    up.kill();
    until("the processes of the fleet ended", async || (!members.iter().any(|pid| lives(*pid))).then_some(())).await;
}
