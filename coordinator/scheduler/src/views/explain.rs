//! Why a request has no verdict yet, in sentences for people.

use super::requests::{self, RequestView};
use crate::{
    core::Core,
    keys::{ArtifactKey, AttemptKey, EngineKey},
    tables::{ArtifactState, Execution, ExecutionState, Pool, PreparationState, WorkerCondition},
    time::Timestamp,
};
use pvf_proto::{identity::WorkerId, priority::ExecuteKind, wire::WorkerKind};
use std::time::Duration;

pub(crate) fn request(core: &Core, view: &RequestView, now: Timestamp) -> Vec<String> {
    let Some(request) = core.requests.get(&view.key) else { return Vec::new() };
    let Some(context) = requests::context(core, request) else { return Vec::new() };
    let mut why = vec![format!(
        "The request arrived {} ago and expires in {}.",
        shown(now.since(request.arrived)),
        shown(request.deadline.since(now))
    )];
    let execution = view.job.and_then(|job| core.executions.get(job));
    match (execution, context.artifact) {
        (Some(execution), _) => of_execution(core, (view, execution), &mut why, now),
        (None, Some(artifact)) => of_artifact(core, artifact, &mut why, now),
        (None, None) => why.push("No worker that could do it is registered.".into()),
    }
    if view.waiters > 1 {
        why.push(format!("{} requests wait for the same execution.", view.waiters));
    }
    if core.clients.is_gone(view.key.client) {
        why.push("Its client was silent for too long, so what is queued for it is not begun.".into());
    }
    why
}

fn of_execution(core: &Core, (view, execution): (&RequestView, &Execution), why: &mut Vec<String>, now: Timestamp) {
    let artifact = execution.context.artifact;
    let engine = artifact.and_then(|key| core.artifacts.get(key)).map(|artifact| artifact.engine);
    match execution.state() {
        ExecutionState::Unplaced => why.push("It is about to be placed.".into()),
        ExecutionState::AwaitingEngine => why.push("No execute worker is registered.".into()),
        ExecutionState::AwaitingArtifact => match artifact {
            Some(artifact) => of_artifact(core, artifact, why, now),
            None => why.push("It waits for its artifact.".into()),
        },
        ExecutionState::Queued(_) => {
            why.push(format!(
                "Its artifact is there; it has been queued as {} for {}.",
                execution.kind,
                shown(now.since(execution.context.since))
            ));
            if let Some(engine) = engine {
                of_queue(core, engine, execution.kind, why);
            }
            of_user(core, execution, why);
        }
        ExecutionState::BackingOff(until) => {
            why.push(format!("Its last attempt did not begin; the next one is due in {}.", shown(until.since(now))))
        }
        ExecutionState::Running { attempt, worker } => {
            let (since, limit) = (now.since(execution.context.since), execution.cpu_limit());
            why.push(format!(
                "Attempt {attempt} has been at {} for {}; it may take {} of CPU time.",
                named(core, *worker),
                shown(since),
                shown(limit)
            ));
            let at = view.job.map(|job| AttemptKey { job, attempt: *attempt });
            match at.and_then(|at| core.workers.get(worker)?.slot(at)) {
                Some(slot) if slot.is_fetching() => why.push("The worker fetches its artifact or its input.".into()),
                Some(slot) if !slot.is_running() => why.push("It waits there for a slot.".into()),
                _ => {}
            }
        }
    }
    of_attempts(execution, why);
}

/// The attempts so far.
fn of_attempts(execution: &Execution, why: &mut Vec<String>) {
    for usage in execution.reported.to_vec() {
        why.push(format!("Attempt {} at {} ended as {}.", usage.attempt, usage.worker, usage.end.name()));
    }
    for (attempt, site) in &execution.lost {
        why.push(format!(
            "Attempt {attempt} at {} on {} was given up without a report.",
            site.worker, site.origin.host_name
        ));
    }
    if execution.not_begun > 0 {
        why.push(format!("{} dispatches came back without having begun.", execution.not_begun));
    }
}

fn of_queue(core: &Core, engine: EngineKey, kind: ExecuteKind, why: &mut Vec<String>) {
    let ahead: Vec<String> = ExecuteKind::ALL
        .into_iter()
        .map(|other| (other, core.execute_queue.len_of(engine, other)))
        .filter(|(other, n)| *n > 0 && (*other as usize) <= kind as usize)
        .map(|(other, n)| format!("{n} {other}"))
        .collect();
    if !ahead.is_empty() {
        why.push(format!(
            "Queued for its engine at the same or a higher urgency, this one included: {}.",
            ahead.join(", ")
        ));
    }
    of_pool(core, core.workers.pool(WorkerKind::Execute, engine), "execute", why);
}

/// Why a pool has no free slot, or that it has one.
fn of_pool(core: &Core, pool: &Pool, kind: &str, why: &mut Vec<String>) {
    if pool.is_empty() {
        return why.push(format!("No {kind} worker of its engine is registered."));
    }
    why.push(format!("{} of {} slots of {} {kind} workers are taken.", pool.busy(), pool.slots(), pool.len()));
    let in_condition = |wanted: WorkerCondition| {
        pool.members().filter_map(|id| core.workers.get(id)).filter(|worker| worker.condition() == wanted).count()
    };
    for (wanted, text) in [
        (WorkerCondition::Suspect, "are suspect: they refused a job or did not answer"),
        (WorkerCondition::Paused, "are paused, because jobs failed there"),
        (WorkerCondition::Draining, "are draining"),
    ] {
        match in_condition(wanted) {
            0 => {}
            n => why.push(format!("{n} of these workers {text}.")),
        }
    }
}

fn of_user(core: &Core, execution: &Execution, why: &mut Vec<String>) {
    let Some(user) = core.clients.users().get(execution.user) else { return };
    let (jobs, limit) = (core.workers.jobs_of(execution.user), core.config.policy.limits_of(&user.name).jobs);
    if jobs >= limit {
        why.push(format!("Its user {} has {jobs} executions at workers, and may have {limit}.", user.name));
    }
}

fn of_artifact(core: &Core, key: ArtifactKey, why: &mut Vec<String>, now: Timestamp) {
    let Some(artifact) = core.artifacts.get(key) else { return };
    let job = match artifact.state() {
        ArtifactState::Preparing(job) => *job,
        ArtifactState::LookingUp => return why.push("The store is asked whether it has the artifact.".into()),
        ArtifactState::Dropping => {
            return why.push("The artifact was damaged or unused and is being removed; it is made anew then.".into());
        }
        ArtifactState::Listed
        | ArtifactState::Prepared(_)
        | ArtifactState::Failed { .. }
        | ArtifactState::Abandoned(_) => return why.push("Its artifact is about to be looked at.".into()),
    };
    let Some(task) = core.preparations.get(&job) else { return };
    match task.state() {
        PreparationState::Queued(spot) => {
            why.push(format!(
                "Its artifact is to be prepared; the preparation has been queued with {} priority for {}.",
                spot.priority.name(),
                shown(now.since(task.enqueued))
            ));
            let mut pools = core.workers.prepare_pools(artifact.engine).filter(|pool| !pool.is_empty()).peekable();
            if pools.peek().is_none() {
                why.push("No prepare worker that compiles for its engine is registered.".into());
            }
            pools.for_each(|pool| of_pool(core, pool, "prepare", why));
        }
        PreparationState::BackingOff(until) => why.push(format!(
            "The last attempt to prepare its artifact did not begin; the next one is due in {}.",
            shown(until.since(now))
        )),
        PreparationState::Dispatched { attempt, worker, at } => {
            let progress = core.compile_progress(job).map(|progress| format!(", {progress}")).unwrap_or_default();
            why.push(format!(
                "Its artifact is being prepared: attempt {attempt} has been at {} for {}{progress}.",
                named(core, *worker),
                shown(now.since(*at))
            ));
        }
    }
    for (n, text) in [
        (task.infra_failures, "failed because of infrastructure"),
        (task.ambiguous_failures, "failed for a reason that may be the machine's or the code's"),
        (task.deaths, "lost their workers"),
        (task.not_begun_failures, "did not begin"),
    ] {
        if n > 0 {
            why.push(format!("Attempts of the preparation that {text}: {n}."));
        }
    }
}

fn named(core: &Core, worker: WorkerId) -> String {
    match core.workers.get(&worker) {
        Some(known) => format!("{worker} on {}", known.host_name()),
        None => worker.to_string(),
    }
}

fn shown(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        1..=59 => format!("{:.1} s", time.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}
