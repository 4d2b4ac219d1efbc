use super::*;
use crate::{
    outbound::Outbound,
    testing::{block_data, execution, fleet, hello, in_time, local_bus, memory_store, new_client, new_worker, valid},
};
use pvf_shared::{
    bus::{Bus as _, Message, local::LocalBus},
    config::ProtocolTimeouts,
    identity::ClientId,
    ids::CodeHash,
    params::ExecutorParam,
    wire::{CommandRefusal, Dispatch, VersionRange, WireMessage, WorkerHello, WorkerKind},
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The subject of a client's requests.
fn from_client() -> Subject {
    subjects::client_requests(&fleet(), &new_client())
}

/// The subject of a worker's requests.
fn from_worker() -> Subject {
    subjects::worker_requests(&fleet(), &new_worker(WorkerKind::Execute))
}

/// Inbound and outbound on one bus; the test stands in for the scheduler.
struct Shell {
    bus: Arc<LocalBus>,
    inbound: Inbound,
    events: UnboundedReceiver<Event>,
}

impl Shell {
    async fn start(inline_budget: u64) -> Self {
        let (bus, store, fleet) = (local_bus(1 << 20), memory_store(), fleet());
        let (sender, events) = unbounded_channel();
        let (outbox, posted) = Outbox::open();
        let inbound = Inbound {
            fleet: fleet.clone(),
            store: store.clone(),
            codes: CodeStore::new(store.clone()),
            events: sender,
            outbox,
            admission: admission(),
            held_bytes: Arc::default(),
            inline_budget,
            ceilings: Ceilings { memory_pages: 4096, ..Ceilings::default() },
        };
        let clients = bus.subscribe(&subjects::all_client_requests(&fleet)).await.unwrap();
        let workers = bus.subscribe(&subjects::all_worker_requests(&fleet)).await.unwrap();
        tokio::spawn(inbound.clone().clients(clients));
        tokio::spawn(inbound.clone().workers(workers));
        tokio::spawn(Outbound { bus: bus.clone(), store, fleet, timing: ProtocolTimeouts::default() }.publish(posted));
        Self { bus, inbound, events }
    }

    /// What a client's message is answered with.
    async fn ask<T: WireMessage>(&self, to: &Subject, payload: Bytes) -> T {
        let answer = in_time(self.bus.request(to, payload, crate::testing::LIMIT)).await.unwrap();
        wire::decode(&answer).unwrap()
    }

    /// The refusal of a submission.
    async fn refusal(&self, submission: Submission) -> Refusal {
        let payload = wire::encode(&FromClient::Submit(Box::new(submission)));
        match self.ask(&from_client(), payload).await {
            SubmitReply::Refused(refusal) => refusal,
            SubmitReply::Accepted => panic!("accepted"),
        }
    }

    /// The submission as the scheduler gets it.
    async fn submitted(&mut self, submission: Submission) -> Box<Submission> {
        let payload = wire::encode(&FromClient::Submit(Box::new(submission)));
        self.bus.publish(&from_client(), payload).await.unwrap();
        match in_time(self.events.recv()).await.unwrap() {
            Event::Submit { submission, identity, .. } => {
                assert_eq!(identity, submission.validation_key());
                submission
            }
            event => panic!("{event:?}"),
        }
    }
}

#[tokio::test]
async fn messages_that_cannot_be_decoded_are_refused_and_make_no_event() {
    let mut shell = Shell::start(0).await;
    // MessagePack of {"v": 99, "m": null}.
    let newer = Bytes::from_static(b"\x82\xa1v\x63\xa1m\xc0");
    for (payload, words) in [(newer, "version 99"), (Bytes::from_static(b"\xc1"), "malformed")] {
        let SubmitReply::Refused(Refusal::Malformed(why)) = shell.ask(&from_client(), payload.clone()).await else {
            panic!("not refused")
        };
        assert!(why.contains(words), "{why}");
        let WorkerReply::Refused(WorkerRefusal::NotUnderstood(why)) = shell.ask(&from_worker(), payload).await else {
            panic!("not refused")
        };
        assert!(why.contains(words), "{why}");
    }
    assert!(shell.events.try_recv().is_err());
}

/// A user that names another user's inbox, or a subject of the fleet, for the answer gets none, and the message is not
/// taken as one that expects none.
#[tokio::test]
async fn answers_go_only_to_inboxes_of_the_sender() {
    let mut shell = Shell::start(0).await;
    let user = |name: &str| UserName::parse(name).unwrap();
    let mallory = ClientId::new(user("mallory"));
    let victim = subjects::client_verdicts(&fleet(), &ClientId::new(user("alice")));
    let message =
        |subject: Subject, payload: Bytes, reply: &Subject| Message { subject, payload, reply: Some(reply.clone()) };
    let ask = wire::encode(&FromClient::Ask { requests: vec![] });
    for reply in [&victim, &Subject::received("_INBOX.alice.1")] {
        let messages = vec![message(subjects::client_requests(&fleet(), &mallory), ask.clone(), reply)];
        shell.inbound.clone().clients(futures::stream::iter(messages).boxed()).await;
        let event = shell.events.try_recv().unwrap();
        assert!(matches!(&event, Event::Ask { client, reply: None, .. } if *client == mallory), "{event:?}");
    }
    let own = Subject::received("_INBOX.mallory.1");
    let messages = vec![message(subjects::client_requests(&fleet(), &mallory), ask.clone(), &own)];
    shell.inbound.clone().clients(futures::stream::iter(messages).boxed()).await;
    assert!(matches!(shell.events.try_recv(), Ok(Event::Ask { reply: Some(reply), .. }) if reply == own));
    // A report without an answer would count as the answer to a dispatch.
    let worker = WorkerId::new(WorkerKind::Execute, user("mallory"));
    let ToWorker::Dispatch(dispatch) = crate::testing::dispatch(5, Bytes::new()) else { panic!("not a dispatch") };
    let report = wire::encode(&FromWorker::Report(Box::new(valid(&dispatch))));
    let messages = vec![message(subjects::worker_requests(&fleet(), &worker), report, &victim)];
    shell.inbound.clone().workers(futures::stream::iter(messages).boxed()).await;
    assert!(shell.events.try_recv().is_err());
}

#[tokio::test]
async fn other_versions_of_the_protocol_are_refused_with_both() {
    let mut shell = Shell::start(0).await;
    let newer = VersionRange { min: 5, max: 6 };
    let refusal = shell.refusal(Submission { speaks: newer, ..execution(b"block") }).await;
    assert_eq!(refusal, Refusal::UnsupportedVersion { client: newer, fleet: SPEAKS });
    let hello = FromWorker::Hello(WorkerHello { speaks: newer, ..hello() });
    let answer: WorkerReply = shell.ask(&from_worker(), wire::encode(&hello)).await;
    assert_eq!(answer, WorkerReply::Refused(WorkerRefusal::Version { worker: newer, fleet: SPEAKS }));
    assert!(shell.events.try_recv().is_err());
}

#[tokio::test]
async fn block_data_beyond_the_inline_budget_is_stored() {
    let mut shell = Shell::start(10).await;
    let inline = shell.submitted(execution(b"0123456789")).await;
    assert_eq!(*block_data(&inline), BlobRef::Inline(Bytes::from_static(b"0123456789")));
    assert!(matches!(inline.code.blob, BlobRef::Stored { .. }));
    // The scheduler holds one byte: these ten are too many.
    shell.inbound.held_bytes.store(1, Ordering::Relaxed);
    let spilled = shell.submitted(execution(b"0123456789")).await;
    assert!(matches!(block_data(&spilled), BlobRef::Stored { len: 10, .. }), "{:?}", block_data(&spilled));
    assert_eq!(shell.inbound.store.fetch(block_data(&spilled)).await.unwrap(), "0123456789");
    assert_eq!(spilled.validation_key(), inline.validation_key());
}

#[tokio::test]
async fn a_refused_submission_leaves_nothing_in_the_store() {
    let mut shell = Shell::start(0).await;
    let mut submission = execution(b"block");
    submission.code_bomb_limit = 0;
    let refusal = shell.refusal(submission.clone()).await;
    assert!(matches!(&refusal, Refusal::OutOfRange { field, .. } if field == "code bomb limit"), "{refusal}");
    let code = shell.inbound.store.put_blob(Bytes::from_static(b"code")).await.unwrap();
    shell.inbound.store.delete_blob(&code).await.unwrap();
    assert!(shell.inbound.codes.require("code", &code).await.is_err());
    submission.code_bomb_limit = 1000;
    submission.executor_params.0.push(ExecutorParam::MaxMemoryPages(4097));
    let refusal = shell.refusal(submission.clone()).await;
    assert!(refusal.is_over_operators_limit(), "{refusal}");
    assert!(shell.inbound.codes.require("code", &code).await.is_err());
    submission.executor_params.0.clear();
    submission.code.hash = CodeHash([7; 32]);
    assert!(matches!(shell.refusal(submission).await, Refusal::CodeHash { .. }));
    assert!(matches!(shell.inbound.codes.require("code", &code).await, Err(Refusal::BlobMissing { .. })));
    assert!(shell.events.try_recv().is_err());
}

#[tokio::test]
async fn submissions_are_refused_while_too_many_wait_for_the_store() {
    let mut shell = Shell::start(0).await;
    let full = shell.inbound.admission.clone().try_acquire_many_owned(ADMISSION_KIB as u32).unwrap();
    let submission = execution(b"block");
    let refusal = shell.refusal(submission.clone()).await;
    assert!(matches!(refusal, Refusal::Overloaded { retry_after: ADMISSION_RETRY, .. }), "{refusal}");
    drop(full);
    assert_eq!(shell.submitted(submission.clone()).await.id, submission.id);
}

#[test]
fn each_answer_to_a_command_becomes_one_event() {
    let worker = new_worker(WorkerKind::Execute);
    let ToWorker::Dispatch(dispatch) = crate::testing::dispatch(5, Bytes::new()) else { panic!("not a dispatch") };
    let command = SentCommand::of(worker, &ToWorker::Dispatch(dispatch.clone())).unwrap();
    let delivery = |answer| match command.answered(answer) {
        Event::Delivered { worker: w, job: JobId(5), attempt: 1, command: Command::Dispatch, delivery }
            if w == worker =>
        {
            delivery
        }
        event => panic!("{event:?}"),
    };
    assert_eq!(delivery(Ok(wire::encode(&DispatchReply::Taken))), Delivery::Taken);
    let refusal = CommandRefusal::NoFreeSlot;
    assert_eq!(delivery(Ok(wire::encode(&DispatchReply::Refused(refusal.clone())))), Delivery::Refused(refusal));
    assert_eq!(delivery(Err(Delivery::NoSubscriber)), Delivery::NoSubscriber);
    for (garbage, words) in [(&b"\x82\xa1v\x63\xa1m\xc0"[..], "version 99"), (b"", "malformed")] {
        let Delivery::Unknown(why) = delivery(Ok(Bytes::from_static(garbage))) else { panic!("understood") };
        assert!(why.contains(words), "{why}");
    }
    let report = Box::new(valid(&Dispatch::clone(&dispatch)));
    match command.answered(Ok(wire::encode(&DispatchReply::Done(report.clone())))) {
        Event::Report { worker: of, report: decoded, reply: None } => assert_eq!((of, decoded), (worker, report)),
        event => panic!("{event:?}"),
    }
    assert_eq!(SentCommand::of(worker, &ToWorker::Acknowledge { reports: vec![] }), None);
}
