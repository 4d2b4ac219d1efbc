//! An operator who has workers drain: it asks again and again, until it hears that the worker has left.

use super::{network::Requester, scheduled::Scheduled, world::World};
use pvf_scheduler::Event;
use pvf_shared::{
    identity::{UserName, WorkerId},
    wire::{DrainState, FromOperator, OperatorReply},
};
use std::time::Duration;

/// How often the operator asks.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long after the last fault a worker may take to leave: the coordinator may have to find out that it is there.
const DRAINED_WITHIN: Duration = Duration::from_secs(60);

impl World {
    /// An operator asks a worker to drain, unless it does already.
    pub(super) fn operator_asks(&mut self, worker: WorkerId) {
        if self.to_drain.insert(worker) {
            self.operator_tick(worker);
        }
    }

    /// It asks once more, if it has not heard that the worker has left.
    pub(super) fn operator_tick(&mut self, worker: WorkerId) {
        if !self.to_drain.contains(&worker) {
            return;
        }
        let operator = UserName::parse("ops").expect("a name");
        self.send(Some(Requester::Operator), |reply| {
            let message = FromOperator::Drain { workers: vec![worker] };
            Event::Operator { operator, message, reply }
        });
        self.after(INTERVAL, Scheduled::OperatorTick(worker));
    }

    /// The coordinator says what has become of workers. One that has failed, and is not there any more, is waited for
    /// no longer.
    pub(super) fn operator_hears(&mut self, reply: &OperatorReply) {
        let OperatorReply::Drains(drains) = reply else { panic!("it asks for nothing else: {reply:?}") };
        for drain in drains {
            let is_here = self.workers.contains_key(&drain.worker);
            match drain.state {
                DrainState::Left => drop(self.to_drain.remove(&drain.worker)),
                DrainState::Lost | DrainState::Unknown if !is_here => drop(self.to_drain.remove(&drain.worker)),
                DrainState::Lost | DrainState::Unknown | DrainState::Told { .. } | DrainState::Draining { .. } => {}
            }
        }
    }

    /// The faults have ended: every worker that an operator asked to drain leaves in time.
    pub(super) fn settle_drains(&mut self) {
        let end = self.now.after(DRAINED_WITHIN);
        while self.now < end && self.still_there().next().is_some() {
            self.pass(INTERVAL);
        }
        let left: Vec<_> = self.still_there().collect();
        assert!(left.is_empty(), "an operator asked them to drain, and they are still there: {left:?}");
    }

    fn still_there(&self) -> impl Iterator<Item = &WorkerId> {
        self.to_drain.iter().filter(|id| self.workers.contains_key(id))
    }
}
