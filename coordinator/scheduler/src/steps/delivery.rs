//! What became of a command to a worker.

use crate::{
    core::{AttemptLoss, Core, FollowUp, Out},
    event::{Command, Delivery},
    keys::{AttemptKey, EndedAttempt},
    notice::Notice,
    tables::{SlotState, WorkerEvent, WorkerState},
    time::Timestamp,
};
use pvf_proto::identity::WorkerId;

/// What became of a command about an attempt.
pub(crate) struct CommandResult {
    pub(crate) worker: WorkerId,
    pub(crate) at: AttemptKey,
    pub(crate) command: Command,
    pub(crate) delivery: Delivery,
}

/// A command to a worker was answered, or could not be sent, or got no answer in time.
pub(crate) fn on_delivered(core: &mut Core, out: &mut Out, result: CommandResult, now: Timestamp) {
    let CommandResult { worker: id, at, command, delivery } = result;
    // The attempt may have ended meanwhile.
    let Some(slot) = core.workers.get_mut(&id).and_then(|worker| worker.slot_mut(at)) else { return };
    match (command, delivery) {
        (Command::Dispatch, Delivery::Taken) => (slot.taken, slot.acknowledged) = (Some(now), true),
        // The job may have begun: heartbeats, or their absence, decide.
        (Command::Dispatch, Delivery::Unknown(why)) => {
            slot.taken = Some(now);
            suspect(core, out, id, why);
        }
        (Command::Dispatch, Delivery::Refused(refusal)) => {
            suspect(core, out, id, refusal.to_string());
            lose(core, out, id, at, AttemptLoss::NotBegun(refusal.to_string()));
        }
        (Command::Dispatch, Delivery::NoSubscriber) => {
            let why = "no worker listens on its subject";
            suspect(core, out, id, why.into());
            lose(core, out, id, at, AttemptLoss::NotBegun(why.into()));
        }
        // Not the worker's doing.
        (Command::Dispatch, Delivery::NotSent(why)) => lose(core, out, id, at, AttemptLoss::NotBegun(why)),
        // Whatever the answer is, the worker does not have the attempt any more, or ends it.
        (Command::Cancel, _) => {
            core.workers.vacate(&id, at);
        }
        (Command::Recall, Delivery::Taken) => lose(core, out, id, at, AttemptLoss::Returned),
        (
            Command::Recall,
            Delivery::Refused(_) | Delivery::NoSubscriber | Delivery::NotSent(_) | Delivery::Unknown(_),
        ) => {
            core.workers.set_slot(&id, at, |_| SlotState::Running);
        }
    }
}

/// The worker refused a dispatch, or did not answer one: it gets no jobs until it is heard from.
fn suspect(core: &mut Core, out: &mut Out, id: WorkerId, why: String) {
    let Some(before) = core.workers.transition(&id, WorkerEvent::CommandMissed).and_then(|t| out.checked(t)) else {
        return;
    };
    if !matches!(before, WorkerState::Suspect { .. })
        && let Some(worker) = core.workers.get(&id)
    {
        out.counts.suspected += 1;
        out.notice(Notice::WorkerSuspect { worker: id, host: worker.host_name(), why });
    }
}

fn lose(core: &mut Core, out: &mut Out, id: WorkerId, at: AttemptKey, loss: AttemptLoss) {
    let Some(site) = core.workers.get(&id).map(|worker| worker.site()) else {
        return out.inconsistent(format_args!("worker {id} has lost job {} and is not registered", at.job));
    };
    core.workers.vacate(&id, at);
    out.follow_up(FollowUp::AttemptLost { ended: EndedAttempt { at, site }, loss });
}
