//! What the tasks of a worker work with.

use super::cache::ArtifactCache;
use crate::supervise::JobRunner;
use pvf_shared::store::BlobStore;

/// What all jobs of a worker share.
pub(super) struct JobContext {
    pub(super) store: BlobStore,
    pub(super) runner: JobRunner,
    pub(super) cache: ArtifactCache,
    /// Larger results go to the store, bytes.
    pub(super) max_inline: usize,
}
