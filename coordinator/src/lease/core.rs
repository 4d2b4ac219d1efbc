//! The lease as a pure state machine: what happened and the time go in, operations on the bucket and changes of the
//! standing come out.
//!
//! Invariants, for any loss and delay of messages and any stop of the process:
//!
//! * The holder counts its lease from before it sent the write that gave it the lease, and gives it up a tenth of the
//!   lease before its end. The server counts from the receipt of the same write. So two coordinators hold the lease at
//!   the same time only if a clock runs wrong by a tenth, or somebody removes the bucket.
//! * A write whose answer is missing may have been done. The holder then looks who holds the lease, and counts from the
//!   first such write.
//! * There is one operation at a time.

use pvf_shared::time::Timestamp;
use std::time::Duration;

/// Something to be done with the bucket. It is answered by [`Event::Done`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Open the bucket, and make it if it is not there.
    Open,
    /// Write the key if it is not there.
    Claim,
    /// Write the key if it has this revision.
    Renew { revision: u64 },
    /// Read the key.
    Inspect,
    /// Remove the key if it has this revision.
    Release { revision: u64 },
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The bucket is open. `taken`: somebody acts as coordinator who has no lease in it.
    Opened { duration: Duration, taken: bool },
    /// The key was written, and has this revision.
    Written(u64),
    /// The key was removed.
    Removed,
    /// The key was read: its revision, if it is this coordinator's.
    Read(Option<u64>),
    /// The key is not as expected.
    Conflict,
    /// There was no answer, or an error that says nothing about the key.
    Failed,
}

/// What happens to the state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The operation under way ended.
    Done(Outcome),
    /// The holder was seen to renew the lease.
    RenewalSeen,
    /// The holder was seen to give the lease up.
    ReleaseSeen,
    /// The server remembers the key for this long.
    Duration(Duration),
    /// The lease cannot be used: its bucket was removed, or its time was over before the coordinator could act.
    Useless,
    /// This coordinator does not act any more, and gives the lease up.
    Resign,
}

/// What the shell has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start an operation.
    Start(Operation),
    /// This coordinator holds the lease until this time.
    Acquired { revision: u64, until: Timestamp },
    /// It holds it until this time.
    Extended { until: Timestamp },
    /// It does not hold it any more.
    Lost(Loss),
}

/// Why the lease was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It was not renewed in time: JetStream did not answer, or this process stood still.
    Expired,
    /// Another coordinator has it, or it was removed.
    Taken,
    /// It cannot be used.
    Useless,
    /// This coordinator gave it up.
    Resigned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Another coordinator has the lease, or nobody. It is claimed at this time, and again and again until
    /// `eager_until`: the server may not have done yet what was seen.
    Standby { claim_at: Timestamp, eager_until: Timestamp },
    /// This coordinator has the lease.
    Holder(Holder),
    /// It resigned.
    Resigned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holder {
    revision: u64,
    until: Timestamp,
    renew_at: Timestamp,
    /// When the first renewal was sent of those whose outcome is not known.
    in_doubt: Option<Timestamp>,
}

/// The lease of one coordinator.
#[derive(Debug)]
pub(crate) struct Lease {
    duration: Duration,
    state: State,
    /// Whether the bucket is open.
    open: bool,
    /// The operation under way, and when it was started.
    under_way: Option<(Operation, Timestamp)>,
    actions: std::collections::VecDeque<Action>,
}

impl Lease {
    /// A standby that opens the bucket at once.
    pub(crate) fn new(duration: Duration, now: Timestamp) -> Self {
        let state = State::Standby { claim_at: now, eager_until: Timestamp::default() };
        Self { duration, state, open: false, under_way: None, actions: std::collections::VecDeque::new() }
    }

    /// The next thing to do.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Lease::handle_timeout`] is to be called at the latest.
    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        match self.state {
            State::Standby { claim_at, .. } => self.under_way.is_none().then_some(claim_at),
            State::Holder(holder) if self.under_way.is_none() => Some(holder.renew_at.min(self.last_moment(holder))),
            State::Holder(holder) => Some(self.last_moment(holder)),
            State::Resigned => None,
        }
    }

    /// A holder acts until this time.
    fn last_moment(&self, holder: Holder) -> Timestamp {
        holder.until.before(self.duration / 10)
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        self.expire(now);
        if self.under_way.is_some() {
            return;
        }
        match self.state {
            State::Standby { claim_at, .. } if claim_at <= now => {
                self.start(if self.open { Operation::Claim } else { Operation::Open }, now);
            }
            State::Holder(holder) if holder.renew_at <= now => {
                self.start(Operation::Renew { revision: holder.revision }, now);
            }
            State::Standby { .. } | State::Holder(_) | State::Resigned => {}
        }
    }

    /// A lease that is over stays so, whatever answers come late.
    fn expire(&mut self, now: Timestamp) {
        if let State::Holder(holder) = self.state
            && self.last_moment(holder) <= now
        {
            self.lose(Loss::Expired, now.after(self.pause()));
        }
    }

    /// Something happened.
    pub(crate) fn handle(&mut self, event: Event, now: Timestamp) {
        self.expire(now);
        match event {
            Event::Done(outcome) => {
                if let Some((operation, sent)) = self.under_way.take() {
                    self.on_done(operation, outcome, sent, now);
                }
            }
            Event::RenewalSeen => {
                if let State::Standby { claim_at, eager_until } = &mut self.state {
                    *claim_at = now.after(self.duration).max(*claim_at);
                    *eager_until = Timestamp::default();
                }
            }
            Event::ReleaseSeen => {
                if let State::Standby { claim_at, eager_until } = &mut self.state {
                    (*claim_at, *eager_until) = (now, now.after(self.duration / 10));
                }
            }
            Event::Duration(duration) => self.change_duration(duration),
            Event::Useless => {
                self.open = false;
                if let State::Holder(_) = self.state {
                    self.lose(Loss::Useless, now.after(self.pause()));
                }
            }
            Event::Resign => self.resign(now),
        }
        self.handle_timeout(now);
    }

    /// A shorter duration counts from the last renewal on.
    fn change_duration(&mut self, duration: Duration) {
        if let State::Holder(holder) = &mut self.state {
            let written = holder.until.before(self.duration);
            holder.until = holder.until.min(written.after(duration));
            holder.renew_at = holder.renew_at.min(written.after(duration / 3));
        }
        self.duration = duration;
    }

    /// Until when this coordinator acts, if it has the lease.
    pub(crate) fn held_until(&self) -> Option<Timestamp> {
        match self.state {
            State::Holder(holder) => Some(self.last_moment(holder)),
            State::Standby { .. } | State::Resigned => None,
        }
    }

    /// Between two attempts of a standby.
    fn pause(&self) -> Duration {
        self.duration / 4
    }

    fn wait(&mut self, claim_at: Timestamp) {
        self.state = State::Standby { claim_at, eager_until: Timestamp::default() };
    }

    fn start(&mut self, operation: Operation, now: Timestamp) {
        self.under_way = Some((operation, now));
        self.actions.push_back(Action::Start(operation));
    }

    fn lose(&mut self, loss: Loss, claim_at: Timestamp) {
        self.actions.push_back(Action::Lost(loss));
        self.wait(claim_at);
    }

    fn resign(&mut self, now: Timestamp) {
        if let State::Holder(holder) = self.state {
            self.actions.push_back(Action::Lost(Loss::Resigned));
            // With a renewal under way the revision is not known: the lease runs out by itself.
            if self.under_way.is_none() && holder.in_doubt.is_none() {
                self.start(Operation::Release { revision: holder.revision }, now);
            }
        }
        self.state = State::Resigned;
    }

    fn on_done(&mut self, operation: Operation, outcome: Outcome, sent: Timestamp, now: Timestamp) {
        match (self.state, operation, outcome) {
            // A renewal that was under way when this coordinator resigned.
            (State::Resigned, Operation::Renew { .. } | Operation::Claim, Outcome::Written(revision)) => {
                self.start(Operation::Release { revision }, now);
            }
            (State::Standby { .. }, Operation::Open, Outcome::Opened { duration, taken }) => {
                (self.open, self.duration) = (true, duration);
                let wait = if taken { duration } else { Duration::ZERO };
                self.wait(now.after(wait));
            }
            (State::Standby { .. }, Operation::Claim, Outcome::Written(revision)) => {
                self.hold(revision, sent, now);
            }
            (State::Standby { claim_at, eager_until }, _, outcome) => {
                // After a failure the bucket may be gone.
                self.open &= outcome != Outcome::Failed;
                let pause = if now < eager_until { self.duration / 100 } else { self.pause() };
                self.state = State::Standby { claim_at: claim_at.max(now.after(pause)), eager_until };
            }
            (State::Holder(_), Operation::Renew { .. }, Outcome::Written(revision)) => self.hold(revision, sent, now),
            (State::Holder(holder), Operation::Renew { .. }, Outcome::Failed) => {
                let in_doubt = Some(holder.in_doubt.unwrap_or(sent));
                let renew_at = now.after(self.duration / 20);
                self.state = State::Holder(Holder { in_doubt, renew_at, ..holder });
            }
            (State::Holder(holder), Operation::Renew { .. }, Outcome::Conflict) if holder.in_doubt.is_some() => {
                self.start(Operation::Inspect, now);
            }
            (
                State::Holder(Holder { in_doubt: Some(written), .. }),
                Operation::Inspect,
                Outcome::Read(Some(revision)),
            ) => {
                self.hold(revision, written, now);
            }
            (State::Holder(holder), Operation::Inspect, Outcome::Failed) => {
                self.state = State::Holder(Holder { renew_at: now.after(self.duration / 20), ..holder });
            }
            (State::Holder(_), _, _) => self.lose(Loss::Taken, now.after(self.pause())),
            (State::Resigned, _, _) => {}
        }
    }

    /// The key was written at the earliest at this time, and has this revision.
    fn hold(&mut self, revision: u64, written: Timestamp, now: Timestamp) {
        let holder = Holder {
            revision,
            until: written.after(self.duration),
            renew_at: written.after(self.duration / 3),
            in_doubt: None,
        };
        let (until, held_before) = (self.last_moment(holder), matches!(self.state, State::Holder(_)));
        self.state = State::Holder(holder);
        if until <= now && !held_before {
            // The answer came too late. What was written has to be forgotten first.
            return self.wait(now.after(self.duration));
        }
        self.actions.push_back(match held_before {
            true => Action::Extended { until },
            false => Action::Acquired { revision, until },
        });
    }

    /// Whether there is nothing more to do after [`Event::Resign`].
    pub(crate) fn has_ended(&self) -> bool {
        self.state == State::Resigned && self.under_way.is_none()
    }
}

#[cfg(test)]
mod tests;
