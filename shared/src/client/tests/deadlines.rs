//! Requests that reach their deadline, and what they name as the reason.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_request_that_is_never_accepted_ends_at_its_deadline_with_the_last_refusal() {
    let mut fixture = Fixture::new().await;
    let mut request = execution(b"block");
    request.answer_within = Some(Duration::from_secs(10));
    let client = fixture.client.clone();
    let mut trouble = client.trouble();
    assert_eq!(*trouble.borrow_and_update(), None);
    let since = Instant::now();
    let answer = tokio::spawn(async move { client.execute_pvf(pvf(b"code"), request).await });
    let mut reasons = (0..).map(|n: u32| format!("down {n}"));
    let (id, refused) = loop {
        match fixture.receive().await {
            (FromClient::Submit(submission), reply) => {
                // An attempt may come in the millisecond of the deadline: timers have no finer steps.
                assert!(since.elapsed() <= Duration::from_millis(13_001), "{:?}", since.elapsed());
                let refusal = overloaded(&reasons.next().unwrap());
                fixture.reply(&reply, &SubmitReply::Refused(refusal.clone())).await;
                trouble.changed().await.unwrap();
                let shown = trouble.borrow_and_update().clone().unwrap();
                assert!(shown.contains(&refusal.to_string()), "{shown}");
                assert_eq!(submission.code, CodeHash::of(b"code"));
            }
            (FromClient::Cancel { request, .. }, _) => break (request, reasons.next().unwrap()),
            (other, _) => panic!("unexpected message: {other:?}"),
        }
    };
    let error = answer.await.unwrap().unwrap_err();
    let last = refused.strip_prefix("down ").and_then(|n| n.parse::<u32>().ok()).unwrap() - 1;
    let text = format!("no verdict within 10 s: refused: {}", overloaded(&format!("down {last}")));
    assert_eq!(error.to_string(), text, "request {id}");
    assert!(since.elapsed() >= Duration::from_secs(10), "{:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_verdict_ends_at_its_deadline() {
    let mut fixture = Fixture::new().await;
    let mut request = execution(b"block");
    request.answer_within = Some(Duration::from_secs(10));
    let client = fixture.client.clone();
    let since = Instant::now();
    let answer = tokio::spawn(async move { client.execute_pvf(pvf(b"code"), request).await });
    let submission = fixture.accept().await;
    assert_eq!(submission.answer_within, Duration::from_secs(10));
    let cancelled = loop {
        match fixture.receive().await {
            (FromClient::Ask { .. }, reply) => fixture.reply(&reply, &AskReply::default()).await,
            (FromClient::Cancel { request, .. }, _) => break request,
            (other, _) => panic!("unexpected message: {other:?}"),
        }
    };
    assert_eq!(cancelled, submission.id);
    let error = answer.await.unwrap().unwrap_err();
    assert!(
        matches!(error, ClientError::NotAnswered { within, last: None } if within == Duration::from_secs(10)),
        "{error:?}"
    );
    let grace = fixture.config.timing.ask_again;
    assert!(since.elapsed() >= Duration::from_secs(10) + grace, "{:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_expires_does_not_name_the_trouble_of_another() {
    let mut fixture = Fixture::new().await;
    let execution_within = |seconds| {
        let mut request = execution(b"block");
        request.answer_within = Some(Duration::from_secs(seconds));
        let client = fixture.client.clone();
        tokio::spawn(async move { client.execute_pvf(pvf(b"code"), request).await })
    };
    let accepted = execution_within(10);
    let first = fixture.accept().await;
    let refused = fixture.precheck();
    let error = loop {
        match fixture.receive().await {
            (FromClient::Submit(_), reply) => {
                let refusal = overloaded("of the other request");
                fixture.reply(&reply, &SubmitReply::Refused(refusal)).await;
            }
            // The coordinator answers no questions, which holds up both requests.
            (FromClient::Ask { .. }, _) => {}
            (FromClient::Cancel { request, .. }, _) => {
                assert_eq!(request, first.id);
                break accepted.await.unwrap().unwrap_err();
            }
            (other, _) => panic!("unexpected message: {other:?}"),
        }
    };
    refused.abort();
    let text = error.to_string();
    assert!(text.starts_with("no verdict within 10 s") && !text.contains("of the other request"), "{text}");
    assert!(fixture.client.trouble().borrow().is_some());
}
