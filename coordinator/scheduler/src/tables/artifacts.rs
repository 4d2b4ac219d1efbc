//! The artifact table: which artifacts there are, which workers have them, and what waits for them.

use crate::{
    collections::ShardedMap,
    keys::{ArtifactKey, EngineKey, Waiter},
    notice::JobSubject,
    tables::{lifecycle::IllegalTransition, prechecks::Prechecks, specs::PvfSpec},
    time::Timestamp,
};
use pvf_proto::{
    artifact::ArtifactInfo,
    identity::WorkerId,
    ids::{ArtifactId, CodeHash, JobId, PrepHash},
    priority::PreparePriority,
    verdict::{InternalError, PrepareError},
    wire::PreparationUsage,
};
use slotmap::SlotMap;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

/// Workers that an artifact is sent to first while none has it.
pub(crate) const OWNERS: usize = 3;

/// The rendezvous owners of an artifact, and the composition of the pool for which they were computed.
pub(crate) type Owners = (u64, [Option<WorkerId>; OWNERS]);

/// `last_needed` is moved at most this often; ages are reported this much lower.
const TOUCH_INTERVAL: Duration = Duration::from_secs(1);

/// Upper bound of one artifact's size, bytes: sizes come from workers and the store, and are summed.
const MAX_BYTES: u64 = 1 << 40;

/// Workers that are remembered to have an artifact.
const MAX_HOLDERS: usize = 16;

/// Where an artifact is in its life.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ArtifactState {
    /// The store listed it, or nothing is known: it is looked up when it is needed.
    Listed,
    /// The store was asked for it.
    LookingUp,
    /// It is being removed from the store.
    Dropping,
    /// This job prepares it.
    Preparing(JobId),
    /// It is in the store.
    Prepared(ArtifactInfo),
    /// It cannot be made; this was found then.
    Failed { error: PrepareError, at: Timestamp },
    /// Infrastructure failed: waiters are told, then it is forgotten.
    Abandoned(InternalError),
}

/// What can happen to an artifact.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ArtifactEvent {
    /// The store is asked.
    LookUp,
    /// A preparation was queued.
    PreparationQueued(JobId),
    /// A preparation of an earlier coordinator is under way; it replaces one that waits.
    PreparationAdopted(JobId),
    /// The store has it, or it was prepared.
    Ready(ArtifactInfo),
    /// The store has a failure, or preparing failed.
    Failed { error: PrepareError, at: Timestamp },
    /// Infrastructure failed.
    Abandoned(InternalError),
    /// It is to be removed from the store.
    Drop,
    /// What is in the store is not known any more.
    Forgotten,
}

impl ArtifactState {
    /// The only place where an artifact changes its state. Returns the state before.
    pub(crate) fn transition(&mut self, event: ArtifactEvent) -> Result<Self, IllegalTransition> {
        use ArtifactEvent as E;
        use ArtifactState as S;
        let next = match (&*self, event) {
            (S::Listed, E::LookUp) => S::LookingUp,
            // A precheck of an artifact that is prepared is not looked up.
            (S::Listed | S::LookingUp | S::Dropping | S::Failed { .. }, E::PreparationQueued(job)) => S::Preparing(job),
            (S::Listed | S::LookingUp | S::Preparing(_), E::PreparationAdopted(job)) => S::Preparing(job),
            // A precheck of an artifact that is prepared has stored it once more.
            (S::LookingUp | S::Preparing(_) | S::Prepared(_), E::Ready(info)) => S::Prepared(info),
            (S::LookingUp | S::Preparing(_), E::Failed { error, at }) => S::Failed { error, at },
            (S::LookingUp | S::Preparing(_), E::Abandoned(error)) => S::Abandoned(error),
            (S::Listed | S::LookingUp | S::Prepared(_) | S::Failed { .. }, E::Drop) => S::Dropping,
            (S::Dropping | S::Preparing(_) | S::Abandoned(_), E::Forgotten) => S::Listed,
            (state, event) => return Err(IllegalTransition::new("artifact", state, &event)),
        };
        Ok(std::mem::replace(self, next))
    }
}

/// A preparation that has ended.
#[derive(Debug)]
pub(crate) struct Made {
    /// When it was dispatched; queued, if it was reported late.
    pub(crate) dispatched: Timestamp,
    pub(crate) ended: Timestamp,
    pub(crate) usage: PreparationUsage,
}

/// One artifact.
#[derive(Debug)]
pub(crate) struct Artifact {
    pub(crate) id: Arc<ArtifactId>,
    pub(crate) engine: EngineKey,
    state: ArtifactState,
    pub(crate) waiters: BTreeSet<Waiter>,
    /// Executions that are queued or running and use it.
    pub(crate) users: u32,
    /// How to make it; `None` until it is needed.
    pub(crate) spec: Option<Arc<PvfSpec>>,
    pub(crate) priority: PreparePriority,
    /// Only prechecks have asked for it so far.
    pub(crate) precheck: bool,
    /// The preparation that was dispatched last was a precheck: it links what it compiles.
    pub(crate) linked: bool,
    /// What prechecks of its code have answered.
    pub(crate) prechecks: Prechecks,
    /// This entry is a precheck of that artifact, which was prepared already: nothing is looked up, executed or kept.
    pub(crate) precheck_of: Option<ArtifactKey>,
    /// Failures since it was prepared last.
    pub(crate) failures: u32,
    /// The version that was dropped last because an attempt could not use it, and when.
    pub(crate) remade: Option<(ArtifactInfo, Timestamp)>,
    /// Its last preparation; `None` if it was found in the store.
    pub(crate) made: Option<Arc<Made>>,
    pub(crate) last_needed: Timestamp,
    /// Size in the store.
    pub(crate) bytes: u64,
    /// Workers that got it lately, the last one at the end. Whether a worker still has it, it says itself.
    pub(crate) holders: VecDeque<WorkerId>,
    /// Its rendezvous owners, and the composition of the pool for which they were computed.
    pub(crate) owners: Option<Owners>,
}

impl Artifact {
    pub(crate) fn state(&self) -> &ArtifactState {
        &self.state
    }

    /// See [`ArtifactState::transition`].
    pub(crate) fn transition(&mut self, event: ArtifactEvent) -> Result<ArtifactState, IllegalTransition> {
        self.state.transition(event)
    }

    fn new(id: Arc<ArtifactId>, engine: EngineKey, last_needed: Timestamp) -> Self {
        Self {
            id,
            engine,
            state: ArtifactState::Listed,
            waiters: BTreeSet::new(),
            users: 0,
            spec: None,
            priority: PreparePriority::Background,
            precheck: true,
            linked: false,
            prechecks: Prechecks::default(),
            precheck_of: None,
            failures: 0,
            remade: None,
            made: None,
            last_needed,
            bytes: 0,
            holders: VecDeque::new(),
            owners: None,
        }
    }

    /// Whether nothing waits for it, runs it or changes it.
    pub(crate) fn is_idle(&self) -> bool {
        let settled =
            matches!(self.state, ArtifactState::Listed | ArtifactState::Prepared(_) | ArtifactState::Failed { .. });
        settled && !self.is_used() && self.waiters.is_empty()
    }

    /// Whether executions use it, or it is being prechecked.
    pub(crate) fn is_used(&self) -> bool {
        self.users > 0 || self.prechecks.entries().next().is_some()
    }

    /// A worker got it that did not have it.
    /// The preparation that makes it.
    pub(crate) fn preparing(&self) -> Option<JobId> {
        match self.state {
            ArtifactState::Preparing(job) => Some(job),
            _ => None,
        }
    }

    pub(crate) fn note_holder(&mut self, worker: WorkerId) {
        self.holders.push_back(worker);
        if self.holders.len() > MAX_HOLDERS {
            self.holders.pop_front();
        }
    }

    /// A lower bound of the time since it was needed last.
    pub(crate) fn age(&self, now: Timestamp) -> Duration {
        now.since(self.last_needed).saturating_sub(TOUCH_INTERVAL)
    }
}

/// The artifact table.
#[derive(Debug, Default)]
pub(crate) struct Artifacts {
    by_key: SlotMap<ArtifactKey, Box<Artifact>>,
    by_name: ShardedMap<(CodeHash, PrepHash, EngineKey), ArtifactKey>,
    by_code: BTreeMap<CodeHash, BTreeSet<ArtifactKey>>,
    /// Least recently needed first.
    by_need: BTreeSet<(Timestamp, ArtifactKey)>,
    bytes: u64,
}

impl Artifacts {
    pub(crate) fn get(&self, key: ArtifactKey) -> Option<&Artifact> {
        self.by_key.get(key).map(|artifact| &**artifact)
    }

    /// What a preparation of an artifact is for.
    pub(crate) fn subject(&self, key: ArtifactKey) -> JobSubject {
        JobSubject::Preparation(self.get(key).map(|artifact| artifact.id.clone()))
    }

    pub(crate) fn get_mut(&mut self, key: ArtifactKey) -> Option<&mut Artifact> {
        self.by_key.get_mut(key).map(|artifact| &mut **artifact)
    }

    pub(crate) fn find(&self, code: CodeHash, prep: PrepHash, engine: EngineKey) -> Option<ArtifactKey> {
        self.by_name.get(&(code, prep, engine)).copied()
    }

    /// The artifacts of a code, for all engines and parameters.
    pub(crate) fn of_code(&self, code: CodeHash) -> impl Iterator<Item = ArtifactKey> + '_ {
        self.by_code.get(&code).into_iter().flatten().copied()
    }

    /// Adds an artifact that is not in the table, as [`ArtifactState::Listed`].
    pub(crate) fn add(&mut self, id: ArtifactId, engine: EngineKey, last_needed: Timestamp) -> ArtifactKey {
        let (code, name) = (id.code_hash, (id.code_hash, id.prep_hash, engine));
        let artifact = Artifact::new(Arc::new(id), engine, last_needed);
        let key = self.by_key.insert(Box::new(artifact));
        self.by_name.insert(name, key);
        self.by_code.entry(code).or_default().insert(key);
        self.by_need.insert((last_needed, key));
        key
    }

    /// Adds a precheck of an artifact that is prepared. It has no name: nothing but its own key leads to it.
    pub(crate) fn add_precheck(&mut self, of: ArtifactKey) -> Option<ArtifactKey> {
        let artifact = self.get(of)?;
        let mut precheck = Artifact::new(artifact.id.clone(), artifact.engine, artifact.last_needed);
        precheck.precheck_of = Some(of);
        Some(self.by_key.insert(Box::new(precheck)))
    }

    pub(crate) fn remove(&mut self, key: ArtifactKey) -> Option<Artifact> {
        let artifact = self.by_key.remove(key)?;
        if let Some(of) = artifact.precheck_of {
            if let Some(of) = self.get_mut(of) {
                of.prechecks.ended(key);
            }
            return Some(*artifact);
        }
        self.by_name.remove(&(artifact.id.code_hash, artifact.id.prep_hash, artifact.engine));
        if let Some(of_code) = self.by_code.get_mut(&artifact.id.code_hash) {
            of_code.remove(&key);
            if of_code.is_empty() {
                self.by_code.remove(&artifact.id.code_hash);
            }
        }
        self.by_need.remove(&(artifact.last_needed, key));
        self.bytes -= artifact.bytes;
        Some(*artifact)
    }

    /// The artifact is needed now.
    pub(crate) fn touch(&mut self, key: ArtifactKey, now: Timestamp) {
        let Some(artifact) = self.by_key.get_mut(key) else { return };
        if now.since(artifact.last_needed) >= TOUCH_INTERVAL {
            self.by_need.remove(&(artifact.last_needed, key));
            artifact.last_needed = now;
            self.by_need.insert((now, key));
        }
    }

    /// Sets the size in the store, as a worker or the store reports it.
    pub(crate) fn set_bytes(&mut self, key: ArtifactKey, bytes: u64) {
        let bytes = bytes.min(MAX_BYTES);
        if let Some(artifact) = self.by_key.get_mut(key) {
            self.bytes = self.bytes - artifact.bytes + bytes;
            artifact.bytes = bytes;
        }
    }

    /// Size of all artifacts in the store.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Artifacts; prechecks of some that are prepared already do not count.
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// From the least recently needed on, after this one.
    pub(crate) fn least_needed(
        &self,
        after: Option<(Timestamp, ArtifactKey)>,
    ) -> impl Iterator<Item = (Timestamp, ArtifactKey)> + '_ {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.by_need.range((from, Unbounded)).copied()
    }

    /// How many artifacts are found by their code: for checks.
    pub(crate) fn by_code_len(&self) -> usize {
        self.by_code.values().map(BTreeSet::len).sum()
    }

    /// Every artifact, in no particular order: for checks.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ArtifactKey, &Artifact)> {
        self.by_key.iter().map(|(key, artifact)| (key, &**artifact))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::lifecycle::assert_lifecycle;
    use pvf_proto::artifact::ArtifactDigest;

    #[test]
    fn the_lifecycle_has_these_transitions_and_no_others() {
        use ArtifactEvent as E;
        use ArtifactState as S;
        let (at, job) = (Timestamp::default(), JobId(1));
        let info = ArtifactInfo { bytes: 1, digest: ArtifactDigest([1; 32]) };
        let (error, internal) = (PrepareError::OutOfMemory, InternalError::Store("down".into()));
        let failed = || S::Failed { error: error.clone(), at };
        let states = [
            S::Listed,
            S::LookingUp,
            S::Dropping,
            S::Preparing(job),
            S::Prepared(info),
            failed(),
            S::Abandoned(internal.clone()),
        ];
        let events = [
            E::LookUp,
            E::PreparationQueued(job),
            E::PreparationAdopted(job),
            E::Ready(info),
            E::Failed { error: error.clone(), at },
            E::Abandoned(internal.clone()),
            E::Drop,
            E::Forgotten,
        ];
        let legal = [
            (S::Listed, E::LookUp, S::LookingUp),
            (S::Listed, E::Drop, S::Dropping),
            (S::Listed, E::PreparationQueued(job), S::Preparing(job)),
            (S::LookingUp, E::PreparationQueued(job), S::Preparing(job)),
            (S::Listed, E::PreparationAdopted(job), S::Preparing(job)),
            (S::LookingUp, E::PreparationAdopted(job), S::Preparing(job)),
            (S::Preparing(job), E::PreparationAdopted(job), S::Preparing(job)),
            (S::LookingUp, E::Ready(info), S::Prepared(info)),
            (S::LookingUp, E::Failed { error: error.clone(), at }, failed()),
            (S::LookingUp, E::Abandoned(internal.clone()), S::Abandoned(internal.clone())),
            (S::LookingUp, E::Drop, S::Dropping),
            (S::Dropping, E::PreparationQueued(job), S::Preparing(job)),
            (S::Dropping, E::Forgotten, S::Listed),
            (S::Preparing(job), E::Ready(info), S::Prepared(info)),
            (S::Preparing(job), E::Failed { error: error.clone(), at }, failed()),
            (S::Preparing(job), E::Abandoned(internal.clone()), S::Abandoned(internal.clone())),
            (S::Preparing(job), E::Forgotten, S::Listed),
            (S::Prepared(info), E::Drop, S::Dropping),
            (S::Prepared(info), E::Ready(info), S::Prepared(info)),
            (failed(), E::PreparationQueued(job), S::Preparing(job)),
            (failed(), E::Drop, S::Dropping),
            (S::Abandoned(internal.clone()), E::Forgotten, S::Listed),
        ];
        assert_lifecycle((&states, &events), &legal, |mut state, event| (state.transition(event), state));
    }
}
