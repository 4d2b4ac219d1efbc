//! Artifacts in a bucket: the tool with `--store s3://…`, against a real server of the S3 protocol.

use crate::{
    http::{free_address, get},
    tool::{CliFixture, diagnosis_of},
};
use pvf::{Answer, ExecuteRequest};
use pvf_guests::distinct_adder;
use pvf_shared::verdict::Outcome;
use pvf_testkit::nats::{DEFAULT_PAYLOAD, NatsServer};
use pvf_tests::{
    fleet::{client, command},
    processes::{Process, binary, signal, until},
    requests::{good_block, pvf_of},
    s3,
};
use serde_json::Value;
use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Command, Output, Stdio},
};

/// Tells a command where the server is.
fn at_server(command: &mut Command, port: u16) -> &mut Command {
    s3::locate(command, (Ipv4Addr::LOCALHOST, port))
}

fn pvf(cli: &CliFixture, port: u16, bucket: &str, args: &[&str]) -> Output {
    let mut command = Command::new(binary("pvf"));
    command.current_dir(cli.path()).args(args).args(["--json", "--store", bucket]).env_remove("PVF_NATS");
    // Where its keys are.
    command.env("XDG_DATA_HOME", cli.path());
    at_server(&mut command, port).output().unwrap()
}

/// Starts the server, with a bucket `pvf-test`: its process and its port.
async fn start_server() -> (Process, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new(s3::server_path());
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stderr(Stdio::null());
    let process = Process::start(&mut command);
    let server = (Ipv4Addr::LOCALHOST, port);
    until("the bucket is made", async || s3::make_bucket(server, "pvf-test").then_some(())).await;
    (process, port)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn artifacts_in_a_bucket_outlive_the_process() {
    let (_server, port) = start_server().await;
    let cli = CliFixture::new();
    let bucket = "s3://pvf-test/some/prefix";
    for cached in [false, true] {
        let output = pvf(&cli, port, bucket, &["execute", "code.wasm", "--params", "good"]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&answer["verdict"], &answer["artifact"]["cached"]), (&"valid".into(), &cached.into()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_does_not_exist_is_called_that_by_every_program() {
    let (_server, port) = start_server().await;
    let nats = NatsServer::start(DEFAULT_PAYLOAD).await;
    let (store, expected) =
        ("s3://no-such-bucket/prefix", format!("bucket no-such-bucket does not exist at http://127.0.0.1:{port}"));
    for role in ["pvf-coordinator", "pvf-prepare-worker", "pvf-execute-worker"] {
        let output = at_server(&mut command(role, &nats.url, Path::new(store)), port).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{role}: {stderr}");
        assert!(stderr.contains(&expected), "{role}: {stderr}");
    }
    let cli = CliFixture::new();
    let precheck = pvf(&cli, port, store, &["precheck", "code.wasm"]);
    let stderr = String::from_utf8_lossy(&precheck.stderr);
    assert_eq!(precheck.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains(&expected), "{stderr}");
    let doctor = pvf(&cli, port, store, &["doctor", "--role", "coordinator"]);
    assert_eq!(doctor.status.code(), Some(1));
    let checks = diagnosis_of(&serde_json::from_slice(&doctor.stdout).unwrap());
    let store = &checks["store"];
    assert!(store["ok"] == false && store["found"].as_str().unwrap().contains(&expected), "{store}");
}

/// The store hangs while a worker of two slots fetches three artifacts: a fourth one, which it has, is executed all the
/// same, and the others when the store goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_hangs_holds_up_only_what_it_must_give() {
    let (server, port) = start_server().await;
    let nats = NatsServer::start(DEFAULT_PAYLOAD).await;
    let store = Path::new("s3://pvf-test/fleet");
    let http = free_address();
    let start = |role, arguments: &[&str]| {
        Process::start(at_server(&mut command(role, &nats.url, store), port).args(arguments))
    };
    let _coordinator = start("pvf-coordinator", &[]);
    let _prepare = start("pvf-prepare-worker", &[]);
    let execute = ["--slots", "2", "--http", &http.to_string()];
    let _execute = start("pvf-execute-worker", &execute);
    let host = client(&nats.url).await;
    let code = |n| pvf_of(distinct_adder(n));
    for n in 0..4 {
        assert_eq!(host.precheck_pvf(code(n)).await.unwrap().outcome, Outcome::PrecheckOk);
    }
    let valid = |answer: Answer| {
        assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
        assert_eq!(answer.attempts, 1, "{answer:?}");
    };
    valid(host.execute_pvf(code(0), good_block()).await.unwrap());
    signal(server.pid(), libc::SIGSTOP);
    let cold: Vec<_> = (1..4)
        .map(|n| {
            let host = host.clone();
            tokio::spawn(async move { host.execute_pvf(pvf_of(distinct_adder(n)), good_block()).await.unwrap() })
        })
        .collect();
    until("the worker fetches three artifacts", async || {
        let (_, metrics) = get(http, "/metrics")?;
        metrics.contains("pvf_worker_jobs{kind=\"execute\",state=\"fetching\"} 3").then_some(())
    })
    .await;
    for _ in 0..2 {
        let warm = ExecuteRequest { fresh: true, ..good_block() };
        valid(host.execute_pvf(code(0), warm).await.unwrap());
    }
    assert!(cold.iter().all(|answer| !answer.is_finished()));
    signal(server.pid(), libc::SIGCONT);
    for answer in cold {
        valid(answer.await.unwrap());
    }
}
