//! Sends requests: in an open loop each at its time, in a closed loop each when another one is answered.

use super::{
    args::{LoadArgs, Rate},
    inputs::Candidate,
    measured::{Ended, Measured},
    pace::{self, Until},
};
use crate::{ValidationHost, tool::failure::Failure};
use pvf_shared::priority::ExecuteKind;
use std::time::{Duration, Instant};
use tokio::{sync::mpsc, task::JoinSet, time::MissedTickBehavior};

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pace {
    /// So many in each second, but at most so many in flight.
    Open { rate: Rate, most: usize },
    /// So many in flight.
    Closed { concurrency: usize },
}

/// Which requests are sent, and when.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) candidates: Vec<Candidate>,
    pub(super) kinds: Vec<ExecuteKind>,
    pub(super) pace: Pace,
    pub(super) until: Until,
}

impl Pace {
    pub(super) fn of(args: &LoadArgs, slots: u64) -> Self {
        match args.rate {
            Some(rate) => Self::Open { rate, most: args.max_in_flight as usize },
            None => {
                let concurrency = args.concurrency.map_or(slots, u64::from);
                Self::Closed { concurrency: usize::try_from(concurrency).unwrap_or(usize::MAX).max(1) }
            }
        }
    }

    fn most_in_flight(self) -> usize {
        match self {
            Self::Open { most, .. } => most,
            Self::Closed { concurrency } => concurrency,
        }
    }
}

/// How far a load is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    pub(super) elapsed: Duration,
    pub(super) in_flight: usize,
}

impl Load {
    /// Sends the requests and waits for their answers. `tell` is called now and then. When `stop` completes, nothing
    /// more is sent, and what is in flight is cancelled.
    pub(super) async fn run(
        &self,
        host: &ValidationHost,
        mut stop: impl Future<Output = ()> + Unpin,
        mut tell: impl FnMut(&Measured, Position),
    ) -> Result<Measured, Failure> {
        let mut measured = Measured::new()?;
        let started = Instant::now();
        let mut due = self.due(started)?;
        let mut tasks = JoinSet::new();
        let mut ticks = tokio::time::interval(TELL_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut goes_on = true;
        while goes_on || !tasks.is_empty() {
            let has_room = tasks.len() < self.pace.most_in_flight();
            tokio::select! {
                next = due.next(measured.sent), if goes_on && has_room => match next {
                    Some(time) => {
                        tasks.spawn(self.one(host, measured.sent, time));
                        measured.sent += 1;
                    }
                    None => goes_on = false,
                },
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                    measured.add(ended.map_err(|error| Failure::no_result("a request", error))?)?;
                }
                _ = ticks.tick() => tell(&measured, Position { elapsed: started.elapsed(), in_flight: tasks.len() }),
                () = &mut stop => {
                    measured.cancelled = tasks.len() as u64;
                    measured.is_interrupted = true;
                    break;
                }
            }
        }
        measured.elapsed = started.elapsed();
        Ok(measured)
    }

    fn due(&self, started: Instant) -> Result<Due, Failure> {
        match self.pace {
            Pace::Open { rate, .. } => {
                let times = pace::times(started, rate, self.until);
                times.map(Due::At).map_err(|error| Failure::no_result("thread for the times of requests", error))
            }
            Pace::Closed { .. } => Ok(Due::Now { started, until: self.until }),
        }
    }

    /// The request with this number, which was due at this time.
    fn one(&self, host: &ValidationHost, number: u64, due: Instant) -> impl Future<Output = Ended> + Send + use<> {
        let of = |len: usize| usize::try_from(number % len.max(1) as u64).unwrap_or_default();
        let Candidate { pvf, mut request } = self.candidates[of(self.candidates.len())].clone();
        // In a load with as many kinds as candidates each candidate still has every kind in turns.
        let round = number / self.candidates.len().max(1) as u64;
        let kind = self.kinds[usize::try_from((number + round) % self.kinds.len().max(1) as u64).unwrap_or_default()];
        request.kind = kind;
        let host = host.clone();
        async move {
            let answer = host.execute_pvf(pvf, request).await;
            Ended { kind, latency: due.elapsed(), answer }
        }
    }
}

/// When the next request is due.
enum Due {
    At(mpsc::UnboundedReceiver<Instant>),
    Now { started: Instant, until: Until },
}

impl Due {
    /// The time of the next one, once that has come; `None` if there is no more.
    async fn next(&mut self, sent: u64) -> Option<Instant> {
        match self {
            Self::At(times) => times.recv().await,
            Self::Now { started, until } => {
                let more = match until {
                    Until::Elapsed(time) => started.elapsed() < *time,
                    Until::Sent(requests) => sent < *requests,
                };
                more.then(Instant::now)
            }
        }
    }
}
