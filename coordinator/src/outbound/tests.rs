use super::*;
use crate::{
    outbox::Outbox,
    testing::{Inbox, fleet, in_time, local_bus, new_client, term},
};
use futures::{FutureExt as _, StreamExt as _};
use pvf_shared::{
    blob::BlobRef,
    bus::{Bus as _, Subscription, local::LocalBus},
    ids::{CodeHash, RequestId},
    subjects::Subject,
    verdict::Outcome,
    wire::{Timings, Verdict, VerdictUsage},
};
use std::sync::Arc;

const PAYLOAD: usize = 4096;

fn start(bus: &Arc<LocalBus>) -> Outbox {
    let (outbox, posted) = Outbox::open();
    let outbound = Outbound { bus: bus.clone(), fleet: fleet(), timing: ProtocolTimeouts::default(), term: term() };
    tokio::spawn(outbound.publish(posted));
    outbox
}

fn verdict(request: RequestId, result: Bytes) -> Arc<Verdict> {
    Arc::new(Verdict {
        request,
        outcome: Outcome::Valid(BlobRef::Inline(result)),
        code_hash: CodeHash([1; 32]),
        artifact: None,
        timings: Timings::default(),
        worker: None,
        attempts: 1,
        usage: VerdictUsage::default(),
        second_opinion: None,
    })
}

/// A reply subject, and what comes there.
async fn reply_subject(bus: &LocalBus, name: &str) -> (Subject, Subscription) {
    let subject = Subject::received(name);
    let replies = bus.subscribe(&subject).await.unwrap();
    (subject, replies)
}

async fn accepted(replies: &mut Subscription) {
    let message = in_time(replies.next()).await.unwrap();
    assert_eq!(wire::decode::<SubmitReply>(&message.payload).unwrap(), SubmitReply::Accepted);
}

#[tokio::test(start_paused = true)]
async fn a_verdict_that_comes_soon_replaces_the_acceptance() {
    let (bus, client) = (local_bus(PAYLOAD), new_client());
    let outbox = start(&bus);
    let mut inbox = Inbox::of_client(&bus, &client).await;
    let (to, mut replies) = reply_subject(&bus, "judged").await;
    let (to_other, mut other_replies) = reply_subject(&bus, "waiting").await;
    let [judged, waiting] = [RequestId::new(), RequestId::new()];
    outbox.answer(to, Answer::Accepted { client, request: judged });
    outbox.answer(to_other, Answer::Accepted { client, request: waiting });
    let result = Bytes::from_static(b"result");
    outbox.verdict(client, verdict(judged, result.clone()));
    let (ToClient::Verdict(received), _) = inbox.next().await;
    assert_eq!(*received, *verdict(judged, result));
    // The other request has no verdict, so its acceptance is sent when its time has come.
    assert!(other_replies.next().now_or_never().is_none());
    accepted(&mut other_replies).await;
    // By then that of the first would have been sent too.
    assert!(replies.next().now_or_never().is_none());
}

#[tokio::test]
async fn answers_go_out_in_order() {
    let bus = local_bus(PAYLOAD);
    let outbox = start(&bus);
    let (to, mut replies) = reply_subject(&bus, "answers").await;
    let answers = [1, 2, 3].map(|n| wire::AskReply { unknown: vec![RequestId::new(); n], ..wire::AskReply::default() });
    for answer in &answers {
        outbox.answer(to.clone(), Answer::Ask(answer.clone()));
    }
    for answer in answers {
        let message = in_time(replies.next()).await.unwrap();
        assert_eq!(wire::decode::<wire::AskReply>(&message.payload).unwrap(), answer);
    }
}
