use super::*;
use crate::{
    outbound::Outbound,
    testing::{block_data, execution, fleet, in_time, local_bus, memory_store, valid},
};
use pvf_shared::{
    bus::{Bus as _, local::LocalBus},
    config::ProtocolTimeouts,
    ids::{CodeHash, NodeId},
    params::ExecutorParam,
    subjects,
    wire::{CommandRefusal, Dispatch, WireMessage},
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

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
        let clients = bus.subscribe(&subjects::from_node(&fleet)).await.unwrap();
        let workers = bus.subscribe(&subjects::from_worker(&fleet)).await.unwrap();
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
        let payload = wire::encode(&FromNode::Submit(Box::new(submission)));
        match self.ask(&subjects::from_node(&fleet()), payload).await {
            SubmitReply::Refused(refusal) => refusal,
            SubmitReply::Accepted => panic!("accepted"),
        }
    }

    /// The submission as the scheduler gets it.
    async fn submitted(&mut self, submission: Submission) -> Box<Submission> {
        let payload = wire::encode(&FromNode::Submit(Box::new(submission)));
        self.bus.publish(&subjects::from_node(&fleet()), payload).await.unwrap();
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
        let SubmitReply::Refused(Refusal::Malformed(why)) =
            shell.ask(&subjects::from_node(&fleet()), payload.clone()).await
        else {
            panic!("not refused")
        };
        assert!(why.contains(words), "{why}");
        let WorkerReply::Refused(WorkerRefusal::NotUnderstood(why)) =
            shell.ask(&subjects::from_worker(&fleet()), payload).await
        else {
            panic!("not refused")
        };
        assert!(why.contains(words), "{why}");
    }
    assert!(shell.events.try_recv().is_err());
}

#[tokio::test]
async fn block_data_beyond_the_inline_budget_is_stored() {
    let mut shell = Shell::start(10).await;
    let client = NodeId::new();
    let inline = shell.submitted(execution(client, b"0123456789")).await;
    assert_eq!(*block_data(&inline), BlobRef::Inline(Bytes::from_static(b"0123456789")));
    assert!(matches!(inline.code.blob, BlobRef::Stored { .. }));
    // The scheduler holds one byte: these ten are too many.
    shell.inbound.held_bytes.store(1, Ordering::Relaxed);
    let spilled = shell.submitted(execution(client, b"0123456789")).await;
    assert!(matches!(block_data(&spilled), BlobRef::Stored { len: 10, .. }), "{:?}", block_data(&spilled));
    assert_eq!(shell.inbound.store.fetch(block_data(&spilled)).await.unwrap(), "0123456789");
    assert_eq!(spilled.validation_key(), inline.validation_key());
}

#[tokio::test]
async fn a_refused_submission_leaves_nothing_in_the_store() {
    let mut shell = Shell::start(0).await;
    let mut submission = execution(NodeId::new(), b"block");
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
    let submission = execution(NodeId::new(), b"block");
    let refusal = shell.refusal(submission.clone()).await;
    assert!(matches!(refusal, Refusal::Overloaded { retry_after: ADMISSION_RETRY, .. }), "{refusal}");
    drop(full);
    assert_eq!(shell.submitted(submission.clone()).await.id, submission.id);
}

#[test]
fn each_answer_to_a_command_becomes_one_event() {
    let worker = WorkerId::new();
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
    let report = Box::new(valid(worker, &Dispatch::clone(&dispatch)));
    match command.answered(Ok(wire::encode(&DispatchReply::Done(report.clone())))) {
        Event::Report { report: decoded, reply: None } => assert_eq!(decoded, report),
        event => panic!("{event:?}"),
    }
    assert_eq!(SentCommand::of(worker, &ToWorker::Acknowledge { reports: vec![] }), None);
}
