//! Attempts that an earlier coordinator dispatched: their workers describe them when they register. An attempt is
//! *unclaimed* until a job of this coordinator wants the same: the job takes its id and its attempt over, and
//! the scheduler treats it as one of its own from then on. An attempt that no job adopts in time is cancelled.
//!
//! Whatever is asked for again finds its attempt, whichever comes first: a worker's registration looks for a job that
//! waits, and a job looks for an unclaimed attempt before it is placed and before it is dispatched.

use crate::{
    core::{Core, FollowUp, Out, is_own},
    effect::Effect,
    keys::{ArtifactKey, AttemptKey, UserKey},
    notice::Notice,
    operations::{artifacts, executions, preparations, workers},
    tables::{
        Artifact, ArtifactEvent, ArtifactState, Execution, ExecutionEvent, ExecutionState, HeldAt, NewSlot,
        Preparation, PreparationState, Timer, UnclaimedAttempt,
    },
    time::Timestamp,
};
use pvf_proto::{
    artifact::ArtifactInfo,
    identity::WorkerId,
    ids::{BlobHash, JobId, ValidationKey},
    params::PvfPrepKind,
    units::MAX_TIMEOUT,
    wire::{HeldAttempt, HeldPreparation, HeldWork, JobReport, MAX_HELD, RunningJob, ToWorker, WorkerKind},
};
use std::{cmp::Reverse, collections::HashMap, time::Duration};

/// Attempts of one job have numbers up to this: a job is given up long before.
const MAX_ATTEMPT: u32 = 1_000_000;

/// What the attempts of an execution are dispatched with, and found by: its identity, and if it is fresh also its
/// request, so that the execution of another client is not taken for it.
pub(crate) fn validation_of(core: &Core, execution: &Execution) -> Option<ValidationKey> {
    if !execution.work.fresh {
        return Some(execution.identity);
    }
    let request = execution.waiters.first()?;
    let client = core.clients.get(request.client)?.id;
    let own = format!("{}/{client}/{}", execution.identity, request.id);
    Some(ValidationKey(BlobHash::of(own.as_bytes()).0))
}

/// A worker lists attempts in its registration, and describes them. Those of earlier coordinators that were not seen
/// before take slots, and a job that waits for the same adopts one. One that cannot be adopted is cancelled at once.
pub(crate) fn take_up(
    core: &mut Core,
    out: &mut Out,
    id: WorkerId,
    (running, held): (&[RunningJob], Vec<HeldAttempt>),
    now: Timestamp,
) {
    let token = core.config.token;
    let mut new = Vec::new();
    for attempt in running.iter().filter(|attempt| attempt.token < token) {
        let at = AttemptKey { job: attempt.job, attempt: attempt.attempt };
        let is_here = core.workers.get(&id).is_none_or(|worker| worker.has(at));
        if core.workers.note_foreign(&id, at) && !is_here {
            new.push(*attempt);
        }
    }
    if new.is_empty() {
        return;
    }
    let mut described: HashMap<_, _> = held.into_iter().take(MAX_HELD).map(|held| (key_of(&held), held)).collect();
    let mut new: Vec<_> = new.into_iter().map(|attempt| (attempt, described.remove(&key(&attempt)))).collect();
    new.sort_by_key(|(attempt, held)| (Reverse(held.as_ref().map(|held| held.stage)), attempt.job, attempt.attempt));
    for (attempt, held) in new {
        take_up_one(core, out, id, (attempt, held), now);
    }
}

fn key(attempt: &RunningJob) -> (u64, u64, u32) {
    (attempt.token.0, attempt.job.0, attempt.attempt)
}

fn key_of(held: &HeldAttempt) -> (u64, u64, u32) {
    key(&held.attempt)
}

fn take_up_one(
    core: &mut Core,
    out: &mut Out,
    id: WorkerId,
    (attempt, held): (RunningJob, Option<HeldAttempt>),
    now: Timestamp,
) {
    let at = AttemptKey { job: attempt.job, attempt: attempt.attempt };
    if was_given_up(core, id, at) {
        return;
    }
    // What earlier versions list, or more than a registration describes, or what no coordinator dispatches.
    let Some(held) = held.filter(|held| is_sound(core, id, held)) else {
        return workers::send_cancel(core, out, id, at);
    };
    let grace = core.config.policy.adoption_grace;
    let (allowance, until) = match &held.work {
        HeldWork::Execute { .. } => (Duration::MAX, now.after(grace)),
        // The artifact is of use to later requests: the preparation may end.
        HeldWork::Prepare(job) => {
            let allowance = workers::allowance(core, job.cpu_limit.min(MAX_TIMEOUT));
            (allowance, now.after(allowance.max(grace)))
        }
    };
    let new = NewSlot { at, token: attempt.token, user: None, urgency: held.urgency, allowance };
    core.workers.occupy_held(&id, new, held.stage, now);
    let place = (id, at);
    let unclaimed = UnclaimedAttempt { token: attempt.token, work: held.work, until, report: None };
    core.unclaimed.insert(place, unclaimed);
    core.timers.set(Timer::Unclaimed(id, at), until);
    out.counts.taken_up += 1;
    match core.unclaimed.get(place).map(|unclaimed| &unclaimed.work) {
        Some(HeldWork::Execute { validation: Some(key), .. }) => {
            let Some(job) = core.executions.find_same(key) else { return };
            if !core.executions.get(job).is_some_and(may_adopt) || claim_execution(core, out, job, now).is_none() {
                // It runs elsewhere already, or was tried here and failed.
                cancel(core, out, place);
            }
        }
        Some(HeldWork::Execute { validation: None, .. }) => cancel(core, out, place),
        Some(HeldWork::Prepare(job)) => match artifacts::find(core, &job.artifact) {
            Some(key) if waits_for_worker(core, key) => {
                claim_preparation(core, out, key, now);
            }
            Some(_) | None => {}
        },
        None => {}
    }
}

/// Whether a description can be of an attempt of a coordinator at this worker.
fn is_sound(core: &Core, id: WorkerId, held: &HeldAttempt) -> bool {
    let kind = match &held.work {
        HeldWork::Execute { .. } => WorkerKind::Execute,
        HeldWork::Prepare(_) => WorkerKind::Prepare,
    };
    let job = held.attempt.job;
    kind == id.kind
        && (1..=MAX_ATTEMPT).contains(&held.attempt.attempt)
        && is_unused(core, job)
        && !is_own(core.config.token, job)
        // A worker cannot have more, whatever it says.
        && core.workers.get(&id).is_some_and(|worker| worker.jobs.len() < MAX_HELD)
}

/// Whether no job has this id.
fn is_unused(core: &Core, job: JobId) -> bool {
    !core.executions.contains(job) && core.preparations.get(&job).is_none()
}

/// Whether a job has had this attempt and given it up, because its worker was silent: it may be reported late, as any
/// other.
fn was_given_up(core: &Core, id: WorkerId, at: AttemptKey) -> bool {
    match (core.executions.get(at.job), core.preparations.get(&at.job)) {
        (Some(execution), _) => execution.lost_at(at.attempt, id).is_some(),
        (None, Some(task)) => task.lost.contains(&(at.attempt, id)),
        (None, None) => false,
    }
}

/// Whether an execution may adopt an attempt: it was not dispatched yet.
fn may_adopt(execution: &Execution) -> bool {
    execution.attempts == 0 && !execution.is_running()
}

/// Whether an artifact is being prepared, and no worker has had it yet.
fn waits_for_worker(core: &Core, key: ArtifactKey) -> bool {
    let Some(ArtifactState::Preparing(job)) = core.artifacts.get(key).map(|artifact| artifact.state()) else {
        return false;
    };
    let task = core.preparations.get(job);
    task.is_some_and(|task| task.last_attempt() == 0 && matches!(task.state(), PreparationState::Queued(_)))
}

/// An execution that was not dispatched yet adopts an unclaimed attempt at the same validation, if there is one: it has
/// that attempt's job id from then on, which is returned. Others at the same validation are cancelled.
pub(crate) fn claim_execution(core: &mut Core, out: &mut Out, job: JobId, now: Timestamp) -> Option<JobId> {
    if core.unclaimed.is_empty() {
        return None;
    }
    let execution = core.executions.get(job).filter(|execution| may_adopt(execution))?;
    let same = core.unclaimed.of_validation(&validation_of(core, execution)?);
    let fits = |place: &&HeldAt| {
        let (Some(unclaimed), Some(worker)) = (core.unclaimed.get(**place), core.workers.get(&place.0)) else {
            return false;
        };
        let HeldWork::Execute { artifact, .. } = &unclaimed.work else { return false };
        is_unused(core, place.1.job)
            && *artifact == execution.context.spec.artifact_id(core.workers.engine(worker.engine))
    };
    // Of several the one that has ended, else one that runs rather than waits.
    let rank = |place: &&HeldAt| {
        let has_ended = core.unclaimed.get(**place).is_some_and(|unclaimed| unclaimed.report.is_some());
        let slot = core.workers.get(&place.0).and_then(|worker| worker.slot(place.1));
        (!has_ended, !slot.is_some_and(|slot| slot.is_running()))
    };
    let chosen = *same.iter().filter(fits).min_by_key(rank)?;
    for other in same.into_iter().filter(|place| *place != chosen) {
        cancel(core, out, other);
    }
    let (worker, at) = chosen;
    let unclaimed = forget(core, chosen)?;
    if !matches!(core.executions.get(job)?.state(), ExecutionState::Unplaced) {
        executions::withdraw(core, out, job, now);
    }
    executions::rename(core, job, at.job);
    let (user, cpu_limit) = start_adopted(core, out, chosen, &unclaimed, now)?;
    core.workers.claim(&worker, at, Some(user), workers::allowance(core, cpu_limit));
    out.counts.execute_adopted += 1;
    adopted(out, chosen, WorkerKind::Execute, unclaimed);
    Some(at.job)
}

/// A job is about to be dispatched that validates this, and cannot adopt an attempt at the same, because it was
/// dispatched before: of a fresh execution that is not found when the worker registers.
pub(crate) fn cancel_same(core: &mut Core, out: &mut Out, validation: &ValidationKey) {
    for place in core.unclaimed.of_validation(validation) {
        cancel(core, out, place);
    }
}

/// The execution of this job begins with an attempt that its worker has already. Returns for whom it runs, and its CPU
/// time limit.
fn start_adopted(
    core: &mut Core,
    out: &mut Out,
    (worker, at): HeldAt,
    unclaimed: &UnclaimedAttempt,
    now: Timestamp,
) -> Option<(UserKey, Duration)> {
    let engine = core.workers.get(&worker)?.engine;
    let spec = core.executions.get(at.job)?.context.spec.clone();
    let key = artifacts::find_or_add(core, &spec, engine, now);
    core.artifacts.touch(key, now);
    core.artifacts.get_mut(key)?.users += 1;
    let execution = core.executions.get_mut(at.job)?;
    out.checked(execution.transition(ExecutionEvent::Adopted { attempt: at.attempt, worker }));
    // How many of those before it began is not known: this one counts.
    (execution.attempts, execution.not_begun) = (at.attempt, at.attempt - 1);
    if let HeldWork::Execute { digest: Some(digest), .. } = &unclaimed.work {
        execution.used = Some(ArtifactInfo { bytes: 0, digest: *digest });
    }
    execution.context.artifact = Some(key);
    execution.context.since = now;
    Some((execution.user, execution.cpu_limit()))
}

/// An artifact has to be prepared: a preparation of an earlier coordinator that is under way is adopted, else one is
/// queued.
pub(crate) fn adopt_or_enqueue(core: &mut Core, out: &mut Out, key: ArtifactKey, now: Timestamp) {
    if !claim_preparation(core, out, key, now) {
        preparations::enqueue(core, out, key, now);
    }
}

/// An artifact that has to be prepared adopts an unclaimed preparation under the same limits. Returns whether there is
/// one. Others are cancelled.
pub(crate) fn claim_preparation(core: &mut Core, out: &mut Out, key: ArtifactKey, now: Timestamp) -> bool {
    if core.unclaimed.is_empty() {
        return false;
    }
    let Some(artifact) = core.artifacts.get(key) else { return false };
    let fits = |place: &HeldAt| {
        let held = core.unclaimed.get(*place);
        held.is_some_and(|unclaimed| matches!(&unclaimed.work, HeldWork::Prepare(held) if suits(held, artifact)))
            && is_unused(core, place.1.job)
    };
    let mut same = core.unclaimed.of_code(&artifact.id.code_hash);
    same.retain(fits);
    let has_ended = |place: &&HeldAt| core.unclaimed.get(**place).is_some_and(|held| held.report.is_some());
    let Some(chosen) = same.iter().find(has_ended).or(same.first()).copied() else { return false };
    for other in same.into_iter().filter(|place| *place != chosen) {
        cancel(core, out, other);
    }
    let (worker, at) = chosen;
    let Some(unclaimed) = forget(core, chosen) else { return false };
    preparations::unqueue(core, key);
    let HeldWork::Prepare(held) = &unclaimed.work else { return false };
    let cpu_limit = held.cpu_limit;
    if let Some(artifact) = core.artifacts.get_mut(key) {
        out.checked(artifact.transition(ArtifactEvent::PreparationAdopted(at.job)));
        (artifact.made, artifact.linked) = (None, held.precheck);
    }
    core.preparations.insert(at.job, Preparation::adopted(key, (worker, at.attempt), now));
    core.workers.claim(&worker, at, None, workers::allowance(core, cpu_limit));
    out.counts.prepare_adopted += 1;
    preparations::tell_if_taken(core, out, at.job);
    adopted(out, chosen, WorkerKind::Prepare, unclaimed);
    true
}

/// Whether a preparation makes what an artifact is needed for, within the limits that it would be dispatched with now.
/// A precheck does for executions as well: a failure that only its own limits can be the reason of is not theirs.
fn suits(held: &HeldPreparation, artifact: &Artifact) -> bool {
    let Some(spec) = &artifact.spec else { return false };
    let kind = if held.precheck { PvfPrepKind::Precheck } else { PvfPrepKind::Prepare };
    held.artifact == *artifact.id
        && (held.precheck || !artifact.precheck)
        && held.params == spec.executor_params.hash()
        && held.code_bomb_limit == spec.code_bomb_limit
        && held.cpu_limit == spec.prepare_limit(kind)
}

/// A job has adopted an attempt; its report, if it has ended, comes next.
fn adopted(out: &mut Out, (worker, at): HeldAt, kind: WorkerKind, unclaimed: UnclaimedAttempt) {
    out.notice(Notice::JobAdopted { job: at.job, attempt: at.attempt, kind, worker });
    if let Some(report) = unclaimed.report {
        acknowledge(out, worker, &report);
        out.follow_up(FollowUp::AdoptedReport { worker, report });
    }
}

/// A worker reports an unclaimed attempt, which has no slot any more. It is acknowledged when the attempt is claimed or
/// given up; until then the worker repeats it.
pub(crate) fn keep_report(core: &mut Core, place: HeldAt, report: Box<JobReport>, now: Timestamp) {
    if !core.unclaimed.keep_report(place, report) {
        return;
    }
    let (worker, at) = place;
    core.workers.vacate(&worker, at);
    let until = now.after(core.config.policy.adoption_grace);
    if let Some(unclaimed) = core.unclaimed.get_mut(place).filter(|unclaimed| unclaimed.until > until) {
        core.timers.clear(Timer::Unclaimed(worker, at), std::mem::replace(&mut unclaimed.until, until));
        core.timers.set(Timer::Unclaimed(worker, at), until);
    }
}

fn acknowledge(out: &mut Out, worker: WorkerId, report: &JobReport) {
    let reports = vec![RunningJob { token: report.token, job: report.job, attempt: report.attempt }];
    out.effect(Effect::ToWorker { worker, message: ToWorker::Acknowledge { reports } });
}

/// Forgets an unclaimed attempt: it is adopted, or lost.
pub(crate) fn forget(core: &mut Core, place: HeldAt) -> Option<UnclaimedAttempt> {
    let unclaimed = core.unclaimed.remove(place)?;
    core.timers.clear(Timer::Unclaimed(place.0, place.1), unclaimed.until);
    Some(unclaimed)
}

/// Forgets all unclaimed attempts at a worker that is gone.
pub(crate) fn forget_all(core: &mut Core, worker: WorkerId) {
    for at in core.unclaimed.at_worker(worker) {
        forget(core, (worker, at));
    }
}

/// Ends an unclaimed attempt: no client requested it, or another one runs the same validation. Its slot is taken until
/// the worker has answered.
fn cancel(core: &mut Core, out: &mut Out, place: HeldAt) {
    let Some(unclaimed) = forget(core, place) else { return };
    let (worker, at) = place;
    out.counts.not_adopted += 1;
    out.notice(Notice::AttemptNotAdopted { job: at.job, attempt: at.attempt, worker });
    match unclaimed.report {
        Some(report) => acknowledge(out, worker, &report),
        None => workers::send_cancel(core, out, worker, at),
    }
}

/// The time in which an attempt may be claimed is over. It counts only while the coordinator hears.
pub(crate) fn on_grace_over(core: &mut Core, out: &mut Out, place: HeldAt, now: Timestamp) {
    let grace = core.config.policy.adoption_grace;
    let heard_since = core.link_up_since;
    let Some(unclaimed) = core.unclaimed.get_mut(place) else {
        return out.inconsistent(format_args!("attempt {:?} has a timer and is not unclaimed", place.1));
    };
    if heard_since.is_some_and(|since| now.since(since) >= grace) {
        return cancel(core, out, place);
    }
    unclaimed.until = heard_since.unwrap_or(now).after(grace);
    core.timers.set(Timer::Unclaimed(place.0, place.1), unclaimed.until);
}
