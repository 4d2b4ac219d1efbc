//! Leases: how long a worker may have an attempt. A worker that lists a job as running in each heartbeat is not silent,
//! and nothing else would end a job that hangs there, in a fetch for instance.

use crate::{
    core::{AttemptLoss, Core, FollowUp, Out},
    keys::EndedAttempt,
    operations::workers::send_cancel,
    time::Timestamp,
};
use pvf_proto::identity::WorkerId;
use std::time::Duration;

/// Begins the leases of the jobs that have a slot or are being fetched at this worker, and cancels the attempts whose
/// leases are over. The coordinator's clock counts, and only while it hears: a report may have been sent while it did
/// not.
pub(crate) fn check(core: &mut Core, out: &mut Out, id: WorkerId, now: Timestamp) {
    let timing = &core.config.timing;
    let heard_from = now.before(timing.heartbeat * 2 + timing.ack);
    let hears = core.link_up_since.is_some_and(|since| since <= heard_from);
    let Some(worker) = core.workers.get_mut(&id) else { return };
    let site = worker.site();
    let mut over = Vec::new();
    for slot in worker.jobs.iter_mut().filter(|slot| slot.is_running() || slot.is_fetching()) {
        let lease = *slot.lease.get_or_insert(now.after(slot.allowance));
        if hears && lease <= now {
            // The slot is taken until the worker has answered the cancellation; this happens once.
            slot.lease = Some(now.after(Duration::MAX));
            over.push((slot.at, slot.allowance));
        }
    }
    over.sort_unstable();
    for (at, allowance) in over {
        out.counts.leases_over += 1;
        send_cancel(core, out, id, at);
        let loss = AttemptLoss::Failed(format!("the worker had the job for more than {} s", allowance.as_secs()));
        out.follow_up(FollowUp::AttemptLost { ended: EndedAttempt { at, site: site.clone() }, loss });
    }
}
