//! Placement: the engine of a job, and the worker that runs it.
//!
//! A worker with a free slot comes before any at which the job would only be staged. Among these: a worker that has the
//! artifact warm, then on disk, then the artifact's rendezvous owners, then the least loaded one.

use crate::{
    keys::{ArtifactKey, EngineKey, ExcludedWorkers, HostKey},
    policies::ExecuteQueue,
    tables::{Artifact, ArtifactState, Artifacts, OWNERS, Owners, Pool, PvfSpec, WorkerIndex, Workers, fnv1a},
};
use pvf_proto::{identity::WorkerId, ids::ArtifactId, priority::ExecuteKind, wire::WorkerKind};
use std::cmp::Reverse;

/// Dispatches, and recalls, after one event; more follow after the next.
pub(crate) const DISPATCHES: usize = 32;

/// An engine that has the artifact is preferred as long as its queue is at most this much longer for each slot: about
/// what a preparation costs.
const ARTIFACT_IS_WORTH: u64 = 16;
/// Workers that a retry looks at for one that is not excluded.
const RETRY_LOOK_AHEAD: usize = 64;
/// Workers on other machines that it looks at if these are all excluded. With more of them it may have to wait until
/// one of these has room.
const RETRY_LOOK_AHEAD_ELSEWHERE: usize = 256;
/// With at most so many workers that have room, these are looked at one by one; else those that have the artifact.
const FEW_WORKERS: usize = 16;

/// The rank of a kind among staged jobs, from 1, most urgent first. Rank 0 is never recalled for a more urgent job: it
/// was dispatched as its kind's share.
pub(crate) fn staged_rank(kind: ExecuteKind) -> u8 {
    kind as u8 + 1
}

/// The engine for a job: one that has workers of the kind, by load and by whether it has the artifact. An engine that
/// cannot get the artifact is not chosen while another can.
pub(crate) fn choose_engine(
    workers: &Workers,
    artifacts: &Artifacts,
    execute_queue: &ExecuteQueue,
    kind: WorkerKind,
    spec: &PvfSpec,
) -> Option<EngineKey> {
    let mut candidates = workers.engines().filter(|engine| match kind {
        WorkerKind::Execute => !workers.pool(kind, *engine).is_empty(),
        WorkerKind::Prepare => workers.can_prepare(*engine),
    });
    let first = candidates.next()?;
    let Some(second) = candidates.next() else { return Some(first) };
    let cost = |engine: &EngineKey| {
        let pool = workers.pool(kind, *engine);
        let slots = pool.slots().max(1);
        let artifact = artifacts.find(spec.code, spec.prep_hash, *engine).and_then(|key| artifacts.get(key));
        let there =
            artifact.is_some_and(|a| !matches!(a.state(), ArtifactState::Listed | ArtifactState::Failed { .. }));
        let possible = there || workers.can_prepare(*engine);
        // An artifact that no worker can execute is of no use, but answers a precheck.
        let is_useless = workers.pool(WorkerKind::Execute, *engine).is_empty();
        let waiting = match kind {
            WorkerKind::Execute => execute_queue.len(*engine) as u64,
            WorkerKind::Prepare => 0,
        };
        let load = (waiting + pool.busy()) * 4 / slots + if there { 0 } else { ARTIFACT_IS_WORTH * 4 };
        (!possible, is_useless, pool.is_empty(), load, Reverse(slots))
    };
    [first, second].into_iter().chain(candidates).min_by_key(cost)
}

/// The worker that should execute an artifact, and its rendezvous owners if they had to be computed.
pub(crate) fn choose_worker(
    workers: &Workers,
    artifact: &Artifact,
    key: ArtifactKey,
) -> (Option<WorkerId>, Option<Owners>) {
    let pool = workers.pool(WorkerKind::Execute, artifact.engine);
    let free = pool.has_free();
    // Whether a worker has room and the artifact, and how well it suits.
    let suits = |id: WorkerId| {
        let worker = workers.get(&id)?;
        let load = match (worker.index(), free) {
            (WorkerIndex::Free(load), _) => load,
            (WorkerIndex::Stageable(staged), false) => staged,
            (WorkerIndex::Stageable(_), true) | (WorkerIndex::None, _) => return None,
        };
        worker.holds(key).map(|warm| (!warm, load, id))
    };
    let with_room = if free { pool.free().len() } else { pool.stageable().len() };
    let best = match (with_room <= FEW_WORKERS, free) {
        (true, true) => pool.free().filter_map(suits).min(),
        (true, false) => pool.stageable().filter_map(suits).min(),
        (false, _) => artifact.holders.iter().copied().filter_map(suits).min(),
    };
    if let Some((_, _, id)) = best {
        return (Some(id), None);
    }
    if pool.len() > 1 && free {
        let owners = match artifact.owners {
            Some((epoch, owners)) if epoch == pool.epoch() => owners,
            _ => rendezvous_owners(pool, &artifact.id),
        };
        let owner = owners.iter().flatten().find(|id| workers.has_free_slot(id)).copied();
        return (owner.or_else(|| least_loaded(pool)), Some((pool.epoch(), owners)));
    }
    (least_loaded(pool), None)
}

/// The least loaded worker that takes a job.
pub(crate) fn least_loaded(pool: &Pool) -> Option<WorkerId> {
    pool.free().next().or_else(|| pool.stageable().next())
}

/// Which workers a retry waits for rather than go back to one where it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    /// Any: a second attempt that decides about the candidate's guilt must be elsewhere.
    AlsoForPaused,
    /// Those that are not paused: a pause may be longer than a request can wait.
    ForUnpaused,
}

/// How far from its failed attempts a job must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Distance {
    Anywhere,
    OtherWorker,
    OtherHost,
}

/// Where a job was that is to go elsewhere now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before<'a> {
    /// Where it failed.
    pub(crate) failed_at: &'a ExcludedWorkers,
    /// The machine that has decided it, if it is to be decided once more: it never goes back there.
    pub(crate) decided_on: Option<HostKey>,
}

impl Before<'_> {
    /// Whether a worker on this machine may have it at all.
    fn allows(&self, host: HostKey) -> bool {
        self.decided_on != Some(host)
    }

    fn failed_on(&self, host: HostKey) -> bool {
        self.failed_at.iter().any(|site| site.host() == host)
    }
}

/// A worker for a job that failed elsewhere, or is to be decided once more: on another machine if there is one, else
/// another worker if there is one, even if the job has to wait for it.
pub(crate) fn elsewhere(workers: &Workers, pool: &Pool, before: Before<'_>, waits: Waits) -> Option<WorkerId> {
    let distance = distance(workers, pool, before, waits);
    let fits = |id: &WorkerId| {
        let Some(host) = workers.get(id).map(|worker| worker.host()) else { return false };
        before.allows(host)
            && match distance {
                Distance::Anywhere => true,
                Distance::OtherWorker => before.failed_at.iter().all(|site| site.worker != *id),
                Distance::OtherHost => !before.failed_on(host),
            }
    };
    let near = pool.free().take(RETRY_LOOK_AHEAD).chain(pool.stageable().take(RETRY_LOOK_AHEAD)).find(fits);
    if near.is_some() || (distance != Distance::OtherHost && before.decided_on.is_none()) {
        return near;
    }
    // All that were looked at are on the machines to be avoided.
    let is_near = |host| before.failed_on(host) && distance == Distance::OtherHost;
    with_room(workers, pool.on_hosts(|host| before.allows(host) && !is_near(host)).filter(fits))
}

/// The one of the first of these that has the most room.
fn with_room(workers: &Workers, these: impl Iterator<Item = WorkerId>) -> Option<WorkerId> {
    let with_room = these.take(RETRY_LOOK_AHEAD_ELSEWHERE).filter_map(|id| match workers.get(&id)?.index() {
        WorkerIndex::Free(load) => Some((false, load, id)),
        WorkerIndex::Stageable(staged) => Some((true, staged, id)),
        WorkerIndex::None => None,
    });
    with_room.min().map(|(_, _, id)| id)
}

fn distance(workers: &Workers, pool: &Pool, before: Before<'_>, waits: Waits) -> Distance {
    let is_other_host = |host: HostKey| before.allows(host) && !before.failed_on(host);
    let awaited = || {
        let members = pool.members().filter_map(|id| workers.get(id)).filter(|worker| before.allows(worker.host()));
        members.filter(|worker| waits == Waits::AlsoForPaused || worker.health().paused_until().is_none())
    };
    let has_other_host = match (pool.paused(), waits) {
        (0, _) | (_, Waits::AlsoForPaused) => pool.hosts().any(is_other_host),
        (_, Waits::ForUnpaused) => awaited().any(|worker| is_other_host(worker.host())),
    };
    if before.failed_at.is_empty() {
        Distance::Anywhere
    } else if has_other_host {
        Distance::OtherHost
    } else if awaited().any(|worker| before.failed_at.iter().all(|site| site.worker != worker.id)) {
        Distance::OtherWorker
    } else {
        Distance::Anywhere
    }
}

/// The workers that get an artifact while none has it, by rendezvous hashing: the same few each time, and a change of
/// the pool moves few artifacts.
fn rendezvous_owners(pool: &Pool, artifact: &ArtifactId) -> [Option<WorkerId>; OWNERS] {
    let name = artifact.code_hash.0.into_iter().chain(artifact.prep_hash.0).chain(artifact.engine.as_str().bytes());
    let artifact = fnv1a(name);
    let mut best = [(0, None); OWNERS];
    for (id, hash) in pool.hashes() {
        let score = score(artifact, *hash);
        if score > best[OWNERS - 1].0 {
            best[OWNERS - 1] = (score, Some(*id));
            best.sort_by_key(|(score, _)| Reverse(*score));
        }
    }
    best.map(|(_, id)| id)
}

/// Rendezvous score of an artifact and a worker, never zero.
fn score(artifact: u64, worker: u64) -> u64 {
    let mixed = (artifact ^ worker).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed ^ (mixed >> 32)) | 1
}
