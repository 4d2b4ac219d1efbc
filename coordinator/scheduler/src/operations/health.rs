//! Which worker failed, and whether it gets jobs because of that.

use crate::{
    core::{Core, Out},
    keys::EndedAttempt,
    notice::Notice,
    tables::Timer,
    time::Timestamp,
};
use pvf_proto::verdict::InternalError;

/// An attempt failed, and neither the candidate nor its code can be the reason.
pub(crate) fn note_failure(core: &mut Core, out: &mut Out, ended: &EndedAttempt, why: String, now: Timestamp) {
    let worker = ended.site.worker;
    let Some(pause) = core.workers.note_failure(&worker, ended.at.job, why.clone(), now) else { return };
    let until = now.after(pause);
    core.workers.pause(&worker, until);
    core.timers.set(Timer::WorkerPause(worker), until);
    out.counts.workers_paused += 1;
    out.notice(Notice::WorkerPaused { worker, host: ended.site.origin.host_name.to_string(), pause, why });
}

/// An attempt reported a failure that is not the candidate's. A missing input or artifact says nothing about the
/// worker.
pub(crate) fn note_internal(
    core: &mut Core,
    out: &mut Out,
    ended: &EndedAttempt,
    error: &InternalError,
    now: Timestamp,
) {
    match error {
        InternalError::InputBlob(_) | InternalError::ArtifactMissing(_) => {}
        InternalError::Bus(_)
        | InternalError::Store(_)
        | InternalError::Kernel(_)
        | InternalError::WorkerDraining(_)
        | InternalError::Disagreement(_) => note_failure(core, out, ended, error.to_string(), now),
    }
}
