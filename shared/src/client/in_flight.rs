//! One request in flight: submitted, accepted, answered; or submitted again, cancelled, expired. Its one deadline holds
//! for all of that.

use super::{Answer, ClientError, Inner, Pvf, acceptance, announcements, pending::Update};
use crate::{
    candidate::ValidationResult,
    ids::RequestId,
    retry,
    traces::{self, Span, SpanKind},
    verdict::{InternalError, Outcome},
    wire::{FromClient, SPEAKS, Submission, SubmitReply, Verdict, Work},
};
use backon::BackoffBuilder as _;
use parity_scale_codec::DecodeAll as _;
use std::{sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    sync::{mpsc::UnboundedReceiver, watch},
    time::{Instant, timeout_at},
};

/// Carries a request from its submission to its answer. `answer_within` defaults to the client's configuration. The
/// client waits one [`ask_again`](crate::config::ProtocolTimeouts::ask_again) longer, because the coordinator counts
/// the time from its receipt of the request and answers an expired one with a verdict.
pub(super) async fn run(
    client: &Arc<Inner>,
    pvf: Pvf,
    mut work: Work,
    answer_within: Option<Duration>,
) -> Result<Answer, ClientError> {
    let answer_within = answer_within.unwrap_or(client.config.answer_within);
    let deadline = Instant::now() + answer_within + client.config.timing.ask_again;
    let _held = client.payloads.hold(&pvf, &mut work)?;
    let mut request = InFlight::new(client.clone());
    let submission = Submission {
        id: request.id,
        speaks: SPEAKS,
        code: pvf.code_hash,
        code_bomb_limit: pvf.code_bomb_limit,
        executor_params: pvf.executor_params,
        prepare_timeout: pvf.prepare_timeout,
        answer_within,
        work,
    };
    let mut span = span_of(&submission);
    let answer =
        timeout_at(deadline, traces::within(span.context(), Box::pin(request.obtain_answer(submission, deadline))));
    let answer = answer.await.unwrap_or_else(|_| Err(request.not_answered(answer_within)));
    match &answer {
        Ok(answer) => span.text("pvf.outcome", answer.outcome.name()),
        Err(error) => span.failed(&error.to_string()),
    }
    answer
}

/// The span of a request, from its submission to its answer.
fn span_of(submission: &Submission) -> Span {
    let name = match submission.work {
        Work::Execute(_) => "request execute",
        Work::Precheck => "request precheck",
        Work::HeadsUp { .. } => "request heads-up",
    };
    let mut span = traces::start(name, SpanKind::Client, traces::current());
    span.text("pvf.request", submission.id);
    span.text("pvf.code", submission.code);
    if let Work::Execute(execute) = &submission.work {
        span.text("pvf.kind", execute.kind.name());
    }
    span
}

/// A request in flight. It is cancelled if it is dropped before it ended.
struct InFlight {
    client: Arc<Inner>,
    id: RequestId,
    updates: UnboundedReceiver<Update>,
    /// What is in the way of the request: why no coordinator has accepted it yet, or that its result is still being
    /// fetched.
    obstacle: Option<String>,
    /// Whether the coordinator has answered or refused the request.
    ended: bool,
}

impl InFlight {
    fn new(client: Arc<Inner>) -> Self {
        let id = RequestId::new();
        Self { updates: client.pending.register(id), client, id, obstacle: None, ended: false }
    }

    /// Submits the request, waits for its verdict, and pulls its result if that is large. Where the result cannot be
    /// pulled, the validation is done again.
    async fn obtain_answer(&mut self, mut submission: Submission, deadline: Instant) -> Result<Answer, ClientError> {
        let mut pauses = retry::SUBMISSION.build();
        loop {
            let verdict = match self.obtain_verdict(&submission).await {
                Ok(verdict) => verdict,
                Err(error) => {
                    // After any error but a refusal the coordinator may still have the request.
                    self.ended = matches!(error, ClientError::Refused(_));
                    return Err(error);
                }
            };
            self.ended = true;
            self.client.pending.remove(&self.id);
            self.client.trouble.clear();
            let Outcome::Valid(result) = &verdict.outcome else { return Ok(answer(verdict, None)) };
            self.obstacle = Some("the verdict is valid, and its result is still being pulled".into());
            match self.client.payloads.fetch(result, verdict.worker).await {
                Ok(result) => return Ok(answer(verdict, Some(&result))),
                Err(why) => {
                    tracing::warn!(request = %self.id, %why, "no result of a valid candidate: validating it again");
                    self.obstacle = Some(format!("the verdict is valid, and its result could not be pulled: {why}"));
                }
            }
            tokio::time::sleep(pauses.next().unwrap_or_default()).await;
            self.renew(&mut submission, deadline);
        }
    }

    /// Makes another request of an answered one, which gets an execution of its own.
    fn renew(&mut self, submission: &mut Submission, deadline: Instant) {
        self.id = RequestId::new();
        self.updates = self.client.pending.register(self.id);
        self.ended = false;
        submission.id = self.id;
        let left =
            deadline.saturating_duration_since(Instant::now()).saturating_sub(self.client.config.timing.ask_again);
        submission.answer_within = left.max(Duration::from_millis(1));
        if let Work::Execute(execute) = &mut submission.work {
            execute.fresh = true;
        }
    }

    /// Submits the request and waits for its verdict.
    async fn obtain_verdict(&mut self, submission: &Submission) -> Result<Verdict, ClientError> {
        let mut announced = self.client.announced.subscribe();
        loop {
            if let Some(verdict) = self.submit(submission, &mut announced).await? {
                return Ok(verdict);
            }
            self.client.pending.mark_accepted(&self.id);
            let update = tokio::select! {
                biased;
                update = self.updates.recv() => update,
                () = announcements::next(&mut announced) => Some(Update::Unknown),
            };
            match update {
                Some(Update::Verdict(verdict)) => return Ok(*verdict),
                Some(Update::Unknown) => {
                    self.client.pending.mark_unaccepted(&self.id);
                    tracing::info!(request = %self.id, "unknown to the coordinator, submitting it again");
                }
                None => return Err(ClientError::Ended),
            }
        }
    }

    /// Submits the request until it is accepted. Returns its verdict if that comes first, which implies that the
    /// request was accepted.
    async fn submit(
        &mut self,
        submission: &Submission,
        announced: &mut watch::Receiver<u64>,
    ) -> Result<Option<Verdict>, ClientError> {
        let Self { client, updates, obstacle, .. } = self;
        tokio::select! {
            biased;
            Some(verdict) = next_verdict(updates) => Ok(Some(verdict)),
            accepted = acceptance::obtain(client, submission, obstacle, announced) => accepted.map(|()| None),
        }
    }

    /// The error at the deadline, with what was in the way.
    fn not_answered(&self, within: Duration) -> ClientError {
        let last = self.obstacle.clone().or_else(|| self.client.trouble.of_questions());
        ClientError::NotAnswered { within, last }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.client.pending.remove(&self.id);
        if self.ended {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let (client, request) = (self.client.clone(), self.id);
            runtime.spawn(async move {
                let message = FromClient::Cancel { request };
                if let Err(error) = client.coordinator.ask::<SubmitReply>(&message).await {
                    tracing::debug!(%request, %error, "cannot cancel the request");
                }
            });
        }
    }
}

/// The next verdict. That a coordinator did not know the request is irrelevant while the request is being submitted.
async fn next_verdict(updates: &mut UnboundedReceiver<Update>) -> Option<Verdict> {
    while let Some(update) = updates.recv().await {
        if let Update::Verdict(verdict) = update {
            return Some(*verdict);
        }
    }
    None
}

/// The answer of a verdict, with the encoded result of a valid candidate.
fn answer(verdict: Verdict, result: Option<&[u8]>) -> Answer {
    let outcome = match verdict.outcome {
        Outcome::Valid(_) => decode_result(result.unwrap_or_default()),
        Outcome::PrecheckOk => Outcome::PrecheckOk,
        Outcome::HeadsUpTaken => Outcome::HeadsUpTaken,
        Outcome::HeadsUpPrepared => Outcome::HeadsUpPrepared,
        Outcome::Invalid(reason) => Outcome::Invalid(reason),
        Outcome::PossiblyInvalid(reason) => Outcome::PossiblyInvalid(reason),
        Outcome::PreparationFailed(reason) => Outcome::PreparationFailed(reason),
        Outcome::Internal(reason) => Outcome::Internal(reason),
        Outcome::Expired => Outcome::Expired,
    };
    Answer {
        request: verdict.request,
        outcome,
        code_hash: verdict.code_hash,
        artifact: verdict.artifact,
        timings: verdict.timings,
        worker: verdict.worker,
        attempts: verdict.attempts,
        usage: verdict.usage,
        second_opinion: verdict.second_opinion,
    }
}

fn decode_result(mut bytes: &[u8]) -> Outcome {
    match ValidationResult::decode_all(&mut bytes) {
        Ok(result) => Outcome::Valid(Box::new(result)),
        // The worker has decoded these bytes before, so they were changed on the way.
        Err(e) => Outcome::Internal(InternalError::Store(format!("result does not decode: {e}"))),
    }
}
