//! Attacks by listening.

use super::*;
use pvf_shared::subjects;

/// Subjects that nobody but the witness of these tests may subscribe to.
const OF_OTHERS: [&str; 14] = [
    ">",
    "*",
    "pvf.>",
    "pvf.v4.>",
    "pvf.v4.client.>",
    "pvf.v4.client.*.*.verdict",
    "pvf.v4.client.*.*.pull",
    "pvf.v4.worker.*.*.*.cmd",
    "pvf.v4.worker.*.*.*.pull",
    "_INBOX.>",
    "_INBOX.*.>",
    "_INBOX.*.@coordinator.>",
    "_INBOX.nobody.>",
    "$SYS.>",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reads_what_is_for_others() {
    let server = Server::start().await;
    let of_victims = [
        subjects::client_verdicts(&fleet(), &session("victim")),
        subjects::client_pulls(&fleet(), &session("victim")),
        subjects::worker_commands(&fleet(), &run(WorkerKind::Execute, "victim")),
        subjects::worker_pulls(&fleet(), &run(WorkerKind::Prepare, "victim")),
    ];
    let names = ["client", "prepare-worker", "execute-worker", "observer", "coordinator"];
    for name in names.into_iter().chain(STRANGERS.map(|(_, name)| name)) {
        let mut reader = server.raw(name);
        for subject in OF_OTHERS.into_iter().chain(of_victims.iter().map(|subject| subject.as_str())) {
            assert_unheard(&mut reader, subject);
        }
        // A queue group would take messages away from those they are for.
        assert_unheard(&mut reader, "pvf.v4.client.victim.*.verdict");
        // What it may read, it can.
        assert_eq!(reader.subscribe(&format!("_INBOX.{name}.>")), [""; 0]);
    }
    // Requests are for the coordinator, events for observers.
    for name in names {
        let mut reader = server.raw(name);
        let is = |role| name == role;
        for (subject, allowed) in [
            ("pvf.v4.client.*.*.req", is("coordinator")),
            ("pvf.v4.worker.*.*.*.req", is("coordinator")),
            ("pvf.v4.status", is("coordinator")),
            ("pvf.v4.event.>", is("observer")),
            ("pvf.v4.client.client.*.verdict", is("client")),
            ("pvf.v4.worker.execute.execute-worker.*.cmd", is("execute-worker")),
            ("pvf.v4.worker.prepare.prepare-worker.*.cmd", is("prepare-worker")),
        ] {
            match allowed {
                true => assert_eq!(reader.subscribe(subject), [""; 0], "{name}"),
                false => assert_unheard(&mut reader, subject),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_but_the_coordinator_tells_observers() {
    let server = Server::start().await;
    let mut witness = server.witness();
    for (_, mut stranger) in server.strangers() {
        for subject in [subjects::event(&fleet(), "verdict"), Subject::received("pvf.v4.coordinator.announce")] {
            assert_refused(&mut stranger, &mut witness, &subject, b"{}");
        }
    }
}
