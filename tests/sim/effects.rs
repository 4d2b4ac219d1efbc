//! What the scheduler wants done, and what that does.

use super::world::{Asker, Happening, World, delivered, timing};
use pvf_coordinator::scheduler::{Answer, Delivery, Effect, Event};
use pvf_shared::{
    ids::{RequestId, WorkerId},
    priority::ExecuteKind,
    subjects::Subject,
    wire::{Submission, ToWorker},
};
use std::time::Duration;

impl World {
    /// Looks among the effects for the answer to a submission, before the effects of accepting it are judged.
    pub(super) fn note_accepted(&mut self, submission: &Submission, reply: Option<&Subject>) {
        let mut effects = Vec::new();
        while let Some(effect) = self.scheduler.poll_effect() {
            effects.push(effect);
        }
        let accepted = effects
            .iter()
            .any(|effect| matches!(effect, Effect::Reply { to, answer: Answer::Accepted(_) } if Some(to) == reply));
        if accepted && !self.scheduler_was_told_to_forget(submission.id) {
            self.checks.on_accepted(submission, self.now);
        }
        for effect in effects {
            self.perform_effect(effect);
        }
    }

    /// A submission that was cancelled before it came is accepted and forgotten.
    pub(super) fn scheduler_was_told_to_forget(&self, id: RequestId) -> bool {
        !self.scheduler.knows(id) && !self.clients.iter().any(|c| c.waiting.contains_key(&id))
    }

    pub(super) fn perform_effect(&mut self, effect: Effect) {
        self.note_trace(&effect);
        if self.verbose {
            eprintln!("{:?} -> {effect:?}", self.now);
        }
        let incarnation = self.checks.token.0;
        match effect {
            Effect::Reply { to, answer } => {
                let asker = self.askers.get(&to).copied().unwrap_or(Asker::Nobody);
                if !self.is_lost() {
                    let latency = self.latency();
                    self.after(latency, Happening::Answered(asker, answer));
                }
            }
            Effect::Verdict { node, verdict } => {
                self.checks.on_verdict(&verdict);
                if !self.is_lost() {
                    let latency = self.latency();
                    self.after(latency, Happening::Verdict(verdict, node));
                }
            }
            Effect::ToWorker { worker, message } => {
                self.checks.on_message(worker, &message, self.now);
                self.summary.dispatches += u64::from(matches!(message, ToWorker::Dispatch(_)));
                self.send_command(incarnation, worker, message);
            }
            Effect::LookUp { artifact } => {
                let found = self.store.look_up(&artifact);
                let latency = self.latency();
                self.after(latency, Happening::Shell(incarnation, Event::LookedUp { artifact, found }));
            }
            Effect::Drop { artifact } => {
                self.summary.dropped += 1;
                self.checks.on_drop(&artifact, self.now);
                self.store.delete(&artifact);
                let latency = self.latency();
                self.after(latency, Happening::Shell(incarnation, Event::Dropped { artifact }));
            }
            Effect::ListArtifacts => {
                let listed = self.store.list();
                self.after(Duration::from_millis(5), Happening::Shell(incarnation, Event::Listed(listed)));
            }
            Effect::SaveNeeded { .. } | Effect::ForgetCode { .. } => {}
        }
    }

    pub(super) fn note_trace(&mut self, effect: &Effect) {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let mut hasher = DefaultHasher::new();
        (self.summary.trace, self.now).hash(&mut hasher);
        match effect {
            Effect::ToWorker { worker, message: ToWorker::Dispatch(d) } => {
                (worker, d.job, d.attempt, d.request).hash(&mut hasher)
            }
            Effect::Verdict { verdict, .. } => {
                (verdict.request, verdict.outcome.name(), verdict.worker).hash(&mut hasher)
            }
            other => std::mem::discriminant(other).hash(&mut hasher),
        }
        self.summary.trace = hasher.finish();
    }

    /// A command goes to a worker; what becomes of it comes back.
    pub(super) fn send_command(&mut self, incarnation: u64, worker: WorkerId, message: ToWorker) {
        if self.is_lost() {
            let event = delivered(worker, &message, Delivery::Unknown("lost".into()));
            self.shell_after(timing().ack, incarnation, event);
            return;
        }
        if self.rng.u8(0..100) < self.doubled {
            let latency = self.latency();
            self.after(latency, Happening::Command(0, worker, message.clone()));
        }
        let latency = self.latency();
        self.after(latency, Happening::Command(incarnation, worker, message));
    }

    /// The shares of the kinds, wherever all of them have something waiting all the time.
    pub(super) fn check_shares(&mut self) {
        let (waiting, counts) = (self.scheduler.waiting_in_turn(), self.scheduler.counts());
        let (before, last) = std::mem::replace(&mut self.seen, (waiting, counts));
        let got: Vec<_> =
            ExecuteKind::ALL.map(|k| counts.execute_selected[k as usize] - last.execute_selected[k as usize]).into();
        let dispatched: u64 = got.iter().sum();
        // Some may be retries that cannot go to a worker yet.
        let backlogged = before.iter().chain(&waiting).all(|n| *n >= 3);
        let shares = self.policy.shares;
        // What came back without having begun does not count as a share.
        let judged = self.engines.len() == 1 && !shares.restart && counts.came_back == last.came_back;
        if !judged || !backlogged || dispatched > 1 {
            self.history.clear();
            return;
        }
        let Some(kind) = ExecuteKind::ALL.into_iter().find(|k| got[*k as usize] == 1) else { return };
        self.history.push(kind);
        // The window that is looked at was filled under the same conditions.
        let Some(from) = self.history.len().checked_sub(12).filter(|from| *from >= 12) else { return };
        self.summary.windows += 1;
        let window = &self.history[from..];
        let got = ExecuteKind::ALL.map(|k| window.iter().filter(|kind| **kind == k).count());
        // 70 % of 12; 80 % of the rest; all of what is left, but for one now and then.
        for (got, (least, most)) in got.into_iter().zip([(8, 9), (2, 4), (0, 2), (0, 1)]) {
            assert!((least..=most).contains(&got), "shares are not kept: {:?}", self.history);
        }
    }
}
