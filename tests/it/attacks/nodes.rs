//! Nodes whose worker executables use the same fleet: each is a user of its own, and sees nothing of another.

use super::{SecuredFleet, assert_unheard};
use crate::node::{good, is_valid, prepared};
use pvf_guests::adder::ADDER;
use pvf_shared::params::ExecutorParams;
use pvf_tests::node::Workers;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_is_a_user_that_sees_nothing_of_another() {
    let fleet = SecuredFleet::start().await;
    let workers_of = |user: &str| {
        let password = fleet.server.password_file(user).display().to_string();
        let connection = format!("nats-user = \"{user}\"\nnats-password-file = \"{password}\"");
        Workers::new(&fleet.server.nats.url, "", &connection)
    };
    let mut witness = fleet.server.witness();
    for user in ["client", "mallory"] {
        let workers = workers_of(user);
        let _service = workers.serve().await;
        let artifact = prepared(&workers, ADDER).await;
        let mut execute = workers.execute(&ExecutorParams::default()).await;
        assert!(is_valid(&execute.execute(&artifact, &good(&artifact)).await));
        // What concerns a node has its own user in its subject.
        let prefix = format!("pvf.v4.client.{user}.");
        witness.wait_for(user, |message| message.subject.starts_with(&prefix).then_some(()));
    }
    for (user, other) in [("client", "mallory"), ("mallory", "client")] {
        assert_unheard(&mut fleet.server.raw(user), &format!("pvf.v4.client.{other}.>"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_wrong_password_is_told_so_at_once() {
    let fleet = SecuredFleet::start().await;
    let password = fleet.server.password_file("mallory").display().to_string();
    let connection = format!("nats-user = \"client\"\nnats-password-file = \"{password}\"");
    let workers = Workers::new(&fleet.server.nats.url, "", &connection);
    let mut service = std::process::Command::new(pvf_tests::processes::binary("pvf"));
    let output = service.args(["node", "serve", "--config"]).arg(workers.path("pvf-node.toml")).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("refused"), "{stderr}");
}
