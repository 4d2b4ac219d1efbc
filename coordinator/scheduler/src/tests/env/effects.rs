//! Taking effects: each function takes the next one, which must be what its name says.

use super::*;
use pvf_proto::{artifact::StoredArtifact, identity::ClientId, ids::ArtifactId, verdict::WireOutcome, wire::Verdict};
use std::sync::Arc;

impl Env {
    pub(crate) fn next(&mut self) -> Effect {
        self.effects.pop_front().expect("one more effect was expected")
    }

    /// The next effect, which is not taken.
    pub(crate) fn peek(&self) -> &Effect {
        self.effects.front().expect("one more effect was expected")
    }

    pub(crate) fn expect(&mut self, effect: Effect) {
        assert_eq!(self.next(), effect);
    }

    /// No effect is left.
    pub(crate) fn quiet(&self) {
        assert!(self.effects.is_empty(), "unexpected: {:?}", self.effects);
    }

    pub(crate) fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// Takes all effects, for the test to look at.
    pub(crate) fn take_all(&mut self) -> Vec<Effect> {
        self.effects.drain(..).collect()
    }

    /// A dispatch; the worker answers that it has the job.
    pub(crate) fn dispatched(&mut self) -> Job {
        let job = self.dispatch_without_answer();
        self.delivered(&job, Command::Dispatch, Delivery::Taken);
        job
    }

    /// A dispatch whose answer is left to the test.
    pub(crate) fn dispatch_without_answer(&mut self) -> Job {
        match self.next() {
            Effect::ToWorker { worker, message: ToWorker::Dispatch(dispatch) } => {
                assert_eq!(dispatch.token, self.token);
                Job { worker, dispatch: *dispatch }
            }
            other => panic!("a dispatch was expected, not {other:?}"),
        }
    }

    pub(crate) fn recall_of(&mut self, job: &Job) {
        let message = ToWorker::Recall { token: self.token, job: job.job, attempt: job.attempt };
        self.expect(Effect::ToWorker { worker: job.worker, message });
    }

    pub(crate) fn cancel_of(&mut self, job: &Job) {
        let message = ToWorker::Cancel { token: self.token, job: job.job, attempt: job.attempt };
        self.expect(Effect::ToWorker { worker: job.worker, message });
    }

    /// An acknowledgement of this job's report that no dispatch carries.
    pub(crate) fn acknowledgement_of(&mut self, job: &Job) {
        let message = ToWorker::Acknowledge { reports: vec![job.listed()] };
        self.expect(Effect::ToWorker { worker: job.worker, message });
    }

    /// A verdict, with the client that it goes to.
    pub(crate) fn next_verdict(&mut self) -> (ClientId, Verdict) {
        match self.next() {
            Effect::Verdict { client, verdict, .. } => (client, (*verdict).clone()),
            other => panic!("a verdict was expected, not {other:?}"),
        }
    }

    pub(crate) fn verdict(&mut self) -> Verdict {
        self.next_verdict().1
    }

    /// A verdict of this request.
    pub(crate) fn verdict_of(&mut self, n: u64) -> WireOutcome {
        let verdict = self.verdict();
        assert_eq!(verdict.request, request(n), "{:?}", verdict.outcome);
        verdict.outcome
    }

    /// A verdict for this client, of its request with this id.
    pub(crate) fn verdict_for(&mut self, to: u64, n: u64) -> WireOutcome {
        let (of, verdict) = self.next_verdict();
        assert_eq!((of, verdict.request), (client(to), request(n)), "{:?}", verdict.outcome);
        verdict.outcome
    }

    /// A look-up of a code's artifact; the store answers.
    pub(crate) fn looked_up(&mut self, code: u8, found: Option<StoredArtifact>) {
        self.looked_up_for(artifact(code), found);
    }

    pub(crate) fn looked_up_for(&mut self, artifact: Arc<ArtifactId>, found: Option<StoredArtifact>) {
        self.expect(Effect::LookUp { artifact: artifact.clone() });
        self.event(Event::LookedUp { artifact, found: Ok(found) });
    }

    /// A look-up of a code's artifact, which the test answers later ([`Env::found`]).
    pub(crate) fn expect_look_up(&mut self, code: u8) {
        self.expect(Effect::LookUp { artifact: artifact(code) });
    }

    /// The store answers a look-up.
    pub(crate) fn found(&mut self, code: u8, found: Option<StoredArtifact>) {
        self.event(Event::LookedUp { artifact: artifact(code), found: Ok(found) });
    }

    /// The removal of a code's artifact from the store, which is done.
    pub(crate) fn dropped(&mut self, code: u8) {
        self.expect(Effect::Drop { artifact: artifact(code) });
        self.event(Event::Dropped { artifact: artifact(code), error: None });
    }

    /// Idle times that are saved, by code.
    pub(crate) fn needs_saved(&mut self) -> Vec<(u8, Duration)> {
        match self.next() {
            Effect::SaveNeeded { idle } => idle.into_iter().map(|(id, idle)| (id.code_hash.0[0], idle)).collect(),
            other => panic!("idle times were expected, not {other:?}"),
        }
    }
}
