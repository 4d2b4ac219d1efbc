//! Validation code with everything that its preparation depends on, kept once for all requests that use it.

use crate::collections::ShardedMap;
use pvf_proto::{
    ids::{ArtifactId, CodeHash, EngineId, PrepHash},
    params::ExecutorParams,
    wire::{CodeRef, Submission},
};
use smallvec::SmallVec;
use std::{sync::Arc, time::Duration};

/// Validation code and how to prepare it.
#[derive(Debug)]
pub(crate) struct PvfSpec {
    pub(crate) code: CodeRef,
    pub(crate) executor_params: ExecutorParams,
    pub(crate) code_bomb_limit: u32,
    pub(crate) prepare_timeout: Option<Duration>,
    pub(crate) prep_hash: PrepHash,
}

impl PvfSpec {
    /// The id of its artifact for an engine.
    pub(crate) fn artifact_id(&self, engine: &EngineId) -> ArtifactId {
        ArtifactId { code_hash: self.code.hash, prep_hash: self.prep_hash, engine: engine.clone() }
    }

    /// Whether both are prepared within the same limits. Limits are not part of an artifact's id.
    pub(crate) fn same_limits(&self, other: &Self) -> bool {
        let memory = |spec: &Self| spec.executor_params.prechecking_max_memory();
        self.code_bomb_limit == other.code_bomb_limit && memory(self) == memory(other)
    }

    fn is_of(&self, submission: &Submission) -> bool {
        self.executor_params == submission.executor_params
            && self.code_bomb_limit == submission.code_bomb_limit
            && self.prepare_timeout == submission.prepare_timeout
            && self.code == submission.code
    }
}

/// A spec and how many requests, executions and artifacts use it.
#[derive(Debug)]
struct Counted {
    spec: Arc<PvfSpec>,
    users: u32,
}

/// The specs in use. Every [`PvfSpecs::acquire`] and [`PvfSpecs::share`] has one [`PvfSpecs::release`].
#[derive(Debug, Default)]
pub(crate) struct PvfSpecs(ShardedMap<CodeHash, SmallVec<[Counted; 1]>>);

impl PvfSpecs {
    /// The spec of a submission, for one more user.
    pub(crate) fn acquire(&mut self, submission: &Submission) -> Arc<PvfSpec> {
        let specs = self.0.get_mut(&submission.code.hash);
        if let Some(specs) = specs {
            if let Some(found) = specs.iter_mut().find(|counted| counted.spec.is_of(submission)) {
                found.users += 1;
                return found.spec.clone();
            }
            let spec = Arc::new(new_spec(submission));
            specs.push(Counted { spec: spec.clone(), users: 1 });
            return spec;
        }
        let spec = Arc::new(new_spec(submission));
        self.0.insert(submission.code.hash, std::iter::once(Counted { spec: spec.clone(), users: 1 }).collect());
        spec
    }

    /// One more user of a spec that is in use.
    pub(crate) fn share(&mut self, spec: &Arc<PvfSpec>) -> Arc<PvfSpec> {
        let counted = self.0.get_mut(&spec.code.hash).and_then(|specs| find(specs, spec));
        if let Some(counted) = counted {
            counted.users += 1;
        }
        spec.clone()
    }

    /// One user less; the last one removes the spec.
    pub(crate) fn release(&mut self, spec: &Arc<PvfSpec>) {
        let hash = spec.code.hash;
        let Some(specs) = self.0.get_mut(&hash) else { return };
        if let Some(counted) = find(specs, spec) {
            counted.users = counted.users.saturating_sub(1);
        }
        specs.retain(|counted| counted.users > 0);
        if specs.is_empty() {
            self.0.remove(&hash);
        }
    }

    /// All users of all specs: for checks.
    pub(crate) fn users(&self) -> u64 {
        self.0.iter().flat_map(|(_, specs)| specs).map(|counted| u64::from(counted.users)).sum()
    }
}

fn find<'a>(specs: &'a mut SmallVec<[Counted; 1]>, spec: &Arc<PvfSpec>) -> Option<&'a mut Counted> {
    specs.iter_mut().find(|counted| Arc::ptr_eq(&counted.spec, spec))
}

fn new_spec(submission: &Submission) -> PvfSpec {
    PvfSpec {
        code: submission.code.clone(),
        executor_params: submission.executor_params.clone(),
        code_bomb_limit: submission.code_bomb_limit,
        prepare_timeout: submission.prepare_timeout,
        prep_hash: submission.executor_params.prep_hash(),
    }
}
