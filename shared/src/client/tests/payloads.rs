//! Inputs that the client holds for workers, and results that it pulls from them.

use super::*;
use crate::{
    config::{MAX_PULLED, submission_max_on},
    content::Content,
    identity::{UserName, WorkerKind},
    ids::BlobHash,
    pull::{PullError, PullSettings, Puller, Wanted, serve},
    verdict::InternalError,
};
use std::future::ready;

const PAYLOAD: usize = 64 * 1024;
/// What travels inline on a bus with such messages.
const INLINE: usize = PAYLOAD / 4;

fn small_bus() -> LocalBus {
    LocalBus::with_max_payload(PAYLOAD)
}

fn held(bytes: &[u8]) -> BlobRef {
    BlobRef::Held { hash: BlobHash::of(bytes), len: bytes.len() as u64 }
}

fn inline(bytes: &[u8]) -> BlobRef {
    BlobRef::Inline(Bytes::copy_from_slice(bytes))
}

fn worker() -> WorkerId {
    WorkerId::new(WorkerKind::Execute, UserName::default())
}

impl Fixture {
    /// Pulls content from the client, as a worker does.
    async fn pull(&self, content: Content) -> Result<Bytes, PullError> {
        let wanted = Wanted {
            content,
            expected_len: None,
            max_len: MAX_PULLED,
            holders: vec![subjects::client_pulls(&self.config.fleet, &self.client.id())],
        };
        let puller = Puller::new(self.bus.clone(), PullSettings::default());
        puller.fetch(&wanted, |_| ready(())).await.map(|(bytes, ())| bytes)
    }

    /// Serves these bytes as a worker.
    async fn hold_as(&self, worker: &WorkerId, bytes: Bytes) -> JoinHandle<()> {
        let requests = self.bus.subscribe(&subjects::worker_pulls(&self.config.fleet, worker)).await.unwrap();
        let content = Content::of_blob(&bytes);
        tokio::spawn(serve(self.bus.clone(), requests, move |wanted| (*wanted == content).then(|| bytes.clone())))
    }
}

#[tokio::test(start_paused = true)]
async fn inputs_are_held_until_the_request_ends() {
    let mut fixture = Fixture::with(small_bus(), ClientConfig::default()).await;
    let code = vec![b'c'; 5 * PAYLOAD];
    for data in [vec![], vec![b'd'; INLINE], vec![b'd'; INLINE + 1], vec![b'd'; 10 * PAYLOAD]] {
        let answer = fixture.execute(&code, &data);
        let submission = fixture.accept().await;
        let expected = if data.len() > INLINE { held(&data) } else { inline(&data) };
        assert_eq!((submission.code, block_data(&submission)), (CodeHash::of(&code), &expected));
        let contents = [Content::of_code(&code), Content::of_blob(&data)];
        assert_eq!(fixture.pull(contents[0]).await.unwrap(), code);
        assert_eq!(fixture.pull(contents[1]).await.unwrap(), data);
        fixture.send_verdict(&submission, Outcome::Expired).await;
        answer.await.unwrap().unwrap();
        for content in contents {
            assert!(fixture.pull(content).await.unwrap_err().is_held_by_nobody());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn inputs_are_not_held_after_a_request_was_dropped() {
    let mut fixture = Fixture::new().await;
    let answer = fixture.execute(b"code", b"block");
    fixture.accept().await;
    assert_eq!(fixture.pull(Content::of_code(b"code")).await.unwrap(), "code");
    answer.abort();
    fixture.receive_cancellation().await;
    assert!(fixture.pull(Content::of_code(b"code")).await.unwrap_err().is_held_by_nobody());
    // Without its handles the client answers no pull.
    let Fixture { bus, client, config, .. } = fixture;
    let pulls = subjects::client_pulls(&config.fleet, &client.id());
    drop(client);
    tokio::task::yield_now().await;
    let unanswered = bus.request(&pulls, Bytes::new(), Duration::from_secs(1)).await;
    assert!(matches!(unanswered, Err(BusError::NoResponders(_))), "{unanswered:?}");
}

#[tokio::test(start_paused = true)]
async fn what_travels_inline_is_a_setting_up_to_a_limit() {
    for (setting, len, is_inline) in [(10, 10, true), (10, 11, false), (usize::MAX, INLINE + 1, false)] {
        let config = ClientConfig { inline_max: setting, ..ClientConfig::default() };
        let mut fixture = Fixture::with(small_bus(), config).await;
        let answer = fixture.execute(b"code", &vec![b'd'; len]);
        let submission = fixture.accept().await;
        assert_eq!(matches!(block_data(&submission), BlobRef::Inline(_)), is_inline, "{len} bytes with {setting}");
        fixture.send_verdict(&submission, Outcome::Expired).await;
        answer.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn block_data_gives_way_to_a_long_parent_head() {
    let mut fixture = Fixture::with(small_bus(), ClientConfig::default()).await;
    let head = |len: usize| {
        let mut request = execution(&[b'd'; INLINE]);
        request.context.parent_head = vec![0; len].into();
        request
    };
    let (client, request) = (fixture.client.clone(), head(submission_max_on(PAYLOAD) - INLINE));
    let answer = tokio::spawn(async move { client.execute_pvf(pvf(b"c"), request).await });
    let submission = fixture.accept().await;
    assert_eq!(*block_data(&submission), held(&[b'd'; INLINE]));
    fixture.send_verdict(&submission, Outcome::Expired).await;
    answer.await.unwrap().unwrap();

    let error = fixture.client.execute_pvf(pvf(b"c"), head(submission_max_on(PAYLOAD))).await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { field: "parent head and parameters", .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_large_result_is_pulled_from_the_worker_that_made_it() {
    let mut fixture = Fixture::with(small_bus(), ClientConfig::default()).await;
    let result = ValidationResult { head_data: vec![7; 5 * PAYLOAD], ..result() };
    let encoded = Bytes::from(result.encode());
    let worker = worker();
    fixture.hold_as(&worker, encoded.clone()).await;
    let answer = fixture.execute(b"code", b"block");
    let submission = fixture.accept().await;
    fixture.send_verdict_of(&submission, Outcome::Valid(held(&encoded)), Some(worker)).await;
    let answer = answer.await.unwrap().unwrap();
    assert_eq!((answer.request, answer.outcome), (submission.id, Outcome::Valid(Box::new(result))));
    fixture.assert_quiet().await;
}

/// The worker is gone, has forgotten the result, or is not named: the candidate is validated once more.
#[tokio::test(start_paused = true)]
async fn a_result_that_is_lost_is_made_again() {
    let mut fixture = Fixture::new().await;
    let encoded = encoded_result();
    let [gone, forgetful, good] = [(); 3].map(|()| worker());
    fixture.hold_as(&forgetful, Bytes::from_static(b"another result")).await;
    fixture.hold_as(&good, encoded.clone()).await;
    let answer = fixture.execute(b"code", b"block");
    let mut seen = Vec::<RequestId>::new();
    for worker in [Some(gone), Some(forgetful), None, Some(good)] {
        let submission = fixture.accept().await;
        let Work::Execute(execute) = &submission.work else { panic!("not an execution") };
        assert_eq!(execute.fresh, !seen.is_empty());
        assert!(!seen.contains(&submission.id));
        seen.push(submission.id);
        assert!(submission.answer_within <= fixture.config.answer_within);
        assert_eq!(fixture.pull(Content::of_code(b"code")).await.unwrap(), "code");
        fixture.send_verdict_of(&submission, Outcome::Valid(held(&encoded)), worker).await;
    }
    let answer = answer.await.unwrap().unwrap();
    assert_eq!((answer.request, answer.outcome), (seen[3], Outcome::Valid(Box::new(result()))));
    fixture.assert_quiet().await;
}

/// The deadline of a request holds for its result too.
#[tokio::test(start_paused = true)]
async fn a_result_that_never_comes_is_an_error_at_the_deadline() {
    let mut fixture = Fixture::new().await;
    let mut request = execution(b"block");
    request.answer_within = Some(Duration::from_secs(60));
    let (client, pvf, since) = (fixture.client.clone(), pvf(b"code"), Instant::now());
    let mut answer = tokio::spawn(async move { client.execute_pvf(pvf, request).await });
    let error = loop {
        let message = tokio::select! {
            answer = &mut answer => break answer.unwrap().unwrap_err().to_string(),
            message = fixture.receive() => message,
        };
        if let (FromClient::Submit(submission), reply) = message {
            fixture.reply(&reply, &SubmitReply::Accepted).await;
            fixture.send_verdict_of(&submission, Outcome::Valid(held(&encoded_result())), Some(worker())).await;
        }
    };
    assert!(
        error.starts_with("no verdict within 60 s: the verdict is valid, and its result could not be pulled"),
        "{error}"
    );
    assert_eq!(since.elapsed().as_secs(), 63, "with the time for one more question");
}

#[tokio::test(start_paused = true)]
async fn a_result_that_does_not_decode_is_the_infrastructures_fault() {
    for damaged in [b"".to_vec(), b"no result".to_vec(), [&encoded_result()[..], b"more"].concat()] {
        let mut fixture = Fixture::new().await;
        let answer = fixture.execute(b"code", b"block");
        let submission = fixture.accept().await;
        fixture.send_verdict(&submission, Outcome::Valid(BlobRef::Inline(damaged.into()))).await;
        let outcome = answer.await.unwrap().unwrap().outcome;
        assert!(matches!(outcome, Outcome::Internal(InternalError::Store(_))), "{outcome:?}");
    }
}
