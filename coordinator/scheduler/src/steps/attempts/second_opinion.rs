//! Second opinions: an execution that was decided runs once more on another machine, if the settings say so.

use crate::{
    core::{Core, FollowUp, Out},
    operations::{executions, opinions},
    tables::{ArtifactState, Decision, ExecutionState, Opinions, Timer},
    time::Timestamp,
};
use pvf_proto::{identity::WorkerId, ids::JobId, verdict::WireOutcome, wire::WorkerKind};
use std::time::Duration;

/// How often an execution looks for a worker on another machine while none is registered, and whether an attempt that
/// has begun late has ended.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

fn finish(out: &mut Out, job: JobId, (outcome, worker): (WireOutcome, Option<WorkerId>)) {
    out.follow_up(FollowUp::FinishExecution { job, outcome, worker });
}

/// An execution was decided. It is unplaced.
pub(super) fn on_decision(core: &mut Core, out: &mut Out, decision: Decision, now: Timestamp) {
    let job = decision.at.job;
    let Some(execution) = core.executions.get(job) else {
        return out.inconsistent(format_args!("execution {job} is decided and not known"));
    };
    match &execution.opinions {
        Opinions::None if opinions::is_wanted(&core.config.policy.cross_check, execution, &decision.outcome) => {
            opinions::await_second(core, out, decision, now);
            requeue(core, out, job, now);
        }
        Opinions::None => finish(out, job, (decision.outcome, Some(decision.site.worker))),
        // Its worker has registered as one of the first one's machine meanwhile.
        Opinions::First(first) if first.decision.site.host() == decision.site.host() => requeue(core, out, job, now),
        Opinions::First(_) => {
            if let Some(end) = opinions::compare(core, out, decision) {
                finish(out, job, end);
            }
        }
        Opinions::Over(_) => out.inconsistent(format_args!("execution {job} is decided and has ended")),
    }
}

/// An attempt that was given up has decided after all, wherever the execution is now.
pub(super) fn on_late_decision(core: &mut Core, out: &mut Out, decision: Decision, now: Timestamp) {
    let (job, host) = (decision.at.job, decision.site.host());
    let Some(execution) = core.executions.get(job) else { return };
    let runs_at = match execution.state() {
        ExecutionState::Running { worker, .. } => core.workers.get(worker).map(|worker| worker.host()),
        _ => None,
    };
    let is_wanted = opinions::is_wanted(&core.config.policy.cross_check, execution, &decision.outcome);
    match &execution.opinions {
        // What runs elsewhere gives the second opinion.
        Opinions::None if is_wanted && runs_at.is_some_and(|other| other != host) => {
            opinions::await_second(core, out, decision, now);
        }
        // Nothing new.
        Opinions::First(first) if first.decision.site.host() == host => {}
        Opinions::None | Opinions::First(_) | Opinions::Over(_) => {
            executions::withdraw(core, out, job, now);
            on_decision(core, out, decision, now);
        }
    }
}

/// How an execution that awaits its second opinion gets to another machine.
enum Way {
    /// One has its engine, and the artifact is there.
    Queue,
    /// It needs an engine or its artifact first.
    Place,
    /// There is none.
    Wait,
}

/// `None` if it awaits none.
fn way(core: &Core, job: JobId) -> Option<Way> {
    let execution = core.executions.get(job)?;
    let host = execution.opinions.first()?.decision.site.host();
    let Some(artifact) = execution.context.artifact.and_then(|key| core.artifacts.get(key)) else {
        return Some(Way::Place);
    };
    let has_other = core.workers.pool(WorkerKind::Execute, artifact.engine).hosts().any(|other| other != host);
    Some(match artifact.state() {
        ArtifactState::Prepared(_) if has_other => Way::Queue,
        _ if has_other => Way::Place,
        _ => Way::Wait,
    })
}

/// Queues an unplaced execution. If it awaits its second opinion it stays out of the queue while there is no other
/// machine than the one that decided it.
pub(super) fn requeue(core: &mut Core, out: &mut Out, job: JobId, now: Timestamp) {
    match way(core, job) {
        Some(Way::Queue) | None => executions::enqueue(core, out, job, now),
        Some(Way::Place) => out.follow_up(FollowUp::PlaceExecution(job)),
        Some(Way::Wait) => executions::delay(core, out, job, now.after(LOOK_AGAIN), now),
    }
}

/// The back-off of an unplaced execution is over: it is placed again, or waits on while it needs another machine and
/// there is none.
pub(super) fn place_again(core: &mut Core, out: &mut Out, job: JobId, now: Timestamp) {
    match way(core, job) {
        Some(Way::Wait) => executions::delay(core, out, job, now.after(LOOK_AGAIN), now),
        Some(Way::Queue | Way::Place) | None => out.follow_up(FollowUp::PlaceExecution(job)),
    }
}

/// The time in which an attempt on another machine must have begun is over. One that runs may end, within a bound.
pub(crate) fn on_due(core: &mut Core, out: &mut Out, job: JobId, now: Timestamp) {
    let Some(execution) = core.executions.get_mut(job) else {
        return out.inconsistent(format_args!("execution {job} has a timer and is not known"));
    };
    let runs = execution.is_running();
    let Some(first) = execution.opinions.first_mut() else {
        return out.inconsistent(format_args!("execution {job} has a timer and awaits no second opinion"));
    };
    if runs && now < first.end {
        first.timer = now.after(LOOK_AGAIN).min(first.end);
        core.timers.set(Timer::SecondOpinion(job), first.timer);
        return;
    }
    let why = match runs {
        true => "the attempt on another machine has not ended in time".into(),
        false => {
            let wait = core.config.policy.cross_check.wait.as_secs_f64();
            format!("no worker on another machine has run it within {wait} s")
        }
    };
    executions::withdraw(core, out, job, now);
    if let Some((outcome, worker, record)) = opinions::stand(core, out, job, why)
        && let Some(execution) = core.executions.get_mut(job)
    {
        execution.opinions = record.map_or(Opinions::None, Opinions::Over);
        finish(out, job, (outcome, worker));
    }
}
