//! Attempts to get more permissions than one has.

use super::*;
use pvf_shared::subjects;

/// With `allow_responses` a user may publish on the reply subject of whatever it receives, also of a message that it
/// has sent itself: then every subject is open to it. Nobody has that permission here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_to_oneself_opens_no_subject() {
    let server = Server::start().await;
    let mut witness = server.witness();
    let targets = [
        subjects::client_verdicts(&fleet(), &session("client")),
        subjects::client_requests(&fleet(), &session("victim")),
        subjects::worker_commands(&fleet(), &run(WorkerKind::Execute, "victim")),
        subjects::worker_requests(&fleet(), &run(WorkerKind::Execute, "victim")),
        subjects::event(&fleet(), "verdict"),
    ];
    for (_, mut other_user) in server.other_users() {
        let own = format!("_INBOX.{0}.{0}.x.1", other_user.user);
        assert_eq!(other_user.subscribe(&own), [""; 0]);
        for target in &targets {
            assert_eq!(other_user.publish(&own, Some(target.as_str()), b"unlock"), [""; 0]);
            assert_eq!(other_user.received().len(), 1, "it has the message with that reply subject");
            assert_refused(&mut other_user, &mut witness, target, b"forged");
        }
    }
}

/// Two users of one attacker: one sends the other a message with the reply subject that it wants to publish on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_an_accomplice_opens_no_subject() {
    let server = Server::start().await;
    let mut witness = server.witness();
    let (mut client, mut worker) = (server.raw("mallory"), server.raw("mallory-executes"));
    let pulls = subjects::client_pulls(&fleet(), &session("mallory"));
    assert_eq!(client.subscribe(pulls.as_str()), [""; 0]);
    let target = subjects::client_verdicts(&fleet(), &session("client"));
    assert_eq!(worker.publish(pulls.as_str(), Some(target.as_str()), b"unlock"), [""; 0]);
    client.wait_for("message", |message| (message.reply.as_deref() == Some(target.as_str())).then_some(()));
    assert_refused(&mut client, &mut witness, &target, b"forged");

    let pulls = subjects::worker_pulls(&fleet(), &run(WorkerKind::Execute, "mallory-executes"));
    assert_eq!(worker.subscribe(pulls.as_str()), [""; 0]);
    let target = subjects::worker_requests(&fleet(), &run(WorkerKind::Execute, "execute-worker"));
    assert_eq!(client.publish(pulls.as_str(), Some(target.as_str()), b"unlock"), [""; 0]);
    worker.wait_for("message", |message| (message.reply.as_deref() == Some(target.as_str())).then_some(()));
    assert_refused(&mut worker, &mut witness, &target, b"forged");
}

/// Answers are accepted only from the user who was asked: the server refuses all others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_answers_for_another() {
    let server = Server::start().await;
    let mut witness = server.witness();
    for (_, mut other_user) in server.other_users() {
        for reply in [
            "_INBOX.coordinator.execute-worker.x.1",
            "_INBOX.client.@coordinator.x.1",
            "_INBOX.execute-worker.client.x.1",
            "_INBOX.client.x.1",
            // It would tell a worker to drain.
            "_INBOX.execute-worker.@coordinator.x.1",
        ] {
            assert_refused(&mut other_user, &mut witness, &Subject::received(reply), b"forged");
        }
    }
}
