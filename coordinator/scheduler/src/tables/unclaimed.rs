//! Attempts that an earlier coordinator dispatched, that their workers have described, and that no job of this
//! coordinator has adopted yet. Each has a timer, and a slot at its worker until it is reported.

use crate::{keys::AttemptKey, time::Timestamp};
use pvf_proto::{
    blob::BlobRef,
    identity::WorkerId,
    ids::{CodeHash, FencingToken, JobId, ValidationKey},
    job::{ExecuteOutcome, JobOutcome},
    wire::{HeldWork, JobReport},
};
use std::collections::{BTreeMap, HashMap};

/// Reports that are kept at once, and the bytes of their results. Another one is not acknowledged: its worker sends it
/// again.
const MAX_REPORTS: usize = 8192;
const MAX_REPORT_BYTES: usize = 64 * 1024 * 1024;

/// Where an attempt is.
pub(crate) type HeldAt = (WorkerId, AttemptKey);

/// An attempt of an earlier coordinator.
#[derive(Debug)]
pub(crate) struct UnclaimedAttempt {
    /// The token of the coordinator that dispatched it.
    pub(crate) token: FencingToken,
    pub(crate) work: HeldWork,
    /// When it is ended if no job has adopted it.
    pub(crate) until: Timestamp,
    /// How it ended, if it has; not acknowledged. It has no slot any more.
    pub(crate) report: Option<Box<JobReport>>,
}

/// The unclaimed attempts, by place, by validation and by the code that is prepared.
#[derive(Debug, Default)]
pub(crate) struct Unclaimed {
    by_place: BTreeMap<HeldAt, UnclaimedAttempt>,
    by_validation: HashMap<ValidationKey, Vec<HeldAt>>,
    by_code: HashMap<CodeHash, Vec<HeldAt>>,
    reports: usize,
    report_bytes: usize,
}

fn result_bytes(report: &JobReport) -> usize {
    match &report.outcome {
        JobOutcome::Execute(ExecuteOutcome::Valid(BlobRef::Inline(result))) => result.len(),
        JobOutcome::Execute(_) | JobOutcome::Prepare(_) => 0,
    }
}

/// Removes a place from a list of an index, and the list with the last one.
fn unlist<K: std::hash::Hash + Eq>(index: &mut HashMap<K, Vec<HeldAt>>, key: K, place: HeldAt) {
    if let Some(places) = index.get_mut(&key) {
        places.retain(|other| *other != place);
        if places.is_empty() {
            index.remove(&key);
        }
    }
}

impl Unclaimed {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_place.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_place.len()
    }

    pub(crate) fn get(&self, place: HeldAt) -> Option<&UnclaimedAttempt> {
        self.by_place.get(&place)
    }

    pub(crate) fn get_mut(&mut self, place: HeldAt) -> Option<&mut UnclaimedAttempt> {
        self.by_place.get_mut(&place)
    }

    /// Adds an attempt that is not here.
    pub(crate) fn insert(&mut self, place: HeldAt, attempt: UnclaimedAttempt) {
        match &attempt.work {
            HeldWork::Execute { validation: Some(key), .. } => self.by_validation.entry(*key).or_default().push(place),
            HeldWork::Execute { validation: None, .. } => {}
            HeldWork::Prepare(held) => self.by_code.entry(held.artifact.code_hash).or_default().push(place),
        }
        self.by_place.insert(place, attempt);
    }

    pub(crate) fn remove(&mut self, place: HeldAt) -> Option<UnclaimedAttempt> {
        let attempt = self.by_place.remove(&place)?;
        match &attempt.work {
            HeldWork::Execute { validation: Some(key), .. } => unlist(&mut self.by_validation, *key, place),
            HeldWork::Execute { validation: None, .. } => {}
            HeldWork::Prepare(held) => unlist(&mut self.by_code, held.artifact.code_hash, place),
        }
        if let Some(report) = &attempt.report {
            self.reports -= 1;
            self.report_bytes -= result_bytes(report);
        }
        Some(attempt)
    }

    /// Keeps the report of an attempt, the first one. Returns whether it is kept.
    pub(crate) fn keep_report(&mut self, place: HeldAt, report: Box<JobReport>) -> bool {
        let Some(attempt) = self.by_place.get_mut(&place) else { return false };
        if attempt.report.is_some() {
            return true;
        }
        let bytes = self.report_bytes + result_bytes(&report);
        if self.reports >= MAX_REPORTS || bytes > MAX_REPORT_BYTES {
            return false;
        }
        (self.reports, self.report_bytes) = (self.reports + 1, bytes);
        attempt.report = Some(report);
        true
    }

    /// The executions of this validation, those that were described first before others.
    pub(crate) fn of_validation(&self, key: &ValidationKey) -> Vec<HeldAt> {
        self.by_validation.get(key).cloned().unwrap_or_default()
    }

    /// The preparations of this code.
    pub(crate) fn of_code(&self, code: &CodeHash) -> Vec<HeldAt> {
        self.by_code.get(code).cloned().unwrap_or_default()
    }

    /// The attempts at a worker.
    pub(crate) fn at_worker(&self, worker: WorkerId) -> Vec<AttemptKey> {
        let first = AttemptKey { job: JobId(0), attempt: 0 };
        let last = AttemptKey { job: JobId(u64::MAX), attempt: u32::MAX };
        self.by_place.range((worker, first)..=(worker, last)).map(|((_, at), _)| *at).collect()
    }

    /// Every attempt: for checks.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&HeldAt, &UnclaimedAttempt)> {
        self.by_place.iter()
    }

    /// Panics if the indexes disagree: for checks.
    pub(crate) fn assert_consistent(&self) {
        let indexed: usize = self.by_validation.values().chain(self.by_code.values()).map(Vec::len).sum();
        let unnamed = |attempt: &&UnclaimedAttempt| matches!(attempt.work, HeldWork::Execute { validation: None, .. });
        assert_eq!(indexed + self.by_place.values().filter(unnamed).count(), self.by_place.len());
        let kept: Vec<_> = self.by_place.values().filter_map(|attempt| attempt.report.as_ref()).collect();
        let bytes: usize = kept.iter().map(|report| result_bytes(report)).sum();
        assert_eq!((kept.len(), bytes), (self.reports, self.report_bytes), "kept reports are not counted right");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_proto::{
        Bytes,
        identity::{UserName, WorkerKind},
        ids::{ArtifactId, EngineId, PrepHash},
        job::JobUsage,
    };

    fn place(n: u64) -> HeldAt {
        let worker = WorkerId { kind: WorkerKind::Execute, user: UserName::default(), session: uuid::Uuid::nil() };
        (worker, AttemptKey { job: JobId(n), attempt: 1 })
    }

    fn attempt() -> UnclaimedAttempt {
        let engine = EngineId::parse("e").unwrap();
        let artifact = ArtifactId { code_hash: CodeHash([1; 32]), prep_hash: PrepHash([2; 32]), engine };
        let work = HeldWork::Execute { artifact, digest: None, validation: Some(ValidationKey([3; 32])) };
        UnclaimedAttempt { token: FencingToken(1), work, until: Timestamp::default(), report: None }
    }

    fn report(bytes: usize) -> Box<JobReport> {
        let result = BlobRef::Inline(Bytes::from(vec![0; bytes]));
        let outcome = JobOutcome::Execute(ExecuteOutcome::Valid(result));
        Box::new(JobReport { token: FencingToken(1), job: JobId(1), attempt: 1, outcome, usage: JobUsage::default() })
    }

    /// What is not kept comes again, as its worker has no acknowledgement.
    #[test]
    fn reports_are_kept_up_to_a_number_and_a_size() {
        let mut unclaimed = Unclaimed::default();
        (0..=MAX_REPORTS as u64).for_each(|n| unclaimed.insert(place(n), attempt()));
        let kept = (0..=MAX_REPORTS as u64).filter(|n| unclaimed.keep_report(place(*n), report(0))).count();
        assert_eq!(kept, MAX_REPORTS);
        unclaimed.assert_consistent();
        assert!(unclaimed.remove(place(7)).is_some_and(|attempt| attempt.report.is_some()));
        assert!(unclaimed.keep_report(place(MAX_REPORTS as u64), report(0)), "there is room again");
        assert!(unclaimed.keep_report(place(1), report(0)), "a repetition of one that is kept");
        let mut unclaimed = Unclaimed::default();
        (0..10).for_each(|n| unclaimed.insert(place(n), attempt()));
        let kept = (0..10).filter(|n| unclaimed.keep_report(place(*n), report(10 * 1024 * 1024))).count();
        assert_eq!(kept, 6);
        unclaimed.assert_consistent();
    }

    #[test]
    fn attempts_are_found_by_what_they_work_on_until_they_are_removed() {
        let mut unclaimed = Unclaimed::default();
        let key = ValidationKey([3; 32]);
        [2, 1].into_iter().for_each(|n| unclaimed.insert(place(n), attempt()));
        assert_eq!(unclaimed.of_validation(&key), [place(2), place(1)]);
        assert_eq!(unclaimed.at_worker(place(1).0), [place(1).1, place(2).1]);
        unclaimed.remove(place(2));
        assert_eq!(unclaimed.of_validation(&key), [place(1)]);
        unclaimed.remove(place(1));
        assert!(unclaimed.is_empty() && unclaimed.of_validation(&key).is_empty());
        unclaimed.assert_consistent();
    }
}
