//! Second opinions: what one machine says wrongly is never the verdict of two, and of a dispute only if no other
//! machine was there.

use super::{
    super::truth::{CandidateTruth, candidate},
    Checks, Live,
};
use pvf_shared::{
    blob::BlobRef,
    identity::WorkerId,
    ids::JobId,
    job::AttemptEnd,
    priority::ExecuteKind,
    verdict::{InternalError, Outcome, WireOutcome},
    wire::{OpinionResult, Verdict, Work},
};

/// Whether an outcome is not the truth about a candidate.
pub(super) fn is_wrong(outcome: &WireOutcome, number: u32) -> bool {
    let truth = candidate(number);
    match outcome {
        Outcome::Valid(BlobRef::Inline(result)) => {
            truth != CandidateTruth::Valid || !result.starts_with(&u64::from(number).to_le_bytes())
        }
        Outcome::Invalid(_) => truth != CandidateTruth::Invalid,
        _ => false,
    }
}

impl Checks {
    /// A worker has decided a job.
    pub(super) fn decided(&mut self, job: JobId, worker: WorkerId) {
        let host = self.hosts.get(&worker).cloned();
        self.past.entry(job).or_default().decided_on.extend(host);
    }

    /// What a job may have as the word of the machine that is wrong.
    pub(super) fn may_be_wrong(&self, verdict: &Verdict) -> bool {
        let by_two = verdict.second_opinion.as_ref().is_some_and(|record| record.result == OpinionResult::Agreed);
        let host = verdict.worker.and_then(|worker| self.hosts.get(&worker));
        !by_two && self.liar.is_some() && host == self.liar.as_ref()
    }

    /// The record of a verdict is what the settings ask for, and fits to it.
    pub(super) fn check_opinions(&self, live: &Live, verdict: &Verdict) {
        let disputed = matches!(&live.work, Work::Execute(work) if work.kind == ExecuteKind::Dispute);
        let decided = matches!(verdict.outcome, Outcome::Valid(_) | Outcome::Invalid(_));
        let Some(record) = &verdict.second_opinion else {
            let wanted = self.cross_checks && disputed && decided;
            assert!(!wanted, "a dispute was decided by one machine, and no other was asked: {verdict:?}");
            return;
        };
        assert!(self.cross_checks, "a second opinion without the setting: {record:?}");
        let hosts: Vec<_> = record.opinions.iter().map(|opinion| opinion.host.as_str()).collect();
        let disagreement = matches!(verdict.outcome, Outcome::Internal(InternalError::Disagreement(_)));
        match (&record.result, &record.opinions[..]) {
            (OpinionResult::Agreed, [first, second]) => {
                assert!(decided && first.agrees_with(second) && verdict.worker == Some(second.worker), "{record:?}");
                assert_ne!(hosts[0], hosts[1], "two opinions of one machine");
            }
            (OpinionResult::Disagreed, [first, second]) => {
                assert!(disagreement && !first.agrees_with(second) && verdict.worker.is_none(), "{record:?}");
                assert_ne!(hosts[0], hosts[1], "two opinions of one machine");
                let lied = self.liar.as_deref().is_some_and(|liar| hosts.contains(&liar));
                assert!(lied, "two honest machines disagree: {record:?}");
            }
            // Attempts elsewhere died of what one machine found valid.
            (OpinionResult::Missing(why), [first]) if disagreement => {
                assert!(first.end == AttemptEnd::Valid && why.contains("possibly_invalid"), "{record:?}");
                assert_eq!(verdict.worker, None, "{record:?}");
            }
            (OpinionResult::Missing(_), [first]) => {
                assert!(decided && verdict.worker == Some(first.worker), "{record:?}");
            }
            (result, opinions) => panic!("{result:?} with {} opinions", opinions.len()),
        }
    }
}
