//! For how long a coordinator may act: a deadline by a clock that runs on while the process is stopped or the machine
//! is suspended. It is looked at before each thing that others could notice, so a coordinator that was stopped for
//! longer than its lease does nothing after it wakes.

use pvf_shared::{ids::Term, time::Timestamp};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The time since the machine was started, suspensions included.
pub(crate) fn now() -> Timestamp {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Timestamp::at(Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0)))
}

/// The right to act in one term. Clones share its deadline.
#[derive(Debug, Clone)]
pub(crate) struct Tenure {
    term: Term,
    /// Nanoseconds on the clock of [`now`].
    until: Arc<AtomicU64>,
}

impl Tenure {
    /// Without an end: nobody else can take over.
    pub(crate) fn unlimited(term: Term) -> Self {
        Self { term, until: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// Until this time.
    pub(crate) fn until(term: Term, until: Timestamp) -> Self {
        Self { term, until: Arc::new(AtomicU64::new(nanos(until))) }
    }

    /// The term.
    pub(crate) fn term(&self) -> Term {
        self.term
    }

    /// The coordinator may act until this time, unless its tenure has ended: whether it has not.
    pub(crate) fn extend(&self, until: Timestamp) -> bool {
        let holds = self.holds();
        if holds {
            self.until.store(nanos(until), Ordering::Release);
        }
        holds
    }

    /// The coordinator may not act any more.
    pub(crate) fn end(&self) {
        self.until.store(0, Ordering::Release);
    }

    /// Whether the coordinator may act.
    pub(crate) fn holds(&self) -> bool {
        match self.until.load(Ordering::Acquire) {
            u64::MAX => true,
            until => nanos(now()) < until,
        }
    }
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.since(Timestamp::default()).as_nanos()).unwrap_or(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_shared::ids::FencingToken;
    use uuid::Uuid;

    #[test]
    fn a_tenure_ends_by_the_clock_and_does_not_begin_again() {
        let term = Term { token: FencingToken(1), id: Uuid::nil() };
        assert!(Tenure::unlimited(term).holds());
        let tenure = Tenure::until(term, now().after(Duration::from_secs(3600)));
        let clone = tenure.clone();
        assert!(tenure.holds() && clone.holds());
        assert!(tenure.extend(now()) && !clone.holds());
        assert!(!clone.extend(now().after(Duration::from_secs(3600))));
        assert!(!tenure.holds(), "another coordinator may have the lease meanwhile");
        let tenure = Tenure::until(term, now().after(Duration::from_secs(3600)));
        tenure.end();
        assert!(!tenure.holds());
    }
}
