//! Submission, acceptance, refusal, verdict, repetition, cancellation and deadline.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_accepted_request_gets_its_verdict() {
    let mut fixture = Fixture::new().await;
    let answer = fixture.execute(b"code", b"block");
    let submission = fixture.accept().await;
    assert_eq!(submission.code, CodeHash::of(b"code"));
    assert_eq!(*block_data(&submission), BlobRef::Inline(Bytes::from_static(b"block")));
    assert_eq!(submission.answer_within, fixture.config.answer_within);
    fixture.send_verdict(&submission, Outcome::Valid(BlobRef::Inline(encoded_result()))).await;
    let answer = answer.await.unwrap().unwrap();
    assert_eq!((answer.request, answer.code_hash), (submission.id, submission.code));
    assert_eq!(answer.outcome, Outcome::Valid(Box::new(result())));
    assert_eq!((answer.timings.total, answer.attempts), (Duration::from_millis(7), 1));
    // An answered request is neither cancelled nor asked for.
    fixture.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_malformed_request_fails_and_is_not_cancelled() {
    let mut fixture = Fixture::new().await;
    for refusal in [Refusal::Malformed("why".into()), out_of_range()] {
        let answer = fixture.precheck();
        fixture.refuse(refusal.clone()).await;
        let error = answer.await.unwrap().unwrap_err();
        assert!(matches!(&error, ClientError::Refused(seen) if *seen == refusal), "{error:?}");
        fixture.assert_quiet().await;
    }
}

fn out_of_range() -> Refusal {
    Refusal::OutOfRange { field: "field".into(), value: 9, min: 1, max: 2, unit: "bytes".into() }
}

/// The first submission and a repeated one outlast what passes: refusals that say nothing about the request, and
/// silence.
#[tokio::test(start_paused = true)]
async fn a_submission_outlasts_refusals_that_pass_and_silence() {
    let mut fixture = Fixture::new().await;
    let answer = fixture.precheck();
    let first = fixture.receive_submission().await.0;
    for round in ["first submission", "submitted again"] {
        for _ in 0..20 {
            let refused = fixture.refuse(overloaded("down")).await;
            assert_eq!(refused, first, "{round}");
        }
        // Nobody answers for far longer than the client's patience.
        for _ in 0..20 {
            assert_eq!(fixture.receive_submission().await.0, first, "{round}");
        }
        assert_eq!(fixture.accept().await, first, "{round}");
        if round == "first submission" {
            let (_, reply) = fixture.receive_question().await;
            fixture.reply(&reply, &AskReply { unknown: vec![first.id], ..AskReply::default() }).await;
        }
    }
    fixture.send_verdict(&first, Outcome::PrecheckOk).await;
    assert_eq!(answer.await.unwrap().unwrap().request, first.id);
    fixture.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_is_cancelled_while_it_is_being_submitted() {
    let mut fixture = Fixture::new().await;
    let answer = fixture.precheck();
    let first = fixture.refuse(overloaded("down")).await;
    fixture.receive_submission().await;
    answer.abort();
    assert_eq!(fixture.receive_cancellation().await, first.id);
    fixture.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_coordinator_is_asked_again_after_its_delay() {
    let mut fixture = Fixture::new().await;
    let answer = fixture.precheck();
    let retry_after = Duration::from_secs(20);
    let mut id = None;
    for _ in 0..3 {
        let refused = fixture.refuse(Refusal::Overloaded { what: "requests".into(), retry_after }).await;
        let since = Instant::now();
        assert_eq!(*id.get_or_insert(refused.id), refused.id);
        let (again, reply) = fixture.receive_submission().await;
        let waited = since.elapsed();
        assert!(retry_after <= waited && waited <= retry_after * 3 / 2 + Duration::from_millis(1), "{waited:?}");
        assert_eq!(again, refused);
        fixture.reply(&reply, &SubmitReply::Refused(Refusal::Overloaded { what: "bytes".into(), retry_after })).await;
    }
    let accepted = fixture.accept().await;
    fixture.send_verdict(&accepted, Outcome::PrecheckOk).await;
    assert_eq!(answer.await.unwrap().unwrap().outcome, Outcome::PrecheckOk);
}

#[tokio::test(start_paused = true)]
async fn a_verdict_stands_for_the_acceptance() {
    let mut fixture = Fixture::new().await;
    let answer = fixture.precheck();
    let (submission, reply) = fixture.receive_submission().await;
    fixture.send_verdict(&submission, Outcome::PrecheckOk).await;
    assert_eq!(answer.await.unwrap().unwrap().request, submission.id);
    // The acceptance comes too late and is ignored.
    fixture.reply(&reply, &SubmitReply::Accepted).await;
    fixture.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn duplicate_and_foreign_verdicts_are_ignored() {
    let mut fixture = Fixture::new().await;
    let answer = fixture.precheck();
    let first = fixture.accept().await;
    let malformed = Bytes::from_static(b"\xc1");
    fixture
        .bus
        .publish(&subjects::client_verdicts(&fixture.config.fleet, &fixture.client.inner.id), malformed)
        .await
        .unwrap();
    let foreign = Submission { id: RequestId::new(), ..first.clone() };
    fixture.send_verdict(&foreign, Outcome::Expired).await;
    fixture.send_verdict(&first, Outcome::PrecheckOk).await;
    fixture.send_verdict(&first, Outcome::Expired).await;
    assert_eq!(answer.await.unwrap().unwrap().outcome, Outcome::PrecheckOk);
    fixture.send_verdict(&first, Outcome::Expired).await;

    let answer = fixture.precheck();
    let second = fixture.accept().await;
    assert_ne!(second.id, first.id);
    fixture.send_verdict(&first, Outcome::Expired).await;
    fixture.send_verdict(&second, Outcome::PrecheckOk).await;
    assert_eq!(answer.await.unwrap().unwrap().request, second.id);
    fixture.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_a_request_cancels_it() {
    let mut fixture = Fixture::new().await;
    let accepted = fixture.precheck();
    let first = fixture.accept().await;
    accepted.abort();
    assert_eq!(fixture.receive_cancellation().await, first.id);

    let submitted = fixture.precheck();
    let (second, _) = fixture.receive_submission().await;
    submitted.abort();
    assert_eq!(fixture.receive_cancellation().await, second.id);
    fixture.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_request_is_submitted_again_with_the_same_id() {
    let mut fixture = Fixture::new().await;
    let answer = fixture.precheck();
    let first = fixture.accept().await;
    let since = Instant::now();
    // The coordinator knows the request: it is asked for again.
    for _ in 0..2 {
        let (asked, reply) = fixture.receive_question().await;
        assert_eq!(asked, [first.id]);
        fixture.reply(&reply, &AskReply::default()).await;
    }
    assert!(since.elapsed() >= fixture.config.timing.ask_again * 2);
    // Another coordinator does not know it.
    let (_, reply) = fixture.receive_question().await;
    fixture.reply(&reply, &AskReply { unknown: vec![first.id], ..AskReply::default() }).await;
    let again = fixture.accept().await;
    assert_eq!(again, first);
    fixture.send_verdict(&again, Outcome::PrecheckOk).await;
    assert_eq!(answer.await.unwrap().unwrap().request, first.id);
    fixture.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_resubmission_outlasts_the_absence_of_a_coordinator() {
    let mut fixture = Fixture::new().await;
    let mut answer = fixture.precheck();
    let first = fixture.accept().await;
    let (_, reply) = fixture.receive_question().await;
    fixture.inbox = futures::stream::empty().boxed();
    fixture.reply(&reply, &AskReply { unknown: vec![first.id], ..AskReply::default() }).await;
    let patience = fixture.config.patience;
    let early = tokio::time::timeout(patience * 20, &mut answer).await;
    assert!(early.is_err(), "the request ended without a coordinator: {early:?}");
    fixture.inbox = coordinator_inbox(&fixture.bus).await;
    let again = fixture.accept().await;
    assert_eq!(again, first);
    fixture.send_verdict(&again, Outcome::PrecheckOk).await;
    assert_eq!(answer.await.unwrap().unwrap().request, first.id);
}

#[tokio::test(start_paused = true)]
async fn a_refused_resubmission_ends_the_request() {
    let mut fixture = Fixture::new().await;
    let answer = fixture.precheck();
    let first = fixture.accept().await;
    let (_, reply) = fixture.receive_question().await;
    fixture.reply(&reply, &AskReply { unknown: vec![first.id], ..AskReply::default() }).await;
    fixture.refuse(Refusal::Malformed("too old".into())).await;
    let error = answer.await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Refused(Refusal::Malformed(_))), "{error:?}");
    fixture.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_coordinator_a_request_fails_after_the_clients_patience() {
    let mut fixture = Fixture::new().await;
    fixture.inbox = futures::stream::empty().boxed();
    let since = Instant::now();
    let error = fixture.precheck().await.unwrap().unwrap_err();
    assert!(matches!(&error, ClientError::NoCoordinator { fleet } if fleet == "pvf"), "{error:?}");
    let (waited, patience) = (since.elapsed(), fixture.config.patience);
    assert!(patience <= waited && waited <= patience + Duration::from_millis(10), "{waited:?}");
}

/// A client that has heard of a coordinator waits for the next one until the request's deadline.
#[tokio::test(start_paused = true)]
async fn without_a_coordinator_a_client_that_had_one_waits() {
    let mut fixture = Fixture::new().await;
    let answer = fixture.precheck();
    let first = fixture.accept().await;
    fixture.send_verdict(&first, Outcome::PrecheckOk).await;
    answer.await.unwrap().unwrap();
    fixture.inbox = futures::stream::empty().boxed();
    let mut answer = fixture.precheck();
    let early = tokio::time::timeout(fixture.config.patience * 20, &mut answer).await;
    assert!(early.is_err(), "the request ended without a coordinator: {early:?}");
    fixture.inbox = coordinator_inbox(&fixture.bus).await;
    let second = fixture.accept().await;
    fixture.send_verdict(&second, Outcome::PrecheckOk).await;
    assert_eq!(answer.await.unwrap().unwrap().request, second.id);
}

#[tokio::test(start_paused = true)]
async fn a_silent_coordinator_gets_more_time_with_each_submission() {
    let mut fixture = Fixture::new().await;
    let ack = fixture.config.timing.ack;
    let answer = fixture.precheck();
    let (first, _) = fixture.receive_submission().await;
    for factor in [1, 2, 4, 4, 4] {
        let since = Instant::now();
        assert_eq!(fixture.receive_submission().await.0, first);
        let (waited, slack) = (since.elapsed(), Duration::from_millis(100));
        assert!((ack * factor..=ack * factor + slack).contains(&waited), "{waited:?}");
    }
    fixture.accept().await;
    fixture.send_verdict(&first, Outcome::PrecheckOk).await;
    assert_eq!(answer.await.unwrap().unwrap().request, first.id);
    fixture.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_answers_any_message() {
    let fixture = Fixture::new().await;
    let mut questions = fixture.bus.subscribe(&subjects::status(&fixture.config.fleet)).await.unwrap();
    let client = fixture.client.clone();
    let status = tokio::spawn(async move { client.status_of("machine").await });
    let message = questions.next().await.unwrap();
    let (question, reply) = (wire::decode::<StatusQuestion>(&message.payload).unwrap(), message.reply.unwrap());
    assert_eq!(question, StatusQuestion { host: Some("machine".into()) });
    fixture.reply(&reply, &SubmitReply::Refused(Refusal::Malformed("newer".into()))).await;
    let error = status.await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Refused(Refusal::Malformed(_))), "{error:?}");

    let client = fixture.client.clone();
    let status = tokio::spawn(async move { client.status().await });
    let reply = questions.next().await.unwrap().reply.unwrap();
    fixture.reply(&reply, &AskReply::default()).await;
    let error = status.await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Wire(wire::WireError::Malformed { .. })), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn leaves_and_heads_ups_are_accepted_or_refused() {
    let mut fixture = Fixture::new().await;
    let update = ActiveLeavesUpdate::default();
    for refusal in [None, Some(Refusal::Malformed("why".into()))] {
        let (client, update) = (fixture.client.clone(), update.clone());
        let updated = tokio::spawn(async move { client.update_active_leaves(update).await });
        let (message, reply) = fixture.receive().await;
        assert!(matches!(message, FromClient::Leaves { .. }), "{message:?}");
        let accepted = refusal.is_none();
        fixture.reply(&reply, &refusal.map_or(SubmitReply::Accepted, SubmitReply::Refused)).await;
        assert_eq!(updated.await.unwrap().is_ok(), accepted);
    }

    let client = fixture.client.clone();
    let answers = tokio::spawn(async move { client.heads_up(vec![pvf(b"one"), pvf(b"two")], true).await });
    for code in [b"one", b"two"] {
        let submission = fixture.accept().await;
        assert_eq!((submission.code, &submission.work), (CodeHash::of(code), &Work::HeadsUp { wait_prepared: true }));
        fixture.send_verdict(&submission, Outcome::HeadsUpTaken).await;
    }
    let answers = answers.await.unwrap().unwrap();
    assert!(answers.len() == 2 && answers.iter().all(|answer| answer.outcome == Outcome::HeadsUpTaken));
}

#[tokio::test(start_paused = true)]
async fn the_client_ends_with_its_last_handle() {
    let fixture = Fixture::new().await;
    let Fixture { bus, client, config, .. } = fixture;
    let (id, other) = (client.inner.id, client.clone());
    let ended = tokio::spawn(client.ended());
    drop(client);
    tokio::task::yield_now().await;
    assert!(!ended.is_finished());
    drop(other);
    ended.await.unwrap();
    // Its subscription has ended as well.
    let unanswered =
        bus.request(&subjects::client_verdicts(&config.fleet, &id), Bytes::new(), Duration::from_secs(1)).await;
    assert!(matches!(unanswered, Err(BusError::NoResponders(_))), "{unanswered:?}");
}

#[tokio::test(start_paused = true)]
async fn the_coordinator_is_told_which_verdicts_have_come() {
    let mut fixture = Fixture::new().await;
    let mut sent = Vec::new();
    // More than there is room for in one message.
    for _ in 0..wire::MAX_ASKED + 2 {
        let answer = fixture.precheck();
        let submission = fixture.accept().await;
        fixture.send_verdict(&submission, Outcome::PrecheckOk).await;
        answer.await.unwrap().unwrap();
        sent.push(submission.id);
    }
    fixture.assert_quiet().await;
    let mut heard = std::mem::take(&mut fixture.heard);
    heard.sort_unstable();
    sent.sort_unstable();
    assert_eq!(heard, sent, "each once");
}
