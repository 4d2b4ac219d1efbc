//! What the tasks of a worker work with.

use super::{cache::ArtifactCache, records::Records, traces::Traces, transfers::Inputs};
use crate::supervise::JobRunner;
use pvf_shared::{pull::Results, store::BlobStore};

/// What all jobs of a worker share.
pub(super) struct JobContext {
    pub(super) store: BlobStore,
    pub(super) runner: JobRunner,
    pub(super) cache: ArtifactCache,
    pub(super) inputs: Inputs,
    /// Large results, until their clients have pulled them or they are too old.
    pub(super) results: Results,
    /// What is kept of jobs for whoever looks into their outcomes.
    pub(super) records: Records,
    /// Spans of the jobs.
    pub(super) traces: Traces,
    /// Larger results are kept here, bytes.
    pub(super) inline_max: usize,
}
