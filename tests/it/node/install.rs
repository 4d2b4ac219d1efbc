//! `pvf node install`.

use crate::tool::CliFixture;
use pvf_tests::{fleet::Fleet, node::Workers};
use std::{os::unix::fs::PermissionsExt as _, process::Command};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_works_as_a_node_uses_it() {
    let fleet = Fleet::start(1, 1).await;
    let cli = CliFixture::new();
    let install = ["--nats", &fleet.nats.url, "node", "install", "workers", "--node-version", "1.25.1"];
    let install = [&install[..], &["--socket", "socket"]].concat();
    let done = &cli.json(&install, 0)[0];
    let dir = cli.path().join("workers");
    assert_eq!(done["node_arguments"][1].as_str().unwrap(), dir.display().to_string());
    assert_eq!((done["fleet"]["enough"].as_bool(), done["fleet"]["workers"].as_u64()), (Some(true), Some(2)));
    for name in ["polkadot-prepare-worker", "polkadot-execute-worker"] {
        let output = Command::new(dir.join(name)).env_clear().arg("--version").output().unwrap();
        assert_eq!(output.stdout, b"1.25.1\n");
    }
    for secret in ["pvf-node.toml", "pvf-node.key"] {
        let mode = std::fs::metadata(dir.join(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640, "{secret}");
    }
    // Again, for the next version of the node: the key stays, the settings before are kept.
    let key = std::fs::read(dir.join("pvf-node.key")).unwrap();
    let next = install.iter().map(|arg| if *arg == "1.25.1" { "1.26.0" } else { arg }).collect::<Vec<_>>();
    let done = &cli.json(&next, 0)[0];
    assert_eq!(std::fs::read(dir.join("pvf-node.key")).unwrap(), key);
    let before = std::fs::read_to_string(done["previous_settings"].as_str().unwrap()).unwrap();
    assert!(before.contains("1.25.1"));
    let text = String::from_utf8(cli.pvf(&next).stdout).unwrap();
    for words in ["--workers-path", "pvf node serve --config", "yes  --check-can-enable-seccomp"] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
}

#[test]
fn wrong_input_is_named_and_nothing_of_a_node_is_overwritten() {
    let cli = CliFixture::new();
    let nats = ["--nats", "nats://127.0.0.1:1"];
    let install = ["node", "install", "workers", "--node-version", "1.25.1"];
    cli.fails(&install, 2, &["--nats: is required"]);
    cli.fails(&[&nats[..], &["node", "install", "w", "--node-version", ""]].concat(), 2, &["--node-version"]);
    let missing = [&nats[..], &install, &["--worker-executable", "/nonexistent"]].concat();
    cli.fails(&missing, 2, &["--worker-executable /nonexistent"]);
    let context = [&nats[..], &["--nats-context", ""], &install, &["--no-check"]].concat();
    assert!(cli.pvf(&context).status.success());
    std::fs::create_dir(cli.path().join("node")).unwrap();
    cli.file("node/polkadot-prepare-worker", b"of the node");
    let foreign = [&nats[..], &["node", "install", "node", "--node-version", "1.25.1"]].concat();
    cli.fails(&foreign, 2, &["polkadot-prepare-worker", "give another folder"]);
    assert_eq!(std::fs::read(cli.path().join("node/polkadot-prepare-worker")).unwrap(), b"of the node");
    // A password that is only in the environment.
    let mut secret = cli.command(&[&nats[..], &["--nats-user", "u"], &install].concat());
    let output = secret.env("NATS_PASSWORD", "x").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && stderr.contains("secrets must be in files"), "{stderr}");
    // What was installed before is as it was.
    assert!(!std::fs::read_to_string(cli.path().join("workers/pvf-node.toml")).unwrap().contains("nats-user"));
    // No fleet: everything is written, and the exit code says it.
    cli.fails(&[&nats[..], &install].concat(), 3, &["127.0.0.1:1"]);
}

#[test]
fn a_service_says_what_is_wrong() {
    let cli = CliFixture::new();
    cli.fails(&["node", "serve", "--config", "missing.toml"], 2, &["missing.toml"]);
    let workers = Workers::new("nats://127.0.0.1:1", "", "");
    let config = workers.path("pvf-node.toml").display().to_string();
    std::fs::create_dir(workers.path("s")).unwrap();
    cli.fails(&["node", "serve", "--config", &config], 3, &["service.socket"]);
}
