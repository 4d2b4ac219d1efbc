//! The state of the fleet in numbers, and its first workers.

use super::asked::Moment;
use pvf_scheduler::{Counts, Gauges, Page, Scheduler, Shares, WorkerFilter, WorkerView};
use pvf_shared::wire::FleetStatus;

/// Workers that are listed with the status.
const WORKERS: usize = 256;

/// What the status is made of.
pub(super) struct Overview {
    /// Without its workers.
    pub(super) status: FleetStatus,
    pub(super) gauges: Gauges,
    pub(super) counts: Counts,
    pub(super) shares: Shares,
    pub(super) workers: Page<WorkerView>,
    pub(super) moment: Moment,
}

impl Overview {
    pub(super) fn of(scheduler: &Scheduler, moment: &Moment) -> Self {
        let first = WorkerFilter { limit: WORKERS, ..WorkerFilter::default() };
        Self {
            status: scheduler.status(),
            gauges: scheduler.gauges(moment.now),
            counts: scheduler.counts(),
            shares: scheduler.shares(),
            workers: scheduler.workers(&first, moment.now),
            moment: moment.clone(),
        }
    }
}
