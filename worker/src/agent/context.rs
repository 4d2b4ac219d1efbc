//! What the tasks of a worker work with.

use super::{cache::ArtifactCache, transfers::ReadRoom};
use crate::supervise::JobRunner;
use pvf_shared::store::BlobStore;
use std::sync::Arc;

/// What all jobs of a worker share.
pub(super) struct JobContext {
    pub(super) store: BlobStore,
    pub(super) runner: JobRunner,
    pub(super) cache: ArtifactCache,
    pub(super) read_room: Arc<ReadRoom>,
    /// Larger results go to the store, bytes.
    pub(super) max_inline: usize,
}
