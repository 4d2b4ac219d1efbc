//! Performs the effects that the scheduler asks for.

use super::{network::Requester, scheduled::Scheduled, world::World};
use pvf_scheduler::{Answer, Effect, Event, Notice};
use pvf_shared::{
    identity::{ClientId, WorkerId},
    subjects::Subject,
    wire::{Submission, ToWorker},
};
use pvf_worker_core::Action;
use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    mem::discriminant,
    time::Duration,
};

impl World {
    /// Looks for the acceptance of a submission among its effects, before the others are judged.
    pub(super) fn note_accepted(&mut self, from: ClientId, submission: &Submission, reply: Option<&Subject>) {
        let effects: Vec<_> = std::iter::from_fn(|| self.scheduler.poll_effect()).collect();
        let accepted = effects
            .iter()
            .any(|effect| matches!(effect, Effect::Reply { to, answer: Answer::Accepted { .. } } if Some(to) == reply));
        if accepted {
            self.checks.on_accepted(from, submission, self.now);
        }
        for effect in effects {
            self.perform_effect(effect);
        }
    }

    /// A late question may name a request whose verdict its client has had since. The coordinator knows nothing of it
    /// after that, and takes a repetition of the submission that is later still for a new request.
    fn note_unknown(&mut self, to: &Subject, answer: &Answer) {
        let (Some(Requester::Question(from)), Answer::Ask(answer)) = (self.requests.get(to).copied(), answer) else {
            return;
        };
        for id in &answer.unknown {
            if self.pending(from, *id).is_none() {
                self.checks.on_forgotten(from, *id);
            }
        }
    }

    pub(super) fn perform_effect(&mut self, effect: Effect) {
        if let Effect::Notice(Notice::Inconsistent { what }) = &effect {
            panic!("the scheduler contradicts itself: {what}");
        }
        self.trace_effect(&effect);
        if self.verbose {
            eprintln!("{:?} -> {effect:?}", self.now);
        }
        let token = self.checks.token.0;
        match effect {
            Effect::Reply { to, answer } => {
                self.note_unknown(&to, &answer);
                self.send_answer(to, answer);
            }
            Effect::Verdict { client: from, verdict, .. } => {
                self.checks.on_verdict(from, &verdict, self.now);
                if !self.is_lost() {
                    let latency = self.latency();
                    self.after(latency, Scheduled::Verdict(verdict, from));
                }
            }
            Effect::ToWorker { worker, message } => {
                self.checks.on_message(worker, &message, self.now);
                self.summary.dispatches += u64::from(matches!(message, ToWorker::Dispatch(_)));
                self.send_command(worker, message);
            }
            Effect::LookUp { artifact } => {
                let found = self.store.look_up(&artifact);
                let latency = self.latency() + self.store.hangs_until.since(self.now);
                self.after(latency, Scheduled::CoordinatorShell(token, Event::LookedUp { artifact, found }));
            }
            Effect::Drop { artifact } => {
                self.summary.dropped += 1;
                self.checks.on_drop(&artifact, self.now);
                self.store.delete(&artifact);
                let latency = self.latency();
                self.after(latency, Scheduled::CoordinatorShell(token, Event::Dropped { artifact, error: None }));
            }
            Effect::ListArtifacts => {
                let listed = self.store.list();
                self.after(Duration::from_millis(5), Scheduled::CoordinatorShell(token, Event::Listed(listed)));
            }
            Effect::Notice(notice) => {
                self.summary.adopted += u64::from(matches!(notice, Notice::JobAdopted { .. }));
                self.summary.disagreements += u64::from(matches!(notice, Notice::OpinionsDiffer { .. }));
                self.checks.on_notice(&notice);
            }
            Effect::SaveNeeded { .. } => {}
            Effect::ReadPins => {
                let read = Event::PinsRead { codes: Vec::new() };
                self.after(Duration::from_millis(5), Scheduled::CoordinatorShell(token, read));
            }
            Effect::SavePins { .. } => {
                let latency = self.latency();
                self.after(latency, Scheduled::CoordinatorShell(token, Event::PinsSaved { error: None }));
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "compared with other runs of the same build only")]
    fn trace_effect(&mut self, effect: &Effect) {
        let mut hasher = DefaultHasher::new();
        (self.summary.trace, self.now).hash(&mut hasher);
        match effect {
            Effect::ToWorker { worker, message: ToWorker::Dispatch(d) } => {
                (worker, d.job, d.attempt, d.request).hash(&mut hasher)
            }
            Effect::Verdict { client, verdict, .. } => {
                (client, verdict.request, verdict.outcome.name(), verdict.worker).hash(&mut hasher)
            }
            other => discriminant(other).hash(&mut hasher),
        }
        self.summary.trace = hasher.finish();
    }

    #[expect(clippy::disallowed_methods, reason = "compared with other runs of the same build only")]
    pub(super) fn trace_action(&mut self, worker: WorkerId, action: &Action) {
        let mut hasher = DefaultHasher::new();
        (self.summary.trace, self.now, worker, discriminant(action)).hash(&mut hasher);
        if let Action::Start { run, dispatch, behind } = action {
            (run, dispatch.job, dispatch.attempt, behind).hash(&mut hasher);
        }
        self.summary.trace = hasher.finish();
    }
}
