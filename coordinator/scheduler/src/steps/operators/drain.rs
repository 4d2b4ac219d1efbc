//! Operators ask workers to drain. A worker that was told gets no more jobs, and each answer to its heartbeats tells it
//! to drain until it has left: a message that is lost does no harm.

use crate::{
    core::{Core, Out},
    effect::Answer,
    notice::Notice,
    operations::workers::recall_all_waiting,
    tables::Gone,
};
use pvf_proto::{
    identity::{UserName, WorkerId},
    subjects::Subject,
    wire::{DrainState, MAX_DRAINED, OperatorReply, WorkerDrain},
};

/// An operator asks workers to drain, or what has become of them since it did.
pub(super) fn on_drain(
    core: &mut Core,
    out: &mut Out,
    (operator, workers): (UserName, Vec<WorkerId>),
    reply: Option<Subject>,
) {
    let mut drains = Vec::new();
    for worker in workers.into_iter().take(MAX_DRAINED) {
        tell(core, out, worker, operator);
        drains.push(WorkerDrain { worker, state: state_of(core, &worker) });
    }
    out.reply(reply, Answer::Operator(OperatorReply::Drains(drains)));
}

/// A worker gets no more jobs, and what it has not begun is recalled; once.
fn tell(core: &mut Core, out: &mut Out, id: WorkerId, operator: UserName) {
    if !core.workers.tell_to_drain(&id) {
        return;
    }
    if let Some(worker) = core.workers.get(&id) {
        let (host, jobs) = (worker.host_name(), worker.jobs.len() as u32);
        out.notice(Notice::WorkerToldToDrain { worker: id, host, operator, jobs });
    }
    recall_all_waiting(core, out, id);
}

fn state_of(core: &Core, id: &WorkerId) -> DrainState {
    let Some(worker) = core.workers.get(id) else {
        return match core.departures.get(id) {
            Some(Gone::Deregistered) => DrainState::Left,
            Some(Gone::Lost) => DrainState::Lost,
            None => DrainState::Unknown,
        };
    };
    let jobs = worker.jobs.len() as u32;
    if worker.is_draining() { DrainState::Draining { jobs } } else { DrainState::Told { jobs } }
}
