//! The artifact table: which artifacts there are, where they are at hand, and who waits for them.

use super::{fleet::EngineKey, numbered::Numbered, pool::HOMES, programs::Program, timers::Moment};
use hashbrown::HashMap;
use pvf_shared::{
    ids::{ArtifactId, CodeHash, JobId, PrepHash, RequestId, WorkerId},
    job::ArtifactInfo,
    priority::PreparePriority,
    verdict::{InternalError, PrepareError},
};
use std::{
    collections::{BTreeSet, VecDeque},
    num::NonZeroU64,
    sync::Arc,
    time::Duration,
};

/// `last_needed` is not moved more often than this; whoever asks for an age is given this much less.
const COARSE: Duration = Duration::from_secs(1);

/// No artifact is larger, whatever a worker or a store says: what they say is added up.
const MAX_BYTES: u64 = 1 << 40;

/// Workers that are remembered to have an artifact.
const MAX_HOLDERS: usize = 16;

/// An artifact, by the number that it got when it was first needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ArtifactKey(pub(super) NonZeroU64);

/// Who goes on when an artifact is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Waiter {
    /// An execution.
    Execution(JobId),
    /// A precheck, or a heads-up.
    Preparation(RequestId),
}

/// Where an artifact is in its life.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// It was seen in the store; what it is has not been looked at.
    Listed,
    /// The store was asked for it.
    LookingUp,
    /// It is being dropped from the store.
    Dropping,
    /// It is being prepared.
    Preparing(JobId),
    /// It is there.
    Prepared(ArtifactInfo),
    /// It cannot be made.
    Failed { error: PrepareError, at: Moment, failures: u32 },
    /// We could not even try; whoever still waits is told, then it is forgotten.
    Abandoned(InternalError),
}

/// One artifact.
#[derive(Debug)]
pub(super) struct Artifact {
    pub(super) id: Arc<ArtifactId>,
    pub(super) engine: EngineKey,
    pub(super) state: State,
    /// Who goes on when it is there.
    pub(super) waiters: BTreeSet<Waiter>,
    /// Executions that are queued or running.
    pub(super) users: u32,
    /// How to make it; absent until somebody needs it.
    pub(super) program: Option<Arc<Program>>,
    pub(super) priority: PreparePriority,
    /// Nobody but pre-checks asked for it so far.
    pub(super) precheck: bool,
    /// Earlier preparations that failed for a reason that may pass.
    pub(super) failures: u32,
    /// If it was prepared here (not found in the store): when that was dispatched last, and when it ended.
    pub(super) prepare_times: Option<(Moment, Moment)>,
    pub(super) last_needed: Moment,
    /// What it takes up in the store.
    pub(super) bytes: u64,
    /// Workers that got it lately, the last one at the end; whether one still has it, it says itself.
    pub(super) holders: VecDeque<WorkerId>,
    /// Where it goes while nobody has it, and for which composition of the pool that was computed.
    pub(super) homes: Option<(u64, [Option<WorkerId>; HOMES])>,
}

impl Artifact {
    /// Whether nobody waits for it, runs it, or is doing anything with it.
    pub(super) fn is_idle(&self) -> bool {
        let settled = matches!(self.state, State::Listed | State::Prepared(_) | State::Failed { .. });
        settled && self.users == 0 && self.waiters.is_empty()
    }

    /// A worker got it that did not have it.
    pub(super) fn note_holder(&mut self, worker: WorkerId) {
        self.holders.push_back(worker);
        if self.holders.len() > MAX_HOLDERS {
            self.holders.pop_front();
        }
    }

    /// How long nobody needed it, at the least.
    pub(super) fn age(&self, now: Moment) -> Duration {
        now.since(self.last_needed).saturating_sub(COARSE)
    }
}

impl Default for ArtifactKey {
    /// The first of all.
    fn default() -> Self {
        Self(NonZeroU64::MIN)
    }
}

/// The artifact table.
#[derive(Debug, Default)]
pub(super) struct Artifacts {
    by_key: Numbered<ArtifactKey, Artifact>,
    by_name: HashMap<(CodeHash, PrepHash, EngineKey), ArtifactKey>,
    /// Least recently needed first.
    by_need: BTreeSet<(Moment, ArtifactKey)>,
    /// The number of the next one.
    next: ArtifactKey,
    bytes: u64,
}

impl Artifacts {
    pub(super) fn get(&self, key: ArtifactKey) -> Option<&Artifact> {
        self.by_key.get(&key)
    }

    /// The first step of reading ahead.
    pub(super) fn look(&self, key: ArtifactKey) {
        self.by_key.look(&key);
    }

    /// The second step.
    pub(super) fn fetch(&self, key: ArtifactKey) {
        self.by_key.fetch(&key);
    }

    pub(super) fn get_mut(&mut self, key: ArtifactKey) -> Option<&mut Artifact> {
        self.by_key.get_mut(&key)
    }

    pub(super) fn find(&self, code: CodeHash, prep: PrepHash, engine: EngineKey) -> Option<ArtifactKey> {
        self.by_name.get(&(code, prep, engine)).copied()
    }

    /// Adds an artifact that is not there yet.
    pub(super) fn add(&mut self, id: ArtifactId, engine: EngineKey, state: State, last_needed: Moment) -> ArtifactKey {
        let key = self.next;
        self.next = ArtifactKey(key.0.saturating_add(1));
        self.by_name.insert((id.code_hash, id.prep_hash, engine), key);
        self.by_need.insert((last_needed, key));
        let artifact = Artifact {
            id: Arc::new(id),
            engine,
            state,
            waiters: BTreeSet::new(),
            users: 0,
            program: None,
            priority: PreparePriority::Background,
            precheck: true,
            failures: 0,
            prepare_times: None,
            last_needed,
            bytes: 0,
            holders: VecDeque::new(),
            homes: None,
        };
        self.by_key.insert(key, artifact);
        key
    }

    pub(super) fn remove(&mut self, key: ArtifactKey) -> Option<Artifact> {
        let artifact = self.by_key.remove(&key)?;
        self.by_name.remove(&(artifact.id.code_hash, artifact.id.prep_hash, artifact.engine));
        self.by_need.remove(&(artifact.last_needed, key));
        self.bytes -= artifact.bytes;
        Some(artifact)
    }

    /// It is needed now.
    pub(super) fn touch(&mut self, key: ArtifactKey, now: Moment) {
        let Some(artifact) = self.by_key.get_mut(&key) else { return };
        if now.since(artifact.last_needed) >= COARSE {
            self.by_need.remove(&(artifact.last_needed, key));
            artifact.last_needed = now;
            self.by_need.insert((now, key));
        }
    }

    /// What it takes up in the store, as somebody says.
    pub(super) fn set_bytes(&mut self, key: ArtifactKey, bytes: u64) {
        let bytes = bytes.min(MAX_BYTES);
        if let Some(artifact) = self.by_key.get_mut(&key) {
            self.bytes = self.bytes - artifact.bytes + bytes;
            artifact.bytes = bytes;
        }
    }

    /// What all of them take up in the store.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// From the least recently needed on, after this one.
    pub(super) fn least_needed(
        &self,
        after: Option<(Moment, ArtifactKey)>,
    ) -> impl Iterator<Item = (Moment, ArtifactKey)> + '_ {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.by_need.range((from, Unbounded)).copied()
    }

    /// Every artifact, in no order that means anything: for checks only.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ArtifactKey, &Artifact)> {
        self.by_key.iter()
    }
}
