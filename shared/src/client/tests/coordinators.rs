//! Coordinators that are replaced: what they say does not count any more, and the next one is told everything.

use super::*;
use crate::{
    ids::RelayHash,
    wire::{ActiveLeaf, ActiveLeavesUpdate},
};

#[tokio::test(start_paused = true)]
async fn what_waits_is_submitted_again_at_an_announcement_after_the_leaves() {
    let mut f = Fixture::new().await;
    let leaf = |n| ActiveLeaf { hash: RelayHash([n; 32]), ancestors: vec![] };
    let update = ActiveLeavesUpdate { activated: Some(leaf(1)), deactivated: vec![] };
    let client = f.client.clone();
    let telling = tokio::spawn({
        let update = update.clone();
        async move { client.update_active_leaves(update).await }
    });
    let (_, reply) = f.receive().await;
    f.reply(&reply, &SubmitReply::Accepted).await;
    telling.await.unwrap().unwrap();
    let accepted = f.precheck();
    let first = f.accept().await;
    let unanswered = f.execute(b"code", b"block");
    let (second, _) = f.receive_submission().await;
    let started = Instant::now();
    f.announce(5).await;
    let (message, reply) = f.receive().await;
    assert_eq!(message, FromClient::Leaves { update });
    f.reply(&reply, &SubmitReply::Accepted).await;
    let mut again = vec![f.accept().await, f.accept().await];
    assert!(started.elapsed() < Duration::from_millis(200), "no time-out passed");
    again.sort_by_key(|submission| submission.id);
    assert_eq!(again, [first.clone(), second.clone()]);
    // A repetition, and one of an earlier coordinator.
    f.announce(5).await;
    f.announce(4).await;
    f.send_verdict(&first, Outcome::PrecheckOk).await;
    f.send_verdict(&second, Outcome::Internal(crate::verdict::InternalError::Bus("test".into()))).await;
    assert_eq!(accepted.await.unwrap().unwrap().outcome, Outcome::PrecheckOk);
    unanswered.await.unwrap().unwrap();
    f.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_was_replaced_is_not_heard() {
    let mut f = Fixture::new().await;
    let accepted = |token| wire::encode_by(term(token), &SubmitReply::Accepted);
    let waits = f.precheck();
    let (first, reply) = f.receive_submission().await;
    f.bus.publish(&reply, accepted(5)).await.unwrap();
    let _second = f.precheck();
    let (second, reply) = f.receive_submission().await;
    f.bus.publish(&reply, accepted(4)).await.unwrap();
    // That acceptance counts for nothing: the request is submitted again.
    let (again, reply) = f.receive_submission().await;
    assert_eq!(again, second);
    f.bus.publish(&reply, accepted(5)).await.unwrap();
    let to = subjects::client_verdicts(&f.config.fleet, &f.client.inner.id);
    for (token, outcome) in [(4, Outcome::Expired), (5, Outcome::PrecheckOk)] {
        let verdict = Verdict {
            request: first.id,
            outcome,
            code_hash: first.code,
            artifact: None,
            timings: Timings::default(),
            worker: None,
            attempts: 1,
            usage: VerdictUsage::default(),
            second_opinion: None,
        };
        f.bus.publish(&to, wire::encode_by(term(token), &ToClient::Verdict(Box::new(verdict)))).await.unwrap();
    }
    assert_eq!(waits.await.unwrap().unwrap().outcome, Outcome::PrecheckOk);
}

#[tokio::test(start_paused = true)]
async fn the_leaves_are_repeated_although_the_announcement_was_lost() {
    let mut f = Fixture::new().await;
    let leaf = ActiveLeaf { hash: RelayHash([1; 32]), ancestors: vec![] };
    let update = ActiveLeavesUpdate { activated: Some(leaf), deactivated: vec![] };
    let client = f.client.clone();
    let telling = tokio::spawn({
        let update = update.clone();
        async move { client.update_active_leaves(update).await }
    });
    let (_, reply) = f.receive().await;
    let accepted = |token| wire::encode_by(term(token), &SubmitReply::Accepted);
    f.bus.publish(&reply, accepted(4)).await.unwrap();
    telling.await.unwrap().unwrap();
    let answer = f.precheck();
    let (submission, reply) = f.receive_submission().await;
    f.bus.publish(&reply, accepted(4)).await.unwrap();
    // Another coordinator answers the question for the verdict.
    let (asked, reply) = f.receive_question().await;
    assert_eq!(asked, [submission.id]);
    f.bus.publish(&reply, wire::encode_by(term(5), &AskReply::default())).await.unwrap();
    let (message, reply) = f.receive().await;
    assert_eq!(message, FromClient::Leaves { update });
    f.bus.publish(&reply, accepted(5)).await.unwrap();
    let (again, reply) = f.receive_submission().await;
    assert_eq!(again, submission);
    f.bus.publish(&reply, accepted(5)).await.unwrap();
    f.send_verdict(&submission, Outcome::PrecheckOk).await;
    assert_eq!(answer.await.unwrap().unwrap().outcome, Outcome::PrecheckOk);
}
