use super::*;
use crate::{
    outbound::Outbound,
    testing::{execution, fleet, hello, in_time, local_bus, new_client, new_worker, term, valid},
};
use pvf_shared::{
    bus::{Bus as _, Message, local::LocalBus},
    config::{INLINE_MAX, ProtocolTimeouts},
    identity::ClientId,
    params::{ExecutorParam, ExecutorParams},
    wire::{CommandRefusal, Dispatch, VersionRange, WireMessage, WorkerHello, WorkerKind},
};
use std::sync::Arc;
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
    async fn start() -> Self {
        let (bus, fleet) = (local_bus(1 << 20), fleet());
        let (sender, events) = unbounded_channel();
        let (outbox, posted) = Outbox::open();
        let inbound = Inbound {
            fleet: fleet.clone(),
            events: sender,
            outbox,
            ceilings: Ceilings { memory_pages: 4096, ..Ceilings::default() },
            traces: Traces::default(),
        };
        let clients = bus.subscribe(&subjects::all_client_requests(&fleet)).await.unwrap();
        let workers = bus.subscribe(&subjects::all_worker_requests(&fleet)).await.unwrap();
        tokio::spawn(inbound.clone().clients(clients));
        tokio::spawn(inbound.clone().workers(workers));
        tokio::spawn(
            Outbound { bus: bus.clone(), fleet, timing: ProtocolTimeouts::default(), term: term() }.publish(posted),
        );
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
    let mut shell = Shell::start().await;
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
    let mut shell = Shell::start().await;
    let user = |name: &str| UserName::parse(name).unwrap();
    let mallory = ClientId::new(user("mallory"));
    let victim = subjects::client_verdicts(&fleet(), &ClientId::new(user("alice")));
    let message = |subject: Subject, payload: Bytes, reply: &Subject| Message {
        subject,
        payload,
        reply: Some(reply.clone()),
        trace: None,
    };
    let ask = wire::encode(&FromClient::Ask { requests: vec![], heard: vec![] });
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
    let mut shell = Shell::start().await;
    let newer = VersionRange { min: 5, max: 6 };
    let refusal = shell.refusal(Submission { speaks: newer, ..execution(b"block") }).await;
    assert_eq!(refusal, Refusal::UnsupportedVersion { client: newer, fleet: SPEAKS });
    let hello = FromWorker::Hello(Box::new(WorkerHello { speaks: newer, ..hello() }));
    let answer: WorkerReply = shell.ask(&from_worker(), wire::encode(&hello)).await;
    assert_eq!(answer, WorkerReply::Refused(WorkerRefusal::Version { worker: newer, fleet: SPEAKS }));
    assert!(shell.events.try_recv().is_err());
}

#[tokio::test]
async fn a_submission_becomes_an_event_or_is_refused() {
    let mut shell = Shell::start().await;
    let submission = execution(b"block");
    assert_eq!(*shell.submitted(submission.clone()).await, submission);
    let refusal = shell.refusal(Submission { code_bomb_limit: 0, ..submission.clone() }).await;
    assert!(matches!(&refusal, Refusal::OutOfRange { field, .. } if field == "code bomb limit"), "{refusal}");
    let executor_params = ExecutorParams(vec![ExecutorParam::MaxMemoryPages(4097)]);
    let refusal = shell.refusal(Submission { executor_params, ..submission }).await;
    assert!(refusal.is_over_operators_limit(), "{refusal}");
    assert!(shell.events.try_recv().is_err());
}

#[tokio::test]
async fn block_data_over_the_inline_limit_is_refused() {
    let mut shell = Shell::start().await;
    let refusal = shell.refusal(execution(&[0; INLINE_MAX + 1])).await;
    assert!(matches!(&refusal, Refusal::OutOfRange { field, .. } if field == "inline block data"), "{refusal}");
    assert!(shell.events.try_recv().is_err());
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
