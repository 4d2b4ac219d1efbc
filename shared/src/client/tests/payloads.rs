//! Inputs and results that do not fit a bus message.

use super::*;
use crate::{
    config::ENVELOPE_RESERVE,
    ids::BlobHash,
    store::hanging::{Answers, hanging_store},
    verdict::InternalError,
};

/// Bytes of code and block data that fit a message on [`small_bus`].
const ROOM: usize = 1000;

fn small_bus() -> LocalBus {
    LocalBus::with_max_payload(ENVELOPE_RESERVE + ROOM)
}

fn stored(bytes: &[u8]) -> BlobRef {
    BlobRef::Stored { hash: BlobHash::of(bytes), len: bytes.len() as u64 }
}

fn inline(bytes: &[u8]) -> BlobRef {
    BlobRef::Inline(Bytes::copy_from_slice(bytes))
}

#[tokio::test(start_paused = true)]
async fn only_inputs_that_do_not_fit_go_through_the_store() {
    let store = memory_store();
    let mut fixture = Fixture::with(small_bus(), Some(store.clone())).await;
    // Sizes of code and block data, and which of them are stored.
    for (code, data, expected) in [
        (ROOM / 2, ROOM / 2, (false, false)),
        (ROOM / 2 + 1, ROOM / 2, (true, false)),
        (ROOM / 2, ROOM / 2 + 1, (false, true)),
        (ROOM / 2 + 1, ROOM / 2 + 1, (false, true)),
        (1, ROOM + 1, (false, true)),
        (ROOM + 1, 1, (true, false)),
        (ROOM + 1, ROOM + 1, (true, true)),
    ] {
        let (code, data) = (vec![b'c'; code], vec![b'd'; data]);
        let answer = fixture.execute(&code, &data);
        let submission = fixture.accept().await;
        let blobs = (submission.code.blob.clone(), block_data(&submission).clone());
        let either = |is_stored: bool, bytes: &[u8]| if is_stored { stored(bytes) } else { inline(bytes) };
        assert_eq!(blobs, (either(expected.0, &code), either(expected.1, &data)));
        assert_eq!(store.fetch(&blobs.0).await.unwrap(), code);
        assert_eq!(store.fetch(&blobs.1).await.unwrap(), data);
        fixture.send_verdict(&submission, Outcome::Expired).await;
        answer.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_store_large_inputs_are_an_error_that_names_them() {
    let mut fixture = Fixture::with(small_bus(), None).await;
    let large = vec![0; ROOM + 1];
    for (code, data, name) in [(&large[..], &b"d"[..], "code"), (b"c", &large, "block data")] {
        let error = fixture.execute(code, data).await.unwrap().unwrap_err();
        let expected = (name, large.len() as u64, ROOM as u64);
        assert!(
            matches!(error, ClientError::TooLarge { field, len, limit } if (field, len, limit) == expected),
            "{error:?}"
        );
        // An unsubmitted request is cancelled as well, which has no effect.
        fixture.receive_cancellation().await;
    }
    let mut request = execution(b"d");
    request.context.parent_head = vec![0; ENVELOPE_RESERVE + ROOM].into();
    let error = fixture.client.execute_pvf(pvf(b"c"), request).await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { field: "parent head and parameters", .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_code_that_expired_in_the_store_is_stored_again() {
    let store = memory_store();
    let mut fixture = Fixture::with(small_bus(), Some(store.clone())).await;
    let code = vec![b'c'; ROOM + 1];
    let answer = fixture.execute(&code, b"d");
    let submission = fixture.accept().await;
    fixture.send_verdict(&submission, Outcome::Expired).await;
    answer.await.unwrap().unwrap();

    store.delete_blob(&stored(&code)).await.unwrap();
    let missing = || Refusal::BlobMissing { field: "code".into(), blob: "hash".into(), len: code.len() as u64 };
    let answer = fixture.execute(&code, b"d");
    let refused = fixture.refuse(missing()).await;
    let again = fixture.accept().await;
    assert_eq!(again, refused);
    assert_eq!(store.fetch(&again.code.blob).await.unwrap(), code);
    fixture.send_verdict(&again, Outcome::Expired).await;
    answer.await.unwrap().unwrap();

    // A fleet with another store refuses the code however often it is stored.
    let mut request = execution(b"d");
    request.answer_within = Some(Duration::from_secs(10));
    let (client, pvf) = (fixture.client.clone(), pvf(&code));
    let answer = tokio::spawn(async move { client.execute_pvf(pvf, request).await });
    let first = fixture.refuse(missing()).await;
    let cancelled = loop {
        match fixture.receive().await {
            (FromClient::Submit(_), reply) => fixture.reply(&reply, &SubmitReply::Refused(missing())).await,
            (FromClient::Cancel { request, .. }, reply) => {
                fixture.reply(&reply, &SubmitReply::Accepted).await;
                break request;
            }
            (other, _) => panic!("unexpected message: {other:?}"),
        }
    };
    assert_eq!(cancelled, first.id);
    let error = answer.await.unwrap().unwrap_err().to_string();
    assert!(error.starts_with("no verdict within 10 s") && error.contains("do node and fleet use the same"), "{error}");
    fixture.assert_quiet().await;
}

/// Block data that expired in the store before its request is submitted again is stored again.
#[tokio::test(start_paused = true)]
async fn block_data_that_is_missing_is_stored_again_for_another_submission() {
    let store = memory_store();
    let mut fixture = Fixture::with(small_bus(), Some(store.clone())).await;
    let data = vec![b'd'; ROOM + 1];
    let answer = fixture.execute(b"c", &data);
    let first = fixture.accept().await;
    store.delete_blob(&stored(&data)).await.unwrap();
    let (_, reply) = fixture.receive_question().await;
    fixture.reply(&reply, &AskReply { unknown: vec![first.id] }).await;
    let again = fixture.receive_submission().await;
    assert_eq!(again.0, first);
    assert_eq!(store.fetch(block_data(&first)).await.unwrap(), data);
    // It expires once more before the coordinator has looked.
    store.delete_blob(&stored(&data)).await.unwrap();
    let missing = Refusal::BlobMissing { field: "block data".into(), blob: "hash".into(), len: data.len() as u64 };
    fixture.reply(&again.1, &SubmitReply::Refused(missing)).await;
    assert_eq!(fixture.accept().await, first);
    assert_eq!(store.fetch(block_data(&first)).await.unwrap(), data);
    fixture.send_verdict(&first, Outcome::Expired).await;
    answer.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_large_result_comes_from_the_store() {
    let store = memory_store();
    let mut fixture = Fixture::with(small_bus(), Some(store.clone())).await;
    let blob = store.put_blob(encoded_result()).await.unwrap();
    let answer = fixture.execute(b"code", b"block");
    let submission = fixture.accept().await;
    fixture.send_verdict(&submission, Outcome::Valid(blob)).await;
    assert_eq!(answer.await.unwrap().unwrap().outcome, Outcome::Valid(Box::new(result())));

    // A missing one is read three times, with delays of 200 ms and 400 ms.
    let answer = fixture.execute(b"code", b"block");
    let submission = fixture.accept().await;
    let since = Instant::now();
    fixture.send_verdict(&submission, Outcome::Valid(stored(b"missing"))).await;
    let error = answer.await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Store(StoreError::NotFound { .. })), "{error:?}");
    let waited = since.elapsed().as_millis();
    assert!((600..=602).contains(&waited), "{waited} ms");
    fixture.assert_quiet().await;
}

/// The deadline of a request holds for its result too.
#[tokio::test(start_paused = true)]
async fn a_result_that_a_hanging_store_does_not_give_is_an_error_at_the_deadline() {
    let store = hanging_store(Answers::AllButReads(0));
    let mut fixture = Fixture::with(small_bus(), Some(store.clone())).await;
    let blob = store.put_blob(encoded_result()).await.unwrap();
    let mut request = execution(b"block");
    request.answer_within = Some(Duration::from_secs(10));
    let (client, pvf, since) = (fixture.client.clone(), pvf(b"code"), Instant::now());
    let answer = tokio::spawn(async move { client.execute_pvf(pvf, request).await });
    let submission = fixture.accept().await;
    fixture.send_verdict(&submission, Outcome::Valid(blob)).await;
    let error = answer.await.unwrap().unwrap_err().to_string();
    assert!(error.starts_with("no verdict within 10 s: the verdict is valid"), "{error}");
    assert_eq!(since.elapsed().as_secs(), 13, "with the time for one more question");
    fixture.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_store_a_large_result_is_an_error() {
    let mut fixture = Fixture::with(small_bus(), None).await;
    let answer = fixture.execute(b"code", b"block");
    let submission = fixture.accept().await;
    fixture.send_verdict(&submission, Outcome::Valid(stored(b"result"))).await;
    let error = answer.await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { field: "result", len: 6, .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_result_that_does_not_decode_is_an_infrastructure_failure() {
    let mut fixture = Fixture::new().await;
    let mut trailing = encoded_result().to_vec();
    trailing.push(0);
    for damaged in [trailing, vec![]] {
        let answer = fixture.execute(b"code", b"block");
        let submission = fixture.accept().await;
        fixture.send_verdict(&submission, Outcome::Valid(BlobRef::Inline(damaged.into()))).await;
        let outcome = answer.await.unwrap().unwrap().outcome;
        assert!(matches!(outcome, Outcome::Internal(InternalError::Store(_))), "{outcome:?}");
    }
}
