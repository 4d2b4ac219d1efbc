//! Messages to workers, and which artifacts they have.

use crate::{
    core::{Core, Out},
    effect::Effect,
    keys::{ArtifactKey, AttemptKey, UserKey},
    tables::{FetchStage, NewSlot, Slot, SlotState},
};
use pvf_proto::{
    identity::{ClientId, WorkerId},
    ids::{RequestId, ValidationKey},
    job::JobSpec,
    units::{MAX_WAIT, WALL_CLOCK_FACTOR},
    wire::{Dispatch, ToWorker},
};
use smallvec::SmallVec;
use std::time::Duration;

/// A job that is to be dispatched.
pub(crate) struct JobToSend {
    pub(crate) at: AttemptKey,
    /// The user for whom it runs; `None` for a preparation.
    pub(crate) user: Option<UserKey>,
    /// Its rank among the jobs staged at the worker, most urgent first.
    pub(crate) urgency: u8,
    /// One of the requests it is for, for logs.
    pub(crate) request: Option<RequestId>,
    pub(crate) spec: JobSpec,
    /// The clients that hold what it has to pull.
    pub(crate) holders: Vec<ClientId>,
    /// What an execution validates, for a later coordinator.
    pub(crate) validation: Option<ValidationKey>,
}

/// How long a worker may have a job with this CPU time limit once it has a slot.
pub(crate) fn allowance(core: &Core, cpu_limit: Duration) -> Duration {
    cpu_limit.saturating_mul(WALL_CLOCK_FACTOR).min(MAX_WAIT).saturating_add(core.config.policy.attempt_allowance)
}

/// Dispatches a job to a worker.
pub(crate) fn send_job(core: &mut Core, out: &mut Out, worker: WorkerId, job: JobToSend) {
    let JobToSend { at, user, urgency, request, spec, holders, validation } = job;
    let cpu_limit = match &spec {
        JobSpec::Prepare(job) => job.cpu_limit,
        JobSpec::Execute(job) => job.cpu_limit,
    };
    let (token, allowance) = (core.config.token, allowance(core, cpu_limit));
    if !core.workers.occupy(&worker, NewSlot { at, token, user, urgency, allowance }) {
        out.inconsistent(format_args!("job {} is dispatched to {worker}, which is not registered", at.job));
    }
    let acknowledged = out.acknowledgements_for(worker);
    let (job, attempt) = (at.job, at.attempt);
    let dispatch = Dispatch { token, job, attempt, urgency, request, spec, holders, acknowledged, validation };
    out.effect(Effect::ToWorker { worker, message: ToWorker::Dispatch(Box::new(dispatch)) });
}

/// Stops an attempt. Its slot stays taken until the worker has answered.
pub(crate) fn send_cancel(core: &Core, out: &mut Out, worker: WorkerId, at: AttemptKey) {
    let message = ToWorker::Cancel { token: core.config.token, job: at.job, attempt: at.attempt };
    out.effect(Effect::ToWorker { worker, message });
}

/// Recalls what has not begun at a worker that takes no more jobs: what is staged there, and what is still being
/// fetched, each time until the worker has answered.
pub(crate) fn recall_all_waiting(core: &mut Core, out: &mut Out, id: WorkerId) {
    let Some(worker) = core.workers.get(&id) else { return };
    let waits = |slot: &&Slot| match slot.state {
        SlotState::Staged => true,
        SlotState::Running | SlotState::Fetching => slot.fetch == FetchStage::UnderWay,
        SlotState::Recalled => false,
    };
    let waiting: SmallVec<[AttemptKey; 4]> = worker.jobs.iter().filter(waits).map(|slot| slot.at).collect();
    for at in waiting {
        // What is being fetched takes no place meanwhile.
        let recalled = |state| if state == SlotState::Staged { SlotState::Recalled } else { state };
        if core.workers.set_slot(&id, at, recalled) {
            out.counts.recalled += 1;
            let message = ToWorker::Recall { token: core.config.token, job: at.job, attempt: at.attempt };
            out.effect(Effect::ToWorker { worker: id, message });
        }
    }
}

/// A worker has an artifact, mapped and linked (`warm`) or on its disk.
pub(crate) fn note_held(core: &mut Core, key: ArtifactKey, worker: WorkerId, warm: bool) {
    if core.workers.note_held(&worker, key, warm)
        && let Some(artifact) = core.artifacts.get_mut(key)
    {
        artifact.note_holder(worker);
    }
}
