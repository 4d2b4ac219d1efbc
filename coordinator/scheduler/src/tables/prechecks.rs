//! What prechecks of one artifact's code have answered. An answer holds for the terms under which it was found,
//! whatever becomes of the artifact, so that it does not depend on what was asked before.

use crate::{keys::ArtifactKey, tables::specs::PvfSpec, time::Timestamp};
use pvf_proto::{ids::ParamsHash, params::PvfPrepKind, verdict::PrepareError};
use smallvec::SmallVec;
use std::time::Duration;

/// Answers that are remembered of one artifact.
const MAX_TERMS: usize = 4;

/// Everything that the answer of a precheck depends on besides the artifact's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PrecheckTerms {
    params: ParamsHash,
    code_bomb_limit: u32,
    cpu_limit: Duration,
}

impl PrecheckTerms {
    pub(crate) fn of(spec: &PvfSpec) -> Self {
        Self {
            params: spec.executor_params.hash(),
            code_bomb_limit: spec.code_bomb_limit,
            cpu_limit: spec.prepare_limit(PvfPrepKind::Precheck),
        }
    }
}

/// What a precheck has answered.
#[derive(Debug, Clone)]
pub(crate) struct PrecheckAnswer {
    pub(crate) result: Result<(), PrepareError>,
    pub(crate) at: Timestamp,
    /// Failures in a row that may be the machine's.
    pub(crate) failures: u32,
}

/// The prechecks of one artifact's code.
#[derive(Debug, Default)]
pub(crate) struct Prechecks {
    /// The oldest first.
    answered: Vec<(PrecheckTerms, PrecheckAnswer)>,
    /// Prechecks of an artifact that is prepared already. Each has an entry of its own in the artifact table.
    under_way: SmallVec<[(PrecheckTerms, ArtifactKey); 1]>,
}

impl Prechecks {
    pub(crate) fn answer(&self, terms: &PrecheckTerms) -> Option<&PrecheckAnswer> {
        self.answered.iter().find(|(of, _)| of == terms).map(|(_, answer)| answer)
    }

    /// A precheck has ended.
    pub(crate) fn note(&mut self, terms: PrecheckTerms, result: Result<(), PrepareError>, at: Timestamp) {
        let before = self.answered.iter().position(|(of, _)| *of == terms).map(|at| self.answered.remove(at).1);
        let failures = match (&result, before) {
            (Err(error), Some(before)) if error.may_be_the_machines() => before.failures + 1,
            (Err(error), None) if error.may_be_the_machines() => 1,
            (Ok(()) | Err(_), _) => 0,
        };
        if self.answered.len() >= MAX_TERMS {
            self.answered.remove(0);
        }
        self.answered.push((terms, PrecheckAnswer { result, at, failures }));
    }

    /// The entry of the precheck that is under way under these terms.
    pub(crate) fn under_way(&self, terms: &PrecheckTerms) -> Option<ArtifactKey> {
        self.under_way.iter().find(|(of, _)| of == terms).map(|(_, key)| *key)
    }

    pub(crate) fn began(&mut self, terms: PrecheckTerms, key: ArtifactKey) {
        self.under_way.push((terms, key));
    }

    pub(crate) fn ended(&mut self, key: ArtifactKey) {
        self.under_way.retain(|(_, other)| *other != key);
    }

    /// The entries of the prechecks that are under way.
    pub(crate) fn entries(&self) -> impl Iterator<Item = ArtifactKey> + '_ {
        self.under_way.iter().map(|(_, key)| *key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(n: u32) -> PrecheckTerms {
        PrecheckTerms { params: ParamsHash([0; 32]), code_bomb_limit: n, cpu_limit: Duration::from_secs(60) }
    }

    #[test]
    fn the_last_answers_are_remembered_and_failures_in_a_row_counted() {
        let mut prechecks = Prechecks::default();
        let died = || Err(PrepareError::JobDied("signal 9".into()));
        let at = Timestamp::default();
        let failures = |prechecks: &Prechecks, n| prechecks.answer(&terms(n)).map(|answer| answer.failures);
        prechecks.note(terms(0), died(), at);
        prechecks.note(terms(0), died(), at);
        assert_eq!(failures(&prechecks, 0), Some(2));
        prechecks.note(terms(0), Ok(()), at);
        prechecks.note(terms(1), died(), at);
        assert_eq!([0, 1, 2].map(|n| failures(&prechecks, n)), [Some(0), Some(1), None]);
        (2..6).for_each(|n| prechecks.note(terms(n), Ok(()), at));
        assert_eq!([0, 1, 2, 5].map(|n| failures(&prechecks, n)), [None, None, Some(0), Some(0)]);
    }
}
