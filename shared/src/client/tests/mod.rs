//! Tests of the client against a coordinator that the test plays itself, on the local bus. The clock is virtual: it
//! advances to the next timer when every task waits.

mod bundles;
mod compiling;
mod coordinators;
mod deadlines;
mod lifecycle;
mod payloads;

use super::*;
use crate::{
    blob::BlobRef,
    bus::{Bus as _, Subscription, local::LocalBus},
    candidate::{BlockDataForm, CandidateContext, ValidationResult},
    identity::WorkerId,
    ids::{CodeHash, FencingToken, RequestId, StorageRoot, Term},
    params::ExecutorParams,
    priority::ExecuteKind,
    subjects::Subject,
    verdict::{Outcome, WireOutcome},
    wire::{Announcement, AskReply, Submission, Timings, ToClient, Verdict, VerdictUsage, WireMessage},
};
use bytes::Bytes;
use futures::StreamExt as _;
use parity_scale_codec::Encode as _;
use tokio::{task::JoinHandle, time::Instant};

/// More time than any exchange of these tests takes, and less than a request waits for its verdict.
const QUIET: Duration = Duration::from_secs(600);

type Task = JoinHandle<Result<Answer, ClientError>>;

/// A client and the coordinator's end of its bus.
struct Fixture {
    bus: Arc<LocalBus>,
    /// What the client sends to the coordinator.
    inbox: Subscription,
    client: ValidationHost,
    config: ClientConfig,
    /// Requests of which the client has said that it has their verdicts.
    heard: Vec<RequestId>,
}

impl Fixture {
    async fn new() -> Self {
        Self::with(LocalBus::new(), ClientConfig::default()).await
    }

    async fn with(bus: LocalBus, config: ClientConfig) -> Self {
        let bus = Arc::new(bus);
        let inbox = coordinator_inbox(&bus).await;
        let client = ValidationHost::connect(bus.clone(), config.clone()).await.unwrap();
        Self { bus, inbox, client, config, heard: Vec::new() }
    }

    /// Starts a precheck.
    fn precheck(&self) -> Task {
        let client = self.client.clone();
        tokio::spawn(async move { client.precheck_pvf(pvf(b"code")).await })
    }

    /// Starts an execution.
    fn execute(&self, code: &[u8], block_data: &[u8]) -> Task {
        let (client, pvf, request) = (self.client.clone(), pvf(code), execution(block_data));
        tokio::spawn(async move { client.execute_pvf(pvf, request).await })
    }

    /// The next message of the client, and where its answer goes. That it only has heard verdicts is answered, and
    /// counts in [`Fixture::heard`].
    async fn receive(&mut self) -> (FromClient, Subject) {
        self.next_message().await.expect("no message")
    }

    /// The next message, if there is one.
    async fn next_message(&mut self) -> Option<(FromClient, Subject)> {
        loop {
            let message = tokio::time::timeout(QUIET, self.inbox.next()).await.ok()?.unwrap();
            let sender = subjects::requesting_client(&self.config.fleet, &message.subject);
            assert_eq!(sender, Some(self.client.inner.id));
            let (message, reply) = (wire::decode(&message.payload).unwrap(), message.reply.expect("not a request"));
            let FromClient::Ask { requests, heard } = &message else { return Some((message, reply)) };
            self.heard.extend(heard);
            if !requests.is_empty() {
                return Some((message, reply));
            }
            self.reply(&reply, &AskReply::default()).await;
        }
    }

    async fn receive_submission(&mut self) -> (Submission, Subject) {
        match self.receive().await {
            (FromClient::Submit(submission), reply) => (*submission, reply),
            (other, _) => panic!("not a submission: {other:?}"),
        }
    }

    async fn receive_question(&mut self) -> (Vec<RequestId>, Subject) {
        match self.receive().await {
            (FromClient::Ask { requests, .. }, reply) => (requests, reply),
            (other, _) => panic!("not a question: {other:?}"),
        }
    }

    async fn receive_cancellation(&mut self) -> RequestId {
        let (message, reply) = self.receive().await;
        self.reply(&reply, &SubmitReply::Accepted).await;
        match message {
            FromClient::Cancel { request } => request,
            other => panic!("not a cancellation: {other:?}"),
        }
    }

    /// Receives a submission and accepts it.
    async fn accept(&mut self) -> Submission {
        let (submission, reply) = self.receive_submission().await;
        self.reply(&reply, &SubmitReply::Accepted).await;
        submission
    }

    /// Receives a submission and refuses it.
    async fn refuse(&mut self, refusal: Refusal) -> Submission {
        let (submission, reply) = self.receive_submission().await;
        self.reply(&reply, &SubmitReply::Refused(refusal)).await;
        submission
    }

    /// A coordinator with this token announces itself.
    async fn announce(&self, token: u64) {
        let message = wire::encode_by(term(token), &Announcement { version: "test".into() });
        self.bus.publish(&subjects::announcements(&self.config.fleet), message).await.unwrap();
    }

    async fn reply(&self, reply: &Subject, message: &impl WireMessage) {
        self.bus.publish(reply, wire::encode(message)).await.unwrap();
    }

    /// Publishes the verdict of a request.
    async fn send_verdict(&self, submission: &Submission, outcome: WireOutcome) {
        self.send_verdict_of(submission, outcome, None).await;
    }

    /// Publishes the verdict of a request that this worker decided.
    async fn send_verdict_of(&self, submission: &Submission, outcome: WireOutcome, worker: Option<WorkerId>) {
        self.publish(self.verdict(submission, outcome, worker)).await;
    }

    fn verdict(&self, submission: &Submission, outcome: WireOutcome, worker: Option<WorkerId>) -> Verdict {
        Verdict {
            request: submission.id,
            outcome,
            code_hash: submission.code,
            artifact: None,
            timings: Timings { total: Duration::from_millis(7), ..Timings::default() },
            worker,
            attempts: 1,
            usage: VerdictUsage::default(),
            second_opinion: None,
        }
    }

    async fn publish(&self, verdict: Verdict) {
        let message = wire::encode(&ToClient::Verdict(Box::new(verdict)));
        self.bus.publish(&subjects::client_verdicts(&self.config.fleet, &self.client.inner.id), message).await.unwrap();
    }

    /// Asserts that the client has nothing more to send.
    async fn assert_quiet(&mut self) {
        if let Some((message, _)) = self.next_message().await {
            panic!("unexpected message: {message:?}");
        }
    }
}

fn term(token: u64) -> Term {
    Term { token: FencingToken(token), id: uuid::Uuid::nil() }
}

async fn coordinator_inbox(bus: &LocalBus) -> Subscription {
    bus.subscribe(&subjects::all_client_requests(&FleetName::default())).await.unwrap()
}

fn pvf(code: &[u8]) -> Pvf {
    Pvf::new(code.to_vec(), ExecutorParams::default())
}

fn execution(block_data: &[u8]) -> ExecuteRequest {
    let context = CandidateContext {
        parent_head: Bytes::from_static(b"head"),
        relay_parent_number: 7,
        relay_parent_storage_root: StorageRoot([3; 32]),
        extension: None,
        block_data_form: BlockDataForm::Decompressed,
    };
    ExecuteRequest::new(ExecuteKind::Backing, context, block_data.to_vec())
}

/// A refusal that may pass.
fn overloaded(what: &str) -> Refusal {
    Refusal::Overloaded { what: what.into(), retry_after: Duration::from_millis(100) }
}

/// The block data of a submitted execution.
fn block_data(submission: &Submission) -> &BlobRef {
    let Work::Execute(execute) = &submission.work else { panic!("not an execution: {:?}", submission.work) };
    &execute.block_data
}

fn result() -> ValidationResult {
    ValidationResult {
        head_data: b"new head".to_vec(),
        new_validation_code: None,
        upward_messages: vec![],
        horizontal_messages: vec![],
        processed_downward_messages: 0,
        hrmp_watermark: 7,
    }
}

/// The encoded result of a valid candidate.
fn encoded_result() -> Bytes {
    result().encode().into()
}
