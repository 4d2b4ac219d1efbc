//! Verdicts, deadlines and pruning.

use super::{
    super::truth::{CandidateTruth, CodeTruth, candidate, candidate_of, code, number_of},
    Checks, Live, RequestKey,
    opinions::is_wrong,
};
use pvf_shared::{
    blob::BlobRef,
    identity::ClientId,
    ids::{ArtifactId, Attempt, FencingToken, JobId, RequestId},
    job::AttemptEnd,
    time::Timestamp,
    verdict::{AmbiguousReason, InternalError, Outcome, PrepareError},
    wire::{MAX_ATTEMPTS_SHOWN, Submission, Verdict, Work, WorkerKind},
};
use std::collections::HashSet;

impl Checks {
    /// The scheduler accepted a submission.
    pub fn on_accepted(&mut self, from: ClientId, submission: &Submission, now: Timestamp) {
        self.heard.insert(from, now);
        let key = (submission.id, from);
        if self.verdicts.contains_key(&key) || self.live.contains_key(&key) {
            return;
        }
        let kind = match &submission.work {
            Work::Execute(_) => WorkerKind::Execute,
            Work::Precheck | Work::HeadsUp { .. } => WorkerKind::Prepare,
        };
        let abandoned = self.cancelled.contains(&key);
        if self.has_workers(kind) && !abandoned {
            self.needed.insert(submission.code, now);
        }
        self.live.entry(key).or_insert_with(|| Live {
            code: submission.code,
            work: submission.work.clone(),
            deadline: now.after(submission.answer_within),
            abandoned,
        });
    }

    /// Whether a client waits for it: requests of clients that are silent may be dropped.
    pub(super) fn is_there(&self, (key, live): (&RequestKey, &Live), now: Timestamp) -> bool {
        let heard = self.heard.get(&key.1);
        !live.abandoned && heard.is_some_and(|at| now.since(*at) < self.client_silence)
    }

    /// The scheduler drops an artifact.
    pub fn on_drop(&mut self, artifact: &ArtifactId, now: Timestamp) {
        if self.suspected.remove(artifact) {
            return;
        }
        // It is not suspected to be damaged: it is pruned.
        let used = self.leases.values().find(|l| l.artifact == *artifact);
        assert!(used.is_none(), "{artifact} is pruned while {used:?} needs it");
        let is_for_it = |live: &Live| live.code == artifact.code_hash && matches!(live.work, Work::Execute(_));
        let waits = self.live.iter().find(|(key, live)| is_for_it(live) && self.is_there((key, live), now));
        assert!(waits.is_none() || self.engines > 1, "{artifact} is pruned while {waits:?} needs it");
        let needed = self.needed.get(&artifact.code_hash);
        let young = needed.is_some_and(|at| now.since(*at) < self.min_age);
        assert!(!young || self.engines > 1, "{artifact} is pruned although it was needed recently");
    }

    /// The scheduler gives a verdict.
    pub fn on_verdict(&mut self, to: ClientId, verdict: &Verdict, now: Timestamp) {
        let key = (verdict.request, to);
        if let Some(first) = self.verdicts.get(&key) {
            assert_eq!(first, verdict, "a second, other verdict");
            return;
        }
        let live = self.live.remove(&key);
        let live = live.unwrap_or_else(|| panic!("a verdict for {key:?}, which was not accepted or has ended"));
        self.check_truth(&live, verdict, now);
        self.check_opinions(&live, verdict);
        check_usage(verdict);
        self.verdicts.insert(key, verdict.clone());
    }

    /// The scheduler may take this request for a new one from now on: its client has the verdict.
    pub fn on_forgotten(&mut self, client: ClientId, request: RequestId) {
        self.verdicts.remove(&(request, client));
    }

    fn check_truth(&mut self, live: &Live, verdict: &Verdict, now: Timestamp) {
        let n = number_of(live.code);
        let code = code(n);
        let number = match &live.work {
            Work::Execute(work) => Some(candidate_of(&work.block_data)),
            Work::Precheck | Work::HeadsUp { .. } => None,
        };
        match &verdict.outcome {
            Outcome::Valid(_) | Outcome::Invalid(_) if self.may_be_wrong(verdict) => {
                self.lies += u64::from(is_wrong(&verdict.outcome, number.expect("an execution")));
            }
            Outcome::Internal(InternalError::Disagreement(_)) => {}
            Outcome::Valid(BlobRef::Inline(result)) => {
                let word = |at: usize| u64::from_le_bytes(result[at..at + 8].try_into().expect("eight bytes"));
                assert_eq!(u64::from(number.expect("an execution")), word(0), "the result of another candidate");
                assert_eq!(number.map(candidate), Some(CandidateTruth::Valid), "wrongly valid");
                let attempt = (FencingToken(word(8)), JobId(word(16)), word(24) as Attempt);
                assert!(
                    self.cross_checks || self.accepted.contains(&attempt),
                    "the result of attempt {attempt:?}, which had no valid lease"
                );
                assert_eq!(code, CodeTruth::Good);
            }
            Outcome::Invalid(_) => assert_eq!(number.map(candidate), Some(CandidateTruth::Invalid), "wrongly invalid"),
            Outcome::PossiblyInvalid(reason) => {
                assert!(number.is_some());
                let opens = !matches!(reason, AmbiguousReason::CorruptedArtifact(_));
                assert!(opens, "an artifact that does not open is called the candidate's doing");
                let links = !matches!(reason, AmbiguousReason::RuntimeConstruction(_)) || code == CodeTruth::Unlinkable;
                assert!(links, "code {n} is said not to link");
                // Without an attempt it is the answer to a validation that has lost workers before.
                let lost = matches!(reason, AmbiguousReason::WorkerDeath) && verdict.attempts > 0;
                assert!(
                    !lost || self.may_have_died(now),
                    "no worker failed, and a validation is said to have lost one"
                );
                let dies = matches!(reason, AmbiguousReason::JobDeath(_));
                let kills = number.map(candidate) == Some(CandidateTruth::KillsJob);
                assert!(!dies || kills, "the job of a good candidate is said to have died");
            }
            Outcome::PrecheckOk => assert_eq!(code, CodeTruth::Good),
            Outcome::PreparationFailed(error) => {
                let links = matches!(error, PrepareError::RuntimeConstruction(_));
                assert!(!links || number.is_none(), "an execution is told what a precheck found");
                let died = self.deaths.get(&live.code).copied().unwrap_or(0) >= 3;
                assert!(code != CodeTruth::Good || died, "good code {n} failed to prepare: {verdict:?}");
            }
            Outcome::Internal(error) => {
                // Only a failure of the infrastructure ends like this, never what the code does.
                let ours = self.past.values().any(|past| past.ours >= 3) || self.store_failed || self.hung;
                assert!(ours, "the infrastructure did not fail: {error}");
            }
            Outcome::HeadsUpTaken | Outcome::HeadsUpPrepared | Outcome::Expired | Outcome::Valid(_) => {}
        }
    }

    /// Requests of these clients that the scheduler has accepted and not answered.
    pub fn unanswered(&self, clients: &HashSet<ClientId>) -> Vec<(ClientId, RequestId)> {
        self.live.keys().filter(|(_, from)| clients.contains(from)).map(|(id, from)| (*from, *id)).collect()
    }

    /// Requests of a from that the scheduler has accepted and not answered, although their deadline is over.
    pub fn past_deadline(&self, from: ClientId, now: Timestamp) -> Vec<RequestId> {
        let late = self.live.iter().filter(|((_, of), live)| *of == from && live.deadline < now);
        late.map(|((id, _), _)| *id).collect()
    }
}

/// The attempts of a verdict's usage are in order, and the one that decided is among them.
fn check_usage(verdict: &Verdict) {
    let executions = &verdict.usage.executions;
    assert!(executions.is_sorted_by(|a, b| a.attempt < b.attempt), "{executions:?}");
    assert!(executions.len() <= MAX_ATTEMPTS_SHOWN, "{executions:?}");
    let end = match &verdict.outcome {
        Outcome::Valid(_) => AttemptEnd::Valid,
        Outcome::Invalid(_) => AttemptEnd::Invalid,
        _ => return,
    };
    let decided = executions.iter().any(|of| (Some(of.worker), of.end) == (verdict.worker, end));
    assert!(decided, "{verdict:?}");
}
