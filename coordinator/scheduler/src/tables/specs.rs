//! Validation code with everything that its preparation depends on, kept once for all requests that use it.

use crate::collections::ShardedMap;
use pvf_proto::{
    ids::{ArtifactId, CodeHash, EngineId, PrepHash},
    params::{ExecutorParams, PvfPrepKind},
    wire::Submission,
};
use smallvec::SmallVec;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// Validation code and how to prepare it.
#[derive(Debug)]
pub(crate) struct PvfSpec {
    pub(crate) code: CodeHash,
    pub(crate) executor_params: ExecutorParams,
    pub(crate) code_bomb_limit: u32,
    pub(crate) prepare_timeout: Option<Duration>,
    pub(crate) prep_hash: PrepHash,
    /// Requests, executions and artifacts that use it. Changed by [`PvfSpecs`] alone, one change at a time.
    users: AtomicU32,
}

impl PvfSpec {
    /// The id of its artifact for an engine.
    pub(crate) fn artifact_id(&self, engine: &EngineId) -> ArtifactId {
        ArtifactId { code_hash: self.code, prep_hash: self.prep_hash, engine: engine.clone() }
    }

    /// Whether both are prepared within the same limits. Limits are not part of an artifact's id.
    pub(crate) fn same_limits(&self, other: &Self) -> bool {
        let memory = |spec: &Self| spec.executor_params.prechecking_max_memory();
        self.code_bomb_limit == other.code_bomb_limit && memory(self) == memory(other)
    }

    /// CPU time limit of its preparation.
    pub(crate) fn prepare_limit(&self, kind: PvfPrepKind) -> Duration {
        self.prepare_timeout.unwrap_or_else(|| self.executor_params.prep_timeout(kind))
    }

    fn is_of(&self, submission: &Submission) -> bool {
        self.executor_params == submission.executor_params
            && self.code_bomb_limit == submission.code_bomb_limit
            && self.prepare_timeout == submission.prepare_timeout
            && self.code == submission.code
    }
}

/// The specs in use. Every [`PvfSpecs::acquire`] and [`PvfSpecs::share`] has one [`PvfSpecs::release`].
#[derive(Debug, Default)]
pub(crate) struct PvfSpecs(ShardedMap<CodeHash, SmallVec<[Arc<PvfSpec>; 1]>>);

impl PvfSpecs {
    /// The spec of a submission, for one more user.
    pub(crate) fn acquire(&mut self, submission: &Submission) -> Arc<PvfSpec> {
        let specs = self.0.get_mut(&submission.code);
        if let Some(specs) = specs {
            if let Some(found) = specs.iter().find(|spec| spec.is_of(submission)) {
                return Self::share(found);
            }
            let spec = Arc::new(new_spec(submission));
            specs.push(spec.clone());
            return spec;
        }
        let spec = Arc::new(new_spec(submission));
        self.0.insert(submission.code, std::iter::once(spec.clone()).collect());
        spec
    }

    /// One more user of a spec that is in use.
    pub(crate) fn share(spec: &Arc<PvfSpec>) -> Arc<PvfSpec> {
        spec.users.fetch_add(1, Ordering::Relaxed);
        spec.clone()
    }

    /// One user less; the last one removes the spec.
    pub(crate) fn release(&mut self, spec: &Arc<PvfSpec>) {
        if spec.users.fetch_sub(1, Ordering::Relaxed) > 1 {
            return;
        }
        let hash = spec.code;
        let Some(specs) = self.0.get_mut(&hash) else { return };
        specs.retain(|other| !Arc::ptr_eq(other, spec));
        if specs.is_empty() {
            self.0.remove(&hash);
        }
    }

    /// All users of all specs: for checks.
    pub(crate) fn users(&self) -> u64 {
        self.0.iter().flat_map(|(_, specs)| specs).map(|spec| u64::from(spec.users.load(Ordering::Relaxed))).sum()
    }
}

fn new_spec(submission: &Submission) -> PvfSpec {
    PvfSpec {
        code: submission.code,
        executor_params: submission.executor_params.clone(),
        code_bomb_limit: submission.code_bomb_limit,
        prepare_timeout: submission.prepare_timeout,
        prep_hash: submission.executor_params.prep_hash(),
        users: AtomicU32::new(1),
    }
}
