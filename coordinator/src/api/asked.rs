//! Questions to the scheduler, which the driver answers between two events.

use pvf_scheduler::{Scheduler, Timestamp};
use pvf_shared::ids::FleetName;
use tokio::sync::oneshot;

/// When a question is answered, and by whom.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    pub(crate) now: Timestamp,
    /// When the coordinator became active.
    pub(crate) active_since: Timestamp,
    pub(crate) fleet: FleetName,
}

type Question = dyn FnOnce(&Scheduler, &Moment) + Send;

/// A question, with where its answer goes.
pub(crate) struct Asked(Box<Question>);

impl Asked {
    /// Has the question answered from the scheduler's state. It must not take long.
    pub(super) fn new<T: Send + 'static>(
        question: impl FnOnce(&Scheduler, &Moment) -> T + Send + 'static,
    ) -> (Self, oneshot::Receiver<T>) {
        let (answer, answered) = oneshot::channel();
        let ask = move |scheduler: &Scheduler, moment: &Moment| {
            // The one who asked may have gone.
            let _ = answer.send(question(scheduler, moment));
        };
        (Self(Box::new(ask)), answered)
    }

    pub(crate) fn answer(self, scheduler: &Scheduler, moment: &Moment) {
        (self.0)(scheduler, moment);
    }
}
