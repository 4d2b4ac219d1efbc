//! Programs of protocol version 3 and before, which know neither the subjects nor the permissions of this version.

use super::*;
use pvf_shared::subjects;
use std::fs::File;

/// The goodbye of a worker of version 3; its content does not matter.
const FRAME: &[u8] = b"\x82\xa1v\x03\xa1m\xa7goodbye";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_permissions_they_are_told_to_be_upgraded_and_logged_once() {
    let nats = NatsServer::start(DEFAULT_PAYLOAD).await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut coordinator = command("pvf-coordinator", &nats.url, &folder.path().join("store"));
    let _coordinator = Process::start(coordinator.stderr(File::create(&log).unwrap()));
    client(&nats.url).await.status().await.unwrap();
    let mut old = Raw::connect(&nats.url, "nobody", "").unwrap();
    let inbox = "_INBOX.qJr8wFZ0BTtKqRTzGdJSQ4.1";
    assert_eq!(old.subscribe(inbox), [""; 0]);
    let why = "message of protocol version 3, but this build supports versions 4: upgrade the sender";
    for (subject, refusal) in [
        (subjects::from_older_clients(&fleet()), wire::refuse_older_client(why)),
        (subjects::from_older_workers(&fleet()), wire::refuse_older_worker(why)),
    ] {
        for _ in 0..3 {
            assert_eq!(old.publish(subject.as_str(), Some(inbox), FRAME), [""; 0]);
            let answer = old.wait_for("a refusal", |got| (got.subject == inbox).then(|| got.payload.clone()));
            assert_eq!(answer, refusal);
            old.received();
        }
    }
    let text = std::fs::read_to_string(&log).unwrap();
    for what in ["a client of an older version", "a worker of an older version"] {
        let lines: Vec<_> = text.lines().filter(|line| line.contains(what)).collect();
        let [line] = &lines[..] else { panic!("{text}") };
        assert!(line.contains("WARN") && line.contains("upgrade it") && line.contains("pvf.from-"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_permissions_the_server_refuses_them() {
    let server = Server::start().await;
    let mut witness = server.witness();
    for (_, mut other_user) in server.other_users() {
        for subject in [subjects::from_older_clients(&fleet()), subjects::from_older_workers(&fleet())] {
            assert_refused(&mut other_user, &mut witness, &subject, FRAME);
            assert_unheard(&mut other_user, subject.as_str());
        }
    }
    let mut coordinator = server.raw("coordinator");
    assert_eq!(coordinator.subscribe("pvf.from-node"), [""; 0]);
}
