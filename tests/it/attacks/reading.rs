//! Attacks by listening.

use super::*;
use pvf_shared::subjects;

/// Subjects that nobody but the witness of these tests may subscribe to.
const OF_OTHERS: [&str; 17] = [
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
    "$KV.>",
    "$JS.>",
    "$JS.API.>",
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
    let names = ["client", "prepare-worker", "execute-worker", "observer", "operator", "coordinator"];
    for name in names.into_iter().chain(OTHER_USERS.map(|(_, name)| name)) {
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
            ("$KV.pvf-coordinator.>", is("coordinator")),
            ("$KV.pvf-coordinator.lease", is("coordinator")),
            ("pvf.v4.coordinator.announce", true),
            ("pvf.v4.operator.*.req", is("coordinator")),
            ("pvf.v4.coordinator.>", is("coordinator") || is("observer") || is("operator")),
            ("pvf.v4.event.>", is("observer") || is("operator")),
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
    for (_, mut other_user) in server.other_users() {
        for subject in [subjects::event(&fleet(), "verdict"), Subject::received("pvf.v4.coordinator.announce")] {
            assert_refused(&mut other_user, &mut witness, &subject, b"{}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_but_the_coordinator_reads_or_writes_the_lease() {
    let fleet = SecuredFleet::start().await;
    let mut witness = fleet.server.witness();
    let stream = "KV_pvf-coordinator";
    let subjects = [
        format!("$JS.API.STREAM.MSG.GET.{stream}"),
        format!("$JS.API.DIRECT.GET.{stream}"),
        format!("$JS.API.DIRECT.GET.{stream}.$KV.pvf-coordinator.lease"),
        format!("$JS.API.STREAM.INFO.{stream}"),
        format!("$JS.API.STREAM.CREATE.{stream}"),
        format!("$JS.API.STREAM.UPDATE.{stream}"),
        format!("$JS.API.STREAM.DELETE.{stream}"),
        format!("$JS.API.STREAM.PURGE.{stream}"),
        format!("$JS.API.STREAM.MSG.DELETE.{stream}"),
        format!("$JS.API.CONSUMER.CREATE.{stream}"),
        // A stream of one's own that copies the lease, or takes what is sent to its subject.
        "$JS.API.STREAM.CREATE.own".into(),
        "$JS.API.STREAM.NAMES".into(),
        "$KV.pvf-coordinator.lease".into(),
    ];
    let others =
        ["client", "prepare-worker", "execute-worker", "observer", "operator"].map(|name| fleet.server.raw(name));
    let other_users = fleet.server.other_users().into_iter().map(|(_, other_user)| other_user);
    for mut other_user in others.into_iter().chain(other_users) {
        for subject in &subjects {
            assert_refused(&mut other_user, &mut witness, &Subject::received(subject), b"{}");
        }
        // The server's answers to the coordinator.
        let answer = Subject::received("_INBOX.coordinator.@jetstream.x");
        assert_refused(&mut other_user, &mut witness, &answer, b"{}");
    }
    // The coordinator uses nothing but this stream.
    let mut coordinator = fleet.server.raw("coordinator");
    for subject in ["$JS.API.STREAM.CREATE.own", "$JS.API.STREAM.DELETE.KV_other", "$KV.other.lease"] {
        assert_refused(&mut coordinator, &mut witness, &Subject::received(subject), b"{}");
    }
}
